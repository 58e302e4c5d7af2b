//! The [`Op`] trait: a differentiable operation says its forward, its derivative and its cost once.

use std::fmt::Debug;
use std::sync::Arc;

use tensor::{Shape, Tensor};

use crate::{Var, graph::Node};

/// A differentiable operation with one differentiable output.
///
/// The engine owns everything around the formula: it adds gradients up, sums them over broadcast axes
/// (a derivative may be returned in the output's shape) and knows who needs one.
///
/// To add an op: a kernel in `tensor` if none serves, one struct in `ops/<family>.rs`, one [`OpInfo`](crate::OpInfo) in
/// that file's list.
pub trait Op: Debug + Send + Sync + 'static {
    /// Name in messages, profiles and the op table; PyTorch's where there is one.
    fn name(&self) -> &'static str;

    /// Computes the output and says through `saver` what the derivative will need.
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor;

    /// The gradients of the inputs from the gradient `dy` of the output.
    ///
    /// Returns one entry per input; only entries with `wanted[i]` are used, and computing the others is a bug.
    /// Written with `Var`s, so that a gradient of a gradient comes for free; nothing is recorded unless one
    /// was asked for. A fused kernel, which has no derivative of its own, is for the ordinary backward only: where
    /// [`Saved::create_graph`] is true the same formula must be written with `Var`s.
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>>;

    /// Multiply-accumulates of one forward, from the shapes of the inputs and of the output. 0 for anything but
    /// convolutions and matrix products, which is how papers count.
    fn macs(&self, _inputs: &[Shape], _output: &Shape) -> u64 {
        0
    }
}

/// Collects during [`Op::forward`] what [`Op::backward`] will need, and side outputs.
#[derive(Debug)]
pub struct Saver {
    recording: bool,
    pub(crate) items: Vec<Item>,
    pub(crate) side: Vec<Tensor>,
}

#[derive(Clone, Debug)]
pub(crate) enum Item {
    Input(usize),
    Output,
    Extra(Tensor),
}

impl Saver {
    pub(crate) fn new(recording: bool) -> Self {
        Saver { recording, items: Vec::new(), side: Vec::new() }
    }

    /// Whether a derivative may be asked for; if not, there is no need to compute extras for it.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// Keeps input `index`.
    pub fn input(&mut self, index: usize) {
        self.items.push(Item::Input(index));
    }

    /// Keeps the output.
    pub fn output(&mut self) {
        self.items.push(Item::Output);
    }

    /// Keeps an intermediate result; it is a constant to a second derivative.
    pub fn extra(&mut self, tensor: Tensor) {
        if self.recording {
            self.items.push(Item::Extra(tensor));
        }
    }

    /// Hands a non-differentiable side output (batch statistics, arg-max) to the caller of
    /// [`Var::apply_with_side`].
    pub fn side(&mut self, tensor: Tensor) {
        self.side.push(tensor);
    }
}

/// What [`Op::forward`] kept, in the order in which it was kept.
#[derive(Debug)]
pub struct Saved<'a> {
    pub(crate) values: &'a [(Item, Tensor)],
    pub(crate) inputs: &'a [Option<Arc<Node>>],
    pub(crate) node: &'a Arc<Node>,
    pub(crate) create_graph: bool,
}

impl Saved<'_> {
    /// Kept value `index` as a `Var`, connected to the graph if a second derivative was asked for.
    pub fn var(&self, index: usize) -> Var {
        let (item, value) = &self.values[index];
        let node = match item {
            _ if !self.create_graph => None,
            Item::Input(i) => self.inputs[*i].clone(),
            Item::Output => Some(self.node.clone()),
            Item::Extra(_) => None,
        };
        Var::from_parts(value.clone(), node)
    }

    /// Kept value `index` for formulas that have the same second derivative with or without it (a mask, indices),
    /// and for fused kernels, which run only without [`create_graph`](Self::create_graph).
    pub fn tensor(&self, index: usize) -> &Tensor {
        &self.values[index].1
    }

    /// Number of kept values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether nothing was kept.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether the gradients will be differentiated again: then they must be computed by differentiable ops.
    pub fn create_graph(&self) -> bool {
        self.create_graph
    }
}
