//! Small and empty operators, laws that a method cannot use, interruptions, single precision; bad input of every entry point is in `entries`.

use crate::util::*;
use core::ops::ControlFlow;
use linop_core::{Props, ops::Dense, testing::fixed_mat};
use numerics::progress::Progress;
use numerics::rng::Law;
use numerics::{Mat, Scalar};
use sketch::*;

const XTRACE: TraceMethod = TraceMethod::XTrace { resphere: false };
const ALL_TRACES: [TraceMethod; 6] = [
    TraceMethod::Hutchinson,
    TraceMethod::HutchPp,
    TraceMethod::NaHutchPp,
    TraceMethod::NystromPp,
    XTRACE,
    TraceMethod::XNysTrace { resphere: false },
];

#[test]
fn small_and_empty_operators() {
    assert!(matches!(
        nystrom(&psd(&Mat::zeros(4, 4)), 5, NystromVariant::Stable, &Settings::default()),
        Err(Error::TooManyProbes { asked: 5, limit: 4, .. })
    ));
    let empty = Dense::new(Mat::<f64>::zeros(0, 0));
    for method in ALL_TRACES {
        let e = estimate_trace(&empty, method, Budget::Products(6), &Settings::default()).unwrap();
        assert_eq!((e.value, e.status), (0.0, Status::Exact));
    }
    let one = Dense::with_props(Mat::from_fn(1, 1, |_, _| 3.5), Props::PSD);
    for method in ALL_TRACES {
        let e = estimate_trace(&one, method, Budget::Products(6), &Settings::default()).unwrap();
        assert_eq!((e.value, e.products), (3.5, 1));
    }
    let e = estimate_diagonal(&one, DiagonalMethod::XDiag { extra: 0 }, 2, &Settings::default()).unwrap();
    assert_eq!(e.value, [3.5]);
}

#[test]
fn wrong_laws() {
    let a = fixed_mat::<f64>(30, 30, 3);
    let plain = opaque(&a, Props::NONE, false);
    assert!(estimate_trace(&plain, XTRACE, Budget::Products(12), &Settings::default()).is_ok());
    let gauss = Settings::default().with_law(Law::Gaussian);
    let e = estimate_diagonal(&Dense::new(a.clone()), DiagonalMethod::XDiag { extra: 0 }, 10, &gauss);
    assert!(matches!(e, Err(Error::InvalidArgument { .. })));
    for method in [TraceMethod::XTrace { resphere: true }, TraceMethod::XNysTrace { resphere: true }] {
        let e = estimate_trace(&Dense::new(a.clone()), method, Budget::Products(12), &Settings::default());
        assert!(matches!(e, Err(Error::InvalidArgument { .. })));
    }
}

#[test]
fn interruption_keeps_what_was_computed() {
    let a = fixed_mat::<f64>(100, 100, 5);
    let stop = |p: &Progress<'_>| if p.done < 20 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let settings = Settings { block: 8, observer: &stop, ..Settings::default() };
    let e = estimate_trace(&Dense::new(a.clone()), TraceMethod::Hutchinson, Budget::Products(80), &settings).unwrap();
    assert_eq!((e.status, e.products), (Status::Interrupted, 24));
    let calm = Settings { observer: &numerics::progress::Silent, ..settings };
    let same = estimate_trace(&Dense::new(a.clone()), TraceMethod::Hutchinson, Budget::Products(24), &calm).unwrap();
    assert_eq!((e.value, e.sem), (same.value, same.sem));
    // a tolerance that is never met: the last stage counts
    let budget = Budget::Tolerance { abs: 1e-12, rel: 0.0, max_products: 90 };
    let e = estimate_trace(&Dense::new(a.clone()), XTRACE, budget, &settings).unwrap();
    assert_eq!(e.status, Status::Interrupted);
    // one stage that cannot be used in part
    let e = estimate_trace(&Dense::new(a), XTRACE, Budget::Products(90), &settings);
    assert!(matches!(e, Err(Error::Interrupted { products: 24, .. })), "{e:?}");
}

/// Sums of a single-precision operator are made in double precision.
#[test]
fn single_precision_operators() {
    let a = with_spectrum(&(1..=60).map(|j| 0.5f64.powi(j)).collect::<Vec<_>>(), 6);
    let narrow: Mat<f32> = Mat::from_fn(60, 60, |i, j| f32::from_f64(a[(i, j)]));
    let wide = psd(&Mat::from_fn(60, 60, |i, j| narrow[(i, j)].to_f64()));
    let op = Dense::with_props(narrow, Props::PSD);
    for method in [TraceMethod::Hutchinson, TraceMethod::HutchPp, TraceMethod::NaHutchPp, XTRACE] {
        let run = |e: Result<Estimate<f64>, Error>| e.unwrap().value;
        let narrow = run(estimate_trace(&op, method, Budget::Products(30), &Settings::default()));
        let wide = run(estimate_trace(&wide, method, Budget::Products(30), &Settings::default()));
        // products are rounded to 6e-8, sums are not
        assert!((narrow - wide).abs() < 1e-6, "{method:?}: {narrow} against {wide}");
    }
}
