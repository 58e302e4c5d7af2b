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

/// Joins all axes but the first: `[N, …]` to `[N, …·…]`. Same as `torch.nn.Flatten()`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct Flatten;

impl Forward for Flatten {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.flatten(1)
    }
}
