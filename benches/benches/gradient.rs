//! Gradient of a multilayer perceptron (784-1024-512-256-128-64-10, batch 512), with its limit beside it: faer's own
//! products of the same shapes.
//!
//! Every round runs both once, one after the other. `products / compiled` is the share of the machine's matrix rate that a
//! gradient reaches; the aim is 92 % on one thread and 85 % on two.
//!
//! `cargo bench --bench gradient -- [--rounds N] [--threads N] [--dtype f64|f32] [--json] [--steps]`; `--steps` prints what
//! every step of the compiled program takes.

use autodiff::nn::Loss;
use autodiff::{Input, Output, Workspace};
use benches::options::{Options, par};
use benches::perceptron::{BATCH, WIDTHS, label, model, products};
use benches::rounds::{Entry, alternate, best, median, ratio};
use numerics::Scalar;

fn measure<T: Scalar>(options: &Options, threads: usize) {
    let par = par(threads);
    let model = model();
    let loss = model.trace_loss(BATCH, &Loss::cross_entropy(), false);
    let exe = loss.and_then(|p| Ok(p.value_and_grad(&[0])?.compile::<T>()?)).expect("a compiled gradient");
    let params: Vec<T> = model.init(0);
    let x = benches::numbers::<T>(BATCH * WIDTHS[0], 1);
    let y: Vec<i64> = (0..BATCH).map(label).collect();
    let (mut value, mut slope) = ([T::ZERO], vec![T::ZERO; params.len()]);
    let mut workspace = Workspace::with_par(par);
    let inputs = [Input::Real(&params), Input::Real(&x), Input::Int(&y)];
    let seconds = {
        let run = || {
            let mut outputs = [Output::Real(&mut value), Output::Real(&mut slope)];
            exe.run(&mut workspace, &inputs, &mut outputs).expect("a run");
        };
        let mut entries = [Entry::new("compiled", run), Entry::new("products", products::<T>(par))];
        alternate(options.rounds, &mut entries)
    };
    let (by_round, by_best) = (ratio(&seconds[1], &seconds[0]), best(&seconds[1]) / best(&seconds[0]));
    println!(
        "{} on {threads} threads: compiled {:.2} ms, products alone {:.2} ms; share {:.1} % (of the best times {:.1} %)",
        T::DTYPE,
        1e3 * median(&seconds[0]),
        1e3 * median(&seconds[1]),
        100.0 * by_round,
        100.0 * by_best
    );
    if options.json {
        let line = serde_json::json!({
            "name": "gradient", "dtype": T::DTYPE.name(), "threads": threads, "rounds": options.rounds,
            "seconds": median(&seconds[0]), "products": median(&seconds[1]), "share": by_round, "share_of_best": by_best,
        });
        println!("{line}");
    }
    if options.steps {
        let mut outputs = [Output::Real(&mut value), Output::Real(&mut slope)];
        println!("{}", exe.profile(&mut workspace, &inputs, &mut outputs, options.rounds).expect("a profile"));
    }
}

fn main() {
    let options = Options::read(15);
    for &threads in &options.threads {
        for dtype in &options.dtypes {
            if dtype == "f32" { measure::<f32>(&options, threads) } else { measure::<f64>(&options, threads) }
        }
    }
}
