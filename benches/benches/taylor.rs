//! The Laplacian of a network (50-768-768-512-512-1, tanh) by its strategies, beside the matrix products that the collapsed one
//! cannot do without.
//!
//! Every round runs all once, one after the other. Aims: collapsed at most 1.15 times its products from 32 points on, at most
//! 0.55 times standard Taylor mode, at most 0.55 times nested derivatives.
//!
//! `cargo bench --bench taylor -- [--rounds N] [--threads N] [--dtype f64|f32] [--points N] [--json] [--steps]`

use autodiff::nn::Sequential;
use autodiff::pde::{Chunked, Operator, Pde, Strategy};
use autodiff::{Input, Output, Program, trace};
use benches::options::{Options, par};
use benches::rounds::{Entry, alternate, best, median, ratio};
use faer::Accum;
use faer::linalg::matmul::matmul;
use numerics::{Mat, Par, Scalar};

const WIDTHS: [usize; 6] = [50, 768, 768, 512, 512, 1];

fn model(widths: &[usize]) -> Sequential {
    let mut layers = Vec::new();
    for (i, w) in widths.windows(2).enumerate() {
        if i > 0 {
            layers.push(r#"{"type": "tanh"}"#.to_owned());
        }
        layers.push(format!(r#"{{"type": "linear", "in": {}, "out": {}, "bias": true}}"#, w[0], w[1]));
    }
    let layers = layers.join(", ");
    Sequential::from_json(&format!(r#"{{"model_type": "sequential", "input": [{}], "layers": [{layers}]}}"#, widths[0]))
        .expect("a valid model")
}

/// What is evaluated: a program per number of points, run in chunks.
struct Case<T> {
    chunked: Chunked<T>,
    outputs: Vec<Vec<T>>,
}

/// The model, its parameters, and the points.
struct Setting<T> {
    model: Sequential,
    params: Vec<T>,
    x: Vec<T>,
    n: usize,
    chunk: usize,
    par: Par,
}

impl<T: Scalar> Setting<T> {
    fn new(widths: &[usize], n: usize, chunk: usize, par: Par) -> Self {
        let model = model(widths);
        let params = model.init(0);
        Setting { model, params, x: benches::numbers(n * widths[0], 1), n, chunk, par }
    }

    fn pde(&self, rows: usize, operator: &Operator, strategy: Strategy) -> Program {
        let model = self.model.trace_model(rows).expect("a model");
        let pde = Pde::new(&model, 1).strategy(strategy).operator("operator", operator.clone());
        pde.build().expect("a program")
    }

    fn value(&self, operator: &Operator, strategy: Strategy) -> Case<T> {
        let make = |rows: usize| Ok::<_, autodiff::Error>(self.pde(rows, operator, strategy));
        Case {
            chunked: Chunked::new(self.n, self.chunk, make).expect("a compiled program"),
            outputs: vec![vec![T::ZERO; self.n]],
        }
    }

    fn gradient(&self, operator: &Operator, strategy: Strategy) -> Case<T> {
        let make = |rows: usize| {
            let operator = self.pde(rows, operator, strategy);
            let ports = [("params", operator.input_type(0).clone()), ("x", operator.input_type(1).clone())];
            let scale = 0.5 / self.n as f64;
            let loss = trace(&ports, |t, x| {
                vec![("loss", t.call(&operator, &[&x[0], &x[1]]).swap_remove(0).powf(2.0).sum_all() * scale)]
            })?;
            loss.value_and_grad(&[0])?.simplify()
        };
        let outputs = vec![vec![T::ZERO], vec![T::ZERO; self.params.len()]];
        Case { chunked: Chunked::new(self.n, self.chunk, make).expect("a compiled program"), outputs }
    }
}

impl<T: Scalar> Case<T> {
    fn run(&mut self, s: &Setting<T>) {
        let inputs = [Input::Real(&s.params), Input::Real(&s.x)];
        let mut outputs: Vec<Output<'_, T>> = self.outputs.iter_mut().map(|x| Output::Real(x)).collect();
        self.chunked.run(s.par, &inputs, &mut outputs).expect("a run");
    }
}

/// The products of a network whose layers multiply this many vectors per datum, all data of a chunk at once.
fn products<T: Scalar>(widths: &[usize], vectors: &[usize], n: usize, par: Par) -> impl FnMut() {
    let mut list: Vec<(Mat<T>, Mat<T>, Mat<T>)> = Vec::new();
    for (w, v) in widths.windows(2).zip(vectors) {
        let fill = |r: usize, c: usize, s: u64| {
            let data = benches::numbers::<T>(r * c, s);
            Mat::from_fn(r, c, |i, j| data[j * r + i])
        };
        list.push((fill(w[1], w[0], 2), fill(w[0], v * n, 3), Mat::zeros(w[1], v * n)));
    }
    move || {
        for (w, x, y) in &mut list {
            matmul(y.as_mut(), Accum::Replace, w.as_ref(), x.as_ref(), T::ONE, par);
        }
    }
}

fn laplacian<T: Scalar>(options: &Options, threads: usize, n: usize, chunk: usize) {
    let par = par(threads);
    let setting = Setting::<T>::new(&WIDTHS, n, chunk, par);
    let kinds = [Strategy::Collapsed, Strategy::Taylor, Strategy::Nested];
    let mut cases = kinds.map(|k| setting.value(&Operator::Laplacian, k));
    let (s, vectors) = (&setting, [1, 52, 52, 52, 2]);
    let seconds = {
        let [a, b, c] = &mut cases;
        let mut entries = [
            Entry::new("collapsed", || a.run(s)),
            Entry::new("standard", || b.run(s)),
            Entry::new("nested", || c.run(s)),
            Entry::new("products", products::<T>(&WIDTHS, &vectors, n, par)),
        ];
        alternate(options.rounds, &mut entries)
    };
    println!(
        "{} {threads} threads N={n} chunk {chunk}: collapsed {:.3} ms; collapsed/products {:.3} ({:.3} best), /standard {:.3}, /nested {:.3}",
        T::DTYPE,
        1e3 * median(&seconds[0]),
        ratio(&seconds[0], &seconds[3]),
        best(&seconds[0]) / best(&seconds[3]),
        ratio(&seconds[0], &seconds[1]),
        ratio(&seconds[0], &seconds[2]),
    );
}

fn gradient<T: Scalar>(options: &Options, threads: usize, n: usize, chunk: usize) {
    let par = par(threads);
    let setting = Setting::<T>::new(&WIDTHS, n, chunk, par);
    let mut case = setting.gradient(&Operator::Laplacian, Strategy::Collapsed);
    let (s, vectors) = (&setting, [1, 52, 52, 52, 2]);
    let seconds = {
        let mut one = products::<T>(&WIDTHS, &vectors, n, par);
        let mut entries =
            [Entry::new("collapsed", || case.run(s)), Entry::new("products", || (0..3).for_each(|_| one()))];
        alternate(options.rounds, &mut entries)
    };
    println!(
        "{} {threads} threads N={n} chunk {chunk}: gradient {:.3} ms; /3 products {:.3} ({:.3} best)",
        T::DTYPE,
        1e3 * median(&seconds[0]),
        ratio(&seconds[0], &seconds[1]),
        best(&seconds[0]) / best(&seconds[1]),
    );
}

fn main() {
    let options = Options::read(7);
    let args: Vec<String> = std::env::args().collect();
    let list = |name: &str, default: &[usize]| -> Vec<usize> {
        let given = args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
        given.map_or(default.to_vec(), |text| text.split(',').map(|n| n.parse().expect("numbers")).collect())
    };
    let (points, chunks) = (list("--points", &[1, 8, 32]), list("--chunk", &[8]));
    for &threads in &options.threads {
        for dtype in &options.dtypes {
            for &n in &points {
                for &c in &chunks {
                    if dtype == "f32" {
                        laplacian::<f32>(&options, threads, n, c)
                    } else {
                        laplacian::<f64>(&options, threads, n, c)
                    }
                    if dtype == "f32" {
                        gradient::<f32>(&options, threads, n, c)
                    } else {
                        gradient::<f64>(&options, threads, n, c)
                    }
                }
            }
        }
    }
}
