//! Stacking: products with one matrix become one product.
//!
//! Taylor mode multiplies a layer's weights by the value, by the coefficients of every direction and by the collapsed sum:
//! many rows here, few there. Stacked, one product reads the weights once and always has many rows, and the executor writes
//! the rows where they are needed. Products are stacked if none needs the result of another, which is so if equally many
//! products lie before each. A sum of products over rows, as the gradient of shared weights is, becomes one product over all rows.
//! The sums inside a product are the same, so that the results are those of the single products up to rounding.

use super::declare_inputs;
use crate::error::Error;
use crate::ops::{Binary, BinaryFn, Dot, Op};
use crate::program::{Builder, NodeId, Program};
use std::collections::{BTreeMap, HashMap};

impl Program {
    /// The program with products that share their right operand joined, and with sums of products over rows joined: at most as many
    /// products and flops. Meant as the last step before compilation; calls are left as they are.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// let ports = [("w", TensorType::real(&[8, 5])), ("x", TensorType::real(&[3, 5])), ("y", TensorType::real(&[2, 4, 5]))];
    /// let f = trace(&ports, |_, t| vec![("a", t[1].matmul(&t[0].t())), ("b", t[2].matmul(&t[0].t()))])?;
    /// let products = |p: &autodiff::Program| p.nodes().iter().filter(|n| n.op.name().starts_with("dot")).count();
    /// let stacked = f.simplify()?.stack()?;
    /// assert_eq!((products(&f), products(&stacked)), (2, 1), "{stacked}");
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] if the program's invariants do not hold.
    pub fn stack(&self) -> Result<Program, Error> {
        self.verify()?;
        let found = Found::look(self);
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let mut run = Run { program: self, found: &found, b, inputs, map: vec![None; self.nodes().len()] };
        for i in 0..self.nodes().len() {
            if !found.gone[i] {
                run.make(i)?;
            }
        }
        let mut outputs = Vec::with_capacity(self.outputs().len());
        for port in self.outputs() {
            outputs.push((port.name.clone(), run.made(port.node)?));
        }
        Ok(run.b.finish(outputs))
    }
}

/// Products to be made as one.
#[derive(Default)]
struct Found {
    /// The products that share a right operand.
    groups: Vec<Vec<usize>>,
    /// The group of a node.
    group: HashMap<usize, usize>,
    /// At the top of a sum: products over rows, and the other terms.
    sums: HashMap<usize, (Vec<usize>, Vec<NodeId>)>,
    /// What is made as part of a sum.
    gone: Vec<bool>,
}

/// Whether all rows are multiplied by one matrix: the left operand's last axis is contracted, no other.
fn by_matrix(dot: &Dot, rank: usize) -> Option<usize> {
    match (&dot.batch[..], &dot.contract[..]) {
        ([], &[(left, right)]) if left + 1 == rank => Some(right),
        _ => None,
    }
}

/// Whether all axes but the last of both operands are contracted, in order.
fn over_rows(dot: &Dot, ranks: [usize; 2]) -> bool {
    let n = dot.contract.len();
    let mut pairs = dot.contract.clone();
    pairs.sort_unstable();
    dot.batch.is_empty() && n > 0 && ranks == [n + 1; 2] && pairs.iter().enumerate().all(|(i, &p)| p == (i, i))
}

impl Found {
    fn look(program: &Program) -> Self {
        let nodes = program.nodes();
        let rank = |id: NodeId| program.node(id).ty.rank();
        let mut found = Found { gone: vec![false; nodes.len()], ..Found::default() };
        let mut readers = vec![0usize; nodes.len()];
        nodes.iter().flat_map(|n| &n.args).for_each(|a| readers[a.index()] += 1);
        program.outputs().iter().for_each(|p| readers[p.node.index()] += 1);
        // Products that lie before a node; those that share a right operand, by that number.
        let mut depth = vec![0usize; nodes.len()];
        let mut shared: BTreeMap<(usize, NodeId, usize), Vec<usize>> = BTreeMap::new();
        for (i, node) in nodes.iter().enumerate() {
            let before = node.args.iter().map(|a| depth[a.index()]).max().unwrap_or(0);
            depth[i] = before + usize::from(matches!(node.op, Op::Dot(_)));
            if let Op::Dot(dot) = &node.op
                && let Some(axis) = by_matrix(dot, rank(node.args[0]))
                && node.ty.numel() > 0
            {
                shared.entry((before, node.args[1], axis)).or_default().push(i);
            }
        }
        let mut partner: HashMap<NodeId, NodeId> = HashMap::new();
        for i in (0..nodes.len()).rev() {
            found.sum(program, &readers, i, &mut partner);
        }
        // The rows of one side of a sum of products come in the order of the other side's, so that both sides are stacked once.
        let mut place: HashMap<NodeId, usize> = HashMap::new();
        for mut members in shared.into_values().filter(|m| m.len() > 1) {
            let left = |i: usize| nodes[i].args[0];
            members.sort_by_key(|&i| (partner.get(&left(i)).and_then(|p| place.get(p)).copied(), i));
            for (k, &i) in members.iter().enumerate() {
                place.insert(left(i), k);
                found.group.insert(i, found.groups.len());
            }
            found.groups.push(members);
        }
        for (products, _) in found.sums.values_mut() {
            products.sort_by_key(|&i| {
                let known = nodes[i].args.iter().find_map(|a| place.get(a)).copied();
                (known.is_none(), known, i)
            });
        }
        found
    }

    /// Notes the products over rows that are added at a node.
    fn sum(&mut self, program: &Program, readers: &[usize], top: usize, partner: &mut HashMap<NodeId, NodeId>) {
        let nodes = program.nodes();
        let adds = |i: usize| matches!(nodes[i].op, Op::Binary(Binary(BinaryFn::Add)));
        if self.gone[top] || !adds(top) {
            return;
        }
        let (mut products, mut others, mut inner) = (Vec::new(), Vec::new(), Vec::new());
        let mut stack: Vec<NodeId> = nodes[top].args.iter().rev().copied().collect();
        while let Some(id) = stack.pop() {
            let (i, node) = (id.index(), program.node(id));
            let alone = readers[i] == 1;
            match &node.op {
                Op::Binary(Binary(BinaryFn::Add)) if alone => {
                    inner.push(i);
                    stack.extend(node.args.iter().rev());
                }
                Op::Dot(d)
                    if alone
                        && node.ty.numel() > 0
                        && over_rows(d, [0, 1].map(|side| program.node(node.args[side]).ty.rank())) =>
                {
                    products.push(i);
                }
                _ => others.push(id),
            }
        }
        if products.len() < 2 {
            return;
        }
        for &i in products.iter().chain(&inner) {
            self.gone[i] = true;
        }
        for &i in &products {
            let (x, y) = (nodes[i].args[0], nodes[i].args[1]);
            partner.insert(x, y);
            partner.insert(y, x);
        }
        self.sums.insert(top, (products, others));
    }
}

struct Run<'a> {
    program: &'a Program,
    found: &'a Found,
    b: Builder,
    inputs: Vec<NodeId>,
    map: Vec<Option<NodeId>>,
}

impl Run<'_> {
    fn made(&self, id: NodeId) -> Result<NodeId, Error> {
        self.map[id.index()].ok_or_else(|| Error::Malformed("a stacked product was read before it was made".into()))
    }

    /// What must be there before a node.
    fn needs(&self, i: usize) -> Vec<NodeId> {
        let nodes = self.program.nodes();
        if let Some((products, others)) = self.found.sums.get(&i) {
            return products.iter().flat_map(|&p| nodes[p].args.iter()).chain(others).copied().collect();
        }
        match self.found.group.get(&i) {
            Some(&g) => self.found.groups[g].iter().flat_map(|&m| nodes[m].args.iter()).copied().collect(),
            None => nodes[i].args.to_vec(),
        }
    }

    /// Makes a node after what it needs.
    fn make(&mut self, i: usize) -> Result<(), Error> {
        let mut stack = vec![i];
        while let Some(&top) = stack.last() {
            if self.map[top].is_some() {
                stack.pop();
                continue;
            }
            let before = stack.len();
            stack.extend(self.needs(top).iter().map(|a| a.index()).filter(|&a| self.map[a].is_none()));
            if stack.len() > before {
                continue;
            }
            stack.pop();
            let node = &self.program.nodes()[top];
            self.b.trace_to(node.origin);
            if let Some(&g) = self.found.group.get(&top) {
                self.product(g)?;
            } else if let Some((products, others)) = self.found.sums.get(&top) {
                self.map[top] = Some(self.sum(products, others)?);
            } else {
                let args = node.args.iter().map(|&a| self.made(a)).collect::<Result<Vec<_>, _>>()?;
                self.map[top] = Some(match &node.op {
                    Op::Input(input) => self.inputs[input.index],
                    op => self.b.push(op.clone(), &args)?,
                });
            }
        }
        Ok(())
    }

    /// Operand `side` of these products, all rows under one another.
    fn rows(&mut self, products: &[usize], side: usize) -> Result<NodeId, Error> {
        let mut parts = Vec::with_capacity(products.len());
        for &i in products {
            let x = self.made(self.program.nodes()[i].args[side])?;
            let shape = self.b.shape(x);
            let (rows, columns) = (shape[..shape.len() - 1].iter().product(), shape[shape.len() - 1]);
            parts.push(self.b.reshape(x, &[rows, columns])?);
        }
        self.b.concat(&parts, 0)
    }

    fn product(&mut self, g: usize) -> Result<(), Error> {
        let members = &self.found.groups[g];
        let nodes = self.program.nodes();
        let x = self.rows(members, 0)?;
        let y = self.made(nodes[members[0]].args[1])?;
        let Op::Dot(dot) = &nodes[members[0]].op else {
            return Err(Error::Malformed("only products are stacked".into()));
        };
        let product = self.b.dot(x, y, &[], &[(1, dot.contract[0].1)])?;
        let mut from = 0;
        for &i in members {
            let left = &self.program.node(nodes[i].args[0]).ty;
            let rows: usize = left.shape[..left.rank() - 1].iter().product();
            let part = self.b.slice_axis(product, 0, from, from + rows)?;
            self.map[i] = Some(self.b.reshape(part, &nodes[i].ty.shape)?);
            from += rows;
        }
        Ok(())
    }

    fn sum(&mut self, products: &[usize], others: &[NodeId]) -> Result<NodeId, Error> {
        let (x, y) = (self.rows(products, 0)?, self.rows(products, 1)?);
        let mut sum = self.b.dot(x, y, &[], &[(0, 0)])?;
        for &other in others {
            let other = self.made(other)?;
            sum = self.b.add(sum, other)?;
        }
        Ok(sum)
    }
}
