//! Products over chunks of data: residuals kept or made again, one compiled program per chunk size and block width.
//!
//! A product walks over the chunks. Each runs a linear program on its residuals and the directions; shares of the result
//! are added in chunk order. With several threads the chunks are spread over them, each run on one thread; fewer chunks than
//! threads share the threads inside their matrix products. Either way the bits are the same, and from the second product
//! of a block width on nothing is allocated.
//!
//! Cost of a product: the linear program over all data, one pass over the result per chunk, and for a chunk whose
//! residuals did not fit into the budget its forward pass.

use crate::chunk::{Chunk, Source, whole};
use crate::error::Error;
use crate::risk::{Risk, Traced, residual_bytes};
use crate::split::{Split, split};
use autodiff::{Array, Executable, Input, Kind, Output, Program, TensorType, Value, Workspace};
use numerics::{MatMut, MatRef, Par, Scalar};
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// Bytes that directions and their products may take at once.
const BLOCK_BYTES: usize = 256 << 20;

/// Widest and narrowest block of directions that is run at once, memory permitting.
const BLOCK_COLUMNS: (usize, usize) = (8, 64);

/// How the residuals of a product come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// All kept between products.
    Cached,
    /// Some kept; the others computed again in every product.
    Mixed,
    /// Computed again in every product.
    Recompute,
}

impl Mode {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Cached => "cached",
            Mode::Mixed => "mixed",
            Mode::Recompute => "recompute",
        }
    }
}

/// How an operator goes about its products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductReport {
    /// How residuals come about.
    pub mode: Mode,
    /// Number of chunks that the data is cut into.
    pub chunks: usize,
    /// Data in the largest chunk.
    pub chunk_size: usize,
    /// Bytes kept between products.
    pub cached_bytes: usize,
    /// Bytes that all residuals would take.
    pub residual_bytes: usize,
}

/// One side of the products: the same for all chunks, or rows of its own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Shared,
    Rows,
}

/// Programs of one chunk size.
struct Variant<T> {
    split: Split,
    primal: Executable<T>,
    sources: Vec<Source>,
    /// Residuals that are the same for all chunks; empty values elsewhere.
    fixed: Vec<Option<Value<T>>>,
    /// Compiled linear programs by output and block width, made on first use.
    widened: Mutex<HashMap<(usize, usize), Arc<Executable<T>>>>,
}

/// A chunk with what belongs to it.
struct Ready<T> {
    chunk: Chunk,
    variant: usize,
    extra: Vec<Value<T>>,
    residuals: Option<Vec<Value<T>>>,
    /// Where its rows begin, and how many there are.
    offset: usize,
    rows: usize,
}

/// What one thread needs for a run.
struct Lane<T: 'static> {
    inputs: Vec<Input<'static, T>>,
    outputs: Vec<Output<'static, T>>,
    alone: Workspace<T>,
    directions: Vec<T>,
    share: Vec<T>,
    /// Residuals that are made again, by variant.
    residuals: Vec<Vec<Value<T>>>,
}

/// What one caller needs.
struct Crew<T: 'static> {
    lanes: Vec<Lane<T>>,
    together: Workspace<T>,
    degree: usize,
    directions: Vec<T>,
}

/// What an operator computes for a chunk beforehand, from the model's outputs.
pub(crate) type Extra<'a, T> = &'a dyn Fn(&[T], &Chunk) -> Result<Vec<Value<T>>, Error>;

/// Products of a chunked risk.
pub(crate) struct Engine<T: 'static> {
    risk: Risk<T>,
    variants: Vec<Variant<T>>,
    ready: Vec<Ready<T>>,
    report: ProductReport,
    crews: Mutex<Vec<Crew<T>>>,
}

/// How a program for some number of data is made; its last inputs are the directions, one per output.
pub(crate) type Make<'a> = &'a dyn Fn(&Traced, usize) -> Result<Program, Error>;

impl<T: Scalar> Engine<T> {
    /// Runs what is done once: traces, cuts, compiles, and keeps residuals within the risk's budget.
    pub(crate) fn new(
        risk: &Risk<T>,
        directions: usize,
        make: Make<'_>,
        extra: Option<Extra<'_, T>>,
    ) -> Result<Self, Error> {
        let chunks = risk.chunks(|n| {
            let cut = split(&make(&risk.traced(0, n)?, n)?, directions)?;
            Ok(residual_bytes::<T>(&cut.primal, &cut.fixed))
        })?;
        let mut engine = Engine {
            risk: risk.clone(),
            variants: Vec::new(),
            ready: Vec::with_capacity(chunks.len()),
            report: ProductReport {
                mode: Mode::Cached,
                chunks: chunks.len(),
                chunk_size: chunks.iter().map(|c| c.rows.len()).max().unwrap_or(0),
                cached_bytes: 0,
                residual_bytes: 0,
            },
            crews: Mutex::new(Vec::new()),
        };
        let (mut known, mut models): (Vec<_>, Vec<Executable<T>>) = (Vec::new(), Vec::new());
        let mut workspace = Workspace::new();
        let mut offset = 0;
        for chunk in chunks {
            let types = risk.chunk_types(&chunk);
            let n = chunk.rows.len();
            let variant = match known.iter().position(|t| *t == types) {
                Some(at) => at,
                None => {
                    let traced = risk.traced(chunk.batch, n)?;
                    engine.variants.push(Variant::new(split(&make(&traced, n)?, directions)?)?);
                    if extra.is_some() {
                        models.push(traced.model.compile()?);
                    }
                    known.push(types);
                    known.len() - 1
                }
            };
            let extra = match extra {
                Some(extra) => extra(&outputs(&models[variant], risk, &chunk, &mut workspace)?, &chunk)?,
                None => Vec::new(),
            };
            offset += engine.prepare(chunk, variant, extra, offset, &mut workspace)?;
        }
        engine.report.mode = match engine.ready.iter().filter(|r| r.residuals.is_some()).count() {
            n if n == engine.ready.len() => Mode::Cached,
            0 => Mode::Recompute,
            _ => Mode::Mixed,
        };
        Ok(engine)
    }

    /// Adds a chunk; returns its number of rows on a side that has rows.
    fn prepare(
        &mut self,
        chunk: Chunk,
        variant: usize,
        extra: Vec<Value<T>>,
        offset: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<usize, Error> {
        let v = &mut self.variants[variant];
        let size = residual_bytes::<T>(&v.split.primal, &v.split.fixed);
        self.report.residual_bytes += size;
        let kept = self.report.cached_bytes + size <= self.risk.memory();
        let rows = v.split.linear.first().map_or(0, |p| p.output_type(0).numel());
        let mut ready = Ready { chunk, variant, extra, residuals: None, offset, rows };
        let first = v.fixed.iter().all(Option::is_none) && v.split.fixed.contains(&true);
        if kept || first {
            let inputs: Vec<Input<'_, T>> =
                v.sources.iter().map(|s| s.value(&self.risk, &ready.chunk, &ready.extra)).collect();
            let mut residuals = room(&v.primal);
            run_into(&v.primal, workspace, &inputs, &mut residuals, &mut Vec::new())?;
            for (k, value) in residuals.iter_mut().enumerate().filter(|(k, _)| v.split.fixed[*k]) {
                let value = std::mem::replace(value, Value::Real(Array::from_fn(&[0], |_| T::ZERO)));
                v.fixed[k].get_or_insert(value);
            }
            if kept {
                self.report.cached_bytes += size;
                ready.residuals = Some(residuals);
            }
        }
        self.ready.push(ready);
        Ok(rows)
    }

    pub(crate) fn report(&self) -> ProductReport {
        self.report
    }

    /// Length of the side with rows of its own.
    pub(crate) fn rows(&self) -> usize {
        self.ready.last().map_or(0, |r| r.offset + r.rows)
    }

    /// `out = alpha A x + beta out` for output `output`, whose operand and result are the given sides.
    pub(crate) fn apply(
        &self,
        output: usize,
        sides: (Side, Side),
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
    ) -> Result<(), Error> {
        let (n, k) = (x.nrows().max(out.nrows()), x.ncols());
        numerics::dense::scale(out.as_mut(), beta);
        if alpha == T::ZERO || k == 0 || x.nrows() == 0 || out.nrows() == 0 {
            return Ok(());
        }
        let mut crew = lock(&self.crews).pop().unwrap_or_else(|| Crew::new(par));
        crew.fit(par);
        let width = (BLOCK_BYTES / (n * size_of::<T>())).clamp(BLOCK_COLUMNS.0, BLOCK_COLUMNS.1);
        let mut done = Ok(());
        for start in (0..k).step_by(width) {
            let columns = width.min(k - start);
            let x = x.subcols(start, columns);
            let out = out.as_mut().subcols_mut(start, columns);
            done = done.and_then(|()| self.block(&mut crew, output, sides, out, alpha, x, par));
        }
        lock(&self.crews).push(crew);
        done
    }

    fn block(
        &self,
        crew: &mut Crew<T>,
        output: usize,
        (from, to): (Side, Side),
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        par: Par,
    ) -> Result<(), Error> {
        let k = x.ncols();
        let shared: &[T] = match single_column(x) {
            Some(column) if from == Side::Shared => column,
            _ if from == Side::Shared => gather(x, &mut crew.directions),
            _ => &[],
        };
        let degree = crew.degree;
        let mut at = 0;
        while at < self.ready.len() {
            let wave = if self.ready.len() - at >= degree { degree } else { 1 };
            let run = |lane: &mut Lane<T>, i: usize, together: Option<&mut Workspace<T>>| {
                let ready = &self.ready[at + i];
                if from == Side::Rows {
                    gather(x.subrows(ready.offset, ready.rows), &mut lane.directions);
                }
                self.run(lane, ready, output, k, shared, together)
            };
            if wave == 1 {
                run(&mut crew.lanes[0], 0, Some(&mut crew.together))?;
            } else {
                crew.lanes[..wave].par_iter_mut().enumerate().try_for_each(|(i, lane)| run(lane, i, None))?;
            }
            for (i, lane) in crew.lanes[..wave].iter().enumerate() {
                let ready = &self.ready[at + i];
                let part = match to {
                    Side::Shared => out.as_mut(),
                    Side::Rows => out.as_mut().subrows_mut(ready.offset, ready.rows),
                };
                add(part, alpha, &lane.share, par);
            }
            at += wave;
        }
        Ok(())
    }

    /// One chunk's share of `k` products, into the lane.
    fn run(
        &self,
        lane: &mut Lane<T>,
        ready: &Ready<T>,
        output: usize,
        k: usize,
        shared: &[T],
        together: Option<&mut Workspace<T>>,
    ) -> Result<(), Error> {
        let variant = &self.variants[ready.variant];
        let program = variant.program(output, k)?;
        let workspace = together.unwrap_or(&mut lane.alone);
        let mut inputs = recycle(std::mem::take(&mut lane.inputs));
        inputs.extend(variant.sources.iter().map(|s| s.value(&self.risk, &ready.chunk, &ready.extra)));
        let residuals = match &ready.residuals {
            Some(kept) => kept,
            None => {
                lane.residuals.resize_with(self.variants.len(), Vec::new);
                let made = &mut lane.residuals[ready.variant];
                if made.len() != variant.split.fixed.len() {
                    *made = room(&variant.primal);
                }
                run_into(&variant.primal, workspace, &inputs, made, &mut lane.outputs)?;
                made
            }
        };
        inputs.extend(residuals.iter().zip(&variant.fixed).map(|(own, fixed)| whole(fixed.as_ref().unwrap_or(own))));
        inputs.push(Input::Real(if shared.is_empty() { &lane.directions } else { shared }));
        lane.share.resize(program.output_types().map(TensorType::numel).sum(), T::ZERO);
        let done = program.run(workspace, &inputs, &mut [Output::Real(&mut lane.share)]);
        lane.inputs = recycle(inputs);
        Ok(done?)
    }
}

impl<T: Scalar> Variant<T> {
    fn new(split: Split) -> Result<Self, Error> {
        Ok(Variant {
            primal: split.primal.compile()?,
            sources: Source::list(split.primal.inputs())?,
            fixed: vec![None; split.fixed.len()],
            widened: Mutex::new(HashMap::new()),
            split,
        })
    }

    fn program(&self, output: usize, k: usize) -> Result<Arc<Executable<T>>, Error> {
        let mut made = lock(&self.widened);
        if let Some(program) = made.get(&(output, k)) {
            return Ok(program.clone());
        }
        let linear = &self.split.linear[output];
        let mut axes = vec![None; linear.inputs().len()];
        if let Some(direction) = axes.last_mut() {
            *direction = Some(0);
        }
        let program = Arc::new(linear.vmap(k, &axes)?.compile()?);
        made.insert((output, k), program.clone());
        Ok(program)
    }
}

impl<T: Scalar> Crew<T> {
    fn new(par: Par) -> Self {
        Crew {
            lanes: Vec::new(),
            together: Workspace::with_par(par),
            degree: par.degree().max(1),
            directions: Vec::new(),
        }
    }

    fn fit(&mut self, par: Par) {
        let degree = par.degree().max(1);
        if degree != self.degree {
            (self.together, self.degree) = (Workspace::with_par(par), degree);
        }
        self.lanes.resize_with(self.lanes.len().max(degree), || Lane {
            inputs: Vec::new(),
            outputs: Vec::new(),
            alone: Workspace::with_par(Par::Seq),
            directions: Vec::new(),
            share: Vec::new(),
            residuals: Vec::new(),
        });
    }
}

/// An empty list with the memory of another: collecting into a list of the same layout takes that over.
fn recycle<'b, T>(mut list: Vec<Input<'_, T>>) -> Vec<Input<'b, T>> {
    list.clear();
    list.into_iter().map(|_| Input::Int(&[])).collect()
}

/// The same for outputs.
fn recycle_outputs<'b, T>(mut list: Vec<Output<'_, T>>) -> Vec<Output<'b, T>> {
    list.clear();
    list.into_iter().map(|_| Output::Int(&mut [])).collect()
}

/// Room for the outputs of a program.
fn room<T: Scalar>(program: &Executable<T>) -> Vec<Value<T>> {
    let zeros = |ty: &TensorType| match ty.kind {
        Kind::Real => Value::Real(Array::from_fn(&ty.shape, |_| T::ZERO)),
        Kind::Int => Value::Int(Array::from_fn(&ty.shape, |_| 0)),
    };
    program.output_types().map(zeros).collect()
}

/// Runs a program into values that have its outputs' shapes; `list` only lends its memory.
fn run_into<T: Scalar>(
    program: &Executable<T>,
    workspace: &mut Workspace<T>,
    inputs: &[Input<'_, T>],
    values: &mut [Value<T>],
    list: &mut Vec<Output<'static, T>>,
) -> Result<(), Error> {
    let mut outputs = recycle_outputs(std::mem::take(list));
    outputs.extend(values.iter_mut().map(|value| match value {
        Value::Real(a) => Output::Real(a.data_mut()),
        Value::Int(a) => Output::Int(a.data_mut()),
    }));
    let done = program.run(workspace, inputs, &mut outputs);
    *list = recycle_outputs(outputs);
    Ok(done?)
}

/// The model's outputs for a chunk.
pub(crate) fn outputs<T: Scalar>(
    model: &Executable<T>,
    risk: &Risk<T>,
    chunk: &Chunk,
    workspace: &mut Workspace<T>,
) -> Result<Vec<T>, Error> {
    let mut f = vec![T::ZERO; model.output_types().map(TensorType::numel).sum()];
    let sources = [Source::Params, Source::Inputs, Source::Fixed];
    let inputs: Vec<Input<'_, T>> =
        sources.iter().take(model.input_types().len()).map(|s| s.value(risk, chunk, &[])).collect();
    model.run(workspace, &inputs, &mut [Output::Real(&mut f)])?;
    Ok(f)
}

/// The one column of a matrix, if it is contiguous.
fn single_column<'a, T: Scalar>(x: MatRef<'a, T>) -> Option<&'a [T]> {
    if x.ncols() != 1 {
        return None;
    }
    Some(x.col(0).try_as_col_major()?.as_slice())
}

/// The columns of a matrix, one after the other.
fn gather<'a, T: Scalar>(x: MatRef<'_, T>, into: &'a mut Vec<T>) -> &'a [T] {
    into.resize(x.nrows() * x.ncols(), T::ZERO);
    for (j, column) in into.chunks_exact_mut(x.nrows().max(1)).enumerate() {
        match x.col(j).try_as_col_major() {
            Some(from) => column.copy_from_slice(from.as_slice()),
            None => column.iter_mut().enumerate().for_each(|(i, c)| *c = x[(i, j)]),
        }
    }
    into
}

/// Entries that one thread adds at a time.
const ADD_BLOCK: usize = 1 << 16;

/// `out += alpha share`, with the columns of `share` one after the other.
fn add<T: Scalar>(mut out: MatMut<'_, T>, alpha: T, share: &[T], par: Par) {
    let rows = out.nrows();
    for (j, column) in share.chunks_exact(rows.max(1)).enumerate() {
        match out.as_mut().col_mut(j).try_as_col_major_mut() {
            Some(to) => {
                let to = to.as_slice_mut();
                if par.degree() > 1 && rows > ADD_BLOCK {
                    let blocks = to.par_chunks_mut(ADD_BLOCK).zip(column.par_chunks(ADD_BLOCK));
                    blocks.for_each(|(to, from)| numerics::simd::axpy(to, alpha, from));
                } else {
                    numerics::simd::axpy(to, alpha, column);
                }
            }
            None => column.iter().enumerate().for_each(|(i, &c)| out[(i, j)] += alpha * c),
        }
    }
}

/// What is behind the lock; a panic elsewhere leaves it usable.
fn lock<X>(mutex: &Mutex<X>) -> MutexGuard<'_, X> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}
