//! [`clip_grad_norm`].

use autograd::Gradients;
use tensor::sum_of_squares;

use crate::{Module, ModuleExt, Param};

/// Scales all gradients by `min(1, max_norm / (norm + 1e-6))` and returns `norm`, the Euclidean norm of all of them
/// together before.
///
/// Same as `torch.nn.utils.clip_grad_norm_`. A norm that is not finite makes the gradients useless, as there: check what
/// is returned.
pub fn clip_grad_norm(gradients: &mut Gradients, model: &dyn Module, max_norm: f64) -> f64 {
    let params: Vec<&Param> = model
        .named_parameters()
        .into_iter()
        .map(|(_, p)| p)
        .filter(|p| p.is_initialized() && gradients.get(p.leaf()).is_some())
        .collect();
    let norm = sum_of_squares(params.iter().filter_map(|p| gradients.get(p.leaf()))).sqrt();
    let factor = max_norm / (norm + 1e-6);
    // A NaN has to go on into the gradients.
    if factor < 1.0 || factor.is_nan() {
        for p in params {
            let clipped = gradients.wrt(p.leaf()).mul_scalar(factor);
            gradients.set(p.leaf(), clipped);
        }
    }
    norm
}
