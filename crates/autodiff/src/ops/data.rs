//! `Data`: how a value depends on the data, the vocabulary of each primitive's data rule.

use crate::types::TensorType;

/// How a value depends on the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// Not at all.
    Shared(Shared),
    /// Index `i` of this axis belongs to datum `i`, and depends on no other datum.
    Along(usize),
    /// A sum over the data, each term of one datum.
    Sum,
}

/// What is known of a value that does not depend on the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shared {
    /// Bit `a` is set if the value does not change along axis `a`.
    still: u64,
    /// Whether all elements are zero.
    zero: bool,
}

impl Shared {
    /// Nothing known but that axes of size one do not change.
    pub(crate) fn any(ty: &TensorType) -> Self {
        let still = (0..ty.rank().min(64)).filter(|&a| ty.shape[a] == 1).fold(0, |bits, a| bits | 1 << a);
        Shared { still, zero: false }
    }

    /// One value everywhere.
    pub(crate) fn uniform(zero: bool) -> Self {
        Shared { still: u64::MAX, zero }
    }

    pub(super) fn is_zero(self) -> bool {
        self.zero
    }

    pub(super) fn is_still(self, axis: usize) -> bool {
        axis < 64 && self.still >> axis & 1 == 1
    }

    /// With axis `a` of the value being still where `f(a)` says so.
    pub(super) fn axes(ty: &TensorType, zero: bool, f: impl Fn(usize) -> bool) -> Self {
        let still = (0..ty.rank().min(64)).filter(|&a| f(a)).fold(Self::any(ty).still, |bits, a| bits | 1 << a);
        Shared { still, zero }
    }
}

const OF_SUM: &str = "it is not linear in a sum over the data";
const BESIDE_SUM: &str = "it joins a sum over the data with something that is none";
pub(super) const RUNS_ALONG: &str = "an operand that holds no data changes along the data axis";
pub(super) const TWO_AXES: &str = "the data stand along different axes of the operands";

/// The rule of an operation on one operand that acts on each element alone, or moves none.
pub(super) fn alone(of: Data, linear: bool) -> Result<Data, String> {
    match of {
        Data::Sum if !linear => Err(OF_SUM.into()),
        Data::Shared(s) => Ok(Data::Shared(Shared { zero: s.zero && linear, ..s })),
        of => Ok(of),
    }
}

/// The rule of an operation that is linear and maps axis `a` of its operand to axis `to(a)`; an axis that goes nowhere
/// must not hold the data. A shared value is still along what `still` says, given the operand's.
pub(super) fn moved(
    of: Data,
    out: &TensorType,
    to: impl Fn(usize) -> Result<usize, String>,
    still: impl Fn(Shared, usize) -> bool,
) -> Result<Data, String> {
    match of {
        Data::Along(a) => to(a).map(Data::Along),
        Data::Sum => Ok(Data::Sum),
        Data::Shared(s) => Ok(Data::Shared(Shared::axes(out, s.zero, |a| still(s, a)))),
    }
}

/// The rule of elementwise operations on several operands: `sum` says whether a sum over the data may pass, given which
/// operands are such.
pub(super) fn together(of: &[Data], sum: impl Fn(&[Data]) -> bool) -> Result<Data, String> {
    let axis = of.iter().find_map(|d| if let Data::Along(a) = d { Some(*a) } else { None });
    let Some(axis) = axis else {
        if of.contains(&Data::Sum) {
            return if sum(of) { Ok(Data::Sum) } else { Err(BESIDE_SUM.into()) };
        }
        let all = of.iter().fold(Shared::uniform(true), |all, d| match d {
            Data::Shared(s) => Shared { still: all.still & s.still, zero: all.zero && s.zero },
            _ => all,
        });
        return Ok(Data::Shared(all));
    };
    for d in of {
        match d {
            Data::Along(a) if *a != axis => return Err(TWO_AXES.into()),
            Data::Shared(s) if !s.is_still(axis) => return Err(RUNS_ALONG.into()),
            Data::Sum => return Err("it joins a sum over the data with single data".into()),
            _ => {}
        }
    }
    Ok(Data::Along(axis))
}

impl Data {
    /// Whether it is a sum or vanishes: what sums may be added to.
    pub(super) fn adds(self) -> bool {
        matches!(self, Data::Sum | Data::Shared(Shared { zero: true, .. }))
    }

    pub(super) fn is_shared(self) -> bool {
        matches!(self, Data::Shared(_))
    }

    /// Fails if the operand changes along an axis on which the other holds the data.
    pub(super) fn still(self, axis: usize) -> Result<(), String> {
        match self {
            Data::Shared(s) if s.is_still(axis) => Ok(()),
            Data::Shared(_) => Err(RUNS_ALONG.into()),
            Data::Along(a) if a == axis => Ok(()),
            Data::Along(_) => Err(TWO_AXES.into()),
            Data::Sum => Err(OF_SUM.into()),
        }
    }

    /// Fails for a sum over the data.
    pub(super) fn no_sum(self) -> Result<Self, String> {
        if self == Data::Sum { Err(OF_SUM.into()) } else { Ok(self) }
    }
}
