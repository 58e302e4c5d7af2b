//! [`DenseNet`]: every layer sees what all before it in its block computed.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module,
    layers::{AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, Conv2d, Conv2dOptions, Linear, MaxPool2d},
};

use super::stem::{Numbered, Stem, linear, step};

/// Size of a [`DenseNet`]; the default is DenseNet-121 for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenseNetConfig {
    /// Channels that every layer adds. Default 32.
    pub growth: usize,
    /// Layers of the four blocks. Default 6, 12, 24, 16: DenseNet-121.
    pub depths: [usize; 4],
    /// Channels of the first convolution. Default 64.
    pub stem_channels: usize,
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The first convolution. Default 7x7 with stride 2. The max-pool behind it stays either way.
    pub stem: Stem,
}

impl Default for DenseNetConfig {
    fn default() -> Self {
        DenseNetConfig {
            growth: 32,
            depths: [6, 12, 24, 16],
            stem_channels: 64,
            classes: 1000,
            stem: Stem::Large,
        }
    }
}

impl DenseNetConfig {
    /// DenseNet-161: wider, growth 48.
    pub fn densenet161() -> Self {
        let depths = [6, 12, 36, 24];
        DenseNetConfig { growth: 48, depths, stem_channels: 96, ..Self::default() }
    }

    /// DenseNet-169.
    pub fn densenet169() -> Self {
        DenseNetConfig { depths: [6, 12, 32, 32], ..Self::default() }
    }

    /// DenseNet-201.
    pub fn densenet201() -> Self {
        DenseNetConfig { depths: [6, 12, 48, 32], ..Self::default() }
    }
}

/// A layer's 1x1 convolution gives so many times `growth` channels to its 3x3 convolution.
const BOTTLENECK: usize = 4;

/// Without bias, normal by fan-in for a ReLU (He et al. 2015).
fn conv(c_in: usize, c_out: usize, kernel: usize, options: Conv2dOptions) -> Conv2d {
    let options = Conv2dOptions { bias: false, ..options };
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    let std = (2.0 / (c_in * kernel * kernel) as f64).sqrt();
    conv.weight.set_init(Init::Normal { mean: 0.0, std });
    conv
}

/// Batch norm, ReLU, 1x1 convolution; batch norm, ReLU, 3x3 convolution to `growth` channels.
#[derive(Module)]
struct DenseLayer {
    norm1: BatchNorm2d,
    conv1: Conv2d,
    norm2: BatchNorm2d,
    conv2: Conv2d,
}

impl DenseLayer {
    fn new(c_in: usize, growth: usize) -> Self {
        let middle = BOTTLENECK * growth;
        DenseLayer {
            norm1: BatchNorm2d::new(c_in),
            conv1: conv(c_in, middle, 1, step(1, 0)),
            norm2: BatchNorm2d::new(middle),
            conv2: conv(middle, growth, 3, step(1, 1)),
        }
    }
}

impl Forward for DenseLayer {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.norm1.call(x, cx).relu();
        let y = self.conv1.call(&y, cx);
        let y = self.norm2.call(&y, cx).relu();
        self.conv2.call(&y, cx)
    }
}

/// Layers whose outputs are appended to what the next ones see.
#[derive(Module)]
struct DenseBlock {
    #[module(flatten)]
    layers: Numbered<DenseLayer>,
}

impl DenseBlock {
    fn new(c_in: usize, growth: usize, depth: usize) -> Self {
        let layers = (0..depth).map(|i| DenseLayer::new(c_in + i * growth, growth)).collect();
        DenseBlock { layers: Numbered { word: "denselayer", first: 1, layers } }
    }
}

impl Forward for DenseBlock {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let mut y = x.clone();
        for layer in &self.layers.layers {
            let new = layer.call(&y, cx);
            y = Var::cat(&[&y, &new], 1);
        }
        y
    }
}

/// Between blocks: batch norm, ReLU, 1x1 convolution to half the channels, and half the image.
#[derive(Module)]
struct Transition {
    norm: BatchNorm2d,
    conv: Conv2d,
    #[module(skip)]
    pool: AvgPool2d,
}

impl Transition {
    fn new(c: usize) -> Self {
        Transition {
            norm: BatchNorm2d::new(c),
            conv: conv(c, c / 2, 1, step(1, 0)),
            pool: AvgPool2d::new(2, 2),
        }
    }
}

impl Forward for Transition {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.norm.call(x, cx).relu();
        let y = self.conv.call(&y, cx);
        self.pool.forward(&y, cx)
    }
}

/// All but the classifier, in the order of the state dict.
#[derive(Module)]
struct Features {
    conv0: Conv2d,
    norm0: BatchNorm2d,
    #[module(skip)]
    pool0: MaxPool2d,
    denseblock1: DenseBlock,
    transition1: Transition,
    denseblock2: DenseBlock,
    transition2: Transition,
    denseblock3: DenseBlock,
    transition3: Transition,
    denseblock4: DenseBlock,
    norm5: BatchNorm2d,
}

impl Forward for Features {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv0.call(x, cx);
        let y = self.norm0.call(&y, cx).relu();
        let mut y = self.pool0.forward(&y, cx);
        for (block, transition) in [
            (&self.denseblock1, &self.transition1),
            (&self.denseblock2, &self.transition2),
            (&self.denseblock3, &self.transition3),
        ] {
            y = block.call(&y, cx);
            y = transition.call(&y, cx);
        }
        let y = self.denseblock4.call(&y, cx);
        self.norm5.call(&y, cx).relu()
    }
}

/// Four blocks of densely connected layers, between them transitions that halve image and channels, global average,
/// linear layer.
///
/// `[N, 3, H, W]` to logits `[N, classes]`; images of at least 29 pixels. State dict as torchvision's `densenet121` and the
/// others: `features.conv0.weight`, `features.denseblock1.denselayer1.norm1.weight`, …, `classifier.bias`. Source: Huang et
/// al. 2017, *Densely connected convolutional networks*, table 1.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{DenseNet, DenseNetConfig};
///
/// assert_eq!(DenseNet::new(&DenseNetConfig::default()).num_parameters(), 7_978_856);
/// ```
#[derive(Module)]
pub struct DenseNet {
    features: Features,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    classifier: Linear,
}

impl DenseNet {
    /// A net of this size.
    pub fn new(config: &DenseNetConfig) -> Self {
        let DenseNetConfig { growth, depths, stem_channels, classes, stem } = *config;
        let conv0 = match stem {
            Stem::Large => conv(3, stem_channels, 7, step(2, 3)),
            Stem::Small => {
                let options = Conv2dOptions { bias: false, ..step(1, 1) };
                Conv2d::with_options(3, stem_channels, [3; 2], options)
            }
        };
        // Channels at the start and at the end of each block.
        let mut start = [stem_channels; 4];
        let mut end = [0; 4];
        for i in 0..4 {
            if i > 0 {
                start[i] = end[i - 1] / 2;
            }
            end[i] = start[i] + depths[i] * growth;
        }
        let block = |i: usize| DenseBlock::new(start[i], growth, depths[i]);
        let features = Features {
            conv0,
            norm0: BatchNorm2d::new(stem_channels),
            pool0: MaxPool2d::new(3, 2).with_padding(1),
            denseblock1: block(0),
            transition1: Transition::new(end[0]),
            denseblock2: block(1),
            transition2: Transition::new(end[1]),
            denseblock3: block(2),
            transition3: Transition::new(end[2]),
            denseblock4: block(3),
            norm5: BatchNorm2d::new(end[3]),
        };
        let weight = Init::fan_in_uniform(end[3]);
        DenseNet {
            features,
            avgpool: AdaptiveAvgPool2d::new([1, 1]),
            classifier: linear(end[3], classes, weight, Init::Constant(0.0)),
        }
    }
}

impl Forward for DenseNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.features.call(x, cx);
        let y = self.avgpool.forward(&y, cx);
        self.classifier.call(&y.flatten(1), cx)
    }
}
