//! Which tensors are matrices, how they are cut into blocks, and which modes get a dense factor.
//!
//! Axes of length one are dropped; neighbouring axes may be merged (the rule of the released SOAP); a tensor with fewer
//! than two axes left goes to AdamW unless `precondition_1d`; an axis longer than `max_dim` is treated by [`LargeMode`].

use crate::Error;
use crate::error::check;
use crate::kron_engine::FactorKind;
use serde::{Deserialize, Serialize};

/// What happens to an axis longer than [`Layout::max_dim`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LargeMode {
    /// A diagonal factor, the optimum under that constraint.
    #[default]
    Diagonal,
    /// No factor.
    Identity,
    /// The tensor is cut into blocks of at most `max_dim`, each with factors of its own.
    Block,
    /// The whole tensor goes to AdamW.
    Adamw,
}

/// Routing and blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layout {
    /// Longest axis with a dense factor, 2048.
    pub max_dim: usize,
    /// What happens to longer ones.
    pub large: LargeMode,
    /// Merge neighbouring axes while their product is at most this; 0 is off.
    pub merge: usize,
    /// Give vectors no longer than `max_dim` one dense factor.
    pub precondition_1d: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { max_dim: 2048, large: LargeMode::Diagonal, merge: 0, precondition_1d: false }
    }
}

/// How a tensor is stepped.
pub(crate) enum Treatment {
    Vector,
    Blocks(Vec<BlockPlan>),
}

/// Where a block lies in its tensor, and its factors.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BlockPlan {
    pub(crate) dims: Vec<usize>,
    pub(crate) kinds: Vec<FactorKind>,
    start: Vec<usize>,
    full: Vec<usize>,
}

impl BlockPlan {
    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.dims == self.full
    }

    /// Calls `f(offset in the tensor, offset in the block, length)` for every contiguous run.
    fn runs(&self, mut f: impl FnMut(usize, usize, usize)) {
        let run = self.dims.last().copied().unwrap_or(1);
        let rows = self.len() / run.max(1);
        for row in 0..rows {
            let (mut rest, mut at, mut stride) = (row, 0, 1);
            for axis in (0..self.dims.len()).rev() {
                let inside = if axis + 1 == self.dims.len() {
                    0
                } else {
                    let i = rest % self.dims[axis];
                    rest /= self.dims[axis];
                    i
                };
                at += (self.start[axis] + inside) * stride;
                stride *= self.full[axis];
            }
            f(at, row * run, run);
        }
    }

    pub(crate) fn gather<T: Copy>(&self, tensor: &[T], block: &mut [T]) {
        self.runs(|there, here, n| block[here..here + n].copy_from_slice(&tensor[there..there + n]));
    }

    pub(crate) fn scatter<T: Copy>(&self, block: &[T], tensor: &mut [T]) {
        self.runs(|there, here, n| tensor[there..there + n].copy_from_slice(&block[here..here + n]));
    }
}

impl Layout {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check(self.max_dim > 0, "max_dim", self.max_dim as f64, "at least 1")
    }

    pub(crate) fn treatment(&self, shape: &[usize]) -> Treatment {
        let mut dims: Vec<usize> = shape.iter().copied().filter(|&s| s != 1).collect();
        if dims.contains(&0) {
            return Treatment::Vector;
        }
        if self.merge > 0 {
            dims = merge(&dims, self.merge);
            dims.retain(|&s| s != 1);
        }
        let one = dims.len() == 1 && self.precondition_1d && dims[0] <= self.max_dim;
        if dims.len() < 2 && !one {
            return Treatment::Vector;
        }
        let large = dims.iter().any(|&s| s > self.max_dim);
        match self.large {
            LargeMode::Adamw if large => Treatment::Vector,
            LargeMode::Block => Treatment::Blocks(blocks(&dims, self.max_dim)),
            LargeMode::Identity if dims.iter().all(|&s| s > self.max_dim) => Treatment::Vector,
            _ => {
                let kind = |&s: &usize| match (s > self.max_dim, self.large) {
                    (false, _) => FactorKind::Dense,
                    (true, LargeMode::Diagonal) => FactorKind::Diagonal,
                    (true, _) => FactorKind::Identity,
                };
                let kinds = dims.iter().map(kind).collect();
                let start = vec![0; dims.len()];
                Treatment::Blocks(vec![BlockPlan { kinds, start, full: dims.clone(), dims }])
            }
        }
    }
}

/// Merges neighbouring axes from the left while the product is at most `limit`.
fn merge(dims: &[usize], limit: usize) -> Vec<usize> {
    let (mut out, mut current) = (Vec::new(), 1);
    for &s in dims {
        if current * s <= limit {
            current *= s;
        } else if current > 1 {
            out.push(current);
            current = s;
        } else {
            out.push(s);
        }
    }
    if current > 1 || out.is_empty() {
        out.push(current);
    }
    out
}

fn blocks(dims: &[usize], chunk: usize) -> Vec<BlockPlan> {
    let counts: Vec<usize> = dims.iter().map(|&s| s.div_ceil(chunk)).collect();
    let total: usize = counts.iter().product();
    let block = |index: usize| {
        let (mut rest, mut start, mut lens) = (index, vec![0; dims.len()], vec![0; dims.len()]);
        for axis in (0..dims.len()).rev() {
            start[axis] = (rest % counts[axis]) * chunk;
            lens[axis] = chunk.min(dims[axis] - start[axis]);
            rest /= counts[axis];
        }
        BlockPlan { kinds: vec![FactorKind::Dense; dims.len()], dims: lens, start, full: dims.to_vec() }
    };
    (0..total).map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(layout: &Layout, shape: &[usize]) -> Vec<Vec<usize>> {
        match layout.treatment(shape) {
            Treatment::Vector => Vec::new(),
            Treatment::Blocks(plans) => plans.into_iter().map(|p| p.dims).collect(),
        }
    }

    #[test]
    fn axes_of_length_one_do_not_count() {
        let layout = Layout::default();
        assert_eq!(dims(&layout, &[3, 1, 5]), [[3, 5]]);
        for shape in [&[][..], &[7], &[7, 1], &[1, 1], &[0, 4], &[3, 0, 4]] {
            assert!(dims(&layout, shape).is_empty(), "{shape:?}");
        }
        let one = Layout { precondition_1d: true, max_dim: 8, ..layout };
        assert_eq!(dims(&one, &[7, 1]), [[7]]);
        assert!(dims(&one, &[9]).is_empty());
    }

    #[test]
    fn merging_follows_the_published_walk() {
        assert_eq!(merge(&[2, 3, 4, 50], 12), [6, 4, 50]);
        assert_eq!(merge(&[50, 2, 3], 12), [50, 6]);
        assert_eq!(merge(&[2, 3, 50, 2], 100), [6, 100]);
        assert_eq!(merge(&[], 12), [1]);
        assert_eq!(merge(&[13], 12), [13]);
    }

    #[test]
    fn long_axes() {
        let mut layout = Layout { max_dim: 4, ..Layout::default() };
        let kinds = |layout: &Layout, shape: &[usize]| match layout.treatment(shape) {
            Treatment::Vector => Vec::new(),
            Treatment::Blocks(plans) => plans[0].kinds.clone(),
        };
        assert_eq!(kinds(&layout, &[3, 5]), [FactorKind::Dense, FactorKind::Diagonal]);
        layout.large = LargeMode::Identity;
        assert_eq!(kinds(&layout, &[5, 4]), [FactorKind::Identity, FactorKind::Dense]);
        assert!(kinds(&layout, &[5, 5]).is_empty());
        layout.large = LargeMode::Adamw;
        assert!(kinds(&layout, &[5, 4]).is_empty());
        assert_eq!(kinds(&layout, &[4, 4]).len(), 2);
    }

    #[test]
    fn blocks_cover_a_tensor_once() {
        let layout = Layout { max_dim: 4, large: LargeMode::Block, ..Layout::default() };
        let shape = [5usize, 2, 9];
        let Treatment::Blocks(plans) = layout.treatment(&shape) else { panic!("blocks") };
        assert_eq!(plans.len(), 2 * 3);
        let tensor: Vec<usize> = (0..90).collect();
        let mut back = vec![0usize; 90];
        for plan in &plans {
            assert!(!plan.is_whole());
            let mut block = vec![0; plan.len()];
            plan.gather(&tensor, &mut block);
            plan.scatter(&block, &mut back);
            assert_eq!(block[0], (plan.start[0] * 2 + plan.start[1]) * 9 + plan.start[2]);
        }
        assert_eq!(back, tensor);
        assert_eq!(plans.iter().map(BlockPlan::len).sum::<usize>(), 90);
    }
}
