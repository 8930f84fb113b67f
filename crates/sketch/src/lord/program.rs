//! The convex program behind SketchLoRD and the pieces that its solvers share.
//!
//! Given `M = A Omega` of an operator `A = L + diag(d)`: minimise `|X|_*` subject to `X + diag(d) Omega = M`, X standing for
//! `L Omega`. With transposed products `W = A^T Psi` a second block `Z + diag(d) Psi = W` shares the same d and adds `|Z|_*`.
//! For fixed X the best d is explicit, `q(M - X)_i = <omega_i, (M - X)_i> / |omega_i|^2` over the rows of all blocks, so
//! every row of `L Omega` is known but for its component along `omega_i`.
//!
//! Solvers walk over pieces of rows and make `X = T W` of a piece where it is used, so that X is never stored.

use super::packed::{Probes, ROWS, Rows, for_each};
use super::shrink::Shrunk;
use numerics::{Mat, MatMut, MatRef, Par, dense, simd};

/// Probes and their products.
#[derive(Clone, Debug)]
pub(crate) struct Block<'a> {
    pub(crate) omega: Probes,
    /// n x p.
    pub(crate) m: MatRef<'a, f64>,
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
    /// `q(M)`, the diagonal without a low-rank part.
    pub(crate) d0: Vec<f64>,
    pub(crate) blocks: Vec<LowBlock>,
    pub(crate) iterations: usize,
    pub(crate) residual: f64,
    pub(crate) converged: bool,
    pub(crate) interrupted: bool,
    pub(crate) dual: Option<Dual>,
    /// Bytes that the solver held, its probes included, the measurements not.
    pub(crate) bytes: usize,
}

impl Fit {
    /// The fit without a low-rank part.
    pub(crate) fn start(blocks: &[Block<'_>], d0: &[f64]) -> Self {
        Fit {
            d: d0.to_vec(),
            d0: d0.to_vec(),
            blocks: blocks.iter().map(|b| LowBlock::zero(d0.len(), b.omega.p())).collect(),
            iterations: 0,
            residual: 1.0,
            converged: false,
            interrupted: false,
            dual: None,
            bytes: 0,
        }
    }
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
pub(crate) struct RowFit<'b, 'm> {
    pub(crate) blocks: &'b [Block<'m>],
    weight: Vec<f64>,
    pub(crate) par: Par,
}

/// A piece of work: its first row, the rows of every block, and numbers of every row.
pub(crate) type Piece<'a> = (usize, Vec<&'a mut [f64]>, &'a mut [f64], &'a mut [f64]);

/// Cuts matrices of one height and two vectors into pieces.
pub(crate) fn cut<'a>(rows: &'a mut [Rows], a: &'a mut [f64], b: &'a mut [f64]) -> Vec<Piece<'a>> {
    let mut pieces: Vec<_> = rows.iter_mut().map(Rows::pieces).collect();
    a.chunks_mut(ROWS)
        .zip(b.chunks_mut(ROWS))
        .enumerate()
        .map(|(c, (a, b))| (c * ROWS, pieces.iter_mut().filter_map(Iterator::next).collect(), a, b))
        .collect()
}

impl<'b, 'm> RowFit<'b, 'm> {
    pub(crate) fn new(blocks: &'b [Block<'m>], par: Par) -> Self {
        let n = blocks.first().map_or(0, |b| b.omega.n());
        let mut weight = vec![0.0; n];
        for block in blocks {
            let mut room = vec![0.0; block.omega.p()];
            for (i, weight) in weight.iter_mut().enumerate() {
                let w = block.omega.row(i, &mut room);
                *weight += dense::dot(w, w);
            }
        }
        RowFit { blocks, weight, par }
    }

    /// Squared lengths of the rows of probes, over all blocks.
    pub(crate) fn weight(&self) -> &[f64] {
        &self.weight
    }

    /// Rows of A.
    pub(crate) fn n(&self) -> usize {
        self.weight.len()
    }

    pub(crate) fn divide(&self, i: usize, inner: f64) -> f64 {
        // a row without probes has no measurement of its diagonal
        if self.weight[i] > 0.0 { inner / self.weight[i] } else { 0.0 }
    }

    /// Room for a row of probes of every block.
    pub(crate) fn room(&self) -> Vec<Vec<f64>> {
        self.blocks.iter().map(|b| vec![0.0; b.omega.p()]).collect()
    }

    /// `q(h)` of rows that are stored.
    pub(crate) fn of(&self, h: &[Rows]) -> Vec<f64> {
        let mut room = self.room();
        (0..self.n())
            .map(|i| {
                let inner =
                    |((b, h), room): ((&Block<'_>, &Rows), &mut Vec<f64>)| dense::dot(b.omega.row(i, room), h.row(i));
                let inner = self.blocks.iter().zip(h).zip(&mut room).map(inner).sum();
                self.divide(i, inner)
            })
            .collect()
    }

    /// `d0 = q(M)` and `B = M - diag(d0) Omega`, what no diagonal explains.
    pub(crate) fn split(&self) -> (Vec<f64>, Vec<Rows>) {
        let mut b: Vec<Rows> = self.blocks.iter().map(|b| Rows::zeros(self.n(), b.omega.p())).collect();
        let (mut d0, mut none) = (vec![0.0; self.n()], vec![0.0; self.n()]);
        for_each(
            cut(&mut b, &mut d0, &mut none),
            self.par,
            || self.room(),
            |room, (first, mut b, d0, _)| {
                for (block, b) in self.blocks.iter().zip(&mut b) {
                    let p = block.omega.p();
                    let rows = MatMut::from_column_major_slice_mut(b, p, d0.len());
                    dense::copy(rows, block.m.subrows(first, d0.len()).transpose());
                }
                for (i, d0) in d0.iter_mut().enumerate() {
                    let mut inner = 0.0;
                    for ((block, b), room) in self.blocks.iter().zip(&b).zip(&mut *room) {
                        let p = block.omega.p();
                        inner += dense::dot(block.omega.row(first + i, room), &b[i * p..(i + 1) * p]);
                    }
                    *d0 = self.divide(first + i, inner);
                    for ((block, b), room) in self.blocks.iter().zip(&mut b).zip(&mut *room) {
                        let p = block.omega.p();
                        let w = block.omega.row(first + i, room);
                        b[i * p..(i + 1) * p].iter_mut().zip(w).for_each(|(b, w)| *b -= *d0 * w);
                    }
                }
            },
        );
        (d0, b)
    }

    /// The dual step, T in `s` becoming U: with `X = T W`, `e += q(T - X)` and `U = P(T - X)`. Returns the squared violation
    /// of the constraint, `|B - X - diag(e) Omega|^2`.
    pub(crate) fn ascend(&self, b: &[Rows], shrunk: &[Shrunk], s: &mut [Rows], e: &mut [f64]) -> f64 {
        let mut moved = vec![0.0; e.len()];
        let room = || (self.room(), vec![Vec::new(); self.blocks.len()]);
        for_each(cut(s, e, &mut moved), self.par, room, |(room, x), (first, mut s, e, moved)| {
            s.iter().zip(shrunk).zip(&mut *x).for_each(|((t, shrunk), x)| shrunk.of_piece(t, x));
            let s = &mut s;
            simd::wide(|| {
                for i in 0..e.len() {
                    let row = first + i;
                    let mut inner = 0.0;
                    for (k, block) in self.blocks.iter().enumerate() {
                        let at = i * block.omega.p()..(i + 1) * block.omega.p();
                        let w = block.omega.row(row, &mut room[k]);
                        inner += apart(w, &s[k][at.clone()], &x[k][at]);
                    }
                    let step = self.divide(row, inner);
                    e[i] += step;
                    for (k, block) in self.blocks.iter().enumerate() {
                        let at = i * block.omega.p()..(i + 1) * block.omega.p();
                        let w = block.omega.unpacked(row, &room[k]);
                        let (t, x) = (&mut s[k][at.clone()], &x[k][at]);
                        moved[i] += step_row(w, b[k].row(row), x, t, step, e[i]);
                    }
                }
            });
        });
        moved.iter().sum()
    }

    /// `T = B - diag(e) Omega + factor U`, in the place of U.
    pub(crate) fn combine(&self, b: &[Rows], e: &mut [f64], factor: f64, s: &mut [Rows]) {
        let mut none = vec![0.0; e.len()];
        for_each(
            cut(s, e, &mut none),
            self.par,
            || self.room(),
            |room, (first, mut s, e, _)| {
                simd::wide(|| {
                    for (k, block) in self.blocks.iter().enumerate() {
                        let p = block.omega.p();
                        for (i, s) in s[k].chunks_mut(p.max(1)).enumerate() {
                            let (e, w) = (e[i], block.omega.row(first + i, &mut room[k]));
                            let terms = s.iter_mut().zip(b[k].row(first + i)).zip(w);
                            terms.for_each(|((s, b), w)| *s = b - e * w + factor * *s);
                        }
                    }
                });
            },
        );
    }
}

/// Partial sums of a row, so that its loops vectorise.
const LANES: usize = 8;

/// `<w, t - x>`.
#[inline(always)]
fn apart(w: &[f64], t: &[f64], x: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let whole = w.len() / LANES * LANES;
    for ((w, t), x) in w.chunks_exact(LANES).zip(t.chunks_exact(LANES)).zip(x.chunks_exact(LANES)) {
        for l in 0..LANES {
            sums[l] += w[l] * (t[l] - x[l]);
        }
    }
    (whole..w.len()).for_each(|j| sums[j - whole] += w[j] * (t[j] - x[j]));
    sums.iter().sum()
}

/// `t <- t - x - step w`; returns `|b - x - e w|^2`.
#[inline(always)]
fn step_row(w: &[f64], b: &[f64], x: &[f64], t: &mut [f64], step: f64, e: f64) -> f64 {
    let mut sums = [0.0; LANES];
    let mut entry = |l: usize, w: f64, b: f64, x: f64, t: &mut f64| {
        let gap = b - x - e * w;
        *t = *t - x - step * w;
        sums[l] += gap * gap;
    };
    let whole = w.len() / LANES * LANES;
    let chunks = w.chunks_exact(LANES).zip(b.chunks_exact(LANES)).zip(x.chunks_exact(LANES));
    for (((w, b), x), t) in chunks.zip(t.chunks_exact_mut(LANES)) {
        for l in 0..LANES {
            entry(l, w[l], b[l], x[l], &mut t[l]);
        }
    }
    (whole..w.len()).for_each(|j| entry(j - whole, w[j], b[j], x[j], &mut t[j]));
    sums.iter().sum()
}
