//! [`SqueezeNet`] and its fire module.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module,
    layers::{
        AdaptiveAvgPool2d, Conv2d, Conv2dOptions, Dropout, Flatten, MaxPool2d, ReLU, Sequential,
    },
};

use super::stem::{Stem, step};

/// Which of the two published nets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SqueezeNetVersion {
    /// As in the paper: first convolution 7x7 with 96 channels. The default.
    #[default]
    V1_0,
    /// The authors' later one: first convolution 3x3 with 64 channels, pooling earlier, 2.4 times less computation.
    V1_1,
}

/// Size of a [`SqueezeNet`]; the default is torchvision's `squeezenet1_0`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SqueezeNetConfig {
    /// Which net. Default 1.0.
    pub version: SqueezeNetVersion,
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The first convolution: 7x7 (1.1: 3x3) with stride 2. Default large.
    pub stem: Stem,
    /// Zeros around the image in the last, 1x1 convolution. Default 0; the net of the original Caffe release has 1, which
    /// its global average then counts.
    pub last_padding: usize,
    /// Probability of a zero before the last convolution. Default 0.5.
    pub dropout: f64,
}

impl Default for SqueezeNetConfig {
    fn default() -> Self {
        SqueezeNetConfig {
            version: SqueezeNetVersion::V1_0,
            classes: 1000,
            stem: Stem::Large,
            last_padding: 0,
            dropout: 0.5,
        }
    }
}

/// Uniform by fan-in for a ReLU (He et al. 2015), bias 0: what torchvision gives every convolution but the last.
fn conv(c_in: usize, c_out: usize, kernel: usize, options: Conv2dOptions) -> Conv2d {
    let bound = (6.0 / (c_in * kernel * kernel) as f64).sqrt();
    started(c_in, c_out, kernel, options, Init::Uniform { low: -bound, high: bound })
}

fn started(
    c_in: usize,
    c_out: usize,
    kernel: usize,
    options: Conv2dOptions,
    weight: Init,
) -> Conv2d {
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    conv.weight.set_init(weight);
    if let Some(bias) = &mut conv.bias {
        bias.set_init(Init::Constant(0.0));
    }
    conv
}

/// Few 1x1 convolutions, then as many 1x1 as 3x3 ones side by side: Iandola et al. 2016, fig. 1.
#[derive(Module)]
struct Fire {
    squeeze: Conv2d,
    expand1x1: Conv2d,
    expand3x3: Conv2d,
}

impl Fire {
    /// `squeeze` channels in the middle, twice `expand` at the end.
    fn new(c_in: usize, squeeze: usize, expand: usize) -> Self {
        Fire {
            squeeze: conv(c_in, squeeze, 1, step(1, 0)),
            expand1x1: conv(squeeze, expand, 1, step(1, 0)),
            expand3x3: conv(squeeze, expand, 3, step(1, 1)),
        }
    }
}

impl Forward for Fire {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.squeeze.call(x, cx).relu();
        let (a, b) = (self.expand1x1.call(&y, cx), self.expand3x3.call(&y, cx));
        Var::cat(&[&a, &b], 1).relu()
    }
}

/// A net of fire modules with AlexNet's accuracy and a fiftieth of its parameters.
///
/// `[N, 3, H, W]` to logits `[N, classes]`; images of at least 21 pixels (1.1: 17). State dict as torchvision's
/// `squeezenet1_0` and `squeezenet1_1`: `features.0.weight`, `features.3.squeeze.weight`, …, `classifier.1.bias`. Source:
/// Iandola et al. 2016, *SqueezeNet*, table 1.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{SqueezeNet, SqueezeNetConfig};
///
/// assert_eq!(SqueezeNet::new(&SqueezeNetConfig::default()).num_parameters(), 1_248_424);
/// ```
#[derive(Module)]
pub struct SqueezeNet {
    features: Sequential,
    classifier: Sequential,
}

impl SqueezeNet {
    /// A net of this size.
    ///
    /// # Panics
    /// If `dropout` is no probability.
    #[track_caller]
    pub fn new(config: &SqueezeNetConfig) -> Self {
        let SqueezeNetConfig { version, classes, stem, last_padding, dropout } = *config;
        let (channels, kernel) = match version {
            SqueezeNetVersion::V1_0 => (96, 7),
            SqueezeNetVersion::V1_1 => (64, 3),
        };
        let first = match stem {
            Stem::Large => conv(3, channels, kernel, step(2, 0)),
            Stem::Small => Conv2d::with_options(3, channels, [3; 2], step(1, 1)),
        };
        // Windows at the lower and right edge may be smaller.
        let pool = || MaxPool2d::new(3, 2).with_ceil_mode();
        let features = Sequential::new().with(first).with(ReLU).with(pool());
        let fire = Fire::new;
        let features = match version {
            SqueezeNetVersion::V1_0 => features
                .with(fire(96, 16, 64))
                .with(fire(128, 16, 64))
                .with(fire(128, 32, 128))
                .with(pool())
                .with(fire(256, 32, 128))
                .with(fire(256, 48, 192))
                .with(fire(384, 48, 192))
                .with(fire(384, 64, 256))
                .with(pool())
                .with(fire(512, 64, 256)),
            SqueezeNetVersion::V1_1 => features
                .with(fire(64, 16, 64))
                .with(fire(128, 16, 64))
                .with(pool())
                .with(fire(128, 32, 128))
                .with(fire(256, 32, 128))
                .with(pool())
                .with(fire(256, 48, 192))
                .with(fire(384, 48, 192))
                .with(fire(384, 64, 256))
                .with(fire(512, 64, 256)),
        };
        let small = Init::Normal { mean: 0.0, std: 0.01 };
        let classifier = Sequential::new()
            .with(Dropout::new(dropout))
            .with(started(512, classes, 1, step(1, last_padding), small))
            .with(ReLU)
            .with(AdaptiveAvgPool2d::new([1, 1]))
            .with(Flatten);
        SqueezeNet { features, classifier }
    }
}

impl Forward for SqueezeNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.features.call(x, cx);
        self.classifier.call(&y, cx)
    }
}
