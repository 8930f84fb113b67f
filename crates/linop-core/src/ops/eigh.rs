//! `Q diag(l) Q^T` with any square orthogonal operator Q, for example a Kronecker product of eigenbases.

use super::prelude::*;

/// A symmetric operator known by its eigenvalues and eigenvectors.
#[derive(Clone, Debug)]
pub struct Eigh<T: Scalar> {
    q: Op<T>,
    l: Vec<T>,
    props: Props,
}

impl<T: Scalar> Eigh<T> {
    /// `Q diag(l) Q^T`; Q must be square and known to be orthogonal.
    ///
    /// A thin basis is a [`LowRankPlusDiag`](super::LowRankPlusDiag): the rules for inverses and determinants are
    /// wrong for it here.
    pub fn new(q: Op<T>, l: Vec<T>) -> Result<Self, Error> {
        let n = require_square("Eigh", &q)?;
        if l.len() != n {
            return Err(shape_error("Eigh", format!("{n} eigenvalues"), format!("{}", l.len())));
        }
        if !q.props().contains(Props::ORTHOGONAL) {
            return Err(Error::MissingProperty { op: "Eigh", needed: "ORTHOGONAL" });
        }
        let d = Props::of_diagonal(l.iter().map(|x| x.to_f64()));
        let props = d.congruence(q.props(), n, n) | d & (Props::ORTHOGONAL | Props::ZERO | Props::IDENTITY);
        Ok(Eigh { q, l, props: props.close(n, n) })
    }

    /// Q.
    pub fn vectors(&self) -> &Op<T> {
        &self.q
    }

    /// The eigenvalues, in the order of Q's columns.
    pub fn values(&self) -> &[T] {
        &self.l
    }

    /// `f(A)`, or an error where f gives a number that is not finite.
    pub fn map(&self, op: &'static str, f: impl Fn(T) -> T) -> Result<Self, Error> {
        let l: Vec<T> = self.l.iter().map(|&x| f(x)).collect();
        if l.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite { op, operand: "the function of the eigenvalues" });
        }
        Eigh::new(self.q.clone(), l)
    }

    fn shape(&self) -> (usize, usize) {
        (self.l.len(), self.l.len())
    }
    fn req(&self, _: Side, k: usize, par: Par) -> StackReq {
        let child = self.q.apply_req(k, par).or(self.q.apply_t_req(k, par));
        temp_req::<T>(self.l.len(), k).and(child)
    }
    fn run(
        &self,
        _: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (n, k) = (self.l.len(), x.ncols());
        temp!(t, rest = stack, n * k);
        self.q.apply_t(view_mut(t, n, k), T::ONE, x, T::ZERO, par, rest)?;
        for column in t.chunks_exact_mut(n) {
            column.iter_mut().zip(&self.l).for_each(|(x, &l)| *x *= l);
        }
        self.q.apply(out, alpha, view(t, n, k), beta, par, rest)
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let nk = (self.l.len() * k) as f64;
        let q = self.q.cost(k);
        add_cost(add_cost(q, q), cost::<T>(nk, 2.0 * nk))
    }
}

operator!(Eigh, Kind::Eigh);
