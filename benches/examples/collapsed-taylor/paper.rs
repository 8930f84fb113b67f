//! The paper's slopes: its tables of PyTorch in double precision on one RTX 6000, eager.

/// Milliseconds, and MiB with and without a gradient, for one point or sample more.
#[derive(Clone, Copy)]
pub(crate) struct Slope {
    pub(crate) ms: f64,
    pub(crate) with_gradient: f64,
    pub(crate) values: f64,
}

/// Nested, standard, collapsed.
pub(crate) type Slopes = [Slope; 3];

const fn slope(ms: f64, with_gradient: f64, values: f64) -> Slope {
    Slope { ms, with_gradient, values }
}

pub(crate) const LAPLACIAN: Slopes = [slope(0.609, 4.42, 2.21), slope(0.564, 4.55, 1.19), slope(0.290, 2.06, 0.897)];
pub(crate) const WEIGHTED: Slopes = [slope(0.601, 4.40, 2.19), slope(0.566, 4.55, 1.19), slope(0.291, 2.06, 0.897)];
pub(crate) const WEIGHTED_HALF: Slopes =
    [slope(0.313, 2.25, 1.12), slope(0.287, 2.36, 0.604), slope(0.152, 1.13, 0.457)];
pub(crate) const WEIGHTED_TENTH: Slopes =
    [slope(0.0838, 0.527, 0.257), slope(0.0650, 0.598, 0.135), slope(0.0425, 0.390, 0.106)];
pub(crate) const BIHARMONIC: Slopes = [slope(1.244, 7.86, 3.52), slope(0.899, 7.68, 1.25), slope(0.686, 4.82, 1.14)];
pub(crate) const STOCHASTIC: Slopes = [slope(24.0, 177.0, 88.8), slope(23.3, 205.0, 47.9), slope(11.8, 88.7, 35.8)];
pub(crate) const STOCHASTIC_WEIGHTED: Slopes =
    [slope(24.1, 178.0, 89.6), slope(23.5, 205.0, 47.9), slope(11.9, 88.7, 35.8)];
pub(crate) const STOCHASTIC_BIHARMONIC: Slopes =
    [slope(43.8, 212.0, 86.4), slope(6.64, 64.5, 14.9), slope(4.93, 37.9, 13.4)];
