//! Kronecker products of any number of operators, square or not.
//!
//! With row-major vectors `(A (x) B) rvec(X) = rvec(A X B^T)`. The factors are applied one mode at a time, never all at
//! once. Mode i costs `2 m_i n_i` times the sizes of the others at that moment; the best order is ascending
//! `1/n_i - 1/m_i` (exchange argument). The last mode of all K columns is one wide product; other modes are one product
//! per leading index when their trailing size is large, otherwise they are gathered into one wide product.

use super::prelude::*;

/// Trailing sizes from here on are wide enough for a product of their own.
const WIDE: usize = 32;

/// `A1 (x) A2 (x) ...`
#[derive(Clone, Debug)]
pub struct Kronecker<T: Scalar> {
    factors: Vec<Op<T>>,
    /// `turn[i]` = when factor i is applied, for either side.
    turn: [Vec<usize>; 2],
    shape: (usize, usize),
    props: Props,
}

impl<T: Scalar> Kronecker<T> {
    /// A Kronecker product of at least one factor.
    pub fn new(factors: Vec<Op<T>>) -> Result<Self, Error> {
        let Some(first) = factors.first() else {
            return Err(Error::InvalidArgument { op: "Kronecker", what: "needs at least one factor".into() });
        };
        let mut props = first.props();
        let mut square = first.nrows() == first.ncols();
        let (mut m, mut n) = (first.nrows(), first.ncols());
        let too_large = || Error::InvalidArgument { op: "Kronecker", what: "the size overflows".into() };
        for f in &factors[1..] {
            m = m.checked_mul(f.nrows()).ok_or_else(too_large)?;
            n = n.checked_mul(f.ncols()).ok_or_else(too_large)?;
            square &= f.nrows() == f.ncols();
            props = props.kron(f.props(), square, m, n);
        }
        let turn = [Side::Plain, Side::Transposed].map(|side| {
            let key = |f: &Op<T>| {
                let (m, n) = side.pick((f.nrows(), f.ncols()), (f.ncols(), f.nrows()));
                1.0 / n as f64 - 1.0 / m as f64
            };
            let mut order: Vec<usize> = (0..factors.len()).collect();
            order.sort_by(|&i, &j| key(&factors[i]).total_cmp(&key(&factors[j])));
            let mut turn = vec![0; order.len()];
            order.iter().enumerate().for_each(|(t, &i)| turn[i] = t);
            turn
        });
        Ok(Kronecker { factors, turn, shape: (m, n), props })
    }

    /// The factors.
    pub fn factors(&self) -> &[Op<T>] {
        &self.factors
    }

    /// Every factor is square.
    pub fn all_square(&self) -> bool {
        self.factors.iter().all(|f| f.nrows() == f.ncols())
    }

    fn turns(&self, side: Side) -> &[usize] {
        side.pick(&self.turn[0], &self.turn[1])
    }

    /// Factor of turn t, and the sizes before (product over earlier modes) and after it at that moment.
    fn mode(&self, side: Side, t: usize) -> (&Op<T>, usize, usize) {
        let turn = self.turns(side);
        let at = turn.iter().position(|&u| u == t).unwrap_or(0);
        let size = |i: usize| {
            let (m, n) = side.pick(
                (self.factors[i].nrows(), self.factors[i].ncols()),
                (self.factors[i].ncols(), self.factors[i].nrows()),
            );
            if turn[i] < t { m } else { n }
        };
        let before = (0..at).map(size).product();
        let after = (at + 1..self.factors.len()).map(size).product();
        (&self.factors[at], before, after)
    }

    /// Largest number of entries per column that any stage holds.
    fn peak(&self, side: Side) -> usize {
        let mut peak = side.pick(self.shape.1, self.shape.0);
        for t in 0..self.factors.len() {
            let (f, before, after) = self.mode(side, t);
            peak = peak.max(before * after * f.nrows().max(f.ncols()));
        }
        peak
    }

    fn packs(after: usize) -> bool {
        after > 1 && after < WIDE
    }

    fn shape(&self) -> (usize, usize) {
        self.shape
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let buffer = temp_req::<T>(self.peak(side), k);
        let mut child = StackReq::EMPTY;
        let mut buffers = buffer.and(buffer);
        for t in 0..self.factors.len() {
            let (f, before, after) = self.mode(side, t);
            let width = if after == 1 || Self::packs(after) { before * k * after } else { after };
            child = child.or(side.req(f, width, par));
        }
        if (0..self.factors.len()).any(|t| Self::packs(self.mode(side, t).2)) {
            buffers = buffers.and(buffer);
        }
        buffers.and(child)
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let k = x.ncols();
        let len = self.peak(side) * k;
        temp!(a, rest = stack, len);
        temp!(b, rest = rest, len);
        let packed = if (0..self.factors.len()).any(|t| Self::packs(self.mode(side, t).2)) { len } else { 0 };
        temp!(pack, rest = rest, packed);
        let (mut from, mut to) = (a, b);
        kernels::copy(view_mut(from, x.nrows(), k), x);
        for t in 0..self.factors.len() {
            let (f, before, after) = self.mode(side, t);
            let (m, n) = side.pick((f.nrows(), f.ncols()), (f.ncols(), f.nrows()));
            let lead = before * k;
            if after == 1 {
                let src = view(from, n, lead);
                side.run(f, view_mut(to, m, lead), T::ONE, src, T::ZERO, par, rest)?;
            } else if Self::packs(after) {
                let wide = lead * after;
                for l in 0..lead {
                    let src = view(&from[l * n * after..], after, n);
                    kernels::copy(view_mut(&mut pack[l * n * after..], n, after), src.transpose());
                }
                side.run(f, view_mut(to, m, wide), T::ONE, view(pack, n, wide), T::ZERO, par, rest)?;
                for l in 0..lead {
                    let src = view(&to[l * m * after..], m, after);
                    kernels::copy(view_mut(&mut from[l * m * after..], after, m), src.transpose());
                }
                core::mem::swap(&mut from, &mut to);
            } else {
                for l in 0..lead {
                    let src = view(&from[l * n * after..], after, n).transpose();
                    let dst = view_mut(&mut to[l * m * after..], after, m).transpose_mut();
                    side.run(f, dst, T::ONE, src, T::ZERO, par, rest)?;
                }
            }
            core::mem::swap(&mut from, &mut to);
        }
        let rows = out.nrows();
        add_scaled(out, alpha, view(from, rows, k), beta);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let mut c = cost::<T>(0.0, ((self.shape.0 + self.shape.1) * k) as f64);
        for t in 0..self.factors.len() {
            let (f, before, after) = self.mode(Side::Plain, t);
            c = add_cost(c, f.cost(before * after * k));
        }
        c
    }
}

operator!(Kronecker, Kind::Kronecker);
