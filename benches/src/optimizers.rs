//! One step of an optimiser, the same for the criterion benchmark and for the comparison with other systems: shapes, methods,
//! gradients, and the flops that a method's products take.

use numerics::dense::panels::{self, Bf16, Line, Out, PanelsMut};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, Par, Scalar, dense, simd};
use optim::{Grads, Method, Optimizer, ParamGroup, ParamList, Precision};
use std::hint::black_box;
use std::time::Instant;

/// Steps between refreshes, and so the steps of one repetition.
pub const PERIOD: usize = 10;
/// Gradients that take turns.
const GRADIENTS: usize = 3;

/// A method by the name of a case, with the recommended settings and a refresh every [`PERIOD`] steps.
///
/// `soap`, `kl-shampoo`, `shampoo`, `muon`, `adamw`, and any other name of [`Method::NAMES`]; a suffix `-dense` gives long axes a
/// dense factor too, a suffix `-reference` takes the published settings, a suffix `-bfloat16` iterates in that
/// precision (Muon).
pub fn method(case: &str) -> Option<Method> {
    let (name, dense) = case.strip_suffix("-dense").map_or((case, false), |n| (n, true));
    let (name, half) = name.strip_suffix("-bfloat16").map_or((name, false), |n| (n, true));
    let (name, published) = name.strip_suffix("-reference").map_or((name, false), |n| (n, true));
    let mut method = Method::named(name, published)?;
    let longest = if dense { usize::MAX } else { 2048 };
    match &mut method {
        Method::Kron(c) => {
            c.period = PERIOD as u64;
            c.layout.max_dim = longest;
        }
        Method::Shampoo(c) => {
            c.period = PERIOD as u64;
            c.beta2 = 0.98;
            c.eps = 1e-6;
            c.layout = optim::Layout { max_dim: longest, ..optim::Layout::default() };
        }
        Method::Muon(c) if half => c.precision = Precision::Bfloat16,
        _ if half => return None,
        _ => {}
    }
    Some(method)
}

/// Floating-point operations of the products of one step of an `m x n` matrix, without refreshes and roots; `None` for
/// methods that are bound by memory.
///
/// Kronecker methods with rotated storage: gradient into the basis and direction out of it, `2mn(m + n)` each, and two
/// symmetric statistics `mn(m + n)` together. Shampoo: statistics, and the roots applied. Muon: five quintic steps on the
/// smaller side, symmetric products counted half. An axis without a dense factor takes no part.
pub fn flops(method: &Method, m: usize, n: usize) -> Option<f64> {
    let (a, b) = (m as f64, n as f64);
    let dense = |side: usize, layout: &optim::Layout| f64::from(u8::from(side <= layout.max_dim));
    let sides = |layout: &optim::Layout| dense(m, layout) * a + dense(n, layout) * b;
    match method {
        Method::Kron(c) => Some(5.0 * a * b * sides(&c.layout)),
        Method::Shampoo(c) => Some(3.0 * a * b * sides(&c.layout)),
        Method::Muon(c) => {
            let (small, large) = (a.min(b), a.max(b));
            Some(f64::from(c.iterations) * (3.0 * small * small * large + small.powi(3)))
        }
        _ => None,
    }
}

/// Steps before anything is timed. Any [`PERIOD`] steps after the first contain one refresh.
fn warm_up(shapes: &[Vec<usize>]) -> usize {
    let work: f64 = shapes.iter().map(|s| s.iter().product::<usize>() as f64 * s.iter().sum::<usize>() as f64).sum();
    if work > 4e9 { 2 } else { 2 * PERIOD + 1 }
}

/// Seconds that products take for as many flops as a step of the method, or a pass over the memory that a step of a method
/// without products touches: the machine's limit. Products are in the precision that the method has them in. `None` for lists of tensors of a matrix method.
pub fn limit<T: Scalar>(method: &Method, shapes: &[Vec<usize>], par: Par) -> Option<f64> {
    let Some((m, n, flops)) = (match shapes {
        [shape] if shape.len() == 2 => flops(method, shape[0], shape[1]).map(|f| (shape[0], shape[1], f)),
        _ => None,
    }) else {
        let plain = matches!(method, Method::AdamW(_));
        return plain.then(|| pass::<T>(shapes.iter().map(|s| s.iter().product::<usize>()).sum()));
    };
    let (rows, inner) = (m.max(n), m.min(n));
    let fill = |r: usize, c: usize| Mat::<T>::from_fn(r, c, |i, j| T::from_f64(((i * 7 + j * 3) as f64).sin()));
    let (x, y, mut out) = (fill(rows, inner), fill(inner, inner), Mat::zeros(rows, inner));
    let one = 2.0 * rows as f64 * (inner * inner) as f64;
    let count = (flops / one).ceil() as usize;
    if matches!(method, Method::Muon(c) if c.precision == Precision::Bfloat16) {
        return Some(median_time(count, &mut half_product(x.as_ref(), y.as_ref(), par)) * flops / one);
    }
    let mut product = || dense::gemm(out.as_mut(), T::ONE, x.as_ref(), y.as_ref(), T::ZERO, par);
    Some(median_time(count, &mut product) * flops / one)
}

/// The product with the transpose of the second factor, in bfloat16.
pub fn half_product<T: Scalar>(x: MatRef<'_, T>, y: MatRef<'_, T>, par: Par) -> impl FnMut() {
    let packed = |a: MatRef<'_, T>| {
        let mut memory = vec![Line::ZERO; panels::lines::<Bf16>(a.nrows(), a.ncols())];
        PanelsMut::<Bf16>::new(&mut memory, a.nrows(), a.ncols()).pack(a, T::ONE);
        memory
    };
    let (rows, inner, cols) = (x.nrows(), x.ncols(), y.nrows());
    let (mut x, mut y, mut out) = (packed(x), packed(y), vec![Line::ZERO; panels::lines::<Bf16>(rows, cols)]);
    move || {
        let (x, y) = (PanelsMut::<Bf16>::new(&mut x, rows, inner), PanelsMut::new(&mut y, cols, inner));
        let out = Out { by_rows: Some(PanelsMut::new(&mut out, rows, cols)), by_columns: None };
        panels::product(out, 1.0, x.view(), y.view(), None, par);
    }
}

/// Seconds of a pass that reads and writes three arrays and reads a fourth.
fn pass<T: Scalar>(len: usize) -> f64 {
    let [mut w, mut m, mut v] = [(); 3].map(|()| vec![T::ONE; len]);
    let g = vec![T::from_f64(1e-3); len];
    let mut add = || {
        simd::wide(|| {
            for (((w, m), v), g) in w.iter_mut().zip(&mut m).zip(&mut v).zip(&g) {
                *m += *g;
                *v += *g;
                *w += *g;
            }
        });
        black_box((&w, &m, &v));
    };
    median_time(PERIOD, &mut add)
}

/// Median over repetitions of half a second in all of the time of one of `count` calls.
fn median_time(count: usize, f: &mut dyn FnMut()) -> f64 {
    let (begun, count, mut times) = (Instant::now(), count.max(1), Vec::new());
    f();
    while times.is_empty() || begun.elapsed().as_secs_f64() < 0.5 {
        let started = Instant::now();
        (0..count).for_each(|_| f());
        times.push(started.elapsed().as_secs_f64() / count as f64);
    }
    crate::rounds::median(&times)
}

/// An optimiser with parameters and gradients of its own.
pub struct Stepper<T: Scalar> {
    optimizer: Box<dyn Optimizer<T>>,
    params: Vec<T>,
    gradients: Vec<Vec<T>>,
    done: usize,
}

impl<T: Scalar> Stepper<T> {
    /// Parameters of these shapes, warmed up over two refreshes, or where a step takes seconds past the first call.
    ///
    /// # Errors
    /// A method that refuses its settings or a gradient.
    pub fn new(method: &Method, shapes: &[Vec<usize>], par: Par) -> Result<Self, optim::Error> {
        let mut list = ParamList::new();
        let all = list.add_group(ParamGroup::new("all"));
        for (i, shape) in shapes.iter().enumerate() {
            list.push(format!("w{i}"), shape, all)?;
        }
        let mut optimizer = method.build_with(par)?;
        optimizer.init(&list)?;
        let numbers = |stream: u64| {
            let mut x = vec![T::ZERO; list.len()];
            Stream::new(0, Role::SyntheticMatrix, stream, 0).fill_normal(&mut x);
            x.iter_mut().for_each(|x| *x *= T::from_f64(1e-2));
            x
        };
        let gradients = (1..=GRADIENTS as u64).map(numbers).collect();
        let mut new = Stepper { optimizer, params: numbers(0), gradients, done: 0 };
        new.steps(warm_up(shapes))?;
        Ok(new)
    }

    /// Takes some steps.
    ///
    /// # Errors
    /// Decompositions that fail again and again.
    pub fn steps(&mut self, count: usize) -> Result<(), optim::Error> {
        for _ in 0..count {
            let gradient = &self.gradients[self.done % GRADIENTS];
            self.optimizer.step(&mut self.params, Grads::all(gradient), 1.0)?;
            self.done += 1;
        }
        Ok(())
    }

    /// The parameters.
    pub fn params(&self) -> &[T] {
        &self.params
    }
}

/// Shapes by the name of a case: `512x768`, or `many` for 200 matrices 32 x 32 with a vector of 32 each.
pub fn shapes(case: &str) -> Option<Vec<Vec<usize>>> {
    if case == "many" {
        return Some((0..200).flat_map(|_| [vec![32, 32], vec![32]]).collect());
    }
    let sides: Option<Vec<usize>> = case.split('x').map(|s| s.parse().ok().filter(|&n| n > 0)).collect();
    sides.map(|shape| vec![shape])
}
