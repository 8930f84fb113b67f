//! Curvature products in multiples of a gradient, on the perceptron 784-1024-512-256-128-64-10 with 512 data.
//!
//! Ratios on a shared machine mean something only side by side: every round runs the gradient and each product once, one
//! after the other, and the figure is the median over rounds of the quotient with the gradient of the same round. Beside it
//! stands the quotient of the model's flops and the rate that faer's products of the gradient's shapes reach in the round:
//! what the product would take if nothing but its matrix products counted.
//!
//! `cargo bench --bench curvature -- [--rounds N] [--threads N] [--dtype f64|f32] [--json] [--steps]`; `--steps` prints what each
//! step of a Hessian product takes, for one column and for eight, on as many data as a chunk of the operator has.

use autodiff::nn::Loss;
use autodiff::{Array, Value};
use benches::numbers;
use benches::options::{Options, par};
use benches::perceptron::{BATCH, WIDTHS, label, model, passes, products};
use benches::rounds::{Entry, alternate, best, median, ratio};
use curvature::{Fisher, Reduction, Supervised};
use linop_core::LinearOperator;
use numerics::{Mat, MemBuffer, MemStack, Par, Scalar};

/// What is known of a thing that is timed: the columns it has, and the model's flops for one column.
struct Case {
    columns: usize,
    flops: f64,
}

fn product<'a, T: Scalar>(
    name: &str,
    op: &'a dyn LinearOperator<T>,
    (transposed, columns, flops): (bool, usize, f64),
    par: Par,
) -> (Case, Entry<'a>) {
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
    (Case { columns, flops }, Entry::new(name, run))
}

fn measure<T: Scalar>(options: &Options, threads: usize) {
    let par = par(threads);
    let problem = Supervised::new(model(), Loss::cross_entropy(), Reduction::Mean);
    let params: Vec<T> = problem.model().init(0);
    let x = Array::new(&[BATCH, WIDTHS[0]], numbers::<T>(BATCH * WIDTHS[0], 1)).expect("inputs");
    let y = Array::from_fn(&[BATCH], label);
    let risk = problem.risk(params, vec![(Value::Real(x), Value::Int(y), None)]).expect("a risk");
    let whole = problem.model().trace_loss(BATCH, &Loss::cross_entropy(), false).expect("a loss");
    let compiled = whole.value_and_grad(&[0]).and_then(|p| p.compile::<T>()).expect("a gradient");
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
        compiled.run(&mut workspace, &inputs, &mut outputs).expect("a run");
    };
    let gradient = || Case { columns: 1, flops: 2.0 * f + back };
    let list = vec![
        (gradient(), Entry::new("gradient", run)),
        (gradient(), Entry::new("products alone", products::<T>(par))),
        product("Hessian", &hessian, (false, 1, 2.0 * f + 4.0 * back), par),
        product("Hessian", &hessian, (false, 2, 2.0 * f + 4.0 * back), par),
        product("Hessian", &hessian, (false, 4, 2.0 * f + 4.0 * back), par),
        product("Hessian", &hessian, (false, 8, 2.0 * f + 4.0 * back), par),
        product("GGN", &ggn, (false, 1, 2.0 * f + 2.0 * back), par),
        product("GGN", &ggn, (false, 8, 2.0 * f + 2.0 * back), par),
        product("Monte Carlo Fisher", &mc, (false, 1, 2.0 * f + 2.0 * back), par),
        product("empirical Fisher", &ef, (false, 1, 2.0 * f + 2.0 * back), par),
        product("Jacobian", &jacobian, (false, 1, f + back), par),
        product("Jacobian transposed", &jacobian, (true, 1, f + back), par),
    ];
    let (cases, mut entries): (Vec<Case>, Vec<Entry<'_>>) = list.into_iter().unzip();
    let seconds = alternate(options.rounds, &mut entries);
    println!("{} on {threads} threads, {:?}", T::DTYPE, ggn.report());
    println!("{:<22} {:>9} {:>11} {:>8} {:>13}", "", "ms", "x gradient", "(best)", "of the limit");
    for ((entry, case), times) in entries.iter().zip(&cases).zip(&seconds) {
        let k = case.columns as f64;
        let by_round = ratio(times, &seconds[0]) / k;
        let by_best = best(times) / best(&seconds[0]) / k;
        let share = ratio(&seconds[1], times) * k * case.flops / cases[1].flops;
        let ms = 1e3 * median(times);
        println!("{:<22} {ms:>9.2} {by_round:>11.3} {by_best:>8.3} {share:>13.2}", entry.name);
        if options.json {
            let line = serde_json::json!({
                "name": entry.name, "dtype": T::DTYPE.name(), "threads": threads, "columns": case.columns,
                "seconds": ms / 1e3, "gradients_per_column": by_round, "of_best": by_best, "share_of_limit": share,
            });
            println!("{line}");
        }
    }
}

/// What the steps of Hessian products of some widths take, on `n` data.
fn steps<T: Scalar>(n: usize, threads: usize) {
    let par = par(threads);
    let whole = model().trace_loss(n, &Loss::cross_entropy(), false).expect("a loss");
    let split = whole.grad(&[0]).and_then(|g| g.linearize(&[0])).expect("a Hessian");
    let params: Vec<T> = model().init(0);
    let size = params.len();
    let inputs = [
        Value::Real(Array::new(&[size], params).expect("parameters")),
        Value::Real(Array::new(&[n, WIDTHS[0]], numbers::<T>(n * WIDTHS[0], 1)).expect("inputs")),
        Value::Int(Array::from_fn(&[n], label)),
    ];
    let kept = split.primal.compile::<T>().and_then(|p| p.call(&inputs)).expect("residuals");
    for k in [1, 8] {
        let mut axes = vec![None; split.residuals];
        axes.push(Some(0));
        let product = split.linear.vmap(k, &axes).and_then(|p| p.compile::<T>()).expect("a product");
        let (v, mut out) = (numbers::<T>(k * size, 4), vec![T::ZERO; k * size]);
        let mut list: Vec<autodiff::Input<'_, T>> = kept[split.outputs..].iter().map(Into::into).collect();
        list.push(autodiff::Input::Real(&v));
        let mut outputs = [autodiff::Output::Real(&mut out)];
        let mut workspace = autodiff::Workspace::with_par(par);
        let profile = product.profile(&mut workspace, &list, &mut outputs, 5).expect("a profile");
        println!("{} on {threads} threads, {n} data, {k} columns\n{profile}", T::DTYPE);
    }
}

fn main() {
    let options = Options::read(9);
    if options.steps {
        for &threads in &options.threads {
            for dtype in &options.dtypes {
                if dtype == "f32" { steps::<f32>(BATCH / 2, threads) } else { steps::<f64>(BATCH / 2, threads) }
            }
        }
        return;
    }
    for &threads in &options.threads {
        for dtype in &options.dtypes {
            if dtype == "f32" { measure::<f32>(&options, threads) } else { measure::<f64>(&options, threads) }
        }
    }
}
