//! Derivative towers: the m-th derivative of an elementwise function as an expression of its argument and value.
//!
//! Each family is a polynomial recurrence `P_m` times a power of one weight, evaluated by Horner's rule; see
//! arXiv:2505.13644 and Griewank & Walther, chapter 13.

use crate::error::Error;
use crate::program::{Builder, NodeId};

/// Coefficients, lowest degree first.
type Poly = Vec<f64>;

fn derivative(p: &[f64]) -> Poly {
    p.iter().enumerate().skip(1).map(|(i, c)| i as f64 * c).collect()
}

fn multiply(p: &[f64], q: &[f64]) -> Poly {
    let mut r = vec![0.0; (p.len() + q.len()).saturating_sub(1)];
    for (i, a) in p.iter().enumerate() {
        for (j, b) in q.iter().enumerate() {
            r[i + j] += a * b;
        }
    }
    r
}

fn add(p: &[f64], q: &[f64]) -> Poly {
    (0..p.len().max(q.len())).map(|i| p.get(i).unwrap_or(&0.0) + q.get(i).unwrap_or(&0.0)).collect()
}

/// `p(x)` by Horner's rule; a polynomial in `x^2` (or `x` times one) is evaluated as such.
pub(super) fn horner(b: &mut Builder, p: &[f64], x: NodeId) -> Result<NodeId, Error> {
    let even = p.iter().skip(1).step_by(2).all(|&c| c == 0.0);
    let odd = p.iter().step_by(2).all(|&c| c == 0.0);
    if p.len() > 2 && (even || odd) {
        let half: Poly = p.iter().skip(usize::from(!even)).step_by(2).copied().collect();
        let square = b.mul(x, x)?;
        let y = horner(b, &half, square)?;
        return if even { Ok(y) } else { b.mul(y, x) };
    }
    let shape = b.shape(x);
    let mut y = b.full(&shape, p.last().copied().unwrap_or(0.0))?;
    for &c in p.iter().rev().skip(1) {
        y = b.mul(y, x)?;
        y = b.add_scalar(y, c)?;
    }
    Ok(y)
}

/// Derivatives of a function with `y' = w(y)`, `w` a polynomial: `P_1 = 1`, `P_{m+1} w = (P_m w)' w`.
/// Returns `P_m` with the factor `w` taken out.
pub(super) fn autonomous(w: &[f64], m: u32) -> Poly {
    let mut p = vec![1.0];
    for _ in 1..m {
        p = add(&multiply(&derivative(&p), w), &multiply(&p, &derivative(w)));
    }
    p
}

/// `P_m` with `f^(m) = P_m(x) q(x)^(-(m - shift))`, from `f' = q^(-(1 - shift))`:
/// `P_{m+1} = P_m' q - (m - shift) q' P_m`.
pub(super) fn over_quadratic(q: &[f64], shift: f64, m: u32) -> Poly {
    let mut p = vec![1.0];
    for k in 1..m {
        let factor = -(f64::from(k) - shift);
        let right: Poly = multiply(&derivative(q), &p).iter().map(|c| c * factor).collect();
        p = add(&multiply(&derivative(&p), q), &right);
    }
    p
}

/// `(-1)^n H_n(x)` for the weight `exp(-x^2)`: its n-th derivative over the weight.
pub(super) fn hermite_signed(n: u32) -> Poly {
    let mut p = vec![1.0];
    for _ in 0..n {
        p = add(&derivative(&p), &multiply(&[0.0, -2.0], &p));
    }
    p
}
