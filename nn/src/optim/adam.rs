//! [`Adam`] and [`AdamW`].

use std::collections::BTreeMap;

use autograd::Gradients;
use tensor::{AdamStep, Tensor};

use super::{Groups, Optimizer, for_each_trained, state};
use crate::{Module, Result};

/// The options of [`Adam`] and [`AdamW`]; weight decay is a matter of their [`Groups`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions {
    /// Decay of the running means of the gradient and of its square. Default 0.9 and 0.999.
    pub betas: [f64; 2],
    /// Added to the root of the second mean. Default 1e-8.
    pub eps: f64,
}

impl Default for AdamOptions {
    fn default() -> Self {
        AdamOptions { betas: [0.9, 0.999], eps: 1e-8 }
    }
}

/// Adam with weight decay added to the gradient (L2): with `g = gradient + weight_decay · x` and `t` counting a
/// parameter's steps from 1,
///
/// ```text
/// m ← β₁ m + (1 - β₁) g        v ← β₂ v + (1 - β₂) g²
/// x ← x - lr · (m / (1 - β₁ᵗ)) / (√(v / (1 - β₂ᵗ)) + eps)
/// ```
///
/// State: `exp_avg`, `exp_avg_sq`, `step`. Same as `torch.optim.Adam`. Source: Kingma and Ba 2015, algorithm 1.
#[derive(Debug)]
pub struct Adam(Core);

/// Adam with decoupled weight decay: `x ← x (1 - lr · weight_decay)`, then [`Adam`]'s step with the bare gradient.
///
/// Same as `torch.optim.AdamW`. Source: Loshchilov and Hutter 2019, algorithm 2.
#[derive(Debug)]
pub struct AdamW(Core);

/// What both have in common.
#[derive(Debug)]
struct Core {
    decoupled: bool,
    options: AdamOptions,
    groups: Groups,
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug)]
struct Moments {
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: u64,
}

const FIELDS: [&str; 3] = ["exp_avg", "exp_avg_sq", state::STEP];

impl Core {
    fn new(decoupled: bool, options: AdamOptions, groups: Groups) -> Self {
        Core { decoupled, options, groups, moments: BTreeMap::new() }
    }

    fn step(&mut self, model: &mut dyn Module, gradients: &Gradients, lr: f64) {
        let AdamOptions { betas, eps } = self.options;
        let (decoupled, moments) = (self.decoupled, &mut self.moments);
        for_each_trained(model, gradients, &self.groups, |name, x, gradient, group| {
            let moments = moments.entry(name).or_insert_with(|| Moments {
                exp_avg: x.zeros_like(),
                exp_avg_sq: x.zeros_like(),
                step: 0,
            });
            moments.step += 1;
            let step = AdamStep {
                lr: lr * group.lr_scale,
                betas,
                eps,
                weight_decay: group.weight_decay,
                decoupled,
                step: moments.step,
            };
            x.adam_step_mut(gradient, &mut moments.exp_avg, &mut moments.exp_avg_sq, &step);
        });
    }

    fn state_dict(&self) -> Vec<(String, Tensor)> {
        let fields = |(name, m): (&String, &Moments)| {
            let values = [m.exp_avg.clone(), m.exp_avg_sq.clone(), Tensor::scalar(m.step as i64)];
            FIELDS.map(|field| format!("{name}.{field}")).into_iter().zip(values)
        };
        self.moments.iter().flat_map(fields).collect()
    }

    fn load_state_dict(&mut self, model: &dyn Module, state: Vec<(String, Tensor)>) -> Result<()> {
        let loaded = state::by_parameter(model, state, FIELDS)?;
        let moments = |[exp_avg, exp_avg_sq, step]: [Tensor; 3]| Moments {
            exp_avg,
            exp_avg_sq,
            step: step.item() as u64,
        };
        self.moments = loaded.into_iter().map(|(name, v)| (name, moments(v))).collect();
        Ok(())
    }
}

macro_rules! optimizer {
    ($name:ident, decoupled: $decoupled:literal) => {
        impl $name {
            /// An optimizer without state.
            pub fn new(options: AdamOptions, groups: Groups) -> Self {
                $name(Core::new($decoupled, options, groups))
            }
        }

        impl Optimizer for $name {
            fn step(&mut self, model: &mut dyn Module, gradients: &Gradients, lr: f64) {
                self.0.step(model, gradients, lr)
            }
            fn state_dict(&self) -> Vec<(String, Tensor)> {
                self.0.state_dict()
            }
            fn load_state_dict(
                &mut self,
                model: &dyn Module,
                state: Vec<(String, Tensor)>,
            ) -> Result<()> {
                self.0.load_state_dict(model, state)
            }
        }
    };
}

optimizer!(Adam, decoupled: false);
optimizer!(AdamW, decoupled: true);
