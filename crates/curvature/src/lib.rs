//! Curvature of neural networks as linear operators.
#![forbid(unsafe_code)]
