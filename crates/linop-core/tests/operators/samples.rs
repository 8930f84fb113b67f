//! Small operators of every sort, with the dense matrices that they stand for.

use linop_core::ops::*;
use linop_core::testing::fixed_mat;
use linop_core::{Op, Props};
use numerics::{Mat, Scalar};

pub(crate) type Pair<T> = (Op<T>, Mat<T>);

/// Number of sorts that [`square`] knows.
pub(crate) const SORTS: usize = 19;

pub(crate) fn mul<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), b.ncols(), |i, j| (0..a.ncols()).map(|l| a[(i, l)] * b[(l, j)]).sum())
}

pub(crate) fn add<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| a[(i, j)] + b[(i, j)])
}

pub(crate) fn scale<T: Scalar>(s: f64, a: &Mat<T>) -> Mat<T> {
    Mat::from_fn(a.nrows(), a.ncols(), |i, j| T::from_f64(s) * a[(i, j)])
}

pub(crate) fn tr<T: Scalar>(a: &Mat<T>) -> Mat<T> {
    a.transpose().to_owned()
}

pub(crate) fn eye<T: Scalar>(n: usize) -> Mat<T> {
    Mat::from_fn(n, n, |i, j| if i == j { T::ONE } else { T::ZERO })
}

pub(crate) fn kron<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    let (p, q) = (b.nrows(), b.ncols());
    Mat::from_fn(a.nrows() * p, a.ncols() * q, |i, j| a[(i / p, j / q)] * b[(i % p, j % q)])
}

pub(crate) fn direct<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> Mat<T> {
    let (m, n) = (a.nrows(), a.ncols());
    Mat::from_fn(m + b.nrows(), n + b.ncols(), |i, j| match (i < m, j < n) {
        (true, true) => a[(i, j)],
        (false, false) => b[(i - m, j - n)],
        _ => T::ZERO,
    })
}

fn stored<T: Scalar>(m: Mat<T>, props: Props) -> Pair<T> {
    (Op::new(Dense::with_props(m.clone(), props)), m)
}

fn diag<T: Scalar>(d: Vec<T>) -> Pair<T> {
    let m = Mat::from_fn(d.len(), d.len(), |i, j| if i == j { d[i] } else { T::ZERO });
    (Op::diag(d), m)
}

pub(crate) fn rectangle<T: Scalar>(m: usize, n: usize, seed: u64) -> Pair<T> {
    stored(fixed_mat(m, n, seed), Props::NONE)
}

/// An `n x n` operator of one of the sorts.
pub(crate) fn square<T: Scalar>(sort: usize, n: usize, seed: u64) -> Pair<T> {
    let x = fixed_mat::<T>(n, n, seed + 1);
    let gram = mul(&x, &tr(&x));
    let symmetric = add(&x, &tr(&x));
    let positive = add(&gram, &scale(0.3, &eye(n)));
    let draw = |i: usize| 0.3 + (i as f64 * 0.77 + seed as f64 * 0.31).fract();
    let thin = fixed_mat::<T>(n, n / 2, seed + 2);
    match sort % SORTS {
        0 => stored(x, Props::NONE),
        1 => stored(symmetric, Props::SELF_ADJOINT),
        2 => stored(positive, Props::PD),
        3 => stored(mul(&thin, &tr(&thin)), Props::PSD),
        4 => stored(scale(-1.0, &positive), Props::ND),
        5 => stored(scale(-1.0, &mul(&thin, &tr(&thin))), Props::NSD),
        6 => {
            // Zero or clearly not: products of tiny numbers would be lost in the tolerance of the checks.
            let signed = |i: usize| {
                if (draw(i) - 0.6).abs() < 0.05 { 0.0 } else { draw(i) - 0.6 }
            };
            diag((0..n).map(|i| T::from_f64(signed(i))).collect())
        }
        7 => diag((0..n).map(|i| T::from_f64(draw(i))).collect()),
        8 => {
            let t = Triangular::lower(add(&x, &eye(n))).unwrap();
            let m = t.mat().to_owned();
            (Op::new(t), m)
        }
        9 => {
            let t = Triangular::upper(Mat::from_fn(n, n, |i, j| if i == j { T::ONE } else { x[(i, j)] })).unwrap();
            let m = t.mat().to_owned();
            (Op::new(t), m)
        }
        10 => {
            let q = numerics::dense::eigh(symmetric.as_ref()).unwrap().vectors;
            (Op::new(Orthogonal::new(Op::dense(q.clone())).unwrap()), q)
        }
        11 => {
            let shift = seed as usize % n.max(1);
            let list: Vec<usize> = (0..n).map(|i| (i + shift) % n.max(1)).collect();
            let m = Mat::from_fn(n, n, |i, j| if list[i] == j { T::ONE } else { T::ZERO });
            (Op::new(Permutation::new(list).unwrap()), m)
        }
        12 => (Op::identity(n), eye(n)),
        13 => (Op::zero(n, n), Mat::zeros(n, n)),
        14 => (Op::new(ScalarIdentity::new(T::from_f64(-1.5), n)), scale(-1.5, &eye(n))),
        15 => {
            let low = LowRank::new(thin.clone(), None, None).unwrap();
            (Op::new(low), mul(&thin, &tr(&thin)))
        }
        16 => {
            let (d, m) = diag((0..n).map(|i| T::from_f64(draw(i))).collect());
            let low = Op::new(LowRank::gram(thin.clone()));
            ((&d + &low).unwrap(), add(&m, &mul(&thin, &tr(&thin))))
        }
        17 => {
            let e = numerics::dense::eigh(positive.as_ref()).unwrap();
            let q = Op::new(Dense::with_props(e.vectors, Props::ORTHOGONAL));
            (Op::new(Eigh::new(q, e.values).unwrap()), positive)
        }
        _ => (Op::dense(scale(1.0 / 3.0, &x)).scaled(T::from_f64(3.0)), x),
    }
}
