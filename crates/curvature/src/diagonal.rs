//! The exact diagonal of a matrix of outer products: `kappa sum_n sum_v (J_n^T g_nv)^2`, squares entry by entry.
//!
//! `C - 1` vectors a loss term for the GGN of cross-entropy, C for the other losses, one a draw or a gradient for the other
//! Fisher matrices. Layers that meet each datum once need no gradient of a datum ([`layers`]); otherwise gradients are
//! formed for several data and vectors at a time, squared and summed where they arise. Cost: a backward pass per vector,
//! and in the second case a result of P numbers for each.

use crate::chunk::{Chunk, Source};
use crate::engine::outputs;
use crate::error::Error;
use crate::fisher::{ChunkTerms, Fisher};
use crate::layers;
use crate::loss::Root;
use crate::risk::{Risk, Traced, residual_bytes};
use crate::split::split;
use autodiff::{Builder, Executable, Input, Output, Program, Workspace};
use numerics::{Par, Scalar};

/// Most vectors of a datum that go back through the layers at once.
const LAYER_VECTORS: usize = 16;

/// Bytes of per-datum gradients that are formed at once.
const BLOCK_BYTES: usize = 32 << 20;

/// The vectors of a chunk, one at a time.
trait Columns<T> {
    /// Vectors of a datum.
    fn count(&self) -> usize;
    /// Vector `v` of a datum, over all its outputs.
    fn fill(&mut self, datum: usize, v: usize, out: &mut [T]);
}

/// Columns of the loss Hessian's roots, each at its position.
struct Roots<T> {
    terms: Vec<(Root<T>, T)>,
    loss: crate::loss::TermLoss,
    positions: usize,
}

impl<T: Scalar> Columns<T> for Roots<T> {
    fn count(&self) -> usize {
        self.positions * self.loss.root_columns()
    }

    fn fill(&mut self, datum: usize, v: usize, out: &mut [T]) {
        let (c, columns) = (self.loss.classes(), self.loss.root_columns());
        let s = v / columns;
        let (root, weight) = &self.terms[datum * self.positions + s];
        out.fill(T::ZERO);
        let part = &mut out[s * c..(s + 1) * c];
        self.loss.root_column(root, v % columns, part);
        part.iter_mut().for_each(|x| *x *= *weight);
    }
}

/// Vectors `[R, V, D]` of a Fisher matrix; R is a multiple of the number of data.
struct Given<T> {
    data: Vec<T>,
    shape: [usize; 3],
    /// Rows of a datum.
    rows: usize,
}

impl<T: Scalar> Columns<T> for Given<T> {
    fn count(&self) -> usize {
        self.rows * self.shape[1]
    }

    fn fill(&mut self, datum: usize, v: usize, out: &mut [T]) {
        let [_, vectors, width] = self.shape;
        let row = v / vectors;
        let at = ((datum * self.rows + row) * vectors + v % vectors) * width;
        out.fill(T::ZERO);
        out[row * width..(row + 1) * width].copy_from_slice(&self.data[at..at + width]);
    }
}

/// `sum_nv (J_n^T g_nv)^2` for `data` data and `vectors` vectors each, from the model of one datum.
fn squares(traced: &Traced, data: usize, vectors: usize) -> Result<Program, Error> {
    let one = traced.model.vjp(&[0])?.select_outputs(&[1])?;
    let inputs = one.inputs().len();
    let mut axes = vec![None; inputs];
    axes[inputs - 1] = Some(0);
    let wide = one.vmap(vectors, &axes)?;
    axes[1] = Some(0);
    let wide = wide.vmap(data, &axes)?;
    let mut b = Builder::new();
    let inputs: Vec<_> =
        (0..inputs).map(|i| b.input(wide.inputs()[i].name.clone(), wide.input_type(i).clone())).collect();
    let map = b.inline(&wide, &inputs)?;
    let g = map[wide.outputs()[0].node.index()];
    let square = b.mul(g, g)?;
    let sum = b.sum(square, &[0, 1])?;
    Ok(b.finish(vec![("squares".into(), sum)]))
}

/// Rows of one datum's outputs, and the blocks in which data and vectors are taken.
struct Walk<'a, T> {
    risk: &'a Risk<T>,
    width: usize,
    data: usize,
    vectors: usize,
    program: Executable<T>,
    sources: Vec<Source>,
}

impl<T: Scalar> Walk<'_, T> {
    /// Adds the squares of a chunk to `sum`; vectors that are missing in a block are zero.
    fn add(
        &self,
        chunk: &Chunk,
        columns: &mut dyn Columns<T>,
        workspace: &mut Workspace<T>,
        sum: &mut [T],
    ) -> Result<(), Error> {
        let mut share = vec![T::ZERO; sum.len()];
        let mut g = vec![T::ZERO; self.data * self.vectors * self.width];
        let n = chunk.rows.len();
        for start in (0..n).step_by(self.data) {
            // The last block begins early enough to be full; what it repeats gets zero vectors.
            let from = start.min(n - self.data.min(n));
            let part = Chunk { rows: chunk.rows.start + from..chunk.rows.start + from + self.data, ..chunk.clone() };
            for first in (0..columns.count()).step_by(self.vectors) {
                for (i, g) in g.chunks_exact_mut(self.width).enumerate() {
                    let (datum, v) = (from + i / self.vectors, first + i % self.vectors);
                    if datum >= start && v < columns.count() {
                        columns.fill(datum, v, g);
                    } else {
                        g.fill(T::ZERO);
                    }
                }
                let mut inputs: Vec<Input<'_, T>> =
                    self.sources.iter().map(|s| s.value(self.risk, &part, &[])).collect();
                inputs.push(Input::Real(&g));
                self.program.run(workspace, &inputs, &mut [Output::Real(&mut share)])?;
                numerics::simd::axpy(sum, T::ONE, &share);
            }
        }
        Ok(())
    }
}

impl<T: Scalar> Risk<T> {
    /// The exact diagonal of the GGN or of a Fisher matrix; its sum is the exact trace.
    ///
    /// Where every parameter meets every datum once in a layer, it takes a backward pass per vector and a product per layer;
    /// otherwise the gradient of every vector is formed.
    ///
    /// # Errors
    /// A risk whose loss is not known term by term, a derivative that the model does not have.
    pub fn fisher_diagonal(&self, fisher: Fisher, par: Par) -> Result<Vec<T>, Error> {
        let mut sum = match self.layered_squares(fisher, par)? {
            Some(sum) => sum,
            None => self.formed_squares(fisher, par)?,
        };
        let scale = self.fisher_scale(fisher)?;
        sum.iter_mut().for_each(|x| *x *= scale);
        Ok(sum)
    }

    /// The squares by layers, if the model's parameters allow it.
    fn layered_squares(&self, fisher: Fisher, par: Par) -> Result<Option<Vec<T>>, Error> {
        let terms = self.known_terms("diagonal")?;
        let Some(leaves) = self.leaves() else { return Ok(None) };
        let width = match fisher {
            Fisher::Type2 => terms.loss.root_columns(),
            Fisher::MonteCarlo { samples, .. } => samples,
            Fisher::Empirical { .. } => 1,
        };
        let width = width.clamp(1, LAYER_VECTORS);
        let list = self.chunks(|n| {
            let cut = split(&self.traced(0, n)?.whole.jvp(&[0])?.select_outputs(&[1])?, 1)?;
            Ok(width * residual_bytes::<T>(&cut.primal, &cut.fixed))
        })?;
        let mut workspace = Workspace::with_par(par);
        let (mut sum, mut share) = (vec![T::ZERO; self.dim()], vec![T::ZERO; self.dim()]);
        type Kept<T> = (usize, Executable<T>, Executable<T>, Vec<Source>);
        let mut programs: Vec<Kept<T>> = Vec::new();
        for chunk in list {
            let n = chunk.rows.len();
            if !programs.iter().any(|p| p.0 == n) {
                let traced = self.traced(chunk.batch, n)?;
                let Some(program) = layers::squares(&traced, leaves, n, width)? else { return Ok(None) };
                let sources = Source::list(traced.model.inputs())?;
                programs.push((n, traced.model.compile()?, program.compile()?, sources));
            }
            let Some((_, model, program, sources)) = programs.iter().find(|p| p.0 == n) else { continue };
            let f = outputs(model, self, &chunk, &mut workspace)?;
            let mut columns = self.columns(terms, fisher, &f, &chunk)?;
            let size = f.len() / n;
            let mut g = vec![T::ZERO; width * f.len()];
            for first in (0..columns.count()).step_by(width) {
                for (i, g) in g.chunks_exact_mut(size).enumerate() {
                    let (v, datum) = (first + i / n, i % n);
                    if v < columns.count() { columns.fill(datum, v, g) } else { g.fill(T::ZERO) }
                }
                let mut inputs: Vec<Input<'_, T>> = sources.iter().map(|s| s.value(self, &chunk, &[])).collect();
                inputs.push(Input::Real(&g));
                program.run(&mut workspace, &inputs, &mut [Output::Real(&mut share)])?;
                numerics::simd::axpy(&mut sum, T::ONE, &share);
            }
        }
        Ok(Some(sum))
    }

    /// The squares of gradients that are formed, several at a time.
    fn formed_squares(&self, fisher: Fisher, par: Par) -> Result<Vec<T>, Error> {
        let terms = self.known_terms("diagonal")?;
        let mut workspace = Workspace::with_par(par);
        let mut sum = vec![T::ZERO; self.dim()];
        let mut walk: Option<Walk<'_, T>> = None;
        let mut models: Vec<(usize, Executable<T>)> = Vec::new();
        for chunk in self.chunks(|n| Ok(self.traced(0, n)?.model.output_type(0).numel() * size_of::<T>()))? {
            let n = chunk.rows.len();
            if !models.iter().any(|(size, _)| *size == n) {
                models.push((n, self.traced(chunk.batch, n)?.model.compile()?));
            }
            let Some((_, model)) = models.iter().find(|(size, _)| *size == n) else { continue };
            let f = outputs(model, self, &chunk, &mut workspace)?;
            let mut columns = self.columns(terms, fisher, &f, &chunk)?;
            if columns.count() == 0 {
                continue;
            }
            let fits = |w: &Walk<'_, T>| w.data <= n;
            if !walk.as_ref().is_some_and(fits) {
                walk = Some(self.walk(&chunk, columns.count())?);
            }
            if let Some(walk) = &walk {
                walk.add(&chunk, columns.as_mut(), &mut workspace, &mut sum)?;
            }
        }
        Ok(sum)
    }

    fn columns(
        &self,
        terms: &crate::risk::Terms,
        fisher: Fisher,
        f: &[T],
        chunk: &Chunk,
    ) -> Result<Box<dyn Columns<T>>, Error> {
        if fisher != Fisher::Type2 {
            let given = self.vectors(fisher, f, chunk)?;
            let rows = given.shape[0] / chunk.rows.len().max(1);
            return Ok(Box::new(Given { data: given.data, shape: given.shape, rows }));
        }
        let list = ChunkTerms::new(terms, self, f, chunk);
        let roots = list
            .iter()
            .map(|(f, y, weight)| {
                let mut root = Root::new();
                list.loss().prepare(f, y, &mut root);
                (root, weight)
            })
            .collect();
        Ok(Box::new(Roots { terms: roots, loss: list.loss().clone(), positions: list.positions() }))
    }

    fn walk(&self, chunk: &Chunk, count: usize) -> Result<Walk<'_, T>, Error> {
        let traced = self.traced(chunk.batch, 1)?;
        let room = (BLOCK_BYTES / (self.dim().max(1) * size_of::<T>())).max(1);
        let vectors = room.min(count);
        let data = (room / vectors).clamp(1, chunk.rows.len());
        Ok(Walk {
            risk: self,
            width: traced.model.output_type(0).numel(),
            data,
            vectors,
            program: squares(&traced, data, vectors)?.compile()?,
            sources: Source::list(traced.model.inputs())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reduction, Supervised};
    use autodiff::nn::{Loss, Sequential};
    use autodiff::{Array, Value};

    /// Both ways to the same squares; which one a net takes.
    #[test]
    fn layers_and_formed_gradients_agree() {
        let config = |layers: &str| format!(r#"{{"model_type": "sequential", "input": [3], "layers": [{layers}]}}"#);
        let plain = config(
            r#"{"type": "linear", "in": 3, "out": 5, "bias": true}, {"type": "layernorm", "shape": [5], "eps": 1e-5},
               {"type": "tanh"}, {"type": "linear", "in": 5, "out": 4, "bias": false}"#,
        );
        for loss in [Loss::cross_entropy(), Loss::mse()] {
            let model = Sequential::from_json(&plain).unwrap();
            let n = 7;
            let x = Value::Real(Array::from_fn(&[n, 3], |i| (i as f64 * 1.7).sin()));
            let y = match loss {
                Loss::Mse => Value::Real(Array::from_fn(&[n, 4], |i| (i as f64 * 0.3).cos())),
                _ => Value::Int(Array::from_fn(&[n], |i| (i % 4) as i64)),
            };
            let params = (0..model.params().total()).map(|i| (i as f64 * 0.9).cos()).collect();
            let risk = Supervised::new(model, loss, Reduction::Mean).risk(params, vec![(x, y, None)]).unwrap();
            for fisher in [Fisher::Type2, Fisher::monte_carlo(3, 1), Fisher::empirical()] {
                let layered = risk.layered_squares(fisher, Par::Seq).unwrap().expect("every parameter is used once");
                let formed = risk.formed_squares(fisher, Par::Seq).unwrap();
                let top = formed.iter().fold(0.0, |m: f64, x| m.max(*x));
                layered.iter().zip(&formed).for_each(|(a, b)| assert!((a - b).abs() <= 1e-13 * top, "{a} against {b}"));
            }
        }
    }
}
