//! The recorded graph and the walk back through it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
};

use tensor::{DType, Shape, Tensor};

use crate::{
    Gradients, Var,
    op::{Item, Op, Saved},
};

/// Where a value came from: a leaf, or an op and its inputs.
pub(crate) struct Node {
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    record: Option<Record>,
}

/// The op that made a value. `inputs` are edges, not values: only what the op saved keeps memory alive.
struct Record {
    op: Box<dyn Op>,
    inputs: Vec<Option<Arc<Node>>>,
    /// Taken by the first backward; `None` afterwards.
    saved: Mutex<Option<Vec<(Item, Tensor)>>>,
}

impl Node {
    pub(crate) fn leaf(value: &Tensor) -> Arc<Node> {
        Arc::new(Node { shape: value.shape(), dtype: value.dtype(), record: None })
    }

    pub(crate) fn op(
        value: &Tensor,
        op: Box<dyn Op>,
        inputs: Vec<Option<Arc<Node>>>,
        saved: Vec<(Item, Tensor)>,
    ) -> Arc<Node> {
        let record = Record { op, inputs, saved: Mutex::new(Some(saved)) };
        Arc::new(Node { shape: value.shape(), dtype: value.dtype(), record: Some(record) })
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.record.is_none()
    }

    pub(crate) fn op_name(&self) -> Option<&'static str> {
        self.record.as_ref().map(|r| r.op.name())
    }

    fn inputs(&self) -> &[Option<Arc<Node>>] {
        self.record.as_ref().map_or(&[], |r| &r.inputs)
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.op_name().unwrap_or("leaf"), self.shape, self.dtype)
    }
}

impl Drop for Node {
    /// Frees a long chain of nodes in a loop: the default would recurse once per op and overflow the stack.
    fn drop(&mut self) {
        let mut pending: Vec<Arc<Node>> = match &mut self.record {
            Some(r) => r.inputs.drain(..).flatten().collect(),
            None => return,
        };
        while let Some(node) = pending.pop() {
            if let Some(mut node) = Arc::into_inner(node)
                && let Some(r) = &mut node.record
            {
                pending.extend(r.inputs.drain(..).flatten());
            }
        }
    }
}

/// Nodes from which `root` was computed, every node after all that use it: the order of the walk back.
fn reverse_topological_order(root: &Arc<Node>) -> Vec<Arc<Node>> {
    let mut order = Vec::new();
    let mut seen = std::collections::HashSet::new();
    // (node, next input to look at); an explicit stack, since graphs are deeper than call stacks.
    let mut stack = vec![(root.clone(), 0)];
    seen.insert(Arc::as_ptr(root));
    while let Some((node, next)) = stack.pop() {
        match node.inputs().get(next) {
            None => order.push(node),
            Some(input) => {
                let input = input.clone();
                stack.push((node, next + 1));
                if let Some(input) = input
                    && seen.insert(Arc::as_ptr(&input))
                {
                    stack.push((input, 0));
                }
            }
        }
    }
    order.reverse();
    order
}

/// How a backward treats the graph.
#[derive(Clone, Copy, Default)]
pub(crate) struct BackwardMode {
    /// Record the backward itself, for gradients of gradients.
    pub(crate) create_graph: bool,
    /// Keep saved values for another backward.
    pub(crate) retain_graph: bool,
}

/// Walks back from `root`, whose output gradient is `dy`, and returns the gradients of all leaves.
#[track_caller]
pub(crate) fn backward(root: &Arc<Node>, dy: Tensor, mode: BackwardMode) -> Gradients {
    let mut pending: HashMap<*const Node, Var> = HashMap::new();
    pending.insert(Arc::as_ptr(root), Var::constant(dy));
    let mut gradients = Gradients::default();
    // Consumed from the front, so that each node and what it saved is freed as the walk passes it.
    for node in reverse_topological_order(root) {
        let Some(dy) = pending.remove(&Arc::as_ptr(&node)) else { continue };
        let Some(record) = &node.record else {
            gradients.insert(node, dy);
            continue;
        };
        let saved = {
            let mut slot = record.saved.lock().unwrap_or_else(|e| e.into_inner());
            let kept = if mode.retain_graph { slot.clone() } else { slot.take() };
            kept.unwrap_or_else(|| {
                panic!(
                    "backward: the values saved by {} were freed by an earlier backward; \
                     use backward_retain for all but the last",
                    record.op.name()
                )
            })
        };
        for (input, gradient) in record.inputs.iter().zip(step(&node, record, &saved, &dy, mode)) {
            let (Some(input), Some(gradient)) = (input, gradient) else { continue };
            let gradient = gradient.sum_to(input.shape);
            match pending.entry(Arc::as_ptr(input)) {
                std::collections::hash_map::Entry::Vacant(e) => {
                    e.insert(gradient);
                }
                std::collections::hash_map::Entry::Occupied(mut e) => {
                    let sum = e.get() + &gradient;
                    e.insert(sum);
                }
            }
        }
    }
    gradients
}

/// The gradients of one op's inputs.
fn step(
    node: &Arc<Node>,
    record: &Record,
    values: &[(Item, Tensor)],
    dy: &Var,
    mode: BackwardMode,
) -> Vec<Option<Var>> {
    let wanted: Vec<bool> = record.inputs.iter().map(Option::is_some).collect();
    let saved = Saved {
        op: record.op.name(),
        values,
        inputs: &record.inputs,
        node,
        create_graph: mode.create_graph,
    };
    let gradients = record.op.backward(&saved, dy, &wanted);
    assert!(
        gradients.len() == wanted.len()
            && gradients.iter().zip(&wanted).all(|(g, &w)| g.is_some() || !w),
        "{}: backward must return one gradient per wanted input ({} inputs, {} entries)",
        record.op.name(),
        wanted.len(),
        gradients.len()
    );
    gradients.into_iter().zip(wanted).map(|(g, w)| g.filter(|_| w)).collect()
}
