//! Curvature, higher derivatives and the methods that use them: library, command line and tour.
#![forbid(unsafe_code)]

pub mod cli;
pub mod data;
pub mod io;
pub mod plot;
pub mod tour;
pub mod train;
