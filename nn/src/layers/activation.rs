//! Functions of single elements as layers.

use autograd::Var;

use crate::{Context, Forward, Module};

/// `max(x, 0)`. Same as `torch.nn.ReLU`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct ReLU;

impl Forward for ReLU {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.relu()
    }
}

/// Gaussian error linear unit `x Φ(x)`, with the exact `Φ`. Same as `torch.nn.GELU()`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct GELU;

impl Forward for GELU {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.gelu()
    }
}

/// Exponential linear unit: `x` where positive, else `alpha (e^x - 1)`. Same as `torch.nn.ELU`.
#[derive(Clone, Copy, Debug, Module)]
pub struct ELU {
    /// How far down it goes. Default 1.
    #[module(skip)]
    pub alpha: f64,
}

impl Default for ELU {
    fn default() -> Self {
        ELU { alpha: 1.0 }
    }
}

impl Forward for ELU {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.elu(self.alpha)
    }
}

/// `1 / (1 + e^-x)`. Same as `torch.nn.Sigmoid`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct Sigmoid;

impl Forward for Sigmoid {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.sigmoid()
    }
}

/// Hyperbolic tangent. Same as `torch.nn.Tanh`.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct Tanh;

impl Forward for Tanh {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.tanh()
    }
}

/// `ln(1 + e^x)`, and `x` where `x > 20`. Same as `torch.nn.Softplus` with its defaults.
#[derive(Clone, Copy, Debug, Default, Module)]
pub struct Softplus;

impl Forward for Softplus {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.softplus()
    }
}
