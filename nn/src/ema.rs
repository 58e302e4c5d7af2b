//! [`Ema`]: a running average of a model.

use tensor::{DType, Tensor};

use crate::{Module, ModuleExt, Result, module::check_state};

/// Exponential moving average of a model's parameters and buffers: `average ← decay · average + (1 - decay) · value`.
///
/// Integers (`num_batches_tracked`) are averaged in f32 and truncated. Same as `timm.utils.ModelEma`.
#[derive(Clone, Debug)]
pub struct Ema {
    decay: f64,
    state: Vec<(String, Tensor)>,
}

impl Ema {
    /// An average that starts at the model's present values.
    ///
    /// # Panics
    /// If `decay` is not in `0..=1` or a parameter has no values yet.
    #[track_caller]
    pub fn new(model: &dyn Module, decay: f64) -> Self {
        assert!((0.0..=1.0).contains(&decay), "Ema: decay {decay} is not between 0 and 1");
        Ema { decay, state: model.state_dict() }
    }

    /// Takes in the model's present values.
    ///
    /// # Panics
    /// If the model's names or shapes have changed.
    #[track_caller]
    pub fn update(&mut self, model: &dyn Module) {
        let values = model.state_dict();
        assert!(
            values.len() == self.state.len(),
            "Ema: the model has {} tensors, the average {}",
            values.len(),
            self.state.len()
        );
        for ((name, average), (other, value)) in self.state.iter_mut().zip(values) {
            assert!(
                *name == other,
                "Ema: the model has \"{other}\" where the average has \"{name}\""
            );
            if average.dtype().is_float() {
                average.lerp_mut(&value, 1.0 - self.decay);
            } else {
                *average = truncated_mean(average, &value, self.decay);
            }
        }
    }

    /// The averages by name, in the model's order: a state dict for the same kind of model.
    pub fn state_dict(&self) -> Vec<(String, Tensor)> {
        self.state.clone()
    }

    /// Replaces the averages by saved ones. Nothing is changed on error.
    ///
    /// # Errors
    /// [`Error::StateDict`](crate::Error::StateDict) naming everything missing, unexpected or of another shape.
    pub fn load_state_dict(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let expected = self.state.iter().map(|(name, t)| (name.clone(), t.shape()));
        let mut given = check_state(expected, state)?;
        for (name, average) in &mut self.state {
            let value = given.remove(name).expect("every name was found");
            *average = value.to_dtype(average.dtype()).to_device(average.device());
        }
        Ok(())
    }
}

/// As PyTorch computes and stores it: an integer tensor times a number is f32, and copying that back truncates.
fn truncated_mean(average: &Tensor, value: &Tensor, decay: f64) -> Tensor {
    let (old, new) = (average.to_dtype(DType::F32), value.to_dtype(DType::F32));
    let mean = &old.mul_scalar(decay) + &new.mul_scalar(1.0 - decay);
    mean.to_dtype(average.dtype())
}
