//! [`Checkpoint`]: a block that is computed again in the backward instead of being stored.

use std::sync::Arc;

use autograd::Var;

use crate::{
    Context, Forward, Module, ModuleExt,
    module::{Child, ChildMut, Field, collect_module, collect_module_mut},
};

/// A block of which only the input is kept for the backward, which computes it a second time: less memory for one more
/// forward.
///
/// The state dict is the block's, gradients are the same bits as without it, random numbers are the same in both
/// forwards, and running statistics move once. Same as `torch.utils.checkpoint.checkpoint` around a module.
///
/// The graph of a forward shares the block until its backward, so parameters cannot change before that.
///
/// ```
/// use autograd::Var;
/// use nn::{Context, Forward, ModuleExt, layers::{Checkpoint, Linear, ReLU, Sequential}};
/// use tensor::{DType, Device, Stream, Tensor};
///
/// let block = || Sequential::new().with(Linear::new(4, 4)).with(ReLU);
/// let mut net = Sequential::new().with(Checkpoint::new(block())).with(Checkpoint::new(block()));
/// net.initialize(0, DType::F32, Device::Cpu);
/// let x = Var::constant(Tensor::ones([2, 4], DType::F32, Device::Cpu));
/// let gradients = net.call(&x, &mut Context::train(Stream::new(1))).sum().backward();
/// assert_eq!(gradients.len(), 4);
/// ```
#[derive(Debug)]
pub struct Checkpoint<M> {
    block: Arc<M>,
}

impl<M: Forward> Checkpoint<M> {
    /// Checkpoints `block`.
    pub fn new(block: M) -> Self {
        Checkpoint { block: Arc::new(block) }
    }

    /// The block.
    pub fn block(&self) -> &M {
        &self.block
    }
}

impl<M: Forward> Module for Checkpoint<M> {
    fn type_name(&self) -> &'static str {
        self.block.type_name()
    }
    fn children(&self) -> Vec<(String, Child<'_>)> {
        self.block.children()
    }
    /// # Panics
    /// If a graph that awaits its backward uses the block.
    fn children_mut(&mut self) -> Vec<(String, ChildMut<'_>)> {
        let block = Arc::get_mut(&mut self.block).expect(
            "Checkpoint: a graph that awaits its backward uses this block; call backward or drop what was computed \
             before changing parameters",
        );
        block.children_mut()
    }
}

impl<M: Forward> Field for Checkpoint<M> {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        collect_module(self, name, out);
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        collect_module_mut(self, name, out);
    }
}

impl<M: Forward> Forward for Checkpoint<M> {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        if !cx.is_recording() {
            return self.block.forward(x, cx);
        }
        let mode = cx.mode().clone();
        let y = cx.unrecorded(|cx| self.block.forward(&x.detach(), cx));
        let parameters = self.block.named_parameters();
        let trained = parameters.iter().filter(|(_, p)| p.requires_grad());
        let leaves: Vec<&Var> = trained.map(|(_, p)| p.leaf()).collect();
        let block = self.block.clone();
        Var::recomputed(y.value(), &[x], &leaves, move |v| {
            block.forward(&v[0], &mut Context::replaying(&mode))
        })
    }

    fn macs(&self, input: &tensor::Shape, output: &tensor::Shape) -> u64 {
        self.block.macs(input, output)
    }
}
