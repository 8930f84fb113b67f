//! How long things take: medians over a few repetitions, and an operator that notes the time of each of its products.

use linop_core::{Cost, Error, LinearOperator, Op, Props, Space};
use numerics::{MatMut, MatRef, MemStack, Par, Scalar, StackReq};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Repetitions stop after so many, or after so many seconds.
const REPETITIONS: usize = 5;
const SECONDS: f64 = 1.0;

/// Seconds that all living threads of this process have spent on a processor, to the nanosecond; `None` where the system does not
/// say. Differences are what counts: pools keep their threads.
pub fn processor_seconds() -> Option<f64> {
    let mut nanoseconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").ok()? {
        // "time on a processor, time waiting for one, turns"
        let Ok(text) = std::fs::read_to_string(thread.ok()?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds * 1e-9)
}

/// Seconds of `work`: the median over a few repetitions after the first, or the first if it takes long.
pub(super) fn repeated<E>(work: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    Ok(repeated_with_processor(work)?.0)
}

/// The same, with the processor seconds of one repetition on average, the first one not counted.
pub(super) fn repeated_with_processor<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<(f64, Option<f64>), E> {
    let mut once = || -> Result<f64, E> {
        let started = Instant::now();
        work()?;
        Ok(started.elapsed().as_secs_f64())
    };
    let first = once()?;
    let (mut spent, mut times) = (first, Vec::new());
    let before = processor_seconds();
    while times.len() < REPETITIONS && spent < SECONDS {
        let seconds = once()?;
        spent += seconds;
        times.push(seconds);
    }
    let count = times.len() as f64;
    let processor = processor_seconds().zip(before).filter(|_| count > 0.0).map(|(after, b)| (after - b) / count);
    Ok((median(times).unwrap_or(first), processor))
}

/// The middle one, or the mean of the two middle ones.
pub(super) fn median(mut times: Vec<f64>) -> Option<f64> {
    times.sort_by(f64::total_cmp);
    let half = times.len() / 2;
    match times.len() {
        0 => None,
        n if n % 2 == 1 => Some(times[half]),
        _ => Some((times[half - 1] + times[half]) / 2.0),
    }
}

/// Seconds per column of every product.
#[derive(Clone, Debug, Default)]
pub(super) struct Times(Arc<Mutex<Vec<f64>>>);

impl Times {
    pub(super) fn median(&self) -> Option<f64> {
        median(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn note<R>(&self, columns: usize, work: impl FnOnce() -> R) -> R {
        let started = Instant::now();
        let result = work();
        if columns > 0 {
            let seconds = started.elapsed().as_secs_f64() / columns as f64;
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(seconds);
        }
        result
    }
}

/// An operator that notes the time of its products. Structure is hidden: what is timed are products.
#[derive(Debug)]
pub(super) struct Timed<T: Scalar> {
    pub(super) inner: Op<T>,
    pub(super) times: Times,
}

impl<T: Scalar> LinearOperator<T> for Timed<T> {
    fn nrows(&self) -> usize {
        self.inner.nrows()
    }

    fn ncols(&self) -> usize {
        self.inner.ncols()
    }

    fn apply_req(&self, k: usize, par: Par) -> StackReq {
        self.inner.apply_req(k, par)
    }

    fn apply_t_req(&self, k: usize, par: Par) -> StackReq {
        self.inner.apply_t_req(k, par)
    }

    fn apply(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        self.times.note(x.ncols(), || self.inner.apply(out, alpha, x, beta, par, stack))
    }

    fn apply_t(
        &self,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        self.times.note(x.ncols(), || self.inner.apply_t(out, alpha, x, beta, par, stack))
    }

    fn props(&self) -> Props {
        self.inner.props()
    }

    fn assumed(&self) -> Props {
        self.inner.assumed()
    }

    fn spaces(&self) -> (Option<&Arc<Space>>, Option<&Arc<Space>>) {
        self.inner.spaces()
    }

    fn cost(&self, k: usize) -> Cost {
        self.inner.cost(k)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        let mut runs = 0;
        let seconds = repeated(|| {
            runs += 1;
            Ok::<(), ()>(())
        });
        assert!(seconds.is_ok_and(|s| s < 1.0));
        assert_eq!(runs, 1 + REPETITIONS);
        let mut x = 1.0f64;
        let busy = || {
            (0..2_000_000).for_each(|i| x = (x + f64::from(i)).sqrt());
            Ok::<(), ()>(())
        };
        let (wall, processor) = repeated_with_processor(busy).unwrap();
        assert!(x > 0.0 && wall > 0.0);
        if let Some(p) = processor {
            assert!(p > 0.1 * wall, "{p} {wall}");
        }
    }

    /// An operator whose work grows with the columns, and the widest block that it was given.
    #[derive(Debug)]
    struct Widths(Arc<Mutex<usize>>);

    const N: usize = 600;

    impl LinearOperator<f64> for Widths {
        fn nrows(&self) -> usize {
            N
        }

        fn ncols(&self) -> usize {
            N
        }

        fn apply_req(&self, _: usize, _: Par) -> StackReq {
            StackReq::EMPTY
        }

        fn apply(
            &self,
            mut out: MatMut<'_, f64>,
            _: f64,
            x: MatRef<'_, f64>,
            _: f64,
            _: Par,
            _: &mut MemStack,
        ) -> Result<(), Error> {
            let mut widest = self.0.lock().unwrap();
            *widest = x.ncols().max(*widest);
            out.copy_from(x);
            Ok(())
        }

        fn props(&self) -> Props {
            Props::SELF_ADJOINT
        }

        fn cost(&self, k: usize) -> Cost {
            Cost { flops: 1e6 * k as f64, bytes: 1e5 * k as f64 }
        }
    }

    #[test]
    fn sketches_see_the_cost_of_what_is_timed() {
        let widest = Arc::new(Mutex::new(0));
        let inner = Op::new(Widths(widest.clone()));
        let timed = Timed { inner: inner.clone(), times: Times::default() };
        assert_eq!(timed.cost(7), inner.cost(7));
        let settings = sketch::Settings::seeded(1);
        let budget = sketch::Budget::Products(400);
        sketch::trace(&Op::new(timed), sketch::TraceMethod::Hutchinson, budget, &settings).unwrap();
        // A stored matrix of this size is read in blocks twice as wide or wider.
        assert_eq!(*widest.lock().unwrap(), 32);
    }
}
