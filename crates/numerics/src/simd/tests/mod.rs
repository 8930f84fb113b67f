//! Tests of the kernels: accuracy and special values at every available level, layout independence, reductions.

mod accuracy;
mod forms;
// Reference values stay as computed, also where one happens to be a named constant.
#[allow(clippy::approx_constant)]
mod golden;
mod special;

use super::{Kernels, Level, SimdKernels, Unary};
use crate::Scalar;

/// Every level this machine can run, with its kernels.
fn levels<T: Scalar>() -> impl Iterator<Item = (Level, &'static Kernels<T>)> {
    Level::ALL.into_iter().filter_map(|level| T::kernels_at(level).map(|kernels| (level, kernels)))
}

fn apply<T: Scalar>(kernels: &Kernels<T>, op: Unary, x: &[T]) -> Vec<T> {
    let mut y = vec![T::ZERO; x.len()];
    (kernels.unary[op as usize])(x, &mut y);
    y
}

#[test]
fn the_chosen_level_is_available() {
    assert!(Level::Baseline.is_available());
    assert!(Level::detected().is_available());
    let chosen: *const Kernels<f64> = f64::kernels();
    let expected = f64::kernels_at(Level::detected()).unwrap();
    assert!(std::ptr::eq(chosen, expected));
}
