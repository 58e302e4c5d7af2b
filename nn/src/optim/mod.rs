//! Optimizers: from gradients to the next parameters.
//!
//! An optimizer knows parameters by their state-dict names, so its state can be saved, and loaded into a model that was
//! built anew. The learning rate is an argument of each step: schedules are functions beside it, not wrapped around it.
//!
//! ```
//! use autograd::Var;
//! use nn::{Init, Module, ModuleExt, Param, optim::{AdamOptions, AdamW, Groups, Optimizer}};
//! use tensor::{DType, Device};
//!
//! #[derive(Module)]
//! struct Point { x: Param }
//!
//! let mut point = Point { x: Param::new([1], Init::Constant(3.0)) };
//! point.initialize(0, DType::F64, Device::Cpu);
//! let mut optimizer = AdamW::new(AdamOptions::default(), Groups::timm(0.05));
//! for _ in 0..100 {
//!     let loss = (point.x.leaf() * point.x.leaf()).sum();
//!     optimizer.step(&mut point, &loss.backward(), 0.1);
//! }
//! assert!(point.x.value().item().abs() < 0.3);
//! ```

mod adam;
mod clip;
mod groups;
mod sgd;
mod state;

use autograd::Gradients;
use tensor::Tensor;

pub use adam::{Adam, AdamOptions, AdamW};
pub use clip::clip_grad_norm;
pub use groups::{GroupOptions, Groups};
pub use sgd::{Sgd, SgdOptions};

use crate::{Module, ModuleExt, Result};

/// Changes a model's parameters by their gradients.
pub trait Optimizer: Send {
    /// One step with learning rate `lr` (times each parameter's [`GroupOptions::lr_scale`]).
    ///
    /// Frozen parameters and those without a gradient stay as they are, without weight decay, and so does their state,
    /// as in PyTorch. A parameter that should have a gradient and has none is found by [`missing_gradients`].
    ///
    /// # Panics
    /// If a parameter has another shape or dtype than in earlier steps.
    fn step(&mut self, model: &mut dyn Module, gradients: &Gradients, lr: f64);

    /// Everything to save, named `parameter.field` (`layer1.0.conv1.weight.exp_avg`), sorted.
    fn state_dict(&self) -> Vec<(String, Tensor)>;

    /// Replaces the state by a saved one; values are converted to the dtype and device of `model`'s parameters.
    /// Parameters the saved state does not know begin anew. Nothing is changed on error.
    ///
    /// # Errors
    /// [`Error::OptimizerState`](crate::Error::OptimizerState) for names that `model` or this optimizer does not have,
    /// missing fields and wrong shapes.
    fn load_state_dict(&mut self, model: &dyn Module, state: Vec<(String, Tensor)>) -> Result<()>;
}

/// Names of trainable parameters for which there is no gradient: the loss does not depend on them.
pub fn missing_gradients(model: &dyn Module, gradients: &Gradients) -> Vec<String> {
    let params = model.named_parameters().into_iter();
    params
        .filter(|(_, p)| p.requires_grad() && gradients.get(p.leaf()).is_none())
        .map(|(name, _)| name)
        .collect()
}

/// Calls `update` with name, values, gradient and group of every parameter that a step changes.
fn for_each_trained(
    model: &mut dyn Module,
    gradients: &Gradients,
    groups: &Groups,
    mut update: impl FnMut(String, &mut Tensor, &Tensor, GroupOptions),
) {
    for (name, param) in model.named_parameters_mut() {
        if !param.requires_grad() {
            continue;
        }
        if let Some(gradient) = gradients.get(param.leaf()) {
            let options = groups.options(&name, param);
            update(name, param.value_mut(), gradient, options);
        }
    }
}
