//! The operators, how their programs are made, and what grows from one measurement to the next.

use crate::paper::{self, Slopes};
use autodiff::pde::{Coefficients, Operator, Scheme, Strategy};
use numerics::Scalar;
use numerics::rng::{Role, Stream};

/// Points at which stochastic operators are evaluated.
pub(crate) const POINTS: usize = 16;

/// What an operator is, exactly or from samples.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// The Laplacian.
    Laplacian,
    /// `sum_i i d_ii` over the first coordinates, as many as the rank.
    Weighted(usize),
    Biharmonic,
    /// A mean over Gaussian directions of its own at every point, of second derivatives; weighted or not.
    Stochastic {
        weighted: bool,
    },
    /// The same of fourth derivatives, divided by 3.
    StochasticBiharmonic,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Coordinates.
    pub(crate) dim: usize,
    /// Numbers of points, or of samples.
    pub(crate) sizes: [usize; 5],
    pub(crate) paper: Slopes,
}

const MANY: [usize; 5] = [1, 8, 16, 32, 64];
const FEW: [usize; 5] = [1, 4, 8, 16, 32];
const SAMPLES: [usize; 5] = [1, 8, 16, 32, 50];
const FOURTH_ORDER_SAMPLES: [usize; 5] = [1, 8, 16, 24, 36];

pub(crate) const ROWS: [Row; 8] = [
    Row { name: "Laplacian, D = 50", kind: Kind::Laplacian, dim: 50, sizes: MANY, paper: paper::LAPLACIAN },
    Row { name: "weighted, rank D", kind: Kind::Weighted(50), dim: 50, sizes: MANY, paper: paper::WEIGHTED },
    Row { name: "weighted, rank D/2", kind: Kind::Weighted(25), dim: 50, sizes: MANY, paper: paper::WEIGHTED_HALF },
    Row { name: "weighted, rank D/10", kind: Kind::Weighted(5), dim: 50, sizes: MANY, paper: paper::WEIGHTED_TENTH },
    Row { name: "biharmonic, D = 5", kind: Kind::Biharmonic, dim: 5, sizes: FEW, paper: paper::BIHARMONIC },
    Row {
        name: "stochastic Laplacian",
        kind: Kind::Stochastic { weighted: false },
        dim: 50,
        sizes: SAMPLES,
        paper: paper::STOCHASTIC,
    },
    Row {
        name: "stochastic weighted",
        kind: Kind::Stochastic { weighted: true },
        dim: 50,
        sizes: SAMPLES,
        paper: paper::STOCHASTIC_WEIGHTED,
    },
    Row {
        name: "stochastic biharmonic",
        kind: Kind::StochasticBiharmonic,
        dim: 5,
        sizes: FOURTH_ORDER_SAMPLES,
        paper: paper::STOCHASTIC_BIHARMONIC,
    },
];

/// A way to evaluate an operator, by its name in the tables.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    pub(crate) operator: Operator,
    pub(crate) strategy: Strategy,
}

impl Row {
    /// Whether samples grow, not points.
    pub(crate) fn sampled(&self) -> bool {
        matches!(self.kind, Kind::Stochastic { .. } | Kind::StochasticBiharmonic)
    }

    /// Order of the derivatives.
    pub(crate) fn order(&self) -> usize {
        if matches!(self.kind, Kind::Biharmonic | Kind::StochasticBiharmonic) { 4 } else { 2 }
    }

    /// Points of one measurement.
    pub(crate) fn points(&self, size: usize) -> usize {
        if self.sampled() { POINTS } else { size }
    }

    /// Nested, standard, collapsed; for the exact biharmonic the direct scheme too.
    pub(crate) fn routes(&self, size: usize) -> Vec<Route> {
        let same = |operator: Operator| [operator.clone(), operator.clone(), operator];
        let operators = match self.kind {
            Kind::Laplacian => same(Operator::Laplacian),
            Kind::Weighted(rank) => {
                let entry =
                    |k: usize| if k / self.dim == k % self.dim && k % self.dim < rank { k % self.dim + 1 } else { 0 };
                let matrix = (0..self.dim * self.dim).map(|k| entry(k) as f64).collect();
                same(Operator::WeightedLaplacian { coefficients: Coefficients::Matrix(matrix), drift: None })
            }
            // Nested, the biharmonic is a Laplacian of a Laplacian, as in the paper.
            Kind::Biharmonic => [Scheme::Nested, Scheme::Interpolated, Scheme::Interpolated].map(Operator::Biharmonic),
            Kind::Stochastic { .. } | Kind::StochasticBiharmonic => {
                same(Operator::Directional { order: self.order(), directions: size, per_datum: true })
            }
        };
        let [nested, standard, collapsed] = operators;
        let route = |name, operator, strategy| Route { name, operator, strategy };
        let mut routes = vec![
            route("nested", nested, Strategy::Nested),
            route("standard", standard, Strategy::Taylor),
            route("collapsed", collapsed, Strategy::Collapsed),
        ];
        if self.kind == Kind::Biharmonic {
            routes.push(route("direct", Operator::Biharmonic(Scheme::Direct), Strategy::Collapsed));
        }
        routes
    }

    /// Directions `[S, N, D]` and their weights, where the operator takes them.
    pub(crate) fn directions<T: Scalar>(&self, samples: usize) -> Option<(Vec<T>, Vec<T>)> {
        let share = match self.kind {
            Kind::Stochastic { .. } => 1.0,
            Kind::StochasticBiharmonic => 1.0 / 3.0,
            _ => return None,
        };
        let mut v = vec![T::ZERO; samples * POINTS * self.dim];
        for (k, v) in v.chunks_exact_mut(self.dim).enumerate() {
            let (sample, point) = ((k / POINTS) as u64, (k % POINTS) as u64);
            Stream::new(0, Role::PdeDirections, sample, 1 + point).fill_normal(v);
            if self.kind == (Kind::Stochastic { weighted: true }) {
                v.iter_mut().enumerate().for_each(|(i, v)| *v *= T::from_f64(((i + 1) as f64).sqrt()));
            }
        }
        Some((v, vec![T::from_f64(share / samples as f64); samples]))
    }
}
