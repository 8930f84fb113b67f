//! Fisher matrices `kappa sum_r w_r J_r^T (sum_v g_rv g_rv^T) J_r`: with the loss's Hessian, with labels drawn from the model,
//! with the data's own labels (arXiv:2507.05127, section 2; arXiv:2501.19183).
//!
//! The vectors are set once per operator, so that it is one matrix. Labels are drawn from the stream (seed, datum, sample),
//! positions in order: neither batches nor threads show in them.

use crate::chunk::{Chunk, rows};
use crate::engine::{Extra, Make, Recipe};
use crate::error::Error;
use crate::loss::TermLoss;
use crate::operator::CurvatureOperator;
use crate::programs;
use crate::risk::{Risk, Terms};
use autodiff::{Array, Input, Value};
use linop_core::Props;
use numerics::Scalar;
use numerics::rng::{Role, Stream};

/// What counts as one vector of a Fisher matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// Each loss term: every position of a datum has a vector of its own.
    LossTerm,
    /// Each datum: the positions' vectors, each times the root of its term's weight, are one.
    Datum,
}

/// The scale of an empirical Fisher matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EfScale {
    /// Gradients of the loss that the user has. Its mean over labels from the model is the GGN.
    Loss,
    /// Gradients of the negative log-likelihood: half of `Loss` for squared error, else the same.
    Nll,
    /// Gradients of a datum's reduced loss: `Loss` over C for the mean of squared error and binary cross-entropy, else
    /// the same.
    Reduced,
}

/// Which Fisher matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fisher {
    /// The expected Hessian of the negative log-likelihood: the GGN.
    Type2,
    /// The mean of gradient outer products over labels drawn from the model.
    MonteCarlo {
        /// Draws per datum.
        samples: usize,
        /// The seed of the draws.
        seed: u64,
        /// What is one vector; the mean over draws does not depend on it.
        granularity: Granularity,
    },
    /// Outer products of the gradients for the data's own labels.
    Empirical {
        /// Which gradients.
        scale: EfScale,
        /// What is one vector.
        granularity: Granularity,
    },
}

impl Fisher {
    /// Labels from the model, a vector per datum.
    pub fn monte_carlo(samples: usize, seed: u64) -> Self {
        Fisher::MonteCarlo { samples, seed, granularity: Granularity::Datum }
    }

    /// The data's labels, gradients of the user's loss, a vector per loss term.
    pub fn empirical() -> Self {
        Fisher::Empirical { scale: EfScale::Loss, granularity: Granularity::LossTerm }
    }
}

/// The vectors of a chunk in rows: `[R, V, D]` with the number of positions of a datum.
pub(crate) struct Vectors<T> {
    pub(crate) data: Vec<T>,
    pub(crate) shape: [usize; 3],
}

/// The loss terms of a chunk: outputs, targets and weights side by side.
pub(crate) struct ChunkTerms<'a, T> {
    loss: &'a TermLoss,
    outputs: &'a [T],
    targets: Input<'a, T>,
    weights: Option<Input<'a, T>>,
    /// Loss terms of a datum.
    positions: usize,
    first: usize,
}

impl<'a, T: Scalar> ChunkTerms<'a, T> {
    pub(crate) fn new(terms: &'a Terms, risk: &'a Risk<T>, outputs: &'a [T], chunk: &Chunk) -> Self {
        let batch = &risk.batches()[chunk.batch];
        let count = outputs.len() / terms.loss.classes().max(1);
        ChunkTerms {
            loss: &terms.loss,
            outputs,
            targets: rows(&batch.targets[0], &chunk.rows),
            weights: batch.targets.get(1).map(|w| rows(w, &chunk.rows)),
            positions: count / chunk.rows.len().max(1),
            first: chunk.first,
        }
    }

    pub(crate) fn loss(&self) -> &TermLoss {
        self.loss
    }

    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    /// Outputs, target, and root of the weight of every term.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a [T], crate::loss::Target<'a, T>, T)> {
        let (weights, positions, loss) = (self.weights, self.positions.max(1), self.loss);
        let outputs = self.outputs.chunks_exact(loss.classes().max(1));
        outputs.zip(loss.targets(self.targets)).enumerate().map(move |(t, (f, y))| {
            let datum = match weights {
                Some(Input::Real(w)) => w[t / positions],
                _ => T::ONE,
            };
            (f, y, (loss.weight(y) * datum).sqrt())
        })
    }

    fn shape(&self, granularity: Granularity, vectors: usize) -> [usize; 3] {
        let c = self.loss.classes().max(1);
        let terms = self.outputs.len() / c;
        match granularity {
            Granularity::LossTerm => [terms, vectors, c],
            Granularity::Datum => [terms / self.positions.max(1), vectors, self.positions * c],
        }
    }

    /// The gradients of the terms.
    fn empirical(&self, granularity: Granularity) -> Vectors<T> {
        let c = self.loss.classes().max(1);
        let mut data = vec![T::ZERO; self.outputs.len()];
        for ((f, y, root), u) in self.iter().zip(data.chunks_exact_mut(c)) {
            self.loss.gradient(f, y, u);
            u.iter_mut().for_each(|u| *u *= root);
        }
        Vectors { data, shape: self.shape(granularity, 1) }
    }

    /// Gradients for drawn labels, over the root of the number of draws.
    fn monte_carlo(&self, samples: usize, seed: u64, granularity: Granularity) -> Vectors<T> {
        let (c, s) = (self.loss.classes().max(1), self.positions.max(1));
        let shape = self.shape(granularity, samples);
        let mut data = vec![T::ZERO; self.outputs.len() * samples];
        let share = T::from_f64(1.0 / (samples as f64).sqrt());
        let mut streams: Vec<Stream> = Vec::with_capacity(samples);
        for (t, (f, y, root)) in self.iter().enumerate() {
            if t % s == 0 {
                let datum = (self.first + t / s) as u64;
                streams.clear();
                streams.extend((0..samples).map(|m| Stream::new(seed, Role::McLabels, datum, m as u64)));
            }
            for (m, stream) in streams.iter_mut().enumerate() {
                let at = match granularity {
                    Granularity::LossTerm => (t * samples + m) * c,
                    Granularity::Datum => (t / s * samples + m) * s * c + t % s * c,
                };
                let g = &mut data[at..at + c];
                self.loss.sample(f, y, stream, g);
                g.iter_mut().for_each(|g| *g *= root * share);
            }
        }
        Vectors { data, shape }
    }
}

impl<T: Scalar> Risk<T> {
    /// The loss term by term.
    pub(crate) fn known_terms(&self, what: &'static str) -> Result<&Terms, Error> {
        self.terms().ok_or_else(|| Error::Unsupported {
            what,
            why: "needs a loss that is known term by term: make the risk with `Supervised`".into(),
        })
    }

    /// The factor of a Fisher matrix beside the sum of its outer products.
    pub(crate) fn fisher_scale(&self, fisher: Fisher) -> Result<T, Error> {
        let terms = self.known_terms("Fisher matrix")?;
        let factor = match fisher {
            Fisher::Empirical { scale: EfScale::Nll, .. } => 1.0 / terms.loss.nll_scale(),
            Fisher::Empirical { scale: EfScale::Reduced, .. } if terms.mean && terms.loss.mean_counts_outputs() => {
                1.0 / terms.loss.classes().max(1) as f64
            }
            _ => 1.0,
        };
        Ok(self.loss_scale() * T::from_f64(factor))
    }

    /// The vectors of a Fisher matrix of outer products for a chunk.
    pub(crate) fn vectors(&self, fisher: Fisher, outputs: &[T], chunk: &Chunk) -> Result<Vectors<T>, Error> {
        let terms = ChunkTerms::new(self.known_terms("Fisher matrix")?, self, outputs, chunk);
        match fisher {
            Fisher::MonteCarlo { samples, seed, granularity } => Ok(terms.monte_carlo(samples, seed, granularity)),
            Fisher::Empirical { granularity, .. } => Ok(terms.empirical(granularity)),
            Fisher::Type2 => Err(Error::Unsupported { what: "Fisher matrix of type 2", why: "has no vectors".into() }),
        }
    }

    /// A Fisher matrix; positive semidefinite.
    ///
    /// # Errors
    /// A risk whose loss is not known term by term (unless `Type2`); no draws; a derivative that the model does not have.
    pub fn fisher(&self, fisher: Fisher) -> Result<CurvatureOperator<T>, Error> {
        let (name, granularity, vectors) = match fisher {
            Fisher::Type2 => return self.ggn(),
            Fisher::MonteCarlo { samples: 0, .. } => {
                return Err(Error::Unsupported { what: "Monte Carlo Fisher matrix", why: "of 0 draws".into() });
            }
            Fisher::MonteCarlo { samples, granularity, .. } => ("Monte Carlo Fisher", granularity, samples),
            Fisher::Empirical { granularity, .. } => ("empirical Fisher", granularity, 1),
        };
        let classes = self.known_terms(name)?.loss.classes().max(1);
        let scale = self.fisher_scale(fisher)?.to_f64();
        let make: Make<'_> = &|traced, n| {
            let rows = match granularity {
                Granularity::LossTerm => traced.model.output_type(0).numel() / classes,
                Granularity::Datum => n,
            };
            programs::outer(traced, [rows, vectors], scale)
        };
        let extra: Extra<'_, T> = &|outputs, chunk| {
            let vectors = self.vectors(fisher, outputs, chunk)?;
            let array = Array::new(&vectors.shape, vectors.data);
            Ok(vec![Value::Real(array.ok_or_else(|| Error::Data("too many vectors".into()))?)])
        };
        let passes = Recipe::passes(1, make, Some(extra));
        match self.layered(name, fisher, passes)? {
            Some(layers) => Ok(layers),
            None => CurvatureOperator::new(name, self, Props::PSD, passes),
        }
    }
}
