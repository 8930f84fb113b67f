//! Steps do not allocate, counted by an allocator of this thread's requests.
use numerics::Par;
use optim::spectral::{Cayley, SpectralRules};
use optim::{
    Accumulator, AdamW, AdamWConfig, Grads, KronConfig, MuonConfig, NonFinite, Optimizer, ParamGroup, ParamList,
    Precision, Preconditioned, PsgdConfig, Refresh, RootEngine, Settings, Sgd, SgdConfig, ShampooConfig, SirfConfig,
    SpectralConfig, clip_global_norm, recommended, reference,
};
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

fn boxed(config: impl Settings<f64> + 'static) -> Box<dyn Optimizer<f64>> {
    Box::new(Preconditioned::new(config).unwrap())
}

/// Refreshes, roots and turns of bases included; the first gradients make bases and packing buffers.
#[test]
fn no_matrix_method_allocates_after_its_first_steps() {
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    list.push("matrix", &[30, 17], group).unwrap();
    list.push("tensor", &[4, 5, 6], group).unwrap();
    list.push("vector", &[9], group).unwrap();
    let mut methods = Vec::new();
    for base in [
        reference::kl_shampoo(),
        reference::kl_soap(),
        reference::soap(),
        reference::idealised_kl_shampoo(),
        recommended::kl_shampoo(),
        recommended::soap(),
        KronConfig { refresh: Refresh::Eigh, ..recommended::kl_shampoo() },
        KronConfig { refresh: Refresh::Adaptive(1e-3), sort: true, ..reference::kl_soap() },
    ] {
        methods.push(boxed(KronConfig { period: 2, ..base }));
    }
    let pseudo = RootEngine::PseudoInverse { rtol: None, atol: 0.0 };
    methods.push(boxed(ShampooConfig { eps: 1e-6, ..reference::meta_shampoo() }));
    methods.push(boxed(ShampooConfig { root: pseudo, eps: 0.0, ..reference::meta_shampoo() }));
    methods.push(boxed(ShampooConfig { start: Some(1), period: 2, ..reference::google_shampoo() }));
    for cayley in [Cayley::Exact, Cayley::Two, Cayley::Three] {
        let rules = SpectralRules { cayley, ..SpectralRules::default() };
        methods.push(boxed(SpectralConfig { rules, ..SpectralConfig::default() }));
    }
    methods.push(boxed(SirfConfig::default()));
    methods.push(boxed(PsgdConfig::default()));
    methods.push(boxed(MuonConfig::default()));
    methods.push(boxed(MuonConfig { precision: Precision::Bfloat16, ..MuonConfig::default() }));
    let gradients: Vec<Vec<f64>> =
        (0..9).map(|t| (0..list.len()).map(|i| (1.7 * i as f64 + 0.31 * (t * t) as f64).sin()).collect()).collect();
    let mut sum = Accumulator::new(&list);
    for (i, method) in methods.iter_mut().enumerate() {
        let mut w = vec![1.0; list.len()];
        method.init(&list).unwrap();
        for g in &gradients[..4] {
            method.step(&mut w, Grads::all(g), 1.0).unwrap();
        }
        let n = counted(|| {
            for g in &gradients[4..] {
                sum.add(Grads::all(g), 2.0).unwrap();
                method.step(&mut w, sum.mean(), 1.0).unwrap();
                sum.clear();
            }
        });
        assert_eq!(n, 0, "{} ({i})", method.kind());
    }
}

/// A matrix large enough for halves of its rows; single precision, in which Muon has operands of its own.
#[test]
fn no_step_on_two_threads_allocates() {
    let mut list = ParamList::new();
    let group = list.add_group(ParamGroup::new("all"));
    list.push("matrix", &[130, 160], group).unwrap();
    let gradient = |t: usize| (0..list.len()).map(|i| (1.7 * i as f32 + 0.31 * (t * t) as f32).sin()).collect();
    let gradients: Vec<Vec<f32>> = (0..3).map(gradient).collect();
    fn threaded(config: impl Settings<f32> + 'static) -> Preconditioned<f32> {
        Preconditioned::new(config).unwrap().with_par(Par::rayon(2))
    }
    let mut methods = [
        threaded(KronConfig { period: 2, ..recommended::kl_shampoo() }),
        threaded(KronConfig { period: 2, ..recommended::soap() }),
        threaded(ShampooConfig { eps: 1e-6, ..reference::meta_shampoo() }),
        threaded(MuonConfig::default()),
        threaded(MuonConfig { precision: Precision::Bfloat16, ..MuonConfig::default() }),
    ];
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        for method in &mut methods {
            let mut w = vec![1.0; list.len()];
            method.init(&list).unwrap();
            let mut steps = |count: usize| {
                for g in gradients.iter().cycle().take(count) {
                    method.step(&mut w, Grads::all(g), 1.0).unwrap();
                }
            };
            // Both threads get buffers for packing.
            steps(30);
            let n = counted(|| steps(10));
            assert_eq!(n, 0, "{}", Optimizer::<f32>::kind(method));
        }
    });
}
