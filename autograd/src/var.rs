//! [`Var`]: a tensor, plus the op that made it.

use std::{fmt, sync::Arc};

use tensor::{DType, Shape, Tensor};

use crate::{
    Gradients,
    graph::{self, BackwardMode, Node},
    op::{Item, Op, Saver},
    trace,
};

/// A tensor that may take part in differentiation. Cheap to clone.
///
/// A *leaf* is what gradients are taken of; a *constant* never gets one; anything computed from a leaf remembers
/// how. Nothing is recorded for what depends on constants only, so there is no global "no-grad" switch: evaluate on
/// constants ([`detach`](Self::detach)) and no graph comes into being.
///
/// ```
/// use autograd::Var;
/// use tensor::Tensor;
///
/// let x = Var::leaf(Tensor::new(&[1.0f64, 2.0, 3.0], [3]));
/// let y = (&x * &x).sum();
/// let gradients = y.backward();
/// assert_eq!(gradients.wrt(&x).to_vec::<f64>(), [2.0, 4.0, 6.0]);
/// ```
#[derive(Clone)]
pub struct Var {
    value: Tensor,
    pub(crate) node: Option<Arc<Node>>,
}

impl Var {
    /// A variable that gets a gradient.
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    pub fn leaf(value: Tensor) -> Self {
        assert!(value.dtype().is_float(), "leaf: dtype {} has no gradients", value.dtype());
        let node = Node::leaf(&value);
        Var { value, node: Some(node) }
    }

    /// A variable that never gets a gradient.
    pub fn constant(value: Tensor) -> Self {
        Var { value, node: None }
    }

    pub(crate) fn from_parts(value: Tensor, node: Option<Arc<Node>>) -> Self {
        Var { value, node }
    }

    /// The same value without its history.
    pub fn detach(&self) -> Self {
        Self::constant(self.value.clone())
    }

    /// The value.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// The value of a leaf or constant, to be changed in place (by an optimizer). The leaf stays the same leaf.
    ///
    /// # Panics
    /// If the variable is the result of an op.
    #[track_caller]
    pub fn value_mut(&mut self) -> &mut Tensor {
        if let Some(name) = self.node.as_ref().and_then(|n| n.op_name()) {
            panic!("value_mut: the variable is the result of {name}; only leaves may change");
        }
        &mut self.value
    }

    /// Axis lengths.
    pub fn shape(&self) -> Shape {
        self.value.shape()
    }

    /// Axis lengths as a slice.
    pub fn dims(&self) -> &[usize] {
        self.value.dims()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.value.dtype()
    }

    /// Whether a gradient flows through this variable.
    pub fn requires_grad(&self) -> bool {
        self.node.is_some()
    }

    /// Whether this is a leaf, i.e. can be asked for in [`Gradients`].
    pub fn is_leaf(&self) -> bool {
        self.node.as_ref().is_some_and(|n| n.is_leaf())
    }

    /// Whether both are the same leaf or the same result.
    pub fn same_node(&self, other: &Var) -> bool {
        match (&self.node, &other.node) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }

    /// Bytes of memory that the graph of this variable keeps alive for a backward: everything that ops saved and
    /// checkpoints were given, parameters included, memory shared by several counted once.
    pub fn graph_bytes(&self) -> usize {
        self.node.as_ref().map_or(0, graph::saved_bytes)
    }

    /// Applies an op: the one door through which every differentiable computation goes.
    ///
    /// Where 16-bit floats meet f32 or each other, all are converted to f32 first, as PyTorch promotes them.
    #[track_caller]
    pub fn apply(op: impl Op, inputs: &[&Var]) -> Var {
        Self::apply_with_side(op, inputs).0
    }

    /// Applies an op that also yields non-differentiable side outputs (see [`Saver::side`]).
    #[track_caller]
    pub fn apply_with_side(op: impl Op, inputs: &[&Var]) -> (Var, Vec<Tensor>) {
        if mixes_precisions(inputs) {
            let wide: Vec<Var> = inputs.iter().map(|v| v.to_dtype(DType::F32)).collect();
            return Self::apply_with_side(op, &wide.iter().collect::<Vec<_>>());
        }
        let recording = inputs.iter().any(|v| v.node.is_some());
        let mut saver = Saver::new(recording);
        // Most ops have one to three inputs; a Vec of references is the only allocation of an unrecorded op.
        let values: Vec<&Tensor> = inputs.iter().map(|v| &v.value).collect();
        let begin = trace::begin();
        let y = op.forward(&values, &mut saver);
        if let Some(begin) = begin {
            trace::forward(&op, &values, &y, begin);
        }
        if !recording {
            return (Var::constant(y), saver.side);
        }
        let saved = saver
            .items
            .into_iter()
            .map(|item| {
                let value = match &item {
                    Item::Input(i) => values[*i].clone(),
                    Item::Output => y.clone(),
                    Item::Extra(t) => t.clone(),
                };
                (item, value)
            })
            .collect();
        let edges = inputs.iter().map(|v| v.node.clone()).collect();
        let node = Node::op(&y, Box::new(op), edges, saved);
        (Var { value: y, node: Some(node) }, saver.side)
    }

    /// Gradients of this scalar with respect to every leaf it depends on; frees the graph's saved values.
    ///
    /// # Panics
    /// If there is more than one element, nothing was recorded, or the graph was freed by an earlier backward.
    #[track_caller]
    pub fn backward(&self) -> Gradients {
        self.backward_mode(BackwardMode::default())
    }

    /// As [`backward`](Self::backward), keeping the graph for another one.
    #[track_caller]
    pub fn backward_retain(&self) -> Gradients {
        self.backward_mode(BackwardMode { retain_graph: true, ..Default::default() })
    }

    /// As [`backward`](Self::backward), with gradients that can be differentiated again (`create_graph` of
    /// PyTorch); keeps the graph.
    #[track_caller]
    pub fn backward_create_graph(&self) -> Gradients {
        self.backward_mode(BackwardMode { create_graph: true, retain_graph: true })
    }

    /// The gradients of `sum(dy * self)`.
    ///
    /// # Panics
    /// If the shape of `dy` differs, or as [`backward`](Self::backward).
    #[track_caller]
    pub fn backward_with(&self, dy: &Tensor) -> Gradients {
        assert!(
            dy.shape() == self.shape() && dy.dtype() == self.dtype(),
            "backward: dy is {} {}, the variable is {} {}",
            dy.shape(),
            dy.dtype(),
            self.shape(),
            self.dtype()
        );
        self.backward_from(dy.clone(), BackwardMode::default())
    }

    #[track_caller]
    fn backward_mode(&self, mode: BackwardMode) -> Gradients {
        assert!(
            self.value.numel() == 1,
            "backward: shape {} has {} elements; reduce it to one first or use backward_with",
            self.shape(),
            self.value.numel()
        );
        self.backward_from(self.value.full_like(1.0), mode)
    }

    #[track_caller]
    fn backward_from(&self, dy: Tensor, mode: BackwardMode) -> Gradients {
        let node = self.node.as_ref().unwrap_or_else(|| {
            panic!("backward: the value depends on no leaf, so there is nothing to differentiate")
        });
        graph::backward(node, dy, mode)
    }
}

/// Whether 16-bit floats are among operands of several dtypes, all of at most 32 bits.
fn mixes_precisions(inputs: &[&Var]) -> bool {
    let Some(first) = inputs.first().map(|v| v.dtype()) else { return false };
    inputs.iter().any(|v| v.dtype() != first)
        && inputs.iter().all(|v| v.dtype().is_half() || v.dtype() == DType::F32)
}

impl fmt::Debug for Var {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.node {
            None => "constant",
            Some(n) => n.op_name().unwrap_or("leaf"),
        };
        write!(f, "Var({kind}, {:?})", self.value)
    }
}
