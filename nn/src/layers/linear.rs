//! [`Linear`].

use autograd::Var;
use tensor::Shape;

use crate::{Context, Forward, Init, Module, Param};

/// `y = x weight^T + bias` over the last axis: `[…, I]` to `[…, O]`.
///
/// Weight `[O, I]` and bias `[O]` start uniform in `±1/sqrt(I)`. Same as `torch.nn.Linear`.
#[derive(Module)]
pub struct Linear {
    /// `[O, I]`.
    pub weight: Param,
    /// `[O]`.
    pub bias: Option<Param>,
}

impl Linear {
    /// With a bias.
    pub fn new(in_features: usize, out_features: usize) -> Self {
        let init = Init::fan_in_uniform(in_features);
        Linear {
            weight: Param::new([out_features, in_features], init.clone()),
            bias: Some(Param::new([out_features], init)),
        }
    }

    /// Without a bias.
    pub fn without_bias(in_features: usize, out_features: usize) -> Self {
        Linear { bias: None, ..Self::new(in_features, out_features) }
    }
}

impl Forward for Linear {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let operand = |p: &Param| cx.product_operand(&cx.var(p));
        cx.product_operand(x)
            .linear(&operand(&self.weight), self.bias.as_ref().map(operand).as_ref())
    }

    fn macs(&self, _input: &Shape, output: &Shape) -> u64 {
        (output.numel() * self.weight.shape()[1]) as u64
    }
}
