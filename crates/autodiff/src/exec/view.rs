//! Strided views of buffers: the compile-time algebra that makes rearrangements free.

use crate::types::{Dims, strides};

/// Elements `offset + index . strides` of a buffer.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) buf: usize,
    pub(super) offset: usize,
    pub(super) shape: Dims,
    pub(super) strides: Dims,
}

impl View {
    /// A whole buffer, row-major.
    pub(super) fn dense(buf: usize, shape: &[usize]) -> Self {
        View { buf, offset: 0, shape: Dims::from_slice(shape), strides: strides(shape) }
    }

    pub(super) fn numel(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of the buffer that it shows, repetitions not counted; overlapping windows are.
    pub(super) fn footprint(&self) -> usize {
        self.shape.iter().zip(&self.strides).map(|(&n, &s)| if s == 0 { n.min(1) } else { n }).product()
    }

    /// Whether the elements lie row-major without gaps.
    pub(super) fn is_dense(&self) -> bool {
        let expected = strides(&self.shape);
        self.numel() == 0 || (0..self.shape.len()).all(|i| self.shape[i] == 1 || self.strides[i] == expected[i])
    }

    /// Whether it shows the same elements in the same places.
    pub(super) fn is(&self, other: &View) -> bool {
        let same = |i: usize| self.shape[i] == 1 || self.strides[i] == other.strides[i];
        self.buf == other.buf
            && self.offset == other.offset
            && self.shape == other.shape
            && (self.numel() == 0 || (0..self.shape.len()).all(same))
    }

    /// Whether all elements are the same one.
    pub(super) fn is_uniform(&self) -> bool {
        self.shape.iter().zip(&self.strides).all(|(&n, &s)| n == 1 || s == 0)
    }

    /// One past the largest position that is touched.
    pub(super) fn end(&self) -> usize {
        match self.numel() {
            0 => 0,
            _ => self.offset + self.shape.iter().zip(&self.strides).map(|(n, s)| (n - 1) * s).sum::<usize>() + 1,
        }
    }

    /// The same elements with other axes, where that needs no copy.
    pub(super) fn reshaped(&self, shape: &[usize]) -> Option<View> {
        let with = |strides: Dims| View { buf: self.buf, offset: self.offset, shape: Dims::from_slice(shape), strides };
        if self.is_dense() {
            return Some(with(strides(shape)));
        }
        let (old, [old_strides]) = coalesce(&self.shape, [&self.strides]);
        let mut new: Dims = smallvec::smallvec![0; shape.len()];
        let mut axis = shape.len();
        for (&n, &s) in old.iter().zip(&old_strides).rev() {
            let mut taken = 1;
            while taken < n {
                axis = axis.checked_sub(1)?;
                new[axis] = s * taken;
                taken *= shape[axis];
            }
            if taken != n {
                return None;
            }
        }
        Some(with(new))
    }
}

/// Drops axes of size one and joins neighbours that all the stride lists run through evenly.
pub(super) fn coalesce<const N: usize>(shape: &[usize], strides: [&[usize]; N]) -> (Dims, [Dims; N]) {
    let mut sizes = Dims::new();
    let mut out: [Dims; N] = core::array::from_fn(|_| Dims::new());
    for (axis, &n) in shape.iter().enumerate() {
        if n == 1 {
            continue;
        }
        let joins = !sizes.is_empty() && (0..N).all(|k| out[k][sizes.len() - 1] == strides[k][axis] * n);
        if joins {
            let last = sizes.len() - 1;
            sizes[last] *= n;
            (0..N).for_each(|k| out[k][last] = strides[k][axis]);
        } else {
            sizes.push(n);
            (0..N).for_each(|k| out[k].push(strides[k][axis]));
        }
    }
    (sizes, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(shape: &[usize], strides: &[usize]) -> View {
        View { buf: 0, offset: 3, shape: Dims::from_slice(shape), strides: Dims::from_slice(strides) }
    }

    #[test]
    fn reshape_without_copy() {
        let rows = view(&[4, 6], &[10, 1]);
        assert_eq!(rows.reshaped(&[2, 2, 3, 2]).unwrap().strides[..], [20, 10, 2, 1]);
        // The stride of an axis of size one does not matter.
        let unit = rows.reshaped(&[4, 1, 6]).unwrap().strides;
        assert_eq!((unit[0], unit[2]), (10, 1));
        assert!(rows.reshaped(&[24]).is_none());
        assert!(rows.reshaped(&[3, 8]).is_none());
        assert_eq!(view(&[4, 6], &[0, 0]).reshaped(&[24]).unwrap().strides[..], [0]);
        assert_eq!(rows.end(), 3 + 30 + 5 + 1);
    }

    #[test]
    fn neighbours_join() {
        let (shape, [a, b]) = coalesce(&[2, 1, 3, 4], [&[12, 9, 4, 1], &[4, 9, 0, 1]]);
        assert_eq!((&shape[..], &a[..], &b[..]), (&[2, 3, 4][..], &[12, 4, 1][..], &[4, 0, 1][..]));
        let (shape, [a]) = coalesce(&[2, 3, 4], [&[12, 4, 1]]);
        assert_eq!((&shape[..], &a[..]), (&[24][..], &[1][..]));
    }
}
