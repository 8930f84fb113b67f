//! The formula of Faà di Bruno, grouped by the order of the derivative: monomials first, derivatives after.
//!
//! `y_k = sum_q phi^(q)(u_0) Q_q`, `Q_q` = the sum over partitions of `k` into `q` parts of `prod_j u_j^{m_j} / m_j!`
//! (arXiv:2505.13644, section 2). The linear term `q = 1` is not made here: forward mode states it.

use super::algebra::{Coefficient, add, mul, scale};
use crate::error::Error;
use crate::program::{Builder, NodeId};

/// A partition of `k`: `(part, multiplicity)`, parts increasing.
pub(super) type Partition = Vec<(usize, u32)>;

/// All partitions of `k` into `q` parts.
pub(super) fn partitions(k: usize, q: usize) -> Vec<Partition> {
    fn extend(rest: usize, parts: usize, least: usize, so_far: &mut Vec<usize>, out: &mut Vec<Partition>) {
        if parts == 0 {
            if rest == 0 {
                let mut partition: Partition = Vec::new();
                for &p in so_far.iter() {
                    match partition.last_mut() {
                        Some((part, m)) if *part == p => *m += 1,
                        _ => partition.push((p, 1)),
                    }
                }
                out.push(partition);
            }
            return;
        }
        for part in least..=rest / parts {
            so_far.push(part);
            extend(rest - part, parts - 1, part, so_far, out);
            so_far.pop();
        }
    }
    let mut out = Vec::new();
    extend(k, q, 1, &mut Vec::new(), &mut out);
    out
}

/// What makes `Q_q` from coefficients.
pub(super) struct Factors<'a> {
    /// The coefficients `u_1 ..` (`u[j - 1]`).
    pub(super) u: &'a [Coefficient],
    /// `u_1^2` where it is not the product of `u_1` with itself: weighted.
    pub(super) square: Coefficient,
}

/// `Q_q` of order `k` as a number times a node: the factor of its only partition is left to whoever multiplies fewer numbers.
pub(super) fn monomials(
    b: &mut Builder,
    from: &Factors<'_>,
    k: usize,
    q: usize,
) -> Result<Option<(f64, NodeId)>, Error> {
    let mut terms: Vec<(f64, NodeId)> = Vec::new();
    for partition in partitions(k, q) {
        let factor = partition.iter().map(|&(_, m)| 1.0 / (1..=m).map(f64::from).product::<f64>()).product();
        if let Some(term) = monomial(b, from, &partition)? {
            terms.push((factor, term));
        }
    }
    let [(factor, only)] = terms[..] else {
        let mut sum = None;
        for (factor, term) in terms {
            let term = scale(b, Some(term), factor)?;
            sum = add(b, sum, term)?;
        }
        return Ok(sum.map(|sum| (1.0, sum)));
    };
    Ok(Some((factor, only)))
}

/// `prod_j u_j^{m_j}`.
fn monomial(b: &mut Builder, from: &Factors<'_>, partition: &Partition) -> Result<Coefficient, Error> {
    let (mut term, mut taken) = (None, 0);
    if let (Some(square), Some(&(1, 2..))) = (from.square, partition.first()) {
        (term, taken) = (Some(square), 2);
    }
    for &(part, multiplicity) in partition {
        let Some(base) = from.u.get(part - 1).copied().flatten() else { return Ok(None) };
        for _ in if part == 1 { taken } else { 0 }..multiplicity {
            term = if term.is_none() { Some(base) } else { mul(b, term, Some(base))? };
        }
    }
    Ok(term)
}

/// Whether every partition of `k` into `q` parts holds `u_1^2`.
pub(super) fn all_hold_squares(k: usize, q: usize) -> bool {
    partitions(k, q).iter().all(|p| matches!(p.first(), Some(&(1, 2..))))
}

#[cfg(test)]
mod tests {
    use super::partitions;

    #[test]
    fn partition_numbers() {
        let p = |k: usize| (1..=k).map(|q| partitions(k, q).len()).sum::<usize>();
        assert_eq!((1..=8).map(p).collect::<Vec<_>>(), [1, 2, 3, 5, 7, 11, 15, 22]);
        assert_eq!(partitions(4, 2), [vec![(1, 1), (3, 1)], vec![(2, 2)]]);
    }
}
