//! The named sub-programs inside a program, each looked at once however often it is called.
//!
//! Calls share their bodies, so that a program of a few nodes may stand for very many when it is written out: every walk
//! over bodies remembers where it was, and [`Extent`] bounds what writing out would give.

use super::{Args, Node, Program};
use crate::error::Error;
use crate::ops::{Call, Op};
use core::hash::{Hash, Hasher};
use std::collections::HashSet;
use std::sync::Arc;

/// How far named sub-programs may be nested.
pub(crate) const DEPTH: u32 = 64;

/// How many nodes a program with named sub-programs may have when they are written out.
pub(crate) const WRITTEN_OUT: u64 = 1 << 20;

/// How large a program is with its named sub-programs replaced by their bodies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Levels of sub-programs within sub-programs.
    pub(crate) depth: u32,
    /// Nodes; the results of one call count once.
    pub(crate) nodes: u64,
}

impl Extent {
    /// What is wrong with a sub-program of this extent.
    pub(crate) fn check(self) -> Result<(), String> {
        if self.depth > DEPTH {
            return Err(format!("named sub-programs are nested {} deep, at most {DEPTH} are allowed", self.depth));
        }
        if self.nodes > WRITTEN_OUT {
            return Err(format!("written out it has {} nodes, at most {WRITTEN_OUT} are allowed", self.nodes));
        }
        Ok(())
    }
}

impl Program {
    pub(crate) fn extent(&self) -> Extent {
        let mut extent = Extent { depth: 0, nodes: self.nodes.len() as u64 };
        let mut seen: HashSet<(*const Program, &Args)> = HashSet::new();
        for (node, call) in self.calls() {
            let inside = call.extent();
            extent.depth = extent.depth.max(inside.depth + 1);
            if seen.insert((Arc::as_ptr(call.body()), &node.args)) {
                extent.nodes = extent.nodes.saturating_add(inside.nodes);
            }
        }
        extent
    }

    fn calls(&self) -> impl Iterator<Item = (&Node, &Call)> {
        self.nodes.iter().filter_map(|n| if let Op::Call(c) = &n.op { Some((n, c)) } else { None })
    }

    /// Every body once, those that a body calls before itself.
    pub(super) fn bodies(&self) -> Vec<Arc<Program>> {
        fn visit(p: &Program, seen: &mut HashSet<*const Program>, out: &mut Vec<Arc<Program>>) {
            for (_, call) in p.calls() {
                if seen.insert(Arc::as_ptr(call.body())) {
                    visit(call.body(), seen, out);
                    out.push(call.body().clone());
                }
            }
        }
        let mut out = Vec::new();
        visit(self, &mut HashSet::new(), &mut out);
        out
    }

    /// The invariants of this program and of all inside it.
    pub(super) fn verify_all(&self) -> Result<(), Error> {
        let extent = self.extent();
        if extent.depth > 0 {
            extent.check().map_err(Error::Malformed)?;
        }
        self.bodies().iter().try_for_each(|b| b.verify_nodes())?;
        self.verify_nodes()
    }

    fn equals(&self, other: &Self, known: &mut HashSet<(*const Program, *const Program)>) -> bool {
        let same = |a: &Node, b: &Node, known: &mut HashSet<_>| match (&a.op, &b.op) {
            (Op::Call(p), Op::Call(q)) => {
                let pair = (Arc::as_ptr(p.body()), Arc::as_ptr(q.body()));
                // A pair that was found unequal has ended the comparison.
                (a.args == b.args && a.ty == b.ty && p.label() == q.label() && p.output() == q.output())
                    && (pair.0 == pair.1 || !known.insert(pair) || p.body().equals(q.body(), known))
            }
            _ => a == b,
        };
        self.inputs == other.inputs
            && self.outputs == other.outputs
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(other.nodes.iter()).all(|(a, b)| same(a, b, known))
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.nodes, &other.nodes) && self.inputs == other.inputs && self.outputs == other.outputs
            || self.equals(other, &mut HashSet::new())
    }
}

impl Eq for Program {}

/// By structure, as equality is.
impl Hash for Program {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nodes.hash(state);
        self.inputs.hash(state);
        self.outputs.hash(state);
    }
}
