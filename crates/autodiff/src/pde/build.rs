//! `Pde`: operators asked for by name, one program that answers.

use super::choice::work;
use super::family::{Exact, Family, biharmonic_interpolated, biharmonic_symmetric};
use super::points::{Points, Strategy, Sum};
use super::rational::Rational;
use super::tuple;
use crate::error::Error;
use crate::program::{Builder, NodeId, Program};
use crate::transform::declare_inputs;
use crate::types::TensorType;
use numerics::Mat;
use std::cell::Cell;
use std::collections::BTreeMap;

/// How the exact biharmonic is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scheme {
    /// The one with the fewest vectors that the strategy allows: direct, or symmetric where Taylor mode is asked for.
    #[default]
    Auto,
    /// Fourth-order jets, the paper's interpolation family: `(3 D^2 - D)/2` directions, weights that cancel.
    Interpolated,
    /// Fourth-order jets, a symmetric rule: about `D^2` directions, much better conditioned.
    Symmetric,
    /// Second-order tuples propagated directly: value, gradient, Hessian, gradient of the Laplacian, biharmonic;
    /// `D^2/2 + 5 D/2 + 2` vectors.
    Direct,
    /// A Laplacian of a Laplacian: `(D + 2)^2` vectors.
    Nested,
}

/// The matrix `A` of `sum_ij A_ij d_ij f`.
#[derive(Clone, Debug, PartialEq)]
pub enum Coefficients {
    /// Constant, `[D, D]` row-major; symmetrised, may be indefinite.
    Matrix(Vec<f64>),
    /// `A = sigma sigma^T` with `sigma` a new input `[D, columns]`, or `[.., D, columns]` per datum.
    Sigma {
        /// Columns of sigma.
        columns: usize,
        /// Whether every datum has its own.
        per_datum: bool,
    },
}

/// The vector `b` of a first-order term `b . grad f`, a new input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// `[D]`.
    Shared,
    /// `[.., D]`.
    PerDatum,
}

/// A differential operator; `f` has the shape `[.., C]` or `[..]`.
#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    /// `f` itself.
    Value,
    /// All first derivatives: shape of `f` with a last axis over the coordinates.
    Gradient,
    /// `sum_i d_i f_i` for `C = D`: `[..]`.
    Divergence,
    /// `sum_i d_ii f`.
    Laplacian,
    /// `sum_ij A_ij d_ij f + b . grad f`; `A` is taken at the point, not differentiated.
    WeightedLaplacian {
        /// `A`.
        coefficients: Coefficients,
        /// `b`.
        drift: Option<Drift>,
    },
    /// `sum_ij d_iijj f`.
    Biharmonic(Scheme),
    /// `sum_alpha c_alpha d^alpha f`: multi-indices (one exponent per coordinate) with their coefficients.
    Linear(Vec<(Vec<usize>, f64)>),
    /// `sum_r w_r d^K f[v_r, .., v_r]` with the directions and the weights as new inputs `[R, D]` (`[R, .., D]` per datum) and `[R]`.
    /// With random directions and weights `1/R` it is the stochastic Laplacian (`K = 2`).
    Directional {
        /// `K`, at least 1.
        order: usize,
        /// `R`.
        directions: usize,
        /// Whether every datum has its own directions.
        per_datum: bool,
    },
}

/// A request for operators of output 0 of a program in one of its inputs.
///
/// ```
/// use autodiff::pde::{Operator, Pde};
/// use autodiff::{Array, TensorType, trace};
/// // |x|^2 in three dimensions, at two points.
/// let f = trace(&[("x", TensorType::real(&[2, 3]))], |_, x| vec![("f", x[0].powf(2.0).sum(&[1]))])?;
/// let program = Pde::new(&f, 0).operator("laplacian", Operator::Laplacian).operator("gradient", Operator::Gradient).build()?;
/// let x = Array::new(&[2, 3], vec![1.0, 2.0, 3.0, 0.0, 0.5, 0.0]).unwrap();
/// let out = program.interpret(&[x.into()])?;
/// assert_eq!(out[0].real().unwrap().data(), [6.0, 6.0]);
/// assert_eq!(out[1].real().unwrap().data(), [2.0, 4.0, 6.0, 0.0, 1.0, 0.0]);
/// # Ok::<(), autodiff::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Pde<'a> {
    pub(super) program: &'a Program,
    pub(super) x: usize,
    pub(super) strategy: Strategy,
    pub(super) operators: Vec<(String, Operator)>,
}

impl<'a> Pde<'a> {
    /// Operators of output 0 of `program` in its input `x` `[.., D]`.
    pub fn new(program: &'a Program, x: usize) -> Self {
        Pde { program, x, strategy: Strategy::Auto, operators: Vec::new() }
    }

    /// How second and higher derivatives are made.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Asks for an operator; it becomes an output of this name.
    #[must_use]
    pub fn operator(mut self, name: impl Into<String>, operator: Operator) -> Self {
        self.operators.push((name.into(), operator));
        self
    }

    /// The program: inputs of the original, then those that operators add (`NAME.sigma`, `NAME.drift`, `NAME.directions`); one
    /// output per operator. Operators that use the same directions share one propagation.
    ///
    /// # Errors
    /// Points without coordinates or of integers; an output that does not start with the data axes; coefficients that do not
    /// fit the number of coordinates.
    pub fn build(&self) -> Result<Program, Error> {
        Ok(self.counted()?.0)
    }

    /// What each operator costs alone: vectors that a linear layer carries per datum, and floating-point operations.
    ///
    /// # Errors
    /// As for [`build`](Self::build).
    pub fn costs(&self) -> Result<Vec<Cost>, Error> {
        let one = |operator: &(String, Operator)| {
            let alone = Pde { operators: vec![operator.clone()], ..self.clone() };
            let (program, vectors) = alone.counted()?;
            Ok(Cost { name: operator.0.clone(), vectors, flops: program.flops() })
        };
        self.operators.iter().map(one).collect()
    }

    /// The program, and the vectors that it carries: of several ways the cheapest.
    pub(super) fn counted(&self) -> Result<(Program, usize), Error> {
        let program = &self.program.inline()?;
        let way = |strategy, reverse, compress| Way { strategy, reverse, compress };
        let mut ways = vec![way(self.strategy, false, false)];
        let jets = matches!(self.strategy, Strategy::Auto | Strategy::Collapsed);
        if jets && self.widest(program)? {
            ways.push(way(self.strategy, false, true));
        }
        if self.strategy == Strategy::Auto {
            if self.operators.iter().any(|o| o.1 == Operator::Gradient) {
                ways.push(way(Strategy::Auto, true, false));
            }
            ways.push(way(Strategy::Nested, true, false));
        }
        if let [only] = ways[..] {
            return self.by(program, only);
        }
        let points = Points::new(program, self.x)?;
        let mut best: Option<(u64, (Program, usize))> = None;
        for way in ways {
            let made = self.by(program, way)?;
            let cost = work(&made.0, program.inputs().len(), self.x, points.lead())?;
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, made));
            }
        }
        best.map(|(_, made)| made).ok_or_else(|| Error::Malformed("no way to evaluate operators".into()))
    }

    /// Whether an operator may have more directions than the first layer is wide.
    fn widest(&self, program: &Program) -> Result<bool, Error> {
        let points = Points::new(program, self.x)?;
        let directions = self.operators.iter().map(|(_, operator)| match operator {
            Operator::WeightedLaplacian { coefficients: Coefficients::Sigma { columns, .. }, .. } => *columns,
            Operator::Directional { directions, .. } => *directions,
            _ => points.dim(),
        });
        Ok(points.first_layer().is_some_and(|first| directions.max().unwrap_or(0) > first.width))
    }

    /// The program by one way.
    fn by(&self, program: &Program, way: Way) -> Result<(Program, usize), Error> {
        let Way { strategy, reverse, compress } = way;
        let points = Points { compress, ..Points::new(program, self.x)? };
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, program);
        let vectors = Cell::new(0);
        let mut outputs = Vec::with_capacity(self.operators.len());
        for (name, operator) in &self.operators {
            let maker = Maker { points, inputs: &inputs, strategy, reverse, name, vectors: &vectors };
            outputs.push((name.clone(), maker.make(&mut b, operator)?));
        }
        Ok((b.finish(outputs).simplify()?, vectors.get()))
    }
}

/// How a program is made.
#[derive(Clone, Copy)]
struct Way {
    strategy: Strategy,
    /// Gradients by reverse mode.
    reverse: bool,
    /// At most as many directions as the first layer is wide.
    compress: bool,
}

/// What an operator costs.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// The operator's name.
    pub name: String,
    /// Vectors per datum that a linear layer in the middle of the network multiplies.
    pub vectors: usize,
    /// Floating-point operations of its program.
    pub flops: u64,
}

pub(super) struct Maker<'a> {
    pub(super) points: Points<'a>,
    pub(super) inputs: &'a [NodeId],
    pub(super) strategy: Strategy,
    /// Whether gradients are made by reverse mode.
    pub(super) reverse: bool,
    pub(super) name: &'a str,
    /// Vectors per datum so far.
    pub(super) vectors: &'a Cell<usize>,
}

impl Maker<'_> {
    pub(super) fn make(&self, b: &mut Builder, operator: &Operator) -> Result<NodeId, Error> {
        let dim = self.points.dim();
        match operator {
            Operator::Value => self.value(b),
            Operator::Gradient => self.gradient(b),
            Operator::Divergence => self.divergence(b),
            Operator::Laplacian => self.family(b, &Family::units(2, dim), 1.0),
            Operator::WeightedLaplacian { coefficients, drift } => self.weighted(b, coefficients, *drift),
            Operator::Biharmonic(scheme) => self.biharmonic(b, *scheme),
            Operator::Linear(terms) => self.linear(b, terms),
            Operator::Directional { order, directions, per_datum } => {
                self.directional(b, *order, *directions, *per_datum)
            }
        }
    }

    fn directional(&self, b: &mut Builder, order: usize, directions: usize, per_datum: bool) -> Result<NodeId, Error> {
        if order == 0 {
            return Err(self.bad("a directional derivative has at least order 1"));
        }
        let own: &[usize] = if per_datum { self.points.lead() } else { &[] };
        let shape: Vec<usize> =
            core::iter::once(directions).chain(own.iter().copied()).chain([self.points.dim()]).collect();
        let v = b.input(format!("{}.directions", self.name), TensorType::real(&shape));
        let weights = b.input(format!("{}.weights", self.name), TensorType::real(&[directions]));
        let vectors = if per_datum { v } else { self.points.spread_node(b, v)? };
        let sum = Sum { order, directions, vectors, weights: Some(weights), scale: 1.0, drift: None };
        self.sum(b, self.points, &sum)
    }

    /// One weighted sum, counted.
    fn sum(&self, b: &mut Builder, points: Points<'_>, sum: &Sum) -> Result<NodeId, Error> {
        let compressed = match self.strategy {
            Strategy::Auto | Strategy::Collapsed => points.compressed(b, sum),
            Strategy::Taylor | Strategy::Nested => None,
        };
        self.count(sum.vectors_of(self.strategy, compressed.map_or(sum.directions, |first| first.width)));
        points.sum(b, self.inputs, sum, self.strategy)
    }

    fn count(&self, vectors: usize) {
        self.vectors.set(self.vectors.get() + vectors);
    }

    fn bad(&self, why: impl Into<String>) -> Error {
        Error::unsupported(format!("operator {:?}", self.name), "derivative", why)
    }

    fn value(&self, b: &mut Builder) -> Result<NodeId, Error> {
        self.count(1);
        let map = b.inline(self.points.program, self.inputs)?;
        Ok(map[self.points.program.outputs()[0].node.index()])
    }

    /// `[D, .., C]`.
    fn firsts(&self, b: &mut Builder) -> Result<NodeId, Error> {
        self.count(1 + self.points.dim());
        let vectors = self.points.spread(b, &Family::units(1, self.points.dim()).directions)?;
        self.points.firsts(b, self.inputs, vectors)
    }

    fn gradient(&self, b: &mut Builder) -> Result<NodeId, Error> {
        if self.reverse {
            self.count(1 + self.points.components().iter().product::<usize>());
            return self.points.cotangents(b, self.inputs);
        }
        let firsts = self.firsts(b)?;
        let last = b.ty(firsts).rank() - 1;
        b.move_axis(firsts, 0, last)
    }

    fn divergence(&self, b: &mut Builder) -> Result<NodeId, Error> {
        let d = self.points.dim();
        if self.points.components() != [d] {
            let got = self.points.components().to_vec();
            return Err(
                self.bad(format!("a divergence needs {d} components, one per coordinate; the output has {got:?}"))
            );
        }
        let firsts = self.firsts(b)?;
        let shape = b.shape(firsts);
        let eye: Vec<f64> = (0..d * d).map(|i| f64::from(u8::from(i / d == i % d))).collect();
        let eye = b.real_const(&[d, d], eye)?;
        let eye = b.broadcast(eye, &shape, &[0, shape.len() - 1])?;
        let diagonal = b.mul(eye, firsts)?;
        b.sum(diagonal, &[0, shape.len() - 1])
    }

    fn family(&self, b: &mut Builder, family: &Family, scale: f64) -> Result<NodeId, Error> {
        let sum = self.points.family(b, family, scale)?;
        self.sum(b, self.points, &sum)
    }

    fn weighted(&self, b: &mut Builder, a: &Coefficients, drift: Option<Drift>) -> Result<NodeId, Error> {
        let (d, lead) = (self.points.dim(), self.points.lead().to_vec());
        let mut sum = match a {
            Coefficients::Matrix(a) => {
                let family = factor(a, d).map_err(|why| self.bad(why))?;
                self.points.family(b, &family, 1.0)?
            }
            Coefficients::Sigma { columns, per_datum } => {
                let own: &[usize] = if *per_datum { &lead } else { &[] };
                let shape: Vec<usize> = own.iter().copied().chain([d, *columns]).collect();
                let sigma = b.input(format!("{}.sigma", self.name), TensorType::real(&shape));
                let rows = b.move_axis(sigma, shape.len() - 1, 0)?;
                let vectors = if *per_datum { rows } else { self.points.spread_node(b, rows)? };
                Sum { order: 2, directions: *columns, vectors, weights: None, scale: 1.0, drift: None }
            }
        };
        if let Some(drift) = drift {
            let shape = match drift {
                Drift::Shared => vec![d],
                Drift::PerDatum => self.points.shape().to_vec(),
            };
            let input = b.input(format!("{}.drift", self.name), TensorType::real(&shape));
            let full = self.points.shape().clone();
            let at: Vec<usize> = (full.len() - shape.len()..full.len()).collect();
            sum.drift = Some(b.broadcast(input, &full, &at)?);
        }
        self.sum(b, self.points, &sum)
    }

    fn biharmonic(&self, b: &mut Builder, scheme: Scheme) -> Result<NodeId, Error> {
        let d = self.points.dim();
        let tapped = self.points.recorder.is_some();
        if tapped && matches!(scheme, Scheme::Direct | Scheme::Nested) {
            return Err(self.bad("this scheme does not move along directions: it has no streams to tap"));
        }
        let scheme = match (scheme, self.strategy) {
            (Scheme::Auto, _) if tapped => Scheme::Symmetric,
            (Scheme::Auto, Strategy::Auto) => Scheme::Direct,
            (Scheme::Auto, Strategy::Nested) => Scheme::Nested,
            (Scheme::Auto, _) => Scheme::Symmetric,
            (scheme, _) => scheme,
        };
        match scheme {
            Scheme::Direct => {
                self.count(2 + 2 * d + d * (d + 1) / 2);
                tuple::biharmonic(b, self.points, self.inputs)
            }
            Scheme::Interpolated => self.family(b, &biharmonic_interpolated(d)?, 1.0),
            Scheme::Symmetric | Scheme::Auto => self.family(b, &biharmonic_symmetric(d)?, 1.0),
            Scheme::Nested => {
                let inner = Pde::new(self.points.program, self.points.x)
                    .strategy(self.strategy)
                    .operator("laplacian", Operator::Laplacian)
                    .build()?;
                let outer = Points::new(&inner, self.points.x)?;
                let sum = outer.family(b, &Family::units(2, d), 1.0)?;
                let once = sum.vectors_of(self.strategy, d);
                self.count(once * once);
                outer.sum(b, self.inputs, &sum, self.strategy)
            }
        }
    }

    /// Term by term of one order: the value, one tangent, a factored matrix, factors where they exist, interpolation.
    fn linear(&self, b: &mut Builder, terms: &[(Vec<usize>, f64)]) -> Result<NodeId, Error> {
        let d = self.points.dim();
        let mut orders: BTreeMap<usize, Polynomial> = BTreeMap::new();
        for (alpha, c) in terms {
            if alpha.len() != d {
                return Err(
                    self.bad(format!("the multi-index {alpha:?} has {} entries for {d} coordinates", alpha.len()))
                );
            }
            if !c.is_finite() {
                return Err(self.bad(format!("the coefficient of {alpha:?} is {c}")));
            }
            let order = alpha.iter().sum();
            *orders.entry(order).or_default().entry(alpha.clone()).or_insert(0.0) += c;
        }
        let mut total = None;
        for (order, symbol) in orders {
            let part = self.homogeneous(b, order, &symbol)?;
            total = Some(match total {
                Some(sum) => b.add(sum, part)?,
                None => part,
            });
        }
        match total {
            Some(total) => Ok(total),
            None => {
                let value = self.value(b)?;
                b.zeros_like(value)
            }
        }
    }

    fn homogeneous(&self, b: &mut Builder, order: usize, symbol: &Polynomial) -> Result<NodeId, Error> {
        let d = self.points.dim();
        match order {
            0 => {
                let value = self.value(b)?;
                b.scale(value, symbol.values().sum())
            }
            1 => {
                let direction: Vec<f64> = (0..d).map(|i| coefficient(symbol, &[(i, 1)], d)).collect();
                self.tangent(b, self.points, &direction)
            }
            2 => {
                let entry = |i: usize, j: usize| match i == j {
                    true => coefficient(symbol, &[(i, 2)], d),
                    false => 0.5 * coefficient(symbol, &[(i, 1), (j, 1)], d),
                };
                let a: Vec<f64> = (0..d * d).map(|k| entry(k / d, k % d)).collect();
                self.family(b, &factor(&a, d).map_err(|why| self.bad(why))?, 1.0)
            }
            _ => {
                let factors = if self.points.recorder.is_some() { None } else { laplacian_times_linear(symbol, d) };
                if let (3, Some(direction)) = (order, factors) {
                    let inner = Pde::new(self.points.program, self.points.x)
                        .strategy(self.strategy)
                        .operator("laplacian", Operator::Laplacian)
                        .build()?;
                    self.count(2 * (d + 2) - 2);
                    return self.tangent(b, Points::new(&inner, self.points.x)?, &direction);
                }
                if let (4, Some(c)) = (order, biharmonic_multiple(symbol, d)) {
                    let y = self.biharmonic(b, Scheme::Auto)?;
                    return b.scale(y, c);
                }
                self.family(b, &interpolate(symbol, order, d)?, 1.0)
            }
        }
    }

    fn tangent(&self, b: &mut Builder, points: Points<'_>, direction: &[f64]) -> Result<NodeId, Error> {
        let v = b.real_const(&[1, direction.len()], direction.to_vec())?;
        let v = self.points.spread_node(b, v)?;
        let v = b.reshape(v, self.points.shape())?;
        self.count(2);
        points.first_order(b, self.inputs, v)
    }
}

/// Coefficients by multi-index, all of one order.
type Polynomial = BTreeMap<Vec<usize>, f64>;

fn coefficient(symbol: &Polynomial, powers: &[(usize, usize)], dim: usize) -> f64 {
    let mut alpha = vec![0; dim];
    powers.iter().for_each(|&(axis, n)| alpha[axis] += n);
    symbol.get(&alpha).copied().unwrap_or(0.0)
}

/// `b` with `symbol = |a|^2 (b . a)`, if there is one.
fn laplacian_times_linear(symbol: &Polynomial, dim: usize) -> Option<Vec<f64>> {
    let direction: Vec<f64> = (0..dim).map(|j| coefficient(symbol, &[(j, 3)], dim)).collect();
    let mut expected = Polynomial::new();
    for i in 0..dim {
        for j in 0..dim {
            let mut alpha = vec![0; dim];
            alpha[i] += 2;
            alpha[j] += 1;
            *expected.entry(alpha).or_insert(0.0) += direction[j];
        }
    }
    same(symbol, &expected).then_some(direction)
}

/// `c` with `symbol = c |a|^4`, if there is one.
fn biharmonic_multiple(symbol: &Polynomial, dim: usize) -> Option<f64> {
    let c = coefficient(symbol, &[(0, 4)], dim);
    let mut expected = Polynomial::new();
    for i in 0..dim {
        for j in 0..dim {
            let mut alpha = vec![0; dim];
            alpha[i] += 2;
            alpha[j] += 2;
            *expected.entry(alpha).or_insert(0.0) += c;
        }
    }
    same(symbol, &expected).then_some(c)
}

fn same(p: &Polynomial, q: &Polynomial) -> bool {
    let value = |m: &Polynomial, k: &Vec<usize>| m.get(k).copied().unwrap_or(0.0);
    p.keys().chain(q.keys()).all(|k| value(p, k) == value(q, k))
}

/// Every monomial interpolated exactly, equal directions merged.
fn interpolate(symbol: &Polynomial, order: usize, dim: usize) -> Result<Family, Error> {
    let mut merged: BTreeMap<Vec<u64>, (Vec<f64>, f64)> = BTreeMap::new();
    for (alpha, &c) in symbol {
        let mut exact = Exact::new(order, dim);
        exact.add_monomial(alpha, Rational::ONE)?;
        verify(&exact, alpha)?;
        let family = exact.finish();
        for (v, w) in family.directions.into_iter().zip(family.weights) {
            let key = v.iter().map(|x| x.to_bits()).collect();
            merged.entry(key).or_insert((v, 0.0)).1 += c * w;
        }
    }
    let (directions, weights) = merged.into_values().filter(|(_, w)| *w != 0.0).unzip();
    Ok(Family { order, dim, directions, weights })
}

/// The family's symbol is the monomial, exactly, at a rational point in general position.
fn verify(family: &Exact, alpha: &[usize]) -> Result<(), Error> {
    let point: Vec<Rational> = (0..alpha.len())
        .map(|i| Rational::new(2 * i as i128 + 3, if i % 2 == 0 { 2 } else { -5 }).unwrap_or(Rational::ONE))
        .collect();
    let expected = alpha.iter().zip(&point).try_fold(Rational::ONE, |p, (&n, a)| p.mul(a.powi(n)?));
    match (family.symbol(&point), expected) {
        (Some(got), Some(expected)) if got != expected => {
            Err(Error::Malformed(format!("interpolation of d^{alpha:?}: {got} in the place of {expected}")))
        }
        // Beyond 128 bits nothing is compared; the weights themselves are checked where they are made.
        _ => Ok(()),
    }
}

/// A symmetric matrix as `sum_r w_r s_r s_r^T`: its diagonal if that is all, else its eigenvectors.
fn factor(a: &[f64], dim: usize) -> Result<Family, String> {
    if a.len() != dim * dim {
        return Err(format!("the matrix has {} entries, expected {dim} x {dim}", a.len()));
    }
    if let Some(x) = a.iter().find(|x| !x.is_finite()) {
        return Err(format!("the matrix holds {x}"));
    }
    let at = |i: usize, j: usize| 0.5 * (a[i * dim + j] + a[j * dim + i]);
    let units = Family::units(2, dim);
    let diagonal = (0..dim).all(|i| (0..i).all(|j| at(i, j) == 0.0));
    let pairs: Vec<(Vec<f64>, f64)> = if diagonal {
        units.directions.into_iter().zip((0..dim).map(|i| at(i, i))).collect()
    } else {
        let m = Mat::from_fn(dim, dim, at);
        let eigen = numerics::dense::eigh(m.as_ref()).map_err(|e| e.to_string())?;
        let vectors = &eigen.vectors;
        (0..dim).map(|k| ((0..dim).map(|i| vectors[(i, k)]).collect(), eigen.values[k])).collect()
    };
    let largest = pairs.iter().fold(0.0f64, |m, (_, w)| m.max(w.abs()));
    let floor = if diagonal { 0.0 } else { dim as f64 * f64::EPSILON * largest };
    let (directions, weights) = pairs.into_iter().filter(|(_, w)| w.abs() > floor).unzip();
    Ok(Family { order: 2, dim, directions, weights })
}
