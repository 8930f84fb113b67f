//! Where a fact comes from: derived by the propagation rules, checked on the numbers, or vouched for by a caller.
//!
//! A fact of a compound operator counts as assumed as soon as one of its parts has an assumed fact: the rule may have used
//! it. Costs a walk over the parts.

use crate::{Kind, LinearOperator, Op, Props};
use numerics::Scalar;

/// How a fact is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// By the rules, from operators whose facts are beyond doubt.
    Derived,
    /// By looking at the numbers, for example the signs of a diagonal.
    Checked,
    /// By somebody's word, here or in a part; see [`Op::assume`].
    Assumed,
}

impl<T: Scalar> Op<T> {
    /// Every fact by name, with its source.
    ///
    /// ```
    /// use linop_core::{Mat, Op, Props, Source};
    /// let checked = Op::diag(vec![1.0, 2.0]);
    /// assert!(checked.sources().iter().all(|(_, s)| *s == Source::Checked));
    /// let vouched = Op::dense(Mat::from_fn(2, 2, |_, _| 1.0)).assume(Props::PSD);
    /// assert!(vouched.shifted(1.0)?.sources().contains(&("PD", Source::Assumed)));
    /// # Ok::<(), linop_core::Error>(())
    /// ```
    pub fn sources(&self) -> Vec<(&'static str, Source)> {
        let word = self.assumed().close(self.nrows(), self.ncols());
        let mut parts = Vec::new();
        each_part(self.kind(), &mut |p| parts.push(p.clone()));
        let doubtful = parts.iter().any(rests_on_word);
        let numbers = matches!(
            self.kind(),
            Kind::Diagonal(_)
                | Kind::ScalarIdentity(_)
                | Kind::Permutation(_)
                | Kind::Triangular(_)
                | Kind::LowRank(_)
                | Kind::LowRankPlusDiag(_)
                | Kind::Eigh(_)
                | Kind::TokenKronSum(_)
        );
        let source = |fact: Props| match () {
            () if doubtful || word.contains(fact) => Source::Assumed,
            () if numbers => Source::Checked,
            () => Source::Derived,
        };
        self.props().each().map(|(name, fact)| (name, source(fact))).collect()
    }
}

fn rests_on_word<T: Scalar>(op: &Op<T>) -> bool {
    let mut found = !op.assumed().is_empty();
    each_part(op.kind(), &mut |p| found = found || rests_on_word(p));
    found
}

/// Calls `f` for every operator that this one is made of.
fn each_part<T: Scalar>(kind: Kind<'_, T>, f: &mut dyn FnMut(&Op<T>)) {
    match kind {
        Kind::Orthogonal(o) => f(o.inner()),
        Kind::Scaled(s) => f(s.inner()),
        Kind::Shifted(s) => f(s.inner()),
        Kind::Transposed(t) => f(t.inner()),
        Kind::Submatrix(s) => f(s.inner()),
        Kind::Gram(g) => f(g.parts().0),
        Kind::Hadamard(h) => f(h.parts().1),
        Kind::LowRankUpdate(l) => f(l.base()),
        Kind::Eigh(e) => f(e.vectors()),
        Kind::Factored(i) => f(i.operand()),
        Kind::IterativeInverse(i) => f(i.operand()),
        Kind::Congruence(c) => [c.parts().0, c.parts().1].into_iter().for_each(f),
        Kind::KroneckerSum(k) => [k.parts().0, k.parts().1].into_iter().for_each(f),
        Kind::Sum(s) => s.terms().iter().for_each(f),
        Kind::Chain(c) => c.factors().iter().for_each(f),
        Kind::Kronecker(k) => k.factors().iter().for_each(f),
        Kind::BlockDiag(b) => b.blocks().iter().for_each(f),
        Kind::Block(b) => {
            let (h, w) = b.partition();
            let places = (0..h.len()).flat_map(|i| (0..w.len()).map(move |j| (i, j)));
            places.filter_map(|(i, j)| b.block(i, j)).for_each(f);
        }
        _ => {}
    }
}
