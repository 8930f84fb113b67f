//! The progress bar: one line on stderr with the part done, a metric and the time left.
//!
//! Drawn only if stderr is a terminal and `--quiet` was not given, at most ten times a second. The time left follows
//! an exponentially weighted rate with a half-life of a fifth of the elapsed time, so it forgets a slow start.

use super::text::span;
use numerics::progress::{Observer, Progress};
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const WIDTH: usize = 24;
const PAUSE: Duration = Duration::from_millis(100);

/// A progress bar; dropping it clears its line.
pub struct Bar {
    shown: bool,
    state: Mutex<Option<State>>,
}

struct State {
    task: String,
    started: Instant,
    drawn: Option<Instant>,
    rate: Rate,
}

impl Bar {
    /// A bar that stays silent if `quiet`, or if stderr is no terminal.
    pub fn new(quiet: bool) -> Self {
        Bar { shown: !quiet && std::io::stderr().is_terminal(), state: Mutex::new(None) }
    }

    /// Reports `done` of `of` steps of a task (`of` 0 = not known), with an optional named number.
    pub fn show(&self, task: &str, done: u64, of: u64, metric: Option<(&str, f64)>) {
        if !self.shown {
            return;
        }
        let now = Instant::now();
        // A poisoned lock only means that another thread panicked while drawing.
        let mut guard = self.state.lock().unwrap_or_else(|e| e.into_inner());
        if guard.as_ref().is_none_or(|s| s.task != task) {
            // The clock starts here, so what was done before does not count: a resumed task is not a fast one.
            let rate = Rate { done, ..Rate::default() };
            *guard = Some(State { task: task.to_owned(), started: now, drawn: None, rate });
        }
        let Some(state) = guard.as_mut() else { return };
        let elapsed = now.duration_since(state.started).as_secs_f64();
        state.rate.observe(elapsed, done);
        let recent = state.drawn.is_some_and(|d| now.duration_since(d) < PAUSE);
        if recent && (done < of || of == 0) {
            return;
        }
        state.drawn = Some(now);
        let text = line(task, done, of, metric, state.rate.left(of.saturating_sub(done)));
        // Progress is a courtesy: a closed stderr must not stop the work.
        let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
    }
}

impl Observer for Bar {
    fn report(&self, p: &Progress<'_>) -> ControlFlow<()> {
        self.show(p.task, p.done, p.of, p.metric);
        ControlFlow::Continue(())
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        let drawn = self.state.get_mut().is_ok_and(|s| s.as_ref().is_some_and(|s| s.drawn.is_some()));
        if drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// Steps per second, weighted towards the recent past.
#[derive(Default)]
struct Rate {
    time: f64,
    done: u64,
    rate: Option<f64>,
}

impl Rate {
    fn observe(&mut self, elapsed: f64, done: u64) {
        let (dt, steps) = (elapsed - self.time, done.saturating_sub(self.done));
        if dt <= 0.0 || steps == 0 {
            return;
        }
        let now = steps as f64 / dt;
        let keep = 0.5f64.powf(dt / (0.2 * elapsed).max(1e-9));
        self.rate = Some(self.rate.map_or(now, |r| keep * r + (1.0 - keep) * now));
        (self.time, self.done) = (elapsed, done);
    }

    fn left(&self, steps: u64) -> Option<f64> {
        self.rate.map(|r| steps as f64 / r)
    }
}

/// `of` is 0 if the total is not known; then there is neither bar nor time left.
fn line(task: &str, done: u64, of: u64, metric: Option<(&str, f64)>, left: Option<f64>) -> String {
    let metric = metric.map(|(n, x)| format!("  {n} {x:.4e}")).unwrap_or_default();
    if of == 0 {
        return format!("{task} {done}{metric}");
    }
    let full = ((done as f64 / of as f64).min(1.0) * WIDTH as f64) as usize;
    let bar = "█".repeat(full) + &"░".repeat(WIDTH - full);
    let left = left.filter(|_| done < of).map(|s| format!("  {} left", span(s))).unwrap_or_default();
    format!("{task} {bar} {done}/{of}{metric}{left}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_all() {
        let text = line("trace", 6, 24, Some(("stderr", 0.0125)), Some(90.0));
        assert_eq!(text, format!("trace {}{} 6/24  stderr 1.2500e-2  1:30 min left", "█".repeat(6), "░".repeat(18)));
        assert!(!line("trace", 24, 24, None, Some(0.0)).contains("left"));
        assert_eq!(line("t", 7, 0, None, Some(1.0)), "t 7");
    }

    #[test]
    fn time_left_forgets_a_slow_start() {
        let mut r = Rate::default();
        assert_eq!(r.left(10), None);
        r.observe(10.0, 1);
        assert_eq!(r.left(9), Some(90.0));
        for k in 1..=100 {
            r.observe(10.0 + 0.1 * f64::from(k), 1 + k as u64);
        }
        let left = r.left(10).unwrap();
        assert!((1.0..1.6).contains(&left), "{left}");
    }

    #[test]
    fn silence_draws_nothing() {
        let bar = Bar::new(true);
        bar.show("t", 1, 2, None);
        assert!(bar.state.lock().unwrap().is_none());
    }
}
