//! From the second product of a block width on, an operator allocates nothing on the calling thread.

use autodiff::nn::{Loss, Sequential};
use autodiff::{Array, Value};
use curvature::{Fisher, Reduction, Supervised};
use linop_core::LinearOperator;
use numerics::{Mat, MemBuffer, MemStack, Par};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    // The test harness allocates on threads of its own, whenever it likes.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

fn count() -> usize {
    COUNT.with(Cell::get)
}

fn bump() {
    COUNT.with(|c| c.set(c.get() + 1));
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        bump();
        // SAFETY: handed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: handed on.
        unsafe { System.dealloc(p, layout) }
    }
    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        bump();
        // SAFETY: handed on.
        unsafe { System.realloc(p, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn second_product_allocates_nothing() {
    // More than one chunk, and a remainder.
    let text = r#"{"model_type": "sequential", "input": [2], "layers": [
        {"type": "linear", "in": 2, "out": 1500, "bias": true}, {"type": "tanh"},
        {"type": "linear", "in": 1500, "out": 2, "bias": true}]}"#;
    let model = Sequential::from_json(text).unwrap();
    let n = 401;
    let params = (0..model.params().total()).map(|i| 0.05 * (i as f64).sin()).collect();
    let x = Array::from_fn(&[n, 2], |i| (i as f64 * 0.3).cos());
    let y = Array::from_fn(&[n], |i| (i % 2) as i64);
    let problem = Supervised::new(model, Loss::cross_entropy(), Reduction::Mean);
    let risk = problem.risk(params, vec![(Value::Real(x), Value::Int(y), None)]).unwrap();
    let lean = risk.clone().with_memory(0);
    let operators: Vec<Box<dyn LinearOperator<f64>>> = vec![
        Box::new(risk.hessian().unwrap()),
        Box::new(risk.ggn().unwrap()),
        Box::new(risk.residual().unwrap()),
        Box::new(risk.fisher(Fisher::monte_carlo(1, 0)).unwrap()),
        Box::new(risk.jacobian().unwrap()),
        Box::new(lean.ggn().unwrap()),
    ];
    for op in &operators {
        for k in [1, 3] {
            let x = Mat::from_fn(op.ncols(), k, |i, j| ((i + 5 * j) as f64 * 0.7).sin());
            let mut out = Mat::zeros(op.nrows(), k);
            let mut back = Mat::zeros(op.ncols(), k);
            let mut memory = MemBuffer::new(op.apply_req(k, Par::Seq));
            let mut products = || {
                let stack = MemStack::new(&mut memory);
                op.apply(out.as_mut(), 0.5, x.as_ref(), 2.0, Par::Seq, stack).unwrap();
                op.apply_t(back.as_mut(), 0.5, out.as_ref(), 0.0, Par::Seq, stack).unwrap();
            };
            products();
            let before = count();
            products();
            products();
            assert_eq!(count(), before, "{op:?}, {k} columns");
        }
    }
}
