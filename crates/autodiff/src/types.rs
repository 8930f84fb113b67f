//! Shapes and element kinds of the values in a program.

use core::fmt;
use core::ops::Range;
use smallvec::SmallVec;

/// The sizes of a tensor's axes, outermost first; data is row-major.
pub type Dims = SmallVec<[usize; 6]>;

/// Real numbers (one floating-point type for a whole program) or 64-bit integers (labels, token ids, indices).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// A floating-point number; `f32` or `f64` is chosen when the program is compiled.
    Real,
    /// `i64`.
    Int,
}

/// Kind and shape of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TensorType {
    /// Element kind.
    pub kind: Kind,
    /// Sizes of the axes.
    pub shape: Dims,
}

impl TensorType {
    /// A real tensor of this shape.
    pub fn real(shape: &[usize]) -> Self {
        TensorType { kind: Kind::Real, shape: Dims::from_slice(shape) }
    }

    /// An integer tensor of this shape.
    pub fn int(shape: &[usize]) -> Self {
        TensorType { kind: Kind::Int, shape: Dims::from_slice(shape) }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn is_real(&self) -> bool {
        self.kind == Kind::Real
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == Kind::Int {
            f.write_str("i64")?;
        }
        write!(f, "{:?}", self.shape.as_slice())
    }
}

/// Row-major strides of a shape.
pub(crate) fn strides(shape: &[usize]) -> Dims {
    let mut s: Dims = smallvec::smallvec![1; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        s[i] = s[i + 1] * shape[i + 1];
    }
    s
}

/// The smallest groups of neighbouring axes that hold the same elements before and after a reshape: (before, after).
pub(crate) fn reshape_groups(old: &[usize], new: &[usize]) -> Vec<(Range<usize>, Range<usize>)> {
    if old.contains(&0) || new.contains(&0) {
        return vec![(0..old.len(), 0..new.len())];
    }
    let take = |sizes: &[usize], at: &mut usize| {
        let n = sizes.get(*at).copied().unwrap_or(1);
        *at = (*at + 1).min(sizes.len());
        n
    };
    let (mut i, mut j) = (0, 0);
    let mut groups = Vec::new();
    while i < old.len() || j < new.len() {
        let start = (i, j);
        let (mut p, mut q) = (take(old, &mut i), take(new, &mut j));
        while p != q && (i < old.len() || j < new.len()) {
            if p < q { p *= take(old, &mut i) } else { q *= take(new, &mut j) }
        }
        groups.push((start.0..i, start.1..j));
    }
    groups
}

/// The axis after a reshape that axis `axis` before it has become, if it is still an axis of its own.
pub(crate) fn reshaped_axis(old: &[usize], new: &[usize], axis: usize) -> Option<usize> {
    let (before, after) = reshape_groups(old, new).into_iter().find(|(before, _)| before.contains(&axis))?;
    let lead: usize = old[before.start..axis].iter().product();
    after.clone().find(|&j| new[j] == old[axis] && new[after.start..j].iter().product::<usize>() == lead)
}

/// Product of sizes, `None` when it does not fit.
pub(crate) fn checked_numel(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n <= isize::MAX as usize / 8)
}

/// Calls `f` with every multi-index of `shape`, in row-major order.
pub(crate) fn for_each_index(shape: &[usize], mut f: impl FnMut(&[usize])) {
    if shape.contains(&0) {
        return;
    }
    let mut index: Dims = smallvec::smallvec![0; shape.len()];
    loop {
        f(&index);
        let mut axis = shape.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Flat position of a multi-index.
pub(crate) fn flat(index: &[usize], strides: &[usize]) -> usize {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}
