//! [`Gradients`]: what a backward returns.

use std::{collections::HashMap, sync::Arc};

use tensor::Tensor;

use crate::{Var, graph::Node};

/// The gradients of all leaves a scalar depends on, by leaf.
///
/// Returned by [`Var::backward`], not stored in the variables: nothing has to be zeroed, and accumulating over
/// several batches is [`accumulate`](Self::accumulate).
#[derive(Debug, Default)]
pub struct Gradients {
    // By the address of the leaf's node, which stays unique because the node is kept alive.
    by_leaf: HashMap<usize, (Arc<Node>, Var)>,
}

fn key(node: &Arc<Node>) -> usize {
    Arc::as_ptr(node) as usize
}

impl Gradients {
    pub(crate) fn insert(&mut self, leaf: Arc<Node>, gradient: Var) {
        self.by_leaf.insert(key(&leaf), (leaf, gradient));
    }

    fn entry(&self, leaf: &Var) -> Option<&Var> {
        let node = leaf.node.as_ref()?;
        self.by_leaf.get(&key(node)).map(|(_, g)| g)
    }

    /// The gradient of `leaf`, in its shape and dtype; `None` if the result did not depend on it.
    pub fn get(&self, leaf: &Var) -> Option<&Tensor> {
        self.entry(leaf).map(Var::value)
    }

    /// The gradient of `leaf`.
    ///
    /// # Panics
    /// If `leaf` is no leaf or the result did not depend on it, saying which.
    #[track_caller]
    pub fn wrt(&self, leaf: &Var) -> &Tensor {
        self.var(leaf).value()
    }

    /// The gradient of `leaf` as a `Var`: after [`Var::backward_create_graph`] it can be differentiated again.
    ///
    /// # Panics
    /// As [`wrt`](Self::wrt).
    #[track_caller]
    pub fn var(&self, leaf: &Var) -> &Var {
        self.entry(leaf).unwrap_or_else(|| {
            let shape = leaf.shape();
            match &leaf.node {
                None => panic!(
                    "gradients: a constant of shape {shape} has no gradient; make it with Var::leaf"
                ),
                Some(n) if !n.is_leaf() => panic!(
                    "gradients: the variable of shape {shape} is the result of {}, not a leaf",
                    n.op_name().unwrap_or("an op")
                ),
                Some(_) => panic!(
                    "gradients: the differentiated value does not depend on this leaf of shape {shape}"
                ),
            }
        })
    }

    /// Number of leaves with a gradient.
    pub fn len(&self) -> usize {
        self.by_leaf.len()
    }

    /// Whether no leaf has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_leaf.is_empty()
    }

    /// Replaces the gradient of `leaf` (clipping, averaging over machines).
    ///
    /// # Panics
    /// If there is no gradient for `leaf` or the shape changes.
    #[track_caller]
    pub fn set(&mut self, leaf: &Var, gradient: Tensor) {
        let old = self.wrt(leaf).shape();
        assert!(
            old == gradient.shape(),
            "gradients: shape {old} cannot be replaced by shape {}",
            gradient.shape()
        );
        let node = leaf.node.as_ref().expect("wrt has found it");
        self.insert(node.clone(), Var::constant(gradient));
    }

    /// Adds another backward's gradients to these.
    pub fn accumulate(&mut self, other: Gradients) {
        for (key, (leaf, gradient)) in other.by_leaf {
            match self.by_leaf.get_mut(&key) {
                Some((_, sum)) => *sum = Var::constant(sum.value() + gradient.value()),
                None => self.insert(leaf, gradient),
            }
        }
    }
}
