//! `U C V^T` with thin U and V. A product costs `2 r (m + n + r) k` flops.

use super::prelude::*;

/// `U C V^T`; without C the identity stands in its place, without V it is U.
#[derive(Clone, Debug)]
pub struct LowRank<T: Scalar> {
    u: Mat<T>,
    c: Option<Mat<T>>,
    v: Option<Mat<T>>,
    props: Props,
}

impl<T: Scalar> LowRank<T> {
    /// `U C V^T`: U is `m x r`, C `r x r` (identity if absent), V `n x r` (U if absent).
    pub fn new(u: Mat<T>, c: Option<Mat<T>>, v: Option<Mat<T>>) -> Result<Self, Error> {
        let r = u.ncols();
        if let Some(c) = &c
            && (c.nrows(), c.ncols()) != (r, r)
        {
            return Err(shape_error("LowRank", format!("C of {r} x {r}"), format!("{} x {}", c.nrows(), c.ncols())));
        }
        if let Some(v) = &v
            && v.ncols() != r
        {
            return Err(shape_error("LowRank", format!("V with {r} columns"), format!("{}", v.ncols())));
        }
        let n = u.nrows();
        let mut props = Props::NONE;
        if v.is_none() {
            props = match &c {
                None => Props::PSD,
                Some(c) => {
                    let symmetric = (0..r).all(|i| (0..i).all(|j| c[(i, j)] == c[(j, i)]));
                    let diagonal = (0..r).all(|i| (0..r).all(|j| i == j || c[(i, j)] == T::ZERO));
                    Props::SELF_ADJOINT.when(symmetric)
                        | Props::PSD.when(diagonal && (0..r).all(|i| c[(i, i)] >= T::ZERO))
                        | Props::NSD.when(diagonal && (0..r).all(|i| c[(i, i)] <= T::ZERO))
                }
            };
        }
        let cols = v.as_ref().map_or(n, |v| v.nrows());
        props = props | Props::ZERO.when(r == 0);
        Ok(LowRank { u, c, v, props: props.close(n, cols) })
    }

    /// `U U^T`.
    pub fn gram(u: Mat<T>) -> Self {
        let n = u.nrows();
        let props = (Props::PSD | Props::ZERO.when(u.ncols() == 0)).close(n, n);
        LowRank { u, c: None, v: None, props }
    }

    /// U.
    pub fn u(&self) -> MatRef<'_, T> {
        self.u.as_ref()
    }

    /// C, if it is not the identity.
    pub fn c(&self) -> Option<MatRef<'_, T>> {
        self.c.as_ref().map(|c| c.as_ref())
    }

    /// V (which is U for a symmetric form).
    pub fn v(&self) -> MatRef<'_, T> {
        self.v.as_ref().unwrap_or(&self.u).as_ref()
    }

    /// Number of columns of U.
    pub fn rank(&self) -> usize {
        self.u.ncols()
    }

    /// V is U.
    pub fn is_symmetric_form(&self) -> bool {
        self.v.is_none()
    }

    /// C as a matrix.
    pub fn core(&self) -> Mat<T> {
        let r = self.rank();
        self.c.clone().unwrap_or_else(|| Mat::from_fn(r, r, |i, j| if i == j { T::ONE } else { T::ZERO }))
    }

    /// `a U C V^T`.
    pub fn scaled(&self, a: T) -> Self {
        let mut c = self.core();
        kernels::scale(c.as_mut(), a);
        let p = self.props.scaled(a.to_f64(), self.u.nrows(), self.v().nrows());
        LowRank { u: self.u.clone(), c: Some(c), v: self.v.clone(), props: p }
    }

    /// The sum of two of one shape, by concatenation: the rank adds up.
    pub fn concat(&self, other: &Self) -> Result<Self, Error> {
        let (a, b) = (self.rank(), other.rank());
        let join = |x: MatRef<'_, T>, y: MatRef<'_, T>| {
            Mat::from_fn(x.nrows(), a + b, |i, j| if j < a { x[(i, j)] } else { y[(i, j - a)] })
        };
        if self.u.nrows() != other.u.nrows() || self.v().nrows() != other.v().nrows() {
            return Err(shape_error("LowRank", "equal shapes", "different shapes"));
        }
        let symmetric = self.v.is_none() && other.v.is_none();
        let c = if self.c.is_none() && other.c.is_none() {
            None
        } else {
            let (ca, cb) = (self.core(), other.core());
            Some(Mat::from_fn(a + b, a + b, |i, j| match (i < a, j < a) {
                (true, true) => ca[(i, j)],
                (false, false) => cb[(i - a, j - a)],
                _ => T::ZERO,
            }))
        };
        let v = if symmetric { None } else { Some(join(self.v(), other.v())) };
        let mut out = LowRank::new(join(self.u(), other.u()), c, v)?;
        let (m, n) = (self.u.nrows(), self.v().nrows());
        out.props = (out.props | self.props.add(other.props, m, n)).close(m, n);
        Ok(out)
    }

    fn shape(&self) -> (usize, usize) {
        (self.u.nrows(), self.v().nrows())
    }
    fn req(&self, _: Side, k: usize, _: Par) -> StackReq {
        let t = temp_req::<T>(self.rank(), k);
        t.and(t)
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
        let (r, k) = (self.rank(), x.ncols());
        let (left, right) = side.pick((self.u(), self.v()), (self.v(), self.u()));
        temp!(a, rest = stack, r * k);
        temp!(b, _rest = rest, r * k);
        kernels::gemm(view_mut(a, r, k), T::ONE, right.transpose(), x, T::ZERO, par);
        let t = match &self.c {
            None => view(a, r, k),
            Some(c) => {
                let c = side.pick(c.as_ref(), c.as_ref().transpose());
                kernels::gemm(view_mut(b, r, k), T::ONE, c, view(a, r, k), T::ZERO, par);
                view(b, r, k)
            }
        };
        kernels::gemm(out, alpha, left, t, beta, par);
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        let (m, n) = self.shape();
        let (s, r, k) = ((m + n) as f64, self.rank() as f64, k as f64);
        cost::<T>(2.0 * r * (s + r) * k, s * r + s * k)
    }
}

operator!(LowRank, Kind::LowRank);
