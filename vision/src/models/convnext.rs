//! [`ConvNeXt`] and its block.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module, Param,
    layers::{
        AdaptiveAvgPool2d, Conv2d, Conv2dOptions, Flatten, GELU, LayerNorm, LayerNorm2d, Linear,
        Sequential,
    },
};
use tensor::{Stream, Tensor};

use super::stem::step;

/// Size of a [`ConvNeXt`]; the default is ConvNeXt-T for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNeXtConfig {
    /// Blocks of the four stages. Default 3, 3, 9, 3.
    pub depths: [usize; 4],
    /// Channels of the four stages. Default 96, 192, 384, 768.
    pub dims: [usize; 4],
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// Where the layer scale of every block starts. Default 1e-6.
    pub layer_scale: f64,
    /// The probability with which the last block is left out for a sample in training; it grows linearly from 0 at the
    /// first. Default 0.1.
    pub stochastic_depth: f64,
}

impl Default for ConvNeXtConfig {
    fn default() -> Self {
        ConvNeXtConfig {
            depths: [3, 3, 9, 3],
            dims: [96, 192, 384, 768],
            classes: 1000,
            layer_scale: 1e-6,
            stochastic_depth: 0.1,
        }
    }
}

/// Added to variances by every layer norm of the family.
const EPS: f64 = 1e-6;

/// Weights start normal with this standard deviation. (The published code cuts the tails at ±2, which is 100 of them.)
const INIT: Init = Init::Normal { mean: 0.0, std: 0.02 };

fn conv(c_in: usize, c_out: usize, kernel: usize, options: Conv2dOptions) -> Conv2d {
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    conv.weight.set_init(INIT);
    if let Some(bias) = &mut conv.bias {
        bias.set_init(Init::Constant(0.0));
    }
    conv
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    let mut linear = Linear::new(inputs, outputs);
    linear.weight.set_init(INIT);
    if let Some(bias) = &mut linear.bias {
        bias.set_init(Init::Constant(0.0));
    }
    linear
}

/// `[N, C, H, W]` to `[N, H, W, C]`, a view.
#[derive(Module)]
struct ChannelsToEnd;

impl Forward for ChannelsToEnd {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.permute(&[0, 2, 3, 1])
    }
}

/// `[N, H, W, C]` to `[N, C, H, W]`, a view.
#[derive(Module)]
struct ChannelsToFront;

impl Forward for ChannelsToFront {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.permute(&[0, 3, 1, 2])
    }
}

/// Depthwise 7x7 convolution, layer norm, linear layer to 4 times the channels, GELU, linear layer back, each channel
/// scaled, and a way around it all: `x + gamma · f(x)`. Liu et al. 2022, fig. 4.
///
/// Input and output `[N, C, H, W]`. State dict as torchvision's `CNBlock`.
#[derive(Module)]
pub struct ConvNeXtBlock {
    /// `[C, 1, 1]`.
    layer_scale: Param,
    block: Sequential,
    #[module(skip)]
    stochastic_depth: f64,
}

impl ConvNeXtBlock {
    /// A block of `channels` whose scale starts at `layer_scale`, left out in training with probability
    /// `stochastic_depth`.
    ///
    /// # Panics
    /// If `stochastic_depth` is not in `0..1`.
    #[track_caller]
    pub fn new(channels: usize, layer_scale: f64, stochastic_depth: f64) -> Self {
        assert!(
            (0.0..1.0).contains(&stochastic_depth),
            "ConvNeXtBlock: {stochastic_depth} is not a probability below 1"
        );
        let depthwise = Conv2dOptions { groups: channels, ..step(1, 3) };
        let block = Sequential::new()
            .with(conv(channels, channels, 7, depthwise))
            .with(ChannelsToEnd)
            .with(LayerNorm::with_eps([channels], EPS))
            .with(linear(channels, 4 * channels))
            .with(GELU)
            .with(linear(4 * channels, channels))
            .with(ChannelsToFront);
        let layer_scale = Param::new([channels, 1, 1], Init::Constant(layer_scale));
        ConvNeXtBlock { layer_scale, block, stochastic_depth }
    }
}

impl Forward for ConvNeXtBlock {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = &self.block.call(x, cx) * &cx.var(&self.layer_scale);
        if cx.is_training() && self.stochastic_depth > 0.0 {
            let kept = kept_samples(x, 1.0 - self.stochastic_depth, &mut cx.next_stream());
            return x + &(&y * &kept);
        }
        x + &y
    }
}

/// `[N, 1, 1, 1]`: `1 / keep` with probability `keep`, else 0, so that the expected sum is that of evaluation.
fn kept_samples(x: &Var, keep: f64, stream: &mut Stream) -> Var {
    let device = x.value().device();
    let mask = Tensor::bernoulli_mask(keep, [x.dims()[0], 1, 1, 1], x.dtype(), device, stream);
    Var::constant(mask.mul_scalar(1.0 / keep))
}

/// A ResNet modernized after vision transformers: patches of 4x4 pixels, four stages of [`ConvNeXtBlock`]s between which the
/// image is halved, global average, layer norm, linear layer.
///
/// `[N, 3, H, W]` to logits `[N, classes]`, images of at least 32 pixels. State dict as torchvision's `convnext_tiny`:
/// `features.0.0.weight`, …, `classifier.2.bias`. Source: Liu et al. 2022, *A ConvNet for the 2020s*.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{ConvNeXt, ConvNeXtConfig};
///
/// assert_eq!(ConvNeXt::new(&ConvNeXtConfig::default()).num_parameters(), 28_589_128);
/// ```
#[derive(Module)]
pub struct ConvNeXt {
    features: Sequential,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    classifier: Sequential,
}

impl ConvNeXt {
    /// A net of this size.
    ///
    /// # Panics
    /// If `stochastic_depth` is not in `0..1`.
    #[track_caller]
    pub fn new(config: &ConvNeXtConfig) -> Self {
        let ConvNeXtConfig { depths, dims, classes, layer_scale, stochastic_depth } = *config;
        let stem = Sequential::new()
            .with(conv(3, dims[0], 4, step(4, 0)))
            .with(LayerNorm2d::with_eps(dims[0], EPS));
        let last = depths.iter().sum::<usize>().saturating_sub(1).max(1);
        let mut blocks_before = 0;
        let mut features = Sequential::new().with(stem);
        for (i, (&depth, &c)) in depths.iter().zip(&dims).enumerate() {
            if i > 0 {
                let halve = Sequential::new()
                    .with(LayerNorm2d::with_eps(dims[i - 1], EPS))
                    .with(conv(dims[i - 1], c, 2, step(2, 0)));
                features = features.with(halve);
            }
            let stage = (blocks_before..blocks_before + depth).fold(Sequential::new(), |s, b| {
                let p = stochastic_depth * b as f64 / last as f64;
                s.with(ConvNeXtBlock::new(c, layer_scale, p))
            });
            features = features.with(stage);
            blocks_before += depth;
        }
        let classifier = Sequential::new()
            .with(LayerNorm2d::with_eps(dims[3], EPS))
            .with(Flatten)
            .with(linear(dims[3], classes));
        ConvNeXt { features, avgpool: AdaptiveAvgPool2d::new([1, 1]), classifier }
    }
}

impl Forward for ConvNeXt {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.features.call(x, cx);
        let y = self.avgpool.forward(&y, cx);
        self.classifier.call(&y, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::ModuleExt;
    use tensor::{DType, Device};

    #[test]
    fn stochastic_depth_leaves_whole_samples_out_and_keeps_the_mean() {
        let mut block = ConvNeXtBlock::new(4, 1.0, 0.25);
        block.initialize(0, DType::F64, Device::Cpu);
        let x = Tensor::randn([64, 4, 3, 3], DType::F64, Device::Cpu, &mut Stream::new(1));
        let x = Var::constant(x);
        let delta = |y: &Var| (y.value() - x.value()).to_f64_vec();
        let full = delta(&block.call(&x, &mut Context::eval()));
        let train = delta(&block.call(&x, &mut Context::train(Stream::new(2))));
        let mut left_out = 0;
        for (f, t) in full.chunks(36).zip(train.chunks(36)) {
            if t.iter().all(|&v| v == 0.0) {
                left_out += 1;
            } else {
                assert!(f.iter().zip(t).all(|(f, t)| (f / 0.75 - t).abs() < 1e-12));
            }
        }
        assert!((8..=24).contains(&left_out), "{left_out} of 64 with probability 1/4");
    }
}
