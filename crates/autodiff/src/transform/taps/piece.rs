//! `Piece`: where the entries of one parameter stand in a value that only rearranges them.
//!
//! Every axis of the piece's box is a list of runs `(size, stride)`, outermost first, so that reshapes of transposed
//! weights stay exact; stride 0 is a repetition. Nothing of the size of a parameter is ever made.

use crate::ops::Slice;
use crate::types::{Dims, reshape_groups, strides};
use smallvec::SmallVec;

/// A part of an axis: `size` steps of `stride` entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) size: usize,
    pub(super) stride: usize,
}

pub(super) type Runs = SmallVec<[Run; 2]>;

/// A box in a value, filled by `factor` times entries `offset + index . strides` of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) param: usize,
    pub(super) offset: usize,
    pub(super) factor: f64,
    /// First index of the box, per axis of the value.
    pub(super) start: Dims,
    pub(super) axes: Vec<Runs>,
}

pub(super) fn size(runs: &[Run]) -> usize {
    runs.iter().map(|r| r.size).product()
}

/// Joins neighbours that one stride runs through, drops runs of size one.
fn normal(runs: impl IntoIterator<Item = Run>) -> Runs {
    let mut out = Runs::new();
    for r in runs.into_iter().filter(|r| r.size != 1) {
        match out.last_mut() {
            Some(last) if last.stride == r.size * r.stride => {
                *last = Run { size: last.size * r.size, stride: r.stride };
            }
            _ => out.push(r),
        }
    }
    out
}

impl Piece {
    /// A whole parameter of this shape in a box of its own shape, which begins at `start`.
    pub(super) fn whole(param: usize, shape: &[usize], start: Dims) -> Self {
        let axes = shape.iter().zip(strides(shape)).map(|(&size, stride)| normal([Run { size, stride }])).collect();
        Piece { param, offset: 0, factor: 1.0, start, axes }
    }

    /// Size of the box along an axis.
    pub(super) fn size(&self, axis: usize) -> usize {
        size(&self.axes[axis])
    }

    /// Whether the box is the whole value.
    pub(super) fn is_full(&self, shape: &[usize]) -> bool {
        (0..shape.len()).all(|a| self.start[a] == 0 && self.size(a) == shape[a])
    }

    pub(super) fn scaled(&self, factor: f64) -> Self {
        Piece { factor: self.factor * factor, ..self.clone() }
    }

    /// The piece in a concatenation, `by` further along `axis`.
    pub(super) fn moved(&self, axis: usize, by: usize) -> Self {
        let mut piece = self.clone();
        piece.start[axis] += by;
        piece
    }

    pub(super) fn transposed(&self, perm: &[usize]) -> Self {
        let start = perm.iter().map(|&p| self.start[p]).collect();
        Piece { start, axes: perm.iter().map(|&p| self.axes[p].clone()).collect(), ..self.clone() }
    }

    pub(super) fn broadcast(&self, shape: &[usize], axes: &[usize]) -> Self {
        let mut start: Dims = smallvec::smallvec![0; shape.len()];
        let mut runs: Vec<Runs> = shape.iter().map(|&size| normal([Run { size, stride: 0 }])).collect();
        for (from, &to) in axes.iter().enumerate() {
            start[to] = self.start[from];
            runs[to] = self.axes[from].clone();
        }
        Piece { start, axes: runs, ..self.clone() }
    }

    /// The part of the piece in a slice: `Ok(None)` if there is none, `Err` if the cut goes through runs unevenly.
    pub(super) fn sliced(&self, slice: &Slice) -> Result<Option<Self>, ()> {
        let mut piece = self.clone();
        for a in 0..self.axes.len() {
            let (low, n) = (self.start[a], self.size(a));
            let (start, stop, step) = (slice.start[a], slice.stop[a].min(low + n), slice.step[a]);
            let first = low.saturating_sub(start).div_ceil(step);
            let at = start + first * step;
            if at >= stop {
                return Ok(None);
            }
            let (skip, count) = (at - low, (stop - at).div_ceil(step));
            piece.start[a] = first;
            if skip == 0 && count == n && step == 1 {
                continue;
            }
            let runs = &mut piece.axes[a];
            match runs.len() {
                0 => {}
                1 => {
                    piece.offset += skip * runs[0].stride;
                    *runs = normal([Run { size: count, stride: runs[0].stride * step }]);
                }
                _ => {
                    let inner = size(&runs[1..]);
                    if step != 1 || skip % inner != 0 || count % inner != 0 {
                        return Err(());
                    }
                    piece.offset += skip / inner * runs[0].stride;
                    runs[0].size = count / inner;
                    *runs = normal(runs.iter().copied());
                }
            }
        }
        Ok(Some(piece))
    }

    /// The piece when the value of shape `old` is read as `new`; `Err` if the box does not stay one.
    pub(super) fn reshaped(&self, old: &[usize], new: &[usize]) -> Result<Self, ()> {
        if old.contains(&0) {
            return Err(());
        }
        let mut start: Dims = smallvec::smallvec![0; new.len()];
        let mut axes: Vec<Runs> = vec![Runs::new(); new.len()];
        for (before, after) in reshape_groups(old, new) {
            self.regroup(old, before, new, after, &mut start, &mut axes)?;
        }
        Ok(Piece { start, axes, ..self.clone() })
    }

    /// Axes `from` of the old shape hold the same elements as axes `to` of the new one.
    fn regroup(
        &self,
        old: &[usize],
        from: core::ops::Range<usize>,
        new: &[usize],
        to: core::ops::Range<usize>,
        start: &mut [usize],
        axes: &mut [Runs],
    ) -> Result<(), ()> {
        // The box in the group's linear index: only the outermost axis that is longer than one may be cut.
        let outer = from.clone().find(|&a| old[a] != 1);
        let cut = |a: usize| self.size(a) != old[a];
        if from.clone().any(|a| cut(a) && Some(a) != outer) {
            return Err(());
        }
        let total: usize = old[from.clone()].iter().product();
        let inner = outer.map_or(1, |a| total / old[a]);
        let (mut low, mut len) = outer.map_or((0, 1), |a| (self.start[a] * inner, self.size(a) * inner));
        let mut runs: Vec<Run> = from.flat_map(|a| self.axes[a].iter().copied()).collect();
        let head = to.clone().find(|&a| new[a] != 1);
        for a in to.rev() {
            if Some(a) == head {
                (start[a], axes[a]) = (low, normal(runs.iter().copied()));
                return if size(&axes[a]) == len { Ok(()) } else { Err(()) };
            }
            if low % new[a] != 0 || len % new[a] != 0 {
                return Err(());
            }
            (low, len) = (low / new[a], len / new[a]);
            axes[a] = take_inner(&mut runs, new[a])?;
        }
        Ok(())
    }
}

/// Takes the innermost `n` steps off a list of runs.
fn take_inner(runs: &mut Vec<Run>, n: usize) -> Result<Runs, ()> {
    let mut taken: Vec<Run> = Vec::new();
    let mut left = n;
    while left > 1 {
        let run = runs.pop().ok_or(())?;
        if left.is_multiple_of(run.size) {
            taken.push(run);
            left /= run.size;
        } else if run.size.is_multiple_of(left) {
            taken.push(Run { size: left, stride: run.stride });
            runs.push(Run { size: run.size / left, stride: run.stride * left });
            left = 1;
        } else {
            return Err(());
        }
    }
    Ok(normal(taken.into_iter().rev()))
}

/// Two lists of runs over the same axis cut at the same places: `(size, stride in a, stride in b)`.
pub(super) fn common(a: &[Run], b: &[Run]) -> Option<Vec<(usize, usize, usize)>> {
    let (mut a, mut b) = (a.to_vec(), b.to_vec());
    let mut out = Vec::new();
    while let (Some(x), Some(y)) = (a.pop(), b.pop()) {
        let n = x.size.min(y.size);
        if x.size % n != 0 || y.size % n != 0 {
            return None;
        }
        out.push((n, x.stride, y.stride));
        if x.size > n {
            a.push(Run { size: x.size / n, stride: x.stride * n });
        }
        if y.size > n {
            b.push(Run { size: y.size / n, stride: y.stride * n });
        }
    }
    out.reverse();
    (a.is_empty() && b.is_empty()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every entry of the box, by its position in the value.
    fn table(p: &Piece, shape: &[usize]) -> Vec<Option<usize>> {
        let mut out = vec![None; shape.iter().product()];
        let own: Vec<usize> = (0..shape.len()).map(|a| p.size(a)).collect();
        let s = strides(shape);
        crate::types::for_each_index(&own, |index| {
            let mut entry = p.offset;
            for (a, &i) in index.iter().enumerate() {
                let mut rest = i;
                for r in p.axes[a].iter().rev() {
                    entry += rest % r.size * r.stride;
                    rest /= r.size;
                }
            }
            let at: usize = index.iter().enumerate().map(|(a, i)| (i + p.start[a]) * s[a]).sum();
            out[at] = Some(entry);
        });
        out
    }

    #[test]
    fn views_move_entries_as_the_data_would() {
        let p = Piece::whole(0, &[4, 6], smallvec::smallvec![0, 0]);
        let t = p.transposed(&[1, 0]);
        assert_eq!(table(&t, &[6, 4])[1], Some(6));
        let r = t.reshaped(&[6, 4], &[2, 3, 4]).unwrap().reshaped(&[2, 3, 4], &[2, 12]).unwrap();
        let expected: Vec<_> = (0..24).map(|i| Some(i % 4 * 6 + i / 4)).collect();
        assert_eq!(table(&r, &[2, 12]), expected);
        assert!(t.reshaped(&[6, 4], &[8, 3]).is_err());
        let cut = Slice {
            start: smallvec::smallvec![1, 0],
            stop: smallvec::smallvec![2, 8],
            step: smallvec::smallvec![1, 1],
        };
        assert_eq!(table(&r.sliced(&cut).unwrap().unwrap(), &[1, 8])[..3], expected[12..15]);
        let cut = Slice { stop: smallvec::smallvec![2, 7], ..cut };
        assert!(r.sliced(&cut).is_err());
    }

    #[test]
    fn a_part_of_a_flat_vector_is_a_box_while_cuts_fall_between_rows() {
        let p = Piece::whole(0, &[12], smallvec::smallvec![6]);
        let r = p.reshaped(&[24], &[1, 4, 6]).unwrap();
        assert_eq!((r.start.as_slice(), r.size(1)), (&[0, 1, 0][..], 2));
        assert_eq!(table(&r, &[1, 4, 6]), table(&p, &[24]));
        assert!(p.reshaped(&[24], &[3, 8]).is_err());
        let back = r.reshaped(&[1, 4, 6], &[24]).unwrap();
        assert_eq!(back, p);
        let strided =
            Slice { start: smallvec::smallvec![1], stop: smallvec::smallvec![24], step: smallvec::smallvec![4] };
        let s = p.sliced(&strided).unwrap().unwrap();
        assert_eq!(table(&s, &[6]), vec![None, None, Some(3), Some(7), Some(11), None]);
    }
}
