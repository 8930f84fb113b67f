//! `Kind`: a borrowed view of an operator's structure, which dispatch matches on.

use core::marker::PhantomData;

/// The structure of an operator, as far as it is known.
///
/// Dispatch of solves, determinants, traces and spectra matches on it; [`Kind::Opaque`] stands for "only products".
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Kind<'a, T> {
    /// Nothing but products.
    Opaque,
    #[doc(hidden)]
    Never(core::convert::Infallible, PhantomData<&'a T>),
}
