//! Adaptive Hutch++ (arXiv:2109.10659): the basis grows while that lowers the predicted number of products, then
//! Hutchinson runs until a chi-square bound says that the error is at most eta with probability `1 - 2 delta`.
//!
//! Growing costs two products a column. If the products spent and predicted reach n, or exceed the cap, the answer is
//! exact from n products, or what the cap allows.

use super::exact;
use crate::products::Products;
use crate::settings::mean_sem;
use crate::special::lower_gamma;
use crate::{Error, Estimate, Status, la};
use numerics::rng::{Law, Role};
use numerics::{Mat, MatRef};

/// Probes multiplied at a time in the second phase. Part of the method, so that the result is that of any block width.
const STEP: usize = 8;

struct Basis {
    q: Mat<f64>,
    aq: Mat<f64>,
    /// `|A Q|_F^2` and `|Q^T A Q|_F^2`.
    b: f64,
    c: f64,
}

enum Growth {
    Captured,
    Cheapest,
    TooDear,
}

pub(super) fn adaptive(products: &Products<'_>, eta: f64, delta: f64, cap: usize) -> Result<Estimate<f64>, Error> {
    let n = products.square()?;
    if !products.symmetric {
        return Err(Error::NotSymmetric { op: products.op });
    }
    if !(eta > 0.0 && delta > 0.0 && delta < 1.0) {
        return Err(Error::argument(products.op, format!("needs eta > 0 and 0 < delta < 1, got {eta} and {delta}")));
    }
    let factor = 4.0 * (2.0 / delta).ln() / (eta * eta);
    let mut basis = Basis { q: Mat::zeros(n, 0), aq: Mat::zeros(n, 0), b: 0.0, c: 0.0 };
    let limit = n.min(cap);
    match grow(products, &mut basis, factor, limit)? {
        Growth::Captured => {
            let value = la::col_dots(basis.q.as_ref(), basis.aq.as_ref()).iter().sum();
            let (plain, transposed) = products.counts();
            return Ok(Estimate {
                value,
                sem: Some(0.0),
                products: plain,
                products_t: transposed,
                status: Status::Exact,
            });
        }
        Growth::TooDear if cap >= n => return exact(products),
        _ => {}
    }
    sample(products, &basis, factor, delta, cap)
}

/// One Gaussian column at a time, until the predicted cost rises twice in a row.
fn grow(products: &Products<'_>, basis: &mut Basis, factor: f64, limit: usize) -> Result<Growth, Error> {
    let par = products.par();
    let mut cost = [f64::INFINITY, f64::INFINITY];
    for k in 0.. {
        if products.spent() + 2 > limit || products.stopped() {
            return Ok(Growth::TooDear);
        }
        let omega = products.draw(Law::Gaussian, Role::RightProbe, products.n, k..k + 1);
        let y = products.apply(omega.as_ref())?;
        let length = numerics::dense::norm_l2(y.as_ref());
        let v = la::project_out(basis.q.as_ref(), y, par);
        let rest = numerics::dense::norm_l2(v.as_ref());
        if rest <= 1e-10 * length {
            return Ok(Growth::Captured);
        }
        let v = la::scale_cols(v.as_ref(), &[rest.recip()]);
        let av = products.apply(v.as_ref())?;
        let cross = la::mul_tn(basis.q.as_ref(), av.as_ref(), par);
        let own = la::col_dots(v.as_ref(), av.as_ref())[0];
        basis.b += la::fro_sq(av.as_ref());
        basis.c += 2.0 * la::fro_sq(cross.as_ref()) + own * own;
        basis.q = la::hcat(basis.q.as_ref(), v.as_ref());
        basis.aq = la::hcat(basis.aq.as_ref(), av.as_ref());
        let now = 2.0 * (k + 1) as f64 + factor * (basis.c - 2.0 * basis.b);
        if k >= 2 && now > cost[1] && cost[1] > cost[0] {
            break;
        }
        cost = [cost[1], now];
    }
    Ok(Growth::Cheapest)
}

fn deflate(q: MatRef<'_, f64>, x: Mat<f64>, par: numerics::Par) -> Mat<f64> {
    let c = la::mul_tn(q, x.as_ref(), par);
    la::sub_mul(x, q, c.as_ref(), par)
}

/// The largest a in 1, 0.99, .., 0 with `P(chi^2_i <= a i) <= delta`.
fn shrink(i: usize, delta: f64) -> f64 {
    let half = 0.5 * i as f64;
    (0..=100).rev().map(|a| f64::from(a) * 0.01).find(|a| lower_gamma(half, a * half) <= delta).unwrap_or(0.0)
}

fn sample(products: &Products<'_>, basis: &Basis, factor: f64, delta: f64, cap: usize) -> Result<Estimate<f64>, Error> {
    let (n, par, q) = (products.n, products.par(), basis.q.as_ref());
    let grown = basis.q.ncols() + 1;
    let inside: f64 = la::col_dots(q, basis.aq.as_ref()).iter().sum();
    let (mut samples, mut squares) = (Vec::new(), 0.0);
    let status = 'done: loop {
        let room = cap.saturating_sub(products.spent()).min(STEP);
        if room == 0 {
            break Status::NotConverged;
        }
        let start = grown + samples.len();
        let psi = products.draw(Law::Gaussian, Role::RightProbe, n, start..start + room);
        let psi = deflate(q, psi, par);
        let r = deflate(q, products.apply(psi.as_ref())?, par);
        let (values, lengths) = (la::col_dots(psi.as_ref(), r.as_ref()), la::col_dots(r.as_ref(), r.as_ref()));
        for (value, length) in values.iter().zip(&lengths) {
            samples.push(*value);
            squares += length;
            let i = samples.len();
            let alpha = shrink(i, delta);
            if alpha == 0.0 {
                continue;
            }
            let needed = (factor * squares / i as f64 / alpha).ceil();
            if i as f64 > needed {
                break 'done Status::Converged;
            }
            if products.spent() as f64 + (needed - i as f64) >= n as f64 && products.spent() + n <= cap.max(n) {
                return exact(products);
            }
        }
        if products.stopped() {
            break Status::Interrupted;
        }
    };
    let (mean, sem) = mean_sem(&samples);
    let (plain, transposed) = products.counts();
    Ok(Estimate { value: inside + mean, sem, products: plain, products_t: transposed, status })
}
