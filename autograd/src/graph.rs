//! The recorded graph and the walk back through it.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fmt,
    sync::{Arc, Mutex},
};

use tensor::{DType, Shape, Tensor};

use crate::{
    Gradients, Var,
    checkpoint::Recompute,
    op::{Item, Op, Saved},
    trace,
};

/// Where a value came from: a leaf, or an op and its inputs.
pub(crate) struct Node {
    pub(crate) shape: Shape,
    pub(crate) dtype: DType,
    record: Option<Record>,
}

/// The op that made a value. `inputs` are edges, not values: only what the op saved keeps memory alive.
struct Record {
    origin: Origin,
    inputs: Vec<Option<Arc<Node>>>,
    /// The module that ran the op, if somebody watches.
    scope: Option<Arc<str>>,
}

/// What made a value, and what its backward needs: taken by the first backward, `None` afterwards.
enum Origin {
    Op { op: Box<dyn Op>, saved: Mutex<Option<Vec<(Item, Tensor)>>> },
    Checkpoint(Mutex<Option<Recompute>>),
}

impl Origin {
    fn name(&self) -> &'static str {
        match self {
            Origin::Op { op, .. } => op.name(),
            Origin::Checkpoint(_) => "checkpoint",
        }
    }

    /// What was kept for the backward, which is given away unless the graph shall be retained.
    #[track_caller]
    fn kept<T: Clone>(&self, slot: &Mutex<Option<T>>, retain: bool) -> T {
        let mut slot = slot.lock().unwrap_or_else(|e| e.into_inner());
        let kept = if retain { slot.clone() } else { slot.take() };
        kept.unwrap_or_else(|| {
            panic!(
                "backward: the values saved by {} were freed by an earlier backward; \
                 use backward_retain for all but the last",
                self.name()
            )
        })
    }
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
        let origin = Origin::Op { op, saved: Mutex::new(Some(saved)) };
        Self::new(value, origin, inputs)
    }

    /// A value to be computed again in the backward, from `inputs` and from leaves.
    pub(crate) fn checkpoint(
        value: &Tensor,
        recompute: Recompute,
        inputs: Vec<Option<Arc<Node>>>,
    ) -> Arc<Node> {
        let origin = Origin::Checkpoint(Mutex::new(Some(recompute)));
        Self::new(value, origin, inputs)
    }

    fn new(value: &Tensor, origin: Origin, inputs: Vec<Option<Arc<Node>>>) -> Arc<Node> {
        let record = Record { origin, inputs, scope: trace::scope() };
        Arc::new(Node { shape: value.shape(), dtype: value.dtype(), record: Some(record) })
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.record.is_none()
    }

    pub(crate) fn op_name(&self) -> Option<&'static str> {
        self.record.as_ref().map(|r| r.origin.name())
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

/// Leaves from which `root` was computed.
pub(crate) fn leaves(root: &Arc<Node>) -> Vec<Arc<Node>> {
    let order = reverse_topological_order(root, &HashSet::new());
    order.into_iter().filter(|node| node.is_leaf()).collect()
}

/// Bytes of memory that the graph behind `root` keeps alive for a backward, shared memory counted once.
pub(crate) fn saved_bytes(root: &Arc<Node>) -> usize {
    let mut memory = HashMap::new();
    for node in reverse_topological_order(root, &HashSet::new()) {
        let Some(record) = &node.record else { continue };
        let mut add = |t: &Tensor| {
            let (address, bytes) = t.storage_extent();
            memory.insert(address, bytes);
        };
        match &record.origin {
            Origin::Op { saved, .. } => {
                let saved = saved.lock().unwrap_or_else(|e| e.into_inner());
                saved.iter().flatten().for_each(|(_, t)| add(t));
            }
            Origin::Checkpoint(slot) => {
                let slot = slot.lock().unwrap_or_else(|e| e.into_inner());
                slot.iter().flat_map(|r| &r.inputs).for_each(add);
            }
        }
    }
    memory.values().sum()
}

/// Nodes from which `root` was computed, every node after all that use it: the order of the walk back. It does not go
/// beyond the nodes of `ends`.
fn reverse_topological_order(root: &Arc<Node>, ends: &HashSet<*const Node>) -> Vec<Arc<Node>> {
    let mut order = Vec::new();
    let mut seen = HashSet::new();
    // (node, next input to look at); an explicit stack, since graphs are deeper than call stacks.
    let mut stack = vec![(root.clone(), 0)];
    seen.insert(Arc::as_ptr(root));
    while let Some((node, next)) = stack.pop() {
        let inputs = if ends.contains(&Arc::as_ptr(&node)) { &[] } else { node.inputs() };
        match inputs.get(next) {
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
    let mut walk = Walk::default();
    walk.pending.insert(Arc::as_ptr(root), Var::constant(dy));
    walk.back(root, mode, &HashSet::new());
    walk.gradients
}

/// A walk back under way.
#[derive(Default)]
struct Walk {
    /// Sums of the gradients that have arrived at nodes not passed yet.
    pending: HashMap<*const Node, Var>,
    gradients: Gradients,
}

impl Walk {
    /// Passes every node behind `root`; the gradients of the nodes in `ends` stay pending.
    #[track_caller]
    fn back(&mut self, root: &Arc<Node>, mode: BackwardMode, ends: &HashSet<*const Node>) {
        // Consumed from the front, so that each node and what it saved is freed as the walk passes it.
        for node in reverse_topological_order(root, ends) {
            if ends.contains(&Arc::as_ptr(&node)) {
                continue;
            }
            let Some(dy) = self.pending.remove(&Arc::as_ptr(&node)) else { continue };
            let Some(record) = &node.record else {
                self.gradients.insert(node, dy);
                continue;
            };
            match &record.origin {
                Origin::Op { op, saved } => {
                    let saved = record.origin.kept(saved, mode.retain_graph);
                    let begin = trace::begin();
                    let gradients = step(&node, &**op, &record.inputs, &saved, &dy, mode);
                    if let Some(begin) = begin {
                        let scope = record.scope.as_deref();
                        trace::backward(op.name(), scope, &dy, &gradients, begin);
                    }
                    for (input, gradient) in record.inputs.iter().zip(gradients) {
                        if let (Some(input), Some(gradient)) = (input, gradient) {
                            self.add(input, gradient.sum_to(input.shape).to_dtype(input.dtype));
                        }
                    }
                }
                Origin::Checkpoint(slot) => {
                    let recompute = record.origin.kept(slot, mode.retain_graph);
                    self.recompute(&node, &recompute, &record.inputs, dy, mode);
                }
            }
        }
    }

    fn add(&mut self, node: &Arc<Node>, gradient: Var) {
        match self.pending.entry(Arc::as_ptr(node)) {
            Entry::Vacant(e) => {
                e.insert(gradient);
            }
            Entry::Occupied(mut e) => {
                let sum = e.get() + &gradient;
                e.insert(sum);
            }
        }
    }

    /// Computes a checkpoint's value again, recorded, and walks back through it to its inputs and leaves. Their
    /// gradients are added up in the order in which a graph without the checkpoint would: same bits.
    #[track_caller]
    fn recompute(
        &mut self,
        node: &Node,
        recompute: &Recompute,
        inputs: &[Option<Arc<Node>>],
        dy: Var,
        mode: BackwardMode,
    ) {
        let y = recompute.run(inputs);
        assert!(
            y.shape() == node.shape && y.dtype() == node.dtype,
            "checkpoint: computed again the value is {} {}, at first it was {} {}; the function must \
             depend on its arguments only",
            y.shape(),
            y.dtype(),
            node.shape,
            node.dtype
        );
        // Nothing recorded: the value depends on none of the inputs after all.
        let Some(root) = &y.node else { return };
        let ends: HashSet<*const Node> = inputs.iter().flatten().map(Arc::as_ptr).collect();
        self.add(root, dy);
        // What was just recorded is used once, unless its gradients become part of a graph.
        let mode = if mode.create_graph { mode } else { BackwardMode::default() };
        self.back(root, mode, &ends);
    }
}

/// The gradients of one op's inputs.
#[track_caller]
fn step(
    node: &Arc<Node>,
    op: &dyn Op,
    inputs: &[Option<Arc<Node>>],
    values: &[(Item, Tensor)],
    dy: &Var,
    mode: BackwardMode,
) -> Vec<Option<Var>> {
    let wanted: Vec<bool> = inputs.iter().map(Option::is_some).collect();
    let saved = Saved { values, inputs, node, create_graph: mode.create_graph };
    let gradients = op.backward(&saved, dy, &wanted);
    assert!(
        gradients.len() == wanted.len()
            && gradients.iter().zip(&wanted).all(|(g, &w)| g.is_some() || !w),
        "{}: backward must return one gradient per wanted input ({} inputs, {} entries)",
        op.name(),
        wanted.len(),
        gradients.len()
    );
    gradients.into_iter().zip(wanted).map(|(g, w)| g.filter(|_| w)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Saver;

    fn leaf(values: &[f64]) -> Var {
        Var::leaf(Tensor::new(values, [values.len()]))
    }

    /// Doubles; holds a token, so that a test sees when the graph lets go of the op.
    #[derive(Debug)]
    struct Token(#[expect(dead_code, reason = "held for its reference count")] Arc<()>);

    impl Op for Token {
        fn name(&self) -> &'static str {
            "token"
        }
        fn forward(&self, x: &[&Tensor], _: &mut Saver) -> Tensor {
            x[0].mul_scalar(2.0)
        }
        fn backward(&self, _: &Saved, dy: &Var, _: &[bool]) -> Vec<Option<Var>> {
            vec![Some(Var::constant(dy.value().mul_scalar(2.0)))]
        }
    }

    fn token(x: &Var, token: &Arc<()>) -> Var {
        Var::apply(Token(token.clone()), &[x])
    }

    #[test]
    fn a_graph_without_a_backward_is_freed_with_its_variables() {
        let alive = Arc::new(());
        let x = leaf(&[1.0, 2.0]);
        let mut y = token(&x, &alive);
        for _ in 0..9 {
            y = token(&y, &alive);
        }
        assert_eq!(Arc::strong_count(&alive), 11);
        drop(y);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn nodes_are_freed_while_the_walk_passes_them() {
        let alive = Arc::new(());
        let x = leaf(&[1.0]);
        let mut y = token(&x, &alive);
        for _ in 0..9 {
            y = token(&y, &alive);
        }
        let root = y.node.clone().unwrap();
        drop(y);
        let order = reverse_topological_order(&root, &HashSet::new());
        drop(root);
        assert_eq!(order.len(), 11);
        let mut left = Vec::new();
        for node in order {
            drop(node);
            left.push(Arc::strong_count(&alive) - 1);
        }
        assert_eq!(left[..11], [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]);
    }

    #[test]
    fn a_graph_deeper_than_the_stack_is_walked_and_freed() {
        let x = leaf(&[1.0]);
        let mut y = x.clone();
        for _ in 0..200_000 {
            y = &y + &x;
        }
        assert_eq!(y.backward().wrt(&x).item(), 200_001.0);
    }

    #[test]
    fn nothing_is_recorded_without_a_leaf() {
        let alive = Arc::new(());
        let y = token(&Var::constant(Tensor::scalar(1.0f64)), &alive);
        assert!(!y.requires_grad());
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    #[should_panic(
        expected = "backward: the values saved by mul were freed by an earlier backward"
    )]
    fn a_second_backward_says_what_to_do() {
        let x = leaf(&[2.0]);
        let y = &x * &x;
        y.backward();
        y.backward();
    }

    #[test]
    fn a_retained_graph_gives_the_same_gradients_again() {
        let x = leaf(&[2.0]);
        let y = &x * &x;
        assert_eq!(y.backward_retain().wrt(&x).item(), 4.0);
        assert_eq!(y.backward().wrt(&x).item(), 4.0);
    }

    #[test]
    #[should_panic(
        expected = "gradients: the differentiated value does not depend on this leaf of shape [2]"
    )]
    fn a_leaf_without_a_gradient_is_named() {
        let (x, other) = (leaf(&[2.0]), leaf(&[1.0, 1.0]));
        (&x * &x).backward().wrt(&other);
    }

    #[test]
    #[should_panic(expected = "is the result of mul, not a leaf")]
    fn a_result_is_no_leaf() {
        let x = leaf(&[2.0]);
        let y = &x * &x;
        y.backward_retain().wrt(&y);
    }

    #[test]
    #[should_panic(expected = "backward: shape [2] has 2 elements; reduce it to one first")]
    fn backward_wants_a_scalar() {
        leaf(&[1.0, 2.0]).mul(&leaf(&[1.0, 2.0])).backward();
    }

    #[test]
    fn gradients_accumulate() {
        let x = leaf(&[2.0]);
        let mut sum = (&x * &x).backward();
        sum.accumulate((&x + &x).backward());
        assert_eq!(sum.wrt(&x).item(), 6.0);
    }
}
