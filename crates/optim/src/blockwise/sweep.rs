//! One step over all tensors, one after the other or on several threads at once.
//!
//! Small tensors are bound by overhead, not by products: many of like size are given to threads one tensor each, halving the list
//! by work until there is a part for every thread. Where one tensor has more than a thread's share of the work, the threads
//! go into its products instead. A tensor's step is the same work on one thread either way, so no bit depends on this.

use super::rule::{Call, Shrinker};
use super::{Block, Group, Piece};
use crate::adamw::{self, Coefficients};
use crate::{Error, Grads, ParamList};
use numerics::{Par, Scalar};

/// Flops of a tensor's step, roughly: what the list is divided by.
pub(super) fn work<T: Scalar>(piece: &Piece<T>) -> f64 {
    let block = |b: &Block<T>| {
        let sides: usize = b.plan.dims.iter().sum();
        1e3 + 5.0 * b.plan.len() as f64 * sides as f64
    };
    match piece {
        Piece::Vector { m, .. } => 1e2 + 10.0 * m.len() as f64,
        Piece::Blocks(blocks) => blocks.iter().map(block).sum(),
    }
}

/// Whether threads take whole tensors.
pub(super) fn by_tensor(par: Par, work: &[f64]) -> bool {
    let total: f64 = work.iter().sum();
    let largest = work.iter().copied().fold(0.0, f64::max);
    par.degree() > 1 && largest * par.degree() as f64 <= total
}

/// What a step did.
#[derive(Default)]
pub(super) struct Did {
    pub(super) updated: usize,
    pub(super) missing: usize,
    /// The first tensor and mode whose decompositions have failed too often.
    pub(super) stuck: Option<(usize, usize)>,
}

/// What all tensors share.
pub(super) struct Sweep<'a, T> {
    pub(super) list: &'a ParamList,
    pub(super) groups: &'a [Group],
    pub(super) grads: Grads<'a, T>,
    pub(super) lr_multiplier: f64,
    pub(super) batch: f64,
    pub(super) par: Par,
    pub(super) work: &'a [f64],
    pub(super) room: usize,
}

/// Tensors that follow one another, with what is theirs alone.
struct Part<'a, T> {
    first: usize,
    pieces: &'a mut [Piece<T>],
    count: &'a mut [u64],
    params: &'a mut [T],
    buffer: &'a mut [T],
}

impl<T: Scalar> Sweep<'_, T> {
    /// Steps every tensor.
    pub(super) fn all(
        &self,
        pieces: &mut [Piece<T>],
        count: &mut [u64],
        params: &mut [T],
        buffer: &mut [T],
    ) -> Result<Did, Error> {
        let rooms = buffer.len().checked_div(self.room).unwrap_or(1);
        let part = Part { first: 0, pieces, count, params, buffer };
        if by_tensor(self.par, self.work) { self.split(part, rooms) } else { self.in_turn(part, self.par) }
    }

    fn split(&self, part: Part<'_, T>, rooms: usize) -> Result<Did, Error> {
        if rooms <= 1 || part.pieces.len() <= 1 {
            return self.in_turn(part, Par::Seq);
        }
        let Part { first, pieces, count, params, buffer } = part;
        let share = rooms / 2;
        let middle = self.middle(first, pieces.len(), share as f64 / rooms as f64);
        let start = self.list.params()[first].range().start;
        let (left_pieces, right_pieces) = pieces.split_at_mut(middle);
        let (left_count, right_count) = count.split_at_mut(middle);
        let (left_params, right_params) = params.split_at_mut(self.list.params()[first + middle].range().start - start);
        let (left_buffer, right_buffer) = buffer.split_at_mut(share * self.room);
        let left = Part { first, pieces: left_pieces, count: left_count, params: left_params, buffer: left_buffer };
        let right = Part {
            first: first + middle,
            pieces: right_pieces,
            count: right_count,
            params: right_params,
            buffer: right_buffer,
        };
        let (left, right) = rayon::join(|| self.split(left, share), || self.split(right, rooms - share));
        let (left, right) = (left?, right?);
        Ok(Did {
            updated: left.updated + right.updated,
            missing: left.missing + right.missing,
            stuck: left.stuck.or(right.stuck),
        })
    }

    /// How many tensors have about this share of the work; at least one on each side.
    fn middle(&self, first: usize, len: usize, share: f64) -> usize {
        let work = &self.work[first..first + len];
        let wanted = share * work.iter().sum::<f64>();
        let mut sum = 0.0;
        let passed = |w: &f64| {
            sum += w;
            sum >= wanted
        };
        let at = work.iter().position(passed).map_or(len, |i| i + 1);
        at.clamp(1, len - 1)
    }

    fn in_turn(&self, part: Part<'_, T>, par: Par) -> Result<Did, Error> {
        let Part { first, pieces, count, params, buffer } = part;
        let mut did = Did::default();
        let tensors = self.list.params().iter().enumerate().skip(first);
        let start = self.list.params().get(first).map_or(0, |p| p.range().start);
        for (((i, p), piece), count) in tensors.zip(pieces).zip(count) {
            if !self.grads.has(i) {
                did.missing += 1;
                continue;
            }
            *count += 1;
            did.updated += 1;
            let group = &self.groups[p.group()];
            let own = p.range().start - start..p.range().end - start;
            let (w, g) = (&mut params[own], &self.grads.values()[p.range()]);
            match piece {
                Piece::Vector { m, v } => {
                    let c = Coefficients::new(&group.vectors, self.lr_multiplier, *count);
                    adamw::update(w, g, m, v, c);
                }
                Piece::Blocks(blocks) => {
                    let shrinker = Shrinker::new(&group.common, self.lr_multiplier);
                    for b in blocks {
                        let failed = step_block(b, w, g, buffer, &shrinker, self.batch, par)?;
                        did.stuck = did.stuck.or(failed.map(|mode| (i, mode)));
                    }
                }
            }
        }
        Ok(did)
    }
}

/// One block's step; returns the mode whose decompositions failed too often.
fn step_block<T: Scalar>(
    block: &mut Block<T>,
    w: &mut [T],
    g: &[T],
    buffer: &mut [T],
    shrinker: &Shrinker<T>,
    batch: f64,
    par: Par,
) -> Result<Option<usize>, Error> {
    let n = block.plan.len();
    let (out, buffer) = buffer.split_at_mut(n);
    let (g_copy, buffer) = buffer.split_at_mut(n);
    let (w_copy, scratch) = buffer.split_at_mut(n);
    let whole = block.plan.is_whole();
    if !whole {
        block.plan.gather(w, w_copy);
    }
    if !whole || shrinker.l2 != T::ZERO {
        block.plan.gather(g, g_copy);
        let w = if whole { &*w } else { &*w_copy };
        g_copy.iter_mut().zip(w).for_each(|(g, &w)| *g += shrinker.l2 * w);
    }
    let direct = whole && shrinker.l2 == T::ZERO;
    let call = Call { g: if direct { g } else { &*g_copy }, out, scratch, batch, par };
    let done = block.rule.direction(call)?;
    if done.moves {
        shrinker.limit(out, block.rule.normalizes(), block.rule.max_update_rms());
        if whole {
            shrinker.apply(w, out);
        } else {
            shrinker.apply(w_copy, out);
            block.plan.scatter(w_copy, w);
        }
    }
    Ok(done.stuck)
}
