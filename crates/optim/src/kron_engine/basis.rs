//! The refresh of the bases, and all that moves along: momentum, second moment, statistics, eigenvalues.
//!
//! With the original storage `Q <- qr(S Q)`. With the rotated one `H R = qr(S^)`, `Q <- Q H`, `S^ <- R H`: a step
//! of the QR algorithm, and `H^T` turns what is stored in the basis. If columns are sorted, every attached array is
//! permuted with them, stably.

use super::factor::Factor;
use super::ladder::{Decompositions, Ready, Shift, eigenvectors, orthogonal, scaled_copy};
use super::modes::{Shape, square, square_mut};
use super::{KronConfig, Refresh, Scale, Storage, Transport};
use numerics::{Mat, MatRef, Par, Scalar, dense};

/// What is stored in the basis and has to move with it.
pub(crate) struct Attached<'a, T> {
    /// Momentum, if it lives in the basis.
    pub(crate) m: Option<&'a mut [T]>,
    /// Free second moment.
    pub(crate) v: Option<&'a mut [T]>,
    /// Of the block's length.
    pub(crate) scratch: &'a mut [T],
}

/// Whether a refresh changed the basis, and how.
enum Move<T> {
    /// `Q_new = Q_old H`.
    By(Mat<T>),
    Stayed,
    Failed,
}

/// Refreshes one dense factor. `false`: every decomposition failed and the old basis stays.
pub(crate) fn refresh<T: Scalar>(
    config: &KronConfig,
    tools: &Decompositions<T>,
    shape: &Shape,
    mode: usize,
    f: &mut Factor<T>,
    mut attached: Attached<'_, T>,
    par: Par,
) -> bool {
    if config.sort {
        sort(config, shape, mode, f, &mut attached, par);
    }
    let moved = match config.storage {
        Storage::Rotated => refresh_rotated(config, tools, f, par),
        Storage::Original => refresh_original(config, tools, f, attached.v.is_some(), par),
    };
    match moved {
        Move::Failed => {
            f.failures += 1;
            return false;
        }
        Move::Stayed => {}
        Move::By(h) => {
            if config.storage == Storage::Rotated
                && let Some(m) = attached.m
            {
                turn(shape, mode, h.as_ref(), m, attached.scratch, par);
            }
            if let (Scale::Free, Transport::Rotate, Some(v)) = (config.scale, config.transport, attached.v) {
                let squares = Mat::from_fn(f.n, f.n, |i, j| h[(i, j)] * h[(i, j)]);
                turn(shape, mode, squares.as_ref(), v, attached.scratch, par);
            }
        }
    }
    f.failures = 0;
    true
}

/// `x <- x x_mode H^T`.
fn turn<T: Scalar>(shape: &Shape, mode: usize, h: MatRef<'_, T>, x: &mut [T], scratch: &mut [T], par: Par) {
    shape.along(mode, h.transpose(), x, scratch, par);
    x.copy_from_slice(scratch);
}

fn shift(config: &KronConfig) -> Shift {
    if config.shift_eigh { Shift::Relative } else { Shift::Nothing }
}

/// First basis of a factor: eigenvectors of the first statistics. `false` if the decomposition failed; then `Q = I`.
pub(crate) fn begin<T: Scalar>(config: &KronConfig, tools: &Decompositions<T>, f: &mut Factor<T>) -> bool {
    f.reset_basis();
    let n = f.n;
    let (copy, unit) = match scaled_copy(&f.s, n) {
        Ready::Zero => return true,
        Ready::NotFinite => {
            f.failures += 1;
            return false;
        }
        Ready::Scaled(copy, unit) => (copy, unit),
    };
    let shift = if config.shift_eigh { Shift::Relative } else { Shift::Plain(1e-30) };
    let Ok((q, values)) = eigenvectors(tools, copy, unit, shift) else {
        f.failures += 1;
        return false;
    };
    dense::copy(square_mut(&mut f.q, n), q.as_ref());
    if config.storage == Storage::Rotated {
        set_diagonal(&mut f.s, n, &values, unit);
    }
    true
}

fn set_diagonal<T: Scalar>(s: &mut [T], n: usize, values: &[T], unit: T) {
    s.fill(T::ZERO);
    s.iter_mut().step_by(n + 1).zip(values).for_each(|(x, &l)| *x = l / unit);
}

/// Share of a matrix off its diagonal, in the Frobenius norm.
fn off_diagonal<T: Scalar>(a: MatRef<'_, T>) -> f64 {
    let (mut off, mut all) = (0.0, 0.0);
    for j in 0..a.ncols() {
        for i in 0..a.nrows() {
            let x = a[(i, j)].to_f64();
            all += x * x;
            off += if i == j { 0.0 } else { x * x };
        }
    }
    if all == 0.0 { 0.0 } else { (off / all).sqrt() }
}

fn refresh_rotated<T: Scalar>(config: &KronConfig, tools: &Decompositions<T>, f: &mut Factor<T>, par: Par) -> Move<T> {
    let n = f.n;
    let (mut s, unit) = match scaled_copy(&f.s, n) {
        Ready::Zero => return Move::Stayed,
        Ready::NotFinite => return Move::Failed,
        Ready::Scaled(s, unit) => (s, unit),
    };
    let sweeps = match config.refresh {
        Refresh::Adaptive(tolerance) if off_diagonal(s.as_ref()) <= tolerance => return Move::Stayed,
        Refresh::Adaptive(_) => 1,
        Refresh::Qr(sweeps) => sweeps,
        Refresh::Eigh => 0,
    };
    let mut h: Option<Mat<T>> = None;
    for _ in 0..sweeps {
        let Some(step) = orthogonal(tools, s.as_ref()) else {
            h = None;
            break;
        };
        dense::gemm(s.as_mut(), T::ONE, step.r.as_ref(), step.q.as_ref(), T::ZERO, par);
        dense::symmetrize(s.as_mut());
        h = Some(match h {
            None => step.q,
            Some(h) => product(h.as_ref(), step.q.as_ref(), par),
        });
    }
    if h.is_none() {
        // Asked for, or QR gave nonsense.
        let Ready::Scaled(copy, unit) = scaled_copy(&f.s, n) else { return Move::Stayed };
        let Ok((q, values)) = eigenvectors(tools, copy, unit, shift(config)) else { return Move::Failed };
        set_diagonal(&mut f.s, n, &values, unit);
        h = Some(q);
    } else {
        let back = unit.recip();
        for (i, row) in f.s.chunks_exact_mut(n).enumerate() {
            row.iter_mut().enumerate().for_each(|(j, x)| *x = s[(i, j)] * back);
        }
    }
    let Some(h) = h else { return Move::Failed };
    let q = product(square(&f.q, n), h.as_ref(), par);
    dense::copy(square_mut(&mut f.q, n), q.as_ref());
    Move::By(h)
}

fn refresh_original<T: Scalar>(
    config: &KronConfig,
    tools: &Decompositions<T>,
    f: &mut Factor<T>,
    want_turn: bool,
    par: Par,
) -> Move<T> {
    let n = f.n;
    let (s, unit) = match scaled_copy(&f.s, n) {
        Ready::Zero => return Move::Stayed,
        Ready::NotFinite => return Move::Failed,
        Ready::Scaled(s, unit) => (s, unit),
    };
    let sweeps = match config.refresh {
        Refresh::Adaptive(tolerance) => {
            let q = square(&f.q, n);
            let projected = product(q.transpose(), product(s.as_ref(), q, par).as_ref(), par);
            if off_diagonal(projected.as_ref()) <= tolerance {
                return Move::Stayed;
            }
            1
        }
        Refresh::Qr(sweeps) => sweeps,
        Refresh::Eigh => 0,
    };
    let mut new: Option<Mat<T>> = None;
    for _ in 0..sweeps {
        let q = new.as_ref().map_or(square(&f.q, n), Mat::as_ref);
        new = orthogonal(tools, product(s.as_ref(), q, par).as_ref()).map(|f| f.q);
        if new.is_none() {
            break;
        }
    }
    let new = match new {
        Some(new) => new,
        None => match eigenvectors(tools, s, unit, shift(config)) {
            Ok((q, _)) => q,
            Err(_) => return Move::Failed,
        },
    };
    let h = want_turn.then(|| product(square(&f.q, n).transpose(), new.as_ref(), par));
    dense::copy(square_mut(&mut f.q, n), new.as_ref());
    h.map_or(Move::Stayed, Move::By)
}

fn product<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>, par: Par) -> Mat<T> {
    let mut out = Mat::zeros(a.nrows(), b.ncols());
    dense::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, par);
    out
}

/// `diag(Q^T S Q)`, into `out`.
pub(crate) fn projected_diagonal<T: Scalar>(storage: Storage, f: &Factor<T>, out: &mut [T], par: Par) {
    match (f.is_dense(), storage) {
        (false, _) => out.copy_from_slice(&f.s),
        (true, Storage::Rotated) => out.iter_mut().zip(f.s.iter().step_by(f.n + 1)).for_each(|(o, &s)| *o = s),
        (true, Storage::Original) => {
            let q = square(&f.q, f.n);
            let sq = product(square(&f.s, f.n), q, par);
            dense::col_dots(q, sq.as_ref(), out);
        }
    }
}

fn sort<T: Scalar>(
    config: &KronConfig,
    shape: &Shape,
    mode: usize,
    f: &mut Factor<T>,
    attached: &mut Attached<'_, T>,
    par: Par,
) {
    let n = f.n;
    let mut diagonal = vec![T::ZERO; n];
    projected_diagonal(config.storage, f, &mut diagonal, par);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| diagonal[b].partial_cmp(&diagonal[a]).unwrap_or(core::cmp::Ordering::Equal));
    if order.is_sorted() {
        return;
    }
    let old = f.q.clone();
    for (new, old) in f.q.chunks_exact_mut(n).zip(old.chunks_exact(n)) {
        new.iter_mut().zip(&order).for_each(|(x, &from)| *x = old[from]);
    }
    let old = f.e.clone();
    f.e.iter_mut().zip(&order).for_each(|(x, &from)| *x = old[from]);
    if config.storage == Storage::Rotated {
        let old = f.s.clone();
        for (row, &i) in f.s.chunks_exact_mut(n).zip(&order) {
            row.iter_mut().zip(&order).for_each(|(x, &j)| *x = old[i * n + j]);
        }
        if let Some(m) = attached.m.as_deref_mut() {
            shape.permute(mode, &order, m, attached.scratch);
            m.copy_from_slice(attached.scratch);
        }
    }
    if let Some(v) = attached.v.as_deref_mut() {
        shape.permute(mode, &order, v, attached.scratch);
        v.copy_from_slice(attached.scratch);
    }
}
