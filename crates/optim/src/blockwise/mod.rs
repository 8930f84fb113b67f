//! What every matrix method does around its rule: routing, blocks, decay, caps, saving, loading.
//!
//! A tensor with at least two modes longer than one is cut into blocks ([`Layout`]); each block has a rule with a state
//! of its own that turns its gradient into a direction. All other tensors are stepped by AdamW, bit for bit as
//! [`crate::AdamW`] would. Buffers are shared by all blocks and allocated by `init`.

mod fields;
mod layout;
mod rule;
mod sweep;

pub(crate) use layout::Treatment;
pub use layout::{LargeMode, Layout};
pub use rule::Settings;
pub(crate) use rule::{Call, Common, Done, Field, Rule};

use crate::slots::{admit, counter};
use crate::{AdamWConfig, Error, Grads, Optimizer, ParamList, SecondMoment, StepInfo};
use layout::BlockPlan;
use numerics::store::State;
use numerics::{Par, Scalar};
use sweep::Sweep;

const VERSION: u32 = 1;

/// A tensor's part of the state.
enum Piece<T> {
    Vector { m: Vec<T>, v: Vec<T> },
    Blocks(Vec<Block<T>>),
}

struct Block<T> {
    plan: BlockPlan,
    rule: Box<dyn Rule<T>>,
}

struct Group {
    common: Common,
    vectors: AdamWConfig,
}

/// An optimiser with one preconditioner per matrix or tensor, and AdamW for the rest.
///
/// The method is the configuration that it is made of: [`crate::KronConfig`] (SOAP, KL-Shampoo and their family),
/// [`crate::ShampooConfig`] and the others. An error [`Error::Decomposition`] comes after the whole step has been
/// done, with old bases where decompositions failed; all other errors come before anything has changed.
///
/// ```
/// use optim::{Grads, Optimizer, ParamGroup, ParamList, Preconditioned, recommended};
/// let mut list = ParamList::new();
/// let all = list.add_group(ParamGroup::new("all"));
/// list.push("weight", &[4, 3], all)?;
/// list.push("bias", &[4], all)?;
/// let mut method = Preconditioned::<f64>::new(recommended::kl_shampoo())?;
/// method.init(&list)?;
/// let mut w = vec![1.0; list.len()];
/// for t in 0..5 {
///     let gradient: Vec<f64> = w.iter().enumerate().map(|(i, x)| x * (1.0 + (i * t) as f64).cos()).collect();
///     method.step(&mut w, Grads::all(&gradient), 1.0)?;
/// }
/// assert!(w.iter().all(|x| x.is_finite() && *x != 1.0));
/// # Ok::<(), optim::Error>(())
/// ```
pub struct Preconditioned<T> {
    config: Box<dyn Settings<T>>,
    par: Par,
    batch: f64,
    run: Option<Run<T>>,
}

/// What `init` makes.
struct Run<T> {
    list: ParamList,
    groups: Vec<Group>,
    pieces: Vec<Piece<T>>,
    count: Vec<u64>,
    steps: u64,
    skipped: u64,
    /// As many rooms as there are threads.
    buffer: Vec<T>,
    /// Scratch of the largest block.
    room: usize,
    /// Flops of each tensor's step, roughly.
    work: Vec<f64>,
}

impl<T: Scalar> Preconditioned<T> {
    /// An optimiser that waits for its parameter list.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn new(config: impl Settings<T> + 'static) -> Result<Self, Error> {
        config.check()?;
        Ok(Preconditioned { config: Box::new(config), par: Par::Seq, batch: 1.0, run: None })
    }

    /// Threads, for many tensors of like size one tensor each, otherwise within products; the bits do not depend on it.
    /// To be called before [`Optimizer::init`], which allocates for them.
    #[must_use]
    pub fn with_par(mut self, par: Par) -> Self {
        self.par = par;
        self
    }

    /// Number of data behind the next gradients (a mean over them); only root-free methods ask for it.
    ///
    /// # Errors
    /// Unless positive and finite.
    pub fn set_batch(&mut self, batch: f64) -> Result<(), Error> {
        crate::error::check(batch > 0.0 && batch.is_finite(), "batch", batch, "positive and finite")?;
        self.batch = batch;
        Ok(())
    }

    /// Steps left out so far because a gradient was not finite.
    pub fn skipped(&self) -> u64 {
        self.run.as_ref().map_or(0, |r| r.skipped)
    }

    fn build(&self, list: &ParamList) -> Result<Run<T>, Error> {
        let configs: Vec<_> = list.groups().iter().map(|g| self.config.for_group(g)).collect();
        let mut groups = Vec::new();
        for (config, group) in configs.iter().zip(list.groups()) {
            config.check()?;
            let common = config.common();
            let vectors = common.vectors.for_group(group)?;
            groups.push(Group { common, vectors });
        }
        let mut pieces = Vec::new();
        let mut room = 0;
        for (ordinal, p) in list.params().iter().enumerate() {
            let config = &configs[p.group()];
            let treatment = match list.group_of(p).first_order {
                true => Treatment::Vector,
                false => groups[p.group()].common.layout.treatment(p.shape()),
            };
            let piece = match treatment {
                Treatment::Vector => {
                    Piece::Vector { m: vec![T::ZERO; p.range().len()], v: vec![T::ZERO; p.range().len()] }
                }
                Treatment::Blocks(plans) => {
                    let block =
                        |plan: BlockPlan| Block { rule: config.rule(&plan.dims, &plan.kinds, ordinal as u64), plan };
                    let blocks: Vec<_> = plans.into_iter().map(block).collect();
                    for b in &blocks {
                        room = room.max(3 * b.plan.len() + b.rule.scratch_len());
                    }
                    Piece::Blocks(blocks)
                }
            };
            pieces.push(piece);
        }
        let count = vec![0; list.params().len()];
        let work: Vec<f64> = pieces.iter().map(sweep::work).collect();
        let buffer = vec![T::ZERO; room * if sweep::by_tensor(self.par, &work) { self.par.degree().max(1) } else { 1 }];
        Ok(Run { list: list.clone(), groups, pieces, count, steps: 0, skipped: 0, buffer, room, work })
    }
}

impl<T: Scalar> Optimizer<T> for Preconditioned<T> {
    fn kind(&self) -> &'static str {
        self.config.kind()
    }

    fn init(&mut self, list: &ParamList) -> Result<(), Error> {
        self.run = Some(self.build(list)?);
        Ok(())
    }

    fn set_batch(&mut self, batch: f64) -> Result<(), Error> {
        Preconditioned::set_batch(self, batch)
    }

    fn step(&mut self, params: &mut [T], grads: Grads<'_, T>, lr_multiplier: f64) -> Result<StepInfo, Error> {
        let run = self.run.as_mut().ok_or(Error::NotInitialised { kind: self.config.kind() })?;
        let skipped = admit(&run.list, params, &grads, lr_multiplier, self.config.common().non_finite)?;
        if skipped.is_some() {
            run.skipped += 1;
            return Ok(StepInfo { step: run.steps, skipped, ..StepInfo::default() });
        }
        run.steps += 1;
        let Run { list, groups, pieces, count, buffer, work, room, .. } = run;
        let sweep = Sweep { list, groups, grads, lr_multiplier, batch: self.batch, par: self.par, work, room: *room };
        let did = sweep.all(pieces, count, params, buffer)?;
        let info = StepInfo { step: run.steps, updated: did.updated, missing: did.missing, ..StepInfo::default() };
        match did.stuck {
            None => Ok(info),
            Some((i, mode)) => Err(Error::Decomposition { parameter: run.list.params()[i].name().into(), mode }),
        }
    }

    fn state(&self) -> Result<State, Error> {
        let kind = self.config.kind();
        let run = self.run.as_ref().ok_or(Error::NotInitialised { kind })?;
        let mut state = State::new(kind, VERSION, T::DTYPE);
        state.step = run.steps;
        state.config = self.config.json();
        state.scalars.insert("skipped".into(), run.skipped as f64);
        for (i, p) in run.list.params().iter().enumerate() {
            state.scalars.insert(format!("count.{}", p.name()), run.count[i] as f64);
            match &run.pieces[i] {
                Piece::Vector { m, v } => {
                    fields::save_array(&mut state, "m", p.name(), p.shape(), m)?;
                    fields::save_array(&mut state, "v", p.name(), p.shape(), v)?;
                }
                Piece::Blocks(blocks) => {
                    for (b, block) in blocks.iter().enumerate() {
                        let name = fields::block_name(p.name(), b, blocks.len());
                        fields::save(&mut state, &name, block.rule.as_ref())?;
                    }
                }
            }
        }
        Ok(state)
    }

    fn load_state(&mut self, state: &State) -> Result<(), Error> {
        let kind = self.config.kind();
        let run = self.run.as_ref().ok_or(Error::NotInitialised { kind })?;
        state.expect(kind, VERSION, T::DTYPE)?;
        let mut fresh = self.build(&run.list)?;
        fresh.steps = state.step;
        fresh.skipped = counter(state, "skipped")?;
        let mut reader = fields::Reader::new(state);
        for (i, p) in fresh.list.params().iter().enumerate() {
            fresh.count[i] = counter(state, &format!("count.{}", p.name()))?;
            match &mut fresh.pieces[i] {
                Piece::Vector { m, v } => {
                    reader.array("m", p.name(), p.shape(), m)?;
                    reader.array("v", p.name(), p.shape(), v)?;
                }
                Piece::Blocks(blocks) => {
                    let count = blocks.len();
                    for (b, block) in blocks.iter_mut().enumerate() {
                        reader.rule(&fields::block_name(p.name(), b, count), block.rule.as_mut())?;
                    }
                }
            }
        }
        reader.finish()?;
        self.run = Some(fresh);
        Ok(())
    }

    fn second_moment(&self, param: usize) -> Option<SecondMoment<'_, T>> {
        let run = self.run.as_ref()?;
        let p = run.list.params().get(param)?;
        match run.pieces.get(param)? {
            Piece::Vector { v, .. } => {
                Some(SecondMoment { v, beta2: run.groups[p.group()].vectors.beta2, count: run.count[param] })
            }
            Piece::Blocks(_) => None,
        }
    }
}
