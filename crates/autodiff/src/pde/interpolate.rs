//! Mixed partial derivatives from powers of directional ones (Griewank, Utke & Walther, Math. Comp. 69, 1117, 2000).
//!
//! `<T, v_1^{i_1} .. v_I^{i_I}> = sum_{|j| = K} (gamma_{i,j} / K!) <T, (sum_p j_p v_p)^K>` for symmetric `T`, `|i| = K`. The weights
//! are rational and computed exactly. (The example weights printed in the appendix of arXiv:2505.13644 for `i = (2, 1)` are
//! not these and do not satisfy the identity.)

use super::rational::{Rational, binomial};

/// All vectors of `parts` non-negative integers with sum `total`, in lexicographic order from the last part up.
pub(crate) fn compositions(parts: usize, total: usize) -> Vec<Vec<usize>> {
    if parts == 0 {
        return if total == 0 { vec![Vec::new()] } else { Vec::new() };
    }
    (0..=total)
        .rev()
        .flat_map(|first| {
            compositions(parts - 1, total - first).into_iter().map(move |rest| {
                let mut all = vec![first];
                all.extend(rest);
                all
            })
        })
        .collect()
}

/// `gamma_{i,j}`.
pub(crate) fn gamma(i: &[usize], j: &[usize]) -> Option<Rational> {
    let order: usize = i.iter().sum();
    let mut sum = Rational::ZERO;
    let mut m = vec![0; i.len()];
    // All m with 0 <= m <= i except zero.
    loop {
        let Some(place) = (0..i.len()).find(|&p| m[p] < i[p]) else { return Some(sum) };
        m[..place].fill(0);
        m[place] += 1;
        let size: usize = m.iter().sum();
        let mut term = Rational::integer(if (order - size).is_multiple_of(2) { 1 } else { -1 });
        for p in 0..i.len() {
            term = term.mul(binomial(Rational::integer(i[p] as i128), m[p])?)?;
            let scaled = Rational::new((order * m[p]) as i128, size as i128)?;
            term = term.mul(binomial(scaled, j[p])?)?;
        }
        term = term.mul(Rational::new(size as i128, order as i128)?.powi(order)?)?;
        sum = sum.add(term)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(n: i128, d: i128) -> Rational {
        Rational::new(n, d).unwrap()
    }

    #[test]
    fn table() {
        let check = |i: &[usize], rows: &[(&[usize], Rational)]| {
            for (j, expected) in rows {
                assert_eq!(gamma(i, j), Some(*expected), "{i:?} {j:?}");
            }
        };
        check(&[2], &[(&[2], r(1, 2))]);
        check(&[3], &[(&[3], r(2, 9))]);
        check(&[4], &[(&[4], r(3, 32))]);
        check(&[1, 1], &[(&[1, 1], r(1, 1)), (&[2, 0], r(-1, 4)), (&[0, 2], r(-1, 4))]);
        check(&[2, 1], &[(&[3, 0], r(-5, 27)), (&[2, 1], r(2, 3)), (&[1, 2], r(-1, 3)), (&[0, 3], r(2, 27))]);
        check(&[2, 2], &[(&[4, 0], r(13, 192)), (&[3, 1], r(-1, 3)), (&[2, 2], r(5, 8)), (&[1, 3], r(-1, 3))]);
        check(&[3, 1], &[(&[4, 0], r(-13, 128)), (&[3, 1], r(3, 8)), (&[2, 2], r(-9, 32)), (&[0, 4], r(-3, 128))]);
        check(&[1, 1, 1], &[(&[1, 1, 1], r(1, 1)), (&[2, 1, 0], r(-1, 6)), (&[0, 0, 3], r(2, 27))]);
        check(
            &[2, 1, 1],
            &[(&[2, 1, 1], r(3, 4)), (&[2, 2, 0], r(-1, 16)), (&[0, 2, 2], r(1, 32)), (&[1, 3, 0], r(1, 12))],
        );
    }

    /// On linear forms `T = a^K` the identity reads `prod a_p^{i_p} = sum_j gamma/K! (j.a)^K`.
    #[test]
    fn identity_on_powers_of_linear_forms() {
        let a = [r(2, 3), r(-5, 7), r(3, 2)];
        for parts in 1..=3 {
            for order in 1..=6usize {
                let factorial: i128 = (1..=order as i128).product();
                for i in compositions(parts, order) {
                    let mut sum = Rational::ZERO;
                    let js = compositions(parts, order);
                    for j in &js {
                        let form = j
                            .iter()
                            .zip(&a)
                            .try_fold(Rational::ZERO, |s, (&j, &a)| s.add(a.mul(Rational::integer(j as i128))?));
                        let power = form.and_then(|f| f.powi(order)).unwrap();
                        let weight = gamma(&i, j).unwrap().div(Rational::integer(factorial)).unwrap();
                        sum = sum.add(power.mul(weight).unwrap()).unwrap();
                    }
                    let expected =
                        i.iter().zip(&a).fold(Rational::ONE, |p, (&i, a)| p.mul(a.powi(i).unwrap()).unwrap());
                    assert_eq!(sum, expected, "{i:?}");
                }
            }
        }
    }
}
