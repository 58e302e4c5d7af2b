//! The masks of a trained net, and what is known beforehand of some of them (section 1.3 of the specification).
//!
//! Where only the middle tap of a mask can matter, nothing is learned about its shape: its exponent stays to the last bit, and
//! its matrix shrinks by weight decay alone. That is so for 1x1 kernels with a large p (all other taps of the enlarged kernel
//! have a mask of exactly 0), and where the image is a single pixel (all other taps see padding).

use std::any::Any;

use autograd::Var;
use lpconv::{Converted, for_each_mask};
use nn::{Context, Forward, layers::Conv2d, module, schedule::Schedule};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Tensor};

/// The masks of one convolution of a trained net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LayerMasks {
    /// The layer's name in the state dict.
    pub(super) layer: String,
    /// Height of the kernel before it was enlarged.
    pub(super) base: usize,
    /// Height of the kernel.
    pub(super) kernel: usize,
    /// Exponent of every channel.
    pub(super) p: Vec<f64>,
    /// Matrix C of every channel, row by row.
    pub(super) c: Vec<[f64; 4]>,
    /// The diagonal of C before training.
    pub(super) c_init: f64,
    /// Why nothing can be learned about these masks, if that is so.
    pub(super) frozen: Option<String>,
    /// Channels whose exponent is not, to the last bit, what it was before training.
    pub(super) p_moved: usize,
    /// Channels whose C is not, to the last bit, what weight decay alone makes of it (of frozen masks: what it was).
    pub(super) c_moved: usize,
}

/// What decays the matrices, and for how many steps.
pub(super) struct Decay<'a> {
    pub(super) schedule: &'a dyn Schedule,
    pub(super) weight_decay: f64,
    pub(super) epochs: usize,
    pub(super) steps_per_epoch: usize,
}

impl Decay<'_> {
    /// What AdamW makes of a value whose gradient is always 0.
    fn applied(&self, mut value: f32) -> f32 {
        for epoch in 0..self.epochs {
            let shrink = (1.0 - self.schedule.lr(epoch) * self.weight_decay) as f32;
            for _ in 0..self.steps_per_epoch {
                value *= shrink;
            }
        }
        value
    }
}

/// A convolution's place, its input's height and width, and whether its middle tap is the one that a single pixel meets.
struct Seen {
    path: String,
    kernel: usize,
    input: [usize; 2],
    centered: bool,
}

/// The convolutions of a net and what they see of an image.
fn convolutions(model: &dyn Forward, image: usize, device: Device) -> Vec<Seen> {
    let mut inputs: Vec<(String, [usize; 2])> = Vec::new();
    let x = Var::constant(Tensor::zeros([1, 3, image, image], DType::F32, device));
    let mut cx = Context::eval().with_observer(model, |event| {
        if let [_, _, h, w] = event.input.dims()[..] {
            inputs.push((event.path.to_owned(), [h, w]));
        }
    });
    model.call(&x, &mut cx);
    drop(cx);
    let mut found = Vec::new();
    module::for_each_module(model, &mut |path, m| {
        let Some(conv) = (m as &dyn Any).downcast_ref::<Conv2d>() else { return };
        let Some((_, input)) = inputs.iter().find(|(p, _)| p == path) else { return };
        let (kernel, padding) = (conv.kernel_size(), conv.options().padding);
        let centered = [0, 1].iter().all(|&i| kernel[i] == 2 * padding[i] + 1);
        found.push(Seen { path: path.to_owned(), kernel: kernel[0], input: *input, centered });
    });
    found
}

/// A layer's masks before training, which are the same in all channels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Start {
    layer: String,
    /// Height of the kernel before it was enlarged.
    base: usize,
    log2p: f64,
    /// The diagonal of C.
    c: f64,
}

fn on_cpu(tensor: &Tensor) -> Vec<f64> {
    tensor.to_device(Device::Cpu).to_f64_vec()
}

/// The masks of a converted net that is not trained yet.
pub(super) fn start(model: &dyn Forward, converted: &[Converted]) -> Vec<Start> {
    let mut layers = Vec::new();
    for_each_mask(model, &mut |layer, mask| {
        let base = converted.iter().find(|c| c.path == layer).map_or(0, |c| c.from[0]);
        let log2p = on_cpu(mask.log2p.value())[0];
        let c = on_cpu(mask.matrix(&Context::eval()).value())[0];
        layers.push(Start { layer: layer.to_owned(), base, log2p, c });
    });
    layers
}

/// The masks of all layers, in order of definition, of a net that takes images of `image` pixels and started like this.
pub(super) fn masks_of(
    model: &dyn Forward,
    image: usize,
    starts: &[Start],
    decay: &Decay,
) -> Vec<LayerMasks> {
    let mut device = Device::Cpu;
    for_each_mask(model, &mut |_, mask| device = mask.log2p.value().device());
    let seen = convolutions(model, image, device);
    let mut layers = Vec::new();
    for_each_mask(model, &mut |layer, mask| {
        let Some(start) = starts.iter().find(|s| s.layer == layer) else { return };
        let Some(seen) = seen.iter().find(|s| s.path == layer) else { return };
        let log2p = on_cpu(mask.log2p.value());
        let c = on_cpu(mask.matrix(&Context::eval()).value());
        let c: Vec<[f64; 4]> = c.chunks(4).map(|c| [c[0], c[1], c[2], c[3]]).collect();
        let trained = mask.log2p.requires_grad();
        let at_start = start.c as f32;
        let decayed = f64::from(if trained { decay.applied(at_start) } else { at_start });
        layers.push(LayerMasks {
            layer: layer.to_owned(),
            base: start.base,
            kernel: seen.kernel,
            c_init: start.c,
            frozen: frozen(seen, trained, start, decayed),
            p_moved: log2p.iter().filter(|&&l| l != start.log2p).count(),
            c_moved: c.iter().filter(|c| **c != [decayed, 0.0, 0.0, decayed]).count(),
            p: log2p.iter().map(|l| l.exp2()).collect(),
            c,
        });
    });
    layers
}

/// Why nothing can be learned about a layer's masks; `decayed` is what weight decay leaves of C's diagonal.
fn frozen(seen: &Seen, trained: bool, start: &Start, decayed: f64) -> Option<String> {
    let p = start.log2p.exp2();
    if !trained {
        return Some("p and C are not trained".into());
    }
    if seen.input == [1, 1] && seen.centered {
        return Some("the image is a single pixel: only the middle tap meets it".into());
    }
    // Of all taps but the middle one those beside it are nearest; C only shrinks, so their mask is largest at the end.
    let nearest = (-decayed.powf(p)).exp() as f32;
    (start.base == 1 && seen.kernel == 3 && nearest == 0.0)
        .then(|| format!("1x1 kernel, p = {p}: the mask of the taps around it is exactly 0 in f32"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpconv::{ConvertConfig, convert};
    use nn::{
        ModuleExt,
        layers::{Conv2dOptions, MaxPool2d, Sequential},
        schedule::Constant,
    };

    fn net() -> Sequential {
        let padded = Conv2dOptions { padding: [1; 2], ..Default::default() };
        Sequential::new()
            .with(Conv2d::with_options(3, 4, [3; 2], padded))
            .with(Conv2d::new(4, 4, 1))
            .with(MaxPool2d::new(4, 4))
            .with(Conv2d::with_options(4, 2, [3; 2], padded))
    }

    fn why(p: f64, decay: &Decay) -> Vec<LayerMasks> {
        let mut model = net();
        model.initialize(0, DType::F32, Device::Cpu);
        let converted = convert(&mut model, &ConvertConfig::lp(p)).unwrap();
        let starts = start(&model, &converted);
        masks_of(&model, 4, &starts, decay)
    }

    #[test]
    fn layers_that_cannot_learn_are_found() {
        let schedule = Constant(1e-3);
        let decay = Decay { schedule: &schedule, weight_decay: 0.0, epochs: 1, steps_per_epoch: 1 };
        let frozen = |p: f64| why(p, &decay).iter().map(|l| l.frozen.is_some()).collect::<Vec<_>>();
        assert_eq!(frozen(2.0), [false, false, true]);
        assert_eq!(frozen(16.0), [false, true, true]);
        let layers = why(16.0, &decay);
        assert_eq!(
            layers.iter().map(|l| [l.base, l.kernel]).collect::<Vec<_>>(),
            [[3, 7], [1, 3], [3, 7]]
        );
        assert!(layers.iter().all(|l| l.p_moved == 0 && l.c_moved == 0));
        assert!((layers[1].c_init - 1.0 / 0.5001).abs() < 1e-6);
    }

    /// With so much decay the mask of a 1x1 kernel reaches its neighbors in the end, and learns.
    #[test]
    fn decay_lets_masks_grow_into_what_they_did_not_see() {
        let schedule = Constant(1e-2);
        let decay =
            Decay { schedule: &schedule, weight_decay: 1.0, epochs: 10, steps_per_epoch: 5 };
        let layers = why(16.0, &decay);
        assert!((f64::from(decay.applied(2.0)) - 2.0 * 0.99f64.powi(50)).abs() < 1e-5);
        assert!(layers[1].frozen.is_none() && layers[2].frozen.is_some());
        // Nothing has decayed here, which is noticed.
        assert!(layers.iter().all(|l| l.c_moved == l.c.len()));
    }
}
