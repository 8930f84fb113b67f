//! Operators against dense matrices.
mod facts;
mod rules;
mod samples;
mod zoo;
