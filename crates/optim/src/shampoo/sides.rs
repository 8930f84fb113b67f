//! Statistics of a tensor's sides, and their inverse roots.

use super::{RootEngine, ShampooConfig, Side};
use crate::Error;
use crate::kron_engine::FactorKind;
use crate::kron_engine::ladder::{Decompositions, columns, side_by_side};
use crate::kron_engine::modes::Shape;
use crate::roots;
use numerics::{MatMut, MatRef, Par, Scalar, dense, simd};

/// Elements of the matrices that the root of a side needs.
pub(super) fn room<T: Scalar>(side: &Side<T>) -> usize {
    if side.is_on() && side.kind == FactorKind::Dense { 3 * side.n * side.n } else { 0 }
}

/// Sum of the cubed orders of what is decomposed.
fn work<T: Scalar>(sides: &[Side<T>]) -> f64 {
    sides.iter().filter(|s| room(s) > 0).map(|s| (s.n as f64).powi(3)).sum()
}

/// A gradient's share in the statistics of some sides, the first of which is mode `first`: side by side if there are threads for that.
pub(super) fn learn<T: Scalar>(
    shape: &Shape,
    first: usize,
    sides: &mut [Side<T>],
    g: &[T],
    (keep, weight): (T, T),
    par: Par,
) {
    match sides {
        [] => {}
        [side] if !side.is_on() => {}
        [side] if side.kind == FactorKind::Dense => {
            shape.outer_triangle(first, g, weight, &mut side.l, keep, par);
        }
        [side] => {
            // The old root is not needed any more once there are new statistics of a diagonal factor.
            shape.squares(first, g, &mut side.root);
            side.l.iter_mut().zip(&side.root).for_each(|(l, &d)| *l = keep * *l + weight * d);
        }
        _ => {
            let middle = sides.len() / 2;
            let (left, right) = sides.split_at_mut(middle);
            // In cubed orders: a decomposition is some ten times as much work as its cubed order in products.
            let work = |sides: &[Side<T>]| {
                let rows: usize = sides.iter().filter(|s| room(s) > 0).map(|s| s.n).sum();
                0.1 * (rows * shape.len()) as f64
            };
            side_by_side(
                par,
                (work(left), work(right)),
                |par| learn(shape, first, left, g, (keep, weight), par),
                |par| learn(shape, first + middle, right, g, (keep, weight), par),
            );
        }
    }
}

/// New roots of all sides, which do not depend on each other: side by side if there are threads for that.
pub(super) fn new_roots<T: Scalar>(
    c: &ShampooConfig,
    tools: &Decompositions<T>,
    correction: f64,
    sides: &mut [Side<T>],
    matrices: &mut [T],
    par: Par,
) {
    match sides {
        [] => {}
        [side] if !side.is_on() => {}
        [side] => {
            let scale = correction * trace_factor(c, side, correction);
            match side.kind {
                FactorKind::Diagonal => diagonal_root(c, side, scale),
                _ => new_root(c, tools, scale, side, matrices, par),
            }
        }
        _ => {
            let (left, right) = sides.split_at_mut(sides.len() / 2);
            let (matrices, rest) = matrices.split_at_mut(left.iter().map(room).sum());
            side_by_side(
                par,
                (work(left), work(right)),
                |par| new_roots(c, tools, correction, left, matrices, par),
                |par| new_roots(c, tools, correction, right, rest, par),
            );
        }
    }
}

/// A new root of a dense side, unless it cannot be found.
fn new_root<T: Scalar>(
    c: &ShampooConfig,
    tools: &Decompositions<T>,
    scale: f64,
    side: &mut Side<T>,
    matrices: &mut [T],
    par: Par,
) {
    let n = side.n;
    let (l, matrices) = matrices.split_at_mut(n * n);
    let (vectors, matrices) = matrices.split_at_mut(n * n);
    // All by columns. Of the statistics, by rows, the triangle on and above the diagonal is kept: by columns, the other one.
    let scale = T::from_f64(scale);
    simd::wide(|| l.iter_mut().zip(&side.l).for_each(|(to, &l)| *to = l * scale));
    let mut mats = [columns(l, n), columns(vectors, n), columns(matrices, n)];
    dense::mirror_lower(mats[0].as_mut());
    match find_root(c, tools, side, &mut mats, par) {
        Ok(()) if dense::is_all_finite(mats[2].as_ref()) => {
            dense::copy(columns(&mut side.root, n), mats[2].as_ref());
            side.failures = 0;
        }
        _ => side.failures += 1,
    }
}

/// `max(Tr L^, eps)^{-1/2}` if traces are scaled.
fn trace_factor<T: Scalar>(c: &ShampooConfig, side: &Side<T>, correction: f64) -> f64 {
    if !c.trace_scaling {
        return 1.0;
    }
    let stride = if side.kind == FactorKind::Dense { side.n + 1 } else { 1 };
    let trace: f64 = side.l.iter().step_by(stride).map(|x| x.to_f64()).sum();
    let factor = (trace * correction).max(c.eps).sqrt().recip();
    if factor.is_finite() { factor } else { 1.0 }
}

fn diagonal_root<T: Scalar>(c: &ShampooConfig, side: &mut Side<T>, scale: f64) {
    let largest = side.l.iter().map(|l| l.to_f64() * scale).fold(0.0, f64::max);
    let (cut, eps) = match c.root {
        RootEngine::PseudoInverse { rtol, atol } => {
            ((rtol.unwrap_or(side.n as f64 * T::EPS.to_f64()) * largest).max(atol), 0.0)
        }
        _ if c.relative_eps => (-1.0, c.eps * largest),
        _ => (-1.0, c.eps),
    };
    for (root, l) in side.root.iter_mut().zip(&side.l) {
        let l = l.to_f64() * scale;
        *root = if l > cut && l + eps > 0.0 { T::from_f64((l + eps).powf(-side.exponent)) } else { T::ZERO };
    }
}

/// The inverse root of `mats[0]`, which is used up, into `mats[2]`.
fn find_root<T: Scalar>(
    c: &ShampooConfig,
    tools: &Decompositions<T>,
    side: &mut Side<T>,
    mats: &mut [MatMut<'_, T>; 3],
    par: Par,
) -> Result<(), Error> {
    let exponent = side.exponent;
    let [l, vectors, out] = mats;
    let eps = if c.relative_eps {
        c.eps * largest_eigenvalue(l.as_ref(), &mut side.power).max(f64::MIN_POSITIVE)
    } else {
        c.eps
    };
    let power = |l: T| l.powf(T::from_f64(-exponent));
    if let RootEngine::PseudoInverse { rtol, atol } = c.root {
        let rtol = rtol.unwrap_or(side.n as f64 * T::EPS.to_f64());
        let cut = |l: T, _: T, largest: T| {
            if l > T::from_f64((rtol * largest.to_f64()).max(atol)) { power(l) } else { T::ZERO }
        };
        let (work, values) = (&mut side.work, &mut side.values);
        return roots::spectral_into(tools, work, l.as_mut(), values, vectors.as_mut(), out.as_mut(), cut, par);
    }
    roots::add_to_diagonal(l.as_mut(), T::from_f64(eps));
    if let (RootEngine::Newton { tol, iterations }, Some(newton)) = (c.root, &mut side.newton) {
        let p = exponent.recip().round();
        let integer = (p * exponent - 1.0).abs() < 1e-12;
        if integer && newton.run(l.as_ref(), p as u32, tol, iterations, par).is_ok() {
            dense::copy(out.as_mut(), newton.x.as_ref());
            return Ok(());
        }
    }
    let eps = T::from_f64(eps);
    let lifted = |l: T, least: T, _: T| power(if least < eps { (l - least) + eps } else { l });
    let (work, values) = (&mut side.work, &mut side.values);
    roots::spectral_into(tools, work, l.as_mut(), values, vectors.as_mut(), out.as_mut(), lifted, par)
}

/// By power iteration from the column sums, 100 steps or 1e-6.
fn largest_eigenvalue<T: Scalar>(a: MatRef<'_, T>, [x, y]: &mut [Vec<f64>; 2]) -> f64 {
    let n = a.nrows();
    for (j, x) in x.iter_mut().enumerate() {
        *x = 1.0 + (0..n).map(|i| a[(i, j)].to_f64().abs()).sum::<f64>();
    }
    let mut value = 0.0_f64;
    for _ in 0..100 {
        let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm == 0.0 || !norm.is_finite() {
            return value;
        }
        x.iter_mut().for_each(|x| *x /= norm);
        for (i, y) in y.iter_mut().enumerate() {
            *y = (0..n).map(|j| a[(i, j)].to_f64() * x[j]).sum();
        }
        let new: f64 = x.iter().zip(y.iter()).map(|(x, y)| x * y).sum();
        let done = (new - value).abs() <= 1e-6 * new.abs();
        value = new;
        core::mem::swap(x, y);
        if done {
            break;
        }
    }
    value
}
