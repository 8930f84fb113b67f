//! Any block width and one or two threads give the same bits.

use crate::util::*;
use linop_core::{Props, testing::fixed_mat};
use numerics::{Mat, Par};
use sketch::*;

/// Runs under several block widths and thread counts; the results must be equal bit for bit.
pub(crate) fn same_bits(run: impl Fn(&Settings<'_>) -> Vec<f64>) {
    let base = Settings::seeded(3);
    let first: Vec<u64> = run(&base).into_iter().map(f64::to_bits).collect();
    assert!(!first.is_empty());
    for block in [1, 7, 1000] {
        for par in [Par::Seq, Par::rayon(2)] {
            let settings = Settings { block, par, ..base };
            let other: Vec<u64> = run(&settings).into_iter().map(f64::to_bits).collect();
            assert!(first == other, "block {block}, {par:?}");
        }
    }
}

fn matrix() -> Mat<f64> {
    with_spectrum(&(1..=300).map(|j| 1.0 / f64::from(j)).collect::<Vec<_>>(), 30)
}

#[test]
fn traces_have_the_same_bits() {
    let a = linop_core::ops::Dense::with_props(matrix(), Props::PSD);
    for method in [
        TraceMethod::Hutchinson,
        TraceMethod::HutchPp,
        TraceMethod::NaHutchPp,
        TraceMethod::NystromPp,
        TraceMethod::XTrace { resphere: false },
        TraceMethod::XNysTrace { resphere: false },
        TraceMethod::AdaptiveHutchPp { eta: 0.5, delta: 0.1 },
    ] {
        same_bits(|settings| {
            let e = estimate_trace(&a, method, Budget::Products(60), settings).unwrap();
            vec![e.value, e.sem.unwrap()]
        });
    }
}

#[test]
fn diagonals_have_the_same_bits() {
    let a = linop_core::ops::Dense::new(fixed_mat::<f64>(200, 200, 31));
    for method in [
        DiagonalMethod::Hutchinson { ratio: false },
        DiagonalMethod::DiagPp,
        DiagonalMethod::XDiag { extra: 0 },
        DiagonalMethod::XDiag { extra: 9 },
    ] {
        same_bits(|settings| {
            let e = estimate_diagonal(&a, method, 30, settings).unwrap();
            [e.value, e.sem.unwrap()].concat()
        });
    }
    same_bits(|s| row_norms_sq(&a, RowNormMethod::XRowNorm(RowBasis::Rows), 30, s).unwrap().value);
}

/// Beyond the length from which sums over rows are split into chunks.
#[test]
fn long_vectors_have_the_same_bits() {
    let n = 20_000;
    let a = linop_core::ops::Diagonal::new((0..n).map(|i| 1.0 / (1.0 + f64::from(i))).collect());
    same_bits(|settings| {
        let method = TraceMethod::XTrace { resphere: false };
        let e = estimate_trace(&a, method, Budget::Products(12), settings).unwrap();
        vec![e.value, e.sem.unwrap()]
    });
    same_bits(|settings| nystrom(&a, 6, NystromVariant::Stable, settings).unwrap().values);
    same_bits(|settings| {
        let found = sketch_lord(&a, 3, &LordOptions::default(), settings).unwrap();
        found.diagonal_part()[..50].to_vec()
    });
}
