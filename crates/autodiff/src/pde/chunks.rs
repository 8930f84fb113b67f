//! Programs over many data, a few data at a time.
//!
//! A chunk's coefficients stay in the cache from one layer to the next, memory does not grow with the number of data, and chunks go
//! to different threads while every product stays on one. Per datum the results have the same bits for any size of chunk and any
//! number of threads; sums over the data are made chunk by chunk, in order, so that they do not depend on the threads either.

use crate::error::Error;
use crate::exec::{Executable, Input, Output, Workspace};
use crate::program::{Port, Program};
use crate::types::{Kind, TensorType};
use numerics::{MatRef, Par, Scalar};
use std::sync::{Mutex, MutexGuard};

/// A program compiled for a number of data, and run chunk by chunk.
///
/// ```
/// use autodiff::pde::{Chunked, Operator, Pde};
/// use autodiff::{Input, Output, TensorType, trace};
/// use numerics::Par;
/// // The Laplacian of |x|^4 / 4 in two dimensions, 4 |x|^2, at five points, two at a time.
/// let make = |n: usize| {
///     let square = |x: &autodiff::Tensor| x.powf(2.0).sum(&[1]);
///     let f = trace(&[("x", TensorType::real(&[n, 2]))], |_, x| vec![("f", square(&x[0]).powf(2.0) * 0.25)])?;
///     Pde::new(&f, 0).operator("laplacian", Operator::Laplacian).build()
/// };
/// let laplacian = Chunked::<f64>::new(5, 2, make)?;
/// let (x, mut y) = ([0.0, 1.0, 1.0, 1.0, 0.5, 0.0, 2.0, 0.0, 0.0, 0.0], [0.0; 5]);
/// laplacian.run(Par::Seq, &[Input::Real(&x)], &mut [Output::Real(&mut y)])?;
/// assert_eq!(y, [4.0, 8.0, 1.0, 16.0, 0.0]);
/// # Ok::<(), autodiff::Error>(())
/// ```
#[derive(Debug)]
pub struct Chunked<T> {
    data: usize,
    chunk: usize,
    /// For a whole chunk, and for what is left over.
    parts: Vec<(usize, Executable<T>)>,
    inputs: Vec<Argument>,
    outputs: Vec<Argument>,
    idle: Mutex<Vec<Worker<T>>>,
}

/// An input or output: its type for one chunk, and its axis over the data.
#[derive(Debug)]
struct Argument {
    name: String,
    ty: TensorType,
    axis: Option<usize>,
}

/// The size of chunk, at most `largest`, with which threads that take one chunk after the other are done with these data first.
///
/// A chunk is taken to cost a third of a datum more than its data, which is about what a layer's weights cost that are read once for
/// each of them. For programs whose results are all per datum: sums over the data add their chunks up in order, and have
/// other bits for another size.
///
/// ```
/// use numerics::Par;
/// // On two threads: four and four, where eight would leave one idle; 6 and 6 in the place of 8 and 4.
/// assert_eq!(autodiff::pde::chunk_size(8, 8, Par::rayon(2)), 4);
/// assert_eq!(autodiff::pde::chunk_size(12, 8, Par::rayon(2)), 6);
/// assert_eq!(autodiff::pde::chunk_size(12, 8, Par::Seq), 8);
/// ```
pub fn chunk_size(data: usize, largest: usize, par: Par) -> usize {
    let (largest, threads) = (largest.clamp(1, data.max(1)), par.degree());
    // What chunks of one size or the other leave idle at the end is then less than a part in eight.
    if threads == 1 || data >= 8 * largest * threads {
        return largest;
    }
    let end = |chunk: usize| {
        let mut busy = vec![0; threads];
        for from in (0..data).step_by(chunk) {
            if let Some(first) = busy.iter_mut().min() {
                *first += 3 * chunk.min(data - from) + 1;
            }
        }
        busy.into_iter().max()
    };
    (1..=largest).rev().min_by_key(|&chunk| end(chunk)).unwrap_or(largest)
}

/// What one thread needs.
#[derive(Debug)]
struct Worker<T> {
    degree: usize,
    workspace: Workspace<T>,
    /// Outputs that are summed over the data: this chunk's part.
    shares: Vec<Vec<T>>,
}

/// One chunk: its range, and where its outputs go.
struct Task<'a, T> {
    from: usize,
    to: usize,
    outputs: Vec<Option<&'a mut [T]>>,
}

impl Argument {
    fn new(port: &Port, rows: usize, ty: &TensorType, other: &TensorType, axes: usize) -> Result<Self, Error> {
        let wrong = |why: &str| Err(Error::unsupported(format!("{:?} {ty}", port.name), "chunking", why));
        if ty.rank() != other.rank() || ty.kind != other.kind {
            return wrong("its kind or rank changes with the number of data");
        }
        let changes: Vec<usize> = (0..ty.rank()).filter(|&a| ty.shape[a] != other.shape[a]).collect();
        let axis = match changes[..] {
            [] => None,
            [a] if a < axes && ty.shape[a] == rows && other.shape[a] == rows + 1 => Some(a),
            _ => return wrong("the data must run along one axis: the first, or for inputs the second"),
        };
        Ok(Argument { name: port.name.clone(), ty: ty.clone(), axis })
    }

    /// Numbers per position of the data axis, and positions of the axes before it.
    fn inner(&self, axis: usize) -> (usize, usize) {
        (self.ty.shape[axis + 1..].iter().product(), self.ty.shape[..axis].iter().product())
    }

    fn mismatch(&self, data: usize, got: usize) -> Error {
        let mut ty = self.ty.clone();
        if let Some(axis) = self.axis {
            ty.shape[axis] = data;
        }
        Error::Input { name: self.name.clone(), expected: ty.to_string(), got: format!("{got} numbers") }
    }
}

impl<T: Scalar> Chunked<T> {
    /// Compiles what `make` returns for a chunk, and for what is left over. Inputs and outputs whose types do not change with
    /// the number of data that `make` is given are the same for all chunks (inputs), or summed over them (outputs).
    ///
    /// # Errors
    /// Those of `make` and of compilation; data on another axis than the first (of an input also the second), or on two.
    pub fn new<E: From<Error>>(
        data: usize,
        chunk: usize,
        make: impl Fn(usize) -> Result<Program, E>,
    ) -> Result<Self, E> {
        let chunk = chunk.min(data).max(1);
        let mut sizes = vec![chunk];
        if !data.is_multiple_of(chunk) {
            sizes.push(data % chunk);
        }
        let rows = sizes[0];
        let (program, other) = (make(rows)?, make(rows + 1)?);
        if program.inputs().len() != other.inputs().len() || program.outputs().len() != other.outputs().len() {
            let why = "its inputs or outputs change with the number of data";
            return Err(Error::unsupported("a program", "chunking", why).into());
        }
        let inputs = program.inputs().iter().enumerate();
        let inputs = inputs.map(|(i, p)| Argument::new(p, rows, program.input_type(i), other.input_type(i), 2));
        let outputs = program.outputs().iter().enumerate();
        let outputs = outputs.map(|(i, p)| Argument::new(p, rows, program.output_type(i), other.output_type(i), 1));
        let (inputs, outputs) = (inputs.collect::<Result<_, _>>()?, outputs.collect::<Result<Vec<Argument>, _>>()?);
        if let Some(out) = outputs.iter().find(|a| a.ty.kind != Kind::Real) {
            return Err(
                Error::unsupported(format!("{:?} {}", out.name, out.ty), "chunking", "outputs must be real").into()
            );
        }
        let mut parts = vec![(rows, program.stack()?.recompute()?.compile()?)];
        for &rows in &sizes[1..] {
            parts.push((rows, make(rows)?.stack()?.recompute()?.compile()?));
        }
        Ok(Chunked { data, chunk, parts, inputs, outputs, idle: Mutex::default() })
    }

    /// Bytes of scratch memory that a run on this many threads takes, and keeps.
    pub fn workspace_bytes(&self, par: Par) -> usize {
        let one = self.parts.iter().map(|p| p.1.workspace_bytes()).max().unwrap_or(0);
        let shares: usize = self.outputs.iter().filter(|a| a.axis.is_none()).map(|a| a.ty.numel()).sum();
        let workers = if self.spreads(par) { par.degree() } else { 1 };
        workers * (one + shares * size_of::<T>())
    }

    /// Whether chunks, not products, are shared out to threads.
    fn spreads(&self, par: Par) -> bool {
        par.degree() > 1 && self.data.div_ceil(self.chunk) >= par.degree()
    }

    /// Runs all chunks. Whole inputs and outputs are given, row-major; chunks read and write their parts in place.
    ///
    /// # Errors
    /// Arguments of the wrong number, kind or length; an index outside its axis.
    pub fn run(&self, par: Par, inputs: &[Input<'_, T>], outputs: &mut [Output<'_, T>]) -> Result<(), Error> {
        self.check(inputs, outputs)?;
        let mut totals: Vec<Option<&mut [T]>> = Vec::with_capacity(outputs.len());
        let mut tasks: Vec<Task<'_, T>> = (0..self.data)
            .step_by(self.chunk)
            .map(|from| Task { from, to: (from + self.chunk).min(self.data), outputs: Vec::new() })
            .collect();
        for (arg, out) in self.outputs.iter().zip(outputs.iter_mut()) {
            let Output::Real(out) = out else { return Err(arg.mismatch(self.data, 0)) };
            let mut rest: &mut [T] = out;
            if arg.axis.is_some() {
                for task in &mut tasks {
                    let (part, later) = rest.split_at_mut((task.to - task.from) * arg.inner(0).0);
                    task.outputs.push(Some(part));
                    rest = later;
                }
                totals.push(None);
            } else {
                tasks.iter_mut().for_each(|task| task.outputs.push(None));
                totals.push(Some(rest));
            }
        }
        let spread = self.spreads(par);
        let mut workers = match spread {
            true => (0..par.degree()).map(|_| self.worker(Par::Seq)).collect(),
            false => vec![self.worker(par)],
        };
        let done = if totals.iter().all(Option::is_none) {
            self.each(&mut workers, tasks, inputs)
        } else {
            self.summed(&mut workers, tasks, inputs, &mut totals)
        };
        self.idle().append(&mut workers);
        done
    }

    fn check(&self, inputs: &[Input<'_, T>], outputs: &[Output<'_, T>]) -> Result<(), Error> {
        let count = |name: &str, expected: usize, got: usize| match expected == got {
            true => Ok(()),
            false => {
                Err(Error::Input { name: name.into(), expected: format!("{expected} values"), got: got.to_string() })
            }
        };
        count("list", self.inputs.len(), inputs.len())?;
        count("list of outputs", self.outputs.len(), outputs.len())?;
        let length = |arg: &Argument, real: bool, got: usize| {
            let whole = arg.axis.map_or(arg.ty.numel(), |axis| {
                let (inner, before) = arg.inner(axis);
                inner * before * self.data
            });
            if real == (arg.ty.kind == Kind::Real) && got == whole { Ok(()) } else { Err(arg.mismatch(self.data, got)) }
        };
        for (arg, x) in self.inputs.iter().zip(inputs) {
            match x {
                Input::Real(x) => length(arg, true, x.len())?,
                Input::Int(x) => length(arg, false, x.len())?,
                Input::Columns(m) if arg.axis.is_none() => length(arg, true, m.nrows() * m.ncols())?,
                Input::Columns(_) => return Err(arg.mismatch(self.data, 0)),
            }
        }
        for (arg, y) in self.outputs.iter().zip(outputs) {
            match y {
                Output::Real(y) => length(arg, true, y.len())?,
                _ => return Err(arg.mismatch(self.data, 0)),
            }
        }
        Ok(())
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Worker<T>>> {
        // A panic elsewhere leaves the list usable.
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn worker(&self, par: Par) -> Worker<T> {
        let mut idle = self.idle();
        if let Some(k) = idle.iter().position(|w| w.degree == par.degree()) {
            return idle.swap_remove(k);
        }
        let room = |a: &Argument| vec![T::ZERO; if a.axis.is_none() { a.ty.numel() } else { 0 }];
        let shares = self.outputs.iter().map(room).collect();
        Worker { degree: par.degree(), workspace: Workspace::with_par(par), shares }
    }

    /// The part of an input that a chunk reads.
    fn part<'a>(&self, arg: &Argument, x: Input<'a, T>, from: usize, to: usize) -> Input<'a, T> {
        let Some(axis) = arg.axis else { return x };
        let (inner, before) = arg.inner(axis);
        match (x, axis) {
            (Input::Real(x), 0) => Input::Real(&x[from * inner..to * inner]),
            (Input::Int(x), 0) => Input::Int(&x[from * inner..to * inner]),
            (Input::Real(x), _) if !x.is_empty() => {
                let stride = self.data * inner;
                let (start, rows) = (from * inner, (to - from) * inner);
                let end = start + (before - 1) * stride + rows;
                Input::Columns(MatRef::from_column_major_slice_with_stride(&x[start..end], rows, before, stride))
            }
            _ => x,
        }
    }

    fn one(&self, worker: &mut Worker<T>, task: Task<'_, T>, inputs: &[Input<'_, T>]) -> Result<(), Error> {
        let rows = task.to - task.from;
        let Some((_, exe)) = self.parts.iter().find(|p| p.0 == rows) else {
            return Err(Error::Malformed(format!("no program for a chunk of {rows} data")));
        };
        let given: Vec<Input<'_, T>> =
            self.inputs.iter().zip(inputs).map(|(arg, x)| self.part(arg, *x, task.from, task.to)).collect();
        let mut room: Vec<Output<'_, T>> = task
            .outputs
            .into_iter()
            .zip(&mut worker.shares)
            .map(|(own, share)| Output::Real(own.unwrap_or(share)))
            .collect();
        exe.run(&mut worker.workspace, &given, &mut room)
    }

    /// Every chunk by whoever is free.
    fn each(&self, workers: &mut [Worker<T>], tasks: Vec<Task<'_, T>>, inputs: &[Input<'_, T>]) -> Result<(), Error> {
        if let [worker] = workers {
            return tasks.into_iter().try_for_each(|task| self.one(worker, task, inputs));
        }
        let (queue, failed) = (Mutex::new(tasks.into_iter()), Mutex::new(None));
        let next = || queue.lock().unwrap_or_else(|e| e.into_inner()).next();
        rayon::scope(|scope| {
            for worker in workers {
                let (next, failed) = (&next, &failed);
                scope.spawn(move |_| {
                    while let Some(task) = next() {
                        if let Err(e) = self.one(worker, task, inputs) {
                            *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(e);
                        }
                    }
                });
            }
        });
        failed.into_inner().unwrap_or_else(|e| e.into_inner()).map_or(Ok(()), Err)
    }

    /// As many chunks as there are workers at a time; then their shares are added, in order.
    fn summed(
        &self,
        workers: &mut [Worker<T>],
        tasks: Vec<Task<'_, T>>,
        inputs: &[Input<'_, T>],
        totals: &mut [Option<&mut [T]>],
    ) -> Result<(), Error> {
        let mut tasks = tasks.into_iter();
        let mut first = true;
        loop {
            let wave: Vec<Task<'_, T>> = tasks.by_ref().take(workers.len()).collect();
            if wave.is_empty() {
                if first {
                    totals.iter_mut().flatten().for_each(|t| t.fill(T::ZERO));
                }
                return Ok(());
            }
            let busy = &mut workers[..wave.len()];
            let mut results: Vec<Result<(), Error>> = wave.iter().map(|_| Ok(())).collect();
            if let [worker] = busy {
                results = wave.into_iter().map(|task| self.one(worker, task, inputs)).collect();
            } else {
                rayon::scope(|scope| {
                    for ((worker, task), result) in busy.iter_mut().zip(wave).zip(&mut results) {
                        scope.spawn(move |_| *result = self.one(worker, task, inputs));
                    }
                });
            }
            results.into_iter().collect::<Result<(), Error>>()?;
            for worker in busy.iter() {
                for (total, share) in totals.iter_mut().zip(&worker.shares) {
                    let Some(total) = total else { continue };
                    if first {
                        total.copy_from_slice(share);
                    } else {
                        total.iter_mut().zip(share).for_each(|(t, s)| *t += *s);
                    }
                }
                first = false;
            }
        }
    }
}
