//! Wrappers that add facts or counters and leave the products alone.

use super::prelude::*;
use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

macro_rules! forwarded {
    () => {
        fn shape(&self) -> (usize, usize) {
            (self.inner.nrows(), self.inner.ncols())
        }
        fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
            side.req(&self.inner, k, par)
        }
        fn price(&self, k: usize) -> Cost {
            self.inner.cost(k)
        }
        /// The operand.
        pub fn inner(&self) -> &Op<T> {
            &self.inner
        }
        fn operand_spaces(&self) -> (Option<&Arc<crate::Space>>, Option<&Arc<crate::Space>>) {
            self.inner.spaces()
        }
    };
}

/// An operator with facts added by the caller.
///
/// In debug builds SELF_ADJOINT and PSD are probed once, with two fixed vectors, at the first product.
#[derive(Clone, Debug)]
pub struct Assumed<T: Scalar> {
    inner: Op<T>,
    props: Props,
    /// What was added follows from how the operator was made.
    derived: bool,
    probed: OnceLock<Result<(), Error>>,
}

impl<T: Scalar> Assumed<T> {
    /// `inner` with `props` on top of what it knows.
    pub fn new(inner: Op<T>, props: Props) -> Self {
        let props = (inner.props() | props).close(inner.nrows(), inner.ncols());
        Assumed { inner, props, derived: false, probed: OnceLock::new() }
    }

    pub(crate) fn derived(inner: Op<T>, props: Props) -> Self {
        let op = Assumed { derived: true, ..Assumed::new(inner, props) };
        op.probed.get_or_init(|| Ok(()));
        op
    }

    fn word(&self) -> Props {
        let added = if self.derived { Props::NONE } else { self.props.without(self.inner.props()) };
        added | self.inner.assumed()
    }

    fn probe(&self) -> Result<(), Error> {
        let added = self.props.without(self.inner.props());
        super::probe::probe(added, self.inner.ncols(), |out, x| {
            let mut buffer = numerics::MemBuffer::new(self.inner.apply_req(2, Par::Seq));
            self.inner.apply(out, T::ONE, x, T::ZERO, Par::Seq, MemStack::new(&mut buffer))
        })
    }

    /// An assumed symmetry also supplies a missing transposed product; a real one stays in use.
    fn side(&self, side: Side) -> Side {
        let assumed = self.props.contains(Props::SELF_ADJOINT) && !self.inner.props().contains(Props::SELF_ADJOINT);
        if assumed { Side::Plain } else { side }
    }

    fn shape(&self) -> (usize, usize) {
        (self.inner.nrows(), self.inner.ncols())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        self.side(side).req(&self.inner, k, par)
    }
    fn price(&self, k: usize) -> Cost {
        self.inner.cost(k)
    }
    /// The operand.
    pub fn inner(&self) -> &Op<T> {
        &self.inner
    }
    fn operand_spaces(&self) -> (Option<&Arc<crate::Space>>, Option<&Arc<crate::Space>>) {
        self.inner.spaces()
    }
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        if cfg!(debug_assertions) {
            self.probed.get_or_init(|| self.probe()).clone()?;
        }
        self.side(side).run(&self.inner, out, alpha, x, beta, par, stack)
    }
    fn facts(&self) -> Props {
        self.props
    }
}

operator!(Assumed, seen_through, spaces: operand_spaces, assumed: word);

/// Facts do not hide structure.
fn seen_through<T: Scalar>(a: &Assumed<T>) -> Kind<'_, T> {
    a.inner.kind()
}

/// An operator declared to be square and orthogonal.
#[derive(Clone, Debug)]
pub struct Orthogonal<T: Scalar> {
    inner: Op<T>,
}

impl<T: Scalar> Orthogonal<T> {
    /// Declares a square operator orthogonal; its inverse is its transpose.
    pub fn new(inner: Op<T>) -> Result<Self, Error> {
        require_square("Orthogonal", &inner)?;
        Ok(Orthogonal { inner })
    }

    forwarded!();
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        side.run(&self.inner, out, alpha, x, beta, par, stack)
    }
    fn word(&self) -> Props {
        Props::ORTHOGONAL.without(self.inner.props())
    }
    fn facts(&self) -> Props {
        (self.inner.props() | Props::ORTHOGONAL).close(self.inner.nrows(), self.inner.ncols())
    }
}

operator!(Orthogonal, Kind::Orthogonal, spaces: operand_spaces, assumed: word);

/// What a [`Counted`] operator has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    plain: AtomicU64,
    transposed: AtomicU64,
    columns: AtomicU64,
    nanos: AtomicU64,
}

impl Counts {
    /// Calls of `apply`.
    pub fn products(&self) -> u64 {
        self.plain.load(Ordering::Relaxed)
    }
    /// Calls of `apply_t`.
    pub fn transposed_products(&self) -> u64 {
        self.transposed.load(Ordering::Relaxed)
    }
    /// Columns of both together.
    pub fn columns(&self) -> u64 {
        self.columns.load(Ordering::Relaxed)
    }
    /// Time spent in both, in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 * 1e-9
    }
}

/// Counts and times products. Its structure is hidden, so that every product passes through it.
#[derive(Clone, Debug)]
pub struct Counted<T: Scalar> {
    inner: Op<T>,
    counts: Arc<Counts>,
}

impl<T: Scalar> Counted<T> {
    /// Wraps an operator; the counters are shared with the caller.
    pub fn new(inner: Op<T>) -> (Self, Arc<Counts>) {
        let counts = Arc::new(Counts::default());
        (Counted { inner, counts: Arc::clone(&counts) }, counts)
    }

    forwarded!();
    fn run(
        &self,
        side: Side,
        out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let start = std::time::Instant::now();
        side.pick(&self.counts.plain, &self.counts.transposed).fetch_add(1, Ordering::Relaxed);
        self.counts.columns.fetch_add(x.ncols() as u64, Ordering::Relaxed);
        let result = side.run(&self.inner, out, alpha, x, beta, par, stack);
        self.counts.nanos.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        result
    }
    fn facts(&self) -> Props {
        self.inner.props()
    }
    /// Its parts are hidden: one doubtful part makes all its facts doubtful.
    fn word(&self) -> Props {
        let doubtful = self.inner.sources().iter().any(|(_, s)| *s == crate::Source::Assumed);
        self.inner.props().when(doubtful)
    }
}

operator!(Counted, |_| Kind::Opaque, spaces: operand_spaces, assumed: word);
