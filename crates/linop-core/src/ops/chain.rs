//! A product of operators, applied right to left through two buffers of the largest inner dimension.

use super::prelude::*;

/// `A1 A2 ... Am`.
#[derive(Clone, Debug)]
pub struct Chain<T: Scalar> {
    factors: Vec<Op<T>>,
    props: Props,
    inner: usize,
}

impl<T: Scalar> Chain<T> {
    /// A product of at least one operator.
    ///
    /// A palindrome `M Z M^T`, recognised by shared handles, keeps what is known of Z.
    pub fn new(factors: Vec<Op<T>>) -> Result<Self, Error> {
        if factors.is_empty() {
            return Err(Error::InvalidArgument { op: "Chain", what: "needs at least one factor".into() });
        }
        for w in factors.windows(2) {
            if w[0].ncols() != w[1].nrows() {
                let got = format!("{} x {}", w[1].nrows(), w[1].ncols());
                return Err(shape_error("Chain", format!("{} rows", w[0].ncols()), got));
            }
        }
        let inner = factors[1..].iter().map(|f| f.nrows()).max().unwrap_or(0);
        let (first, m) = (&factors[0], factors[0].nrows());
        let mut props = first.props();
        for f in &factors[1..] {
            props = props.product(f.props(), m, f.nrows(), f.ncols());
        }
        if let Some(p) = palindrome(&factors) {
            props = (props | p).close(m, m);
        }
        Ok(Chain { factors, props, inner })
    }

    /// The factors, leftmost first.
    pub fn factors(&self) -> &[Op<T>] {
        &self.factors
    }

    fn shape(&self) -> (usize, usize) {
        (self.factors[0].nrows(), self.factors[self.factors.len() - 1].ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let children = self.factors.iter().fold(StackReq::EMPTY, |r, t| r.or(side.req(t, k, par)));
        let buffer = temp_req::<T>(self.inner, k);
        buffer.and(buffer).and(children)
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
        let (len, k) = (self.factors.len(), x.ncols());
        let at = |i: usize| side.pick(&self.factors[len - 1 - i], &self.factors[i]);
        let rows = |f: &Op<T>| side.pick(f.nrows(), f.ncols());
        if len == 1 {
            return side.run(at(0), out, alpha, x, beta, par, stack);
        }
        temp!(a, rest = stack, self.inner * k);
        temp!(b, rest = rest, self.inner * k);
        let (mut from, mut to) = (a, b);
        let mut n = rows(at(0));
        side.run(at(0), view_mut(from, n, k), T::ONE, x, T::ZERO, par, rest)?;
        for i in 1..len - 1 {
            let m = rows(at(i));
            side.run(at(i), view_mut(to, m, k), T::ONE, view(from, n, k), T::ZERO, par, rest)?;
            core::mem::swap(&mut from, &mut to);
            n = m;
        }
        side.run(at(len - 1), out, alpha, view(from, n, k), beta, par, rest)
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        self.factors.iter().fold(Cost::default(), |c, t| add_cost(c, t.cost(k)))
    }
}

operator!(Chain, Kind::Chain);

/// Whether `b` is known to be `a^T`: a transposed handle, one self-adjoint operator twice, or two of one structure
/// whose parts are (which is how transposition rewrites products, Kronecker products and blocks).
pub(crate) fn is_transpose<T: Scalar>(a: &Op<T>, b: &Op<T>) -> bool {
    if a.same(b) && a.props().contains(Props::SELF_ADJOINT) {
        return true;
    }
    let pairs = |x: &[Op<T>], y: &[Op<T>]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| is_transpose(x, y));
    match (a.kind(), b.kind()) {
        (_, Kind::Transposed(t)) if t.inner().same(a) => true,
        (Kind::Transposed(t), _) if t.inner().same(b) => true,
        (Kind::Kronecker(x), Kind::Kronecker(y)) => pairs(x.factors(), y.factors()),
        (Kind::BlockDiag(x), Kind::BlockDiag(y)) => pairs(x.blocks(), y.blocks()),
        (Kind::Scaled(x), Kind::Scaled(y)) => x.factor() == y.factor() && is_transpose(x.inner(), y.inner()),
        (Kind::Permutation(x), Kind::Permutation(y)) => x.list() == y.inverse_list(),
        (Kind::Chain(x), Kind::Chain(y)) => {
            let (x, y) = (x.factors(), y.factors());
            x.len() == y.len() && x.iter().zip(y.iter().rev()).all(|(x, y)| is_transpose(x, y))
        }
        _ => false,
    }
}

fn palindrome<T: Scalar>(factors: &[Op<T>]) -> Option<Props> {
    let (first, rest) = factors.split_first()?;
    let Some((last, middle)) = rest.split_last() else {
        return Some(first.props());
    };
    if !is_transpose(first, last) {
        return None;
    }
    let (m, k) = (first.nrows(), first.ncols());
    let inside = if middle.is_empty() { Props::IDENTITY.close(k, k) } else { palindrome(middle)? };
    Some(inside.congruence(first.props(), m, k))
}
