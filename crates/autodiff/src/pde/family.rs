//! Direction families: `sum_r w_r d^K f[v_r^K]` as a differential operator with constant coefficients.
//!
//! Weights refer to plain derivatives. Families of order above two are made of exact rationals, brought to a canonical form
//! (no common factors, first entry positive, equal directions merged), and verified exactly against the polynomial that the
//! operator stands for.

use super::interpolate::{compositions, gamma};
use super::rational::{Rational, gcd};
use crate::error::Error;
use std::collections::BTreeMap;

/// Directions `[R][D]` and one weight each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    pub(crate) order: usize,
    pub(crate) dim: usize,
    pub(crate) directions: Vec<Vec<f64>>,
    pub(crate) weights: Vec<f64>,
}

impl Family {
    /// The unit vectors, weight one: the Laplacian at order 2.
    pub(crate) fn units(order: usize, dim: usize) -> Self {
        let directions = (0..dim).map(|i| (0..dim).map(|j| f64::from(u8::from(i == j))).collect()).collect();
        Family { order, dim, directions, weights: vec![1.0; dim] }
    }

    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }
}

/// A family under construction: integer directions with rational weights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exact {
    order: usize,
    dim: usize,
    weights: BTreeMap<Vec<i128>, Rational>,
}

fn overflow() -> Error {
    Error::unsupported(
        "pde",
        "interpolation",
        "the weights do not fit 128-bit rationals; lower the order of the operator",
    )
}

impl Exact {
    pub(crate) fn new(order: usize, dim: usize) -> Self {
        Exact { order, dim, weights: BTreeMap::new() }
    }

    /// Adds `weight * d^K f[v^K]` in canonical form.
    pub(crate) fn add(&mut self, mut v: Vec<i128>, mut weight: Rational) -> Result<(), Error> {
        let g = v.iter().fold(0, |g, &x| gcd(g, x));
        if g == 0 || weight.is_zero() {
            return Ok(());
        }
        let negative = v.iter().find(|&&x| x != 0).is_some_and(|&x| x < 0);
        let factor = if negative { -g } else { g };
        v.iter_mut().for_each(|x| *x /= factor);
        let power = Rational::integer(factor).powi(self.order).ok_or_else(overflow)?;
        weight = weight.mul(power).ok_or_else(overflow)?;
        let entry = self.weights.entry(v).or_insert(Rational::ZERO);
        *entry = entry.add(weight).ok_or_else(overflow)?;
        Ok(())
    }

    /// Adds `coefficient * d^alpha` by interpolation on the axes that occur.
    pub(crate) fn add_monomial(&mut self, alpha: &[usize], coefficient: Rational) -> Result<(), Error> {
        let axes: Vec<usize> = (0..alpha.len()).filter(|&i| alpha[i] > 0).collect();
        let powers: Vec<usize> = axes.iter().map(|&i| alpha[i]).collect();
        let dim = self.dim;
        let unit = |pairs: &mut dyn Iterator<Item = (usize, i128)>| {
            let mut v = vec![0; dim];
            pairs.for_each(|(axis, x)| v[axis] = x);
            v
        };
        if let [axis] = axes[..] {
            let v = unit(&mut core::iter::once((axis, 1)));
            return self.add(v, coefficient);
        }
        let factorial: i128 = (1..=self.order as i128).product();
        for j in compositions(axes.len(), self.order) {
            let weight = gamma(&powers, &j).and_then(|g| g.mul(coefficient)).ok_or_else(overflow)?;
            let weight = weight.div(Rational::integer(factorial)).ok_or_else(overflow)?;
            let v = unit(&mut axes.iter().zip(&j).map(|(&a, &x)| (a, x as i128)));
            self.add(v, weight)?;
        }
        Ok(())
    }

    /// `sum_r w_r (v_r . a)^K` at a rational point: the operator's symbol.
    pub(crate) fn symbol(&self, a: &[Rational]) -> Option<Rational> {
        self.weights.iter().try_fold(Rational::ZERO, |sum, (v, &w)| {
            let form = v.iter().zip(a).try_fold(Rational::ZERO, |s, (&x, &a)| s.add(a.mul(Rational::integer(x))?))?;
            sum.add(w.mul(form.powi(self.order)?)?)
        })
    }

    pub(crate) fn finish(self) -> Family {
        let kept: Vec<_> = self.weights.into_iter().filter(|(_, w)| !w.is_zero()).collect();
        Family {
            order: self.order,
            dim: self.dim,
            directions: kept.iter().map(|(v, _)| v.iter().map(|&x| x as f64).collect()).collect(),
            weights: kept.iter().map(|(_, w)| w.to_f64()).collect(),
        }
    }
}

/// Biharmonic by interpolation, the paper's family: directions `4 e_i`, `3 e_i + e_j`, `2 e_i + 2 e_j`.
pub(crate) fn biharmonic_interpolated(dim: usize) -> Result<Family, Error> {
    let mut family = Exact::new(4, dim);
    for i in 0..dim {
        for j in 0..dim {
            let mut alpha = vec![0; dim];
            alpha[i] += 2;
            alpha[j] += 2;
            family.add_monomial(&alpha, Rational::ONE)?;
        }
    }
    Ok(family.finish())
}

/// Biharmonic by a symmetric rule of degree five: `e_i` with weight `(4 - D)/3`, `e_i + e_j` and `e_i - e_j` with `1/6` each.
/// In two dimensions three directions at 60 degrees, in three the axes of the icosahedron (both ours).
pub(crate) fn biharmonic_symmetric(dim: usize) -> Result<Family, Error> {
    if dim == 2 {
        let (c, s) = (0.5, 3f64.sqrt() / 2.0);
        let directions = vec![vec![1.0, 0.0], vec![c, s], vec![-c, s]];
        return Ok(Family { order: 4, dim, directions, weights: vec![8.0 / 9.0; 3] });
    }
    if dim == 3 {
        let golden = (1.0 + 5f64.sqrt()) / 2.0;
        let n = (1.0 + golden * golden).sqrt();
        let (a, b) = (1.0 / n, golden / n);
        let directions = vec![
            vec![0.0, a, b],
            vec![0.0, a, -b],
            vec![a, b, 0.0],
            vec![a, -b, 0.0],
            vec![b, 0.0, a],
            vec![-b, 0.0, a],
        ];
        return Ok(Family { order: 4, dim, directions, weights: vec![5.0 / 6.0; 6] });
    }
    let mut family = Exact::new(4, dim);
    let third = |n: i128| Rational::new(n, 3).ok_or_else(overflow);
    for i in 0..dim {
        let mut v = vec![0; dim];
        v[i] = 1;
        family.add(v.clone(), third(4 - dim as i128)?)?;
        for j in i + 1..dim {
            for sign in [1, -1] {
                let mut pair = v.clone();
                pair[j] = sign;
                family.add(pair, Rational::new(1, 6).ok_or_else(overflow)?)?;
            }
        }
    }
    Ok(family.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(n: i128, d: i128) -> Rational {
        Rational::new(n, d).unwrap()
    }

    fn value(f: &Family, a: &[f64]) -> f64 {
        let form = |v: &[f64]| v.iter().zip(a).map(|(x, y)| x * y).sum::<f64>();
        f.directions.iter().zip(&f.weights).map(|(v, w)| w * form(v).powi(f.order as i32)).sum()
    }

    /// The symbol of the biharmonic is `|a|^4`.
    #[test]
    fn biharmonic_families_are_exact() {
        let a = [0.3, -1.2, 0.7, 2.0, -0.4, 1.1];
        for dim in 1..=6 {
            let expected = a[..dim].iter().map(|x| x * x).sum::<f64>().powi(2);
            for (name, f) in [("A", biharmonic_interpolated(dim)), ("B", biharmonic_symmetric(dim))] {
                let f = f.unwrap();
                assert!((value(&f, &a[..dim]) / expected - 1.0).abs() < 1e-12, "{name} in {dim}");
            }
        }
        assert_eq!(biharmonic_interpolated(5).unwrap().len(), (3 * 25 - 5) / 2);
        let sizes: Vec<usize> = (1..=6).map(|d| biharmonic_symmetric(d).unwrap().len()).collect();
        assert_eq!(sizes, [1, 3, 6, 12, 25, 36]);
    }

    /// The published weight of `4 e_i`: `(2 D 13/192 - 2/3 + 5/8) / 24`, here for the direction `e_i`, so times `4^4`.
    #[test]
    fn interpolated_weights_are_the_papers() {
        let f = biharmonic_interpolated(5).unwrap();
        let at = |v: &[f64]| f.weights[f.directions.iter().position(|d| d == v).unwrap()];
        let expected = (10.0 * 13.0 / 192.0 - 2.0 / 3.0 + 5.0 / 8.0) / 24.0 * 256.0;
        assert!((at(&[0.0, 1.0, 0.0, 0.0, 0.0]) - expected).abs() < 1e-12);
        assert!((at(&[3.0, 0.0, 1.0, 0.0, 0.0]) + 1.0 / 36.0).abs() < 1e-15);
        assert!((at(&[1.0, 0.0, 1.0, 0.0, 0.0]) - 16.0 * 5.0 / 96.0).abs() < 1e-13);
    }

    #[test]
    fn monomials_are_exact_and_canonical() {
        let a = [r(2, 3), r(-1, 5), r(4, 7)];
        for alpha in [[2, 1, 0], [1, 1, 1], [0, 0, 3], [3, 1, 2], [2, 2, 2]] {
            let order = alpha.iter().sum();
            let mut f = Exact::new(order, 3);
            f.add_monomial(&alpha, r(5, 3)).unwrap();
            let expected = alpha.iter().zip(&a).fold(r(5, 3), |p, (&n, a)| p.mul(a.powi(n).unwrap()).unwrap());
            assert_eq!(f.symbol(&a), Some(expected), "{alpha:?}");
        }
        let mut f = Exact::new(3, 2);
        f.add(vec![-2, 0], r(1, 8)).unwrap();
        f.add(vec![1, 0], r(1, 1)).unwrap();
        assert_eq!(f.finish().len(), 0);
    }
}
