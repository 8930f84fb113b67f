//! Synthetic matrices with known structure: unit singular values followed by a tail, and a diagonal on top.
//!
//! Source: arXiv:1902.08651 section 7.3.1. With R unit values: exponential tails `10^(-theta j)`, polynomial tails
//! `(j+1)^-theta` (j = 1, 2, ...), or noise `(zeta / n) G G^T` on `diag(1, .., 1, 0, ..)`. A diagonal of ratio xi has
//! `|d| = xi |L|_F / sqrt(n)`, so that it holds the share `xi^2 / n` of the energy.

use crate::{Error, la};
use linop_core::ops::{LowRank, LowRankPlusDiag};
use numerics::rng::{Role, Stream};
use numerics::{Mat, Par, dense};

/// What follows the unit singular values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tail {
    /// Nothing: the rank is exact.
    None,
    /// `10^(-theta j)`.
    Exp(f64),
    /// `(j + 1)^-theta`.
    Poly(f64),
    /// A Wishart matrix scaled by `zeta / n`; the unit part is then diagonal.
    Noise(f64),
}

impl Tail {
    fn check(self, op: &'static str) -> Result<(), Error> {
        match self {
            Tail::Exp(x) | Tail::Poly(x) | Tail::Noise(x) if !x.is_finite() => {
                Err(Error::argument(op, format!("needs a finite parameter of the tail, got {self:?}")))
            }
            _ => Ok(()),
        }
    }
}

/// How left and right singular vectors are related.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetry {
    /// They are independent.
    General,
    /// They are the same.
    Psd,
    /// They are the same up to random signs.
    Indefinite,
}

/// A family of matrices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Family {
    /// Number of unit singular values.
    pub rank: usize,
    /// What follows them.
    pub tail: Tail,
    /// Symmetry.
    pub symmetry: Symmetry,
}

const LEFT: u64 = 0;
const RIGHT: u64 = 1;
const SIGNS: u64 = 2;
const NOISE: u64 = 3;
const DIAGONAL: u64 = 4;

impl Family {
    /// The first `n` singular values.
    pub fn spectrum(&self, n: usize) -> Vec<f64> {
        (0..n)
            .map(|i| match (i < self.rank, self.tail) {
                (true, _) => 1.0,
                (false, Tail::None | Tail::Noise(_)) => 0.0,
                (false, Tail::Exp(theta)) => 10f64.powf(-theta * (i + 1 - self.rank) as f64),
                (false, Tail::Poly(theta)) => ((i + 2 - self.rank) as f64).powf(-theta),
            })
            .collect()
    }
}

fn gaussian(n: usize, k: usize, array: u64, seed: u64) -> Mat<f64> {
    let mut out = Mat::zeros(n, k);
    for j in 0..k {
        Stream::new(seed, Role::SyntheticMatrix, array, j as u64).fill_normal(out.col_as_slice_mut(j));
    }
    out
}

/// By reflections, so that signs, too, are part of what a seed means.
fn basis(gaussian: Mat<f64>) -> Result<Mat<f64>, Error> {
    Ok(dense::qr_tall(gaussian.as_ref(), Par::Seq)?.q)
}

fn random_signs(k: usize, seed: u64) -> Vec<f64> {
    let mut out = vec![0.0; k];
    Stream::new(seed, Role::SyntheticMatrix, SIGNS, 0).fill_signs(&mut out);
    out
}

/// A member of the family with `h` rows and `w` columns.
///
/// Cost: bases of `6 h^2 w` flops and a product of `2 h w min(h, w)`; one of each for a symmetric family.
///
/// ```
/// use sketch::synthmat::{Family, Symmetry, Tail, matrix};
/// let family = Family { rank: 3, tail: Tail::Exp(0.5), symmetry: Symmetry::Psd };
/// let a = matrix(40, 40, &family, 1)?;
/// let trace: f64 = (0..40).map(|i| a[(i, i)]).sum();
/// assert!((trace - family.spectrum(40).iter().sum::<f64>()).abs() < 1e-12);
/// # Ok::<(), sketch::Error>(())
/// ```
///
/// # Errors
/// `NotSquare` for a symmetric family or noise that is not square, `InvalidArgument` for more unit values than
/// the sides or a parameter of the tail that is not finite.
pub fn matrix(h: usize, w: usize, family: &Family, seed: u64) -> Result<Mat<f64>, Error> {
    let op = "synthetic matrix";
    let small = h.min(w);
    family.tail.check(op)?;
    if family.rank > small {
        return Err(Error::argument(op, format!("{} unit singular values in {h} x {w}", family.rank)));
    }
    if h != w && (family.symmetry != Symmetry::General || matches!(family.tail, Tail::Noise(_))) {
        return Err(Error::NotSquare { op, nrows: h, ncols: w });
    }
    if let Tail::Noise(zeta) = family.tail {
        let g = gaussian(h, h, NOISE, seed);
        let mut a = la::gram(g.transpose(), Par::Seq);
        dense::scale(a.as_mut(), zeta / h as f64);
        (0..family.rank).for_each(|i| a[(i, i)] += 1.0);
        return Ok(a);
    }
    let mut values = family.spectrum(small);
    let u = basis(gaussian(h, small, LEFT, seed))?;
    if family.symmetry == Symmetry::General {
        let v = basis(gaussian(w, small, RIGHT, seed))?;
        return Ok(la::mul_nt(la::scale_cols(u.as_ref(), &values).as_ref(), v.as_ref(), Par::Seq));
    }
    if family.symmetry == Symmetry::Indefinite {
        values.iter_mut().zip(random_signs(small, seed)).for_each(|(v, s)| *v *= s);
    }
    let mut a = la::mul_nt(la::scale_cols(u.as_ref(), &values).as_ref(), u.as_ref(), Par::Seq);
    dense::symmetrize(a.as_mut());
    Ok(a)
}

/// A Gaussian diagonal with `|d| = ratio |L|_F / sqrt(n)` for a low-rank part of squared norm `norm_sq`.
///
/// Cost: `O(n)`.
pub fn diagonal(n: usize, norm_sq: f64, ratio: f64, seed: u64) -> Vec<f64> {
    let mut d = vec![0.0; n];
    Stream::new(seed, Role::SyntheticMatrix, DIAGONAL, 0).fill_normal(&mut d);
    let length: f64 = dense::dot::<f64>(&d, &d).sqrt();
    let factor = if length > 0.0 { ratio * (norm_sq / n as f64).sqrt() / length } else { 0.0 };
    d.iter_mut().for_each(|x| *x *= factor);
    d
}

fn check_ratio(ratio: f64) -> Result<(), Error> {
    if ratio.is_finite() {
        return Ok(());
    }
    Err(Error::argument("synthetic matrix", format!("needs a finite ratio, got {ratio}")))
}

/// `L + diag(d)` for a square member L of the family, and d.
///
/// Cost: as [`matrix`].
///
/// # Errors
/// As [`matrix`]; `InvalidArgument` for a ratio that is not finite.
pub fn lord(n: usize, family: &Family, ratio: f64, seed: u64) -> Result<(Mat<f64>, Vec<f64>), Error> {
    check_ratio(ratio)?;
    let mut a = matrix(n, n, family, seed)?;
    let d = diagonal(n, la::fro_sq(a.as_ref()), ratio, seed);
    d.iter().enumerate().for_each(|(i, x)| a[(i, i)] += x);
    Ok((a, d))
}

/// The same with an exact rank and without the matrix: an operator of `2 n rank` numbers.
///
/// Cost: `6 n rank^2` flops.
///
/// # Errors
/// `InvalidArgument` if the rank exceeds n, the family has a tail, or the ratio is not finite.
pub fn implicit_lord(n: usize, family: &Family, ratio: f64, seed: u64) -> Result<LowRankPlusDiag<f64>, Error> {
    check_ratio(ratio)?;
    let k = family.rank;
    if k > n || family.tail != Tail::None {
        return Err(Error::argument("synthetic matrix", format!("needs rank <= {n} and no tail, got {family:?}")));
    }
    let u = basis(gaussian(n, k, LEFT, seed))?;
    let signs = if family.symmetry == Symmetry::Indefinite { random_signs(k, seed) } else { vec![1.0; k] };
    let core = Mat::from_fn(k, k, |i, j| if i == j { signs[i] } else { 0.0 });
    let v = match family.symmetry {
        Symmetry::General => Some(basis(gaussian(n, k, RIGHT, seed))?),
        _ => None,
    };
    let d = diagonal(n, k as f64, ratio, seed);
    Ok(LowRankPlusDiag::new(d, LowRank::new(u, Some(core), v)?)?)
}
