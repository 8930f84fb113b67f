//! Structure from matrix-vector products.
#![forbid(unsafe_code)]
