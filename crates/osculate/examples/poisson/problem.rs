//! The problem: `-laplacian f = 2 pi^2 sin(pi x) sin(pi y)` on the unit square, `f = 0` on its boundary, with the solution
//! `sin(pi x) sin(pi y)`; its points, and its residual as one program.

use autodiff::nn::{Layer, ModelError, Sequential};
use autodiff::pde::{Operator, Pde, Strategy};
use autodiff::{Error, Program, TensorType, trace};
use numerics::rng::{Role, Stream};
use std::f64::consts::PI;

/// The network 2-64-1 with tanh.
pub(crate) fn network(width: usize) -> Result<Sequential, ModelError> {
    let linear = |inputs, outputs| Layer::Linear { inputs, outputs, bias: true };
    Sequential::new(&[2], vec![linear(2, width), Layer::Tanh {}, linear(width, 1)])
}

/// The solution.
pub(crate) fn solution(p: [f64; 2]) -> f64 {
    (PI * p[0]).sin() * (PI * p[1]).sin()
}

/// Points where the residual is taken, row-major `[n, 2]`, and the right-hand side at those inside.
pub(crate) struct Points {
    pub(crate) interior: Vec<f64>,
    pub(crate) source: Vec<f64>,
    pub(crate) boundary: Vec<f64>,
}

impl Points {
    /// Uniform inside; on the boundary an edge, then a place on it, both uniform.
    pub(crate) fn draw(seed: u64, interior: usize, boundary: usize) -> Self {
        let interior = uniform(seed, Role::PdeInterior, interior);
        let source = interior.chunks_exact(2).map(|p| 2.0 * PI * PI * solution([p[0], p[1]])).collect();
        let mut stream = Stream::new(seed, Role::PdeBoundary, 0, 0);
        let mut edge = || {
            let (side, at) = (stream.below(4), stream.uniform());
            [[at, 0.0], [at, 1.0], [0.0, at], [1.0, at]][side as usize]
        };
        let boundary = (0..boundary).flat_map(|_| edge()).collect();
        Points { interior, source, boundary }
    }
}

/// Points in the square, `[n, 2]`.
pub(crate) fn uniform(seed: u64, role: Role, n: usize) -> Vec<f64> {
    let mut points = vec![0.0; 2 * n];
    Stream::new(seed, role, 0, 0).fill_uniform(&mut points);
    points
}

/// `(params, interior, source, boundary) -> residual`: `f / sqrt(M)` at the `M` points of the boundary, then
/// `(laplacian f + source) / sqrt(N)` at the `N` inside, the Laplacian by collapsed Taylor mode. Half its square is the loss.
///
/// `model` makes the program `(params, points [n, 2]) -> f [n, 1]`.
///
/// # Errors
/// A model of another interface, or without second derivatives.
pub(crate) fn residual<E: From<Error>>(
    model: impl Fn(usize) -> Result<Program, E>,
    interior: usize,
    boundary: usize,
) -> Result<Program, E> {
    let (inside, edge) = (model(interior)?, model(boundary)?);
    let laplacian =
        Pde::new(&inside, 1).strategy(Strategy::Collapsed).operator("laplacian", Operator::Laplacian).build()?;
    let ports = [
        ("params", inside.input_type(0).clone()),
        ("interior", TensorType::real(&[interior, 2])),
        ("source", TensorType::real(&[interior])),
        ("boundary", TensorType::real(&[boundary, 2])),
    ];
    let program = trace(&ports, |t, x| {
        let f = t.call(&edge, &[&x[0], &x[3]]).swap_remove(0).reshape(&[boundary]);
        let bent = t.call(&laplacian, &[&x[0], &x[1]]).swap_remove(0).reshape(&[interior]);
        let (edge, inside) = (f * (boundary as f64).sqrt().recip(), (bent + &x[2]) * (interior as f64).sqrt().recip());
        vec![("residual", t.concat(&[&edge, &inside], 0))]
    })?;
    Ok(program.simplify()?)
}

/// `(params, interior, source, boundary) -> (half the residual's square, its gradient in the parameters)`.
///
/// # Errors
/// A derivative that an operation does not have.
pub(crate) fn loss_and_gradient(residual: &Program) -> Result<Program, Error> {
    let ports: Vec<_> =
        residual.inputs().iter().enumerate().map(|(i, p)| (p.name.as_str(), residual.input_type(i).clone())).collect();
    let loss = trace(&ports, |t, x| {
        let r = t.call(residual, &x.iter().collect::<Vec<_>>()).swap_remove(0);
        vec![("loss", (&r * &r).sum_all() * 0.5)]
    })?;
    loss.value_and_grad(&[0])?.simplify()?.stack()
}
