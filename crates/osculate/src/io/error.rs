//! The error of the file readers and writers.

use std::path::Path;

/// What can go wrong with a file of arrays.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused: no such file, no permission, a full disk.
    #[error("{path}: {what}")]
    Io {
        /// The file.
        path: String,
        /// The system's words.
        what: String,
    },
    /// The bytes are not what the format demands.
    #[error("{path}: {what}")]
    Format {
        /// The file, with the entry inside it after a `!` where there is one.
        path: String,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// A line of a text file is wrong.
    #[error("{path}:{line}: {what}")]
    Line {
        /// The file.
        path: String,
        /// Line, counted from one.
        line: usize,
        /// What is wrong, and what would be right.
        what: String,
    },
    /// The file declares more data than the memory limit allows.
    #[error("{path}: holds {needed} bytes of data, the limit is {limit}")]
    Limit {
        /// The file.
        path: String,
        /// Declared bytes.
        needed: u64,
        /// Allowed bytes.
        limit: u64,
    },
    /// The file is well formed, but its contents cannot be used.
    #[error("{path}: {what}")]
    Data {
        /// The file.
        path: String,
        /// What is wrong, and what would be right.
        what: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, e: &std::io::Error) -> Self {
        Error::Io { path: path.display().to_string(), what: e.to_string() }
    }

    pub(crate) fn format(path: &str, what: impl Into<String>) -> Self {
        Error::Format { path: path.to_owned(), what: what.into() }
    }

    pub(crate) fn data(path: &str, what: impl Into<String>) -> Self {
        Error::Data { path: path.to_owned(), what: what.into() }
    }
}
