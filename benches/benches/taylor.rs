//! Operators of a network (D-768-768-512-512-1, tanh) by their strategies, beside the matrix products that the fastest cannot do
//! without: Laplacian (D = 50), the parameter gradient of its mean square, biharmonic (D = 5), and both from random directions.
//!
//! Every round runs all once, one after the other; a figure is the median over rounds of a quotient, the quotient of the best times
//! follows in brackets. Aims: from 32 points on, collapsed at most 1.15 times its products; at most 0.55 times standard Taylor mode and
//! nested derivatives.
//!
//! `cargo bench --bench taylor -- [--quick] [--only laplacian|gradient|biharmonic|stochastic] [--rounds N] [--threads N]
//! [--dtype f64|f32] [--points N,N,..] [--chunk N,..] [--json] [--processor] [--steps]`; with `--processor` it counts seconds that are spent on
//! processors, for a machine that others use too; with `--steps` it prints what each step of one chunk's programs takes, and their memory.

use autodiff::pde::{Operator, Scheme, Strategy};
use autodiff::{Input, Output, Program, Workspace};
use benches::options::{Options, par};
use benches::rounds::{Entry, alternate, alternate_processor, best, median, ratio};
use benches::taylor::{Setting, widths};
use faer::Accum;
use faer::linalg::matmul::matmul;
use numerics::{Mat, Par, Scalar};

/// Coordinates of the points.
const DIM: usize = 50;
/// Data whose products are made at a time for comparison.
const PRODUCTS: usize = 32;

/// The products of a network whose layers multiply this many vectors per datum, `PRODUCTS` data at a time, in faer's best layouts.
fn products<T: Scalar>(widths: &[usize], vectors: &[usize], n: usize, par: Par) -> impl FnMut() + use<T> {
    let (at_once, times) = (n.min(PRODUCTS), n.div_ceil(PRODUCTS));
    let mut list: Vec<(Mat<T>, Mat<T>, Mat<T>)> = Vec::new();
    for (w, v) in widths.windows(2).zip(vectors) {
        let fill = |r: usize, c: usize, s: u64| {
            let data = benches::numbers::<T>(r * c, s);
            Mat::from_fn(r, c, |i, j| data[j * r + i])
        };
        list.push((fill(w[1], w[0], 2), fill(w[0], v * at_once, 3), Mat::zeros(w[1], v * at_once)));
    }
    move || {
        for _ in 0..times {
            for (w, x, y) in &mut list {
                matmul(y.as_mut(), Accum::Replace, w.as_ref(), x.as_ref(), T::ONE, par);
            }
        }
    }
}

/// Vectors per datum in each layer: the first sees the point, the last the value of the operator and what it is made of.
fn vectors(hidden: usize) -> [usize; 5] {
    [1, hidden, hidden, hidden, 2]
}

/// What each step of a program takes for one chunk.
fn steps<T: Scalar>(s: &Setting<T>, name: &str, make: impl Fn(usize) -> Program) {
    let rows = s.chunk.min(s.n);
    let program = make(rows).stack().and_then(|p| p.recompute()).expect("a program");
    let exe = program.compile::<T>().expect("a compiled program");
    let given: Vec<Vec<T>> = exe.input_types().zip(7..).map(|(ty, k)| benches::numbers(ty.numel(), k)).collect();
    let mut made: Vec<Vec<T>> = exe.output_types().map(|ty| vec![T::ZERO; ty.numel()]).collect();
    let inputs: Vec<Input<'_, T>> = given.iter().map(|x| Input::Real(x)).collect();
    let mut outputs: Vec<Output<'_, T>> = made.iter_mut().map(|x| Output::Real(x)).collect();
    let room = exe.workspace_bytes() as f64 / f64::from(1 << 20);
    let mut workspace = Workspace::with_par(s.par);
    let profile = exe.profile(&mut workspace, &inputs, &mut outputs, 10).expect("a run");
    println!("{name}, {rows} points at a time, {room:.2} MiB\n{profile}");
}

/// One measurement: the first entry against all others.
fn report<T: Scalar>(options: &Options, what: &str, threads: usize, n: usize, entries: &mut [Entry<'_>]) {
    let on_processors = std::env::args().any(|a| a == "--processor");
    let times = if on_processors { alternate_processor } else { alternate };
    let seconds = times(options.rounds, entries);
    print!(
        "{what} {} on {threads} threads, N = {n}: {} {:.3} ms",
        T::DTYPE,
        entries[0].name,
        1e3 * median(&seconds[0])
    );
    let mut line = serde_json::json!({
        "name": what, "dtype": T::DTYPE.name(), "threads": threads, "points": n, "rounds": options.rounds,
        "seconds": median(&seconds[0]),
    });
    for (entry, times) in entries[1..].iter().zip(&seconds[1..]) {
        let (by_round, by_best) = (ratio(&seconds[0], times), best(&seconds[0]) / best(times));
        print!("; / {} {by_round:.3} ({by_best:.3})", entry.name);
        line[&entry.name] = serde_json::json!({"ratio": by_round, "ratio_of_best": by_best});
    }
    println!();
    if options.json {
        println!("{line}");
    }
}

fn laplacian<T: Scalar>(options: &Options, threads: usize, n: usize, chunk: usize) {
    let s = &Setting::<T>::new(DIM, n, chunk, par(threads));
    let kinds = [Strategy::Collapsed, Strategy::Taylor, Strategy::Nested];
    if options.steps {
        let of = |k| move |rows: usize| s.pde(rows, &Operator::Laplacian, k).expect("a program");
        return kinds[..2].iter().for_each(|&k| steps(s, &format!("laplacian {k:?} {}", T::DTYPE), of(k)));
    }
    let [mut a, mut b, mut c] = kinds.map(|k| s.value(&Operator::Laplacian, k).expect("a compiled program"));
    let mut entries = [
        Entry::new("collapsed", || a.run(s).expect("a run")),
        Entry::new("products", products::<T>(&widths(DIM), &vectors(DIM + 2), n, s.par)),
        Entry::new("standard", || b.run(s).expect("a run")),
        Entry::new("nested", || c.run(s).expect("a run")),
    ];
    report::<T>(options, "laplacian", threads, n, &mut entries);
}

fn gradient<T: Scalar>(options: &Options, threads: usize, n: usize, chunk: usize) {
    let s = &Setting::<T>::new(DIM, n, chunk, par(threads));
    if options.steps {
        let of = |k| move |rows: usize| s.slope(rows, &Operator::Laplacian, k).expect("a program");
        let kinds = [Strategy::Collapsed, Strategy::Taylor];
        return kinds.iter().for_each(|&k| steps(s, &format!("gradient {k:?} {}", T::DTYPE), of(k)));
    }
    let [mut a, mut b] = [Strategy::Collapsed, Strategy::Nested]
        .map(|k| s.gradient(&Operator::Laplacian, k).expect("a compiled program"));
    let mut one = products::<T>(&widths(DIM), &vectors(DIM + 2), n, s.par);
    let mut entries = [
        Entry::new("collapsed", || a.run(s).expect("a run")),
        // Backward there are two products for every one.
        Entry::new("products", || (0..3).for_each(|_| one())),
        Entry::new("nested", || b.run(s).expect("a run")),
    ];
    report::<T>(options, "gradient", threads, n, &mut entries);
}

fn biharmonic<T: Scalar>(options: &Options, threads: usize, n: usize, chunk: usize) {
    let s = &Setting::<T>::new(5, n, chunk, par(threads));
    if options.steps {
        let direct = Operator::Biharmonic(Scheme::Direct);
        steps(s, &format!("biharmonic direct {}", T::DTYPE), |rows| {
            s.pde(rows, &direct, Strategy::Auto).expect("a program")
        });
        let slope = |rows: usize| s.slope(rows, &direct, Strategy::Auto).expect("a program");
        return steps(s, &format!("gradient of biharmonic direct {}", T::DTYPE), slope);
    }
    let case = |scheme, strategy| s.value(&Operator::Biharmonic(scheme), strategy).expect("a compiled program");
    let mut direct = case(Scheme::Direct, Strategy::Auto);
    let mut symmetric = case(Scheme::Symmetric, Strategy::Collapsed);
    let mut interpolated = case(Scheme::Interpolated, Strategy::Collapsed);
    let mut standard = case(Scheme::Interpolated, Strategy::Taylor);
    let mut entries = [
        Entry::new("direct", || direct.run(s).expect("a run")),
        Entry::new("products", products::<T>(&widths(5), &vectors(27), n, s.par)),
        Entry::new("symmetric", || symmetric.run(s).expect("a run")),
        Entry::new("interpolated", || interpolated.run(s).expect("a run")),
        Entry::new("interpolated standard", || standard.run(s).expect("a run")),
    ];
    report::<T>(options, "biharmonic", threads, n, &mut entries);
}

/// Random directions: `S` of them, shared by all points.
fn stochastic<T: Scalar>(options: &Options, threads: usize, n: usize, chunk: usize, order: usize, samples: usize) {
    let d = if order == 2 { DIM } else { 5 };
    let mut s = Setting::<T>::new(d, n, chunk, par(threads));
    s.directions = Some((benches::numbers(samples * d, 5), vec![T::from_f64(1.0 / samples as f64); samples]));
    let s = &s;
    let operator = Operator::Directional { order, directions: samples, per_datum: false };
    if options.steps {
        let (s, operator) = (s, &operator);
        let of = |k| move |rows: usize| s.pde(rows, operator, k).expect("a program");
        let kinds = [Strategy::Collapsed, Strategy::Taylor];
        return kinds.iter().for_each(|&k| steps(s, &format!("order {order}, {samples} samples, {k:?}"), of(k)));
    }
    let [mut a, mut b] =
        [Strategy::Collapsed, Strategy::Taylor].map(|k| s.value(&operator, k).expect("a compiled program"));
    let mut entries =
        [Entry::new("collapsed", || a.run(s).expect("a run")), Entry::new("standard", || b.run(s).expect("a run"))];
    report::<T>(options, &format!("stochastic order {order}, {samples} samples"), threads, n, &mut entries);
}

fn all<T: Scalar>(options: &Options, threads: usize, points: &[usize], chunks: &[usize], only: Option<&String>) {
    let wanted = |name: &str| only.is_none_or(|o| o == name);
    for &chunk in chunks {
        for &n in points {
            if wanted("laplacian") {
                laplacian::<T>(options, threads, n, chunk);
            }
        }
        // The dearer ones at the middle number of points.
        let n = points[points.len() / 2];
        if wanted("gradient") {
            gradient::<T>(options, threads, n, chunk);
        }
        if wanted("biharmonic") {
            biharmonic::<T>(options, threads, n, chunk);
        }
        if wanted("stochastic") {
            [8, 16, 32, 50].into_iter().for_each(|samples| stochastic::<T>(options, threads, n, chunk, 2, samples));
            [8, 16, 36].into_iter().for_each(|samples| stochastic::<T>(options, threads, n, chunk, 4, samples));
        }
    }
}

fn main() {
    let options = Options::read(7);
    let args: Vec<String> = std::env::args().collect();
    let after = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1));
    let list = |name: &str, default: &[usize]| -> Vec<usize> {
        after(name).map_or(default.to_vec(), |text| text.split(',').map(|n| n.parse().expect("numbers")).collect())
    };
    let quick = args.iter().any(|a| a == "--quick");
    let points = list("--points", if quick { &[1, 32] } else { &[1, 8, 32, 128, 512, 2048] });
    let chunks = list("--chunk", &[8]);
    for &threads in &options.threads {
        for dtype in &options.dtypes {
            let run = if dtype == "f32" { all::<f32> } else { all::<f64> };
            run(&options, threads, &points, &chunks, after("--only"));
        }
    }
}
