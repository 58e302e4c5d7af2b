//! [`Ema`]: a running average of a model.

use tensor::{DType, Tensor};

use crate::{
    Buffer, Module, ModuleExt,
    module::{Child, ChildMut, Field, collect_module, collect_module_mut},
};

/// Exponential moving average of a model's parameters and buffers: `average ← decay · average + (1 - decay) · value`.
///
/// The averages are buffers under the model's names: [`ModuleExt::state_dict`] is one for the same kind of model, and a module
/// that has an `Ema` as a field takes it into its checkpoints. Integers (`num_batches_tracked`) are averaged in f32 and
/// truncated. Same as `timm.utils.ModelEma`.
#[derive(Debug)]
pub struct Ema {
    decay: f64,
    averages: Vec<(String, Buffer)>,
}

impl Ema {
    /// An average that starts at the model's present values.
    ///
    /// # Panics
    /// If `decay` is not in `0..=1` or a parameter has no values yet.
    #[track_caller]
    pub fn new(model: &dyn Module, decay: f64) -> Self {
        assert!((0.0..=1.0).contains(&decay), "Ema: decay {decay} is not between 0 and 1");
        let state = model.state_dict().into_iter();
        Ema { decay, averages: state.map(|(name, value)| (name, Buffer::new(value))).collect() }
    }

    /// Takes in the model's present values.
    ///
    /// # Panics
    /// If the model's names or shapes have changed.
    #[track_caller]
    pub fn update(&mut self, model: &dyn Module) {
        let values = model.state_dict();
        assert!(
            values.len() == self.averages.len(),
            "Ema: the model has {} tensors, the average {}",
            values.len(),
            self.averages.len()
        );
        for ((name, average), (other, value)) in self.averages.iter_mut().zip(values) {
            assert!(
                *name == other,
                "Ema: the model has \"{other}\" where the average has \"{name}\""
            );
            let average = average.get_mut();
            if average.dtype().is_float() {
                average.lerp_mut(&value, 1.0 - self.decay);
            } else {
                *average = truncated_mean(average, &value, self.decay);
            }
        }
    }
}

impl Module for Ema {
    fn type_name(&self) -> &'static str {
        "Ema"
    }

    fn children(&self) -> Vec<(String, Child<'_>)> {
        self.averages.iter().map(|(name, b)| (name.clone(), Child::Buffer(b))).collect()
    }

    fn children_mut(&mut self) -> Vec<(String, ChildMut<'_>)> {
        self.averages.iter_mut().map(|(name, b)| (name.clone(), ChildMut::Buffer(b))).collect()
    }
}

impl Field for Ema {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        collect_module(self, name, out);
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        collect_module_mut(self, name, out);
    }
}

/// As PyTorch computes and stores it: an integer tensor times a number is f32, and copying that back truncates.
fn truncated_mean(average: &Tensor, value: &Tensor, decay: f64) -> Tensor {
    let (old, new) = (average.to_dtype(DType::F32), value.to_dtype(DType::F32));
    let mean = &old.mul_scalar(decay) + &new.mul_scalar(1.0 - decay);
    mean.to_dtype(average.dtype())
}
