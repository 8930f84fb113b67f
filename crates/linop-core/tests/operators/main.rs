//! Operators against dense matrices.
mod zoo;
