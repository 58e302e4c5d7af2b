//! Activation checkpointing: what a part of a graph would save is computed again in the backward instead.

use std::{fmt, sync::Arc};

use tensor::Tensor;

use crate::{
    Var,
    graph::{self, Node},
};

type Function = dyn Fn(&[Var]) -> Var + Send + Sync;

/// How a checkpoint's value is computed again.
#[derive(Clone)]
pub(crate) struct Recompute {
    pub(crate) inputs: Vec<Tensor>,
    f: Arc<Function>,
}

impl Recompute {
    /// The value once more, recorded. `nodes` begins with those of the inputs, so that the new graph ends where the
    /// checkpoint began.
    pub(crate) fn run(&self, nodes: &[Option<Arc<Node>>]) -> Var {
        let inputs = self.inputs.iter().zip(nodes);
        let inputs: Vec<Var> =
            inputs.map(|(value, node)| Var::from_parts(value.clone(), node.clone())).collect();
        (self.f)(&inputs)
    }
}

impl fmt::Debug for Recompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recompute").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

/// `f(inputs)`, of which only `inputs` are kept: the backward computes it a second time.
///
/// Costs one more forward of `f` and saves the memory of everything recorded in it. Gradients are the same bits as without
/// the checkpoint, those of gradients too. Leaves that `f` holds get their gradients as well; but while `f` runs forward
/// the first time the part of it that depends on them is recorded and let go at its end, so parameters are better
/// given as inputs. Same as `torch.utils.checkpoint.checkpoint`, without its care for random numbers: streams are values,
/// and `f` cannot advance what it holds.
///
/// `f` must depend on its arguments only, and must not hold results of ops on leaves: give those as inputs.
///
/// ```
/// use autograd::{Var, checkpoint};
/// use tensor::{Stream, Tensor};
///
/// let x = Var::leaf(Tensor::new(&[0.5f64, -1.5], [2]));
/// let stream = Stream::new(7);
/// let y = checkpoint(move |v| v[0].exp().dropout(0.5, &mut stream.clone()).square(), &[&x]);
/// assert_eq!(y.sum().backward().wrt(&x).dims(), [2]);
/// ```
///
/// # Panics
/// In the backward, if `f` gives another shape or dtype than at first.
#[track_caller]
pub fn checkpoint(f: impl Fn(&[Var]) -> Var + Send + Sync + 'static, inputs: &[&Var]) -> Var {
    let constants: Vec<Var> = inputs.iter().map(|v| v.detach()).collect();
    let y = f(&constants);
    let leaves = y.node.as_ref().map(graph::leaves).unwrap_or_default();
    attach(y.value(), inputs, leaves, f)
}

impl Var {
    /// A value that was computed as `f(inputs)` without recording; the backward computes it again, recorded.
    ///
    /// What [`checkpoint`] does once the value is there, for functions that record only when told to: `leaves` are all the
    /// leaves that `f` uses beside its inputs.
    ///
    /// # Panics
    /// As [`checkpoint`].
    #[track_caller]
    pub fn recomputed(
        value: &Tensor,
        inputs: &[&Var],
        leaves: &[&Var],
        f: impl Fn(&[Var]) -> Var + Send + Sync + 'static,
    ) -> Var {
        attach(value, inputs, leaves.iter().filter_map(|v| v.node.clone()).collect(), f)
    }
}

fn attach(
    value: &Tensor,
    inputs: &[&Var],
    leaves: Vec<Arc<Node>>,
    f: impl Fn(&[Var]) -> Var + Send + Sync + 'static,
) -> Var {
    let nodes = inputs.iter().map(|v| v.node.clone()).chain(leaves.into_iter().map(Some));
    let nodes: Vec<_> = nodes.collect();
    if nodes.iter().all(Option::is_none) {
        return Var::constant(value.clone());
    }
    let inputs = inputs.iter().map(|v| v.value().clone()).collect();
    let node = Node::checkpoint(value, Recompute { inputs, f: Arc::new(f) }, nodes);
    Var::from_parts(value.clone(), Some(node))
}

#[cfg(test)]
mod tests {
    use tensor::{DType, Device, Stream};

    use super::*;
    use crate::gradcheck::{gradcheck, gradgradcheck};

    fn random(shape: [usize; 2], seed: u64) -> Tensor {
        Tensor::randn(shape, DType::F64, Device::Cpu, &mut Stream::new(seed))
    }

    /// A residual block with dropout: `x` is used twice inside.
    fn block(v: &[Var]) -> Var {
        let h = v[0].linear(&v[1], None).tanh().dropout(0.3, &mut Stream::new(5));
        &v[0] + h.gelu()
    }

    type Block = fn(&[Var]) -> Var;

    fn plain(v: &[Var]) -> Var {
        block(v)
    }

    fn checkpointed(v: &[Var]) -> Var {
        checkpoint(block, &[&v[0], &v[1]])
    }

    /// Four blocks with shared weights, so that gradients from several blocks meet.
    fn net(part: Block, x: &Var, w: &Var) -> Var {
        (0..4).fold(x.clone(), |x, _| part(&[x, w.clone()]))
    }

    #[test]
    fn gradients_are_the_same_bits() {
        let (x, w) = (Var::leaf(random([3, 8], 1)), Var::leaf(random([8, 8], 2)));
        let [a, b] = [plain as Block, checkpointed].map(|f| net(f, &x, &w).square().sum());
        assert_eq!(a.value().item().to_bits(), b.value().item().to_bits());
        let (a, b) = (a.backward(), b.backward());
        for v in [&x, &w] {
            assert_eq!(a.wrt(v).to_vec::<f64>(), b.wrt(v).to_vec::<f64>());
        }
    }

    #[test]
    fn leaves_that_the_function_holds_get_their_gradients() {
        let (x, w) = (Var::constant(random([3, 8], 1)), Var::leaf(random([8, 8], 2)));
        let held = w.clone();
        let y = checkpoint(move |v| block(&[v[0].clone(), held.clone()]), &[&x]);
        let expected = block(&[x, w.clone()]).sum().backward();
        assert_eq!(y.sum().backward().wrt(&w).to_vec::<f64>(), expected.wrt(&w).to_vec::<f64>());
    }

    #[test]
    fn a_checkpoint_inside_a_checkpoint_and_one_that_is_retained() {
        let (x, w) = (Var::leaf(random([3, 8], 1)), Var::leaf(random([8, 8], 2)));
        let nested = checkpoint(|v| net(checkpointed, &v[0], &v[1]), &[&x, &w]).sum();
        let expected = net(plain, &x, &w).sum().backward();
        for g in [nested.backward_retain(), nested.backward()] {
            assert_eq!(g.wrt(&w).to_vec::<f64>(), expected.wrt(&w).to_vec::<f64>());
            assert_eq!(g.wrt(&x).to_vec::<f64>(), expected.wrt(&x).to_vec::<f64>());
        }
    }

    #[test]
    fn memory_falls_to_the_inputs_of_the_blocks() {
        let (n, c) = (64, 8);
        let (x, w) = (Var::leaf(random([n, c], 1)), Var::leaf(random([c, c], 2)));
        let (plain, checkpointed) = (net(plain, &x, &w), net(checkpointed, &x, &w));
        let activation = n * c * 8;
        // Per block: its input (for linear), the tangent's output, the input of gelu; dropout keeps its mask in the op.
        assert_eq!(plain.graph_bytes(), 4 * 3 * activation + c * c * 8);
        assert_eq!(checkpointed.graph_bytes(), 4 * activation + c * c * 8);
    }

    #[test]
    fn derivatives_are_right_to_the_second_order() {
        let inputs = [random([2, 3], 1), random([3, 3], 2)];
        gradcheck(|v| net(checkpointed, &v[0], &v[1]), &inputs).unwrap();
        gradgradcheck(|v| net(checkpointed, &v[0], &v[1]), &inputs).unwrap();
    }

    #[test]
    fn constants_are_not_recorded_and_an_unused_input_gets_nothing() {
        let (x, w) = (Var::leaf(random([3, 8], 1)), Var::leaf(random([8, 8], 2)));
        let y = checkpoint(|v| v[0].exp(), &[&x.detach()]);
        assert!(!y.requires_grad());
        let y = checkpoint(|v| v[0].exp(), &[&x, &w]);
        assert!(y.sum().backward().get(&w).is_none());
    }

    #[test]
    #[should_panic(expected = "the values saved by checkpoint were freed by an earlier backward")]
    fn a_second_backward_says_what_to_do() {
        let x = Var::leaf(random([3, 8], 1));
        let y = checkpoint(|v| v[0].exp().sum(), &[&x]);
        y.backward();
        y.backward();
    }
}
