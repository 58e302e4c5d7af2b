//! [`Sgd`]: stochastic gradient descent.

use std::collections::BTreeMap;

use autograd::Gradients;
use tensor::{SgdStep, Tensor};

use super::{Groups, Optimizer, for_each_trained, state};
use crate::{Module, Result};

/// The options of [`Sgd`]; weight decay is a matter of its [`Groups`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SgdOptions {
    /// Factor of the old velocity. Default 0: no velocity.
    pub momentum: f64,
    /// The gradient enters the velocity times `1 - dampening` (the first one whole). Default 0.
    pub dampening: f64,
    /// Whether to step along `gradient + momentum · velocity` instead of the velocity. Default false.
    pub nesterov: bool,
}

/// Stochastic gradient descent, with `g = gradient + weight_decay · x`:
///
/// ```text
/// v ← momentum · v + (1 - dampening) · g        (v = g at the first step)
/// x ← x - lr · v      or, with Nesterov,  x - lr · (g + momentum · v)
/// ```
///
/// State: `momentum_buffer`, if there is a momentum. Same as `torch.optim.SGD`.
#[derive(Debug)]
pub struct Sgd {
    options: SgdOptions,
    groups: Groups,
    velocities: BTreeMap<String, Tensor>,
}

const FIELDS: [&str; 1] = ["momentum_buffer"];

impl Sgd {
    /// An optimizer without state.
    ///
    /// # Panics
    /// If Nesterov is asked for without momentum or with dampening.
    #[track_caller]
    pub fn new(options: SgdOptions, groups: Groups) -> Self {
        assert!(
            !options.nesterov || (options.momentum > 0.0 && options.dampening == 0.0),
            "Sgd: nesterov needs a momentum and no dampening, not {options:?}"
        );
        Sgd { options, groups, velocities: BTreeMap::new() }
    }
}

impl Optimizer for Sgd {
    fn step(&mut self, model: &mut dyn Module, gradients: &Gradients, lr: f64) {
        let (SgdOptions { momentum, dampening, nesterov }, velocities) =
            (self.options, &mut self.velocities);
        for_each_trained(model, gradients, &self.groups, |name, x, gradient, group| {
            let step = SgdStep {
                lr: lr * group.lr_scale,
                momentum,
                dampening,
                weight_decay: group.weight_decay,
                nesterov,
            };
            let mut velocity = velocities.remove(&name);
            x.sgd_step_mut(gradient, &mut velocity, &step);
            velocities.extend(velocity.map(|v| (name, v)));
        });
    }

    fn state_dict(&self) -> Vec<(String, Tensor)> {
        let named = |(name, v): (&String, &Tensor)| (format!("{name}.{}", FIELDS[0]), v.clone());
        self.velocities.iter().map(named).collect()
    }

    fn load_state_dict(&mut self, model: &dyn Module, state: Vec<(String, Tensor)>) -> Result<()> {
        let loaded = state::by_parameter(model, state, FIELDS)?;
        self.velocities = loaded.into_iter().map(|(name, [v])| (name, v)).collect();
        Ok(())
    }
}
