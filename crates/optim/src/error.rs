//! The error of this crate: wrong lists and settings, bad numbers, checkpoints of something else.

/// What can go wrong in setting up, stepping and resuming an optimiser.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An error of the numerical layer or of a file.
    #[error(transparent)]
    Numerics(#[from] numerics::Error),
    /// Two parameters have the same name.
    #[error("two parameters are called {name:?}")]
    DuplicateParameter {
        /// The name.
        name: String,
    },
    /// A parameter was put into a group that does not exist.
    #[error("parameter {name:?}: group {group} does not exist (there are {groups})")]
    UnknownGroup {
        /// The parameter.
        name: String,
        /// The group asked for.
        group: usize,
        /// How many groups there are.
        groups: usize,
    },
    /// The number of elements does not fit the address space.
    #[error("parameter {name:?}: shape {shape:?} has too many elements")]
    TooLarge {
        /// The parameter.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A vector has the wrong length for the parameter list.
    #[error("{what}: expected length {expected}, got {got}")]
    Length {
        /// Which vector.
        what: &'static str,
        /// Length that the list asks for.
        expected: usize,
        /// Length that came.
        got: usize,
    },
    /// A setting is outside its range.
    #[error("{field}: {value} is not {allowed}")]
    Setting {
        /// Which setting.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A gradient holds a NaN or an infinity. Neither parameters nor state have changed.
    #[error("the gradient of {parameter:?} holds a NaN or an infinity")]
    NonFiniteGradient {
        /// The first parameter with such a gradient.
        parameter: String,
    },
    /// The decompositions of one factor failed more than three times in a row; the step was done with the old basis.
    #[error("{parameter:?}: the decompositions of mode {mode} have failed more than three times in a row")]
    Decomposition {
        /// The tensor.
        parameter: String,
        /// The mode whose factor it is.
        mode: usize,
    },
    /// A fixed-point iteration swings between two states.
    #[error("{op}: the scale swings for ever by a factor of {ratio}; relax or alternate the updates")]
    Oscillates {
        /// The iteration.
        op: &'static str,
        /// One scale over the other.
        ratio: f64,
    },
    /// The optimiser has not been given a parameter list.
    #[error("{kind}: init has not been called")]
    NotInitialised {
        /// The method.
        kind: &'static str,
    },
    /// A checkpoint does not belong to this parameter list.
    #[error("checkpoint: {what}")]
    Checkpoint {
        /// What differs.
        what: String,
    },
}

/// Fails unless `ok`.
pub(crate) fn check(ok: bool, field: &'static str, value: f64, allowed: &'static str) -> Result<(), Error> {
    if ok { Ok(()) } else { Err(Error::Setting { field, value, allowed }) }
}

pub(crate) fn check_len(what: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if expected == got { Ok(()) } else { Err(Error::Length { what, expected, got }) }
}
