//! Measurements `M = A Omega` (and `W = A^T Psi`) as data: taken column by column, by several processes, from an operator
//! or from its columns as they stream by; stored in files and merged.
//!
//! Only seed, law and the numbers of the columns are stored beside the products: the probes are drawn anew.

use super::packed::{Probes, ROWS};
use crate::products::{Products, Wide};
use crate::{Error, Probe, Settings, la};
use linop_core::LinearOperator;
use numerics::rng::{Law, Role};
use numerics::store::{State, Tensor, TensorData};
use numerics::{DType, Mat, MatRef, Par, Scalar, dense};
use std::ops::Range;
use std::path::Path;

const KIND: &str = "sketch";
const VERSION: u32 = 1;

/// Products of one square operator with some columns of the right probes, and with the left ones if it is not symmetric.
///
/// `n x p` doubles for every side. Probes are drawn anew where they are needed.
#[derive(Clone, Debug, PartialEq)]
pub struct Measurements {
    n: usize,
    law: Law,
    seed: u64,
    /// Numbers of the probe columns, ascending.
    columns: Vec<usize>,
    right: Mat<f64>,
    left: Option<Mat<f64>>,
    counts: (usize, usize),
}

impl Measurements {
    /// Multiplies the columns of `range`; transposed products too, unless the operator says that it is self-adjoint.
    ///
    /// A is `n x n`. Cost: a product a column, and a transposed one; `n p` numbers a side.
    ///
    /// ```
    /// use linop_core::ops::Diagonal;
    /// use sketch::{Measurements, Settings};
    /// let a = Diagonal::new(vec![1.0, 2.0, 3.0]);
    /// let first = Measurements::take(&a, 0..2, &Settings::default())?;
    /// let second = Measurements::take(&a, 2..3, &Settings::default())?;
    /// assert_eq!(first.merge(&second)?, Measurements::take(&a, 0..3, &Settings::default())?);
    /// # Ok::<(), sketch::Error>(())
    /// ```
    ///
    /// # Errors
    /// `NotSquare`, `InvalidArgument` for coordinate probes, `TransposeUnavailable`, `NonFinite`, `Interrupted`.
    pub fn take<T: Scalar>(
        a: &dyn LinearOperator<T>,
        range: Range<usize>,
        settings: &Settings<'_>,
    ) -> Result<Self, Error> {
        let wide = Wide(a);
        Self::measure(&Products::new(&wide, "measurements", settings), range)
    }

    pub(crate) fn measure(products: &Products<'_>, range: Range<usize>) -> Result<Self, Error> {
        let n = products.square()?;
        check_law(products.op, products.settings.law)?;
        let both = !products.symmetric;
        products.plan(products.spent() + range.len() * (1 + usize::from(both)));
        let (law, seed, columns) = (products.settings.law, products.settings.seed, range.clone().collect());
        let before = products.counts();
        let right = by_blocks(products, Role::RightProbe, range.clone())?;
        let left = both.then(|| by_blocks(products, Role::LeftProbe, range)).transpose()?;
        let after = products.counts();
        Ok(Measurements { n, law, seed, columns, right, left, counts: (after.0 - before.0, after.1 - before.1) })
    }

    /// Size of the operator.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Numbers of the probe columns that are here.
    pub fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// Whether left products are here.
    pub fn is_two_sided(&self) -> bool {
        self.left.is_some()
    }

    /// Products with the operator and its transpose.
    pub fn products(&self) -> (usize, usize) {
        self.counts
    }

    /// `A Omega`.
    ///
    /// `n x p`.
    pub fn right(&self) -> MatRef<'_, f64> {
        self.right.as_ref()
    }

    /// `A^T Psi`.
    ///
    /// `n x p`.
    pub fn left(&self) -> Option<MatRef<'_, f64>> {
        self.left.as_ref().map(|l| l.as_ref())
    }

    fn probe(&self, role: Role) -> Probe {
        Probe { law: self.law, seed: self.seed, role }
    }

    /// Omega or Psi, row by row.
    pub(super) fn packed(&self, role: Role, par: Par) -> Probes {
        Probes::draw(&self.probe(role), self.n, &self.columns, par)
    }

    /// `Omega^T u` or `Psi^T u`, the probes drawn a few columns at a time.
    pub(super) fn probes_times(&self, role: Role, u: MatRef<'_, f64>, par: Par) -> Mat<f64> {
        const WIDTH: usize = 32;
        let probe = self.probe(role);
        let mut out = Mat::zeros(self.columns.len(), u.ncols());
        for (k, columns) in self.columns.chunks(WIDTH).enumerate() {
            let mut omega = Mat::zeros(self.n, columns.len());
            for (j, &c) in columns.iter().enumerate() {
                dense::copy(omega.as_mut().subcols_mut(j, 1), probe.columns(self.n, c..c + 1).as_ref());
            }
            let part = la::mul_tn(omega.as_ref(), u, par);
            dense::copy(out.as_mut().subrows_mut(k * WIDTH, columns.len()), part.as_ref());
        }
        out
    }

    /// Bytes of the products.
    pub(super) fn bytes(&self) -> usize {
        let one = self.n * self.columns.len() * size_of::<f64>();
        one * (1 + usize::from(self.is_two_sided()))
    }

    /// The columns of two shares together.
    ///
    /// Cost: a copy of both.
    ///
    /// # Errors
    /// `InvalidArgument` if they belong to different sketches (size, law, seed, sides) or share a column.
    pub fn merge(&self, other: &Self) -> Result<Self, Error> {
        let op = "merge";
        let name = |m: &Self| {
            format!("n = {}, law {}, seed {}, {} sides", m.n, m.law, m.seed, 1 + usize::from(m.is_two_sided()))
        };
        if name(self) != name(other) {
            return Err(Error::argument(op, format!("different sketches: {} against {}", name(self), name(other))));
        }
        if let Some(both) = self.columns.iter().find(|c| other.columns.contains(c)) {
            return Err(Error::argument(op, format!("column {both} is in both shares")));
        }
        let columns = [&self.columns[..], &other.columns[..]].concat();
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_by_key(|&i| columns[i]);
        let join = |a: MatRef<'_, f64>, b: MatRef<'_, f64>| la::permute_cols(la::hcat(a, b).as_ref(), &order);
        let left = self.left.as_ref().zip(other.left.as_ref());
        Ok(Measurements {
            n: self.n,
            law: self.law,
            seed: self.seed,
            right: join(self.right.as_ref(), other.right.as_ref()),
            left: left.map(|(a, b)| join(a.as_ref(), b.as_ref())),
            columns: order.iter().map(|&i| columns[i]).collect(),
            counts: (self.counts.0 + other.counts.0, self.counts.1 + other.counts.1),
        })
    }

    /// Writes a file (safetensors with a JSON header).
    ///
    /// Cost: `8 n p` bytes a side.
    ///
    /// # Errors
    /// Those of writing files.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let mut state = State::new(KIND, VERSION, DType::F64);
        state.config = serde_json::json!({
            "n": self.n,
            "law": self.law.name(),
            "seed": format!("{:x}", self.seed),
            "two_sided": self.is_two_sided(),
            "products": [self.counts.0, self.counts.1],
        });
        let p = self.columns.len();
        let columns = self.columns.iter().map(|&c| c as i64).collect();
        state.tensors.push(Tensor { name: "columns".into(), shape: vec![p], data: TensorData::I64(columns) });
        // one row of the file is one product
        let flat = |a: &Mat<f64>| (0..p).flat_map(|j| a.col_as_slice(j).to_vec()).collect::<Vec<f64>>();
        state.tensors.push(Tensor::new("right", &[p, self.n], &flat(&self.right))?);
        if let Some(left) = &self.left {
            state.tensors.push(Tensor::new("left", &[p, self.n], &flat(left))?);
        }
        state.write(path)?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// Cost: one reading of the file.
    ///
    /// # Errors
    /// Those of reading files; a format error naming what is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let state = State::read(path)?;
        state.expect(KIND, VERSION, DType::F64)?;
        let bad = |what: &str| {
            Error::Dense(numerics::Error::Format { path: path.display().to_string(), what: what.to_owned() })
        };
        let config = &state.config;
        let number = |key: &str| config[key].as_u64().ok_or_else(|| bad(&format!("config lacks the number {key}")));
        let n = usize::try_from(number("n")?).map_err(|_| bad("n is too large"))?;
        let law = config["law"].as_str().ok_or_else(|| bad("config lacks the law"))?.parse::<Law>()?;
        let seed = config["seed"].as_str().and_then(|s| u64::from_str_radix(s, 16).ok());
        let seed = seed.ok_or_else(|| bad("config lacks the seed"))?;
        let counts = config["products"].as_array().and_then(|c| {
            let at = |i: usize| c.get(i).and_then(serde_json::Value::as_u64).and_then(|x| usize::try_from(x).ok());
            at(0).zip(at(1))
        });
        let counts = counts.ok_or_else(|| bad("config lacks the products"))?;
        let TensorData::I64(numbers) = &state.tensor("columns")?.data else {
            return Err(bad("columns must be integers"));
        };
        let columns: Option<Vec<usize>> = numbers.iter().map(|&c| usize::try_from(c).ok()).collect();
        let columns = columns.ok_or_else(|| bad("a column number is negative"))?;
        if columns.windows(2).any(|c| c[0] >= c[1]) {
            return Err(bad("column numbers must ascend"));
        }
        let matrix = |name: &str| {
            let tensor = state.tensor(name)?;
            if tensor.shape != [columns.len(), n] {
                return Err(bad(&format!("{name} must be {} x {n}", columns.len())));
            }
            let flat = tensor.data.to_vec::<f64>()?;
            if let Some(at) = flat.iter().position(|x| !x.is_finite()) {
                return Err(Error::NonFinite { op: "measurements", column: columns[at / n.max(1)] });
            }
            Ok(Mat::from_fn(n, columns.len(), |i, j| flat[j * n + i]))
        };
        let right = matrix("right")?;
        let left = if config["two_sided"].as_bool() == Some(true) { Some(matrix("left")?) } else { None };
        check_law("measurements", law)?;
        Ok(Measurements { n, law, seed, columns, right, left, counts })
    }
}

/// `A Omega` or `A^T Psi`, the probes drawn a block at a time.
fn by_blocks(products: &Products<'_>, role: Role, range: Range<usize>) -> Result<Mat<f64>, Error> {
    let n = products.n;
    let mut out = dense::zeros(n, range.len(), products.par());
    let first = range.start;
    products.by_blocks(range, |columns| {
        let probes = products.draw(products.settings.law, role, n, columns.clone());
        let out = out.as_mut().subcols_mut(columns.start - first, columns.len());
        if role == Role::LeftProbe {
            products.apply_t_into(probes.as_ref(), out)
        } else {
            products.apply_into(probes.as_ref(), out)
        }
    })?;
    Ok(out)
}

fn check_law(op: &'static str, law: Law) -> Result<(), Error> {
    if law == Law::Coordinates {
        return Err(Error::argument(op, "coordinate probes leave rows without a measurement"));
    }
    Ok(())
}

/// Measurements of a matrix that passes by in blocks of columns and is never held as a whole.
///
/// The order of the sums is that of the blocks, so the last bits depend on how the matrix was cut.
#[derive(Debug)]
pub struct ColumnStream {
    done: Vec<bool>,
    omega: Probes,
    psi: Option<Probes>,
    result: Measurements,
    par: Par,
}

impl ColumnStream {
    /// For an n x n matrix and the probe columns of `range`.
    ///
    /// Cost: `n p` numbers a side and the probes, a bit each for signs.
    ///
    /// # Errors
    /// `InvalidArgument` for coordinate probes.
    pub fn new(n: usize, range: Range<usize>, two_sided: bool, settings: &Settings<'_>) -> Result<Self, Error> {
        check_law("column stream", settings.law)?;
        let p = range.len();
        let result = Measurements {
            n,
            law: settings.law,
            seed: settings.seed,
            columns: range.collect(),
            right: Mat::zeros(n, p),
            left: two_sided.then(|| Mat::zeros(n, p)),
            counts: (p, if two_sided { p } else { 0 }),
        };
        Ok(ColumnStream {
            done: vec![false; n],
            omega: result.packed(Role::RightProbe, settings.par),
            psi: two_sided.then(|| result.packed(Role::LeftProbe, settings.par)),
            result,
            par: settings.par,
        })
    }

    /// Takes the columns of the matrix that start at `first`.
    ///
    /// The block is `n x k`. Cost: `2 n k p` flops a side.
    ///
    /// # Errors
    /// `InvalidArgument` if the block does not fit or a column came before, `NonFinite` naming the column.
    pub fn absorb(&mut self, first: usize, block: MatRef<'_, f64>) -> Result<(), Error> {
        let op = "column stream";
        let (n, k) = (self.done.len(), block.ncols());
        if block.nrows() != n || first > n || k > n - first {
            let got = format!("{} x {k} at column {first}", block.nrows());
            return Err(Error::argument(op, format!("the matrix is {n} x {n}, got {got}")));
        }
        if let Some(j) = (first..first + k).find(|&j| self.done[j]) {
            return Err(Error::argument(op, format!("column {j} came twice")));
        }
        if let Some(j) = (0..k).find(|&j| !dense::is_all_finite(block.subcols(j, 1))) {
            return Err(Error::NonFinite { op, column: first + j });
        }
        let omega = self.omega.rows(first..first + k);
        dense::gemm(self.result.right.as_mut(), 1.0, block, omega.as_ref(), 1.0, self.par);
        if let (Some(psi), Some(left)) = (&self.psi, &mut self.result.left) {
            // row j of A^T Psi is column j of A times Psi, whose rows come a piece at a time
            let mut rows = left.as_mut().subrows_mut(first, k);
            for start in (0..n).step_by(ROWS) {
                let count = ROWS.min(n - start);
                let piece = psi.rows(start..start + count);
                let block = block.subrows(start, count).transpose();
                dense::gemm(rows.as_mut(), 1.0, block, piece.as_ref(), 1.0, self.par);
            }
        }
        self.done[first..first + k].fill(true);
        Ok(())
    }

    /// The measurements, once every column has come.
    ///
    /// # Errors
    /// `InvalidArgument` naming a column that is missing.
    pub fn finish(self) -> Result<Measurements, Error> {
        match self.done.iter().position(|d| !d) {
            Some(j) => Err(Error::argument("column stream", format!("column {j} is missing"))),
            None => Ok(self.result),
        }
    }
}
