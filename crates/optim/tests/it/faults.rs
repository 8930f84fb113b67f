//! Gradients that nobody wants: not finite, zero for ever, of rank one for ever, huge, tiny, spikes, missing.
use crate::common::{bits, single, wave};
use numerics::{Par, Scalar};
use optim::{
    Clamp, Error, Grads, KronConfig, MuonConfig, NonFinite, Optimizer, ParamGroup, ParamList, Precision,
    Preconditioned, PsgdConfig, Settings, ShampooConfig, SirfConfig, SpectralConfig, recommended, reference,
};

/// Every method with matrices, at settings that refresh often.
pub(crate) fn methods<T: Scalar>(non_finite: NonFinite) -> Vec<Preconditioned<T>> {
    let mut all: Vec<Box<dyn FnOnce() -> Preconditioned<T>>> = Vec::new();
    fn add<T: Scalar>(all: &mut Vec<Box<dyn FnOnce() -> Preconditioned<T>>>, config: impl Settings<T> + 'static) {
        all.push(Box::new(move || Preconditioned::new(config).unwrap()));
    }
    for config in [
        reference::kl_shampoo(),
        reference::kl_soap(),
        reference::soap(),
        recommended::kl_shampoo(),
        recommended::kl_soap(),
        recommended::soap(),
    ] {
        add(&mut all, KronConfig { period: 3, non_finite, ..config });
    }
    add(&mut all, ShampooConfig { period: 3, non_finite, eps: 1e-12, ..reference::meta_shampoo() });
    add(&mut all, ShampooConfig { non_finite, ..reference::google_shampoo() });
    add(&mut all, SpectralConfig { period: 3, non_finite, ..SpectralConfig::default() });
    add(&mut all, SirfConfig { non_finite, ..SirfConfig::default() });
    add(&mut all, PsgdConfig { non_finite, ..PsgdConfig::default() });
    add(&mut all, MuonConfig { non_finite, ..MuonConfig::default() });
    add(&mut all, MuonConfig { non_finite, precision: Precision::Bfloat16, ..MuonConfig::default() });
    all.into_iter().map(|make| make()).collect()
}

#[test]
fn numbers_that_are_not_finite_never_enter_the_state() {
    never_enter::<f64>();
    never_enter::<f32>();
}

fn never_enter<T: Scalar>() {
    let list = single(&[4, 5]);
    for bad in [T::NAN, T::INFINITY, -T::INFINITY] {
        let mut g: Vec<T> = wave(20, 9);
        g[13] = bad;
        for (mut strict, mut lenient) in methods::<T>(NonFinite::Error).into_iter().zip(methods::<T>(NonFinite::Skip)) {
            let mut w: Vec<T> = wave(20, 1);
            for method in [&mut strict, &mut lenient] {
                method.init(&list).unwrap();
                for t in 0..5 {
                    method.step(&mut w, Grads::all(&wave(20, t)), 1.0).unwrap();
                }
            }
            let start = bits(&w);
            let before = strict.state().unwrap();
            let error = strict.step(&mut w, Grads::all(&g), 1.0).unwrap_err();
            assert_eq!(error, Error::NonFiniteGradient { parameter: "w".into() });
            assert_eq!((strict.state().unwrap(), bits(&w)), (before, start.clone()));
            let mut before = lenient.state().unwrap();
            let info = lenient.step(&mut w, Grads::all(&g), 1.0).unwrap();
            assert_eq!((info.skipped, info.step, lenient.skipped()), (Some(0), 5, 1));
            before.scalars.insert("skipped".into(), 1.0);
            assert_eq!((lenient.state().unwrap(), bits(&w)), (before, start));
        }
    }
}

fn never_breaks<T: Scalar>(gradient: impl Fn(usize) -> Vec<T>, steps: usize) {
    let list = single(&[4, 5]);
    for mut method in methods::<T>(NonFinite::Error) {
        method.init(&list).unwrap();
        let mut w: Vec<T> = wave(20, 1);
        for t in 0..steps {
            let done = method.step(&mut w, Grads::all(&gradient(t)), 1.0);
            assert!(done.is_ok(), "{} at {t}: {done:?}", Optimizer::<T>::kind(&method));
            assert!(w.iter().all(|x| x.is_finite()), "{} at {t}", Optimizer::<T>::kind(&method));
        }
        for tensor in method.state().unwrap().tensors {
            let values = tensor.data.to_vec::<T>().unwrap();
            assert!(values.iter().all(|x| x.is_finite()), "{} {}", Optimizer::<T>::kind(&method), tensor.name);
        }
    }
}

fn scaled<T: Scalar>(x: Vec<T>, by: f64) -> Vec<T> {
    x.into_iter().map(|x| x * T::from_f64(by)).collect()
}

#[test]
fn zero_for_ever_from_the_start_and_later() {
    never_breaks::<f64>(|_| vec![0.0; 20], 100);
    never_breaks::<f32>(|_| vec![0.0; 20], 100);
    never_breaks::<f64>(|t| if t < 5 { wave(20, t) } else { vec![0.0; 20] }, 120);
    never_breaks::<f32>(|t| if t < 5 { wave(20, t) } else { vec![0.0; 20] }, 120);
}

#[test]
fn rank_one_for_ever() {
    fn outer<T: Scalar>(t: usize) -> Vec<T> {
        (0..20)
            .map(|i| {
                T::from_f64((1.0 + (i / 5) as f64).sin() * (2.0 + (i % 5) as f64).cos() * (1.0 + 0.1 * t as f64).sin())
            })
            .collect()
    }
    never_breaks::<f64>(outer, 100);
    never_breaks::<f32>(outer, 100);
    // Rank one with changing directions.
    never_breaks::<f64>(|t| (0..20).map(|i| ((i / 5 + t) as f64).sin() * ((i % 5 * t) as f64).cos()).collect(), 100);
}

#[test]
fn huge_and_tiny() {
    for by in [1e150, 1e-150] {
        never_breaks::<f64>(|t| scaled(wave(20, t), by), 30);
    }
    for by in [1e15, 1e-15] {
        never_breaks::<f32>(|t| scaled(wave(20, t), by), 30);
    }
    // From one end of the range to the other.
    never_breaks::<f64>(|t| scaled(wave(20, t), if t % 2 == 0 { 1e100 } else { 1e-100 }), 30);
}

#[test]
fn one_gradient_a_million_times_too_large() {
    fn spiked<T: Scalar>(t: usize) -> Vec<T> {
        scaled(wave(20, t), if t == 10 { 1e6 } else { 1.0 })
    }
    never_breaks::<f64>(spiked, 60);
    never_breaks::<f32>(spiked, 60);
}

/// Squares beyond the range of the type: the factors overflow, and after four refreshes in vain the step says which tensor it is.
#[test]
fn statistics_that_overflow_are_an_error_that_names_the_tensor() {
    overflows::<f64>(1e200);
    overflows::<f32>(1e30);
}

fn overflows<T: Scalar>(size: f64) {
    for config in [reference::kl_shampoo(), reference::soap(), recommended::kl_shampoo()] {
        let mut method = Preconditioned::<T>::new(KronConfig { period: 1, ..config }).unwrap();
        method.init(&single(&[4, 5])).unwrap();
        let mut w: Vec<T> = wave(20, 1);
        let mut failures = Vec::new();
        for t in 0..12 {
            let by = if t < 2 { 1.0 } else { size };
            failures.extend(method.step(&mut w, Grads::all(&scaled(wave(20, t), by)), 1.0).err().map(|e| (t, e)));
        }
        let (at, error) = &failures[0];
        assert!((5..8).contains(at) && matches!(error, Error::Decomposition { .. }), "{at} {error}");
        assert!(error.to_string().contains("\"w\"") && w.iter().all(|w| w.is_finite()), "{error}");
    }
}

#[test]
fn after_very_many_zeros_steps_resume() {
    resumes_after_zeros::<f64>();
    resumes_after_zeros::<f32>();
}

fn resumes_after_zeros<T: Scalar>() {
    // Only the product clamp keeps eigenvalues from vanishing; the cap on the update tames the first step.
    let config = KronConfig { max_update_rms: Some(2.0), period: 1000, ..recommended::kl_shampoo() };
    assert_eq!(config.clamp, Clamp::Product(1e-16));
    let mut method = Preconditioned::<T>::new(config).unwrap();
    method.init(&single(&[3, 2])).unwrap();
    let mut w = vec![T::ZERO; 6];
    for t in 0..5 {
        method.step(&mut w, Grads::all(&wave(6, t)), 1.0).unwrap();
    }
    for _ in 0..40_000 {
        method.step(&mut w, Grads::all(&[T::ZERO; 6]), 1.0).unwrap();
    }
    let before = w.clone();
    method.step(&mut w, Grads::all(&wave(6, 6)), 1.0).unwrap();
    let moved = w.iter().zip(&before).map(|(a, b)| (*a - *b).to_f64().powi(2)).sum::<f64>().sqrt();
    assert!(moved > 1e-4 && moved < 1e-3 * 2.1 * 6.0_f64.sqrt(), "{moved}");
}

/// Threads change no bit, for shapes large enough that products are split.
#[test]
fn threads_change_no_bit() {
    for (shape, threads) in [([160, 130], 2), ([90, 200], 3), ([50, 210], 2)] {
        threaded::<f64>(shape, threads);
        threaded::<f32>(shape, threads);
    }
}

fn threaded<T: Scalar>([rows, columns]: [usize; 2], threads: usize) {
    let (list, n) = (single(&[rows, columns]), rows * columns);
    for (mut one, many) in methods::<T>(NonFinite::Error).into_iter().zip(methods::<T>(NonFinite::Error)) {
        let mut many = many.with_par(Par::rayon(threads));
        let (mut a, mut b): (Vec<T>, Vec<T>) = (wave(n, 1), wave(n, 1));
        one.init(&list).unwrap();
        many.init(&list).unwrap();
        for t in 0..5 {
            let g: Vec<T> = wave(n, t);
            one.step(&mut a, Grads::all(&g), 1.0).unwrap();
            many.step(&mut b, Grads::all(&g), 1.0).unwrap();
        }
        assert_eq!(bits(&a), bits(&b), "{}", Optimizer::<T>::kind(&one));
        assert_eq!(one.state().unwrap(), many.state().unwrap());
    }
}

/// Many small tensors, which threads take whole; some have no gradient.
#[test]
fn threads_that_take_whole_tensors_change_no_bit() {
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    let shapes: [&[usize]; 9] = [&[12, 9], &[7], &[9, 12], &[3, 4, 5], &[8, 8], &[], &[0, 3], &[11, 5], &[10, 10]];
    for (i, shape) in shapes.iter().enumerate() {
        list.push(format!("w{i}"), shape, group).unwrap();
    }
    let n = list.len();
    for threads in [2, 3, 5] {
        for (mut one, many) in methods::<f64>(NonFinite::Error).into_iter().zip(methods::<f64>(NonFinite::Error)) {
            let mut many = many.with_par(Par::rayon(threads));
            one.init(&list).unwrap();
            many.init(&list).unwrap();
            let (mut a, mut b): (Vec<f64>, Vec<f64>) = (wave(n, 1), wave(n, 1));
            for t in 0..7 {
                let (g, present) = (wave(n, t), [true, t != 3, true, true, t > 1, true, true, true, true]);
                let first = one.step(&mut a, Grads::masked(&g, &present), 0.7).unwrap();
                assert_eq!(first, many.step(&mut b, Grads::masked(&g, &present), 0.7).unwrap());
            }
            assert_eq!(bits(&a), bits(&b), "{}", Optimizer::<f64>::kind(&one));
            assert_eq!(one.state().unwrap(), many.state().unwrap());
        }
    }
}
