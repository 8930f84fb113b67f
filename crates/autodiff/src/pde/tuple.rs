//! The biharmonic by direct propagation of second-order tuples: value, gradient, Hessian, gradient of the Laplacian and
//! biharmonic of every node, as plain derivatives.
//!
//! State of a node of shape `[S]`: `u_i` `[D, S]`, `u_ij` for `i <= j` packed `[D(D+1)/2, S]`, `v_i = d_i Delta u` `[D, S]` and
//! `q = Delta^2 u` `[S]`: `D^2/2 + 5 D/2 + 2` vectors, against `3 D^2 + 2` of the best family of fourth-order jets. The scheme is
//! ours; it follows from Leibniz' and the chain rule.

use super::points::Points;
use crate::error::Error;
use crate::jet::algebra::{Coefficient as Part, add, mul, scale, sum_of};
use crate::jet::directional;
use crate::ops::{BinaryFn, Gather, Op, Taylor, Unary};
use crate::program::{Builder, NodeId};
use smallvec::SmallVec;

/// Derivatives of one node that moves; missing is zero.
#[derive(Clone, Copy, Debug, Default)]
struct Tuple {
    first: Part,
    second: Part,
    third: Part,
    fourth: Part,
}

impl Tuple {
    fn parts(&self) -> [Part; 4] {
        [self.first, self.second, self.third, self.fourth]
    }
}

/// `Delta^2 f` of output 0.
pub(super) fn biharmonic(b: &mut Builder, points: Points<'_>, inputs: &[NodeId]) -> Result<NodeId, Error> {
    let dim = points.dim();
    let space = Space::new(b, dim)?;
    let primal = b.inline(points.program, inputs)?;
    let units: Vec<Vec<f64>> = (0..dim).map(|i| (0..dim).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let seed = Tuple { first: Some(points.spread(b, &units)?), ..Tuple::default() };
    let mut tuples: Vec<Option<Tuple>> = Vec::with_capacity(primal.len());
    for (node, &out) in points.program.nodes().iter().zip(&primal) {
        let next = match &node.op {
            Op::Input(input) => (input.index == points.x).then_some(seed),
            op => {
                let args: SmallVec<[NodeId; 3]> = node.args.iter().map(|a| primal[a.index()]).collect();
                let moving: SmallVec<[Option<Tuple>; 3]> = node.args.iter().map(|a| tuples[a.index()]).collect();
                let still = moving.iter().all(Option::is_none) || !node.ty.is_real();
                if still { None } else { space.step(b, op, &args, out, &moving)? }
            }
        };
        tuples.push(next);
    }
    let at = points.program.outputs()[0].node.index();
    tuples[at].and_then(|t| t.fourth).map_or_else(|| b.zeros_like(primal[at]), Ok)
}

/// Index tables of the packed pairs.
struct Space {
    dim: usize,
    /// Rows and columns of the packed pairs.
    rows: NodeId,
    columns: NodeId,
    /// Place in the packed list of each ordered pair, row-major.
    places: NodeId,
    /// Packed places of the diagonal.
    diagonal: NodeId,
    /// How often each packed pair occurs among ordered ones.
    counts: NodeId,
    pairs: usize,
}

/// `x` `[S]` repeated `size` times in front.
fn spread(b: &mut Builder, x: Part, size: usize) -> Result<Part, Error> {
    let Some(x) = x else { return Ok(None) };
    let inner = b.shape(x);
    let shape: Vec<usize> = core::iter::once(size).chain(inner.iter().copied()).collect();
    let axes: Vec<usize> = (1..shape.len()).collect();
    b.broadcast(x, &shape, &axes).map(Some)
}

fn sum_front(b: &mut Builder, x: Part) -> Result<Part, Error> {
    x.map(|x| b.sum(x, &[0])).transpose()
}

impl Space {
    fn new(b: &mut Builder, dim: usize) -> Result<Self, Error> {
        let list: Vec<(usize, usize)> = (0..dim).flat_map(|i| (i..dim).map(move |j| (i, j))).collect();
        let pairs = list.len();
        let place = |i: usize, j: usize| {
            let (low, high) = (i.min(j), i.max(j));
            (low * dim - low * (low + 1) / 2 + high) as i64
        };
        let ints = |b: &mut Builder, data: Vec<i64>| b.int_const(&[data.len()], data);
        let rows = ints(b, list.iter().map(|p| p.0 as i64).collect())?;
        let columns = ints(b, list.iter().map(|p| p.1 as i64).collect())?;
        let places = ints(b, (0..dim * dim).map(|k| place(k / dim, k % dim)).collect())?;
        let diagonal = ints(b, (0..dim).map(|i| place(i, i)).collect())?;
        let counts = b.real_const(&[pairs], list.iter().map(|p| if p.0 == p.1 { 1.0 } else { 2.0 }).collect())?;
        Ok(Space { dim, rows, columns, places, diagonal, counts, pairs })
    }

    fn pick(&self, b: &mut Builder, x: Part, indices: NodeId) -> Result<Part, Error> {
        x.map(|x| b.push(Gather { batch: 0 }, &[x, indices])).transpose()
    }

    /// `[pairs, S]` to `[D, D, S]`.
    fn square(&self, b: &mut Builder, second: Part) -> Result<Part, Error> {
        let Some(full) = self.pick(b, second, self.places)? else { return Ok(None) };
        let inner = b.shape(full);
        let shape: Vec<usize> = [self.dim, self.dim].into_iter().chain(inner[1..].iter().copied()).collect();
        b.reshape(full, &shape).map(Some)
    }

    /// `sum_i u_ii`.
    fn laplacian(&self, b: &mut Builder, second: Part) -> Result<Part, Error> {
        let diagonal = self.pick(b, second, self.diagonal)?;
        sum_front(b, diagonal)
    }

    /// Packed weights over `[pairs, S]`.
    fn weigh(&self, b: &mut Builder, x: Part) -> Result<Part, Error> {
        let Some(x) = x else { return Ok(None) };
        let shape = b.shape(x);
        let counts = b.broadcast(self.counts, &shape, &[0])?;
        b.mul(counts, x).map(Some)
    }

    fn step(
        &self,
        b: &mut Builder,
        op: &Op,
        args: &[NodeId],
        out: NodeId,
        moving: &[Option<Tuple>],
    ) -> Result<Option<Tuple>, Error> {
        let result = match (op.taylor(), moving) {
            (Taylor::Elementwise(f), [Some(u)]) => self.elementwise(b, f, args[0], out, u)?,
            (Taylor::Product, [Some(f), Some(g)]) => self.product(b, op, args, out, f, g)?,
            (Taylor::Composite, _) => {
                return Err(Error::Malformed(format!("{} was not replaced by its body", op.name())));
            }
            (Taylor::Quotient, [f, Some(g)]) => {
                let inverse = b.unary(Unary::Recip, args[1])?;
                let turned = self.elementwise(b, Unary::Recip, args[1], inverse, g)?;
                let product = Op::Binary(crate::ops::Binary(BinaryFn::Mul));
                match f {
                    Some(f) => self.product(b, &product, &[args[0], inverse], out, f, &turned)?,
                    None => self.linear(b, &product, &[args[0], inverse], out, &[None, Some(turned)])?,
                }
            }
            _ => self.linear(b, op, args, out, moving)?,
        };
        Ok(result.parts().iter().any(Option::is_some).then_some(result))
    }

    /// The tangent rule for every part.
    fn linear(
        &self,
        b: &mut Builder,
        op: &Op,
        args: &[NodeId],
        out: NodeId,
        moving: &[Option<Tuple>],
    ) -> Result<Tuple, Error> {
        let part = |k: usize| -> SmallVec<[Part; 3]> {
            moving.iter().map(|m| m.as_ref().and_then(|m| m.parts()[k])).collect()
        };
        let top = part(3);
        Ok(Tuple {
            first: directional(b, op, args, out, &part(0), self.dim)?,
            second: directional(b, op, args, out, &part(1), self.pairs)?,
            third: directional(b, op, args, out, &part(2), self.dim)?,
            fourth: if top.iter().any(Option::is_some) { op.jvp(b, args, out, &top)? } else { None },
        })
    }

    fn elementwise(&self, b: &mut Builder, f: Unary, x: NodeId, y: NodeId, u: &Tuple) -> Result<Tuple, Error> {
        let mut slopes: [Part; 5] = [None; 5];
        for m in 1..=4usize {
            let slope = f.derivative(b, x, y, m as u32)?;
            slopes[m] = (b.splat(slope) != Some(0.0)).then_some(slope);
        }
        let d = self.dim;
        let first = u.first;
        let squares = mul(b, first, first)?;
        let s = sum_front(b, squares)?;
        let laplacian = self.laplacian(b, u.second)?;
        // p_i = sum_k u_k u_ik, as [D, S].
        let p = match (first, self.square(b, u.second)?) {
            (Some(g), Some(h)) => {
                let shape = b.shape(h);
                let axes: Vec<usize> = (1..shape.len()).collect();
                let g = b.broadcast(g, &shape, &axes)?;
                let product = b.mul(g, h)?;
                Some(b.sum(product, &[1])?)
            }
            _ => None,
        };
        let dot = |b: &mut Builder, x: Part, y: Part| -> Result<Part, Error> {
            let product = mul(b, x, y)?;
            sum_front(b, product)
        };
        let t = dot(b, first, p)?;
        let z = dot(b, first, u.third)?;
        let squares = mul(b, u.second, u.second)?;
        let weighted = self.weigh(b, squares)?;
        let frobenius = sum_front(b, weighted)?;

        let wide = |b: &mut Builder, slope: Part, x: Part, n: usize| -> Result<Part, Error> {
            let slope = spread(b, slope, n)?;
            mul(b, slope, x)
        };
        let left = self.pick(b, first, self.rows)?;
        let right = self.pick(b, first, self.columns)?;
        let outer = mul(b, left, right)?;
        let curved = wide(b, slopes[2], outer, self.pairs)?;
        let bent = wide(b, slopes[1], u.second, self.pairs)?;

        let s_wide = spread(b, s, d)?;
        let cubic = mul(b, s_wide, first)?;
        let l_wide = spread(b, laplacian, d)?;
        let twice_p = scale(b, p, 2.0)?;
        let lu = mul(b, l_wide, first)?;
        let mixed = add(b, twice_p, lu)?;
        let third = [wide(b, slopes[3], cubic, d)?, wide(b, slopes[2], mixed, d)?, wide(b, slopes[1], u.third, d)?];

        let ss = mul(b, s, s)?;
        let sl = mul(b, s, laplacian)?;
        let cubic = [scale(b, sl, 2.0)?, scale(b, t, 4.0)?];
        let cubic = sum_of(b, &cubic)?;
        let ll = mul(b, laplacian, laplacian)?;
        let quadratic = [ll, scale(b, frobenius, 2.0)?, scale(b, z, 4.0)?];
        let quadratic = sum_of(b, &quadratic)?;
        let fourth = [
            mul(b, slopes[4], ss)?,
            mul(b, slopes[3], cubic)?,
            mul(b, slopes[2], quadratic)?,
            mul(b, slopes[1], u.fourth)?,
        ];
        Ok(Tuple {
            first: wide(b, slopes[1], first, d)?,
            second: add(b, curved, bent)?,
            third: sum_of(b, &third)?,
            fourth: sum_of(b, &fourth)?,
        })
    }

    /// Leibniz' rule for a map linear in each of two operands.
    fn product(
        &self,
        b: &mut Builder,
        op: &Op,
        args: &[NodeId],
        out: NodeId,
        f: &Tuple,
        g: &Tuple,
    ) -> Result<Tuple, Error> {
        let d = self.dim;
        let plain = self.linear(b, op, args, out, &[Some(*f), Some(*g)])?;
        let map = Bilinear(op);

        let (fi, gi) = (f.first, g.first);
        let (fr, fc) = (self.pick(b, fi, self.rows)?, self.pick(b, fi, self.columns)?);
        let (gr, gc) = (self.pick(b, gi, self.rows)?, self.pick(b, gi, self.columns)?);
        let second = [plain.second, map.each(b, fr, gc, self.pairs)?, map.each(b, fc, gr, self.pairs)?];

        let (lf, lg) = (self.laplacian(b, f.second)?, self.laplacian(b, g.second)?);
        let (lf_wide, lg_wide) = (spread(b, lf, d)?, spread(b, lg, d)?);
        let (hf, hg) = (self.square(b, f.second)?, self.square(b, g.second)?);
        let mut rows = Vec::with_capacity(d);
        for i in 0..d {
            let row = |b: &mut Builder, h: Part| -> Result<Part, Error> {
                let Some(h) = h else { return Ok(None) };
                let slice = b.slice_axis(h, 0, i, i + 1)?;
                let shape = b.shape(slice);
                b.reshape(slice, &shape[1..]).map(Some)
            };
            let (left, right) = (row(b, hf)?, row(b, hg)?);
            let terms = [map.summed(b, left, gi)?, map.summed(b, fi, right)?];
            rows.push(sum_of(b, &terms)?);
        }
        let crossed = stack(b, &rows, out)?;
        let third = [plain.third, map.each(b, lf_wide, gi, d)?, map.each(b, fi, lg_wide, d)?, scale(b, crossed, 2.0)?];

        let weighted = self.weigh(b, f.second)?;
        let both = map.once(b, lf, lg)?;
        let fourth = [map.summed(b, f.third, gi)?, map.summed(b, weighted, g.second)?, map.summed(b, fi, g.third)?];
        let fourth = sum_of(b, &fourth)?;
        let fourth = [plain.fourth, scale(b, both, 2.0)?, scale(b, fourth, 4.0)?];
        Ok(Tuple {
            first: plain.first,
            second: sum_of(b, &second)?,
            third: sum_of(b, &third)?,
            fourth: sum_of(b, &fourth)?,
        })
    }
}

/// Rows `[S]` to `[D, S]`; missing ones are zero, all missing is nothing.
fn stack(b: &mut Builder, rows: &[Part], like: NodeId) -> Result<Part, Error> {
    if rows.iter().all(Option::is_none) {
        return Ok(None);
    }
    let inner = b.shape(like);
    let shape: Vec<usize> = core::iter::once(1).chain(inner.iter().copied()).collect();
    let mut parts = Vec::with_capacity(rows.len());
    for &row in rows {
        parts.push(match row {
            Some(row) => b.reshape(row, &shape)?,
            None => b.full(&shape, 0.0)?,
        });
    }
    b.concat(&parts, 0).map(Some)
}

/// A primitive that is linear in each of its two operands.
struct Bilinear<'a>(&'a Op);

impl Bilinear<'_> {
    /// `B(x, y)` of single tensors.
    fn once(&self, b: &mut Builder, x: Part, y: Part) -> Result<Part, Error> {
        match (x, y) {
            (Some(x), Some(y)) => b.push(self.0.clone(), &[x, y]).map(Some),
            _ => Ok(None),
        }
    }

    /// `B(x_r, y_r)` for every r.
    fn each(&self, b: &mut Builder, x: Part, y: Part, size: usize) -> Result<Part, Error> {
        match (x, y) {
            (Some(x), Some(y)) => self.0.batch(b, &[x, y], &[true, true], size).map(Some),
            _ => Ok(None),
        }
    }

    /// `sum_r B(x_r, y_r)`.
    fn summed(&self, b: &mut Builder, x: Part, y: Part) -> Result<Part, Error> {
        match (self.0, x, y) {
            (Op::Dot(dot), Some(x), Some(y)) => dot.with_leading_contracted(b, x, y).map(Some),
            (_, x, y) => {
                let product = mul(b, x, y)?;
                sum_front(b, product)
            }
        }
    }
}
