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
    let saved = Saved { values, inputs: &record.inputs, node, create_graph: mode.create_graph };
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
        let order = reverse_topological_order(&root);
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
