//! The convex program behind SketchLoRD and the pieces that its solvers share.
//!
//! Given `M = A Omega` of an operator `A = L + diag(d)`: minimise `|X|_*` subject to `X + diag(d) Omega = M`, X standing for
//! `L Omega`. With transposed products `W = A^T Psi` a second block `Z + diag(d) Psi = W` shares the same d and adds `|Z|_*`.
//! For fixed X the best d is explicit, `q(M - X)_i = <omega_i, (M - X)_i> / |omega_i|^2` over the rows of all blocks, so
//! every row of `L Omega` is known but for its component along `omega_i`.

use numerics::{Mat, MatMut, MatRef, Par, dense};
use rayon::prelude::*;

/// A tall n x p matrix stored row by row: what belongs to one row of the operator is contiguous.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    p: usize,
    n: usize,
    data: Vec<f64>,
}

impl Rows {
    pub(crate) fn zeros(n: usize, p: usize) -> Self {
        Rows { p, n, data: vec![0.0; n * p] }
    }

    pub(crate) fn from_tall(a: MatRef<'_, f64>) -> Self {
        let mut out = Rows::zeros(a.nrows(), a.ncols());
        dense::copy(out.wide_mut(), a.transpose());
        out
    }

    /// Rows of the tall matrix.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Its columns.
    pub(crate) fn p(&self) -> usize {
        self.p
    }

    pub(crate) fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.p..(i + 1) * self.p]
    }

    pub(crate) fn row_mut(&mut self, i: usize) -> &mut [f64] {
        &mut self.data[i * self.p..(i + 1) * self.p]
    }

    /// The transpose, p x n.
    pub(crate) fn wide(&self) -> MatRef<'_, f64> {
        MatRef::from_column_major_slice(&self.data, self.p, self.n)
    }

    /// The transpose, p x n.
    pub(crate) fn wide_mut(&mut self) -> MatMut<'_, f64> {
        MatMut::from_column_major_slice_mut(&mut self.data, self.p, self.n)
    }

    pub(crate) fn scale(&mut self, factor: f64) {
        self.data.iter_mut().for_each(|x| *x *= factor);
    }

    pub(crate) fn norm_sq(&self) -> f64 {
        dense::dot(&self.data, &self.data)
    }

    pub(crate) fn dot(&self, other: &Self) -> f64 {
        dense::dot(&self.data, &other.data)
    }

    /// Pieces of whole rows, to be worked on side by side.
    fn pieces(&mut self) -> impl Iterator<Item = &mut [f64]> {
        self.data.chunks_mut((ROWS * self.p).max(1))
    }
}

/// Rows of one piece of work. Rows do not see each other, so the number changes no result.
const ROWS: usize = 128;

/// Probes and their products.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) omega: Rows,
    pub(crate) m: Rows,
}

impl Block {
    pub(crate) fn new(omega: MatRef<'_, f64>, m: MatRef<'_, f64>) -> Self {
        Block { omega: Rows::from_tall(omega), m: Rows::from_tall(m) }
    }
}

/// A low-rank block of the solution: `X = left right^T`, right orthonormal, left with orthogonal columns.
#[derive(Clone, Debug)]
pub(crate) struct LowBlock {
    /// n x r.
    pub(crate) left: Mat<f64>,
    /// p x r.
    pub(crate) right: Mat<f64>,
}

impl LowBlock {
    pub(crate) fn zero(n: usize, p: usize) -> Self {
        LowBlock { left: Mat::zeros(n, 0), right: Mat::zeros(p, 0) }
    }
}

/// How a solver ended, with its dual certificate.
#[derive(Clone, Debug)]
pub(crate) struct Fit {
    pub(crate) d: Vec<f64>,
    pub(crate) blocks: Vec<LowBlock>,
    pub(crate) iterations: usize,
    pub(crate) residual: f64,
    pub(crate) converged: bool,
    pub(crate) interrupted: bool,
    pub(crate) dual: Option<Dual>,
}

/// The dual certificate: V feasible up to scaling proves that the nuclear norm is within the gap of the optimum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dual {
    /// `(|X|_* - <V, M> / max(1, |V|)) / |X|_*`.
    pub gap: f64,
    /// `|V|_2`, at most 1 at the optimum.
    pub norm: f64,
    /// Largest `|q(V)_i|`, 0 at the optimum.
    pub row: f64,
}

/// `q`: per row of A, the inner products with the probes over the squared lengths.
#[derive(Debug)]
pub(crate) struct RowFit {
    weight: Vec<f64>,
}

impl RowFit {
    pub(crate) fn new(blocks: &[Block]) -> Self {
        let n = blocks.first().map_or(0, |b| b.omega.n());
        let length = |i: usize| blocks.iter().map(|b| dense::dot(b.omega.row(i), b.omega.row(i))).sum();
        RowFit { weight: (0..n).map(length).collect() }
    }

    fn divide(&self, i: usize, inner: f64) -> f64 {
        // a row without probes has no measurement of its diagonal
        if self.weight[i] > 0.0 { inner / self.weight[i] } else { 0.0 }
    }

    /// `q(h)`.
    pub(crate) fn of<'a>(&self, blocks: &[Block], h: impl Fn(usize) -> &'a Rows) -> Vec<f64> {
        (0..self.weight.len())
            .map(|i| {
                let inner = blocks.iter().enumerate().map(|(k, b)| dense::dot(b.omega.row(i), h(k).row(i))).sum();
                self.divide(i, inner)
            })
            .collect()
    }

    /// `e = q(B - X + U)` and `U <- B - X + U - diag(e) Omega` in one pass; returns the squared distance that U moved,
    /// which is the squared violation of the constraint.
    pub(crate) fn ascend(
        &self,
        blocks: &[Block],
        b: &[Rows],
        x: &[Rows],
        u: &mut [Rows],
        e: &mut [f64],
        par: Par,
    ) -> f64 {
        let mut moved = vec![0.0; e.len()];
        let mut pieces: Vec<_> = u.iter_mut().map(Rows::pieces).collect();
        let work: Vec<_> = e
            .chunks_mut(ROWS)
            .zip(moved.chunks_mut(ROWS))
            .enumerate()
            .map(|(c, (e, moved))| {
                (c * ROWS, e, moved, pieces.iter_mut().filter_map(Iterator::next).collect::<Vec<_>>())
            })
            .collect();
        for_each(work, par, |(first, e, moved, mut u)| {
            for i in 0..e.len() {
                let row = first + i;
                let mut inner = 0.0;
                for (k, block) in blocks.iter().enumerate() {
                    let p = block.omega.p();
                    let (w, b, x) = (block.omega.row(row), b[k].row(row), x[k].row(row));
                    let u = &u[k][i * p..(i + 1) * p];
                    inner += w.iter().zip(b).zip(x).zip(u).map(|(((w, b), x), u)| w * (b - x + u)).sum::<f64>();
                }
                e[i] = self.divide(row, inner);
                for (k, block) in blocks.iter().enumerate() {
                    let p = block.omega.p();
                    let (w, b, x) = (block.omega.row(row), b[k].row(row), x[k].row(row));
                    for (((w, b), x), u) in w.iter().zip(b).zip(x).zip(&mut u[k][i * p..(i + 1) * p]) {
                        let step = b - x - e[i] * w;
                        *u += step;
                        moved[i] += step * step;
                    }
                }
            }
        });
        moved.iter().sum()
    }
}

/// Runs independent pieces of work.
fn for_each<W: Send>(work: Vec<W>, par: Par, run: impl Fn(W) + Sync + Send) {
    if par.degree() > 1 {
        work.into_par_iter().for_each(run);
    } else {
        work.into_iter().for_each(run);
    }
}

/// `out = b - diag(e) Omega + u`.
pub(crate) fn combine(out: &mut Rows, b: &Rows, e: &[f64], omega: &Rows, u: &Rows, par: Par) {
    let p = b.p();
    let work: Vec<_> = out.pieces().enumerate().map(|(c, out)| (c * ROWS, out)).collect();
    for_each(work, par, |(first, out)| {
        for (i, out) in out.chunks_mut(p.max(1)).enumerate() {
            let row = first + i;
            let e = e[row];
            for (((o, b), w), u) in out.iter_mut().zip(b.row(row)).zip(omega.row(row)).zip(u.row(row)) {
                *o = b - e * w + u;
            }
        }
    });
}

/// `b - diag(e) Omega`.
pub(crate) fn without_diagonal(b: &Rows, e: &[f64], omega: &Rows) -> Rows {
    let mut out = b.clone();
    for (i, &e) in e.iter().enumerate() {
        for (o, w) in out.row_mut(i).iter_mut().zip(omega.row(i)) {
            *o -= e * w;
        }
    }
    out
}
