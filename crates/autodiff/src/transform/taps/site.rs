//! `Site`: a node that reads a parameter, with its axes matched; and the tap that is put there.

use super::piece::{Piece, Run, size};
use super::{Axis, Kind, Use};
use crate::error::Error;
use crate::ops::{Pad, Slice};
use crate::program::{Builder, NodeId};
use crate::types::{Dims, TensorType};

/// How the axes of the other operand, the parameter's value and the result belong together.
pub(super) struct Site {
    pub(super) kind: Kind,
    /// The other operand, if there is one.
    pub(super) other: Option<NodeId>,
    /// Axes that run together: (other, parameter, result).
    pub(super) batch: Vec<(usize, usize, usize)>,
    /// Summed axes: (other, parameter).
    pub(super) contract: Vec<(usize, usize)>,
    /// Axes of the other operand alone: (other, result).
    pub(super) free: Vec<(usize, usize)>,
    /// Axes of the parameter alone: (parameter, result).
    pub(super) own: Vec<(usize, usize)>,
    /// The parameter's axis that is indexed.
    pub(super) rows: Option<usize>,
}

/// What an elementary axis (one run) is for the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Position,
    Group,
    Input,
    Output,
    /// The operand repeats along it: the other operand, or the cotangent, is summed.
    Repeat,
}

/// An elementary axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    pub(super) role: Role,
    pub(super) size: usize,
    pub(super) stride: usize,
    /// Axis of the result, and of the other operand, and the place among the parts of that axis.
    pub(super) result: Option<usize>,
    pub(super) other: Option<usize>,
    pub(super) place: usize,
}

/// The parts of a use in canonical order: positions in the result's order, then groups, inputs and outputs with the
/// largest stride first, then repetitions.
pub(super) fn parts(site: &Site, piece: &Piece, result: &[usize]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |runs: &[Run], varies: Role, still: Role, other: Option<usize>, result: Option<usize>| {
        for (place, r) in runs.iter().enumerate() {
            let role = if r.stride == 0 { still } else { varies };
            parts.push(Part { role, size: r.size, stride: r.stride, result, other, place });
        }
    };
    for &(x, p, z) in &site.batch {
        // An axis of one stays, as a position: the data axis of a single datum is one.
        let one = [Run { size: 1, stride: 0 }];
        let runs = if piece.axes[p].is_empty() { &one[..] } else { &piece.axes[p] };
        add(runs, Role::Group, Role::Position, Some(x), Some(z));
    }
    for &(x, z) in &site.free {
        add(&[Run { size: result[z], stride: 0 }], Role::Position, Role::Position, Some(x), Some(z));
    }
    for &(x, p) in &site.contract {
        add(&piece.axes[p], Role::Input, Role::Repeat, Some(x), None);
    }
    for &(p, z) in &site.own {
        add(&piece.axes[p], Role::Output, Role::Repeat, None, Some(z));
    }
    parts.sort_by_key(|p| {
        let rank = [Role::Position, Role::Group, Role::Input, Role::Output, Role::Repeat];
        let class = rank.iter().position(|r| *r == p.role);
        match p.role {
            Role::Position => (class, p.result.unwrap_or(0), p.place),
            _ => (class, usize::MAX - p.stride, 0),
        }
    });
    parts
}

/// The parts of one axis of an operand, in their order along it, as positions in the list.
fn along(parts: &[Part], axis: usize, of: impl Fn(&Part) -> Option<usize>) -> Vec<usize> {
    let mut list: Vec<usize> = (0..parts.len()).filter(|&i| of(&parts[i]) == Some(axis)).collect();
    list.sort_by_key(|&i| parts[i].place);
    list
}

/// The box of an operand that meets the piece: `(start, stop)` per axis.
fn region(site: &Site, piece: &Piece, shape: &[usize], of_result: bool) -> Slice {
    let mut slice = Slice::all(shape);
    let mut cut = |axis: usize, p: usize| {
        slice.start[axis] = piece.start[p];
        slice.stop[axis] = piece.start[p] + piece.size(p);
    };
    site.batch.iter().for_each(|&(x, p, z)| cut(if of_result { z } else { x }, p));
    match of_result {
        true => site.own.iter().for_each(|&(p, z)| cut(z, p)),
        false => site.contract.iter().for_each(|&(x, p)| cut(x, p)),
    }
    slice
}

/// The other operand as `positions ++ groups ++ inputs`.
pub(super) fn canonical_other(
    b: &mut Builder,
    site: &Site,
    piece: &Piece,
    parts: &[Part],
    x: NodeId,
) -> Result<NodeId, Error> {
    let shape = b.shape(x);
    let x = b.slice(x, region(site, piece, &shape, false))?;
    let order: Vec<usize> = (0..shape.len()).flat_map(|a| along(parts, a, |p| p.other)).collect();
    let sizes: Vec<usize> = order.iter().map(|&i| parts[i].size).collect();
    let x = b.reshape(x, &sizes)?;
    let repeats: Vec<usize> = (0..order.len()).filter(|&k| parts[order[k]].role == Role::Repeat).collect();
    let x = b.sum(x, &repeats)?;
    let kept: Vec<usize> = order.into_iter().filter(|&i| parts[i].role != Role::Repeat).collect();
    let mut perm: Vec<usize> = (0..kept.len()).collect();
    perm.sort_by_key(|&k| kept[k]);
    b.transpose(x, &perm)
}

/// Shape of the tap: `positions ++ groups ++ outputs`.
pub(super) fn tap_shape(parts: &[Part]) -> Dims {
    parts.iter().filter(|p| matches!(p.role, Role::Position | Role::Group | Role::Output)).map(|p| p.size).collect()
}

/// The tap, spread over the result's shape.
pub(super) fn spread(
    b: &mut Builder,
    site: &Site,
    piece: &Piece,
    parts: &[Part],
    tap: NodeId,
    result: &[usize],
) -> Result<NodeId, Error> {
    let order: Vec<usize> = (0..result.len()).flat_map(|a| along(parts, a, |p| p.result)).collect();
    let mut kept: Vec<usize> = order.iter().copied().filter(|&i| parts[i].role != Role::Repeat).collect();
    let places: Vec<usize> = (0..order.len()).filter(|&k| parts[order[k]].role != Role::Repeat).collect();
    let mut ranked = kept.clone();
    ranked.sort_unstable();
    kept.iter_mut().for_each(|i| *i = ranked.partition_point(|r| r < i));
    let tap = b.transpose(tap, &kept)?;
    let sizes: Vec<usize> = order.iter().map(|&i| parts[i].size).collect();
    let tap = b.broadcast(tap, &sizes, &places)?;
    let place = region(site, piece, result, true);
    let cut: Vec<usize> = place.start.iter().zip(&place.stop).map(|(a, b)| b - a).collect();
    let tap = b.reshape(tap, &cut)?;
    let high = result.iter().zip(&place.stop).map(|(n, s)| n - s).collect();
    b.pad(tap, Pad { low: place.start, high, between: smallvec::smallvec![0; result.len()] })
}

/// The public description.
pub(super) fn describe(site: &Site, piece: &Piece, parts: &[Part], name: &str) -> Use {
    let list = |role: Role| -> Vec<Axis> {
        parts.iter().filter(|p| p.role == role).map(|p| Axis { size: p.size, stride: p.stride }).collect()
    };
    let mut inputs = list(Role::Input);
    if let Some(rows) = site.rows {
        inputs.extend(piece.axes[rows].iter().map(|r| Axis { size: r.size, stride: r.stride }));
    }
    let positions: Vec<usize> = list(Role::Position).iter().map(|a| a.size).collect();
    Use {
        param: piece.param,
        name: name.into(),
        kind: site.kind,
        factor: piece.factor,
        offset: piece.offset,
        windowed: positions.iter().map(|&n| 0..n).collect(),
        positions,
        groups: list(Role::Group),
        inputs,
        outputs: list(Role::Output),
        tap: 0,
        input: None,
        unfold: Vec::new(),
        source: None,
        bias: None,
        bias_of: None,
    }
}

/// Whether the indexed axis is one even run over the whole axis.
pub(super) fn rows_are_even(piece: &Piece, rows: usize, len: usize) -> bool {
    let runs = &piece.axes[rows];
    piece.start[rows] == 0 && size(runs) == len && runs.len() <= 1 && runs.iter().all(|r| r.stride != 0)
}

/// Type of the tap.
pub(super) fn tap_type(parts: &[Part]) -> TensorType {
    TensorType::real(&tap_shape(parts))
}
