//! Curvature products in multiples of a gradient, on the perceptron 784-1024-512-256-128-64-10 with 512 data.
//!
//! Ratios on a shared machine mean something only side by side: every round runs the gradient and each product once, one
//! after the other, and the figure is the median over rounds of the quotient with the gradient of the same round. Beside it
//! stands the quotient of the model's flops and the rate that faer's products of the gradient's shapes reach in the round:
//! what the product would take if nothing but its matrix products counted.
//!
//! `cargo bench --bench curvature -- [--rounds N] [--threads N] [--dtype f64|f32] [--json]`

use autodiff::nn::{Loss, Sequential};
use autodiff::{Array, Value};
use curvature::{Fisher, Reduction, Supervised};
use faer::Accum;
use faer::linalg::matmul::matmul;
use linop_core::LinearOperator;
use numerics::rng::{Role, Stream};
use numerics::{Mat, MemBuffer, MemStack, Par, Scalar};
use std::time::Instant;

const WIDTHS: [usize; 7] = [784, 1024, 512, 256, 128, 64, 10];
const BATCH: usize = 512;

/// Flops of one pass over the weights, and of its part behind the first layer.
fn passes() -> (f64, f64) {
    let weights: Vec<f64> = WIDTHS.windows(2).map(|w| (w[0] * w[1]) as f64).collect();
    let all: f64 = weights.iter().sum();
    (2.0 * BATCH as f64 * all, 2.0 * BATCH as f64 * (all - weights[0]))
}

fn model() -> Sequential {
    let mut layers = Vec::new();
    for (i, w) in WIDTHS.windows(2).enumerate() {
        if i > 0 {
            layers.push(r#"{"type": "relu"}"#.to_owned());
        }
        layers.push(format!(r#"{{"type": "linear", "in": {}, "out": {}, "bias": true}}"#, w[0], w[1]));
    }
    let layers = layers.join(", ");
    Sequential::from_json(&format!(r#"{{"model_type": "sequential", "input": [{}], "layers": [{layers}]}}"#, WIDTHS[0]))
        .expect("a valid model")
}

fn numbers<T: Scalar>(n: usize, stream: u64) -> Vec<T> {
    let mut x = vec![T::ZERO; n];
    Stream::new(0, Role::SyntheticMatrix, stream, 0).fill_uniform(&mut x);
    x
}

/// One thing that is timed: its name, the columns it has, the model's flops for one column, and how to run it.
struct Entry<'a> {
    name: String,
    columns: usize,
    flops: f64,
    run: Box<dyn FnMut() + 'a>,
}

/// faer's products of one gradient's shapes.
fn products<T: Scalar>(par: Par) -> impl FnMut() {
    let mut list = Vec::new();
    for (i, w) in WIDTHS.windows(2).enumerate() {
        list.push((BATCH, w[0], w[1]));
        list.push((w[1], BATCH, w[0]));
        if i > 0 {
            list.push((BATCH, w[1], w[0]));
        }
    }
    let fill = |r: usize, c: usize, s: u64| {
        let data = numbers::<T>(r * c, s);
        Mat::from_fn(r, c, |i, j| data[j * r + i])
    };
    let mut mats: Vec<_> =
        list.into_iter().map(|(m, k, n)| (fill(m, k, 2), fill(k, n, 3), Mat::<T>::zeros(m, n))).collect();
    move || {
        for (x, y, out) in &mut mats {
            matmul(out.as_mut(), Accum::Replace, x.as_ref(), y.as_ref(), T::ONE, par);
        }
    }
}

fn product<'a, T: Scalar>(
    name: &str,
    op: &'a dyn LinearOperator<T>,
    (transposed, columns, flops): (bool, usize, f64),
    par: Par,
) -> Entry<'a> {
    let (rows, cols) = if transposed { (op.ncols(), op.nrows()) } else { (op.nrows(), op.ncols()) };
    let data = numbers::<T>(cols * columns, 4);
    let v = Mat::from_fn(cols, columns, |i, j| data[j * cols + i]);
    let mut out = Mat::zeros(rows, columns);
    let mut memory = MemBuffer::new(op.apply_req(columns, par).or(op.apply_t_req(columns, par)));
    let run = move || {
        let stack = MemStack::new(&mut memory);
        let done = if transposed {
            op.apply_t(out.as_mut(), T::ONE, v.as_ref(), T::ZERO, par, stack)
        } else {
            op.apply(out.as_mut(), T::ONE, v.as_ref(), T::ZERO, par, stack)
        };
        done.expect("a product");
    };
    let name = if columns == 1 { name.to_owned() } else { format!("{name}, {columns} columns") };
    Entry { name, columns, flops, run: Box::new(run) }
}

fn median(mut x: Vec<f64>) -> f64 {
    x.sort_by(f64::total_cmp);
    x.get(x.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Options {
    rounds: usize,
    threads: Vec<usize>,
    dtypes: Vec<String>,
    json: bool,
}

fn measure<T: Scalar>(options: &Options, threads: usize) {
    let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
    let problem = Supervised::new(model(), Loss::cross_entropy(), Reduction::Mean);
    let params: Vec<T> = problem.model().init(0);
    let x = Array::new(&[BATCH, WIDTHS[0]], numbers::<T>(BATCH * WIDTHS[0], 1)).expect("inputs");
    let y = Array::from_fn(&[BATCH], |i| (i * 7 % 10) as i64);
    let risk = problem.risk(params, vec![(Value::Real(x), Value::Int(y), None)]).expect("a risk");
    let whole = problem.model().trace_loss(BATCH, &Loss::cross_entropy(), false).expect("a loss");
    let gradient = whole.value_and_grad(&[0]).and_then(|p| p.compile::<T>()).expect("a gradient");
    let values: Vec<Value<T>> = [Value::Real(Array::new(&[risk.dim()], risk.params().to_vec()).expect("parameters"))]
        .into_iter()
        .chain([risk.batches()[0].inputs.clone(), risk.batches()[0].targets[0].clone()])
        .collect();
    let (mut value, mut slope) = ([T::ZERO], vec![T::ZERO; risk.dim()]);
    let mut workspace = autodiff::Workspace::with_par(par);
    let (f, back) = passes();
    let hessian = risk.hessian().expect("a Hessian");
    let ggn = risk.ggn().expect("a GGN");
    let mc = risk.fisher(Fisher::monte_carlo(1, 0)).expect("a Fisher matrix");
    let ef = risk.fisher(Fisher::empirical()).expect("a Fisher matrix");
    let jacobian = risk.jacobian().expect("a Jacobian");
    let run = || {
        let inputs: Vec<autodiff::Input<'_, T>> = values.iter().map(Into::into).collect();
        let mut outputs = [autodiff::Output::Real(&mut value), autodiff::Output::Real(&mut slope)];
        gradient.run(&mut workspace, &inputs, &mut outputs).expect("a run");
    };
    let mut entries = vec![
        Entry { name: "gradient".into(), columns: 1, flops: 2.0 * f + back, run: Box::new(run) },
        Entry { name: "products alone".into(), columns: 1, flops: 2.0 * f + back, run: Box::new(products::<T>(par)) },
        product("Hessian", &hessian, (false, 1, 2.0 * f + 4.0 * back), par),
        product("Hessian", &hessian, (false, 8, 2.0 * f + 4.0 * back), par),
        product("GGN", &ggn, (false, 1, 2.0 * f + 2.0 * back), par),
        product("GGN", &ggn, (false, 8, 2.0 * f + 2.0 * back), par),
        product("Monte Carlo Fisher", &mc, (false, 1, 2.0 * f + 2.0 * back), par),
        product("empirical Fisher", &ef, (false, 1, 2.0 * f + 2.0 * back), par),
        product("Jacobian", &jacobian, (false, 1, f + back), par),
        product("Jacobian transposed", &jacobian, (true, 1, f + back), par),
    ];
    let mut seconds = vec![Vec::new(); entries.len()];
    for round in 0..=options.rounds {
        for (entry, times) in entries.iter_mut().zip(&mut seconds) {
            let started = Instant::now();
            (entry.run)();
            if round > 0 {
                times.push(started.elapsed().as_secs_f64());
            }
        }
    }
    println!("{} on {threads} threads, {:?}", T::DTYPE, ggn.report());
    println!("{:<22} {:>9} {:>11} {:>13}", "", "ms", "x gradient", "of the limit");
    for (entry, times) in entries.iter().zip(&seconds) {
        let k = entry.columns as f64;
        let ratio = median(times.iter().zip(&seconds[0]).map(|(t, g)| t / g / k).collect());
        let limit = entry.flops / entries[1].flops;
        let share = median(times.iter().zip(&seconds[1]).map(|(t, p)| p * limit * k / t).collect());
        let ms = 1e3 * median(times.clone());
        println!("{:<22} {ms:>9.2} {ratio:>11.3} {share:>13.2}", entry.name);
        if options.json {
            let line = serde_json::json!({
                "name": entry.name, "dtype": T::DTYPE.name(), "threads": threads, "columns": entry.columns,
                "seconds": ms / 1e3, "gradients_per_column": ratio, "share_of_limit": share,
            });
            println!("{line}");
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let after = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let number = |name: &str| after(name).and_then(|x| x.parse::<usize>().ok());
    let options = Options {
        rounds: number("--rounds").unwrap_or(9),
        threads: number("--threads").map_or_else(|| vec![1, 2], |n| vec![n]),
        dtypes: after("--dtype").map_or_else(|| vec!["f64".into(), "f32".into()], |d| vec![d]),
        json: args.iter().any(|a| a == "--json"),
    };
    for &threads in &options.threads {
        for dtype in &options.dtypes {
            if dtype == "f32" { measure::<f32>(&options, threads) } else { measure::<f64>(&options, threads) }
        }
    }
}
