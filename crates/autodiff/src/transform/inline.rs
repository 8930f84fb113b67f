//! `inline`: named sub-programs replaced by their bodies.

use super::declare_inputs;
use crate::error::Error;
use crate::ops::{Call, Op};
use crate::program::{Args, Builder, NodeId, Program};
use std::collections::HashMap;
use std::sync::Arc;

impl Builder {
    /// Copies a program with its calls replaced by their bodies, all the way down; returns the nodes of its nodes.
    fn open_all(
        &mut self,
        program: &Program,
        inputs: &[NodeId],
        keep: &dyn Fn(usize, &Call) -> bool,
    ) -> Result<Vec<NodeId>, Error> {
        let mut map: Vec<NodeId> = Vec::with_capacity(program.nodes().len());
        // Results of one body are found in one copy of it.
        let mut opened: HashMap<(*const Program, Args), Vec<NodeId>> = HashMap::new();
        for (i, node) in program.nodes().iter().enumerate() {
            let args: Args = node.args.iter().map(|a| map[a.index()]).collect();
            self.trace_to(node.origin);
            map.push(match &node.op {
                Op::Input(input) => inputs[input.index],
                Op::Call(call) if !keep(i, call) => {
                    let key = (Arc::as_ptr(call.body()), args);
                    if !opened.contains_key(&key) {
                        let inside = self.open_all(call.body(), &key.1, &|_, _| false)?;
                        opened.insert(key.clone(), inside);
                    }
                    opened[&key][call.body().outputs()[call.output()].node.index()]
                }
                op => self.emit(op, &args)?,
            });
        }
        Ok(map)
    }
}

impl Program {
    /// Whether there are named sub-programs.
    pub fn has_calls(&self) -> bool {
        self.nodes().iter().any(|n| matches!(n.op, Op::Call(_)))
    }

    /// Which nodes are calls that share intermediate values with another call: one is a derivative of the other, of the same
    /// operands.
    pub(crate) fn related_calls(&self) -> Vec<bool> {
        let mut of_base: HashMap<(&str, NodeId), Vec<usize>> = HashMap::new();
        for (i, node) in self.nodes().iter().enumerate() {
            if let (Op::Call(call), Some(&first)) = (&node.op, node.args.first()) {
                of_base.entry((call.base(), first)).or_default().push(i);
            }
        }
        let mut related = vec![false; self.nodes().len()];
        for list in of_base.values() {
            for (&i, &j) in list.iter().flat_map(|i| list.iter().map(move |j| (i, j))) {
                let (a, b) = (&self.nodes()[i], &self.nodes()[j]);
                let same = matches!((&a.op, &b.op), (Op::Call(p), Op::Call(q)) if p.same_body(q));
                let prefix = a.args.starts_with(&b.args) || b.args.starts_with(&a.args);
                if i != j && prefix && !same {
                    related[i] = true;
                }
            }
        }
        related
    }

    /// The program without named sub-programs: each is replaced by its body, and what bodies share exists once.
    ///
    /// ```
    /// use autodiff::{TensorType, trace};
    /// let f = trace(&[("x", TensorType::real(&[3]))], |_, x| vec![("y", x[0].softmax())])?;
    /// assert!(f.to_string().contains("call softmax"));
    /// assert!(!f.inline()?.has_calls());
    /// assert_eq!(f.flops(), f.inline()?.flops());
    /// # Ok::<(), autodiff::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Malformed`] for a call that does not fit its body.
    pub fn inline(&self) -> Result<Program, Error> {
        self.inline_unless(&|_, _| false)
    }

    /// The same without the calls that `keep` accepts, by position and call.
    pub(crate) fn inline_unless(&self, keep: &dyn Fn(usize, &Call) -> bool) -> Result<Program, Error> {
        if !self.has_calls() {
            return Ok(self.clone());
        }
        let mut b = Builder::new();
        let inputs = declare_inputs(&mut b, self);
        let map = b.open_all(self, &inputs, keep)?;
        Ok(b.finish(self.outputs().iter().map(|p| (p.name.clone(), map[p.node.index()])).collect()))
    }
}
