//! Block-diagonal operators; blocks may repeat. Scratch is the largest block's.

use super::prelude::*;

/// `diag(A1, A2, ...)`.
#[derive(Clone, Debug)]
pub struct BlockDiag<T: Scalar> {
    blocks: Vec<Op<T>>,
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
        Ok(BlockDiag { blocks, shape: (m, n), props })
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
        self.blocks.iter().fold(StackReq::EMPTY, |r, t| r.or(side.req(t, k, par)))
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
        let (mut row, mut col) = (0, 0);
        for b in &self.blocks {
            let (m, n) = side.pick((b.nrows(), b.ncols()), (b.ncols(), b.nrows()));
            side.run(b, out.rb_mut().subrows_mut(row, m), alpha, x.subrows(col, n), beta, par, stack)?;
            row += m;
            col += n;
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

operator!(BlockDiag, Kind::BlockDiag);
