//! Ctrl-C as a request: the first one asks the work to stop at its next step and save itself, the second one ends it.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// What shells report for a process that was interrupted.
const STATUS: i32 = 130;

/// From now on, Ctrl-C (and a request to terminate) sets the flag that is returned.
pub(super) fn watch() -> &'static AtomicBool {
    // If something else in this process handles these signals already, the flag stays down; nothing is lost but comfort.
    let _ = ctrlc::try_set_handler(|| {
        if ASKED.swap(true, Ordering::SeqCst) {
            process::exit(STATUS);
        }
    });
    &ASKED
}
