//! Products over chunks of data: residuals kept or made again, one compiled program per chunk size and block width.
//!
//! A product walks over the chunks. Each runs a linear program on its residuals and the directions; shares of the result
//! are added in chunk order. With several threads the chunks are spread over them, each run on one thread; fewer chunks than
//! threads share the threads inside their matrix products. Either way the bits are the same, and from the second product
//! of a block width on nothing is allocated.
//!
//! Cost of a product: the linear program over all data, one pass over the result per chunk, and for a chunk whose
//! residuals did not fit into the budget its forward pass.

use crate::chunk::{Chunk, Source};
use crate::error::Error;
use crate::risk::{Risk, Traced, residual_bytes};
use crate::split::{Split, split};
use autodiff::ops::Op;
use autodiff::{Array, Executable, Input, Kind, Output, Program, TensorType, Value, Workspace};
use linop_core::Cost;
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
    /// Kept: the inputs and output cotangents of every layer, so that a product needs no pass through the network.
    Layers,
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
            Mode::Layers => "layers",
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

/// Compiled linear programs by output and block width, made on first use.
type Widened<T> = Mutex<HashMap<(usize, usize), Arc<Executable<T>>>>;

/// What one run of a program does.
#[derive(Clone, Copy)]
struct Work {
    flops: f64,
    /// Numbers that go from or to memory if every value but rearrangements is written once and read once.
    numbers: f64,
}

impl Work {
    fn of(program: &Program) -> Self {
        let moved =
            |op: &Op| !matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::Broadcast(_) | Op::Slice(_) | Op::Input(_));
        let numbers = program.nodes().iter().filter(|n| moved(&n.op)).map(|n| 2.0 * n.ty.numel() as f64).sum();
        Work { flops: program.flops() as f64, numbers }
    }
}

/// Programs of one chunk size.
struct Variant<T> {
    /// Of the primal program and of each linear one.
    work: Vec<Work>,
    /// How many numbers the residuals hold.
    kept: f64,
    split: Split,
    primal: Executable<T>,
    sources: Vec<Source>,
    /// Residuals that are the same for all chunks; empty values elsewhere.
    fixed: Vec<Option<Value<T>>>,
    widened: Widened<T>,
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
    share: Vec<T>,
    /// Residuals that are made again, by variant.
    residuals: Vec<Vec<Value<T>>>,
}

/// What one caller needs.
struct Crew<T: 'static> {
    lanes: Vec<Lane<T>>,
    together: Workspace<T>,
    degree: usize,
}

/// What is asked for: `out = alpha A x + beta out`, where A is output `output` and the sides are those of `x` and `out`.
pub(crate) struct Product<'a, T> {
    pub(crate) output: usize,
    pub(crate) sides: (Side, Side),
    pub(crate) out: MatMut<'a, T>,
    pub(crate) alpha: T,
    pub(crate) x: MatRef<'a, T>,
    pub(crate) beta: T,
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

/// How an operator makes its products.
#[derive(Clone, Copy)]
pub(crate) struct Recipe<'a, T> {
    /// The name in the report while all residuals are kept.
    pub(crate) mode: Mode,
    /// Number of directions.
    pub(crate) directions: usize,
    pub(crate) make: Make<'a>,
    pub(crate) extra: Option<Extra<'a, T>>,
    /// How many numbers residuals hold for one that a pass through the network writes: chunks are cut for the latter.
    pub(crate) repeats: usize,
}

impl<'a, T> Recipe<'a, T> {
    /// Products by passes through the network.
    pub(crate) fn passes(directions: usize, make: Make<'a>, extra: Option<Extra<'a, T>>) -> Self {
        Recipe { mode: Mode::Cached, directions, make, extra, repeats: 1 }
    }
}

/// How a program for some number of data is made; its last inputs are the directions, one per output.
pub(crate) type Make<'a> = &'a dyn Fn(&Traced, usize) -> Result<Program, Error>;

impl<T: Scalar> Engine<T> {
    /// Runs what is done once: traces, cuts, compiles, and keeps residuals within the risk's budget.
    pub(crate) fn new(risk: &Risk<T>, recipe: Recipe<'_, T>) -> Result<Self, Error> {
        let Recipe { mode, directions, make, extra, repeats } = recipe;
        let chunks = risk.chunks(|n| {
            let cut = split(&make(&risk.traced(0, n)?, n)?, directions)?;
            Ok(residual_bytes::<T>(&cut.primal, &cut.fixed) / repeats.max(1))
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
            n if n == engine.ready.len() => mode,
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

    /// What a product of output `output` with `k` columns costs: the linear program of every chunk for each column, what is kept
    /// read once for a block of columns, what is not kept made anew for it.
    pub(crate) fn cost(&self, output: usize, k: usize) -> Cost {
        let blocks = k.div_ceil(BLOCK_COLUMNS.0) as f64;
        let (mut flops, mut numbers) = (0.0, 0.0);
        for ready in &self.ready {
            let variant = &self.variants[ready.variant];
            let [primal, linear] = [variant.work[0], variant.work[1 + output]];
            flops += k as f64 * linear.flops;
            numbers += k as f64 * linear.numbers + blocks * variant.kept;
            if ready.residuals.is_none() {
                flops += blocks * primal.flops;
                numbers += blocks * primal.numbers;
            }
        }
        Cost { flops, bytes: numbers * size_of::<T>() as f64 }
    }

    /// `out = alpha A x + beta out` for output `output`, whose operand and result are the given sides.
    pub(crate) fn apply(&self, product: Product<'_, T>, par: Par) -> Result<(), Error> {
        let Product { output, sides, mut out, alpha, x, beta } = product;
        let (n, k) = (x.nrows().max(out.nrows()), x.ncols());
        if alpha == T::ZERO || k == 0 || x.nrows() == 0 || out.nrows() == 0 {
            numerics::dense::scale(out, beta);
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
            let part = Product { output, sides, out, alpha, x, beta };
            done = done.and_then(|()| self.block(&mut crew, part, par));
        }
        lock(&self.crews).push(crew);
        done
    }

    /// Columns that are run at once.
    fn block(&self, crew: &mut Crew<T>, product: Product<'_, T>, par: Par) -> Result<(), Error> {
        let Product { output, sides: (from, to), mut out, alpha, x, beta } = product;
        // What a run writes is then the result itself, or its first summand.
        let direct = alpha == T::ONE && beta == T::ZERO;
        if !direct {
            numerics::dense::scale(out.as_mut(), beta);
        }
        let part = |ready: &Ready<T>| match from {
            Side::Shared => x,
            Side::Rows => x.subrows(ready.offset, ready.rows),
        };
        let mut at = 0;
        while at < self.ready.len() {
            let wave = if self.ready.len() - at >= crew.degree { crew.degree } else { 1 };
            let wave = &self.ready[at..at + wave];
            let (first, others) = wave.split_at(1);
            let (lane, lanes) = crew.lanes.split_at_mut(1);
            let straight = direct && (to == Side::Rows || at == 0);
            let into = straight.then(|| rows_of(out.as_mut(), to, &first[0]));
            let together = others.is_empty().then_some(&mut crew.together);
            let one = || self.run(&mut lane[0], &first[0], output, part(&first[0]), into, together);
            if others.is_empty() {
                one()?;
            } else {
                let rest = || {
                    let pairs = lanes.par_iter_mut().zip(others);
                    pairs.try_for_each(|(lane, ready)| self.run(lane, ready, output, part(ready), None, None))
                };
                let (a, b) = rayon::join(one, rest);
                a.and(b)?;
            }
            for (i, (lane, ready)) in crew.lanes.iter().zip(wave).enumerate().skip(usize::from(straight)) {
                let replace = direct && to == Side::Rows && i > 0;
                add(rows_of(out.as_mut(), to, ready), alpha, &lane.share, replace, par);
            }
            at += wave.len();
        }
        Ok(())
    }

    /// One chunk's share of the products with the columns of `x`: into `into`, or kept in the lane.
    fn run(
        &self,
        lane: &mut Lane<T>,
        ready: &Ready<T>,
        output: usize,
        x: MatRef<'_, T>,
        into: Option<MatMut<'_, T>>,
        together: Option<&mut Workspace<T>>,
    ) -> Result<(), Error> {
        let variant = &self.variants[ready.variant];
        let program = variant.program(output, x.ncols())?;
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
        inputs.extend(
            residuals.iter().zip(&variant.fixed).map(|(own, fixed)| Input::from(fixed.as_ref().unwrap_or(own))),
        );
        inputs.push(Input::Columns(x));
        let result = match into {
            Some(out) => Output::Columns(out),
            None => {
                lane.share.resize(program.output_types().map(TensorType::numel).sum(), T::ZERO);
                Output::Real(&mut lane.share)
            }
        };
        let done = program.run(workspace, &inputs, &mut [result]);
        lane.inputs = recycle(inputs);
        Ok(done?)
    }
}

/// The rows of a result that a chunk writes to.
fn rows_of<'a, T>(out: MatMut<'a, T>, to: Side, ready: &Ready<T>) -> MatMut<'a, T> {
    match to {
        Side::Shared => out,
        Side::Rows => out.subrows_mut(ready.offset, ready.rows),
    }
}

impl<T: Scalar> Variant<T> {
    fn new(split: Split) -> Result<Self, Error> {
        let kept = (0..split.fixed.len()).map(|i| split.primal.output_type(i).numel() as f64).sum();
        Ok(Variant {
            work: core::iter::once(&split.primal).chain(&split.linear).map(Work::of).collect(),
            kept,
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
        Crew { lanes: Vec::new(), together: Workspace::with_par(par), degree: par.degree().max(1) }
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
    outputs.extend(values.iter_mut().map(Output::from));
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

/// Entries that one thread adds at a time.
const ADD_BLOCK: usize = 1 << 16;

/// `out += alpha share`, or `out = share` if it is to be replaced; the columns of `share` are one after the other.
fn add<T: Scalar>(mut out: MatMut<'_, T>, alpha: T, share: &[T], replace: bool, par: Par) {
    let rows = out.nrows();
    let share = MatRef::from_column_major_slice(&share[..rows * out.ncols()], rows, out.ncols());
    if replace {
        return numerics::dense::copy(out, share);
    }
    if par.degree() == 1 || rows <= ADD_BLOCK {
        return numerics::dense::axpy(out, alpha, share);
    }
    for j in 0..out.ncols() {
        match (out.as_mut().col_mut(j).try_as_col_major_mut(), share.col(j).try_as_col_major()) {
            (Some(to), Some(from)) => {
                let blocks = to.as_slice_mut().par_chunks_mut(ADD_BLOCK).zip(from.as_slice().par_chunks(ADD_BLOCK));
                blocks.for_each(|(to, from)| numerics::simd::axpy(to, alpha, from));
            }
            _ => numerics::dense::axpy(out.as_mut().subcols_mut(j, 1), alpha, share.subcols(j, 1)),
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
