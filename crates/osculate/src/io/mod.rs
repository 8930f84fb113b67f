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

/// Writes `path` through a neighbour `path.tmp` that is synced and then renamed, so that a failure leaves no half file.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), Error> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let tmp = std::path::PathBuf::from(name);
    let result = (|| {
        let mut w = std::io::BufWriter::new(std::fs::File::create(&tmp)?);
        write(&mut w)?;
        w.flush()?;
        w.get_ref().sync_all()?;
        drop(w);
        std::fs::rename(&tmp, path)
    })();
    result.map_err(|e| {
        // Best effort: the error that matters is already in hand.
        let _ = std::fs::remove_file(&tmp);
        Error::io(path, &e)
    })
}
