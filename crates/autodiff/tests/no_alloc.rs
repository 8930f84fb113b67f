//! A compiled program allocates nothing from its second run on.

use autodiff::{Input, Output, Program, Tensor, TensorType, Value, Workspace, trace};
use numerics::{Mat, Par};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    /// Allocations of this thread: the tests run beside each other.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() -> usize {
    COUNT.with(Cell::get)
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|c| c.set(c.get() + 1));
        // SAFETY: handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: handed on.
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|c| c.set(c.get() + 1));
        // SAFETY: handed on.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn loss(x: &[Tensor]) -> Tensor {
    let h = (x[0].matmul(&x[1].t()) + &x[2]).tanh();
    (h.transpose(&[1, 0]).log_softmax() * &x[3]).sum_all()
}

fn network() -> Program {
    let shapes: [&[usize]; 4] = [&[70, 40], &[90, 40], &[90], &[90, 70]];
    let names = ["x", "w", "b", "t"];
    let ports: Vec<_> = names.iter().zip(shapes).map(|(n, s)| (*n, TensorType::real(s))).collect();
    trace(&ports, |_, x| vec![("loss", loss(x))]).unwrap()
}

#[test]
fn second_run_allocates_nothing() {
    let p = network();
    let wrt = [1, 2];
    for program in [p.clone(), p.value_and_grad(&wrt).unwrap(), p.grad(&wrt).unwrap().jvp(&wrt).unwrap()] {
        let exe = program.compile::<f64>().unwrap();
        let data: Vec<Vec<f64>> =
            exe.input_types().map(|t| (0..t.numel()).map(|i| (i as f64 * 0.37).sin()).collect()).collect();
        let inputs: Vec<Input<'_, f64>> = data.iter().map(|d| Input::Real(d)).collect();
        let mut room: Vec<Vec<f64>> = exe.output_types().map(|t| vec![0.0; t.numel()]).collect();
        let mut outputs: Vec<Output<'_, f64>> = room.iter_mut().map(|r| Output::Real(r)).collect();
        let mut w = Workspace::with_par(Par::Seq);
        exe.run(&mut w, &inputs, &mut outputs).unwrap();
        let before = count();
        exe.run(&mut w, &inputs, &mut outputs).unwrap();
        exe.run(&mut w, &inputs, &mut outputs).unwrap();
        assert_eq!(count(), before);
        drop(outputs);
        assert!(room.iter().flatten().all(|x| x.is_finite()));
    }
}

/// The way of a curvature product: residuals kept, directions and results as columns of matrices.
#[test]
fn columns_and_held_values_allocate_nothing() {
    let split = network().grad(&[1]).unwrap().linearize(&[1]).unwrap();
    let number = |i: usize| (i as f64 * 0.37).sin();
    let point: Vec<Value<f64>> = (0..split.primal.inputs().len())
        .map(|i| Value::Real(autodiff::Array::from_fn(&split.primal.input_type(i).shape, number)))
        .collect();
    let mut held = split.primal.compile::<f64>().unwrap().call(&point).unwrap();
    held.drain(..split.outputs);
    let mut axes = vec![None; split.residuals];
    axes.push(Some(0));
    let exe = split.linear.vmap(5, &axes).unwrap().compile::<f64>().unwrap();
    let x = Mat::from_fn(90 * 40 + 1, 5, |i, j| number(i + 7 * j));
    let mut y = Mat::<f64>::zeros(90 * 40 + 3, 5);
    let mut w = Workspace::with_par(Par::Seq);
    let mut run = || {
        let input = Input::Columns(x.as_ref().subrows(1, 90 * 40));
        let room = Output::Columns(y.as_mut().subrows_mut(0, 90 * 40));
        exe.run_with(&mut w, &held, &[input], &mut [room]).unwrap();
    };
    run();
    let before = count();
    run();
    run();
    assert_eq!(count(), before);
    assert!(y.norm_max() > 0.0);
}
