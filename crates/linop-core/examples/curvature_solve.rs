//! A day with operators: a damped, block-structured curvature matrix of a small network, seen from several sides.
//!
//! Run with `cargo run --release -p linop-core --example curvature_solve`.

use linop_core::inverse::{AutoOptions, Damping, damped, solver};
use linop_core::krylov::{EigshOptions, Options, Which, cg, eigsh};
use linop_core::ops::{Dense, Gram, LowRank};
use linop_core::{Error, LinearOperator, Mat, Op, Par, Props, Space, algebra, dispatch::Limits};
use numerics::rng::{Role, Stream};

/// A positive semidefinite matrix from `samples` random vectors.
fn second_moment(n: usize, samples: usize, seed: u64) -> Op<f64> {
    let mut stream = Stream::new(seed, Role::SyntheticMatrix, 0, 0);
    let rows = Mat::from_fn(samples, n, |_, _| stream.normal() / (samples as f64).sqrt());
    let moment = rows.transpose() * &rows;
    Op::new(Dense::with_props(moment, Props::PSD))
}

fn main() -> Result<(), Error> {
    // Two layers: a Kronecker product of gradient and input moments each, so 60 x 41 and 10 x 61 parameters.
    let layers = [
        second_moment(60, 200, 1).kron(&second_moment(41, 200, 2))?,
        second_moment(10, 200, 3).kron(&second_moment(61, 30, 4))?,
    ];
    let space = Space::new([vec![60, 41], vec![10, 61]])?;
    let curvature = algebra::block_diag(&layers)?.with_spaces(Some(space.clone()), Some(space.clone()))?;
    let n = curvature.nrows();
    println!("curvature: {n} parameters in {space}, known to be {:?}", curvature.props());
    println!("trace {:.3}, Frobenius norm {:.3}", curvature.trace(Par::Seq)?, curvature.frobenius_sq(Par::Seq)?.sqrt());

    // Damped inverses, exact and with damping shared out between the factors.
    for damping in [Damping::Exact, Damping::HEURISTIC] {
        let d = damped(&curvature, &[1e-2], damping, Limits::default(), Par::Seq)?;
        println!("{damping:?}: shifts {:?}, trace of the inverse {:.1}", d.report.shifts, d.inverse.trace(Par::Seq)?);
    }

    // Something without a rule: the blocks coupled by a few gradients. The report says what will be done, and why.
    let mut stream = Stream::new(5, Role::SyntheticMatrix, 0, 0);
    let gradients = LowRank::gram(Mat::from_fn(n, 3, |_, _| 0.05 * stream.normal()));
    let coupled = (&curvature.shifted(1e-2)? + &Op::new(gradients))?;
    let (inverse, report) = solver(&coupled, &AutoOptions::default(), Par::Seq)?;
    println!("\nthe coupled system is solved like this:\n{report}");
    let (sign, log) = coupled.slogdet(Par::Seq)?;
    println!("log determinant {log:.2} (sign {sign})");

    // The same system as if only products were known, preconditioned by the uncoupled inverse.
    let b = Mat::from_fn(n, 4, |i, j| ((i * (j + 3)) % 11) as f64 - 5.0);
    let (hidden, counts) = coupled.counted();
    let precond = damped(&curvature, &[1e-2], Damping::Exact, Limits::default(), Par::Seq)?.inverse;
    let plain = cg(&hidden, b.as_ref(), &Options::default(), Par::Seq)?;
    let with_precond = Options { precond: Some(&precond), ..Options::default() };
    let better = cg(&hidden, b.as_ref(), &with_precond, Par::Seq)?;
    println!("\nCG: {} iterations, {} with preconditioner", plain.report.iterations, better.report.iterations);
    println!("{} block products of {} columns in all", counts.products(), counts.columns());
    let direct = inverse.times_mat(b.as_ref(), Par::Seq)?;
    let x = better.require_converged()?;
    let apart = (0..n).map(|i| (x[(i, 0)] - direct[(i, 0)]).abs()).fold(0.0, f64::max);
    println!("iterative and direct solution differ by {apart:.1e}");

    // Both ends of the spectrum, and a Gram operator's top for comparison.
    let ends = eigsh(&hidden, 2, Which::Both, &EigshOptions::default(), Par::Seq)?;
    println!("\nsmallest and largest eigenvalues: {:.4?} after {} products", ends.values, ends.report.products);
    let square = Op::new(Gram::inner(hidden));
    let top = eigsh(&square, 1, Which::Largest, &EigshOptions::default(), Par::Seq)?;
    println!("largest singular value: {:.4}", top.values[0].sqrt());
    Ok(())
}
