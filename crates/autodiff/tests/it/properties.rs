//! Random programs: every transformation keeps the invariants, and derivatives agree with each other.

use crate::cases::numbers;
use autodiff::{Array, Program, Tensor, TensorType, Value, trace};
use proptest::prelude::*;

/// One step of a random program on `[3, 3]` tensors.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Unary(u8, usize),
    Binary(u8, usize, usize),
    View(u8, usize),
    /// Factors, constants, concatenations, chains, repetitions, names: what `simplify` looks for.
    Rich(u8, usize, usize),
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..8, any::<usize>()).prop_map(|(f, i)| Step::Unary(f, i)),
        (0u8..6, any::<usize>(), any::<usize>()).prop_map(|(f, i, j)| Step::Binary(f, i, j)),
        (0u8..4, any::<usize>()).prop_map(|(f, i)| Step::View(f, i)),
    ]
}

pub(crate) fn rich_step() -> impl Strategy<Value = Step> {
    prop_oneof![step(), (0u8..22, any::<usize>(), any::<usize>()).prop_map(|(f, i, j)| Step::Rich(f, i, j))]
}

fn rich(f: u8, x: &Tensor, y: &Tensor) -> Tensor {
    let t = x.tracer();
    let m: &[usize] = &[3, 3];
    match f {
        0 => (x * 0.5 + 0.0) * 2.0 - 1.0,
        1 => -(-x - y) + (x + 0.25) * 1.0,
        2 => t.concat(&[&x.slice(0, 0, 1), &x.slice(0, 1, 3)], 0),
        3 => t.concat(&[x, y], 0).slice(0, 2, 5),
        4 => t.concat(&[&x.t(), &t.full(m, 0.5)], 1).slice(1, 1, 4).slice(0, 0, 2).pad(0, 1, 0),
        5 => x.tanh().matmul(&y.tanh()) * 0.3,
        6 => x.tanh().matmul(&y.tanh()).matmul(&x.sin().slice(1, 0, 1)).broadcast_to(m),
        7 => x.sum(&[0]).broadcast_to(&[4, 3]).sum(&[0]).tanh().broadcast_to(m),
        8 => t.named("pair", &[x, y], |_, p| vec![("a", p[0].tanh() * &p[1]), ("b", p[1].sin())]).swap_remove(0),
        9 => x.stop_gradient() * y.tanh(),
        10 => x.tanh().slice(0, 0, 1).reshape(&[3]).dot(&y.sin().slice(1, 1, 2).reshape(&[3]), &[], &[]),
        11 => (x.tanh().sum_all() * 0.1).broadcast_to(m) * y,
        12 => x.matmul(&t.full(m, 0.2)),
        13 => x.tanh().broadcast_to(&[2, 3, 3]).matmul(&y.sin().broadcast_to(&[2, 3, 3])).sum(&[0]),
        14 => x.gather(&t.integers(&[2], &[0, 2]), 0).pad(0, 0, 1),
        15 => t.full(m, 1.0).less(&t.full(m, 2.0)).select(x, y) + t.constant(m, &[0.5; 9]).less(x).select(x, y),
        16 => (x.slice(0, 0, 1).broadcast_to(m).sin() + y.slice(0, 1, 2).broadcast_to(m)).t(),
        17 => (x.tanh() * 3.0).sum(&[0, 1]).broadcast_to(m) - (-(y - x)),
        18 => x.pad(0, 1, 2).slice(0, 1, 4).pad(1, 1, 0).pad(1, 0, 1).sum(&[1]).tanh().broadcast_to(m),
        19 => x.tanh().dot(&y.tanh(), &[(0, 0)], &[]).sum(&[0, 2]).broadcast_to(m),
        20 => t.constant(m, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).sqrt() * x + (x * y.tanh().exp().recip()),
        _ => x.t().reshape(&[3, 1, 3]).transpose(&[2, 1, 0]).reshape(m) * t.full(m, 0.0) + y,
    }
}

fn apply(step: &Step, pool: &[Tensor]) -> Tensor {
    let get = |i: &usize| &pool[i % pool.len()];
    match step {
        Step::Rich(f, i, j) => rich(*f, get(i), get(j)),
        Step::Unary(f, i) => {
            let x = get(i);
            match f {
                0 => x.tanh(),
                1 => x.sin(),
                2 => x.sigmoid(),
                3 => x.softplus(),
                4 => x.atan(),
                5 => x.softmax(),
                6 => x.tanh().powf(2.0),
                _ => -x,
            }
        }
        Step::Binary(f, i, j) => {
            let (x, y) = (get(i), get(j));
            match f {
                0 => x + y,
                1 => x - y,
                2 => x.sin() * y.tanh(),
                3 => x.tanh().matmul(&y.sin()),
                4 => x.tanh().dot(&y.tanh(), &[(1, 0)], &[(0, 1)]).unsqueeze(0).broadcast_to(&[3, 3]),
                _ => x / (y.tanh().powf(2.0) + 1.0),
            }
        }
        Step::View(f, i) => {
            let x = get(i);
            match f {
                0 => x.t(),
                1 => x.sum(&[0]).broadcast_to(&[3, 3]).tanh(),
                2 => x.slice(0, 1, 3).pad(0, 0, 1),
                _ => x.reshape(&[9]).slice(0, 0, 3).unsqueeze(1).broadcast_to(&[3, 3]),
            }
        }
    }
}

pub(crate) fn program(steps: &[Step]) -> Program {
    let ty = TensorType::real(&[3, 3]);
    trace(&[("x", ty.clone()), ("y", ty)], |_, inputs| {
        let mut pool = inputs.to_vec();
        for s in steps {
            let next = apply(s, &pool);
            pool.push(next);
        }
        vec![("out", pool.pop().unwrap_or(inputs[0].clone()).sum_all())]
    })
    .unwrap()
}

fn values(arrays: &[Array<f64>]) -> Vec<Value<f64>> {
    arrays.iter().cloned().map(Value::from).collect()
}

fn run(p: &Program, inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    run_with(p, &[], inputs)
}

/// The same with residuals first, which may be integers.
fn run_with(p: &Program, residuals: &[Value<f64>], inputs: &[Array<f64>]) -> Vec<Array<f64>> {
    p.verify().unwrap();
    let inputs: Vec<Value<f64>> = residuals.iter().cloned().chain(values(inputs)).collect();
    p.interpret(&inputs).unwrap().into_iter().map(|v| v.into_real().unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn derivatives_of_random_programs_agree(steps in prop::collection::vec(step(), 1..12)) {
        let p = program(&steps);
        let point = [numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)];
        let v = [numbers(&[3, 3], 3, -1.0, 1.0), numbers(&[3, 3], 4, -1.0, 1.0)];
        let all: Vec<Array<f64>> = point.iter().chain(&v).cloned().collect();
        let grad = run(&p.grad(&[0, 1]).unwrap(), &point);
        let slope = run(&p.jvp(&[0, 1]).unwrap(), &all)[1].data()[0];
        let dot: f64 = grad.iter().zip(&v).flat_map(|(g, v)| g.data().iter().zip(v.data())).map(|(g, v)| g * v).sum();
        let scale = grad.iter().flat_map(|g| g.data()).fold(1.0f64, |m, x| m.max(x.abs()));
        prop_assert!((slope - dot).abs() <= 1e-12 * scale * 18.0);

        let left = run(&p.grad(&[0, 1]).unwrap().jvp(&[0, 1]).unwrap(), &all);
        let right = run(&p.jvp(&[0, 1]).unwrap().select_outputs(&[1]).unwrap().grad(&[0, 1]).unwrap(), &all);
        let split = p.grad(&[0, 1]).unwrap().linearize(&[0, 1]).unwrap();
        let primal = split.primal.interpret(&values(&point)).unwrap();
        let third = run_with(&split.linear, &primal[split.outputs..], &v);
        for k in 0..2 {
            let scale = left[2 + k].data().iter().fold(1.0f64, |m, x| m.max(x.abs()));
            for i in 0..9 {
                let (a, b, c) = (left[2 + k].data()[i], right[k].data()[i], third[k].data()[i]);
                prop_assert!((a - b).abs() <= 1e-12 * scale && (a - c).abs() <= 1e-12 * scale, "{} {} {}", a, b, c);
            }
        }
    }

    #[test]
    fn vmap_of_hessian_products_is_a_loop(steps in prop::collection::vec(step(), 1..10)) {
        let p = program(&steps);
        let point = [numbers(&[3, 3], 1, -1.0, 1.0), numbers(&[3, 3], 2, -1.0, 1.0)];
        let split = p.grad(&[0]).unwrap().linearize(&[0]).unwrap();
        let residuals = split.primal.interpret(&values(&point)).unwrap().split_off(split.outputs);
        let block = numbers(&[4, 3, 3], 9, -1.0, 1.0);
        let mut axes = vec![None; split.residuals];
        axes.push(Some(0));
        let mapped = split.linear.vmap(4, &axes).unwrap();
        let together = run_with(&mapped, &residuals, std::slice::from_ref(&block));
        for k in 0..4 {
            let one = Array::new(&[3, 3], block.data()[9 * k..9 * (k + 1)].to_vec()).unwrap();
            let single = run_with(&split.linear, &residuals, &[one]);
            for i in 0..9 {
                prop_assert!((together[0].data()[9 * k + i] - single[0].data()[i]).abs() <= 1e-13);
            }
        }
    }
}
