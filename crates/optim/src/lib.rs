//! Optimisers that use curvature, and the first-order ones they are compared with.
#![forbid(unsafe_code)]
