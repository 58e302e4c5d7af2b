//! [`ConvNeXt`] and its block.

use std::any::Any;

use autograd::Var;
use nn::{
    Context, Forward, Init, Module, Param,
    layers::{
        AdaptiveAvgPool2d, Conv2d, Conv2dOptions, DropPath, Flatten, GELU, LayerNorm, LayerNorm2d,
        Linear, Sequential,
    },
    module::ChildMut,
};

use super::{
    fold,
    stem::{self, step},
};

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

impl ConvNeXtConfig {
    /// ConvNeXt-S: 27 blocks in the third stage, stochastic depth 0.4.
    pub fn small() -> Self {
        ConvNeXtConfig { depths: [3, 3, 27, 3], stochastic_depth: 0.4, ..Self::default() }
    }

    /// ConvNeXt-B: as deep as S and wider; stochastic depth 0.5.
    pub fn base() -> Self {
        ConvNeXtConfig { dims: [128, 256, 512, 1024], stochastic_depth: 0.5, ..Self::small() }
    }

    /// ConvNeXt-L: as B and wider.
    pub fn large() -> Self {
        ConvNeXtConfig { dims: [192, 384, 768, 1536], ..Self::base() }
    }
}

/// Added to variances by every layer norm of the family.
pub(super) const EPS: f64 = 1e-6;

/// Weights start normal with this standard deviation. (The published code cuts the tails at ±2, which is 100 of them.)
const INIT: Init = Init::Normal { mean: 0.0, std: 0.02 };

pub(super) fn conv(c_in: usize, c_out: usize, kernel: usize, options: Conv2dOptions) -> Conv2d {
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    conv.weight.set_init(INIT);
    if let Some(bias) = &mut conv.bias {
        bias.set_init(Init::Constant(0.0));
    }
    conv
}

pub(super) fn linear(inputs: usize, outputs: usize) -> Linear {
    stem::linear(inputs, outputs, INIT, Init::Constant(0.0))
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
    /// `[C, 1, 1]`; `None` once it is folded into the last linear layer.
    layer_scale: Option<Param>,
    block: Sequential,
    #[module(skip)]
    drop_path: DropPath,
}

impl ConvNeXtBlock {
    /// A block of `channels` whose scale starts at `layer_scale`, left out in training with probability
    /// `stochastic_depth`.
    ///
    /// # Panics
    /// If `stochastic_depth` is no probability.
    #[track_caller]
    pub fn new(channels: usize, layer_scale: f64, stochastic_depth: f64) -> Self {
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
        ConvNeXtBlock {
            layer_scale: Some(layer_scale),
            block,
            drop_path: DropPath::new(stochastic_depth),
        }
    }
}

impl ConvNeXtBlock {
    /// The last linear layer takes over the scale of its outputs.
    pub(super) fn fold(&mut self) {
        let Some(scale) = self.layer_scale.take() else { return };
        for (_, layer) in self.block.children_mut() {
            if let ChildMut::Module(layer) = layer
                && let Some(linear) = (layer as &mut dyn Any).downcast_mut::<Linear>()
                && linear.weight.shape()[0] == scale.shape()[0]
            {
                fold::scale_behind(linear, scale.value());
            }
        }
    }
}

impl Forward for ConvNeXtBlock {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let mut y = self.block.call(x, cx);
        if let Some(scale) = &self.layer_scale {
            y = &y * &cx.var(scale);
        }
        x + &self.drop_path.forward(&y, cx)
    }
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
    /// If `stochastic_depth` is no probability.
    #[track_caller]
    pub fn new(config: &ConvNeXtConfig) -> Self {
        let ConvNeXtConfig { depths, dims, classes, layer_scale, stochastic_depth } = *config;
        let stem = Sequential::new()
            .with(conv(3, dims[0], 4, step(4, 0)))
            .with(LayerNorm2d::with_eps(dims[0], EPS));
        let mut rates = DropPath::rates(stochastic_depth, depths.iter().sum()).into_iter();
        let mut features = Sequential::new().with(stem);
        for (i, (&depth, &c)) in depths.iter().zip(&dims).enumerate() {
            if i > 0 {
                let halve = Sequential::new()
                    .with(LayerNorm2d::with_eps(dims[i - 1], EPS))
                    .with(conv(dims[i - 1], c, 2, step(2, 0)));
                features = features.with(halve);
            }
            let stage = rates.by_ref().take(depth).fold(Sequential::new(), |stage, p| {
                stage.with(ConvNeXtBlock::new(c, layer_scale, p))
            });
            features = features.with(stage);
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
