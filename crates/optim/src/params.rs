//! Named parameter tensors over one flat vector, in groups with settings of their own.
//!
//! A list fixes order, names, shapes and offsets; values and gradients are plain slices of length
//! [`ParamList::len`], row-major and contiguous per tensor, so a gradient from automatic differentiation or an
//! operator's vector needs no copy. Scalars (shape `[]`, one element) and empty tensors are ordinary members.

use crate::Error;
use core::ops::Range;
use std::collections::HashSet;

/// Settings shared by some parameters; what is `None` is taken from the optimiser's own configuration.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamGroup {
    /// Name, for reports.
    pub name: String,
    /// Learning rate.
    #[serde(default)]
    pub lr: Option<f64>,
    /// Multiplies that learning rate, or the optimiser's: that of matrices and that of vectors alike.
    #[serde(default)]
    pub lr_factor: Option<f64>,
    /// Matrices are stepped by the method's rule for vectors: for embeddings and heads.
    #[serde(default)]
    pub first_order: bool,
    /// Weight decay.
    #[serde(default)]
    pub weight_decay: Option<f64>,
    /// Decay of the first moment, or momentum.
    #[serde(default)]
    pub beta1: Option<f64>,
    /// Decay of the second moment.
    #[serde(default)]
    pub beta2: Option<f64>,
    /// Added to the denominator.
    #[serde(default)]
    pub eps: Option<f64>,
}

impl ParamGroup {
    /// A group without settings of its own.
    pub fn new(name: impl Into<String>) -> Self {
        ParamGroup { name: name.into(), ..ParamGroup::default() }
    }

    /// Sets the learning rate.
    #[must_use]
    pub fn lr(mut self, lr: f64) -> Self {
        self.lr = Some(lr);
        self
    }

    /// Sets the factor of the learning rate.
    #[must_use]
    pub fn lr_factor(mut self, factor: f64) -> Self {
        self.lr_factor = Some(factor);
        self
    }

    /// Sends all tensors of the group to the rule for vectors.
    #[must_use]
    pub fn first_order(mut self) -> Self {
        self.first_order = true;
        self
    }

    /// The group's learning rate where the optimiser's is `lr`.
    pub(crate) fn lr_from(&self, lr: f64) -> f64 {
        self.lr.unwrap_or(lr) * self.lr_factor.unwrap_or(1.0)
    }

    /// Sets the weight decay.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = Some(weight_decay);
        self
    }

    /// Sets both moment decays.
    #[must_use]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        (self.beta1, self.beta2) = (Some(beta1), Some(beta2));
        self
    }

    /// Sets the denominator's offset.
    #[must_use]
    pub fn eps(mut self, eps: f64) -> Self {
        self.eps = Some(eps);
        self
    }
}

/// One named tensor of a [`ParamList`].
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    name: String,
    shape: Vec<usize>,
    group: usize,
    offset: usize,
    len: usize,
}

impl Param {
    /// Name, unique in the list.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape, row-major.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Index of its group.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Where its elements lie in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// Order, names, shapes and groups of the parameters.
///
/// ```
/// use optim::{ParamGroup, ParamList};
/// let mut list = ParamList::new();
/// let all = list.add_group(ParamGroup::new("all"));
/// list.push("w", &[4, 3], all)?;
/// let t = list.push("temperature", &[], all)?;
/// assert_eq!(list.len(), 13);
/// assert_eq!(list.params()[t].range(), 12..13);
/// assert!(list.push("w", &[1], all).is_err());
/// # Ok::<(), optim::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParamList {
    params: Vec<Param>,
    groups: Vec<ParamGroup>,
    names: HashSet<String>,
    len: usize,
}

impl ParamList {
    /// An empty list.
    pub fn new() -> Self {
        ParamList::default()
    }

    /// Adds a group and returns its index.
    pub fn add_group(&mut self, group: ParamGroup) -> usize {
        self.groups.push(group);
        self.groups.len() - 1
    }

    /// Appends a tensor and returns its index.
    ///
    /// # Errors
    /// If the name is taken, the group does not exist, or the elements cannot be counted in a `usize`.
    pub fn push(&mut self, name: impl Into<String>, shape: &[usize], group: usize) -> Result<usize, Error> {
        let name = name.into();
        if group >= self.groups.len() {
            return Err(Error::UnknownGroup { name, group, groups: self.groups.len() });
        }
        if self.names.contains(&name) {
            return Err(Error::DuplicateParameter { name });
        }
        let len = shape.iter().try_fold(1usize, |n, &s| n.checked_mul(s));
        let Some((len, end)) = len.and_then(|n| Some((n, self.len.checked_add(n)?))) else {
            return Err(Error::TooLarge { name, shape: shape.to_vec() });
        };
        self.names.insert(name.clone());
        self.params.push(Param { name, shape: shape.to_vec(), group, offset: self.len, len });
        self.len = end;
        Ok(self.params.len() - 1)
    }

    /// The tensors, in order.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// The groups, in order.
    pub fn groups(&self) -> &[ParamGroup] {
        &self.groups
    }

    /// The group of a tensor of this list.
    pub fn group_of(&self, param: &Param) -> &ParamGroup {
        &self.groups[param.group]
    }

    /// Index of the tensor with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|p| p.name == name)
    }

    /// Number of elements of all tensors together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No elements at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// A gradient: a flat vector, in which some tensors may have none.
///
/// What stands in the vector for a missing tensor is never read.
#[derive(Clone, Copy, Debug)]
pub struct Grads<'a, T> {
    values: &'a [T],
    present: Option<&'a [bool]>,
}

impl<'a, T> Grads<'a, T> {
    /// Every tensor has a gradient.
    pub fn all(values: &'a [T]) -> Self {
        Grads { values, present: None }
    }

    /// `present` says for each tensor of the list whether it has a gradient.
    pub fn masked(values: &'a [T], present: &'a [bool]) -> Self {
        Grads { values, present: Some(present) }
    }

    /// The flat vector.
    pub fn values(&self) -> &'a [T] {
        self.values
    }

    /// Does the tensor with this index have a gradient? False beyond the end.
    pub fn has(&self, param: usize) -> bool {
        self.present.is_none_or(|p| p.get(param).copied().unwrap_or(false))
    }

    /// Fails unless the lengths are those of the list.
    ///
    /// # Errors
    /// `Length`, naming the vector that does not fit.
    pub fn check(&self, list: &ParamList) -> Result<(), Error> {
        crate::error::check_len("gradient", list.len(), self.values.len())?;
        match self.present {
            Some(p) => crate::error::check_len("mask of present gradients", list.params().len(), p.len()),
            None => Ok(()),
        }
    }
}
