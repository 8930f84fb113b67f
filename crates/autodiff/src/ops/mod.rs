//! The primitives: each one's whole truth in one place, and the one list that registers them.
//!
//! To add a primitive, write a type that implements [`Primitive`] in the file of its family and add one line to the
//! `primitives!` list below.

mod binary;
mod call;
mod data;
mod dot;
mod index;
mod layout;
mod leaf;
mod reduce;
mod rule;
mod special;
mod tower;
mod unary;
mod window;

pub use binary::{Binary, BinaryFn, Select};
pub use call::Call;
pub use data::{Data, Shared};
pub use dot::Dot;
pub use index::{ArgMax, Gather, OneHot, ScatterAdd, ToReal};
pub use layout::{Broadcast, Concat, Pad, Reshape, Slice, Transpose};
pub use leaf::{Const, Input};
pub use reduce::{ReduceMax, ReduceSum};
pub use rule::{Primitive, Taylor};
pub use unary::{Bits, Unary};
pub use window::{Fold, Window};

use crate::array::Value;
use crate::error::Error;
use crate::program::{Builder, NodeId};
use crate::types::TensorType;
use numerics::Scalar;
use smallvec::SmallVec;

macro_rules! primitives {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        /// A primitive operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum Op {
            $($(#[$doc])* $name($name),)*
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        })*

        impl Op {
            /// The names of all primitives, without attributes.
            pub const PRIMITIVES: &'static [&'static str] = &[$(stringify!($name)),*];

            /// Which of [`Op::PRIMITIVES`] it is.
            pub fn primitive(&self) -> &'static str {
                match self { $(Op::$name(_) => stringify!($name),)* }
            }
            /// Name with attributes, as listings show it.
            pub fn name(&self) -> String {
                match self { $(Op::$name(op) => op.name(),)* }
            }
            /// The shape rule.
            pub fn infer(&self, args: &[&TensorType]) -> Result<TensorType, String> {
                match self { $(Op::$name(op) => op.infer(args),)* }
            }
            /// Floating-point operations of one evaluation.
            pub fn flops(&self, args: &[&TensorType], out: &TensorType) -> u64 {
                match self { $(Op::$name(op) => op.flops(args, out),)* }
            }
            /// Whether the operands may be swapped.
            pub fn commutes(&self) -> bool {
                match self { $(Op::$name(op) => op.commutes(),)* }
            }
            /// Evaluates, slowly and obviously.
            pub fn eval<T: Scalar>(&self, args: &[&Value<T>], out: &TensorType) -> Result<Value<T>, Error> {
                match self { $(Op::$name(op) => op.eval(args, out),)* }
            }
            /// Tangent of the value, given the operands' tangents.
            pub fn jvp(
                &self, b: &mut Builder, args: &[NodeId], out: NodeId, tangents: &[Option<NodeId>],
            ) -> Result<Option<NodeId>, Error> {
                match self { $(Op::$name(op) => op.jvp(b, args, out, tangents),)* }
            }
            /// How orders mix in Taylor mode.
            pub fn taylor(&self) -> Taylor {
                match self { $(Op::$name(op) => op.taylor(),)* }
            }
            /// Cotangents of the operands marked `linear`, given the value's cotangent.
            pub fn transpose(
                &self, b: &mut Builder, args: &[NodeId], linear: &[bool], ct: NodeId,
            ) -> Result<Vec<Option<NodeId>>, Error> {
                match self { $(Op::$name(op) => op.transpose(b, args, linear, ct),)* }
            }
            /// The operation on operands of which some carry a new leading axis of length `size`; so does the value.
            pub fn batch(
                &self, b: &mut Builder, args: &[NodeId], batched: &[bool], size: usize,
            ) -> Result<NodeId, Error> {
                match self { $(Op::$name(op) => op.batch(b, args, batched, size),)* }
            }
            /// How the value depends on the data, given how the operands do.
            pub fn data(&self, args: &[&TensorType], of: &[Data], out: &TensorType) -> Result<Data, String> {
                match self { $(Op::$name(op) => op.data(args, of, out),)* }
            }
        }
    };
}

primitives! {
    /// An input of the program.
    Input;
    /// A constant.
    Const;
    /// An elementwise function of one tensor.
    Unary;
    /// An elementwise function of two tensors.
    Binary;
    /// Elementwise choice.
    Select;
    /// Contraction with batch axes.
    Dot;
    /// Sum over axes.
    ReduceSum;
    /// Maximum over axes.
    ReduceMax;
    /// Position of the first maximum along the last axis.
    ArgMax;
    /// New axes along which the data repeats.
    Broadcast;
    /// Same data, other axes.
    Reshape;
    /// Permuted axes.
    Transpose;
    /// A strided box.
    Slice;
    /// Zeros around and between.
    Pad;
    /// Tensors joined along an axis.
    Concat;
    /// Slices picked by indices.
    Gather;
    /// Slices added up by indices.
    ScatterAdd;
    /// Indices as unit vectors.
    OneHot;
    /// Integers as reals.
    ToReal;
    /// Sliding windows along an axis.
    Window;
    /// Overlap-add of windows.
    Fold;
    /// A named sub-program.
    Call;
}

impl Op {
    /// The operation where some operands may carry a new leading axis (`true`): with the axis if any does.
    pub(crate) fn over(&self, b: &mut Builder, args: &[(NodeId, bool)], size: usize) -> Result<(NodeId, bool), Error> {
        let ids: SmallVec<[NodeId; 3]> = args.iter().map(|a| a.0).collect();
        let batched: SmallVec<[bool; 3]> = args.iter().map(|a| a.1).collect();
        if batched.contains(&true) {
            Ok((self.batch(b, &ids, &batched, size)?, true))
        } else {
            Ok((b.push(self.clone(), &ids)?, false))
        }
    }
}
