//! Taylor coefficients of elementwise functions by recurrences: `O(K^2)` operations an element, for any order.
//!
//! Each rule follows from a differential equation that the function satisfies (Griewank & Walther, *Evaluating
//! Derivatives*, chapter 13). Coefficients are scaled (`x_k = x^(k) / k!`) and all have one shape.

use super::algebra::{Coefficient, convolve, product, scale, sub};
use crate::error::Error;
use crate::ops::{Bits, Unary};
use crate::program::{Builder, NodeId};

/// Coefficients `y_0 ..= y_order` of `f(u)` for `u` with the coefficients `u_0 ..`; `u_0` exists.
pub(super) fn unary(b: &mut Builder, f: Unary, u: &[Coefficient], order: usize) -> Result<Vec<Coefficient>, Error> {
    let Some(u0) = u.first().copied().flatten() else {
        return Err(Error::Malformed("a series without a primal".into()));
    };
    let y0 = b.unary(f, u0)?;
    match f {
        Unary::Neg => u.iter().take(order + 1).map(|&x| scale(b, x, -1.0)).collect(),
        Unary::Abs => {
            let sign = b.unary(Unary::Sign, u0)?;
            product(b, &[Some(sign)], u, order)
        }
        Unary::Sign | Unary::Step | Unary::StopGradient => Ok(vec![Some(y0)]),
        Unary::Recip => {
            let one = b.full(&b.shape(u0), 1.0)?;
            quotient(b, &[Some(one)], u, y0, order)
        }
        Unary::Sqrt => square_root(b, u, y0, order),
        Unary::Powf(p) => power(b, u, p.get(), order),
        Unary::Exp => exponential(b, u, y0, y0, order),
        Unary::Expm1 => {
            let e = b.unary(Unary::Exp, u0)?;
            let mut y = exponential(b, u, e, e, order)?;
            y[0] = Some(y0);
            Ok(y)
        }
        Unary::Log => logarithm(b, u, u0, y0, order),
        Unary::Log1p => {
            let shifted = b.add_scalar(u0, 1.0)?;
            logarithm(b, u, shifted, y0, order)
        }
        Unary::Sin => Ok(circular(b, u, order, -1.0)?.0),
        Unary::Cos => Ok(circular(b, u, order, -1.0)?.1),
        Unary::Sinh => Ok(circular(b, u, order, 1.0)?.0),
        Unary::Cosh => Ok(circular(b, u, order, 1.0)?.1),
        Unary::Tanh => {
            let w = f.derivative(b, u0, y0, 1)?;
            ode(b, u, y0, w, order, |b, y, k| {
                let square = convolve(b, y, y, k, 0..=k, |_| 1.0)?;
                scale(b, square, -1.0)
            })
        }
        Unary::Sigmoid => {
            let w = f.derivative(b, u0, y0, 1)?;
            ode(b, u, y0, w, order, |b, y, k| {
                let square = convolve(b, y, y, k, 0..=k, |_| 1.0)?;
                sub(b, y[k], square)
            })
        }
        Unary::Softplus => {
            let g = unary(b, Unary::Sigmoid, u, order.saturating_sub(1))?;
            integral(b, u, &g, y0, order)
        }
        Unary::Erf | Unary::Erfc => {
            let c = std::f64::consts::FRAC_2_SQRT_PI * if f == Unary::Erf { 1.0 } else { -1.0 };
            let g = bell(b, u, c, order.saturating_sub(1))?;
            integral(b, u, &g, y0, order)
        }
        Unary::Atan => rational(b, u, y0, order, 1.0, None),
        Unary::Atanh => rational(b, u, y0, order, -1.0, None),
        Unary::Asinh => rational(b, u, y0, order, 1.0, Some(-0.5)),
        Unary::Asin => rational(b, u, y0, order, -1.0, Some(-0.5)),
    }
}

/// `u / v` with the leading coefficient `y0`: `y_k = (u_k - sum_{j>=1} v_j y_{k-j}) / v_0`.
fn quotient(
    b: &mut Builder,
    u: &[Coefficient],
    v: &[Coefficient],
    y0: NodeId,
    order: usize,
) -> Result<Vec<Coefficient>, Error> {
    let mut y = vec![Some(y0)];
    for k in 1..=order {
        let known = convolve(b, v, &y, k, 1..=k, |_| 1.0)?;
        let rest = sub(b, u.get(k).copied().flatten(), known)?;
        y.push(match (rest, v[0]) {
            (Some(rest), Some(v0)) => Some(b.div(rest, v0)?),
            _ => None,
        });
    }
    Ok(y)
}

fn square_root(b: &mut Builder, u: &[Coefficient], y0: NodeId, order: usize) -> Result<Vec<Coefficient>, Error> {
    let twice = b.scale(y0, 2.0)?;
    let mut y = vec![Some(y0)];
    for k in 1..=order {
        let known = convolve(b, &y, &y, k, 1..=k - 1, |_| 1.0)?;
        let rest = sub(b, u.get(k).copied().flatten(), known)?;
        y.push(rest.map(|rest| b.div(rest, twice)).transpose()?);
    }
    Ok(y)
}

/// A constant power: by multiplication for integers, so that a zero or negative base is exact.
fn power(b: &mut Builder, u: &[Coefficient], p: f64, order: usize) -> Result<Vec<Coefficient>, Error> {
    let Some(u0) = u[0] else { return Ok(vec![None]) };
    if p.fract() == 0.0 && p.abs() <= 64.0 {
        if p < 0.0 {
            let reciprocal = unary(b, Unary::Recip, u, order)?;
            return power(b, &reciprocal, -p, order);
        }
        return integer_power(b, u, p as u32, order);
    }
    let mut y = vec![Some(b.unary(Unary::Powf(Bits::new(p)), u0)?)];
    for k in 1..=order {
        let sum = convolve(b, u, &y, k, 1..=k, |j| (p * j as f64 - (k - j) as f64) / k as f64)?;
        y.push(sum.map(|sum| b.div(sum, u0)).transpose()?);
    }
    Ok(y)
}

fn integer_power(b: &mut Builder, u: &[Coefficient], n: u32, order: usize) -> Result<Vec<Coefficient>, Error> {
    let Some(u0) = u[0] else { return Ok(vec![None]) };
    let mut result: Vec<Coefficient> = vec![Some(b.full(&b.shape(u0), 1.0)?)];
    let mut square = u.to_vec();
    let mut rest = n;
    while rest > 0 {
        if rest % 2 == 1 {
            result = product(b, &result, &square, order)?;
        }
        rest /= 2;
        if rest > 0 {
            square = product(b, &square, &square, order)?;
        }
    }
    Ok(result)
}

/// `y_k = (1/k) sum_j j u_j y_{k-j}`, with `factor` in the place of `y_0` inside the sum.
fn exponential(
    b: &mut Builder,
    u: &[Coefficient],
    y0: NodeId,
    factor: NodeId,
    order: usize,
) -> Result<Vec<Coefficient>, Error> {
    let mut y = vec![Some(factor)];
    for k in 1..=order {
        let next = convolve(b, u, &y, k, 1..=k, |j| j as f64 / k as f64)?;
        y.push(next);
    }
    y[0] = Some(y0);
    Ok(y)
}

/// `y_k = (u_k - (1/k) sum_{0<j<k} j y_j u_{k-j}) / v_0`, with `v_0` the primal (or one plus it).
fn logarithm(
    b: &mut Builder,
    u: &[Coefficient],
    v0: NodeId,
    y0: NodeId,
    order: usize,
) -> Result<Vec<Coefficient>, Error> {
    let mut y = vec![Some(y0)];
    for k in 1..=order {
        let known = convolve(b, &y, u, k, 1..=k - 1, |j| j as f64 / k as f64)?;
        let rest = sub(b, u.get(k).copied().flatten(), known)?;
        y.push(rest.map(|rest| b.div(rest, v0)).transpose()?);
    }
    Ok(y)
}

/// Sine and cosine together (`sign` -1), or their hyperbolic kin (`sign` 1).
fn circular(
    b: &mut Builder,
    u: &[Coefficient],
    order: usize,
    sign: f64,
) -> Result<(Vec<Coefficient>, Vec<Coefficient>), Error> {
    let Some(u0) = u[0] else { return Ok((vec![None], vec![None])) };
    let (sine, cosine) = if sign < 0.0 { (Unary::Sin, Unary::Cos) } else { (Unary::Sinh, Unary::Cosh) };
    let (mut s, mut c) = (vec![Some(b.unary(sine, u0)?)], vec![Some(b.unary(cosine, u0)?)]);
    for k in 1..=order {
        let next = convolve(b, u, &c, k, 1..=k, |j| j as f64 / k as f64)?;
        let other = convolve(b, u, &s, k, 1..=k, |j| sign * j as f64 / k as f64)?;
        s.push(next);
        c.push(other);
    }
    Ok((s, c))
}

/// `y' = g(y) u'`: `y_k = (1/k) sum_j j u_j g_{k-j}`, and `g_k` from `y_0 ..= y_k` right after.
fn ode(
    b: &mut Builder,
    u: &[Coefficient],
    y0: NodeId,
    g0: NodeId,
    order: usize,
    mut g_of_y: impl FnMut(&mut Builder, &[Coefficient], usize) -> Result<Coefficient, Error>,
) -> Result<Vec<Coefficient>, Error> {
    let (mut y, mut g) = (vec![Some(y0)], vec![Some(g0)]);
    for k in 1..=order {
        let next = convolve(b, u, &g, k, 1..=k, |j| j as f64 / k as f64)?;
        y.push(next);
        if k < order {
            let next = g_of_y(b, &y, k)?;
            g.push(next);
        }
    }
    Ok(y)
}

/// `y' = g u'` with the series of `g` known.
fn integral(
    b: &mut Builder,
    u: &[Coefficient],
    g: &[Coefficient],
    y0: NodeId,
    order: usize,
) -> Result<Vec<Coefficient>, Error> {
    let mut y = vec![Some(y0)];
    for k in 1..=order {
        let next = convolve(b, u, g, k, 1..=k, |j| j as f64 / k as f64)?;
        y.push(next);
    }
    Ok(y)
}

/// `c exp(-u^2)`.
fn bell(b: &mut Builder, u: &[Coefficient], c: f64, order: usize) -> Result<Vec<Coefficient>, Error> {
    let square = product(b, u, u, order)?;
    let minus = square.iter().map(|&x| scale(b, x, -1.0)).collect::<Result<Vec<_>, _>>()?;
    let e = unary(b, Unary::Exp, &minus, order)?;
    e.into_iter().map(|x| scale(b, x, c)).collect()
}

/// `y' = q^e u'` with `q = 1 + sign u^2` and `e` = -1 (`None`) or the given exponent.
fn rational(
    b: &mut Builder,
    u: &[Coefficient],
    y0: NodeId,
    order: usize,
    sign: f64,
    exponent: Option<f64>,
) -> Result<Vec<Coefficient>, Error> {
    let square = product(b, u, u, order)?;
    let mut q = square.into_iter().map(|x| scale(b, x, sign)).collect::<Result<Vec<_>, _>>()?;
    q[0] = q[0].map(|x| b.add_scalar(x, 1.0)).transpose()?;
    if let Some(e) = exponent {
        let g = power(b, &q, e, order.saturating_sub(1))?;
        return integral(b, u, &g, y0, order);
    }
    let mut y = vec![Some(y0)];
    for k in 1..=order {
        let known = convolve(b, &y, &q, k, 1..=k - 1, |j| j as f64 / k as f64)?;
        let rest = sub(b, u.get(k).copied().flatten(), known)?;
        y.push(match (rest, q[0]) {
            (Some(rest), Some(q0)) => Some(b.div(rest, q0)?),
            _ => None,
        });
    }
    Ok(y)
}
