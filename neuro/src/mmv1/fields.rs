//! What a trained model's neurons look for: receptive fields by gradients, and the pictures they like best.
//!
//! Both as in Xu et al. 2023 (figures 4 and 5), on models as they are after training.

use autograd::Var;
use nn::Context;
use tensor::Tensor;

use super::{Batch, Mmv1};

/// The receptive field of each neuron, `[neurons, T, H, W]`: the gradient of its rate with respect to the frames, averaged over
/// the samples of a batch. For a neuron that weighs pixels and then rectifies, this is its weights up to a factor.
pub fn saliency(model: &Mmv1, batch: &Batch) -> Tensor {
    let images = Var::leaf(batch.images.clone());
    let behavior = Var::constant(batch.behavior.clone());
    let rates = model.forward(&images, &behavior, &mut Context::eval().with_recording(true));
    let neurons = rates.dims()[1];
    let fields: Vec<Tensor> = (0..neurons)
        .map(|neuron| {
            let gradients = rates.select(1, neuron).mean().backward_retain();
            // Of the mean rate: the sum over samples is the mean of the gradients.
            gradients.wrt(&images).sum(&[0, 2], false)
        })
        .collect();
    Tensor::stack(&fields.iter().collect::<Vec<_>>(), 0)
}

/// How a picture is climbed to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ascent {
    /// Steps. Default 40.
    pub steps: usize,
    /// Length of a step: the norm of what is added to all frames together. Default 0.5.
    pub step: f64,
}

impl Default for Ascent {
    fn default() -> Self {
        Ascent { steps: 40, step: 0.5 }
    }
}

/// The frames each neuron likes best, `[neurons, T, 1, H, W]`, found by gradient ascent on its rate from `start`
/// `[T, 1, H, W]`, while the behavior `[T, behaviors]` stays as it is. Pixels stay within 0..1.
///
/// A neuron whose rate does not change with its frames keeps the start.
pub fn preferred(model: &Mmv1, start: &Tensor, behavior: &Tensor, ascent: &Ascent) -> Tensor {
    let neurons = model.behavior_weight().shape()[0];
    let copies = |x: &Tensor| {
        let all: Vec<&Tensor> = (0..neurons).map(|_| x).collect();
        Tensor::stack(&all, 0)
    };
    let (mut images, behavior) = (copies(start), Var::constant(copies(behavior)));
    // Of the rates of all neurons to all pictures, each neuron's to its own.
    let own: Vec<f64> =
        (0..neurons * neurons).map(|i| f64::from(u8::from(i % (neurons + 1) == 0))).collect();
    let own = Tensor::new(&own, [neurons, neurons]).to_dtype(start.dtype());
    let own = Var::constant(own.to_device(start.device()));
    for _ in 0..ascent.steps {
        let leaf = Var::leaf(images.clone());
        let rates = model.forward(&leaf, &behavior, &mut Context::eval().with_recording(true));
        let gradients = (&rates * &own).sum().backward();
        let gradient = gradients.wrt(&leaf);
        let norm = gradient.mul(gradient).sum(&[1, 2, 3, 4], true).sqrt().add_scalar(1e-20);
        images = images.add(&gradient.div(&norm).mul_scalar(ascent.step)).clamp(0.0, 1.0);
    }
    images
}

#[cfg(test)]
mod tests {
    use nn::ModuleExt;
    use tensor::{DType, Device, Stream};

    use super::*;
    use crate::mmv1::{ConvLayer, Mmv1Config};

    fn small() -> (Mmv1, Batch) {
        let config = Mmv1Config {
            neurons: 3,
            behaviors: 2,
            frame: [9, 11],
            layers: vec![ConvLayer { channels: 4, kernel: 3, stride: 2 }],
            hidden: 5,
            recurrent_layers: 2,
            shifter: false,
            dropout: 0.0,
            ..Mmv1Config::default()
        };
        let mut model = Mmv1::new(&config);
        model.initialize(3, DType::F64, Device::Cpu);
        let stream = &mut Stream::new(1);
        let mut random = |shape: &[usize]| Tensor::rand(shape, DType::F64, Device::Cpu, stream);
        let images = random(&[4, 2, 1, 9, 11]);
        let behavior = random(&[4, 2, 2]);
        let responses = random(&[4, 3]);
        (model, Batch { images, behavior, responses })
    }

    fn rates(model: &Mmv1, images: &Tensor, behavior: &Tensor) -> Tensor {
        let [images, behavior] = [images, behavior].map(|t| Var::constant(t.clone()));
        model.forward(&images, &behavior, &mut Context::eval()).value().clone()
    }

    #[test]
    fn saliency_is_the_slope_of_the_mean_rate() {
        let (model, batch) = small();
        let field = saliency(&model, &batch);
        assert_eq!(field.dims(), [3, 2, 9, 11]);
        // A step along everybody's mean gradient of neuron 1.
        let direction = field.select(0, 1).unsqueeze(1).unsqueeze(0);
        let step = 1e-4;
        let mean = |sign: f64| {
            let moved = batch.images.add(&direction.mul_scalar(sign * step));
            rates(&model, &moved, &batch.behavior).select(1, 1).mean_all().item()
        };
        let slope = (mean(1.0) - mean(-1.0)) / (2.0 * step);
        let expected = direction.mul(&direction).sum_all().item();
        assert!((slope - expected).abs() < 1e-3 * expected, "{slope} {expected}");
    }

    #[test]
    fn every_neuron_likes_its_picture_better_than_the_start() {
        let (model, batch) = small();
        let (start, behavior) = (batch.images.select(0, 0), batch.behavior.select(0, 0));
        let liked = preferred(&model, &start, &behavior, &Ascent::default());
        assert_eq!(liked.dims(), [3, 2, 1, 9, 11]);
        let before = rates(&model, &start.unsqueeze(0), &behavior.unsqueeze(0)).to_f64_vec();
        for (neuron, before) in before.into_iter().enumerate() {
            let picture = liked.select(0, neuron).unsqueeze(0);
            let after = rates(&model, &picture, &behavior.unsqueeze(0)).to_f64_vec()[neuron];
            assert!(after > before, "neuron {neuron}: {before} became {after}");
        }
        assert!(liked.to_f64_vec().iter().all(|v| (0.0..=1.0).contains(v)));
    }
}
