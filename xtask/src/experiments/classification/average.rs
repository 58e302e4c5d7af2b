//! The average of a net's weights over steps, kept inside of the net so that checkpoints have it.

use nn::{Buffer, Forward, Module, ModuleExt};

use crate::failure::Outcome;

/// Averages of a model's floats, in the order of its state dict: `average ← d · average + (1 − d) · value` before each step,
/// and once after the last. Nothing is kept where the decay `d` is 0.
#[derive(Module)]
pub(super) struct Average {
    values: Vec<Buffer>,
    #[module(skip)]
    decay: f64,
}

impl Average {
    pub(super) fn new(model: &dyn Forward, decay: f64) -> Self {
        let state = if decay > 0.0 { model.state_dict() } else { Vec::new() };
        Average { values: state.into_iter().map(|(_, value)| Buffer::new(value)).collect(), decay }
    }

    /// Takes in the present values.
    pub(super) fn update(&mut self, model: &dyn Forward) {
        if self.decay == 0.0 {
            return;
        }
        for (average, (_, value)) in self.values.iter().zip(model.state_dict()) {
            if value.dtype().is_float() {
                let mut mean = average.get();
                mean.lerp_mut(&value, 1.0 - self.decay);
                average.set(mean);
            } else {
                average.set(value);
            }
        }
    }

    /// Takes in the values after the last step, and puts the averages in the model's place.
    pub(super) fn exchange(&mut self, model: &mut dyn Forward) -> Outcome {
        self.update(model);
        let names = model.state_dict().into_iter().map(|(name, _)| name);
        let state = names.zip(self.values.iter().map(Buffer::get)).collect();
        Ok(model.load_state_dict(state).map_err(anyhow::Error::from)?)
    }
}

#[cfg(test)]
mod tests {
    use nn::layers::Linear;
    use tensor::{DType, Device};

    use super::*;

    #[test]
    fn the_average_follows_the_weights() {
        let mut model = Linear::new(1, 1);
        model.initialize(0, DType::F64, Device::Cpu);
        let mut average = Average::new(&model, 0.75);
        let before = model.weight.value().item();
        let shifted = model.weight.value().full_like(before + 8.0);
        model.weight.set(shifted);
        average.update(&model);
        average.exchange(&mut model).unwrap();
        // A quarter of the way, and then a quarter of what is left.
        assert!((model.weight.value().item() - before - 3.5).abs() < 1e-12);
        assert_eq!(Average::new(&model, 0.0).children().len(), 0);
    }
}
