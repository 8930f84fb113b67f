//! The formula of Faà di Bruno, grouped by the order of the derivative: monomials first, derivatives after.
//!
//! `y_k = sum_q phi^(q)(u_0) Q_q`, `Q_q` = the sum over partitions of `k` into `q` parts of `prod_j u_j^{m_j} / m_j!`
//! (arXiv:2505.13644, section 2). The linear term `q = 1` is not made here: forward mode states it.

use super::algebra::{Coefficient, add, mul, scale};
use crate::error::Error;
use crate::program::Builder;

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

/// `Q_q` of order `k` from the coefficients `u_1 ..` (`u[j - 1]`).
pub(super) fn monomials(b: &mut Builder, u: &[Coefficient], k: usize, q: usize) -> Result<Coefficient, Error> {
    let mut sum = None;
    for partition in partitions(k, q) {
        let mut term = None;
        let mut factor = 1.0;
        let mut zero = false;
        for (part, multiplicity) in partition {
            let Some(base) = u.get(part - 1).copied().flatten() else {
                zero = true;
                break;
            };
            for i in 1..=multiplicity {
                term = if term.is_none() { Some(base) } else { mul(b, term, Some(base))? };
                factor /= f64::from(i);
            }
        }
        if !zero {
            let term = scale(b, term, factor)?;
            sum = add(b, sum, term)?;
        }
    }
    Ok(sum)
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
