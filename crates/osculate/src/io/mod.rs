//! Arrays and data sets as files: `.npy`, `.npz`, `.csv`.
//!
//! Every reader takes untrusted bytes: sizes are checked before anything is allocated for them, nothing is read
//! past what a header declares, and a malformed file is a typed [`Error`] that names the file. Costs are linear in
//! the size of the data; a Fortran-ordered file costs one more pass.

mod array;
pub mod csv;
mod dataset;
mod error;
pub mod npy;
pub mod npz;

pub use array::{Array, ArrayData, Element};
pub use dataset::{Batches, Dataset, LabelRules, Targets};
pub use error::Error;

/// Bytes of decoded data that one file may hold unless the caller says otherwise: 2 GiB.
pub const DEFAULT_LIMIT: u64 = 2 << 30;

use std::io::Write;
use std::path::Path;

/// Writes a file that appears whole or not at all.
pub(crate) fn write_whole(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<(), Error> {
    numerics::store::atomic_write(path, write)
        .map_err(|e| Error::Io { path: path.display().to_string(), what: said(&e) })
}

/// The words of a store error without its path.
fn said(e: &numerics::Error) -> String {
    match e {
        numerics::Error::Io { what, .. } | numerics::Error::Format { what, .. } => what.clone(),
        other => other.to_string(),
    }
}
