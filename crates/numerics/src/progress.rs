//! Progress reports and cancellation, for every loop that may run long.
//!
//! An algorithm calls [`Observer::report`] at the end of each step. The observer may draw a bar, write a log or
//! do nothing; by answering [`ControlFlow::Break`] it asks the algorithm to stop, which then returns
//! [`Error::Interrupted`] or a report of what it has. Estimating the time left is the observer's business.

use crate::Error;
use core::ops::ControlFlow;

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress<'a> {
    /// Name of the task.
    pub task: &'a str,
    /// Steps done.
    pub done: u64,
    /// Steps in all; 0 if not known.
    pub of: u64,
    /// A quantity worth showing, with its name.
    pub metric: Option<(&'a str, f64)>,
}

impl<'a> Progress<'a> {
    /// A report without a metric.
    pub fn new(task: &'a str, done: u64, of: u64) -> Self {
        Progress { task, done, of, metric: None }
    }

    /// The same report with a quantity to show.
    pub fn with_metric(mut self, name: &'a str, value: f64) -> Self {
        self.metric = Some((name, value));
        self
    }

    /// Share of the work done, between 0 and 1, if the total is known.
    pub fn fraction(&self) -> Option<f64> {
        (self.of > 0).then(|| (self.done as f64 / self.of as f64).min(1.0))
    }
}

/// Someone who watches a task and may stop it. Shared between threads.
pub trait Observer: Sync {
    /// Called after a step; `Break` asks to stop.
    fn report(&self, progress: &Progress<'_>) -> ControlFlow<()>;
}

/// Watches nothing and never stops a task.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn report(&self, _: &Progress<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: Fn(&Progress<'_>) -> ControlFlow<()> + Sync> Observer for F {
    fn report(&self, progress: &Progress<'_>) -> ControlFlow<()> {
        self(progress)
    }
}

/// Reports a step, for use with `?`.
///
/// # Errors
/// `Interrupted` if the observer asks to stop.
///
/// ```
/// use numerics::{Error, progress::{Progress, check}};
/// use std::ops::ControlFlow;
/// let stop_at_3 = |p: &Progress<'_>| if p.done < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
/// let mut done = 0;
/// let end = (1..=10).try_for_each(|i| {
///     done = i;
///     check(&stop_at_3, &Progress::new("count", i, 10))
/// });
/// assert_eq!((done, end), (3, Err(Error::Interrupted)));
/// ```
pub fn check(observer: &dyn Observer, progress: &Progress<'_>) -> Result<(), Error> {
    match observer.report(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Interrupted),
    }
}
