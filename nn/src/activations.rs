//! [`activations`]: what the layers of a model compute, by name.

use autograd::Var;
use tensor::Tensor;

use crate::{Context, Forward};

/// The outputs of all modules of `model` for whose path (`layer1.0.conv1`) `which` is true, in evaluation mode and in the
/// order in which they are computed; a module that is called twice is there twice.
///
/// What representational similarity is computed from. Same as forward hooks of PyTorch.
///
/// ```
/// use autograd::Var;
/// use nn::{ModuleExt, activations, layers::{Linear, ReLU, Sequential}};
/// use tensor::{DType, Device, Tensor};
///
/// let mut net = Sequential::new().with(Linear::new(4, 3)).with(ReLU).with(Linear::new(3, 2));
/// net.initialize(0, DType::F32, Device::Cpu);
/// let x = Var::constant(Tensor::ones([5, 4], DType::F32, Device::Cpu));
/// let captured = activations(&net, &x, |path| ["1", "2"].contains(&path));
/// assert_eq!(captured[0].0, "1");
/// assert_eq!((captured[0].1.dims(), captured[1].1.dims()), (&[5, 3][..], &[5, 2][..]));
/// ```
pub fn activations(
    model: &dyn Forward,
    x: &Var,
    which: impl Fn(&str) -> bool,
) -> Vec<(String, Tensor)> {
    let mut captured = Vec::new();
    let mut cx = Context::eval().with_observer(model, |event| {
        if which(event.path) {
            captured.push((event.path.to_owned(), event.output.value().clone()));
        }
    });
    model.call(x, &mut cx);
    drop(cx);
    captured
}
