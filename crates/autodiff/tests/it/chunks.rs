//! Programs run chunk by chunk: the same bits for every size of chunk and number of threads.

use crate::cases::numbers;
use autodiff::nn::{ModelError, Sequential};
use autodiff::pde::{Chunked, Operator, Pde, chunk_size};
use autodiff::{Error, Input, Output, Program, TensorType, trace};
use numerics::{Par, Scalar};

const DIM: usize = 6;

fn model() -> Sequential {
    let text = format!(
        r#"{{"model_type": "sequential", "input": [{DIM}], "layers": [
        {{"type": "linear", "in": {DIM}, "out": 40, "bias": true}}, {{"type": "tanh"}},
        {{"type": "linear", "in": 40, "out": 33, "bias": true}}, {{"type": "silu"}},
        {{"type": "linear", "in": 33, "out": 2, "bias": true}}]}}"#
    );
    Sequential::from_json(&text).unwrap()
}

fn operators(n: usize) -> Result<Program, ModelError> {
    let model = model().trace_model(n)?;
    let random = Operator::Directional { order: 2, directions: 3, per_datum: true };
    Pde::new(&model, 1)
        .operator("gradient", Operator::Gradient)
        .operator("laplacian", Operator::Laplacian)
        .operator("random", random)
        .build()
        .map_err(ModelError::from)
}

/// Half the mean square of the Laplacian over `total` points, and its gradient in the parameters.
fn loss(n: usize, total: usize) -> Result<Program, ModelError> {
    let model = model().trace_model(n)?;
    let op = Pde::new(&model, 1).operator("laplacian", Operator::Laplacian).build()?;
    let ports = [("params", op.input_type(0).clone()), ("x", op.input_type(1).clone())];
    let scale = 0.5 / total as f64;
    let loss = trace(&ports, |t, x| {
        let laplacian = t.call(&op, &[&x[0], &x[1]]).swap_remove(0);
        vec![("laplacian", laplacian.clone()), ("loss", laplacian.powf(2.0).sum_all() * scale)]
    })?;
    Ok(loss.select_outputs(&[1])?.value_and_grad(&[0])?.simplify()?)
}

fn values<T: Scalar>(shape: &[usize], salt: u64) -> Vec<T> {
    numbers(shape, salt, -0.8, 0.8).data().iter().map(|&x| T::from_f64(x)).collect()
}

fn evaluated<T: Scalar>(n: usize, chunk: usize, par: Par) -> Vec<Vec<T>> {
    let chunked = Chunked::<T>::new(n, chunk, operators).unwrap();
    let (params, x) = (model().init::<T>(3), values::<T>(&[n, DIM], 1));
    let (v, w) = (values::<T>(&[3, n, DIM], 2), values::<T>(&[3], 4));
    let mut out = vec![vec![T::ZERO; n * 2 * DIM], vec![T::ZERO; n * 2], vec![T::ZERO; n * 2]];
    for _ in 0..2 {
        let inputs = [&params[..], &x, &v, &w].map(Input::Real);
        let mut outputs: Vec<Output<'_, T>> = out.iter_mut().map(|y| Output::Real(y)).collect();
        chunked.run(par, &inputs, &mut outputs).unwrap();
    }
    out
}

fn same_bits<T: Scalar>() {
    let n = 11;
    let whole = evaluated::<T>(n, n, Par::Seq);
    for chunk in 1..=n + 1 {
        for par in [Par::Seq, Par::rayon(2), Par::rayon(3)] {
            assert!(evaluated::<T>(n, chunk, par) == whole, "{} chunk {chunk}, {par:?}", T::DTYPE);
        }
    }
}

#[test]
fn results_do_not_depend_on_chunks_or_threads() {
    same_bits::<f64>();
    same_bits::<f32>();
}

/// Sums over the data have the same bits for any number of threads, and the same value for any chunk.
#[test]
fn sums_do_not_depend_on_threads() {
    let n = 13;
    let (params, x) = (model().init::<f64>(3), values::<f64>(&[n, DIM], 1));
    let run = |chunk: usize, par: Par| {
        let chunked = Chunked::<f64>::new(n, chunk, |rows| loss(rows, n)).unwrap();
        let (mut value, mut slope) = ([0.0], vec![f64::NAN; params.len()]);
        for _ in 0..2 {
            let outputs = &mut [Output::Real(&mut value), Output::Real(&mut slope)];
            chunked.run(par, &[Input::Real(&params), Input::Real(&x)], outputs).unwrap();
        }
        (value[0], slope)
    };
    let (value, slope) = run(n, Par::Seq);
    let scale = slope.iter().fold(0.0f64, |m, g| m.max(g.abs()));
    assert!(value > 0.0 && scale > 0.0);
    for chunk in [1, 2, 4, 5, 13] {
        let one = run(chunk, Par::Seq);
        assert!(one == run(chunk, Par::rayon(2)) && one == run(chunk, Par::rayon(3)), "chunk {chunk}");
        assert!((one.0 - value).abs() <= 1e-13 * value, "chunk {chunk}");
        assert!(one.1.iter().zip(&slope).all(|(a, b)| (a - b).abs() <= 1e-13 * scale), "chunk {chunk}");
    }
}

#[test]
fn no_data_is_fine() {
    let chunked = Chunked::<f64>::new(0, 4, operators).unwrap();
    let (params, w) = (model().init::<f64>(3), [1.0; 3]);
    let inputs = [&params[..], &[], &[], &w].map(Input::Real);
    let mut outputs = [Output::Real(&mut []), Output::Real(&mut []), Output::Real(&mut [])];
    chunked.run(Par::rayon(2), &inputs, &mut outputs).unwrap();
    let sums = Chunked::<f64>::new(0, 4, |rows| loss(rows, 1)).unwrap();
    let (mut value, mut slope) = ([1.0], vec![1.0; params.len()]);
    let outputs = &mut [Output::Real(&mut value), Output::Real(&mut slope)];
    sums.run(Par::rayon(2), &[Input::Real(&params), Input::Real(&[])], outputs).unwrap();
    assert!(value == [0.0] && slope.iter().all(|&g| g == 0.0));
}

#[test]
fn wrong_arguments_are_errors() {
    let chunked =
        Chunked::<f64>::new(5, 2, |n| trace(&[("x", TensorType::real(&[n, 2]))], |_, x| vec![("y", x[0].sum(&[1]))]))
            .unwrap();
    let mut y = [0.0; 5];
    let short = chunked.run(Par::Seq, &[Input::Real(&[0.0; 9])], &mut [Output::Real(&mut y)]);
    assert!(short.as_ref().unwrap_err().to_string().contains("expected [5, 2], got 9 numbers"), "{short:?}");
    let none = chunked.run(Par::Seq, &[], &mut [Output::Real(&mut y)]);
    assert!(matches!(none, Err(Error::Input { .. })), "{none:?}");
    let room = chunked.run(Par::Seq, &[Input::Real(&[0.0; 10])], &mut [Output::Real(&mut y[..4])]);
    assert!(matches!(room, Err(Error::Input { .. })), "{room:?}");
    let ints = chunked.run(Par::Seq, &[Input::Int(&[0; 10])], &mut [Output::Real(&mut y)]);
    assert!(matches!(ints, Err(Error::Input { .. })), "{ints:?}");
    // The data on an axis that cannot be cut, or on two.
    let last = |n: usize| -> Result<Program, Error> {
        trace(&[("x", TensorType::real(&[2, n]))], |_, x| vec![("y", x[0].exp())])
    };
    assert!(matches!(Chunked::<f64>::new(5, 2, last), Err(Error::Unsupported { .. })));
    let square = |n: usize| -> Result<Program, Error> {
        trace(&[("x", TensorType::real(&[n, n]))], |_, x| vec![("y", x[0].sum(&[1]))])
    };
    assert!(matches!(Chunked::<f64>::new(5, 2, square), Err(Error::Unsupported { .. })));
}

/// By hand, with three for a datum and one for a chunk: of 17 data on two threads 8 and 1 beside 8 end at 29, four fives at 32.
#[test]
fn sizes_of_chunks_keep_threads_busy() {
    let two = |data: usize| chunk_size(data, 8, Par::rayon(2));
    assert_eq!([0, 1, 2, 3, 8, 9, 12].map(two), [1, 1, 1, 2, 4, 5, 6]);
    assert_eq!([16, 17, 18, 32].map(two), [8, 8, 3, 8]);
    // The sixth datum is a chunk's second on one of five threads in either case, and cheaper in one chunk than in two.
    assert_eq!([5, 6, 40].map(|data| chunk_size(data, 8, Par::rayon(5))), [1, 2, 8]);
    for threads in 1..6 {
        let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
        assert!((0..400).all(|data| (1..=8).contains(&chunk_size(data, 8, par))), "{threads}");
        assert_eq!(chunk_size(1 << 40, 8, par), 8);
        assert_eq!(chunk_size(5, 0, par), 1);
    }
}
