//! Clipping a gradient by its global norm.
//!
//! The norm runs over all present tensors together and is summed in `f64` in a fixed order, whatever the precision
//! of the gradient. One pass to measure, one to scale if needed.

use crate::error::check;
use crate::{Error, Grads, ParamList};
use numerics::Scalar;

/// What [`clip_global_norm`] found and did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// Norm before clipping; NaN or infinite if the gradient holds such entries.
    pub norm: f64,
    /// Factor that was applied, at most one.
    pub scale: f64,
}

/// Euclidean norm of all gradients that are present.
///
/// # Errors
/// If the lengths do not fit the list.
pub fn global_norm<T: Scalar>(list: &ParamList, grads: Grads<'_, T>) -> Result<f64, Error> {
    grads.check(list)?;
    let sum = |unit: f64| -> f64 {
        let present = list.params().iter().enumerate().filter(|&(i, _)| grads.has(i));
        present.map(|(_, p)| squares(&grads.values()[p.range()], unit)).sum()
    };
    let plain = sum(1.0);
    // Squares that leave the range of f64 are taken of numbers divided by the largest; a power of two is exact.
    if plain.is_nan() || (1e-280..=f64::MAX).contains(&plain) {
        return Ok(plain.sqrt());
    }
    let present = list.params().iter().enumerate().filter(|&(i, _)| grads.has(i));
    let largest =
        present.flat_map(|(_, p)| &grads.values()[p.range()]).fold(0.0_f64, |largest, x| largest.max(x.to_f64().abs()));
    if largest == 0.0 || !largest.is_finite() {
        return Ok(largest);
    }
    let unit = largest.log2().floor().clamp(-1000.0, 1000.0).exp2();
    Ok(sum(unit.recip()).sqrt() * unit)
}

/// Scales the gradient to norm `max_norm` if it is longer.
///
/// A gradient whose norm is not finite is left as it is, for the optimiser's own policy to meet.
///
/// ```
/// use optim::{ParamGroup, ParamList, clip_global_norm};
/// let mut list = ParamList::new();
/// let g = list.add_group(ParamGroup::new("all"));
/// list.push("a", &[1], g)?;
/// list.push("b", &[1], g)?;
/// let mut gradient = [3.0_f32, 4.0];
/// let clip = clip_global_norm(&list, &mut gradient, None, 2.5)?;
/// assert_eq!((clip.norm, clip.scale), (5.0, 0.5));
/// assert_eq!(gradient, [1.5, 2.0]);
/// # Ok::<(), optim::Error>(())
/// ```
///
/// # Errors
/// If the lengths do not fit the list or `max_norm` is not positive.
pub fn clip_global_norm<T: Scalar>(
    list: &ParamList,
    gradient: &mut [T],
    present: Option<&[bool]>,
    max_norm: f64,
) -> Result<Clip, Error> {
    check(max_norm > 0.0, "max_norm", max_norm, "above 0")?;
    let view = |values| match present {
        Some(p) => Grads::masked(values, p),
        None => Grads::all(values),
    };
    let norm = global_norm(list, view(gradient))?;
    if !norm.is_finite() || norm <= max_norm {
        return Ok(Clip { norm, scale: 1.0 });
    }
    let scale = max_norm / norm;
    let factor = T::from_f64(scale);
    for (i, p) in list.params().iter().enumerate() {
        if present.is_none_or(|present| present[i]) {
            gradient[p.range()].iter_mut().for_each(|x| *x *= factor);
        }
    }
    Ok(Clip { norm, scale })
}

/// Sum of squares of `unit * x` in `f64`, in eight lanes.
fn squares<T: Scalar>(x: &[T], unit: f64) -> f64 {
    let mut lanes = [0.0_f64; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            let v = v.to_f64() * unit;
            *lane += v * v;
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        let v = v.to_f64() * unit;
        *lane += v * v;
    }
    lanes.iter().sum()
}
