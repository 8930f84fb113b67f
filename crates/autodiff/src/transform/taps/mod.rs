//! Taps: for every use of a parameter, the value it meets and the cotangent that comes back, as a program.
//!
//! A use is a node that reads a parameter through rearrangements only. A zero input, the tap, is added to its result;
//! the cotangent of the tap is the cotangent of the result, for all uses in one reverse pass and for any number of
//! output cotangents at once (`vmap`). Together with the other operand it holds everything about the parameter's
//! gradient, per datum and per position: Kronecker factors (arXiv:2507.05127 section 4), cached Gauss-Newton products,
//! neural tangent kernels, residual kernels (arXiv:2505.12149). Cost: one addition per use, nothing of the size of a
//! parameter.

mod bias;
mod piece;
mod site;
mod unfold;
mod walk;

use super::Linearized;
use crate::error::Error;
use crate::program::Program;
use crate::types::Dims;
use core::ops::Range;

/// A parameter tensor that taps look for: an input, or a part of an input with one axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Name in reports and errors.
    pub name: String,
    /// Position of the input that holds it.
    pub input: usize,
    /// Where it begins in a flat input; `None` if the input is the parameter.
    pub offset: Option<usize>,
    /// Sizes of its axes; its entries are row-major.
    pub shape: Dims,
}

impl Leaf {
    /// A whole input.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if there is no such real input.
    pub fn input(program: &Program, input: usize) -> Result<Self, Error> {
        super::check_wrt(program, &[input])?;
        let name = program.inputs()[input].name.clone();
        Ok(Leaf { name, input, offset: None, shape: program.input_type(input).shape.clone() })
    }
}

/// What a parameter does in a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A contraction with the other operand: linear layers, convolutions (see [`Use::unfold`]), bilinear forms.
    Contraction,
    /// An elementwise product with the other operand, repeated along the positions: gains.
    Scale,
    /// A sum, repeated along the positions: biases, shifts.
    Shift,
    /// Rows picked by integers, which are the other operand: embeddings.
    Lookup,
}

/// An axis of a layer, and the distance of its neighbours in the parameter's row-major entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Number of entries.
    pub size: usize,
    /// Distance in the parameter.
    pub stride: usize,
}

/// How the entries of a weight lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// Rows are outputs, row-major: `W x`.
    OutIn,
    /// Rows are inputs, row-major: `x W`.
    InOut,
    /// Neither: use the strides.
    Strided,
}

/// A sliding window that feeds a contraction: with it the layer is a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfold {
    /// Which of the positions counts the windows.
    pub position: usize,
    /// Which of the inputs runs inside a window.
    pub input: usize,
    /// Axis of [`Use::source`] along which the windows slide.
    pub axis: usize,
    /// Elements per window.
    pub size: usize,
    /// Distance between windows.
    pub stride: usize,
    /// Distance between the elements of a window.
    pub dilation: usize,
    /// Zeros before and after the axis.
    pub padding: (usize, usize),
}

/// One use of a parameter.
///
/// The tap and its cotangents have the shape `positions ++ groups ++ outputs`; the other operand, output
/// [`Use::input`], has the shape `positions ++ groups ++ inputs` (without the inputs for a lookup, whose other operand
/// holds the row numbers). Entry `offset + g . groups + o . outputs + i . inputs` (dot: index times strides) of the
/// parameter has the gradient `factor * sum over positions of tap[.., g, o] * other[.., g, i]`, plus what its other
/// uses give. (A bias that shares the tap of its contraction may cut an output axis in two; the data is the same.)
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// Position in the list of leaves.
    pub param: usize,
    /// The parameter's name.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// A constant that the parameter is multiplied by on its way (-1 where it is subtracted).
    pub factor: f64,
    /// First entry of the parameter that this use reads.
    pub offset: usize,
    /// Sizes of the axes along which the use repeats: data, sequence, streams. The weight is shared along them.
    pub positions: Vec<usize>,
    /// The range of each position that this use takes part in: all, except for a bias on some streams only.
    pub windowed: Vec<Range<usize>>,
    /// Axes that parameter, other operand and result share: groups, heads, elementwise axes.
    pub groups: Vec<Axis>,
    /// Axes summed by the contraction; the row axis of a lookup.
    pub inputs: Vec<Axis>,
    /// Axes of parameter and result.
    pub outputs: Vec<Axis>,
    /// Number of the tap: input `tap.k` of [`Taps::program`], cotangent `tap.k` of [`Taps::backward`].
    pub tap: usize,
    /// Position of the other operand among the outputs of [`Taps::program`]; a shift has none.
    pub input: Option<usize>,
    /// Windows before the contraction, outermost position first.
    pub unfold: Vec<Unfold>,
    /// Position of what the windows slide over among the outputs of [`Taps::program`].
    pub source: Option<usize>,
    /// For a contraction: the use that adds a bias to its result, so that `[W b]` is one block.
    pub bias: Option<usize>,
    /// For such a bias: the contraction, whose tap it shares.
    pub bias_of: Option<usize>,
}

impl Use {
    /// Number of positions.
    pub fn sites(&self) -> usize {
        self.positions.iter().product()
    }

    /// How the entries of the weight lie.
    pub fn orientation(&self) -> Orientation {
        let packed = |first: &[Axis], second: &[Axis]| {
            let axes: Vec<&Axis> = self.groups.iter().chain(first).chain(second).collect();
            let mut expected = 1;
            axes.iter().rev().all(|a| {
                let fits = a.stride == expected;
                expected *= a.size;
                fits
            })
        };
        if packed(&self.outputs, &self.inputs) {
            Orientation::OutIn
        } else if packed(&self.inputs, &self.outputs) {
            Orientation::InOut
        } else {
            Orientation::Strided
        }
    }
}

/// A program with taps.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// Takes the program's inputs, then the taps; returns the program's outputs, then the other operands `in.k` and
    /// windowed values `source.k`. With all taps zero it is the program.
    pub program: Program,
    /// The uses in the order of the program, the parts of one node in the order of the leaves.
    pub uses: Vec<Use>,
    /// Number of inputs that are the program's own.
    pub inputs: usize,
    /// Number of outputs that are the program's own.
    pub outputs: usize,
}

impl Taps {
    /// Number of taps.
    pub fn len(&self) -> usize {
        self.program.inputs().len() - self.inputs
    }

    /// Whether no parameter is used.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions of the taps among the inputs of [`Taps::program`].
    pub fn taps(&self) -> Vec<usize> {
        (self.inputs..self.program.inputs().len()).collect()
    }

    /// The reverse pass: takes the program's inputs and a cotangent `ct.name` per real output of the program; returns
    /// all outputs of [`Taps::program`], then the cotangent `tap.k` of each tap.
    ///
    /// # Errors
    /// Those of [`Program::vjp`].
    pub fn backward(&self) -> Result<Program, Error> {
        let reverse = self.program.reverse_of(&self.taps(), self.outputs, |b, output, i| {
            Ok(b.input(format!("ct.{output}"), self.program.output_type(i).clone()))
        })?;
        let mut reverse = reverse.with_zeros(&self.taps())?;
        let own = self.program.outputs().len();
        for (k, port) in reverse.outputs[own..].iter_mut().enumerate() {
            port.name = format!("tap.{k}");
        }
        Ok(reverse)
    }

    /// The same in two parts: `primal` takes the program's inputs and returns all outputs of [`Taps::program`] and the
    /// residuals, once per point; `linear` maps tangents of the taps to tangents of the program's outputs, and its
    /// transpose maps cotangents of the outputs to cotangents of the taps, as often as one likes, `vmap`ped or not.
    ///
    /// # Errors
    /// Those of [`Program::linearize`].
    pub fn linearize(&self) -> Result<Linearized, Error> {
        let split = self.program.linearize_of(&self.taps(), self.outputs)?;
        Ok(Linearized { primal: split.primal.with_zeros(&self.taps())?, ..split })
    }
}

impl Program {
    /// Finds every use of the parameters and puts a tap on it.
    ///
    /// Parameters are followed through reshape, transpose, slice, concat, broadcast and constant factors. Uses are
    /// contractions, products, sums, choices and lookups; two parameters that meet each other are two uses.
    ///
    /// ```
    /// use autodiff::{Leaf, TapKind, TensorType, trace};
    /// let f = trace(
    ///     &[("w", TensorType::real(&[3, 2])), ("b", TensorType::real(&[3])), ("x", TensorType::real(&[5, 2]))],
    ///     |_, t| vec![("y", (t[2].matmul(&t[0].t()) + &t[1]).tanh())],
    /// )?;
    /// let taps = f.taps(&[Leaf::input(&f, 0)?, Leaf::input(&f, 1)?])?;
    /// let (weight, bias) = (&taps.uses[0], &taps.uses[1]);
    /// assert_eq!((weight.kind, weight.bias, bias.bias_of), (TapKind::Contraction, Some(1), Some(0)));
    /// assert_eq!((weight.positions.as_slice(), weight.outputs[0].size, weight.inputs[0].size), (&[5][..], 3, 2));
    /// let backward = taps.backward()?;
    /// assert_eq!(backward.output_type(backward.output_index("tap.0")?).shape.as_slice(), [5, 3]);
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnsupportedUse`] for any other use; [`Error::UnknownName`] for a leaf that does not exist.
    pub fn taps(&self, params: &[Leaf]) -> Result<Taps, Error> {
        walk::taps(self, params)
    }
}
