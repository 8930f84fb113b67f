//! Tables and checkpoints that went wrong on their way, damaged at random: an error each, or settings and states that work.

use crate::common::{mixed, wave};
use crate::damage::{damaged_text, edits};
use numerics::store::{File, State, TensorData};
use optim::search::{Search, SearchConfig, SearchMethod};
use optim::{Grads, Method, Optimizer, Schedule};
use proptest::prelude::*;

/// A method's own settings in full, as a file would hold them.
fn table(name: &str, published: bool) -> String {
    serde_json::to_string(&Method::named(name, published).unwrap()).unwrap()
}

fn method() -> impl Strategy<Value = (&'static str, bool)> {
    (proptest::sample::select(Method::NAMES.as_slice()), any::<bool>())
}

/// Two steps of an optimiser that was accepted.
fn works(optimizer: &mut dyn Optimizer<f64>) {
    let list = mixed();
    let mut w: Vec<f64> = wave(list.len(), 1);
    for t in 0..2 {
        // Numbers may be absurd; then the step says so.
        let _ = optimizer.step(&mut w, Grads::all(&wave(list.len(), t)), 1.0);
    }
}

fn stepped(method: &Method) -> Box<dyn Optimizer<f64>> {
    let list = mixed();
    let mut optimizer = method.build::<f64>().unwrap();
    optimizer.init(&list).unwrap();
    let mut w: Vec<f64> = wave(list.len(), 3);
    for t in 0..3 {
        optimizer.step(&mut w, Grads::all(&wave(list.len(), t)), 1.0).unwrap();
    }
    optimizer
}

/// What can be wrong with a state whose file is well formed.
#[derive(Clone, Debug)]
enum Lie {
    Scalar(prop::sample::Index, f64),
    NoScalar(prop::sample::Index),
    NoTensor(prop::sample::Index),
    Twice(prop::sample::Index),
    Shape(prop::sample::Index, Vec<usize>),
    Values(prop::sample::Index, f64),
    Integers(prop::sample::Index),
    Step(u64),
}

fn lies() -> impl Strategy<Value = Vec<Lie>> {
    let at = any::<prop::sample::Index>;
    let odd = proptest::sample::select(vec![f64::NAN, f64::INFINITY, -1.0, 0.5, 0.0, 1e300, 9e15, 3.0]);
    let lie = prop_oneof![
        (at(), odd.clone()).prop_map(|(i, x)| Lie::Scalar(i, x)),
        at().prop_map(Lie::NoScalar),
        at().prop_map(Lie::NoTensor),
        at().prop_map(Lie::Twice),
        (at(), prop::collection::vec(0usize..5, 0..4)).prop_map(|(i, s)| Lie::Shape(i, s)),
        (at(), odd).prop_map(|(i, x)| Lie::Values(i, x)),
        at().prop_map(Lie::Integers),
        any::<u64>().prop_map(Lie::Step),
    ];
    prop::collection::vec(lie, 1..4)
}

fn apply(state: &mut State, lies: &[Lie]) {
    for lie in lies {
        let keys: Vec<String> = state.scalars.keys().cloned().collect();
        let key = |i: &prop::sample::Index| (!keys.is_empty()).then(|| keys[i.index(keys.len())].clone());
        let count = state.tensors.len();
        let tensor = |i: &prop::sample::Index| (count > 0).then(|| i.index(count));
        match lie {
            Lie::Scalar(i, x) => drop(key(i).map(|k| state.scalars.insert(k, *x))),
            Lie::NoScalar(i) => drop(key(i).map(|k| state.scalars.remove(&k))),
            Lie::NoTensor(i) => drop(tensor(i).map(|i| state.tensors.remove(i))),
            Lie::Twice(i) => drop(tensor(i).map(|i| state.tensors.push(state.tensors[i].clone()))),
            Lie::Shape(i, shape) => drop(tensor(i).map(|i| {
                state.tensors[i].data = TensorData::F64(vec![0.5; shape.iter().product()]);
                state.tensors[i].shape = shape.clone();
            })),
            Lie::Values(i, x) => drop(tensor(i).map(|i| {
                let n = state.tensors[i].data.len();
                state.tensors[i].data = TensorData::F64(vec![*x; n]);
            })),
            Lie::Integers(i) => drop(tensor(i).map(|i| {
                let n = state.tensors[i].data.len();
                state.tensors[i].data = TensorData::I64(vec![1; n]);
            })),
            Lie::Step(n) => state.step = *n,
        }
    }
}

/// Loops whose length a table decides end.
#[test]
fn endless_iterations_are_refused() {
    for text in [
        r#"{"method": "muon", "iterations": 4294967295}"#,
        r#"{"method": "soap", "refresh": {"qr": 4294967295}}"#,
        r#"{"method": "scalable-shampoo", "root": {"newton": {"tol": 1e-6, "iterations": 18446744073709551615}}}"#,
    ] {
        let method: Method = serde_json::from_str(text).unwrap();
        assert!(method.build::<f64>().err().expect("refused").to_string().contains("00"), "{text}");
    }
}

proptest! {
    #[test]
    fn damaged_tables((name, published) in method(), edits in edits()) {
        let text = damaged_text(&table(name, published), &edits);
        if let Ok(method) = serde_json::from_str::<Method>(&text) {
            // What is accepted comes back as itself, and either builds or says which setting is out of range.
            if let Ok(written) = serde_json::to_string(&method) {
                let back = serde_json::from_str::<Method>(&written).ok();
                prop_assert_eq!(back.as_ref(), Some(&method), "{}", written);
            }
            if let Ok(mut optimizer) = method.build::<f64>()
                && optimizer.init(&mixed()).is_ok()
            {
                works(&mut *optimizer);
            }
        }
    }

    #[test]
    fn arbitrary_tables(text in "[\\[\\]{}\":,a-z0-9. -]{0,80}", name in ".{0,12}") {
        let _ = serde_json::from_str::<Method>(&text);
        let _ = serde_json::from_value::<Method>(serde_json::json!({"method": name, name.clone(): 1}));
        let _ = serde_json::from_str::<Schedule>(&text);
    }

    #[test]
    fn damaged_schedules(edits in edits(), step in any::<u64>()) {
        for schedule in [Schedule::constant(), Schedule::cosine(9, 0.1), Schedule::wsd(9, 3, 0.1).warmup(2)] {
            let text = damaged_text(&serde_json::to_string(&schedule).unwrap(), &edits);
            if let Ok(s) = serde_json::from_str::<Schedule>(&text)
                && s.check().is_ok()
            {
                for step in [0, 1, step, u64::MAX] {
                    prop_assert!((0.0..=1.0).contains(&s.at(step)), "{:?} at {}", s, step);
                }
            }
        }
    }

    #[test]
    fn states_that_lie((name, published) in method(), lies in lies()) {
        let method = Method::named(name, published).unwrap();
        let mut optimizer = stepped(&method);
        let before = optimizer.state().unwrap();
        let mut state = before.clone();
        apply(&mut state, &lies);
        match optimizer.load_state(&state) {
            Err(e) => {
                prop_assert!(!e.to_string().is_empty());
                prop_assert_eq!(optimizer.state().unwrap(), before, "{}: a refused state left its mark", name);
            }
            Ok(()) => works(&mut *optimizer),
        }
    }

    #[test]
    fn searches_that_lie(which in 0usize..3, lies in lies()) {
        let methods = [SearchMethod::Xnes, SearchMethod::Cma { restarts: true }, SearchConfig::default().method];
        let mut search = Search::new(SearchConfig { method: methods[which], ..SearchConfig::default() }, &[1.0, 2.0]).unwrap();
        search.generation(|x| x[0] * x[0] + x[1]).unwrap();
        let before = search.state().unwrap();
        let mut state = before.clone();
        apply(&mut state, &lies);
        match search.load_state(&state) {
            Err(_) => prop_assert_eq!(search.state().unwrap(), before),
            Ok(()) => drop(search.generation(|x| x[0] * x[0])),
        }
    }

    #[test]
    fn damaged_checkpoints((name, published) in method(), edits in edits()) {
        let method = Method::named(name, published).unwrap();
        let mut optimizer = stepped(&method);
        let bytes = optimizer.state().unwrap().to_bytes().unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = damaged_text(std::str::from_utf8(&bytes[8..8 + length]).unwrap(), &edits);
        let mut framed = (header.len() as u64).to_le_bytes().to_vec();
        framed.extend_from_slice(header.as_bytes());
        framed.extend_from_slice(&bytes[8 + length..]);
        let _ = File::parse(&framed);
        if let Ok(state) = State::parse(&framed)
            && optimizer.load_state(&state).is_ok()
        {
            works(&mut *optimizer);
        }
    }
}
