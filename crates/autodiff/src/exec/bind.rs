//! What enters and leaves a run: borrowed data with a stride on the leading axis.
//!
//! Strides are part of a plan, so that every step knows them; an executable keeps a plan for each arrangement of strides that
//! it has met lately.

use crate::array::Value;
use crate::types::{Dims, Kind, TensorType, strides};
use numerics::{MatMut, MatRef, Scalar};

/// Data of an input; all of it is borrowed.
///
/// ```
/// use autodiff::{Input, Output, TensorType, Workspace, trace};
/// use numerics::Mat;
/// // The columns of a matrix enter as the rows of a `[2, 3]` tensor, and the rows leave as columns; nothing is copied.
/// let f = trace(&[("x", TensorType::real(&[2, 3]))], |_, x| vec![("y", x[0].exp())])?;
/// let (x, mut y) = (Mat::<f64>::zeros(3, 2), Mat::zeros(3, 2));
/// let exe = f.compile::<f64>()?;
/// exe.run(&mut Workspace::new(), &[Input::Columns(x.as_ref())], &mut [Output::Columns(y.as_mut())])?;
/// assert_eq!(y[(2, 1)], 1.0);
/// # Ok::<(), autodiff::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// Floating-point numbers, row-major.
    Real(&'a [T]),
    /// Integers, row-major.
    Int(&'a [i64]),
    /// Floating-point numbers of shape `[K, ..]`, whose entry `k` of the leading axis, row-major, is column `k` of a matrix
    /// `P x K`. A slice with a stride on the leading axis is such a matrix
    /// (`MatRef::from_column_major_slice_with_stride`). Any strides that are not negative will do.
    Columns(MatRef<'a, T>),
}

/// Room for an output; all of it is borrowed.
#[derive(Debug)]
pub enum Output<'a, T> {
    /// Floating-point numbers, row-major.
    Real(&'a mut [T]),
    /// Integers, row-major.
    Int(&'a mut [i64]),
    /// Floating-point numbers of shape `[K, ..]`: entry `k` of the leading axis becomes column `k`, as for
    /// [`Input::Columns`].
    Columns(MatMut<'a, T>),
}

impl<'a, T> From<&'a Value<T>> for Input<'a, T> {
    fn from(value: &'a Value<T>) -> Self {
        match value {
            Value::Real(a) => Input::Real(a.data()),
            Value::Int(a) => Input::Int(a.data()),
        }
    }
}

impl<'a, T> From<&'a mut Value<T>> for Output<'a, T> {
    fn from(value: &'a mut Value<T>) -> Self {
        match value {
            Value::Real(a) => Output::Real(a.data_mut()),
            Value::Int(a) => Output::Int(a.data_mut()),
        }
    }
}

/// Strides of a tensor `[K, ..]`: between entries of the leading axis, and the unit of the row-major rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stride {
    lead: usize,
    unit: usize,
}

/// What is wrong with an argument.
pub(super) struct Mismatch(pub(super) String);

impl Stride {
    /// Of a matrix `P x K`; `None` if it lies row-major as it is.
    fn of(ty: &TensorType, size: [usize; 2], row: isize, col: isize) -> Result<Option<Self>, Mismatch> {
        let lead = ty.shape.first().copied().unwrap_or(1);
        let rest: usize = ty.shape.iter().skip(1).product();
        if ty.kind != Kind::Real || size != [rest, lead] {
            return Err(Mismatch(format!("a matrix of {} x {}", size[0], size[1])));
        }
        if rest * lead == 0 {
            return Ok(None);
        }
        let stride = |s: isize, n: usize, trivial: usize| match usize::try_from(s) {
            _ if n == 1 => Ok(trivial),
            Ok(s) => Ok(s),
            Err(_) => Err(Mismatch(format!("a matrix with a stride of {s}"))),
        };
        let unit = stride(row, rest, 1)?;
        let lead = stride(col, lead, rest * unit)?;
        Ok((unit != 1 || lead != rest).then_some(Stride { lead, unit }))
    }

    /// Strides of all axes.
    pub(super) fn expand(self, shape: &[usize]) -> Dims {
        let mut s = strides(shape);
        s.iter_mut().for_each(|s| *s *= self.unit);
        s.first_mut().into_iter().for_each(|s| *s = self.lead);
        s
    }
}

fn plain(ty: &TensorType, kind: Kind, len: usize) -> Result<Option<Stride>, Mismatch> {
    if kind == ty.kind && len == ty.numel() {
        return Ok(None);
    }
    let what = if kind == Kind::Int { "integers" } else { "reals" };
    Err(Mismatch(format!("{len} {what}")))
}

impl<T: Scalar> Input<'_, T> {
    /// Checks the data against the type.
    pub(super) fn stride(&self, ty: &TensorType) -> Result<Option<Stride>, Mismatch> {
        match self {
            Input::Real(x) => plain(ty, Kind::Real, x.len()),
            Input::Int(x) => plain(ty, Kind::Int, x.len()),
            Input::Columns(x) => Stride::of(ty, [x.nrows(), x.ncols()], x.row_stride(), x.col_stride()),
        }
    }

    /// Where the real numbers, or the integers, begin.
    pub(super) fn pointers(&self) -> (*const T, *const i64) {
        match self {
            Input::Real(x) => (x.as_ptr(), core::ptr::null()),
            Input::Int(x) => (core::ptr::null(), x.as_ptr()),
            Input::Columns(x) => (x.as_ptr(), core::ptr::null()),
        }
    }
}

impl<T: Scalar> Output<'_, T> {
    /// Checks the room against the type.
    pub(super) fn stride(&self, ty: &TensorType) -> Result<Option<Stride>, Mismatch> {
        match self {
            Output::Real(x) => plain(ty, Kind::Real, x.len()),
            Output::Int(x) => plain(ty, Kind::Int, x.len()),
            Output::Columns(x) => Stride::of(ty, [x.nrows(), x.ncols()], x.row_stride(), x.col_stride()),
        }
    }

    /// Where the real numbers, or the integers, begin.
    pub(super) fn pointers(&mut self) -> (*mut T, *mut i64) {
        match self {
            Output::Real(x) => (x.as_mut_ptr(), core::ptr::null_mut()),
            Output::Int(x) => (core::ptr::null_mut(), x.as_mut_ptr()),
            Output::Columns(x) => (x.as_ptr_mut(), core::ptr::null_mut()),
        }
    }
}

/// Strides of all arguments of a run, `None` where they lie row-major.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    inputs: Vec<Option<Stride>>,
    outputs: Vec<Option<Stride>>,
}

impl Layout {
    pub(super) fn clear(&mut self) {
        self.inputs.clear();
        self.outputs.clear();
    }

    pub(super) fn push_input(&mut self, stride: Option<Stride>) {
        self.inputs.push(stride);
    }

    pub(super) fn push_output(&mut self, stride: Option<Stride>) {
        self.outputs.push(stride);
    }

    /// Whether everything lies row-major.
    pub(super) fn is_plain(&self) -> bool {
        self.inputs.iter().chain(&self.outputs).all(Option::is_none)
    }

    pub(super) fn input(&self, i: usize) -> Option<Stride> {
        self.inputs.get(i).copied().flatten()
    }

    pub(super) fn output(&self, i: usize) -> Option<Stride> {
        self.outputs.get(i).copied().flatten()
    }
}
