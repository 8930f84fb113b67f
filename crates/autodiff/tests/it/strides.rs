//! Borrowed arguments with strides give the bits of copied ones.

use crate::cases::numbers;
use autodiff::{Error, Executable, Input, Output, Program, Tensor, TensorType, Value, Workspace, trace};
use numerics::{Mat, MatMut, MatRef, Par};

fn loss(x: &[Tensor]) -> Tensor {
    let h = (x[1].matmul(&x[0].slice(0, 0, 90 * 40).reshape(&[90, 40]).t()) + x[0].slice(0, 3600, 3690)).tanh();
    (h.log_softmax() * &x[2]).sum_all()
}

/// The linear part of a gradient in `P = 3690` parameters for blocks of `k` directions, and its residuals.
fn product(k: usize) -> (Program, Vec<Value<f64>>) {
    let shapes: [&[usize]; 3] = [&[3690], &[31, 40], &[31, 90]];
    let ports: Vec<_> = ["p", "x", "t"].iter().zip(shapes).map(|(n, s)| (*n, TensorType::real(s))).collect();
    let program = trace(&ports, |_, x| vec![("loss", loss(x))]).unwrap();
    let split = program.grad(&[0]).unwrap().linearize(&[0]).unwrap();
    let point: Vec<Value<f64>> = shapes.iter().zip(1..).map(|(s, i)| numbers(s, i, -1.0, 1.0).into()).collect();
    let mut held = split.primal.interpret(&point).unwrap();
    held.drain(..split.outputs);
    let mut axes = vec![None; split.residuals];
    axes.push(Some(0));
    (split.linear.vmap(k, &axes).unwrap(), held)
}

/// `P x K` numbers inside a larger block of memory, and how far its rows and columns are apart.
fn view(data: &[f64], p: usize, k: usize, unit: usize, lead: usize) -> MatRef<'_, f64> {
    match unit {
        1 => MatRef::from_column_major_slice_with_stride(data, p, k, lead),
        _ => MatRef::from_row_major_slice_with_stride(data, p, k, unit),
    }
}

fn columns(exe: &Executable<f64>, held: &[Value<f64>], x: MatRef<'_, f64>, y: MatMut<'_, f64>) {
    exe.run_with(&mut Workspace::new(), held, &[Input::Columns(x)], &mut [Output::Columns(y)]).unwrap();
}

#[test]
fn columns_of_a_matrix_have_the_bits_of_rows_of_a_tensor() {
    for k in [1, 3, 8] {
        let (program, held) = product(k);
        let (exe, p) = (program.compile::<f64>().unwrap(), 3690);
        for (unit, lead) in [(1, p), (1, p + 5), (k + 1, 1), (k + 2, 1)] {
            let size = if unit == 1 { lead * k } else { unit * p };
            let data = numbers(&[size], 9, -1.0, 1.0).into_data();
            let x = view(&data, p, k, unit, lead);
            let rows: Vec<f64> = (0..k * p).map(|i| x[(i % p, i / p)]).collect();
            let mut expected = vec![f64::NAN; k * p];
            let mut w = Workspace::new();
            exe.run_with(&mut w, &held, &[Input::Real(&rows)], &mut [Output::Real(&mut expected)]).unwrap();
            assert!(expected.iter().all(|y| y.is_finite()));
            let mut room = vec![f64::NAN; size];
            let y = match unit {
                1 => MatMut::from_column_major_slice_with_stride_mut(&mut room, p, k, lead),
                _ => MatMut::from_column_major_slice_with_stride_mut(&mut room, k, p, unit).transpose_mut(),
            };
            columns(&exe, &held, x, y);
            let y = view(&room, p, k, unit, lead);
            let same = (0..k * p).all(|i| y[(i % p, i / p)].to_bits() == expected[i].to_bits());
            assert!(same, "{k} columns, strides {unit} and {lead}");
            // What lies between the columns is not touched.
            assert_eq!(room.iter().filter(|y| y.is_nan()).count(), size - k * p);
        }
    }
}

#[test]
fn every_kind_of_step_takes_strides() {
    let ty = TensorType::real(&[5, 6, 7]);
    let ports = [("x", ty.clone()), ("i", TensorType::int(&[3]))];
    let p = trace(&ports, |t, x| {
        let c = t.constant(&[7, 4], &(0..28).map(f64::from).collect::<Vec<_>>());
        vec![
            ("itself", x[0].clone()),
            ("turned", x[0].transpose(&[2, 0, 1])),
            ("flat", x[0].reshape(&[30, 7])),
            ("map", x[0].sin() * x[0].slice(0, 1, 2).broadcast_to(&[5, 6, 7])),
            ("dot", x[0].dot(&c, &[], &[(2, 0)])),
            ("sum", x[0].sum(&[2])),
            ("max", x[0].max(&[0])),
            ("rows", x[0].gather(&x[1], 0)),
            ("joined", t.concat(&[&x[0], &x[0].exp()], 0)),
        ]
    })
    .unwrap();
    let exe = p.compile::<f64>().unwrap();
    let data = numbers(&[5 * 50], 4, -1.0, 1.0).into_data();
    let x = MatRef::from_column_major_slice_with_stride(&data, 42, 5, 50);
    let rows: Vec<f64> = (0..210).map(|i| x[(i % 42, i / 42)]).collect();
    let index = [4, 0, 4];
    let mut plain: Vec<Vec<f64>> = exe.output_types().map(|t| vec![0.0; t.numel()]).collect();
    let mut outputs: Vec<Output<'_, f64>> = plain.iter_mut().map(|y| Output::Real(y)).collect();
    exe.run(&mut Workspace::new(), &[Input::Real(&rows), Input::Int(&index)], &mut outputs).unwrap();
    drop(outputs);
    let mut strided: Vec<Mat<f64>> =
        exe.output_types().map(|t| Mat::zeros(t.numel() / t.shape[0], t.shape[0])).collect();
    let mut outputs: Vec<Output<'_, f64>> = strided.iter_mut().map(|y| Output::Columns(y.as_mut())).collect();
    exe.run(&mut Workspace::new(), &[Input::Columns(x), Input::Int(&index)], &mut outputs).unwrap();
    drop(outputs);
    for (i, (a, b)) in plain.iter().zip(&strided).enumerate() {
        let same = a.iter().enumerate().all(|(at, &a)| a == b[(at % b.nrows(), at / b.nrows())]);
        assert!(same && b.norm_max() > 0.0, "output {i}");
    }
}

#[test]
fn threads_and_many_arrangements() {
    let (program, held) = product(4);
    let exe = program.compile::<f64>().unwrap();
    let data = numbers(&[4 * 4000], 7, -1.0, 1.0).into_data();
    let mut first: Option<Mat<f64>> = None;
    // More arrangements than an executable keeps.
    for lead in 3690..3720 {
        let x = MatRef::from_column_major_slice_with_stride(&data[..3 * lead + 3690], 3690, 4, lead).to_owned();
        let padded = Mat::from_fn(lead, 4, |i, j| if i < 3690 { data[j * 3690 + i] } else { x[(0, 0)] });
        let mut y = Mat::zeros(3690, 4);
        let mut w = Workspace::with_par(if lead % 2 == 0 { Par::Seq } else { Par::rayon(2) });
        let input = Input::Columns(padded.as_ref().subrows(0, 3690));
        exe.run_with(&mut w, &held, &[input], &mut [Output::Columns(y.as_mut())]).unwrap();
        assert_eq!(&y, first.get_or_insert_with(|| y.clone()));
    }
}

#[test]
fn unfit_matrices_are_errors() {
    let p = trace(&[("x", TensorType::real(&[2, 3]))], |_, x| vec![("y", x[0].exp())]).unwrap();
    let exe = p.compile::<f64>().unwrap();
    let (good, turned) = (Mat::<f64>::zeros(3, 2), Mat::<f64>::zeros(2, 3));
    let mut w = Workspace::new();
    let mut run =
        |x: MatRef<'_, f64>, y: MatMut<'_, f64>| exe.run(&mut w, &[Input::Columns(x)], &mut [Output::Columns(y)]);
    let refused = |r: Result<(), Error>| matches!(r, Err(Error::Input { .. }));
    assert!(run(good.as_ref(), Mat::zeros(3, 2).as_mut()).is_ok());
    assert!(refused(run(turned.as_ref(), Mat::zeros(3, 2).as_mut())));
    assert!(refused(run(good.as_ref(), Mat::zeros(2, 3).as_mut())));
    assert!(refused(run(good.as_ref().reverse_rows(), Mat::zeros(3, 2).as_mut())));
    let held = [numbers(&[6], 1, 0.0, 1.0).into()];
    assert!(refused(exe.run_with(&mut w, &held, &[], &mut [Output::Real(&mut [0.0; 6])])));
}
