//! Every operator against the matrix that its definition gives, formed from the explicit Jacobian and the loss term by term.

use autodiff::nn::{CrossEntropy, Loss, Sequential};
use autodiff::{Array, Value};
use curvature::loss::{Target, TermLoss};
use curvature::{EfScale, Fisher, Granularity, Mode, Reduction, Risk, Supervised};
use linop_core::{LinearOperator, to_dense};
use numerics::rng::{Role, Stream};
use numerics::{Mat, MatRef, MemBuffer, MemStack, Par};

fn normals(stream: u64, n: usize) -> Vec<f64> {
    let mut x = vec![0.0; n];
    Stream::new(2, Role::SyntheticMatrix, stream, 0).fill_normal(&mut x);
    x
}

fn real(shape: &[usize], data: Vec<f64>) -> Value<f64> {
    Value::Real(Array::new(shape, data).unwrap())
}

fn dense(op: &dyn LinearOperator<f64>) -> Mat<f64> {
    to_dense(op, Par::Seq).unwrap()
}

fn assert_close(what: &str, a: MatRef<'_, f64>, b: MatRef<'_, f64>, tol: f64) {
    assert_eq!((a.nrows(), a.ncols()), (b.nrows(), b.ncols()), "{what}");
    let entries = || (0..b.nrows()).flat_map(|i| (0..b.ncols()).map(move |j| (i, j)));
    let scale = entries().map(|at| b[at].abs()).fold(1e-300, f64::max);
    for at in entries() {
        assert!((a[at] - b[at]).abs() <= tol * scale, "{what} {at:?}: {} against {}", a[at], b[at]);
    }
}

const CLASSES: usize = 3;
const DATA: usize = 9;

/// What a case is made of: a model with `positions` loss terms a datum, a loss, its targets, weights.
struct Case {
    name: &'static str,
    model: Sequential,
    loss: Loss,
    positions: usize,
    targets: Value<f64>,
    weights: Option<Vec<f64>>,
}

const MIXED: &str = r#"{"model_type": "sequential", "input": [2, 4], "layers": [
    {"type": "linear", "in": 4, "out": 4, "bias": true}, {"type": "tanh"},
    {"type": "linear", "in": 4, "out": 3, "bias": false}]}"#;

const PLAIN: &str = r#"{"model_type": "sequential", "input": [4], "layers": [
    {"type": "linear", "in": 4, "out": 4, "bias": true}, {"type": "tanh"},
    {"type": "linear", "in": 4, "out": 3, "bias": true}]}"#;

const IMAGES: &str = r#"{"model_type": "sequential", "input": [2, 4, 3], "layers": [
    {"type": "conv2d", "in": 2, "out": 2, "kernel": 3, "stride": 1, "padding": 1, "bias": false}, {"type": "tanh"},
    {"type": "conv2d", "in": 2, "out": 3, "kernel": 2, "stride": 1, "padding": 0, "bias": true}]}"#;

fn labels(shape: &[usize], ignored: bool) -> Value<f64> {
    let label = |i: usize| if ignored && i % 4 == 1 { -100 } else { (i * 7 % CLASSES) as i64 };
    Value::Int(Array::from_fn(shape, label))
}

fn cases() -> Vec<Case> {
    let model = |text: &str| Sequential::from_json(text).unwrap();
    let numbers = |shape: &[usize]| real(shape, normals(1, shape.iter().product()));
    let shares =
        |shape: &[usize]| real(shape, normals(2, shape.iter().product()).iter().map(|x| x.abs() % 1.0).collect());
    let classes = Loss::CrossEntropy(CrossEntropy {
        class_weights: Some(vec![0.5, 1.5, 2.0]),
        label_smoothing: 0.1,
        ..CrossEntropy::default()
    });
    let bce = Loss::Bce { pos_weight: Some(vec![0.5, 2.0, 3.0]) };
    let weights = Some(normals(3, DATA).iter().map(|x| x.abs()).collect::<Vec<_>>());
    let case = |name, text, loss, positions, targets, weights: &Option<Vec<f64>>| Case {
        name,
        model: model(text),
        loss,
        positions,
        targets,
        weights: weights.clone(),
    };
    vec![
        case("mse", PLAIN, Loss::mse(), 1, numbers(&[DATA, 3]), &weights),
        case("mse by position", MIXED, Loss::mse(), 2, numbers(&[DATA, 2, 3]), &None),
        case("labels", PLAIN, Loss::cross_entropy(), 1, labels(&[DATA], false), &None),
        case("labels by position", MIXED, classes, 2, labels(&[DATA, 2], true), &weights),
        case("labels of images", IMAGES, Loss::cross_entropy(), 6, labels(&[DATA, 3, 2], true), &weights),
        case("bce", PLAIN, bce, 1, shares(&[DATA, 3]), &weights),
        case("bce by position", MIXED, Loss::bce(), 2, shares(&[DATA, 2, 3]), &None),
    ]
}

fn cut(value: &Value<f64>, rows: std::ops::Range<usize>) -> Value<f64> {
    fn part<E: Copy>(a: &Array<E>, rows: std::ops::Range<usize>) -> Array<E> {
        let width: usize = a.shape()[1..].iter().product();
        let shape: Vec<usize> = std::iter::once(rows.len()).chain(a.shape()[1..].iter().copied()).collect();
        Array::new(&shape, a.data()[rows.start * width..rows.end * width].to_vec()).unwrap()
    }
    match value {
        Value::Real(a) => Value::Real(part(a, rows)),
        Value::Int(a) => Value::Int(part(a, rows)),
    }
}

impl Case {
    fn inputs(&self) -> Value<f64> {
        let shape: Vec<usize> = std::iter::once(DATA).chain(self.model.input_type().shape.iter().copied()).collect();
        real(&shape, normals(4, shape.iter().product()))
    }

    fn risk(&self, reduction: Reduction, cuts: &[usize]) -> Risk<f64> {
        let params = normals(5, self.model.params().total()).iter().map(|x| 0.7 * x).collect();
        let (inputs, mut start) = (self.inputs(), 0);
        let batches = cuts.iter().map(|&n| {
            let rows = start..start + n;
            start += n;
            let weights = self.weights.as_ref().map(|w| w[rows.clone()].to_vec());
            (cut(&inputs, rows.clone()), cut(&self.targets, rows), weights)
        });
        let problem = Supervised::new(self.model.clone(), self.loss.clone(), reduction);
        problem.risk(params, batches.collect()).unwrap()
    }

    fn whole(&self, reduction: Reduction) -> Risk<f64> {
        self.risk(reduction, &[DATA])
    }

    fn terms(&self) -> TermLoss {
        TermLoss::new(self.loss.clone(), CLASSES).unwrap()
    }

    /// Outputs `[terms, C]` at a point, the interpreter's.
    fn outputs(&self, params: &[f64]) -> Vec<f64> {
        let program = self.model.trace_model(DATA).unwrap();
        let point = real(&[params.len()], params.to_vec());
        let out = program.interpret(&[point, self.inputs()]).unwrap();
        let f = out[0].real().unwrap();
        match f.shape() {
            [n, c, h, w] => {
                let (c, hw) = (*c, h * w);
                (0..n * hw * c).map(|i| f.data()[(i / (hw * c) * c + i % c) * hw + i / c % hw]).collect()
            }
            _ => f.data().to_vec(),
        }
    }

    fn target(&self, term: usize) -> Target<'_, f64> {
        match &self.targets {
            Value::Int(a) => Target::Label(a.data()[term]),
            Value::Real(a) => Target::Row(&a.data()[term * CLASSES..(term + 1) * CLASSES]),
        }
    }

    /// `w_t` with the datum's weight.
    fn weight(&self, term: usize) -> f64 {
        let datum = self.weights.as_ref().map_or(1.0, |w| w[term / self.positions]);
        self.terms().weight(self.target(term)) * datum
    }

    /// `kappa sum_r g_r g_r^T` pulled back, from vectors over all outputs.
    fn outer(&self, jacobian: &Mat<f64>, scale: f64, vectors: &[Vec<f64>]) -> Mat<f64> {
        let p = jacobian.ncols();
        let mut sum = Mat::zeros(p, p);
        for g in vectors {
            let pulled: Vec<f64> = (0..p).map(|j| (0..g.len()).map(|i| jacobian[(i, j)] * g[i]).sum()).collect();
            for i in 0..p {
                for j in 0..p {
                    sum[(i, j)] += scale * pulled[i] * pulled[j];
                }
            }
        }
        sum
    }

    /// Vectors per loss term, put together by datum if asked for.
    fn vectors(&self, datum: bool, mut g: impl FnMut(usize, &mut [f64])) -> Vec<Vec<f64>> {
        let (terms, all) = (DATA * self.positions, DATA * self.positions * CLASSES);
        let mut list: Vec<Vec<f64>> = Vec::new();
        for t in 0..terms {
            if !datum || t % self.positions == 0 {
                list.push(vec![0.0; all]);
            }
            g(t, &mut list.last_mut().unwrap()[t * CLASSES..(t + 1) * CLASSES]);
        }
        list
    }
}

#[test]
fn jacobian_is_the_derivative_of_the_outputs() {
    for case in cases() {
        let risk = case.risk(Reduction::Mean, &[4, 5]);
        let op = risk.jacobian().unwrap();
        let j = dense(&op);
        assert_eq!((op.nrows(), op.ncols()), (DATA * case.positions * CLASSES, risk.dim()));
        let step = 1e-6;
        for k in 0..risk.dim() {
            let moved = |s: f64| {
                let mut p = risk.params().to_vec();
                p[k] += s;
                case.outputs(&p)
            };
            for (i, (a, b)) in moved(step).iter().zip(moved(-step)).enumerate() {
                let slope = (a - b) / (2.0 * step);
                assert!((j[(i, k)] - slope).abs() < 1e-8, "{} ({i}, {k}): {} against {slope}", case.name, j[(i, k)]);
            }
        }
        linop_core::testing::check_operator(&op, j.as_ref(), 1e-13);
    }
}

/// `kappa sum_t w_t J_t^T H_t J_t`, and the residual `H - GGN`.
#[test]
fn ggn_and_residual_are_what_they_are_defined_to_be() {
    for case in cases() {
        let reductions = [Reduction::Mean, Reduction::Sum, Reduction::Fixed(0.3)];
        // Every reduction with some case, every case with one.
        for reduction in reductions.into_iter().skip(case.name.len() % 3).take(1) {
            let risk = case.risk(reduction, &[2, 7]);
            let (j, f, terms) = (dense(&risk.jacobian().unwrap()), case.outputs(risk.params()), case.terms());
            let mut expected = Mat::zeros(risk.dim(), risk.dim());
            for t in 0..f.len() / CLASSES {
                let rows = j.subrows(t * CLASSES, CLASSES);
                for a in 0..risk.dim() {
                    let (mut hv, v) = ([0.0; CLASSES], [rows[(0, a)], rows[(1, a)], rows[(2, a)]]);
                    terms.hessian_product(&f[t * CLASSES..(t + 1) * CLASSES], case.target(t), &v, &mut hv);
                    for b in 0..risk.dim() {
                        let inner: f64 = (0..CLASSES).map(|c| rows[(c, b)] * hv[c]).sum();
                        expected[(a, b)] += risk.loss_scale() * case.weight(t) * inner;
                    }
                }
            }
            let ggn = risk.ggn().unwrap();
            let formed = dense(&ggn);
            assert_close(case.name, formed.as_ref(), expected.as_ref(), 1e-12);
            linop_core::testing::check_operator(&ggn, expected.as_ref(), 1e-13);
            linop_core::testing::check_props(ggn.props(), expected.as_ref(), 1e-10).unwrap();
            let difference = dense(&risk.hessian().unwrap()) - expected;
            assert_close(case.name, dense(&risk.residual().unwrap()).as_ref(), difference.as_ref(), 1e-11);
            let diagonal = risk.fisher_diagonal(Fisher::Type2, Par::Seq).unwrap();
            diagonal.iter().enumerate().for_each(|(i, d)| {
                let e = formed[(i, i)];
                assert!((d - e).abs() <= 1e-12 * (1.0 + e.abs()), "{}: {d} against {e}", case.name);
            });
        }
    }
}

#[test]
fn empirical_fisher_has_every_scale_and_granularity() {
    for case in cases() {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let risk = case.whole(reduction);
            let (j, f, terms) = (dense(&risk.jacobian().unwrap()), case.outputs(risk.params()), case.terms());
            let ce = matches!(case.loss, Loss::CrossEntropy(_));
            for granularity in [Granularity::LossTerm, Granularity::Datum] {
                let vectors = case.vectors(granularity == Granularity::Datum, |t, g| {
                    terms.gradient(&f[t * CLASSES..(t + 1) * CLASSES], case.target(t), g);
                    g.iter_mut().for_each(|g| *g *= case.weight(t).sqrt());
                });
                let factors = [
                    (EfScale::Loss, 1.0),
                    (EfScale::Nll, if case.loss == Loss::Mse { 0.5 } else { 1.0 }),
                    (EfScale::Reduced, if ce || reduction == Reduction::Sum { 1.0 } else { 1.0 / CLASSES as f64 }),
                ];
                for (scale, factor) in factors {
                    let fisher = Fisher::Empirical { scale, granularity };
                    let expected = case.outer(&j, risk.loss_scale() * factor, &vectors);
                    let op = risk.fisher(fisher).unwrap();
                    assert_close(case.name, dense(&op).as_ref(), expected.as_ref(), 1e-12);
                    let diagonal = risk.fisher_diagonal(fisher, Par::Seq).unwrap();
                    let diagonal = Mat::from_fn(diagonal.len(), 1, |i, _| diagonal[i]);
                    let truth = Mat::from_fn(risk.dim(), 1, |i, _| expected[(i, i)]);
                    assert_close(case.name, diagonal.as_ref(), truth.as_ref(), 1e-12);
                }
            }
        }
    }
}

/// The draws are those of the documented streams, one per datum and sample.
#[test]
fn monte_carlo_fisher_is_made_of_keyed_draws() {
    let (samples, seed) = (3, 17);
    for case in cases() {
        let risk = case.risk(Reduction::Mean, &[5, 4]);
        let (j, f, terms) = (dense(&risk.jacobian().unwrap()), case.outputs(risk.params()), case.terms());
        for granularity in [Granularity::LossTerm, Granularity::Datum] {
            let mut vectors = Vec::new();
            for m in 0..samples {
                let mut stream = Stream::new(0, Role::Init, 0, 0);
                vectors.extend(case.vectors(granularity == Granularity::Datum, |t, g| {
                    if t % case.positions == 0 {
                        stream = Stream::new(seed, Role::McLabels, (t / case.positions) as u64, m);
                    }
                    terms.sample(&f[t * CLASSES..(t + 1) * CLASSES], case.target(t), &mut stream, g);
                    g.iter_mut().for_each(|g| *g *= (case.weight(t) / samples as f64).sqrt());
                }));
            }
            let fisher = Fisher::MonteCarlo { samples: samples as usize, seed, granularity };
            let expected = case.outer(&j, risk.loss_scale(), &vectors);
            assert_close(case.name, dense(&risk.fisher(fisher).unwrap()).as_ref(), expected.as_ref(), 1e-12);
            let diagonal = risk.fisher_diagonal(fisher, Par::Seq).unwrap();
            let trace: f64 = (0..risk.dim()).map(|i| expected[(i, i)]).sum();
            assert!((diagonal.iter().sum::<f64>() - trace).abs() <= 1e-12 * trace);
        }
    }
}

/// The mean over seeds of `v^T F v` is `v^T G v`, within the error bar of the mean.
#[test]
fn monte_carlo_fisher_is_the_ggn_in_expectation() {
    const SEEDS: u64 = 60;
    for case in cases().into_iter().filter(|c| c.positions < 6) {
        let risk = case.whole(Reduction::Mean);
        let v = Mat::from_fn(risk.dim(), 1, |i, _| normals(6, risk.dim())[i]);
        let form = |op: &dyn LinearOperator<f64>| -> f64 {
            let product = apply(op, v.as_ref(), Par::Seq);
            (0..v.nrows()).map(|i| v[(i, 0)] * product[(i, 0)]).sum()
        };
        let exact = form(&risk.fisher(Fisher::Type2).unwrap());
        for granularity in [Granularity::LossTerm, Granularity::Datum] {
            let draws: Vec<f64> = (0..SEEDS)
                .map(|seed| form(&risk.fisher(Fisher::MonteCarlo { samples: 1, seed, granularity }).unwrap()))
                .collect();
            let mean = draws.iter().sum::<f64>() / SEEDS as f64;
            let variance = draws.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (SEEDS - 1) as f64;
            let error = (variance / SEEDS as f64).sqrt();
            assert!((mean - exact).abs() < 4.5 * error, "{}: {mean} +- {error} against {exact}", case.name);
            assert!(error < 0.3 * exact, "{}: an error bar of {error} says nothing about {exact}", case.name);
        }
    }
}

fn apply(op: &dyn LinearOperator<f64>, x: MatRef<'_, f64>, par: Par) -> Mat<f64> {
    let mut out = Mat::from_fn(op.nrows(), x.ncols(), |_, _| f64::NAN);
    let mut memory = MemBuffer::new(op.apply_req(x.ncols(), par));
    op.apply(out.as_mut(), 1.0, x, 0.0, par, MemStack::new(&mut memory)).unwrap();
    out
}

type Build = fn(&Risk<f64>) -> Box<dyn LinearOperator<f64>>;

const BUILDS: [(&str, Build); 5] = [
    ("hessian", |r| Box::new(r.hessian().unwrap())),
    ("ggn", |r| Box::new(r.ggn().unwrap())),
    ("residual", |r| Box::new(r.residual().unwrap())),
    ("mc", |r| Box::new(r.fisher(Fisher::monte_carlo(2, 1)).unwrap())),
    ("ef", |r| Box::new(r.fisher(Fisher::empirical()).unwrap())),
];

#[test]
fn cuts_of_the_data_do_not_show() {
    for case in cases() {
        for (name, build) in BUILDS {
            let whole = dense(&*build(&case.whole(Reduction::Mean)));
            for cuts in [&[1, 8][..], &[4, 0, 5]] {
                let part = dense(&*build(&case.risk(Reduction::Mean, cuts)));
                assert_close(&format!("{} {name}", case.name), part.as_ref(), whole.as_ref(), 1e-12);
            }
        }
    }
}

/// Blocks by parameter group: principal submatrices, columns of the Jacobian, parts of gradient and diagonal.
#[test]
fn groups_are_principal_submatrices() {
    for case in cases() {
        let risk = case.whole(Reduction::Mean);
        let ranges = [1..3, 5..risk.dim() - 2];
        let places: Vec<usize> = ranges.iter().flat_map(Clone::clone).collect();
        let block = risk.block(&ranges).unwrap();
        assert_eq!(block.dim(), places.len());
        for (name, build) in BUILDS {
            let (all, part) = (dense(&*build(&risk)), dense(&*build(&block)));
            let expected = Mat::from_fn(places.len(), places.len(), |i, j| all[(places[i], places[j])]);
            assert_close(&format!("{} {name}", case.name), part.as_ref(), expected.as_ref(), 1e-12);
        }
        let (all, part) = (dense(&risk.jacobian().unwrap()), dense(&block.jacobian().unwrap()));
        let expected = Mat::from_fn(all.nrows(), places.len(), |i, j| all[(i, places[j])]);
        assert_close(case.name, part.as_ref(), expected.as_ref(), 1e-12);
        let (value, gradient) = risk.value_and_gradient().unwrap();
        let (same, partial) = block.value_and_gradient().unwrap();
        assert_eq!(value, same);
        places.iter().zip(&partial).for_each(|(&i, g)| assert!((gradient[i] - g).abs() < 1e-14));
        let (all, part) = (Fisher::Type2, block.fisher_diagonal(Fisher::Type2, Par::Seq).unwrap());
        let all = risk.fisher_diagonal(all, Par::Seq).unwrap();
        places.iter().zip(&part).for_each(|(&i, d)| assert!((all[i] - d).abs() <= 1e-13 * (1.0 + d)));
        // Another point: the group moves with it.
        let moved = risk.with_params(normals(9, risk.dim())).unwrap();
        let expected = moved.block(&ranges).unwrap().value_and_gradient().unwrap();
        assert_eq!(block.with_params(moved.params().to_vec()).unwrap().value_and_gradient().unwrap(), expected);
    }
    let risk = cases()[0].whole(Reduction::Mean);
    let last = risk.dim() - 1;
    for bad in [&[][..], &[1..1, 2..3], &[3..5, 4..6], &[5..6, 1..2], &[0..1, 1..last + 2]] {
        assert!(risk.block(bad).is_err(), "{bad:?}");
    }
}

/// A net with more residuals than one chunk holds, and with too many outputs for keeping layers.
fn chunked() -> Risk<f64> {
    let text = r#"{"model_type": "sequential", "input": [2], "layers": [
        {"type": "linear", "in": 2, "out": 1500, "bias": true}, {"type": "tanh"},
        {"type": "linear", "in": 1500, "out": 12, "bias": true}]}"#;
    let model = Sequential::from_json(text).unwrap();
    let n = 720;
    let params = normals(5, model.params().total()).iter().map(|x| 0.05 * x).collect();
    let y = Value::Int(Array::from_fn(&[n], |i| (i % 12) as i64));
    let problem = Supervised::new(model, Loss::cross_entropy(), Reduction::Mean);
    problem.risk(params, vec![(real(&[n, 2], normals(8, 2 * n)), y, None)]).unwrap()
}

/// Threads, block widths and what is kept: none shows in a single bit.
#[test]
fn threads_widths_and_memory_leave_the_bits_alone() {
    let risk = chunked();
    let x = Mat::from_fn(risk.dim(), 2, |i, j| ((i * 7 + j * 13) as f64 * 0.37).sin());
    for (name, build) in BUILDS.into_iter().filter(|(name, _)| ["hessian", "ggn", "mc"].contains(name)) {
        let op = build(&risk);
        let wide = apply(&*op, x.as_ref(), Par::Seq);
        let recomputed = apply(&*build(&risk.clone().with_memory(0)), x.as_ref(), Par::rayon(2));
        for (what, other) in [
            ("2 threads", apply(&*op, x.as_ref(), Par::rayon(2))),
            ("3 threads", apply(&*op, x.as_ref(), Par::rayon(3))),
            ("recomputed", recomputed),
        ] {
            assert!(other == wide, "{name}: {what}");
        }
        for j in 0..2 {
            let one = apply(&*op, x.subcols(j, 1), Par::Seq);
            assert!(one == wide.subcols(j, 1), "{name}: a lone column {j}");
            let alone = apply(&*op, x.subcols(j, 1), Par::rayon(2));
            assert!(alone == wide.subcols(j, 1), "{name}: a lone column {j}, 2 threads");
        }
    }
}

#[test]
fn what_a_product_costs_is_its_work_not_that_of_a_stored_matrix() {
    let risk = chunked();
    let half = risk.clone().with_memory(risk.hessian().unwrap().report().residual_bytes / 2);
    let cost = |risk: &Risk<f64>, k| risk.hessian().unwrap().cost(k);
    let one = cost(&risk, 1);
    assert!(one.flops > 0.0 && one.bytes > 0.0);
    assert_eq!(cost(&risk, 8).flops, 8.0 * one.flops);
    // What is not kept is made again, once for a block.
    let again = cost(&half, 1).flops - one.flops;
    assert!(again > 0.0 && (cost(&half, 8).flops - 8.0 * one.flops - again).abs() < 1e-9 * one.flops);
    // Twice the data, twice the work, whatever the number of parameters.
    let case = &cases()[0];
    let (some, all) = (case.risk(Reduction::Sum, &[3]), case.risk(Reduction::Sum, &[3, 3]));
    assert_eq!(some.dim(), all.dim());
    let jacobian = |risk: &Risk<f64>| risk.jacobian().unwrap().cost(2).flops;
    for (few, many) in [(cost(&some, 1).flops, cost(&all, 1).flops), (jacobian(&some), jacobian(&all))] {
        assert!((many / few - 2.0).abs() < 0.05, "{many} against {few}");
    }
    assert!(jacobian(&some) < cost(&some, 2).flops);
}

#[test]
fn reports_name_the_mode() {
    let risk = chunked();
    let full = risk.ggn().unwrap().report();
    assert_eq!((full.mode, full.mode.name()), (Mode::Cached, "cached"));
    assert!(full.chunks > 2 && full.cached_bytes == full.residual_bytes, "{full:?}");
    assert!(full.residual_bytes / full.chunks <= 8 << 20);
    let none = risk.clone().with_memory(0).ggn().unwrap().report();
    assert_eq!((none.mode, none.cached_bytes), (Mode::Recompute, 0));
    let half = risk.clone().with_memory(full.residual_bytes / 2).ggn().unwrap().report();
    assert_eq!(half.mode, Mode::Mixed);
    assert!(half.cached_bytes > 0 && half.cached_bytes <= full.residual_bytes / 2);
    let f = |bytes| risk.clone().with_memory(bytes).jacobian().unwrap().report().mode;
    assert_eq!((f(0), f(1 << 30)), (Mode::Recompute, Mode::Cached));
}

/// The risk near certainty: products keep their digits where `p_max` is 1 to rounding.
#[test]
fn products_keep_their_digits_near_certainty() {
    let text = r#"{"model_type": "sequential", "input": [1], "layers": [{"type": "linear", "in": 1, "out": 2, "bias": false}]}"#;
    let model = Sequential::from_json(text).unwrap();
    let problem = Supervised::new(model, Loss::cross_entropy(), Reduction::Sum);
    for gap in [15.0, 40.0, 300.0] {
        let y = Value::Int(Array::new(&[1], vec![0]).unwrap());
        let risk = problem.risk(vec![gap, 0.0], vec![(real(&[1, 1], vec![1.0]), y, None)]).unwrap();
        let rare = (-gap).exp() / (1.0 + (-gap).exp());
        let expected = rare / (1.0 + (-gap).exp());
        for op in [risk.ggn().unwrap(), risk.hessian().unwrap()] {
            let h = dense(&op);
            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let e = if i == j { expected } else { -expected };
                assert!((h[(i, j)] - e).abs() <= 1e-14 * expected, "gap {gap}: {h:?} against {e}");
            }
        }
        let (value, gradient) = risk.value_and_gradient().unwrap();
        assert!((value - (-gap).exp().ln_1p()).abs() <= 1e-14 * rare);
        assert!((gradient[0] + rare).abs() <= 1e-14 * rare && (gradient[1] - rare).abs() <= 1e-14 * rare);
    }
}

#[test]
fn a_loss_that_is_only_a_program_has_no_fisher_vectors() {
    use autodiff::{TensorType, trace};
    let model = |n: usize| {
        trace(&[("params", TensorType::real(&[2])), ("inputs", TensorType::real(&[n, 2]))], |_, t| {
            vec![("f", t[1].matmul(&t[0]))]
        })
    };
    let loss = |f: &TensorType, y: &[TensorType]| {
        trace(&[("f", f.clone()), ("y", y[0].clone())], |_, t| vec![("sum", (&t[0] - &t[1]).powf(4.0).sum_all())])
    };
    let batch = curvature::Batch { inputs: real(&[1, 2], vec![1.0, 2.0]), targets: vec![real(&[1], vec![0.0])] };
    let risk = Risk::new(model, loss, vec![0.1, 0.2], vec![batch], 1.0).unwrap();
    let message = risk.fisher(Fisher::empirical()).unwrap_err().to_string();
    assert!(message.contains("Supervised"), "{message}");
    assert!(risk.fisher(Fisher::Type2).is_ok());
    let none = cases()[0].whole(Reduction::Mean).fisher(Fisher::monte_carlo(0, 0));
    assert!(none.unwrap_err().to_string().contains("0 draws"));
}

#[test]
fn a_model_that_mixes_data_is_refused_with_the_operation_and_its_line() {
    use autodiff::{TensorType, trace};
    let model = |n: usize| {
        trace(&[("params", TensorType::real(&[2])), ("inputs", TensorType::real(&[n, 2]))], |_, t| {
            vec![("f", (&t[1] - t[1].mean(&[0])).matmul(&t[0]))]
        })
    };
    let loss = |f: &TensorType, y: &[TensorType]| {
        trace(&[("f", f.clone()), ("y", y[0].clone())], |_, t| vec![("sum", (&t[0] - &t[1]).powf(2.0).sum_all())])
    };
    let inputs = real(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
    let batch = curvature::Batch { inputs, targets: vec![real(&[2], vec![0.0, 1.0])] };
    let message = Risk::new(model, loss, vec![0.1, 0.2], vec![batch], 1.0).unwrap_err().to_string();
    for part in ["sub in node", "operators.rs:", "mixes data", "made by sum[0]"] {
        assert!(message.contains(part), "{message}");
    }
}
