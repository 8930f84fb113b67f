//! Spaces through the algebra, and the quick checks of user operators.

use linop_core::ops::*;
use linop_core::testing::{check_operator, fixed_mat};
use linop_core::{Error, Kind, LinearOperator, Op, Props, Space, algebra};
use numerics::{Mat, Par};
use std::sync::atomic::{AtomicU64, Ordering};

fn space(shapes: &[&[usize]]) -> Space {
    Space::new(shapes.iter().map(|s| s.to_vec())).unwrap()
}

fn names(op: &Op<f64>) -> (String, String) {
    let text = |s: Option<&std::sync::Arc<Space>>| s.map_or_else(|| "-".to_owned(), |s| s.to_string());
    (text(op.spaces().0), text(op.spaces().1))
}

#[test]
fn spaces_follow_the_algebra() {
    let (p, q) = (space(&[&[2, 2], &[2]]), space(&[&[4]]));
    let a = fixed_mat::<f64>(6, 4, 1);
    let op = Op::dense(a.clone()).with_spaces(Some(p.clone()), Some(q.clone())).unwrap();
    check_operator(&op, a.as_ref(), 1e-15);
    let both = ("[2, 2] + [2]".to_owned(), "[4]".to_owned());
    let flipped = (both.1.clone(), both.0.clone());
    assert_eq!(names(&op), both);
    assert_eq!(names(&op.t()), flipped);
    assert!(op.t().t().same(&op));
    for same in [op.scaled(2.0), op.scaled(0.0), op.assume(Props::NONE), op.counted().0, (&op + &op).unwrap()] {
        assert_eq!(names(&same), both, "{same:?}");
    }
    let square = (&op.t() * &op).unwrap();
    assert_eq!(names(&square), ("[4]".to_owned(), "[4]".to_owned()));
    assert!(square.props().contains(Props::PSD));
    // A term without spaces takes those of the others, a shift and an inverse keep them.
    let shifted = square.shifted(1.0).unwrap();
    assert_eq!(names(&shifted), names(&square));
    assert_eq!(names(&shifted.inverse(Par::Seq).unwrap()), names(&square));
    let diagonal = Op::diag(vec![1.0; 4]).with_spaces(Some(q.clone()), None).unwrap();
    assert!(matches!((&diagonal + &Op::identity(4)).unwrap().kind(), Kind::Diagonal(_)));
    assert_eq!(names(&diagonal.inverse(Par::Seq).unwrap()), ("-".to_owned(), "[4]".to_owned()));
    // Equal sizes in other shapes do not meet.
    let other = Op::<f64>::identity(4).with_spaces(Some(space(&[&[2, 2]])), None).unwrap();
    assert!(matches!(&op * &other, Err(Error::SpaceMismatch { op: "product", .. })));
    assert!(matches!(algebra::sum(&[diagonal, other]), Err(Error::SpaceMismatch { op: "sum", .. })));
    assert!(matches!(op.with_spaces(Some(q), None), Err(Error::ShapeMismatch { .. })));
}

#[test]
fn spaces_check_what_they_view() {
    assert!(matches!(Space::new(Vec::<Vec<usize>>::new()), Err(Error::InvalidArgument { .. })));
    assert!(matches!(Space::new([vec![usize::MAX, 2]]), Err(Error::InvalidArgument { .. })));
    let s = space(&[&[2, 3], &[], &[0, 5]]);
    assert_eq!((s.size(), s.range(1).unwrap()), (7, 6..7));
    assert!(matches!(s.range(3), Err(Error::InvalidIndex { index: 3, .. })));
    let mut flat: Vec<f64> = (0..7).map(f64::from).collect();
    s.split_mut(&mut flat).unwrap()[1][0] = -1.0;
    assert_eq!(s.split(&flat).unwrap().iter().map(|p| p.len()).collect::<Vec<_>>(), [6, 1, 0]);
    assert_eq!(flat[6], -1.0);
    // Tensors with the columns innermost.
    let first: Vec<f64> = (0..12).map(f64::from).collect();
    let columns = s.columns(&[&first, &[20.0, 21.0], &[]], 2).unwrap();
    assert_eq!((columns[(1, 0)], columns[(1, 1)], columns[(6, 1)]), (2.0, 3.0, 21.0));
    assert!(matches!(s.columns(&[&first[..]], 2), Err(Error::ShapeMismatch { .. })));
    assert!(matches!(s.columns(&[&first[1..], &[0.0; 2], &[]], 2), Err(Error::ShapeMismatch { .. })));
    assert!(s.split(&flat[1..]).is_err());
}

#[test]
fn functions_that_are_no_operators_are_found() {
    let calls = AtomicU64::new(0);
    let drifting = ClosureOp::<f64>::new(2, 2, move |mut out, _| {
        out[(0, 0)] = calls.fetch_add(1, Ordering::Relaxed) as f64;
        Ok(())
    });
    assert!(matches!(drifting.check_deterministic(), Err(Error::Operator { .. })));
    let steady = ClosureOp::<f64>::new(2, 2, |mut out, x| {
        out[(0, 0)] = x[(1, 0)];
        Ok(())
    });
    assert!(steady.check_deterministic().is_ok());
    assert!(matches!(Op::new(steady).dot_test(1, Par::Seq), Err(Error::TransposeUnavailable { .. })));
    let rectangle = Op::dense(Mat::from_fn(30, 20, |i, j| (i * j) as f64 - 7.0));
    assert!(rectangle.dot_test(1, Par::Seq).unwrap() < 1e-14);
    assert_eq!(Op::<f64>::zero(3, 0).dot_test(1, Par::Seq), Ok(0.0));
}
