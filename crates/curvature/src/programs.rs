//! The products as programs: everything that a matrix-vector product does, from parameters, data and a direction.
//!
//! Each is written as one would define it; what does not depend on the direction is taken out afterwards.

use crate::error::Error;
use crate::risk::{Traced, inline_loss, inline_model};
use autodiff::{Builder, NodeId, Program, TensorType};

fn output(map: &[NodeId], program: &Program, i: usize) -> NodeId {
    map[program.outputs()[i].node.index()]
}

/// `scale Hess L v`: forward over reverse.
pub(crate) fn hessian(traced: &Traced, scale: f64) -> Result<Program, Error> {
    let mut b = Builder::new();
    let (_, sum) = inline_model(&mut b, &traced.whole)?;
    let sum = b.scale(sum, scale)?;
    Ok(finish(b, sum).grad(&[0])?.jvp(&[0])?.select_outputs(&[1])?)
}

/// Inlines the tangent of the model's outputs along a new input `v` in the parameters.
fn push(b: &mut Builder, traced: &Traced, inputs: &[NodeId]) -> Result<NodeId, Error> {
    let jvp = traced.model.jvp(&[0])?.select_outputs(&[1])?;
    let v = b.input("v", traced.model.input_type(0).clone());
    let args: Vec<NodeId> = inputs.iter().copied().chain([v]).collect();
    let map = b.inline(&jvp, &args)?;
    Ok(output(&map, &jvp, 0))
}

/// Inlines `J^T u`.
fn pull(b: &mut Builder, traced: &Traced, inputs: &[NodeId], u: NodeId) -> Result<NodeId, Error> {
    let vjp = traced.model.vjp(&[0])?.select_outputs(&[1])?;
    let args: Vec<NodeId> = inputs.iter().copied().chain([u]).collect();
    let map = b.inline(&vjp, &args)?;
    Ok(output(&map, &vjp, 0))
}

fn finish(b: Builder, product: NodeId) -> Program {
    b.finish(vec![("product".into(), product)])
}

/// `scale J^T H J v`: the model's tangent, the loss's Hessian in the outputs, the model's transpose.
pub(crate) fn ggn(traced: &Traced, scale: f64) -> Result<Program, Error> {
    let mut b = Builder::new();
    let (inputs, f) = inline_model(&mut b, &traced.model)?;
    let slope = traced.loss.grad(&[0])?;
    let curvature = slope.jvp(&[0])?.select_outputs(&[1])?;
    let mut args = vec![f];
    for i in 1..slope.inputs().len() {
        args.push(b.input(format!("target.{}", i - 1), slope.input_type(i).clone()));
    }
    let jv = push(&mut b, traced, &inputs)?;
    args.push(jv);
    let map = b.inline(&curvature, &args)?;
    let hjv = b.scale(output(&map, &curvature, 0), scale)?;
    let product = pull(&mut b, traced, &inputs, hjv)?;
    Ok(finish(b, product))
}

/// `scale (sum_tc u_tc Hess f_tc) v` with `u` the loss's gradient in the outputs.
pub(crate) fn residual(traced: &Traced, scale: f64) -> Result<Program, Error> {
    let vjp = traced.model.vjp(&[0])?.select_outputs(&[1])?;
    let bent = vjp.jvp(&[0])?.select_outputs(&[1])?;
    let mut b = Builder::new();
    let (inputs, f) = inline_model(&mut b, &traced.model)?;
    let u = inline_loss(&mut b, &traced.loss.grad(&[0])?, f)?;
    let u = b.scale(u, scale)?;
    let v = b.input("v", traced.model.input_type(0).clone());
    let args: Vec<NodeId> = inputs.into_iter().chain([u, v]).collect();
    let map = b.inline(&bent, &args)?;
    let product = output(&map, &bent, 0);
    Ok(finish(b, product))
}

/// `scale sum_r J_r^T (sum_v g_rv g_rv^T) J_r v`, with the vectors `[R, V, D]` as the extra input: R rows of D outputs each.
pub(crate) fn outer(traced: &Traced, [rows, vectors]: [usize; 2], scale: f64) -> Result<Program, Error> {
    let mut b = Builder::new();
    let (inputs, f) = inline_model(&mut b, &traced.model)?;
    let shape = b.shape(f);
    let width = shape.iter().product::<usize>() / rows.max(1);
    let g = b.input("extra.0", TensorType::real(&[rows, vectors, width]));
    let jv = push(&mut b, traced, &inputs)?;
    let jv = b.reshape(jv, &[rows, width])?;
    let inner = b.dot(g, jv, &[(0, 0)], &[(2, 1)])?;
    let sum = b.dot(inner, g, &[(0, 0)], &[(1, 1)])?;
    let u = b.scale(sum, scale)?;
    let u = b.reshape(u, &shape)?;
    let product = pull(&mut b, traced, &inputs, u)?;
    Ok(finish(b, product))
}

/// `J v` and `J^T u`, for directions `v` and `u`.
pub(crate) fn jacobian(traced: &Traced) -> Result<Program, Error> {
    let mut b = Builder::new();
    let (inputs, f) = inline_model(&mut b, &traced.model)?;
    let jv = push(&mut b, traced, &inputs)?;
    let u = b.input("u", TensorType::real(&b.shape(f)));
    let jtu = pull(&mut b, traced, &inputs, u)?;
    Ok(b.finish(vec![("jv".into(), jv), ("jtu".into(), jtu)]))
}
