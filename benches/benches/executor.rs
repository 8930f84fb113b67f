//! What the executor adds to the work itself, with the limits measured beside it.
//!
//! - *A chain of ten elementwise operations over 10^7 numbers*, against one read and one write of that memory plus the ten kernels run
//!   on a block in the cache as often as there are blocks. The aim is 1.2 times that.
//! - *The same chain, added up*, against one read plus the kernels and the sum on a block.
//! - *Tiny programs*: time per node where the nodes do next to nothing. The aim is 300 ns.
//! - *A small convolutional network*: its gradient, against faer's products of the same shapes.
//!
//! `cargo bench --bench executor -- [--rounds N] [--threads N] [--dtype f64|f32] [--json] [--steps]`

use autodiff::nn::{Loss, Sequential};
use autodiff::{Executable, Input, Output, Program, Tensor, TensorType, Workspace, trace};
use benches::options::{Options, par};
use benches::rounds::{Entry, alternate, best, median, ratio};
use numerics::simd::{self, Binary, Unary};
use numerics::{Par, Scalar};
use std::hint::black_box;

/// Numbers that the chain goes over.
const LENGTH: usize = 10_000_000;
/// Numbers of a block in the cache.
const BLOCK: usize = 1024;

fn chain(x: &Tensor) -> Tensor {
    let y = ((x * 1.5 + 0.25).tanh() * x).sin();
    ((y.exp() - 0.5).sigmoid() * 2.0).cos()
}

/// The same ten kernels over a block.
fn kernels<T: Scalar>(x: &[T], a: &mut [T], b: &mut [T]) {
    let half = T::from_f64(0.5);
    simd::binary_scalar(Binary::Mul, x, T::from_f64(1.5), a);
    simd::binary_scalar(Binary::Add, a, T::from_f64(0.25), b);
    simd::unary(Unary::Tanh, b, a);
    simd::binary(Binary::Mul, a, x, b);
    simd::unary(Unary::Sin, b, a);
    simd::unary(Unary::Exp, a, b);
    simd::binary_scalar(Binary::Sub, b, half, a);
    simd::unary(Unary::Sigmoid, a, b);
    simd::binary_scalar(Binary::Mul, b, T::from_f64(2.0), a);
    simd::unary(Unary::Cos, a, b);
}

/// Applies `f` to halves of a range on two threads, or to all of it.
fn spread(par: Par, n: usize, f: impl Fn(usize, usize) + Sync) {
    match par.degree() {
        1 => f(0, n),
        _ => drop(rayon::join(|| f(0, n / 2), || f(n / 2, n))),
    }
}

fn runner<'a, T: Scalar>(
    exe: &'a Executable<T>,
    inputs: &'a [&'a [T]],
    out: &'a mut [T],
    par: Par,
) -> impl FnMut() + 'a {
    let mut workspace = Workspace::with_par(par);
    move || {
        let inputs: Vec<Input<'_, T>> = inputs.iter().map(|x| Input::Real(x)).collect();
        exe.run(&mut workspace, &inputs, &mut [Output::Real(out)]).expect("a run");
    }
}

fn report(options: &Options, name: &str, (what, value, aim): (&str, f64, f64), seconds: f64, tag: &str) {
    let aimed = if aim.is_finite() { format!(" (aim {aim})") } else { String::new() };
    println!("{name:<44} {:>10.3} ms   {what} {value:.3}{aimed}", 1e3 * seconds);
    if options.json {
        println!("{}", serde_json::json!({ "name": name, "case": tag, "seconds": seconds, what: value, "aim": aim }));
    }
}

fn elementwise<T: Scalar>(options: &Options, threads: usize) {
    let par = par(threads);
    let ty = TensorType::real(&[LENGTH]);
    let x: Vec<T> = benches::numbers(LENGTH, 1);
    let (mut y, mut copied, mut total) = (vec![T::ZERO; LENGTH], vec![T::ZERO; LENGTH], [T::ZERO]);
    let compile = |p: Program| p.compile::<T>().expect("a compiled chain");
    let map = compile(trace(&[("x", ty.clone())], |_, x| vec![("y", chain(&x[0]))]).expect("a chain"));
    let sum = compile(trace(&[("x", ty)], |_, x| vec![("y", chain(&x[0]).sum_all())]).expect("a chain"));
    let inputs = [&x[..]];
    let mut entries = vec![
        Entry::new("chain", runner(&map, &inputs, &mut y, par)),
        Entry::new("chain, added up", runner(&sum, &inputs, &mut total, par)),
        Entry::new("one read and one write", || match par.degree() {
            1 => copied.copy_from_slice(&x),
            _ => {
                let (low, high) = copied.split_at_mut(LENGTH / 2);
                rayon::join(|| low.copy_from_slice(&x[..LENGTH / 2]), || high.copy_from_slice(&x[LENGTH / 2..]));
            }
        }),
        Entry::new("one read", || {
            spread(par, LENGTH, |from, to| {
                black_box(x[from..to].chunks(BLOCK).map(simd::max).fold(T::ZERO, |a, b| if b > a { b } else { a }));
            });
        }),
        Entry::new("kernels on a block", || {
            spread(par, LENGTH / BLOCK, |from, to| {
                let (mut a, mut b) = ([T::ZERO; BLOCK], [T::ZERO; BLOCK]);
                (from..to).for_each(|_| kernels(black_box(&x[..BLOCK]), black_box(&mut a), black_box(&mut b)));
            });
        }),
    ];
    let t = alternate(options.rounds, &mut entries);
    let limit = |i: usize| -> Vec<f64> { t[i].iter().zip(&t[4]).map(|(a, b)| a + b).collect() };
    for (i, limit) in [(0, limit(2)), (1, limit(3))] {
        let name = format!("{}, {} on {threads} threads", entries[i].name, T::DTYPE);
        report(options, &name, ("of the limit", ratio(&t[i], &limit), 1.2), median(&t[i]), "chain");
        println!("{:44} of the best times {:.3}", "", best(&t[i]) / best(&limit));
    }
}

/// Programs whose nodes do next to nothing: one fused run, a step for every node, and a small network's gradient.
fn tiny<T: Scalar>(options: &Options) {
    let square = TensorType::real(&[4, 4]);
    let ports = [("x", square.clone()), ("w", square)];
    let fused = trace(&ports, |_, t| vec![("y", (0..32).fold(t[0].clone(), |y, _| (y + &t[1]).sin()))]);
    let apart = trace(&ports, |_, t| vec![("y", (0..32).fold(t[0].clone(), |y, _| y.matmul(&t[1]).tanh()))]);
    let slope = trace(&ports, |_, t| {
        let y = (0..8).fold(t[0].clone(), |y, _| (y.matmul(&t[1].t()) + t[1].slice(0, 0, 1).reshape(&[4])).tanh());
        vec![("loss", (&y * &y).sum_all())]
    })
    .and_then(|p| p.grad(&[1]));
    let cases =
        [("64 nodes in one run", fused), ("32 products and 32 functions", apart), ("gradient of 8 layers", slope)];
    let data: [Vec<T>; 2] = [benches::numbers(16, 1), benches::numbers(16, 2)];
    let inputs = [&data[0][..], &data[1][..]];
    for (name, program) in cases {
        let program = program.expect("a program");
        let exe = program.compile::<T>().expect("a compiled program");
        let nodes = exe.program().nodes().len() - 2;
        let mut out = vec![T::ZERO; exe.output_types().map(TensorType::numel).sum()];
        let mut run = runner(&exe, &inputs, &mut out, Par::Seq);
        let many = || (0..1000).for_each(|_| run());
        let t = alternate(options.rounds, &mut [Entry::new(name, many)]);
        let nanoseconds = 1e9 * best(&t[0]) / 1000.0 / nodes as f64;
        let name = format!("{name} ({nodes} nodes, {} steps), {}", exe.steps(), T::DTYPE);
        report(options, &name, ("ns per node", nanoseconds, 300.0), median(&t[0]) / 1000.0, "tiny");
    }
}

/// Two convolutions, pooling and a linear layer on 64 images 3 x 32 x 32.
const CONVOLUTIONS: &str = r#"{"model_type": "sequential", "input": [3, 32, 32], "layers": [
    {"type": "conv2d", "in": 3, "out": 32, "kernel": 3, "padding": 1}, {"type": "relu"}, {"type": "avgpool2d", "kernel": 2},
    {"type": "conv2d", "in": 32, "out": 64, "kernel": 3, "padding": 1}, {"type": "relu"}, {"type": "avgpool2d", "kernel": 2},
    {"type": "flatten"}, {"type": "linear", "in": 4096, "out": 10}]}"#;
const IMAGES: usize = 64;

fn convolutions<T: Scalar>(options: &Options, threads: usize) {
    let par = par(threads);
    let model = Sequential::from_json(CONVOLUTIONS).expect("a valid model");
    let program = model.trace_loss(IMAGES, &Loss::cross_entropy(), false).expect("a loss");
    let exe = program.value_and_grad(&[0]).and_then(|p| p.compile::<T>()).expect("a compiled gradient");
    let params: Vec<T> = model.init(0);
    let x: Vec<T> = benches::numbers(IMAGES * 3 * 32 * 32, 1);
    let y: Vec<i64> = (0..IMAGES).map(benches::perceptron::label).collect();
    let inputs = [Input::Real(&params), Input::Real(&x), Input::Int(&y)];
    let (mut value, mut slope) = ([T::ZERO], vec![T::ZERO; params.len()]);
    let mut workspace = Workspace::with_par(par);
    // Forward, weights, and (but for the first layer) inputs: positions x inner x channels.
    let (first, second, last) = (IMAGES * 32 * 32, IMAGES * 16 * 16, IMAGES);
    let mut products = benches::perceptron::products_of::<T>(
        &[
            (first, 27, 32),
            (32, first, 27),
            (second, 288, 64),
            (64, second, 288),
            (second, 64, 288),
            (last, 4096, 10),
            (10, last, 4096),
            (last, 10, 4096),
        ],
        par,
    );
    let t = alternate(
        options.rounds,
        &mut [
            Entry::new("compiled", || {
                let mut outputs = [Output::Real(&mut value), Output::Real(&mut slope)];
                exe.run(&mut workspace, &inputs, &mut outputs).expect("a run");
            }),
            Entry::new("products", &mut products),
        ],
    );
    let name = format!("convolutions, gradient, {} on {threads} threads", T::DTYPE);
    report(options, &name, ("of the products", ratio(&t[0], &t[1]), f64::NAN), median(&t[0]), "convolutions");
    println!("{:44} workspace {:.1} MiB", "", exe.workspace_bytes() as f64 / f64::from(1 << 20));
    if options.steps {
        let mut outputs = [Output::Real(&mut value), Output::Real(&mut slope)];
        println!("{}", exe.profile(&mut workspace, &inputs, &mut outputs, options.rounds).expect("a profile"));
    }
}

fn measure<T: Scalar>(options: &Options) {
    tiny::<T>(options);
    for &threads in &options.threads {
        elementwise::<T>(options, threads);
        convolutions::<T>(options, threads);
    }
}

fn main() {
    let options = Options::read(11);
    for dtype in &options.dtypes {
        if dtype == "f32" { measure::<f32>(&options) } else { measure::<f64>(&options) }
    }
}
