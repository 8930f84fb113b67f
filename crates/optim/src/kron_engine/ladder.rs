//! Decompositions that may fail, and what is tried instead.
//!
//! A factor, which is kept symmetric, is scaled by the power of two next to `1 / max |S_ij|`, so no digit changes. A QR step that
//! gives numbers that are not finite is replaced by an eigendecomposition; that one is tried again in double precision;
//! if it fails too the old basis stays and the failure is counted, per factor, until a success. After more than three
//! in a row the step reports an error. All work is done in memory that the rule keeps.

use crate::slots::all_finite;
use numerics::dense::{self, FactorWork};
use numerics::simd::Wide;
use numerics::{Error, Mat, MatMut, Par, Scalar, simd};

/// Failures in a row after which a step returns an error.
pub(crate) const TOLERATED_FAILURES: u64 = 3;

/// Eigenpairs, ascending, of a symmetric matrix that is used up.
type EighFn<T> = fn(&mut FactorWork<T>, MatMut<'_, T>, &mut [T], MatMut<'_, T>) -> Result<(), Error>;
/// `a = q r`; `a` becomes `r`.
type QrFn<T> = fn(&mut FactorWork<T>, MatMut<'_, T>, MatMut<'_, T>) -> Result<(), Error>;

/// The decompositions in use; tests put failing ones in their place.
#[derive(Clone, Copy)]
pub(crate) struct Decompositions<T> {
    pub(crate) eigh: EighFn<T>,
    pub(crate) qr: QrFn<T>,
}

impl<T: Scalar> Default for Decompositions<T> {
    fn default() -> Self {
        Decompositions { eigh: FactorWork::eigh, qr: FactorWork::qr }
    }
}

impl<T> core::fmt::Debug for Decompositions<T> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Decompositions")
    }
}

/// Cubed order below which a second thread is not worth its call.
const WORTH_A_THREAD: f64 = 1e5;
/// One of two with so many times the work of the other one keeps all threads for its products.
const MUCH_LARGER: f64 = 4.0;

/// Two independent decompositions, or groups of them, each on a thread of its own if there are several; `work` is the sum of their cubed orders.
pub(crate) fn side_by_side(par: Par, work: (f64, f64), left: impl FnOnce(Par) + Send, right: impl FnOnce(Par) + Send) {
    if par.degree() == 1 || work.0.min(work.1) < WORTH_A_THREAD {
        left(par);
        right(par);
        return;
    }
    let share = |own: f64, other: f64| if own > MUCH_LARGER * other { par } else { Par::Seq };
    rayon::join(|| left(share(work.0, work.1)), || right(share(work.1, work.0)));
}

/// What is added to the diagonal before eigenvectors are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Shift {
    /// A number added to the matrix as it is.
    Plain(f64),
    /// `n` times the machine epsilon, added to the scaled matrix.
    Relative,
    Nothing,
}

/// Memory for the refresh of one factor: four matrices of its order, column-major.
pub(crate) struct Bench<'a, T> {
    pub(crate) s: &'a mut [T],
    pub(crate) h: &'a mut [T],
    pub(crate) t: &'a mut [T],
    pub(crate) u: &'a mut [T],
    /// Of the factor's order.
    pub(crate) values: &'a mut [T],
    pub(crate) work: &'a mut FactorWork<T>,
}

/// Elements that the matrices of a [`Bench`] take.
pub(crate) fn bench_len(n: usize) -> usize {
    4 * n * n
}

/// Four square matrices out of one buffer.
pub(crate) fn split_bench<T>(buffer: &mut [T], n: usize) -> [&mut [T]; 4] {
    let (s, rest) = buffer.split_at_mut(n * n);
    let (h, rest) = rest.split_at_mut(n * n);
    let (t, rest) = rest.split_at_mut(n * n);
    [s, h, t, &mut rest[..n * n]]
}

/// Column-major view of the first `n * n` elements.
pub(crate) fn columns<T>(x: &mut [T], n: usize) -> MatMut<'_, T> {
    MatMut::from_column_major_slice_mut(&mut x[..n * n], n, n)
}

/// A factor made ready for a decomposition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Ready<T> {
    /// The copy is symmetric with a largest entry near one; this is what it was multiplied by.
    Scaled(T),
    /// Nothing was seen so far: there is no basis to look for.
    Zero,
    /// An overflow.
    NotFinite,
}

/// Scales a factor, both triangles of which are there, into `copy`.
pub(crate) fn scaled_copy<T: Scalar>(s: &[T], n: usize, copy: &mut [T]) -> Ready<T> {
    if !all_finite(s) {
        return Ready::NotFinite;
    }
    let top = simd::run_wide(Largest(s)).to_f64();
    if top == 0.0 {
        return Ready::Zero;
    }
    let limit = if T::EPS.to_f64() > 1e-10 { 120.0 } else { 1000.0 };
    let unit = T::from_f64((-top.log2().floor()).clamp(-limit, limit).exp2());
    simd::wide(|| copy[..n * n].iter_mut().zip(s).for_each(|(c, &s)| *c = s * unit));
    Ready::Scaled(unit)
}

/// Largest absolute value of finite numbers, by independent comparisons.
struct Largest<'a, T>(&'a [T]);

impl<T: Scalar> Wide for Largest<'_, T> {
    type Out = T;

    #[inline(always)]
    fn run(self) -> T {
        let mut lanes = [T::ZERO; 32];
        let (chunks, rest) = self.0.as_chunks::<32>();
        for chunk in chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                let v = v.abs();
                *lane = if v > *lane { v } else { *lane };
            }
        }
        lanes.iter().chain(rest).fold(T::ZERO, |top, x| top.max(x.abs()))
    }
}

/// Eigenvectors in descending order of eigenvalue into `h`, from the scaled copy in `s`, which is used up. `values` belong
/// to the scaled copy without the shift, descending.
pub(crate) fn eigenvectors<T: Scalar>(
    tools: &Decompositions<T>,
    n: usize,
    unit: T,
    shift: Shift,
    bench: &mut Bench<'_, T>,
) -> Result<(), Error> {
    let add = match shift {
        Shift::Plain(x) => T::from_f64(x) * unit,
        Shift::Relative => T::from_usize(n) * T::EPS,
        Shift::Nothing => T::ZERO,
    };
    let mut s = columns(bench.s, n);
    crate::roots::add_to_diagonal(s.as_mut(), add);
    let (values, work) = (&mut *bench.values, &mut *bench.work);
    eigenpairs(tools, work, s, values, columns(bench.u, n), columns(bench.t, n))?;
    let u = columns(bench.u, n);
    if !dense::is_all_finite(u.as_ref()) {
        return Err(Error::NoConvergence { op: "eigh", n });
    }
    let mut h = columns(bench.h, n);
    for j in 0..n {
        dense::copy(h.as_mut().subcols_mut(j, 1), u.as_ref().subcols(n - 1 - j, 1));
    }
    bench.values.reverse();
    bench.values.iter_mut().for_each(|l| *l -= add);
    Ok(())
}

/// Eigenpairs, ascending, of `a`, which is used up; `copy` keeps it for a second attempt in double precision. A mocked
/// decomposition fails there too, and one that was in `f64` already is not repeated.
pub(crate) fn eigenpairs<T: Scalar>(
    tools: &Decompositions<T>,
    work: &mut FactorWork<T>,
    a: MatMut<'_, T>,
    values: &mut [T],
    mut vectors: MatMut<'_, T>,
    mut copy: MatMut<'_, T>,
) -> Result<(), Error> {
    dense::copy(copy.as_mut(), a.as_ref());
    let Err(error) = (tools.eigh)(work, a, values, vectors.as_mut()) else { return Ok(()) };
    let real = core::ptr::fn_addr_eq(tools.eigh, Decompositions::<T>::default().eigh);
    if !real || T::EPS.to_f64() < 1e-10 {
        return Err(error);
    }
    let n = copy.nrows();
    let wide = Mat::from_fn(n, n, |i, j| copy[(i, j)].to_f64());
    let e = dense::eigh(wide.as_ref())?;
    values.iter_mut().zip(&e.values).for_each(|(v, &l)| *v = T::from_f64(l));
    for j in 0..n {
        for i in 0..n {
            vectors[(i, j)] = T::from_f64(e.vectors[(i, j)]);
        }
    }
    Ok(())
}

/// QR of the matrix in `t`: `t` becomes `r`, `u` the basis. `false` if either is not finite.
pub(crate) fn orthogonal<T: Scalar>(tools: &Decompositions<T>, n: usize, bench: &mut Bench<'_, T>) -> bool {
    let (t, u) = (columns(bench.t, n), columns(bench.u, n));
    (tools.qr)(bench.work, t, u).is_ok() && all_finite(&bench.t[..n * n]) && all_finite(&bench.u[..n * n])
}
