//! The algebra of handles: sums, products and structured products, with rewrites at construction.
//!
//! A rewrite is applied where structure makes the result cheaper to multiply with or gives it a rule for solves. The
//! facts of a rewritten operator are its own united with those of the expression that it replaces; operators of kind
//! `Opaque` are left alone. In a sum, scalars, diagonals and Kronecker products are merged into the base first and the
//! low-rank part is attached last, so that a shift ends up where a solve can use it.

use crate::ops::*;
use crate::space::meet;
use crate::{Error, Kind, LinearOperator, Op, Props};
use numerics::{Mat, Par, Scalar, dense as kernels};

impl<T: Scalar> Op<T> {
    /// The identity.
    pub fn identity(n: usize) -> Self {
        Op::new(ScalarIdentity::identity(n))
    }

    /// The zero map.
    pub fn zero(nrows: usize, ncols: usize) -> Self {
        Op::new(Zero::new(nrows, ncols))
    }

    /// A stored matrix.
    pub fn dense(mat: Mat<T>) -> Self {
        Op::new(Dense::new(mat))
    }

    /// `diag(d)`.
    pub fn diag(d: Vec<T>) -> Self {
        Op::new(Diagonal::new(d))
    }

    fn known(self, facts: Props) -> Self {
        self.derived(facts)
    }

    /// `A^T`.
    pub fn t(&self) -> Self {
        let facts = self.props();
        if facts.contains(Props::SELF_ADJOINT) {
            return self.clone();
        }
        let kept = facts.transposed(self.nrows(), self.ncols());
        let all = |ops: &[Op<T>]| ops.iter().map(Op::t).collect::<Vec<_>>();
        let rewritten = match self.kind() {
            Kind::Transposed(a) => Ok(a.inner().clone()),
            Kind::Zero(_) => Ok(Op::zero(self.ncols(), self.nrows())),
            Kind::Permutation(p) => Permutation::new(p.inverse_list().to_vec()).map(Op::new),
            Kind::Scaled(s) => Ok(Op::new(Scaled::new(s.factor(), s.inner().t()))),
            Kind::Chain(c) => Chain::new(c.factors().iter().rev().map(Op::t).collect()).map(Op::new),
            Kind::Kronecker(k) => Kronecker::new(all(k.factors())).map(Op::new),
            Kind::BlockDiag(b) => BlockDiag::new(all(b.blocks())).map(Op::new),
            _ => Ok(Op::new(Transposed::new(self.clone()))),
        };
        let (output, input) = self.spaces();
        rewritten.unwrap_or_else(|_| Op::new(Transposed::new(self.clone()))).known(kept).between(input, output)
    }

    /// `a A`.
    pub fn scaled(&self, a: T) -> Self {
        let (m, n) = (self.nrows(), self.ncols());
        if a == T::ONE {
            return self.clone();
        }
        if a == T::ZERO {
            let (output, input) = self.spaces();
            return Op::zero(m, n).between(output, input);
        }
        let kept = self.props().scaled(a.to_f64(), m, n);
        let plain = || Op::new(Scaled::new(a, self.clone()));
        let times = |values: &[T]| values.iter().map(|&x| a * x).collect::<Vec<_>>();
        let op = match self.kind() {
            Kind::Zero(_) => self.clone(),
            Kind::ScalarIdentity(c) => Op::new(ScalarIdentity::new(a * c.factor(), n)),
            Kind::Diagonal(d) => Op::diag(times(d.values())),
            Kind::Scaled(s) => {
                let c = a * s.factor();
                if c.is_finite() && c != T::ZERO { s.inner().scaled(c) } else { plain() }
            }
            Kind::LowRank(l) => Op::new(l.scaled(a)),
            Kind::LowRankPlusDiag(l) => {
                match LowRankPlusDiag::new(times(l.diagonal_part()), l.low_rank_part().scaled(a)) {
                    Ok(op) => Op::new(op),
                    Err(_) => plain(),
                }
            }
            Kind::Eigh(e) => Eigh::new(e.vectors().clone(), times(e.values())).map_or_else(|_| plain(), Op::new),
            _ => plain(),
        };
        let (output, input) = self.spaces();
        op.known(kept).between(output, input)
    }

    /// `A + sigma I`.
    pub fn shifted(&self, sigma: T) -> Result<Self, Error> {
        if self.nrows() != self.ncols() {
            return Err(Error::NotSquare { op: "shifted", nrows: self.nrows(), ncols: self.ncols() });
        }
        if sigma == T::ZERO {
            return Ok(self.clone());
        }
        sum(&[self.clone(), Op::new(ScalarIdentity::new(sigma, self.nrows()))])
    }

    /// `A + B`, the same as `&a + &b`.
    pub fn plus(&self, other: &Op<T>) -> Result<Self, Error> {
        sum(&[self.clone(), other.clone()])
    }

    /// `A B`, the same as `&a * &b`.
    pub fn times(&self, other: &Op<T>) -> Result<Self, Error> {
        product(&[self.clone(), other.clone()])
    }

    /// `A (x) B`.
    pub fn kron(&self, other: &Op<T>) -> Result<Self, Error> {
        kron(&[self.clone(), other.clone()])
    }

    /// `A (+) B = A (x) I + I (x) B`.
    pub fn kron_sum(&self, other: &Op<T>) -> Result<Self, Error> {
        Ok(Op::new(KroneckerSum::new(self.clone(), other.clone())?))
    }

    /// `A[rows, cols]`.
    pub fn sub(&self, rows: &[usize], cols: &[usize]) -> Result<Self, Error> {
        Ok(Op::new(Submatrix::new(self.clone(), rows.to_vec(), cols.to_vec())?))
    }

    /// The entrywise product, where structure gives it: Kronecker products with factors of equal shapes go factor by
    /// factor, diagonals and stored matrices entry by entry, low rank with low rank by columns, low rank (plus
    /// diagonal) with anything through products with the other ([`Hadamard`]); sums term by term.
    pub fn hadamard(&self, other: &Op<T>) -> Result<Self, Error> {
        let (m, n) = (self.nrows(), self.ncols());
        same_shape("hadamard", self, other)?;
        let kept = self.props().hadamard(other.props(), m, n);
        if kept.contains(Props::ZERO) {
            return Ok(Op::zero(m, n));
        }
        let op = match (self.kind(), other.kind()) {
            (Kind::Kronecker(a), Kind::Kronecker(b)) if shapes(a.factors()) == shapes(b.factors()) => {
                let pairs = a.factors().iter().zip(b.factors());
                kron(&pairs.map(|(a, b)| a.hadamard(b)).collect::<Result<Vec<_>, _>>()?)?
            }
            (Kind::Dense(a), Kind::Dense(b)) => {
                let (a, b) = (a.mat(), b.mat());
                Op::dense(Mat::from_fn(m, n, |i, j| a[(i, j)] * b[(i, j)]))
            }
            _ if (self.props() | other.props()).contains(Props::DIAGONAL) => {
                let (a, b) = (self.diagonal(Par::Seq)?, other.diagonal(Par::Seq)?);
                Op::diag(a.iter().zip(&b).map(|(&a, &b)| a * b).collect())
            }
            (Kind::LowRank(a), Kind::LowRank(b)) if a.rank() * b.rank() < m.min(n) => Op::new(low_rank_product(a, b)?),
            (Kind::Scaled(s), _) => s.inner().hadamard(other)?.scaled(s.factor()),
            (_, Kind::Scaled(s)) => self.hadamard(s.inner())?.scaled(s.factor()),
            (Kind::Sum(s), _) => sum(&s.terms().iter().map(|t| t.hadamard(other)).collect::<Result<Vec<_>, _>>()?)?,
            (_, Kind::Sum(s)) => sum(&s.terms().iter().map(|t| self.hadamard(t)).collect::<Result<Vec<_>, _>>()?)?,
            (Kind::LowRank(l), _) => Op::new(Hadamard::new(l.clone(), other.clone())?),
            (_, Kind::LowRank(l)) => Op::new(Hadamard::new(l.clone(), self.clone())?),
            (Kind::LowRankPlusDiag(l), _) => apart(l, other)?,
            (_, Kind::LowRankPlusDiag(l)) => apart(l, self)?,
            _ => {
                return Err(Error::Unsupported {
                    op: "hadamard",
                    what: "needs two Kronecker products with factors of equal shapes, two stored matrices, a diagonal, or \
                           an operator of low rank; `to_dense` makes a stored matrix"
                        .into(),
                });
            }
        };
        Ok(op.known(kept))
    }

    /// `X^T A X` with this operator as A.
    pub fn congruence(&self, x: &Op<T>) -> Result<Self, Error> {
        Ok(Op::new(Congruence::new(x.clone(), self.clone())?))
    }
}

/// `(U C V^T) o (X D Y^T)`: the columns of both sides multiplied in all pairs, `C (x) D` in the middle.
fn low_rank_product<T: Scalar>(a: &LowRank<T>, b: &LowRank<T>) -> Result<LowRank<T>, Error> {
    let (r, s) = (a.rank(), b.rank());
    let mix = |x: numerics::MatRef<'_, T>, y: numerics::MatRef<'_, T>| {
        Mat::from_fn(x.nrows(), r * s, |i, j| x[(i, j / s)] * y[(i, j % s)])
    };
    let (ca, cb) = (a.core(), b.core());
    let core = Mat::from_fn(r * s, r * s, |i, j| ca[(i / s, j / s)] * cb[(i % s, j % s)]);
    let symmetric = a.is_symmetric_form() && b.is_symmetric_form();
    let v = if symmetric { None } else { Some(mix(a.v(), b.v())) };
    LowRank::new(mix(a.u(), b.u()), Some(core), v)
}

/// `(diag(d) + L) o A` as `diag(d o diag A) + L o A`.
fn apart<T: Scalar>(l: &LowRankPlusDiag<T>, other: &Op<T>) -> Result<Op<T>, Error> {
    let diagonal = Op::diag(l.diagonal_part().to_vec()).hadamard(other)?;
    diagonal.plus(&Op::new(l.low_rank_part().clone()).hadamard(other)?)
}

fn same_shape<T: Scalar>(op: &'static str, a: &Op<T>, b: &Op<T>) -> Result<(), Error> {
    if (a.nrows(), a.ncols()) == (b.nrows(), b.ncols()) {
        return Ok(());
    }
    let text = |a: &Op<T>| format!("{} x {}", a.nrows(), a.ncols());
    Err(Error::ShapeMismatch { op, expected: text(a), got: text(b) })
}

fn shapes<T: Scalar>(ops: &[Op<T>]) -> Vec<(usize, usize)> {
    ops.iter().map(|o| (o.nrows(), o.ncols())).collect()
}

/// The parts of a sum, sorted by what can be merged.
struct Parts<T: Scalar> {
    scalar: T,
    diagonal: Option<Vec<T>>,
    low: Option<LowRank<T>>,
    rest: Vec<Op<T>>,
}

impl<T: Scalar> Parts<T> {
    fn take(&mut self, op: &Op<T>) -> Result<(), Error> {
        match op.kind() {
            Kind::Zero(_) => {}
            Kind::Sum(s) => s.terms().iter().try_for_each(|t| self.take(t))?,
            Kind::Shifted(s) => {
                self.scalar += s.sigma();
                self.take(s.inner())?;
            }
            Kind::ScalarIdentity(c) => self.scalar += c.factor(),
            Kind::Diagonal(d) => self.diagonal(d.values()),
            Kind::LowRank(l) => self.low(l)?,
            Kind::LowRankPlusDiag(l) => {
                self.diagonal(l.diagonal_part());
                self.low(l.low_rank_part())?;
            }
            Kind::LowRankUpdate(l) => {
                self.take(l.base())?;
                self.low(l.low_rank_part())?;
            }
            _ => {
                for held in &mut self.rest {
                    if let Some(merged) = merge_terms(held, op)? {
                        *held = merged;
                        return Ok(());
                    }
                }
                self.rest.push(op.clone());
            }
        }
        Ok(())
    }

    fn diagonal(&mut self, d: &[T]) {
        match &mut self.diagonal {
            Some(have) => have.iter_mut().zip(d).for_each(|(a, &b)| *a += b),
            None => self.diagonal = Some(d.to_vec()),
        }
    }

    fn low(&mut self, l: &LowRank<T>) -> Result<(), Error> {
        self.low = Some(match &self.low {
            Some(have) => have.concat(l)?,
            None => l.clone(),
        });
        Ok(())
    }

    /// Diagonal and scalar as one diagonal.
    fn whole_diagonal(&self, n: usize) -> Option<Vec<T>> {
        match &self.diagonal {
            Some(d) => Some(d.iter().map(|&x| x + self.scalar).collect()),
            None if self.scalar != T::ZERO => Some(vec![self.scalar; n]),
            None => None,
        }
    }

    fn base(&mut self, m: usize, n: usize) -> Result<Option<Op<T>>, Error> {
        let rest = core::mem::take(&mut self.rest);
        if rest.is_empty() {
            return Ok(match (&self.diagonal, self.scalar == T::ZERO) {
                (Some(_), _) => self.whole_diagonal(n).map(Op::diag),
                (None, false) => Some(Op::new(ScalarIdentity::new(self.scalar, n))),
                (None, true) => None,
            });
        }
        let mut terms = rest;
        if let Some(d) = self.diagonal.take() {
            terms.push(Op::diag(d.into_iter().map(|x| x + self.scalar).collect()));
            self.scalar = T::ZERO;
        }
        let base = if terms.len() == 1 { terms.swap_remove(0) } else { Op::new(Sum::new(terms)?) };
        if self.scalar == T::ZERO {
            return Ok(Some(base));
        }
        debug_assert_eq!(m, n);
        if let Kind::Eigh(e) = base.kind() {
            let l = e.values().iter().map(|&x| x + self.scalar).collect();
            return Ok(Some(Op::new(Eigh::new(e.vectors().clone(), l)?)));
        }
        Ok(Some(Op::new(Shifted::new(base, self.scalar)?)))
    }
}

/// The sum of operators of one shape.
pub fn sum<T: Scalar>(terms: &[Op<T>]) -> Result<Op<T>, Error> {
    let (mut output, mut input) = (None, None);
    for t in terms {
        let (o, i) = t.spaces();
        output = meet("sum", output, o)?;
        input = meet("sum", input, i)?;
    }
    Ok(merged_sum(terms)?.between(output, input))
}

fn merged_sum<T: Scalar>(terms: &[Op<T>]) -> Result<Op<T>, Error> {
    let Some(first) = terms.first() else {
        return Err(Error::InvalidArgument { op: "sum", what: "needs at least one term".into() });
    };
    let (m, n) = (first.nrows(), first.ncols());
    let mut kept = first.props();
    for t in &terms[1..] {
        same_shape("sum", first, t)?;
        kept = kept.add(t.props(), m, n);
    }
    // `A + sigma I` keeps more of A than a general sum does, but the identity's own facts already say so.
    let mut parts = Parts { scalar: T::ZERO, diagonal: None, low: None, rest: Vec::new() };
    terms.iter().try_for_each(|t| parts.take(t))?;
    let Some(low) = parts.low.take() else {
        let base = parts.base(m, n)?.unwrap_or_else(|| Op::zero(m, n));
        return Ok(base.known(kept));
    };
    if parts.rest.is_empty() {
        let op = match parts.whole_diagonal(n) {
            Some(d) => Op::new(LowRankPlusDiag::new(d, low)?),
            None => Op::new(low),
        };
        return Ok(op.known(kept));
    }
    let op = match parts.base(m, n)? {
        Some(base) if base.has_solve() => Op::new(LowRankUpdate::new(base, low)?),
        Some(base) => {
            let mut terms = match base.kind() {
                Kind::Sum(s) => s.terms().to_vec(),
                _ => vec![base.clone()],
            };
            terms.push(Op::new(low));
            Op::new(Sum::new(terms)?)
        }
        None => Op::new(low),
    };
    Ok(op.known(kept))
}

/// `A + B` as one operator of the same kind, where there is one.
fn merge_terms<T: Scalar>(a: &Op<T>, b: &Op<T>) -> Result<Option<Op<T>>, Error> {
    let kept = a.props().add(b.props(), a.nrows(), a.ncols());
    let op = match (a.kind(), b.kind()) {
        (Kind::BlockDiag(x), Kind::BlockDiag(y)) if shapes(x.blocks()) == shapes(y.blocks()) => {
            let pairs = x.blocks().iter().zip(y.blocks());
            Op::new(BlockDiag::new(pairs.map(|(a, b)| a.plus(b)).collect::<Result<_, _>>()?)?)
        }
        (Kind::Kronecker(x), Kind::Kronecker(y)) if shapes(x.factors()) == shapes(y.factors()) => {
            let differs = |i: &usize| !x.factors()[*i].same(&y.factors()[*i]);
            let open: Vec<usize> = (0..x.factors().len()).filter(differs).collect();
            let at = match open[..] {
                [] => 0,
                [i] => i,
                _ => return Ok(None),
            };
            let mut factors = x.factors().to_vec();
            factors[at] = x.factors()[at].plus(&y.factors()[at])?;
            Op::new(Kronecker::new(factors)?)
        }
        (Kind::Eigh(x), Kind::Eigh(y)) if x.vectors().same(y.vectors()) => {
            let l = x.values().iter().zip(y.values()).map(|(&a, &b)| a + b).collect();
            Op::new(Eigh::new(x.vectors().clone(), l)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(op.known(kept)))
}

/// The product of operators with matching sizes, leftmost first.
pub fn product<T: Scalar>(factors: &[Op<T>]) -> Result<Op<T>, Error> {
    for w in factors.windows(2) {
        meet("product", w[0].spaces().1, w[1].spaces().0)?;
    }
    let output = factors.first().and_then(|f| f.spaces().0);
    let input = factors.last().and_then(|f| f.spaces().1);
    Ok(merged_product(factors)?.between(output, input))
}

fn merged_product<T: Scalar>(factors: &[Op<T>]) -> Result<Op<T>, Error> {
    let flat = |factors: &[Op<T>]| -> Vec<Op<T>> {
        factors
            .iter()
            .flat_map(|f| match f.kind() {
                Kind::Chain(c) => c.factors().to_vec(),
                _ => vec![f.clone()],
            })
            .collect()
    };
    // The plain chain checks the sizes and knows all facts of the expression.
    let outer = Chain::new(factors.to_vec())?;
    let whole = Chain::new(flat(factors))?;
    let (m, n) = (whole.nrows(), whole.ncols());
    let kept = (outer.props() | whole.props()).close(m, n);
    if kept.contains(Props::ZERO) {
        return Ok(Op::zero(m, n));
    }
    let mut scalar = T::ONE;
    let mut list: Vec<Op<T>> = Vec::new();
    for f in whole.factors() {
        let mut f = f.clone();
        let peeled = match f.kind() {
            Kind::Scaled(s) if (scalar * s.factor()).is_finite() && scalar * s.factor() != T::ZERO => {
                Some((s.factor(), Some(s.inner().clone())))
            }
            Kind::ScalarIdentity(c) if (scalar * c.factor()).is_finite() && scalar * c.factor() != T::ZERO => {
                Some((c.factor(), None))
            }
            _ if f.props().contains(Props::IDENTITY) => Some((T::ONE, None)),
            _ => None,
        };
        if let Some((c, inner)) = peeled {
            scalar *= c;
            match inner {
                Some(inner) => f = inner,
                None => continue,
            }
        }
        match list.last() {
            Some(last) => match merge_factors(last, &f)? {
                Some(merged) => {
                    list.pop();
                    list.push(merged);
                }
                None => list.push(f),
            },
            None => list.push(f),
        }
    }
    let op = match list.len() {
        0 => Op::new(ScalarIdentity::new(T::ONE, n)),
        1 => list.swap_remove(0),
        _ => Op::new(Chain::new(list)?),
    };
    Ok(op.scaled(scalar).known(kept))
}

/// `A B` as one operator of the same kind, where there is one.
fn merge_factors<T: Scalar>(a: &Op<T>, b: &Op<T>) -> Result<Option<Op<T>>, Error> {
    let kept = a.props().product(b.props(), a.nrows(), a.ncols(), b.ncols());
    let meets = |x: &[Op<T>], y: &[Op<T>]| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.ncols() == y.nrows());
    let each = |x: &[Op<T>], y: &[Op<T>]| x.iter().zip(y).map(|(x, y)| x.times(y)).collect::<Result<Vec<_>, _>>();
    let op = match (a.kind(), b.kind()) {
        (Kind::Diagonal(x), Kind::Diagonal(y)) => {
            Op::diag(x.values().iter().zip(y.values()).map(|(&a, &b)| a * b).collect())
        }
        (Kind::Permutation(x), Kind::Permutation(y)) => {
            Op::new(Permutation::new(x.list().iter().map(|&i| y.list()[i]).collect())?)
        }
        (Kind::Kronecker(x), Kind::Kronecker(y)) if meets(x.factors(), y.factors()) => {
            Op::new(Kronecker::new(each(x.factors(), y.factors())?)?)
        }
        (Kind::BlockDiag(x), Kind::BlockDiag(y)) if meets(x.blocks(), y.blocks()) => {
            Op::new(BlockDiag::new(each(x.blocks(), y.blocks())?)?)
        }
        _ => return Ok(None),
    };
    Ok(Some(op.known(kept)))
}

/// `A1 (x) A2 (x) ...`, nested products flattened.
pub fn kron<T: Scalar>(factors: &[Op<T>]) -> Result<Op<T>, Error> {
    let whole = Kronecker::new(factors.to_vec())?;
    let (m, n) = (whole.nrows(), whole.ncols());
    let kept = whole.props();
    if kept.contains(Props::ZERO) {
        return Ok(Op::zero(m, n));
    }
    let mut scalar = T::ONE;
    let mut list: Vec<Op<T>> = Vec::new();
    for f in factors {
        match f.kind() {
            Kind::Kronecker(k) => list.extend_from_slice(k.factors()),
            Kind::Scaled(s) if (scalar * s.factor()).is_finite() && scalar * s.factor() != T::ZERO => {
                scalar *= s.factor();
                list.push(s.inner().clone());
            }
            _ => list.push(f.clone()),
        }
    }
    let scalars: Option<Vec<T>> = list
        .iter()
        .map(|f| match f.kind() {
            Kind::ScalarIdentity(c) => Some(c.factor()),
            _ => None,
        })
        .collect();
    let op = match scalars {
        Some(c) => Op::new(ScalarIdentity::new(c.into_iter().fold(T::ONE, |a, b| a * b), n)),
        None if list.len() == 1 => list.swap_remove(0),
        None => Op::new(Kronecker::new(list)?),
    };
    Ok(op.scaled(scalar).known(kept))
}

/// `diag(A1, A2, ...)`.
pub fn block_diag<T: Scalar>(blocks: &[Op<T>]) -> Result<Op<T>, Error> {
    Ok(Op::new(BlockDiag::new(blocks.to_vec())?))
}

/// A small chain of stored matrices multiplied out, if `expected_products` products with it make that cheaper.
pub fn fused<T: Scalar>(chain: &Op<T>, expected_products: usize, par: Par) -> Result<Op<T>, Error> {
    let Kind::Chain(c) = chain.kind() else {
        return Ok(chain.clone());
    };
    let mut list: Vec<Op<T>> = Vec::new();
    for f in c.factors() {
        let merged = match (list.last().map(|l| l.kind()), f.kind()) {
            (Some(Kind::Dense(a)), Kind::Dense(b)) => {
                let (a, b) = (a.mat(), b.mat());
                let (m, k, n) = (a.nrows() as f64, a.ncols() as f64, b.ncols() as f64);
                let q = expected_products as f64;
                if m * k * n + q * m * n < q * (m * k + k * n) {
                    let mut out = Mat::zeros(a.nrows(), b.ncols());
                    kernels::gemm(out.as_mut(), T::ONE, a, b, T::ZERO, par);
                    Some(Op::dense(out))
                } else {
                    None
                }
            }
            _ => None,
        };
        match merged {
            Some(m) => {
                list.pop();
                list.push(m);
            }
            None => list.push(f.clone()),
        }
    }
    product(&list).map(|op| op.known(chain.props()))
}

macro_rules! arithmetic {
    ($($trait:ident $method:ident: |$a:ident, $b:ident| $body:expr;)*) => {$(
        impl<T: Scalar> core::ops::$trait<&Op<T>> for &Op<T> {
            type Output = Result<Op<T>, Error>;
            fn $method(self, other: &Op<T>) -> Self::Output {
                let ($a, $b) = (self, other);
                $body
            }
        }
        impl<T: Scalar> core::ops::$trait<Op<T>> for Op<T> {
            type Output = Result<Op<T>, Error>;
            fn $method(self, other: Op<T>) -> Self::Output {
                let ($a, $b) = (&self, &other);
                $body
            }
        }
    )*};
}

arithmetic! {
    Add add: |a, b| a.plus(b);
    Sub sub: |a, b| a.plus(&b.scaled(-T::ONE));
    Mul mul: |a, b| a.times(b);
}

impl<T: Scalar> core::ops::Neg for &Op<T> {
    type Output = Op<T>;
    fn neg(self) -> Op<T> {
        self.scaled(-T::ONE)
    }
}
