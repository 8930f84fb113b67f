//! Ctrl-C as a request: the first one asks the work to stop at its next step and save itself, the second one ends it.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What shells report for a process that was interrupted.
const STATUS: i32 = 130;

/// From now on, Ctrl-C (and a request to terminate) raises the flag that is returned; once it is up, they end the process.
pub(super) fn watch() -> Arc<AtomicBool> {
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // Where the system refuses, the signal ends the process as it always did, and the latest checkpoint remains.
        let _ = flag::register_conditional_shutdown(signal, STATUS, Arc::clone(&asked))
            .and_then(|_| flag::register(signal, Arc::clone(&asked)));
    }
    asked
}
