//! How much memory low rank plus diagonal takes, counted by an allocator of this thread's bytes.

use numerics::Par;
use numerics::progress::Silent;
use numerics::rng::Law;
use sketch::synthmat::{Family, Symmetry, Tail, implicit_lord};
use sketch::{
    LordOptions, LordReport, Measurements, Passes, ProximalOptions, Settings, Solver, fit_lord, sketch_lord,
    sketch_lord_auto,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn held(bytes: isize) {
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every request goes unchanged to the system's allocator; counting touches only constant-initialised
// thread-local cells, which allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(layout.size() as isize);
        // SAFETY: the caller's layout, as given.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        held(-(layout.size() as isize));
        // SAFETY: `at` came from `System.alloc` with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that f held beyond what there was before.
fn most<R>(f: impl FnOnce() -> R) -> (R, f64) {
    let before = HELD.get();
    MOST.set(before);
    let out = f();
    (out, (MOST.get() - before) as f64)
}

#[test]
fn the_counter_counts() {
    let (_, bytes) = most(|| drop(std::hint::black_box(vec![1_u8; 1000])));
    assert_eq!(bytes, 1000.0);
}

const N: usize = 40_000;
const P: usize = 60;

/// Blocks of `n x p` numbers.
fn blocks(bytes: f64) -> f64 {
    bytes / (8 * N * P) as f64
}

/// What the report says is what is held, but for a share of pieces of work and blocks of the final rank.
fn check(report: &LordReport, (bytes, limit): (f64, f64)) {
    let (said, held) = (blocks(report.bytes as f64), blocks(bytes));
    assert!(held < limit, "{held} blocks");
    assert!(said > 0.75 * held && said < 1.02 * held, "{said} blocks reported, {held} held");
}

/// Measurements and two arrays; a block of probes more while measuring, a bit an entry afterwards.
#[test]
fn a_fit_takes_little_more_than_three_blocks() {
    let family = Family { rank: 15, tail: Tail::None, symmetry: Symmetry::Psd };
    let a = implicit_lord(N, &family, 10.0, 1).unwrap();
    for (passes, limit) in [(Passes::One, 3.4), (Passes::Two, 3.4)] {
        let options = LordOptions { passes, ..LordOptions::default() };
        let (found, bytes) = most(|| sketch_lord(&a, P, &options, &Settings::default()).unwrap());
        assert!(found.report.converged && found.rank() == 15);
        check(&found.report, (bytes, limit));
        let (choice, bytes) = most(|| sketch_lord_auto(&a, P, 10, &options, &Settings::default()).unwrap());
        assert!(choice.lord.report.method == "joint");
        check(&choice.lord.report, (bytes, limit + 0.6));
    }
    // probes that are not signs take a block
    let (found, bytes) =
        most(|| sketch_lord(&a, P, &LordOptions::default(), &Settings::default().with_law(Law::Sphere)));
    check(&found.unwrap().report, (bytes, 4.4));
}

#[test]
fn a_fit_of_given_measurements_takes_two_blocks() {
    let family = Family { rank: 15, tail: Tail::None, symmetry: Symmetry::Psd };
    let a = implicit_lord(N, &family, 10.0, 1).unwrap();
    let measured = Measurements::take(&a, 0..P, &Settings::default()).unwrap();
    let one = LordOptions { passes: Passes::One, ..LordOptions::default() };
    let (_, bytes) = most(|| fit_lord(&measured, &one, &Silent, Par::Seq).unwrap());
    assert!(blocks(bytes) < 2.4, "{}", blocks(bytes));
    let solver = Solver::Proximal(ProximalOptions { lambda: 1e-2, max_iter: 5, tol: 1e-10 });
    let (found, bytes) = most(|| fit_lord(&measured, &LordOptions { solver, ..one }, &Silent, Par::Seq).unwrap());
    assert!(blocks(bytes) < 4.4, "{}", blocks(bytes));
    assert!(blocks(found.report.bytes as f64) > 4.9);
}
