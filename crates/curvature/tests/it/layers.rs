//! Products from kept layers against products by passes, which a budget of nothing forces.

use autodiff::nn::{Loss, Sequential};
use autodiff::{Array, Value};
use curvature::{EfScale, Fisher, Granularity, Mode, Reduction, Risk, Supervised};
use linop_core::LinearOperator;
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, MemBuffer, MemStack, Par, Scalar};

const DATA: usize = 21;

fn normals<T: Scalar>(stream: u64, n: usize) -> Vec<T> {
    let mut x = vec![T::ZERO; n];
    Stream::new(2, Role::SyntheticMatrix, stream, 0).fill_normal(&mut x);
    x
}

/// Everything that layers are kept for: weights with and without bias, a layer norm's gains and shifts.
const PLAIN: &str = r#"{"model_type": "sequential", "input": [300], "layers": [
    {"type": "linear", "in": 300, "out": 220, "bias": true}, {"type": "tanh"},
    {"type": "layernorm", "shape": [220], "eps": 1e-5},
    {"type": "linear", "in": 220, "out": 260, "bias": false}, {"type": "gelu"},
    {"type": "linear", "in": 260, "out": 3, "bias": true}]}"#;

/// Weights shared along positions; one output for all of them.
const SHARED: &str = r#"{"model_type": "sequential", "input": [4, 200], "layers": [
    {"type": "linear", "in": 200, "out": 220, "bias": true}, {"type": "tanh"},
    {"type": "linear", "in": 220, "out": 180, "bias": true}, {"type": "tanh"}, {"type": "flatten"},
    {"type": "linear", "in": 720, "out": 2, "bias": true}]}"#;

/// Outputs at positions.
const POSITIONS: &str = r#"{"model_type": "sequential", "input": [2, 200], "layers": [
    {"type": "linear", "in": 200, "out": 220, "bias": true}, {"type": "tanh"},
    {"type": "linear", "in": 220, "out": 180, "bias": true}, {"type": "tanh"},
    {"type": "linear", "in": 180, "out": 2, "bias": true}]}"#;

fn risk<T: Scalar>(text: &str, loss: &Loss, cuts: &[usize]) -> Risk<T> {
    let model = Sequential::from_json(text).unwrap();
    let (input, output) = (model.input_type().shape.clone(), model.output_type().shape.clone());
    let params = normals::<T>(0, model.params().total()).iter().map(|&x| x * T::from_f64(0.08)).collect();
    let width: usize = input.iter().product();
    let classes = output[output.len() - 1];
    let inputs = normals::<T>(1, DATA * width);
    let outputs: usize = output.iter().product();
    let values: Vec<T> = normals::<T>(2, DATA * outputs).iter().map(|x| x.abs().min(T::ONE)).collect();
    let mut start = 0;
    let batches = cuts.iter().map(|&n| {
        let of = |shape: &[usize]| [&[n], shape].concat();
        let x = Array::new(&of(&input), inputs[start * width..(start + n) * width].to_vec()).unwrap();
        let y = match loss {
            Loss::CrossEntropy(_) => {
                let terms = outputs / classes;
                Value::Int(Array::from_fn(&of(&output[..output.len() - 1]), |i| {
                    ((start * terms + i) * 5 % classes) as i64
                }))
            }
            _ => {
                Value::Real(Array::new(&of(&output), values[start * outputs..(start + n) * outputs].to_vec()).unwrap())
            }
        };
        let weights = (0..n).map(|i| T::from_f64(0.5 + ((start + i) % 3) as f64)).collect();
        start += n;
        (Value::Real(x), y, Some(weights))
    });
    Supervised::new(model, loss.clone(), Reduction::Mean).risk(params, batches.collect()).unwrap()
}

fn apply<T: Scalar>(op: &dyn LinearOperator<T>, x: MatRef<'_, T>, par: Par) -> Mat<T> {
    let mut out = Mat::from_fn(op.nrows(), x.ncols(), |_, _| T::ONE);
    let mut memory = MemBuffer::new(op.apply_req(x.ncols(), par));
    op.apply(out.as_mut(), T::ONE, x, T::ZERO, par, MemStack::new(&mut memory)).unwrap();
    out
}

/// Largest difference relative to the largest entry.
fn difference<T: Scalar>(a: &Mat<T>, b: &Mat<T>) -> f64 {
    let entries = || (0..b.nrows()).flat_map(|i| (0..b.ncols()).map(move |j| (i, j)));
    let scale = entries().map(|at| b[at].abs().to_f64()).fold(1e-300, f64::max);
    entries().map(|at| (a[at] - b[at]).abs().to_f64()).fold(0.0, f64::max) / scale
}

fn matrices() -> Vec<(&'static str, Fisher)> {
    let of_data = Granularity::Datum;
    vec![
        ("GGN", Fisher::Type2),
        ("Monte Carlo", Fisher::monte_carlo(2, 7)),
        ("empirical by term", Fisher::empirical()),
        ("empirical by datum", Fisher::Empirical { scale: EfScale::Nll, granularity: of_data }),
    ]
}

fn both_ways_agree<T: Scalar>(tolerance: f64) {
    for (text, loss) in [
        (PLAIN, Loss::cross_entropy()),
        (PLAIN, Loss::mse()),
        (PLAIN, Loss::bce()),
        (SHARED, Loss::cross_entropy()),
        (POSITIONS, Loss::cross_entropy()),
    ] {
        let risk = risk::<T>(text, &loss, &[DATA]);
        let x = Mat::from_fn(risk.dim(), 3, |i, j| T::from_f64(((i * 7 + j * 13) as f64 * 0.37).sin()));
        for (name, fisher) in matrices() {
            let (kept, passes) = (risk.fisher(fisher).unwrap(), risk.clone().with_memory(0).fisher(fisher).unwrap());
            let of_terms =
                matches!(fisher, Fisher::Type2 | Fisher::Empirical { granularity: Granularity::LossTerm, .. });
            let expected = if text == POSITIONS && of_terms { Mode::Cached } else { Mode::Layers };
            assert_eq!((kept.report().mode, passes.report().mode), (expected, Mode::Recompute), "{name} {loss:?}");
            let (a, b) = (apply(&kept, x.as_ref(), Par::Seq), apply(&passes, x.as_ref(), Par::Seq));
            let error = difference(&a, &b);
            assert!(error <= tolerance, "{name} {loss:?}: {error}");
        }
    }
}

/// Sums of up to 900 terms in two orders: 1e-13 and 1e-5 are a hundred roundings.
#[test]
fn layers_and_passes_are_the_same_matrix() {
    both_ways_agree::<f64>(1e-13);
    both_ways_agree::<f32>(1e-5);
}

#[test]
fn threads_and_widths_leave_the_bits_alone() {
    for loss in [Loss::cross_entropy(), Loss::mse()] {
        let risk = risk::<f64>(PLAIN, &loss, &[DATA]);
        let x = Mat::from_fn(risk.dim(), 9, |i, j| ((i * 7 + j * 13) as f64 * 0.37).sin());
        for (name, fisher) in matrices() {
            let op = risk.fisher(fisher).unwrap();
            assert_eq!(op.report().mode, Mode::Layers);
            let wide = apply(&op, x.as_ref(), Par::Seq);
            for threads in [2, 3] {
                assert!(apply(&op, x.as_ref(), Par::rayon(threads)) == wide, "{name}: {threads} threads");
            }
            for j in [0, 8] {
                for par in [Par::Seq, Par::rayon(2)] {
                    assert!(
                        apply(&op, x.subcols(j, 1), par) == wide.subcols(j, 1),
                        "{name}: column {j} alone, {par:?}"
                    );
                }
            }
            assert!(apply(&op, x.subcols(2, 5), Par::Seq) == wide.subcols(2, 5), "{name}: five columns");
        }
    }
}

/// Cuts of the data, and a budget that the layers just fit into or just do not.
#[test]
fn cuts_do_not_show_and_the_budget_is_kept() {
    let loss = Loss::cross_entropy();
    let whole = risk::<f64>(PLAIN, &loss, &[DATA]);
    let x = Mat::from_fn(whole.dim(), 2, |i, j| ((i * 3 + j) as f64 * 0.71).cos());
    let full = whole.ggn().unwrap();
    let cut = risk::<f64>(PLAIN, &loss, &[4, 1, 9, 7]).ggn().unwrap();
    assert!(difference(&apply(&cut, x.as_ref(), Par::Seq), &apply(&full, x.as_ref(), Par::Seq)) <= 1e-13);
    let report = full.report();
    assert_eq!(report.cached_bytes, report.residual_bytes);
    let bytes = report.residual_bytes;
    assert_eq!(whole.clone().with_memory(bytes).ggn().unwrap().report().mode, Mode::Layers);
    let less = whole.with_memory(bytes - 1).ggn().unwrap().report();
    assert_eq!(less.mode, Mode::Cached);
    assert!(less.cached_bytes < bytes, "{less:?}");
}

/// Few inputs for the vectors: passes through the network move less memory.
#[test]
fn layers_are_kept_only_where_it_pays() {
    let text = r#"{"model_type": "sequential", "input": [4], "layers": [
        {"type": "linear", "in": 4, "out": 64, "bias": true}, {"type": "tanh"},
        {"type": "linear", "in": 64, "out": 40, "bias": true}]}"#;
    assert_eq!(risk::<f64>(text, &Loss::mse(), &[DATA]).ggn().unwrap().report().mode, Mode::Cached);
    let wide = risk::<f64>(PLAIN, &Loss::mse(), &[DATA]);
    assert_eq!(wide.clone().with_products(1).ggn().unwrap().report().mode, Mode::Cached);
    assert_eq!(wide.with_products(1000).ggn().unwrap().report().mode, Mode::Layers);
}
