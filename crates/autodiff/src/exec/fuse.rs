//! Fused elementwise kernels: a run of elementwise nodes over one iteration space, evaluated block by block.
//!
//! A block is a range of the row-major positions. Operands that lie row-major or in long rows are read in place, uniform
//! ones enter as numbers, all others are gathered into a register (a block of scratch memory). Values that somebody else needs are
//! computed straight into their buffers, the rest live in registers that a linear scan reuses. A value that takes the place of an
//! operand waits in a register until the block's other instructions are done. A product that is added to something and read by nobody else
//! is made in the same pass, rounded as if it were made alone. A run may end in reductions.

use super::ending::{Ending, PIECE};
use super::loops;
use super::machine::Machine;
use super::view::{View, coalesce};
use crate::ops::{Binary, BinaryFn, Op, Unary};
use crate::types::{Dims, strides};
use numerics::Scalar;
use numerics::simd::{self, Binary as SimdBinary, Ternary, Unary as SimdUnary};
use std::collections::HashMap;

/// Elements per block where the registers are few.
const BLOCK: usize = 1024;
/// Elements of all registers together: they should stay in the second-level cache.
const REGISTERS: usize = 24 * 1024;
/// Rows of a strided operand that are long enough to end a block.
const LONG_ROW: usize = 256;
/// Instructions times elements that are worth a thread.
const PARALLEL: usize = 1 << 17;

/// Where a block of numbers is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Src {
    /// A register.
    Reg(usize),
    /// A row-major buffer, from this element on.
    Dense { buf: usize, offset: usize },
    /// One number for all positions.
    Uniform { buf: usize, offset: usize },
    /// A strided operand or value whose last axis is contiguous and long: blocks end where its rows end.
    Rows(usize),
    /// The destination of a reduction, which keeps its own books.
    Nowhere,
}

/// One instruction over a block.
#[derive(Debug)]
enum Code<T> {
    Load(usize),
    Copy(Src),
    Unary(simd::UnaryFn<T>, Src),
    Powi(i32, Src),
    Powf(T, Src),
    Binary(simd::BinaryFn<T>, Src, Src),
    BinaryScalar(simd::BinaryScalarFn<T>, Src, Src),
    ScalarBinary(simd::ScalarBinaryFn<T>, Src, Src),
    Select(simd::TernaryFn<T>, Src, Src, Src),
    Ternary(simd::TernaryFn<T>, Src, Src, Src),
    ScalarTernary(simd::ScalarTernaryFn<T>, Src, Src, Src),
    /// Hands the block to a reduction.
    Reduce(usize, Src),
    /// Hands the product of two blocks to a sum.
    ReduceProduct(usize, Src, Src),
}

/// A strided operand.
#[derive(Debug)]
struct Strided {
    buf: usize,
    offset: usize,
    shape: Dims,
    inner: Dims,
    strides: Dims,
}

impl Strided {
    /// Where the element at a row-major position is.
    fn position(&self, at: usize) -> usize {
        let (mut rest, mut sum) = (at, 0);
        for (inner, stride) in self.inner.iter().zip(&self.strides) {
            sum += rest / inner * stride;
            rest %= inner;
        }
        sum
    }
}

/// A compiled run.
#[derive(Debug)]
pub(super) struct Kernel<T> {
    numel: usize,
    block: usize,
    code: Vec<(Code<T>, Src)>,
    loads: Vec<Strided>,
    endings: Vec<Ending>,
    /// Positions that threads must not part.
    unit: usize,
    /// Lengths of the rows that no block may cross.
    rows: Vec<usize>,
    pub(super) registers: usize,
}

/// A node of the run: its operation, operands (members by position, or views), and where it is stored, if it is.
pub(super) struct Member<'a> {
    pub(super) op: &'a Op,
    pub(super) args: Vec<Operand>,
    pub(super) store: Option<View>,
    /// Whether it is stored over an operand, after all else.
    pub(super) last: bool,
}

/// An operand of a member.
pub(super) enum Operand {
    Member(usize),
    Outside(View),
}

/// Whether kernels take the view in place though it is not dense.
fn has_long_rows(v: &View) -> bool {
    let (shape, [strides]) = coalesce(&v.shape, [&v.strides]);
    strides.last() == Some(&1) && shape.last().is_some_and(|&n| n >= LONG_ROW)
}

/// Whether a kernel can store a value like this.
pub(super) fn can_store(v: &View) -> bool {
    v.is_dense() || has_long_rows(v)
}

fn unary_code<T: Scalar>(u: Unary, x: Src) -> Code<T> {
    let op = match u {
        Unary::Neg => SimdUnary::Neg,
        Unary::Abs => SimdUnary::Abs,
        Unary::Sign => SimdUnary::Sign,
        Unary::Step => SimdUnary::Step,
        Unary::Recip => SimdUnary::Recip,
        Unary::Sqrt => SimdUnary::Sqrt,
        Unary::Exp => SimdUnary::Exp,
        Unary::Expm1 => SimdUnary::Expm1,
        Unary::Log => SimdUnary::Log,
        Unary::Log1p => SimdUnary::Log1p,
        Unary::Sin => SimdUnary::Sin,
        Unary::Cos => SimdUnary::Cos,
        Unary::Sinh => SimdUnary::Sinh,
        Unary::Cosh => SimdUnary::Cosh,
        Unary::Tanh => SimdUnary::Tanh,
        Unary::Sigmoid => SimdUnary::Sigmoid,
        Unary::Softplus => SimdUnary::Softplus,
        Unary::Erf => SimdUnary::Erf,
        Unary::Erfc => SimdUnary::Erfc,
        Unary::Atan => SimdUnary::Atan,
        Unary::Asin => SimdUnary::Asin,
        Unary::Asinh => SimdUnary::Asinh,
        Unary::Atanh => SimdUnary::Atanh,
        Unary::StopGradient => return Code::Copy(x),
        Unary::Powf(p) => match p.get() {
            2.0 => SimdUnary::Square,
            -1.0 => SimdUnary::Recip,
            0.5 => SimdUnary::Sqrt,
            -0.5 => SimdUnary::Rsqrt,
            p if p.fract() == 0.0 && p.abs() <= 64.0 => return Code::Powi(p as i32, x),
            p => return Code::Powf(T::from_f64(p), x),
        },
    };
    Code::Unary(simd::unary_kernel(op), x)
}

fn simd_binary(f: BinaryFn) -> SimdBinary {
    match f {
        BinaryFn::Add => SimdBinary::Add,
        BinaryFn::Sub => SimdBinary::Sub,
        BinaryFn::Mul => SimdBinary::Mul,
        BinaryFn::Div => SimdBinary::Div,
        BinaryFn::Max => SimdBinary::Max,
        BinaryFn::Min => SimdBinary::Min,
        BinaryFn::Less => SimdBinary::Lt,
        BinaryFn::LessEqual => SimdBinary::Le,
        BinaryFn::Equal => SimdBinary::Eq,
    }
}

/// Code under construction; registers are single-assignment until [`Assembler::finish`].
struct Assembler<T> {
    code: Vec<(Code<T>, Src)>,
    loads: Vec<Strided>,
    loaded: HashMap<(usize, usize, Dims), Src>,
    filled: HashMap<Src, Src>,
    virtuals: usize,
}

impl<T: Scalar> Assembler<T> {
    fn fresh(&mut self) -> Src {
        self.virtuals += 1;
        Src::Reg(self.virtuals - 1)
    }

    fn outside(&mut self, v: &View) -> Src {
        if v.is_dense() {
            return Src::Dense { buf: v.buf, offset: v.offset };
        }
        if v.is_uniform() {
            return Src::Uniform { buf: v.buf, offset: v.offset };
        }
        let key = (v.buf, v.offset, v.strides.clone());
        if let Some(&src) = self.loaded.get(&key) {
            return src;
        }
        let place = self.strided(v);
        let src = if has_long_rows(v) { Src::Rows(place) } else { self.fresh() };
        if matches!(src, Src::Reg(_)) {
            self.code.push((Code::Load(place), src));
        }
        self.loaded.insert(key, src);
        src
    }

    fn strided(&mut self, v: &View) -> usize {
        let (shape, [strides_now]) = coalesce(&v.shape, [&v.strides]);
        let inner = strides(&shape);
        self.loads.push(Strided { buf: v.buf, offset: v.offset, shape, inner, strides: strides_now });
        self.loads.len() - 1
    }

    /// Where a stored value goes.
    fn target(&mut self, v: &View) -> Src {
        match v.is_dense() {
            true => Src::Dense { buf: v.buf, offset: v.offset },
            false => Src::Rows(self.strided(v)),
        }
    }

    /// A block for a source that may be a single number.
    fn block(&mut self, src: Src) -> Src {
        if !matches!(src, Src::Uniform { .. }) {
            return src;
        }
        if let Some(&reg) = self.filled.get(&src) {
            return reg;
        }
        let reg = self.fresh();
        self.code.push((Code::Copy(src), reg));
        self.filled.insert(src, reg);
        reg
    }

    fn member(&mut self, op: &Op, args: &[Src]) -> Code<T> {
        let uniform = |s: Src| matches!(s, Src::Uniform { .. });
        match op {
            Op::Unary(u) => unary_code(*u, self.block(args[0])),
            Op::Binary(Binary(f)) => {
                let f = simd_binary(*f);
                match (uniform(args[0]), uniform(args[1])) {
                    (false, false) => Code::Binary(simd::binary_kernel(f), args[0], args[1]),
                    (true, false) => Code::ScalarBinary(simd::scalar_binary_kernel(f), args[0], args[1]),
                    (_, true) => {
                        let x = self.block(args[0]);
                        Code::BinaryScalar(simd::binary_scalar_kernel(f), x, args[1])
                    }
                }
            }
            Op::Select(_) => {
                let (p, x, y) = (self.block(args[0]), self.block(args[1]), self.block(args[2]));
                Code::Select(simd::select::<T>, p, x, y)
            }
            // Only elementwise nodes become members.
            _ => Code::Copy(args[0]),
        }
    }

    /// A sum or difference with a product that waits, in one pass.
    fn chained(&mut self, m: &Member<'_>, args: &[Src; 3], waiting: &HashMap<usize, [Src; 2]>) -> Option<Code<T>> {
        let side = (0..m.args.len()).find(|&i| matches!(m.args[i], Operand::Member(j) if waiting.contains_key(&j)))?;
        let Operand::Member(j) = m.args[side] else { return None };
        let op = match (m.op, side) {
            (Op::Binary(Binary(BinaryFn::Add)), _) => Ternary::MulAdd,
            (_, 0) => Ternary::MulSub,
            _ => Ternary::SubMul,
        };
        let [a, b] = waiting[&j];
        let c = self.block(args[1 - side]);
        Some(match a {
            Src::Uniform { .. } => Code::ScalarTernary(simd::scalar_ternary_kernel(op), a, b, c),
            _ => Code::Ternary(simd::ternary_kernel(op), a, b, c),
        })
    }

    /// Maps single-assignment registers to few real ones.
    fn finish(mut self, numel: usize, endings: Vec<Ending>) -> Kernel<T> {
        let mut last = vec![0; self.virtuals];
        for (i, (code, dst)) in self.code.iter_mut().enumerate() {
            for s in sources(code).into_iter().flatten().map(|s| *s).chain([*dst]) {
                if let Src::Reg(r) = s {
                    last[r] = i;
                }
            }
        }
        let (mut free, mut count, mut real) = (Vec::new(), 0, vec![usize::MAX; self.virtuals]);
        for (i, (code, dst)) in self.code.iter_mut().enumerate() {
            let mut ends: Vec<usize> = Vec::new();
            for s in sources(code).into_iter().flatten() {
                if let Src::Reg(r) = *s {
                    if last[r] == i && !ends.contains(&real[r]) {
                        ends.push(real[r]);
                    }
                    *s = Src::Reg(real[r]);
                }
            }
            if let Src::Reg(r) = *dst {
                real[r] = free.pop().unwrap_or_else(|| {
                    count += 1;
                    count - 1
                });
                *dst = Src::Reg(real[r]);
            }
            free.extend(ends);
        }
        let mut block = BLOCK.min((REGISTERS / count.max(1)).max(64) / 32 * 32).min(numel.max(1));
        let mut rows = Vec::new();
        let grid = endings.first().map(|e| e.grid);
        if let Some(grid) = grid {
            // Whole pieces of long sums.
            block = (block / PIECE * PIECE).max(PIECE);
            match block / grid.row {
                0 => rows.push(grid.row),
                n => block = n * grid.row,
            }
        }
        for (code, dst) in &mut self.code {
            for s in sources(code).into_iter().flatten().chain([dst]) {
                if let Src::Rows(i) = *s {
                    rows.extend(self.loads[i].shape.last());
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        let unit = grid.map_or(64, |g| g.unit());
        Kernel { numel, block, code: self.code, loads: self.loads, endings, unit, rows, registers: count * block }
    }
}

/// Who alone reads a product.
#[derive(Clone, Copy)]
enum Reader {
    /// A sum or difference among the members.
    Member(usize),
    /// A reduction.
    Ending(usize),
}

fn reads(m: &Member<'_>, j: usize) -> bool {
    m.args.iter().any(|a| matches!(a, Operand::Member(i) if *i == j))
}

/// The readers of products that are not stored and that one sum, difference or reduction reads, and nobody else.
fn products_read_once(members: &[Member<'_>], endings: &[(usize, Ending)]) -> Vec<Option<Reader>> {
    let mut readers: Vec<Vec<Reader>> = vec![Vec::new(); members.len()];
    for (k, m) in members.iter().enumerate() {
        for a in &m.args {
            if let Operand::Member(j) = a {
                readers[*j].push(Reader::Member(k));
            }
        }
    }
    for (i, (of, _)) in endings.iter().enumerate() {
        readers[*of].push(Reader::Ending(i));
    }
    let sums = |k: usize| matches!(members[k].op, Op::Binary(Binary(BinaryFn::Add | BinaryFn::Sub)));
    let one = |(m, readers): (&Member<'_>, Vec<Reader>)| match (m.op, &m.store, &readers[..]) {
        (Op::Binary(Binary(BinaryFn::Mul)), None, &[Reader::Member(k)]) if sums(k) => Some(Reader::Member(k)),
        (Op::Binary(Binary(BinaryFn::Mul)), None, &[Reader::Ending(i)]) => Some(Reader::Ending(i)),
        _ => None,
    };
    members.iter().zip(readers).map(one).collect()
}

/// The factors of a product, a single number first; `None` if both are.
fn factors(a: Src, b: Src) -> Option<[Src; 2]> {
    match (a, b) {
        (Src::Uniform { .. }, Src::Uniform { .. }) => None,
        (_, Src::Uniform { .. }) => Some([b, a]),
        _ => Some([a, b]),
    }
}

fn sources<T>(code: &mut Code<T>) -> [Option<&mut Src>; 3] {
    match code {
        Code::Load(_) => [None, None, None],
        Code::Copy(a) | Code::Unary(_, a) | Code::Powi(_, a) | Code::Powf(_, a) | Code::Reduce(_, a) => {
            [Some(a), None, None]
        }
        Code::Binary(_, a, b)
        | Code::BinaryScalar(_, a, b)
        | Code::ScalarBinary(_, a, b)
        | Code::ReduceProduct(_, a, b) => [Some(a), Some(b), None],
        Code::Select(_, a, b, c) | Code::Ternary(_, a, b, c) | Code::ScalarTernary(_, a, b, c) => {
            [Some(a), Some(b), Some(c)]
        }
    }
}

impl<T: Scalar> Kernel<T> {
    /// Compiles a run over `numel` positions, which ends in reductions of some members.
    pub(super) fn new(numel: usize, members: &[Member<'_>], endings: Vec<(usize, Ending)>) -> Self {
        let mut asm = Assembler {
            code: Vec::new(),
            loads: Vec::new(),
            loaded: HashMap::new(),
            filled: HashMap::new(),
            virtuals: 0,
        };
        let alone = products_read_once(members, &endings);
        let mut values: Vec<Src> = Vec::with_capacity(members.len());
        // Factors of products that wait for the sum that reads them.
        let mut waiting: HashMap<usize, [Src; 2]> = HashMap::new();
        for (k, m) in members.iter().enumerate() {
            let mut args = [Src::Reg(0); 3];
            for (slot, arg) in args.iter_mut().zip(&m.args) {
                *slot = match arg {
                    Operand::Member(i) => values[*i],
                    Operand::Outside(view) => asm.outside(view),
                };
            }
            if let (Some(reader), [a, b, _]) = (alone[k], args)
                && let Some(factors) = factors(a, b)
            {
                let waits = match reader {
                    Reader::Member(sum) => !waiting.keys().any(|&j| reads(&members[sum], j)),
                    Reader::Ending(i) => {
                        let grid = endings[i].1.grid;
                        grid.down && endings[i].1.sum && !matches!(factors[0], Src::Uniform { .. })
                    }
                };
                if waits {
                    if let Reader::Ending(i) = reader {
                        asm.code.push((Code::ReduceProduct(i, factors[0], factors[1]), Src::Nowhere));
                    }
                    waiting.insert(k, factors);
                    values.push(Src::Nowhere);
                    continue;
                }
            }
            let code = match asm.chained(m, &args, &waiting) {
                Some(code) => code,
                None => asm.member(m.op, &args[..m.args.len()]),
            };
            let dst = match &m.store {
                Some(view) if !m.last => asm.target(view),
                _ => asm.fresh(),
            };
            asm.code.push((code, dst));
            values.push(dst);
            for (i, (of, _)) in endings.iter().enumerate() {
                if *of + 1 == values.len() {
                    asm.code.push((Code::Reduce(i, dst), Src::Nowhere));
                }
            }
        }
        for (m, value) in members.iter().zip(values) {
            if let (true, Some(view)) = (m.last, &m.store) {
                let target = asm.target(view);
                asm.code.push((Code::Copy(value), target));
            }
        }
        asm.finish(numel, endings.into_iter().map(|(_, e)| e).collect())
    }

    /// One per instruction and element, loads and copies apart.
    pub(super) fn flops(&self) -> usize {
        let count = |(code, _): &(Code<T>, Src)| match code {
            Code::Load(_) | Code::Copy(_) => 0,
            Code::Ternary(..) | Code::ScalarTernary(..) | Code::ReduceProduct(..) => 2,
            _ => 1,
        };
        self.numel * self.code.iter().map(count).sum::<usize>()
    }

    /// Evaluates all positions, on several threads where that pays. An element's value does not depend on the block that it
    /// falls into.
    ///
    /// # Safety
    /// The machine's buffers have the sizes that the plan gave them, and its registers room for this kernel on every thread.
    pub(super) unsafe fn run(&self, m: &Machine<'_, T>) {
        let work = self.numel * self.code.len();
        let threads = m.par.degree().min(work / PARALLEL).max(1);
        // SAFETY: handed on.
        unsafe {
            match self.endings.first().map(|e| e.grid) {
                Some(grid) if grid.by_columns() => self.columns(m, 0, threads, (0, grid.row), grid.row),
                _ => self.split(m, 0, threads, 0, self.numel),
            }
            self.endings.iter().for_each(|e| e.finish(m));
        }
    }

    /// Evaluates a range with the registers of the threads `slot..slot + threads`.
    unsafe fn split(&self, m: &Machine<'_, T>, slot: usize, threads: usize, from: usize, to: usize) {
        if threads == 1 {
            // SAFETY: handed on.
            return unsafe { self.range(m, slot, from, to) };
        }
        let half = threads / 2;
        let middle = (from + (to - from) / threads * half).next_multiple_of(self.unit).min(to);
        rayon::join(
            // SAFETY: the halves write to positions and registers of their own.
            || unsafe { self.split(m, slot, half, from, middle) },
            // SAFETY: as above.
            || unsafe { self.split(m, slot + half, threads - half, middle, to) },
        );
    }

    /// Evaluates a range of columns of all rows, so that a sum over rows is one thread's.
    unsafe fn columns(&self, m: &Machine<'_, T>, slot: usize, threads: usize, (from, to): (usize, usize), row: usize) {
        if threads == 1 || to - from < 2 * PIECE {
            if to - from == row {
                // SAFETY: handed on.
                return unsafe { self.range(m, slot, 0, self.numel) };
            }
            for first in (0..self.numel).step_by(row) {
                // SAFETY: handed on.
                unsafe { self.range(m, slot, first + from, first + to) };
            }
            return;
        }
        let half = threads / 2;
        let middle = (from + (to - from) / threads * half).next_multiple_of(64).min(to);
        rayon::join(
            // SAFETY: the halves write to positions and registers of their own.
            || unsafe { self.columns(m, slot, half, (from, middle), row) },
            // SAFETY: as above.
            || unsafe { self.columns(m, slot + half, threads - half, (middle, to), row) },
        );
    }

    unsafe fn range(&self, m: &Machine<'_, T>, slot: usize, from: usize, to: usize) {
        let registers = m.registers.wrapping_add(slot * self.registers);
        let mut at = from;
        while at < to {
            let n = self.rows.iter().fold(self.block.min(to - at), |n, row| n.min(row - at % row));
            for (code, dst) in &self.code {
                // SAFETY: registers and buffers hold the positions `at..at + n`; a destination is never a source of
                // its own instruction, since registers are freed after the destination is chosen, and stored values
                // have buffers of their own or are copied over an operand from a register.
                unsafe { self.step(m, registers, code, *dst, at, n) };
            }
            at += n;
        }
    }

    unsafe fn step(&self, m: &Machine<'_, T>, registers: *mut T, code: &Code<T>, dst: Src, at: usize, n: usize) {
        let read = |s: Src| {
            let p = match s {
                // SAFETY: register `r` has `block >= n` elements.
                Src::Reg(r) => unsafe { registers.add(r * self.block) as *const T },
                // SAFETY: the buffer holds the whole iteration space from `offset` on.
                Src::Dense { buf, offset } => unsafe { m.read(buf).add(offset + at) },
                // SAFETY: the row of position `at`, which has `n` elements from there on.
                Src::Rows(i) => unsafe {
                    let l = &self.loads[i];
                    m.read(l.buf).add(l.offset + l.position(at))
                },
                // SAFETY: a single element.
                Src::Uniform { buf, offset } => unsafe { m.read(buf).add(offset) },
                // No source is.
                Src::Nowhere => core::ptr::NonNull::dangling().as_ptr(),
            };
            // A uniform source is one element long.
            let len = match s {
                Src::Uniform { .. } => 1,
                Src::Nowhere => 0,
                _ => n,
            };
            // SAFETY: as above; nothing writes to it while this instruction runs.
            unsafe { core::slice::from_raw_parts(p, len) }
        };
        match *code {
            // SAFETY: a unit's positions are one thread's, which takes them in order.
            Code::Reduce(i, x) => return unsafe { self.endings[i].take(m, at, read(x)) },
            // SAFETY: as above.
            Code::ReduceProduct(i, x, y) => return unsafe { self.endings[i].take_product(m, at, read(x), read(y)) },
            _ => {}
        }
        let out = match dst {
            // SAFETY: register `r` has `block >= n` elements.
            Src::Reg(r) => unsafe { registers.add(r * self.block) },
            // SAFETY: the row of position `at`, which has `n` elements from there on.
            Src::Rows(i) => unsafe {
                let l = &self.loads[i];
                m.write(l.buf).add(l.offset + l.position(at))
            },
            // The assembler stores into no such place.
            Src::Uniform { .. } | Src::Nowhere => return,
            // SAFETY: the buffer holds the whole iteration space.
            Src::Dense { buf, offset } => unsafe { m.write(buf).add(offset + at) },
        };
        // SAFETY: `n` elements that no source of this instruction shares.
        let out = unsafe { core::slice::from_raw_parts_mut(out, n) };
        match *code {
            Code::Load(i) => {
                let l = &self.loads[i];
                // SAFETY: the plan checked that the view lies inside its buffer.
                unsafe { loops::gather(&l.shape, &l.inner, &l.strides, m.read(l.buf).add(l.offset), at, out) };
            }
            Code::Copy(x) => match read(x) {
                [x] => out.fill(*x),
                x => out.copy_from_slice(x),
            },
            Code::Unary(f, x) => f(read(x), out),
            Code::Powi(k, x) => simd::powi(read(x), k, out),
            Code::Powf(p, x) => simd::powf(read(x), p, out),
            Code::Binary(f, x, y) => f(read(x), read(y), out),
            Code::BinaryScalar(f, x, s) => f(read(x), read(s)[0], out),
            Code::ScalarBinary(f, s, y) => f(read(s)[0], read(y), out),
            Code::Select(f, x, y, z) | Code::Ternary(f, x, y, z) => f(read(x), read(y), read(z), out),
            Code::ScalarTernary(f, s, y, z) => f(read(s)[0], read(y), read(z), out),
            Code::Reduce(..) | Code::ReduceProduct(..) => {}
        }
    }
}
