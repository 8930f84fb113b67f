//! Block-diagonal operators; blocks may repeat. Scratch is the largest block's.
//!
//! A block that stands several times in a row is multiplied once per column with all its pieces side by side, where that
//! makes the product wider than one block and all columns would.

use super::prelude::*;

/// `diag(A1, A2, ...)`.
#[derive(Clone, Debug)]
pub struct BlockDiag<T: Scalar> {
    blocks: Vec<Op<T>>,
    /// How often each block stands there, over runs of one handle.
    runs: Vec<usize>,
    shape: (usize, usize),
    props: Props,
}

impl<T: Scalar> BlockDiag<T> {
    /// At least one block, square or not.
    pub fn new(blocks: Vec<Op<T>>) -> Result<Self, Error> {
        let Some(first) = blocks.first() else {
            return Err(Error::InvalidArgument { op: "BlockDiag", what: "needs at least one block".into() });
        };
        let mut props = first.props();
        let mut square = first.nrows() == first.ncols();
        let (mut m, mut n) = (first.nrows(), first.ncols());
        for b in &blocks[1..] {
            m += b.nrows();
            n += b.ncols();
            square &= b.nrows() == b.ncols();
            props = props.block_diag(b.props(), square, m, n);
        }
        let runs = blocks.chunk_by(|a, b| a.same(b)).map(<[Op<T>]>::len).collect();
        Ok(BlockDiag { blocks, runs, shape: (m, n), props })
    }

    /// `count` copies of every block, in order: (block, count).
    pub fn repeated(blocks: Vec<(Op<T>, usize)>) -> Result<Self, Error> {
        Self::new(blocks.into_iter().flat_map(|(b, count)| std::iter::repeat_n(b, count)).collect())
    }

    /// The blocks.
    pub fn blocks(&self) -> &[Op<T>] {
        &self.blocks
    }

    /// Every block is square.
    pub fn all_square(&self) -> bool {
        self.blocks.iter().all(|b| b.nrows() == b.ncols())
    }

    fn shape(&self) -> (usize, usize) {
        self.shape
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        let widest = self.runs.iter().copied().max().unwrap_or(1).max(k);
        // A wider product may ask for less than a narrower one.
        self.blocks.iter().fold(StackReq::EMPTY, |r, t| {
            let r = r.or(side.req(t, k, par));
            if widest > k { self.runs.iter().fold(r, |r, &count| r.or(side.req(t, count, par))) } else { r }
        })
    }
    fn run(
        &self,
        side: Side,
        mut out: MatMut<'_, T>,
        alpha: T,
        x: MatRef<'_, T>,
        beta: T,
        par: Par,
        stack: &mut MemStack,
    ) -> Result<(), Error> {
        let (mut row, mut col, mut at) = (0, 0, 0);
        for &count in &self.runs {
            let b = &self.blocks[at];
            let (m, n) = side.pick((b.nrows(), b.ncols()), (b.ncols(), b.nrows()));
            let mut target = out.rb_mut().subrows_mut(row, count * m);
            let source = x.subrows(col, count * n);
            if count <= x.ncols() || !stacked(side, b, target.rb_mut(), alpha, source, beta, count, par, stack)? {
                for i in 0..count {
                    let (to, from) = (target.rb_mut().subrows_mut(i * m, m), source.subrows(i * n, n));
                    side.run(b, to, alpha, from, beta, par, stack)?;
                }
            }
            row += count * m;
            col += count * n;
            at += count;
        }
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        self.blocks.iter().fold(Cost::default(), |c, t| add_cost(c, t.cost(k)))
    }
}

/// Every column's `count` pieces as one product; `false` if the columns are not contiguous.
fn stacked<T: Scalar>(
    side: Side,
    b: &Op<T>,
    out: MatMut<'_, T>,
    alpha: T,
    x: MatRef<'_, T>,
    beta: T,
    count: usize,
    par: Par,
    stack: &mut MemStack,
) -> Result<bool, Error> {
    let (m, n) = (out.nrows() / count, x.nrows() / count);
    let (Some(mut out), Some(x)) = (out.try_as_col_major_mut(), x.try_as_col_major()) else {
        return Ok(false);
    };
    for j in 0..x.ncols() {
        let from = view(x.col(j).as_slice(), n, count);
        let to = view_mut(out.rb_mut().col_mut(j).as_slice_mut(), m, count);
        side.run(b, to, alpha, from, beta, par, stack)?;
    }
    Ok(true)
}

operator!(BlockDiag, Kind::BlockDiag);
