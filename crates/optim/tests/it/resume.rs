use crate::common::{bits, mixed, single, wave};
use crate::faults::methods;
use numerics::store::{State, Tensor};
use numerics::{DType, Scalar};
use optim::{
    AdamW, AdamWConfig, Error, Grads, KronConfig, LargeMode, Layout, MuonConfig, NonFinite, Optimizer, ParamList,
    Phase, Precision, Preconditioned, PsgdConfig, Schedule, Settings, Sgd, SgdConfig, ShampooConfig, SirfConfig,
    SpectralConfig, recommended, reference,
};

const STEPS: usize = 8;

fn advance<T: Scalar>(o: &mut dyn Optimizer<T>, list: &ParamList, w: &mut [T], steps: core::ops::Range<usize>) {
    let schedule = Schedule::cosine(STEPS as u64, 0.1).warmup(3);
    for t in steps {
        let mut g: Vec<T> = wave(list.len(), t);
        if t == 5 {
            g[0] = T::NAN;
        }
        // The matrix has no gradient before step 2, the vector none at step 4.
        let present = [t >= 2, true, true, t != 4];
        o.step(w, Grads::masked(&g, &present), schedule.at(t as u64)).unwrap();
    }
}

fn any_step_resumes<T: Scalar>(mut make: impl FnMut() -> Box<dyn Optimizer<T>>) {
    let list = mixed();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let mut whole = make();
    whole.init(&list).unwrap();
    let mut expected: Vec<T> = wave(list.len(), 7);
    advance(&mut *whole, &list, &mut expected, 0..STEPS);
    for k in 0..=STEPS {
        let mut first = make();
        first.init(&list).unwrap();
        let mut w: Vec<T> = wave(list.len(), 7);
        advance(&mut *first, &list, &mut w, 0..k);
        first.state().unwrap().write(&path).unwrap();

        let mut second = make();
        second.init(&list).unwrap();
        // Whatever was there before is replaced.
        let mut scratch: Vec<T> = wave(list.len(), 2);
        advance(&mut *second, &list, &mut scratch, 0..1);
        second.load_state(&State::read(&path).unwrap()).unwrap();
        assert_eq!(second.state().unwrap(), first.state().unwrap(), "after {k}");
        advance(&mut *second, &list, &mut w, k..STEPS);
        assert_eq!(bits(&w), bits(&expected), "after {k}");
        assert_eq!(second.state().unwrap(), whole.state().unwrap(), "after {k}");
    }
}

fn first_order_methods<T: Scalar>() {
    let non_finite = NonFinite::Skip;
    let adam = AdamWConfig { lr: 0.1, non_finite, ..AdamWConfig::default() };
    any_step_resumes::<T>(|| Box::new(AdamW::new(adam).unwrap()));
    let sgd = SgdConfig { damping: 0.2, weight_decay: 0.1, non_finite, ..SgdConfig::default() };
    any_step_resumes::<T>(|| Box::new(Sgd::new(sgd).unwrap()));
}

fn matrix<T: Scalar>(config: impl Settings<T> + Clone + 'static) {
    any_step_resumes::<T>(|| Box::new(Preconditioned::new(config.clone()).unwrap()));
}

const BLOCKS: Layout = Layout { max_dim: 2, large: LargeMode::Block, merge: 0, precondition_1d: false };
const DIAGONAL: Layout = Layout { large: LargeMode::Diagonal, ..BLOCKS };

fn kronecker_methods<T: Scalar>() {
    let non_finite = NonFinite::Skip;
    let blocks = BLOCKS;
    let diagonal = DIAGONAL;
    for config in [reference::kl_shampoo(), reference::kl_soap(), reference::soap(), reference::idealised_kl_shampoo()]
    {
        matrix::<T>(KronConfig { lr: 0.01, period: 3, non_finite, ..config });
    }
    for config in [recommended::kl_shampoo(), recommended::kl_soap(), recommended::soap()] {
        let phase = Phase::Hashed;
        matrix::<T>(KronConfig { lr: 0.01, period: 3, non_finite, phase, layout: blocks, ..config.clone() });
        matrix::<T>(KronConfig { lr: 0.01, period: 3, non_finite, layout: diagonal, ..config });
    }
}

fn other_matrix_methods<T: Scalar>() {
    let non_finite = NonFinite::Skip;
    let diagonal = DIAGONAL;
    matrix::<T>(ShampooConfig { period: 3, non_finite, ..reference::meta_shampoo() });
    matrix::<T>(ShampooConfig { period: 2, start: Some(3), non_finite, ..reference::google_shampoo() });
    matrix::<T>(SpectralConfig { non_finite, ..SpectralConfig::default() });
    matrix::<T>(SpectralConfig { non_finite, layout: diagonal, period: 3, ..SpectralConfig::default() });
    matrix::<T>(SirfConfig { non_finite, layout: diagonal, ..SirfConfig::default() });
    matrix::<T>(SirfConfig { non_finite, ..SirfConfig::default() });
    matrix::<T>(PsgdConfig { non_finite, balance_probability: 0.5, ..PsgdConfig::default() });
    matrix::<T>(MuonConfig { non_finite, ..MuonConfig::default() });
    matrix::<T>(MuonConfig { non_finite, precision: Precision::Bfloat16, ..MuonConfig::default() });
}

#[test]
fn any_step_of_first_order_methods_resumes_with_the_same_bits() {
    first_order_methods::<f64>();
    first_order_methods::<f32>();
}

#[test]
fn any_step_of_kronecker_methods_resumes_with_the_same_bits() {
    kronecker_methods::<f64>();
}

#[test]
fn any_step_of_kronecker_methods_resumes_with_the_same_bits_in_single_precision() {
    kronecker_methods::<f32>();
}

#[test]
fn any_step_of_other_matrix_methods_resumes_with_the_same_bits() {
    other_matrix_methods::<f64>();
    other_matrix_methods::<f32>();
}

#[test]
fn checkpoints_of_something_else() {
    let list = mixed();
    let mut adam = AdamW::<f64>::new(AdamWConfig::default()).unwrap();
    assert!(matches!(adam.load_state(&State::new("adamw", 1, DType::F64)), Err(Error::NotInitialised { .. })));
    adam.init(&list).unwrap();
    let mut w: Vec<f64> = wave(list.len(), 1);
    adam.step(&mut w, Grads::all(&wave(list.len(), 2)), 1.0).unwrap();
    let good = adam.state().unwrap();

    let mut kind = good.clone();
    kind.kind = "sgd".into();
    let mut version = good.clone();
    version.format_version = 2;
    let mut dtype = good.clone();
    dtype.dtype = DType::F32;
    for (state, words) in [(&kind, ["adamw", "sgd"]), (&version, ["1", "2"]), (&dtype, ["f64", "f32"])] {
        let text = adam.load_state(state).unwrap_err().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }

    let mut renamed = good.clone();
    renamed.tensors[0].name = "m.other".into();
    let mut reshaped = good.clone();
    reshaped.tensors[0].shape = vec![3, 2];
    let mut short = good.clone();
    short.tensors.pop();
    let mut long = good.clone();
    long.tensors.push(Tensor::new("extra", &[1], &[1.0]).unwrap());
    let mut uncounted = good.clone();
    uncounted.scalars.remove("count.vector");
    let mut fraction = good.clone();
    fraction.scalars.insert("count.vector".into(), 0.5);
    let mut negative = good.clone();
    negative.scalars.insert("skipped".into(), -1.0);
    let mut single_precision = good.clone();
    single_precision.tensors[0] = Tensor::new("m.matrix", &[2, 3], &[0.0_f32; 6]).unwrap();
    single_precision.tensors[0].data = numerics::store::TensorData::I64(vec![0; 6]);
    for state in [&renamed, &reshaped, &short, &long, &uncounted, &fraction, &negative, &single_precision] {
        adam.load_state(state).unwrap_err();
        assert_eq!(adam.state().unwrap(), good);
    }

    let mut other = AdamW::<f64>::new(AdamWConfig::default()).unwrap();
    other.init(&single(&[18])).unwrap();
    assert!(matches!(other.load_state(&good), Err(Error::Checkpoint { .. })));
    adam.load_state(&good).unwrap();
}

/// A checkpoint of another method, of another storage form, of another layout.
#[test]
fn checkpoints_of_other_matrix_methods() {
    let list = single(&[3, 4]);
    let stepped = |config: KronConfig| {
        let mut method = Preconditioned::<f64>::new(config).unwrap();
        method.init(&list).unwrap();
        let mut w: Vec<f64> = wave(12, 1);
        for t in 0..3 {
            method.step(&mut w, Grads::all(&wave(12, t)), 1.0).unwrap();
        }
        method
    };
    let mut kl = stepped(recommended::kl_shampoo());
    let before = kl.state().unwrap();
    let original = KronConfig { storage: optim::Storage::Original, ..recommended::kl_shampoo() };
    let diagonal = KronConfig { layout: Layout { max_dim: 3, ..Layout::default() }, ..recommended::kl_shampoo() };
    for other in [recommended::soap(), recommended::kl_soap(), original, diagonal] {
        let state = stepped(other).state().unwrap();
        assert!(kl.load_state(&state).is_err());
        assert_eq!(kl.state().unwrap(), before);
    }
    let mut extra = before.clone();
    extra.tensors.push(Tensor::new("extra", &[1], &[1.0]).unwrap());
    let mut flag = before.clone();
    flag.scalars.insert("begun.w".into(), 2.0);
    let mut dtype = before.clone();
    dtype.dtype = DType::F32;
    for state in [&extra, &flag, &dtype] {
        assert!(kl.load_state(state).is_err());
        assert_eq!(kl.state().unwrap(), before);
    }
    kl.load_state(&before).unwrap();
    let mut narrow = Preconditioned::<f32>::new(recommended::kl_shampoo()).unwrap();
    narrow.init(&list).unwrap();
    assert!(narrow.load_state(&before).unwrap_err().to_string().contains("f32"));
}

/// Every matrix method refuses what is not its own: another method, precision or version, other tensors; and stays as it was.
#[test]
fn every_matrix_method_refuses_checkpoints_of_something_else() {
    let list = single(&[4, 5]);
    let stepped = |mut method: Preconditioned<f64>| {
        method.init(&list).unwrap();
        let mut w: Vec<f64> = wave(20, 1);
        for t in 0..3 {
            method.step(&mut w, Grads::all(&wave(20, t)), 1.0).unwrap();
        }
        method
    };
    let all = || methods::<f64>(NonFinite::Error).into_iter().map(stepped).collect::<Vec<_>>();
    let states: Vec<State> = all().iter().map(|m| m.state().unwrap()).collect();
    for (mut method, own) in all().into_iter().zip(&states) {
        let mut refused: Vec<(String, State)> = states
            .iter()
            .filter(|s| s.kind != own.kind)
            .map(|s| (format!("a state of {}", s.kind), s.clone()))
            .collect();
        let mut change = |what: &str, f: &dyn Fn(&mut State)| {
            let mut state = own.clone();
            f(&mut state);
            refused.push((what.into(), state));
        };
        change("version", &|s| s.format_version += 1);
        change("precision", &|s| s.dtype = DType::F32);
        change("an array less", &|s| drop(s.tensors.pop()));
        change("an array more", &|s| s.tensors.push(Tensor::new("extra", &[1], &[1.0]).unwrap()));
        change("a name", &|s| s.tensors[0].name = "m.other".into());
        change("a shape", &|s| s.tensors.iter_mut().filter(|t| t.shape == [4, 5]).for_each(|t| t.shape.reverse()));
        change("a count", &|s| assert!(s.scalars.remove("count.w").is_some()));
        change("half a step", &|s| assert!(s.scalars.insert("count.w".into(), 0.5).is_some()));
        for (what, state) in refused {
            assert!(method.load_state(&state).is_err(), "{} takes {what}", own.kind);
            assert_eq!(method.state().unwrap(), *own, "{} after {what}", own.kind);
        }
        // The list has changed its shapes.
        let mut other = all().swap_remove(states.iter().position(|s| s == own).unwrap());
        other.init(&single(&[5, 4])).unwrap();
        assert!(matches!(other.load_state(own), Err(Error::Checkpoint { .. })), "{}", own.kind);
        let mut w = vec![0.0; 20];
        let short = other.step(&mut w, Grads::all(&[0.0; 19]), 1.0);
        assert!(matches!(short, Err(Error::Length { expected: 20, got: 19, .. })), "{}", own.kind);
        method.load_state(own).unwrap();
    }
}
