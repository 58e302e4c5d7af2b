//! Layers that compute nothing.

use autograd::Var;

use crate::{Context, Forward, Module};

/// Passes its input. Same as `torch.nn.Identity`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct Identity;

impl Forward for Identity {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.clone()
    }
}
