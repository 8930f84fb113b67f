//! Traced tensor programs and their derivatives, compiled for the CPU.
#![deny(unsafe_code)]
