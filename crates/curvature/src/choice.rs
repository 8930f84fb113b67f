//! Which way products of outer-product matrices take: passes through the network, or layers that are kept.
//!
//! A product by passes runs the network's linearisation forwards and backwards. With the inputs of all layers and the
//! cotangents of their results kept for all vectors, V numbers for each result, it is two products per layer instead of
//! four, without the activation functions between them. That is taken where it fits the budget whole and is cheaper for
//! one direction, the V backward passes of the preparation shared by the products that are expected.

use crate::engine::{Extra, Make, Mode, Recipe};
use crate::error::Error;
use crate::fisher::{ChunkTerms, Fisher, Granularity};
use crate::layers;
use crate::loss::Root;
use crate::operator::CurvatureOperator;
use crate::risk::{Risk, Terms, Traced, residual_bytes};
use crate::split::{Split, split};
use autodiff::{Array, Program, Value};
use linop_core::Props;
use numerics::Scalar;

/// Flops that a core does in the time in which a number that is kept is read as often as a product does.
const READ: f64 = 64.0;

/// Data for which programs are made to be compared.
const SAMPLE: usize = 16;

/// Cost of a product and its share of the preparation, in flops, of programs that keep `kept` numbers.
fn cost(split: &Split, kept: usize, products: usize) -> f64 {
    let flops = |p: &Program| p.flops() as f64;
    split.linear.first().map_or(0.0, flops) + READ * kept as f64 + flops(&split.primal) / products as f64
}

impl<T: Scalar> Risk<T> {
    /// The matrix with layers kept, if that is possible, fits and pays; `passes` is the other way.
    pub(crate) fn layered(
        &self,
        name: &'static str,
        fisher: Fisher,
        passes: Recipe<'_, T>,
    ) -> Result<Option<CurvatureOperator<T>>, Error> {
        let (Some(leaves), Some(terms)) = (self.leaves(), self.terms()) else { return Ok(None) };
        let n = SAMPLE.min(self.len());
        let traced = self.traced(0, n)?;
        let Some(vectors) = vectors_per_datum(terms, fisher, &traced, n) else { return Ok(None) };
        let scale = self.fisher_scale(fisher)?.to_f64();
        let Some(program) = layers::outer(&traced, leaves, [n, vectors], scale)? else { return Ok(None) };
        let kept = split(&program, 1)?;
        let bytes = residual_bytes::<T>(&kept.primal, &kept.fixed);
        if (bytes / n).saturating_mul(self.len()) > self.memory() {
            return Ok(None);
        }
        let other = split(&(passes.make)(&traced, n)?, 1)?;
        let other_bytes = residual_bytes::<T>(&other.primal, &other.fixed);
        let cost = |split, bytes| cost(split, bytes / size_of::<T>(), self.products());
        if cost(&kept, bytes) >= cost(&other, other_bytes) {
            return Ok(None);
        }
        let make: Make<'_> = &|traced, n| {
            layers::outer(traced, leaves, [n, vectors], scale)?.ok_or(Error::Unsupported {
                what: "product by layers",
                why: "for a batch in which parameters are used otherwise than in the first".into(),
            })
        };
        let extra: Extra<'_, T> = &|outputs, chunk| {
            let n = chunk.rows.len();
            let data = match fisher {
                Fisher::Type2 => roots(&ChunkTerms::new(terms, self, outputs, chunk)),
                _ => self.vectors(fisher, outputs, chunk)?.data,
            };
            let array = Array::new(&[n, vectors, outputs.len() / n.max(1)], data);
            Ok(vec![Value::Real(array.ok_or_else(|| Error::Data("too many vectors".into()))?)])
        };
        let recipe = Recipe { mode: Mode::Layers, directions: 1, make, extra: Some(extra), repeats: 1 + vectors };
        CurvatureOperator::new(name, self, Props::PSD, recipe).map(Some)
    }
}

/// Vectors of a datum, each over all its outputs; none where a datum has several terms with vectors of their own.
fn vectors_per_datum(terms: &Terms, fisher: Fisher, traced: &Traced, n: usize) -> Option<usize> {
    let single = traced.model.output_type(0).numel() == n * terms.loss.classes();
    let (vectors, of_terms) = match fisher {
        Fisher::Type2 => (terms.loss.root_columns(), true),
        Fisher::MonteCarlo { samples, granularity, .. } => (samples, granularity == Granularity::LossTerm),
        Fisher::Empirical { granularity, .. } => (1, granularity == Granularity::LossTerm),
    };
    (vectors > 0 && (single || !of_terms)).then_some(vectors)
}

/// The columns of the roots of the terms' Hessians, `[terms, V, C]`, each with the root of its term's weight.
fn roots<T: Scalar>(terms: &ChunkTerms<'_, T>) -> Vec<T> {
    let (loss, mut root, mut data) = (terms.loss(), Root::new(), Vec::new());
    let mut column = vec![T::ZERO; loss.classes()];
    for (f, y, weight) in terms.iter() {
        loss.prepare(f, y, &mut root);
        for j in 0..loss.root_columns() {
            column.fill(T::ZERO);
            loss.root_column(&root, j, &mut column);
            data.extend(column.iter().map(|&x| x * weight));
        }
    }
    data
}
