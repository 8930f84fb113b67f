//! Arithmetic operators on tensors, with NumPy's rules for operands of different shapes.

use super::Tensor;
use crate::error::Error;
use crate::ops::BinaryFn;
use crate::program::{Builder, NodeId};
use crate::types::Dims;
use core::ops::{Add, Div, Mul, Neg, Sub};
use std::panic::Location;

/// Repeats `x` along missing leading axes and axes of size one, so that it has `shape`.
pub(super) fn expand(b: &mut Builder, x: NodeId, shape: &[usize]) -> Result<NodeId, Error> {
    let own = b.shape(x);
    let Some(lead) = shape.len().checked_sub(own.len()) else {
        return b.broadcast(x, shape, &(0..own.len()).collect::<Vec<_>>());
    };
    let kept: Vec<usize> = (0..own.len()).filter(|&i| own[i] != 1 || shape[lead + i] == 1).collect();
    let squeezed: Dims = kept.iter().map(|&i| own[i]).collect();
    let axes: Vec<usize> = kept.iter().map(|i| lead + i).collect();
    let x = b.reshape(x, &squeezed)?;
    b.broadcast(x, shape, &axes)
}

/// The common shape, or `None`.
fn common(x: &[usize], y: &[usize]) -> Option<Dims> {
    let n = x.len().max(y.len());
    let size = |s: &[usize], i: usize| (i + s.len()).checked_sub(n).map_or(1, |j| s[j]);
    (0..n)
        .map(|i| match (size(x, i), size(y, i)) {
            (p, q) if p == q || q == 1 => Some(p),
            (1, q) => Some(q),
            _ => None,
        })
        .collect()
}

impl Tensor {
    pub(super) fn elementwise(&self, f: BinaryFn, other: &Tensor, location: &'static Location<'static>) -> Tensor {
        self.zip(other, "elementwise", location, |b, x, y| {
            let (x, y) = match common(&b.shape(x), &b.shape(y)) {
                Some(shape) => (expand(b, x, &shape)?, expand(b, y, &shape)?),
                None => (x, y),
            };
            b.binary(f, x, y)
        })
    }

    fn with_number(&self, f: BinaryFn, c: f64, number_first: bool, location: &'static Location<'static>) -> Tensor {
        self.map(location, |b, x| {
            let shape = b.shape(x);
            let c = b.full(&shape, c)?;
            if number_first { b.binary(f, c, x) } else { b.binary(f, x, c) }
        })
    }
}

macro_rules! operator {
    ($($trait:ident $method:ident $f:ident;)*) => {$(
        impl $trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                self.elementwise(BinaryFn::$f, other, Location::caller())
            }
        }
        impl $trait<Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                self.elementwise(BinaryFn::$f, &other, Location::caller())
            }
        }
        impl $trait<&Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                self.elementwise(BinaryFn::$f, other, Location::caller())
            }
        }
        impl $trait<Tensor> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: Tensor) -> Tensor {
                self.elementwise(BinaryFn::$f, &other, Location::caller())
            }
        }
        impl $trait<f64> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, c: f64) -> Tensor {
                self.with_number(BinaryFn::$f, c, false, Location::caller())
            }
        }
        impl $trait<f64> for Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, c: f64) -> Tensor {
                self.with_number(BinaryFn::$f, c, false, Location::caller())
            }
        }
        impl $trait<&Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, x: &Tensor) -> Tensor {
                x.with_number(BinaryFn::$f, self, true, Location::caller())
            }
        }
        impl $trait<Tensor> for f64 {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, x: Tensor) -> Tensor {
                x.with_number(BinaryFn::$f, self, true, Location::caller())
            }
        }
    )*};
}

operator! {
    Add add Add;
    Sub sub Sub;
    Mul mul Mul;
    Div div Div;
}

impl Neg for &Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        self.map(Location::caller(), |b, x| b.neg(x))
    }
}

impl Neg for Tensor {
    type Output = Tensor;
    #[track_caller]
    fn neg(self) -> Tensor {
        -&self
    }
}
