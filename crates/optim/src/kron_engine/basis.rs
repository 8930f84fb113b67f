//! The refresh of the bases, and all that moves along: momentum, second moment, statistics, eigenvalues.
//!
//! With the original storage `Q <- qr(S Q)`. With the rotated one `H R = qr(S^)`, `Q <- Q H`, `S^ <- R H`: a step
//! of the QR algorithm, and `H^T` turns what is stored in the basis. If columns are sorted, every attached array is
//! permuted with them, stably.

use super::factor::Factor;
use super::ladder::{
    Bench, Decompositions, Ready, Shift, bench_len, columns, eigenvectors, orthogonal, scaled_copy, side_by_side,
    split_bench,
};
use super::modes::{Shape, square, square_mut};
use super::{KronConfig, Refresh, Scale, Storage, Transport};
use numerics::dense::FactorWork;
use numerics::{MatMut, MatRef, Par, Scalar, dense, simd};

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Move {
    /// `Q_new = Q_old H`, and `H` lies on the bench.
    Turned,
    Stayed,
    /// Every decomposition failed, and the old basis stays.
    Failed,
}

/// The factors of a block, each with what its refresh needs, so that they can be refreshed side by side.
pub(crate) struct Sides<'a, T: Scalar> {
    pub(crate) factors: &'a mut [Factor<T>],
    /// Of the factors' orders.
    pub(crate) values: &'a mut [Vec<T>],
    pub(crate) works: &'a mut [FactorWork<T>],
    pub(crate) moves: &'a mut [Move],
    /// The matrices of a [`Bench`] for each dense factor.
    pub(crate) matrices: &'a mut [T],
}

impl<T: Scalar> Sides<'_, T> {
    fn work(&self) -> f64 {
        self.factors.iter().filter(|f| f.is_dense()).map(|f| (f.n as f64).powi(3)).sum()
    }

    fn split(&mut self) -> (Sides<'_, T>, Sides<'_, T>) {
        let middle = self.factors.len() / 2;
        let (left, right) = self.factors.split_at_mut(middle);
        let taken = left.iter().filter(|f| f.is_dense()).map(|f| bench_len(f.n)).sum();
        let (values, other_values) = self.values.split_at_mut(middle);
        let (works, other_works) = self.works.split_at_mut(middle);
        let (moves, other_moves) = self.moves.split_at_mut(middle);
        let (matrices, other_matrices) = self.matrices.split_at_mut(taken);
        (
            Sides { factors: left, values, works, moves, matrices },
            Sides {
                factors: right,
                values: other_values,
                works: other_works,
                moves: other_moves,
                matrices: other_matrices,
            },
        )
    }
}

/// New bases of all dense factors, which do not depend on each other: side by side if there are threads for that.
pub(crate) fn refresh<T: Scalar>(config: &KronConfig, tools: &Decompositions<T>, mut sides: Sides<'_, T>, par: Par) {
    if sides.factors.len() <= 1 {
        let Sides { factors: [f], values: [values], works: [work], moves: [moved], matrices } = sides else { return };
        if f.is_dense() {
            let [s, h, t, u] = split_bench(matrices, f.n);
            *moved = refresh_one(config, tools, f, &mut Bench { s, h, t, u, values, work }, par);
        }
        return;
    }
    let (left, right) = sides.split();
    side_by_side(
        par,
        (left.work(), right.work()),
        |par| refresh(config, tools, left, par),
        |par| refresh(config, tools, right, par),
    );
}

fn refresh_one<T: Scalar>(
    config: &KronConfig,
    tools: &Decompositions<T>,
    f: &mut Factor<T>,
    bench: &mut Bench<'_, T>,
    par: Par,
) -> Move {
    f.complete();
    let moved = match config.storage {
        Storage::Rotated => refresh_rotated(config, tools, f, bench, par),
        Storage::Original => refresh_original(config, tools, f, config.scale == Scale::Free, bench, par),
    };
    f.failures = if moved == Move::Failed { f.failures + 1 } else { 0 };
    moved
}

/// The turns of a refresh, `H` of every dense factor on its bench.
pub(crate) struct Turned<'a, T> {
    pub(crate) factors: &'a [Factor<T>],
    pub(crate) moves: &'a [Move],
    /// As in [`Sides`].
    pub(crate) matrices: &'a mut [T],
}

/// Modes that turned, where their benches begin, their orders.
fn turned_modes<T: Scalar>(factors: &[Factor<T>], moves: &[Move]) -> impl Iterator<Item = (usize, usize, usize)> {
    let mut start = 0;
    let dense = factors.iter().zip(moves).enumerate().filter(|(_, (f, _))| f.is_dense());
    dense.filter_map(move |(j, (f, &moved))| {
        let own = start;
        start += bench_len(f.n);
        (moved == Move::Turned).then_some((j, own, f.n))
    })
}

/// Turns what is stored in the bases: the momentum, if it is, and a free second moment that turns with them, side by side if there are threads.
/// Each comes with scratch of its own.
pub(crate) fn follow<T: Scalar>(
    config: &KronConfig,
    shape: &Shape,
    turned: Turned<'_, T>,
    (m, m_scratch): (&mut [T], &mut [T]),
    (v, v_scratch): (&mut [T], &mut [T]),
    par: Par,
) {
    let momentum = config.storage == Storage::Rotated;
    let second = (config.scale, config.transport) == (Scale::Free, Transport::Rotate);
    let Turned { factors, moves, matrices } = turned;
    if second {
        for (_, start, n) in turned_modes(factors, moves) {
            // In place of the scaled statistics, which have served.
            let [s, h, ..] = split_bench(&mut matrices[start..], n);
            simd::wide(|| s.iter_mut().zip(&*h).for_each(|(s, &h)| *s = h * h));
        }
    }
    let matrices = &*matrices;
    let all = |which: usize, x: &mut [T], scratch: &mut [T], par: Par| {
        for (j, start, n) in turned_modes(factors, moves) {
            let by = MatRef::from_column_major_slice(&matrices[start + which * n * n..][..n * n], n, n);
            turn(shape, j, by, x, scratch, par);
        }
    };
    let ways = par.degree();
    match (momentum, second) {
        (true, true) if ways > 1 => {
            let (few, more) = (Par::rayon(ways / 2), Par::rayon(ways - ways / 2));
            rayon::join(|| all(TURN, m, m_scratch, few), || all(SQUARES, v, v_scratch, more));
        }
        _ => {
            if momentum {
                all(TURN, m, m_scratch, par);
            }
            if second {
                all(SQUARES, v, v_scratch, par);
            }
        }
    }
}

/// Which of the matrices of a bench holds a turn `H`, and which its squares `H o H`.
const TURN: usize = 1;
const SQUARES: usize = 0;

/// `x <- x x_mode H^T`.
fn turn<T: Scalar>(shape: &Shape, mode: usize, h: MatRef<'_, T>, x: &mut [T], scratch: &mut [T], par: Par) {
    shape.along(mode, h.transpose(), x, scratch, par);
    x.copy_from_slice(&scratch[..x.len()]);
}

fn shift(config: &KronConfig) -> Shift {
    if config.shift_eigh { Shift::Relative } else { Shift::Nothing }
}

/// First basis of a factor: eigenvectors of the first statistics. `false` if the decomposition failed; then `Q = I`.
pub(crate) fn begin<T: Scalar>(
    config: &KronConfig,
    tools: &Decompositions<T>,
    f: &mut Factor<T>,
    mut bench: Bench<'_, T>,
) -> bool {
    f.reset_basis();
    let n = f.n;
    let unit = match scaled_copy(&f.s, n, &mut bench.s[..n * n]) {
        Ready::Zero => return true,
        Ready::NotFinite => {
            f.failures += 1;
            return false;
        }
        Ready::Scaled(unit) => unit,
    };
    let shift = if config.shift_eigh { Shift::Relative } else { Shift::Plain(1e-30) };
    if eigenvectors(tools, n, unit, shift, &mut bench).is_err() {
        f.failures += 1;
        return false;
    }
    dense::copy(square_mut(&mut f.q, n), columns(bench.h, n).as_ref());
    if config.storage == Storage::Rotated {
        set_diagonal(&mut f.s, n, bench.values, unit);
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

fn refresh_rotated<T: Scalar>(
    config: &KronConfig,
    tools: &Decompositions<T>,
    f: &mut Factor<T>,
    bench: &mut Bench<'_, T>,
    par: Par,
) -> Move {
    let n = f.n;
    let unit = match scaled_copy(&f.s, n, &mut bench.s[..n * n]) {
        Ready::Zero => return Move::Stayed,
        Ready::NotFinite => return Move::Failed,
        Ready::Scaled(unit) => unit,
    };
    let sweeps = match config.refresh {
        Refresh::Adaptive(tolerance) if off_diagonal(columns(bench.s, n).as_ref()) <= tolerance => {
            return Move::Stayed;
        }
        Refresh::Adaptive(_) => 1,
        Refresh::Qr(sweeps) => sweeps,
        Refresh::Eigh => 0,
    };
    if sweeps > 0 && sweep(tools, n, sweeps, bench, par) {
        // Its columns are the other's rows, and one triangle is enough.
        let back = unit.recip();
        simd::wide(|| f.s.iter_mut().zip(&*bench.s).for_each(|(x, &s)| *x = s * back));
    } else {
        // Asked for, or QR gave nonsense.
        let Ready::Scaled(unit) = scaled_copy(&f.s, n, &mut bench.s[..n * n]) else { return Move::Stayed };
        if eigenvectors(tools, n, unit, shift(config), bench).is_err() {
            return Move::Failed;
        }
        set_diagonal(&mut f.s, n, bench.values, unit);
    }
    dense::gemm(square_mut(bench.t, n), T::ONE, square(&f.q, n), columns(bench.h, n).as_ref(), T::ZERO, par);
    f.q.copy_from_slice(bench.t);
    Move::Turned
}

/// Rows of a block of [`turned`].
const ROWS: usize = 64;

/// The lower triangle of `out = R H`, which is `H^T S H`: symmetric, and `R` is upper triangular, so that a third of the product is
/// enough. Above the diagonal there may be anything.
fn turned<T: Scalar>(mut out: MatMut<'_, T>, r: MatRef<'_, T>, h: MatRef<'_, T>, par: Par) {
    let n = r.nrows();
    for start in (0..n).step_by(ROWS) {
        let rows = ROWS.min(n - start);
        let (r, h) = (r.submatrix(start, start, rows, n - start), h.submatrix(start, 0, n - start, start + rows));
        dense::gemm(out.as_mut().submatrix_mut(start, 0, rows, start + rows), T::ONE, r, h, T::ZERO, par);
    }
}

/// Steps of the QR algorithm on the matrix in `s`, of which the lower triangle is left; their product in `h`. `false` if one of them is not finite.
fn sweep<T: Scalar>(tools: &Decompositions<T>, n: usize, sweeps: u32, bench: &mut Bench<'_, T>, par: Par) -> bool {
    for k in 0..sweeps {
        dense::copy(columns(bench.t, n), columns(bench.s, n).as_ref());
        // The first of them is the product so far, and is made where that is kept.
        if k == 0 {
            core::mem::swap(&mut bench.h, &mut bench.u);
        }
        let found = orthogonal(tools, n, bench);
        let mut s = columns(bench.s, n);
        if found {
            turned(s.as_mut(), columns(bench.t, n).as_ref(), columns(bench.u, n).as_ref(), par);
        }
        if k == 0 {
            core::mem::swap(&mut bench.h, &mut bench.u);
        }
        if !found {
            return false;
        }
        if k + 1 < sweeps {
            dense::mirror_lower(columns(bench.s, n));
        }
        if k > 0 {
            let u = columns(bench.u, n);
            dense::gemm(columns(bench.t, n), T::ONE, columns(bench.h, n).as_ref(), u.as_ref(), T::ZERO, par);
            dense::copy(columns(bench.h, n), columns(bench.t, n).as_ref());
        }
    }
    true
}

fn refresh_original<T: Scalar>(
    config: &KronConfig,
    tools: &Decompositions<T>,
    f: &mut Factor<T>,
    want_turn: bool,
    bench: &mut Bench<'_, T>,
    par: Par,
) -> Move {
    let n = f.n;
    let unit = match scaled_copy(&f.s, n, &mut bench.s[..n * n]) {
        Ready::Zero => return Move::Stayed,
        Ready::NotFinite => return Move::Failed,
        Ready::Scaled(unit) => unit,
    };
    let q = square(&f.q, n);
    let sweeps = match config.refresh {
        Refresh::Adaptive(tolerance) => {
            dense::gemm(columns(bench.t, n), T::ONE, columns(bench.s, n).as_ref(), q, T::ZERO, par);
            let mut u = columns(bench.u, n);
            dense::gemm(u.as_mut(), T::ONE, q.transpose(), columns(bench.t, n).as_ref(), T::ZERO, par);
            if off_diagonal(u.as_ref()) <= tolerance {
                return Move::Stayed;
            }
            1
        }
        Refresh::Qr(sweeps) => sweeps,
        Refresh::Eigh => 0,
    };
    let mut found = false;
    for k in 0..sweeps {
        let u = columns(bench.u, n);
        let basis = if k == 0 { q } else { u.as_ref() };
        dense::gemm(columns(bench.t, n), T::ONE, columns(bench.s, n).as_ref(), basis, T::ZERO, par);
        found = orthogonal(tools, n, bench);
        if !found {
            break;
        }
    }
    if !found {
        if eigenvectors(tools, n, unit, shift(config), bench).is_err() {
            return Move::Failed;
        }
        dense::copy(columns(bench.u, n), columns(bench.h, n).as_ref());
    }
    let new = columns(bench.u, n);
    if want_turn {
        dense::gemm(columns(bench.h, n), T::ONE, q.transpose(), new.as_ref(), T::ZERO, par);
    }
    dense::copy(square_mut(&mut f.q, n), new.as_ref());
    if want_turn { Move::Turned } else { Move::Stayed }
}

/// `diag(Q^T S Q)`, into `out`; `scratch` has room for a matrix. With the original storage `S` has to be complete.
pub(crate) fn projected_diagonal<T: Scalar>(
    storage: Storage,
    f: &Factor<T>,
    out: &mut [T],
    scratch: &mut [T],
    par: Par,
) {
    match (f.is_dense(), storage) {
        (false, _) => out.copy_from_slice(&f.s),
        (true, Storage::Rotated) => out.iter_mut().zip(f.s.iter().step_by(f.n + 1)).for_each(|(o, &s)| *o = s),
        (true, Storage::Original) => {
            let q = square(&f.q, f.n);
            let mut sq = columns(scratch, f.n);
            dense::gemm(sq.as_mut(), T::ONE, square(&f.s, f.n), q, T::ZERO, par);
            dense::col_dots(q, sq.as_ref(), out);
        }
    }
}

/// Sorts the columns of a dense factor's basis, with all that is attached to them. `values` has its order, `matrix` that squared.
pub(crate) fn sort<T: Scalar>(
    config: &KronConfig,
    shape: &Shape,
    mode: usize,
    f: &mut Factor<T>,
    mut attached: Attached<'_, T>,
    (values, matrix, order): (&mut [T], &mut [T], &mut Vec<usize>),
    par: Par,
) {
    let n = f.n;
    f.complete();
    projected_diagonal(config.storage, f, values, matrix, par);
    let diagonal = &*values;
    order.clear();
    order.extend(0..n);
    // Ties by number: stable, without the memory that a stable sort takes.
    order.sort_unstable_by(|&a, &b| {
        let falling = diagonal[b].partial_cmp(&diagonal[a]).unwrap_or(core::cmp::Ordering::Equal);
        falling.then(a.cmp(&b))
    });
    if order.is_sorted() {
        return;
    }
    let old = &mut matrix[..n * n];
    old.copy_from_slice(&f.q);
    for (new, old) in f.q.chunks_exact_mut(n).zip(old.chunks_exact(n)) {
        new.iter_mut().zip(&*order).for_each(|(x, &from)| *x = old[from]);
    }
    old[..n].copy_from_slice(&f.e);
    f.e.iter_mut().zip(&*order).for_each(|(x, &from)| *x = old[from]);
    if config.storage == Storage::Rotated {
        old.copy_from_slice(&f.s);
        for (row, &i) in f.s.chunks_exact_mut(n).zip(&*order) {
            row.iter_mut().zip(&*order).for_each(|(x, &j)| *x = old[i * n + j]);
        }
        if let Some(m) = attached.m.as_deref_mut() {
            shape.permute(mode, order, m, attached.scratch);
            m.copy_from_slice(&attached.scratch[..m.len()]);
        }
    }
    if let Some(v) = attached.v.as_deref_mut() {
        shape.permute(mode, order, v, attached.scratch);
        v.copy_from_slice(&attached.scratch[..v.len()]);
    }
}
