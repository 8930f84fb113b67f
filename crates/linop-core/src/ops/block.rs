//! A grid of blocks; absent blocks are zero and cost nothing.

use super::prelude::*;

/// An `r x c` grid of operators.
#[derive(Clone, Debug)]
pub struct Block<T: Scalar> {
    heights: Vec<usize>,
    widths: Vec<usize>,
    blocks: Vec<Vec<Option<Op<T>>>>,
    props: Props,
}

impl<T: Scalar> Block<T> {
    /// A grid with given row heights and column widths; `None` is a zero block.
    pub fn new(heights: Vec<usize>, widths: Vec<usize>, mut blocks: Vec<Vec<Option<Op<T>>>>) -> Result<Self, Error> {
        if blocks.len() != heights.len() || blocks.iter().any(|r| r.len() != widths.len()) {
            let expected = format!("a grid of {} x {} blocks", heights.len(), widths.len());
            return Err(shape_error("Block", expected, format!("{} rows", blocks.len())));
        }
        for (i, row) in blocks.iter_mut().enumerate() {
            for (j, b) in row.iter_mut().enumerate() {
                if let Some(op) = b {
                    if (op.nrows(), op.ncols()) != (heights[i], widths[j]) {
                        let expected = format!("{} x {} at ({i}, {j})", heights[i], widths[j]);
                        return Err(shape_error("Block", expected, format!("{} x {}", op.nrows(), op.ncols())));
                    }
                    if op.props().contains(Props::ZERO) {
                        *b = None;
                    }
                }
            }
        }
        let empty = blocks.iter().flatten().all(Option::is_none);
        let mut grid = Block { heights, widths, blocks, props: Props::NONE };
        let (m, n) = grid.shape();
        let aligned = grid.heights == grid.widths;
        let r = grid.heights.len();
        let mirrored = |i: usize, j: usize| match (&grid.blocks[i][j], &grid.blocks[j][i]) {
            (None, None) => true,
            (Some(a), Some(b)) => super::chain::is_transpose(a, b),
            _ => false,
        };
        let diagonal_has = |p: Props| (0..r).all(|i| grid.blocks[i][i].as_ref().is_none_or(|b| b.props().contains(p)));
        let none =
            |keep: fn(usize, usize) -> bool| (0..r).all(|i| (0..r).all(|j| keep(i, j) || grid.blocks[i][j].is_none()));
        let mut p = Props::ZERO.when(empty);
        if aligned {
            let symmetric = diagonal_has(Props::SELF_ADJOINT) && (0..r).all(|i| (0..i).all(|j| mirrored(i, j)));
            p = p | Props::SELF_ADJOINT.when(symmetric);
            p = p | Props::LOWER.when(none(|i, j| i >= j) && diagonal_has(Props::LOWER));
            p = p | Props::UPPER.when(none(|i, j| i <= j) && diagonal_has(Props::UPPER));
        }
        grid.props = p.close(m, n);
        Ok(grid)
    }

    /// Heights of the block rows and widths of the block columns.
    pub fn partition(&self) -> (&[usize], &[usize]) {
        (&self.heights, &self.widths)
    }

    /// The block at a place of the grid, `None` where it is zero.
    pub fn block(&self, i: usize, j: usize) -> Option<&Op<T>> {
        self.blocks.get(i)?.get(j)?.as_ref()
    }

    fn shape(&self) -> (usize, usize) {
        (self.heights.iter().sum(), self.widths.iter().sum())
    }
    fn req(&self, side: Side, k: usize, par: Par) -> StackReq {
        self.blocks.iter().flatten().flatten().fold(StackReq::EMPTY, |r, t| r.or(side.req(t, k, par)))
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
        kernels::scale(out.rb_mut(), beta);
        let mut row = 0;
        for (i, &h) in self.heights.iter().enumerate() {
            let mut col = 0;
            for (j, &w) in self.widths.iter().enumerate() {
                if let Some(b) = &self.blocks[i][j] {
                    let ((to, m), (from, n)) = side.pick(((row, h), (col, w)), ((col, w), (row, h)));
                    side.run(b, out.rb_mut().subrows_mut(to, m), alpha, x.subrows(from, n), T::ONE, par, stack)?;
                }
                col += w;
            }
            row += h;
        }
        Ok(())
    }
    fn facts(&self) -> Props {
        self.props
    }
    fn price(&self, k: usize) -> Cost {
        self.blocks.iter().flatten().flatten().fold(Cost::default(), |c, t| add_cost(c, t.cost(k)))
    }
}

operator!(Block, Kind::Block);
