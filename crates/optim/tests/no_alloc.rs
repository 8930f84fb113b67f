//! Steps do not allocate, counted by an allocator of this thread's requests.
use optim::{AdamW, AdamWConfig, Grads, NonFinite, Optimizer, ParamGroup, ParamList, Sgd, SgdConfig, clip_global_norm};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every request goes unchanged to the system's allocator; counting touches only a constant-initialised
// thread-local cell, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = COUNT.try_with(|c| c.set(c.get() + 1));
        // SAFETY: the caller's layout, as given.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System.alloc` with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(f: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    f();
    COUNT.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| drop(std::hint::black_box(vec![1_u8; 10]))), 1);
}

#[test]
fn no_step_allocates() {
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    list.push("a", &[30, 7], group).unwrap();
    list.push("b", &[], group).unwrap();
    let non_finite = NonFinite::Skip;
    let mut methods: [Box<dyn Optimizer<f64>>; 2] = [
        Box::new(AdamW::new(AdamWConfig { non_finite, ..AdamWConfig::default() }).unwrap()),
        Box::new(Sgd::new(SgdConfig { non_finite, ..SgdConfig::default() }).unwrap()),
    ];
    let mut w = vec![1.0; list.len()];
    let mut g = vec![0.5; list.len()];
    let bad = vec![f64::NAN; list.len()];
    for method in &mut methods {
        method.init(&list).unwrap();
        let n = counted(|| {
            for _ in 0..5 {
                clip_global_norm(&list, &mut g, None, 1.0).unwrap();
                method.step(&mut w, Grads::all(&g), 0.3).unwrap();
                method.step(&mut w, Grads::masked(&g, &[true, false]), 0.3).unwrap();
                method.step(&mut w, Grads::all(&bad), 0.3).unwrap();
            }
        });
        assert_eq!(n, 0, "{}", method.kind());
    }
}
