//! [`ResNet`] with basic blocks (18 and 34 layers) and bottlenecks (50, 101, 152), and what widens the bottlenecks: ResNeXt
//! and Wide ResNet.

use autograd::Var;
use nn::{
    Context, Forward, Module,
    layers::{
        AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Conv2dOptions, Linear, MaxPool2d, Sequential,
    },
};

use super::stem::{Stem, he_conv, step};

/// What a stage of a [`ResNet`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResNetBlock {
    /// Two 3x3 convolutions.
    Basic,
    /// 1x1, 3x3 and 1x1 convolution; the last has 4 times the stage's width.
    Bottleneck {
        /// Groups of the 3x3 convolution: 1, in ResNeXt 32 or 64.
        groups: usize,
        /// Channels of each group in the first stage (and twice, 4, 8 times as many in the others): 64, in ResNeXt 4 or 8, in
        /// Wide ResNet 128.
        width_per_group: usize,
    },
}

impl ResNetBlock {
    /// The bottleneck of ResNet-50.
    pub const BOTTLENECK: Self = ResNetBlock::Bottleneck { groups: 1, width_per_group: 64 };

    /// Channels of a block's output in a stage of `width`.
    fn channels(self, width: usize) -> usize {
        match self {
            ResNetBlock::Basic => width,
            ResNetBlock::Bottleneck { .. } => 4 * width,
        }
    }
}

/// Size of a [`ResNet`]; the default is ResNet-18 for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// What the stages are made of. Default basic blocks.
    pub block: ResNetBlock,
    /// Blocks of the four stages, whose widths are 64, 128, 256 and 512. Default 2, 2, 2, 2: ResNet-18.
    pub depths: [usize; 4],
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The first convolution. Default 7x7 with stride 2. The max-pool behind it stays either way.
    pub stem: Stem,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        let (block, depths) = (ResNetBlock::Basic, [2, 2, 2, 2]);
        ResNetConfig { block, depths, classes: 1000, stem: Stem::Large }
    }
}

impl ResNetConfig {
    /// ResNet-34.
    pub fn resnet34() -> Self {
        ResNetConfig { depths: [3, 4, 6, 3], ..Self::default() }
    }

    /// ResNet-50.
    pub fn resnet50() -> Self {
        ResNetConfig { block: ResNetBlock::BOTTLENECK, ..Self::resnet34() }
    }

    /// ResNet-101.
    pub fn resnet101() -> Self {
        ResNetConfig { depths: [3, 4, 23, 3], ..Self::resnet50() }
    }

    /// ResNet-152.
    pub fn resnet152() -> Self {
        ResNetConfig { depths: [3, 8, 36, 3], ..Self::resnet50() }
    }

    /// The same with other bottlenecks: ResNeXt-50 32x4d is `resnet50().with_bottleneck(32, 4)` (Xie et al. 2017), Wide
    /// ResNet-50-2 `resnet50().with_bottleneck(1, 128)` (Zagoruyko & Komodakis 2016).
    pub fn with_bottleneck(self, groups: usize, width_per_group: usize) -> Self {
        ResNetConfig { block: ResNetBlock::Bottleneck { groups, width_per_group }, ..self }
    }
}

/// Where the shape changes, the way around a block is a 1x1 convolution with batch norm (option B of the paper).
fn projection(c_in: usize, c: usize, stride: usize) -> Option<Sequential> {
    let make =
        || Sequential::new().with(he_conv(c_in, c, 1, step(stride, 0))).with(BatchNorm2d::new(c));
    (stride != 1 || c_in != c).then(make)
}

/// `relu(x + f(x))`.
fn joined(x: &Var, y: &Var, downsample: &Option<Sequential>, cx: &mut Context) -> Var {
    let around = match downsample {
        Some(downsample) => downsample.call(x, cx),
        None => x.clone(),
    };
    (y + &around).relu()
}

/// Two 3x3 convolutions, each with batch norm, and a way around them: `relu(x + f(x))`. He et al. 2016, fig. 2.
#[derive(Module)]
struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl BasicBlock {
    fn new(c_in: usize, c: usize, stride: usize) -> Self {
        BasicBlock {
            conv1: he_conv(c_in, c, 3, step(stride, 1)),
            bn1: BatchNorm2d::new(c),
            conv2: he_conv(c, c, 3, step(1, 1)),
            bn2: BatchNorm2d::new(c),
            downsample: projection(c_in, c, stride),
        }
    }
}

impl Forward for BasicBlock {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv1.call(x, cx);
        let y = self.bn1.call(&y, cx).relu();
        let y = self.conv2.call(&y, cx);
        let y = self.bn2.call(&y, cx);
        joined(x, &y, &self.downsample, cx)
    }
}

/// A 1x1 convolution to fewer channels, 3x3, and 1x1 to many, each with batch norm, and a way around them. He et al. 2016,
/// fig. 5; with the stride in the 3x3 convolution, as torchvision has it.
#[derive(Module)]
struct Bottleneck {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    bn3: BatchNorm2d,
    downsample: Option<Sequential>,
}

impl Bottleneck {
    fn new(c_in: usize, middle: usize, groups: usize, c: usize, stride: usize) -> Self {
        let grouped = Conv2dOptions { groups, ..step(stride, 1) };
        Bottleneck {
            conv1: he_conv(c_in, middle, 1, step(1, 0)),
            bn1: BatchNorm2d::new(middle),
            conv2: he_conv(middle, middle, 3, grouped),
            bn2: BatchNorm2d::new(middle),
            conv3: he_conv(middle, c, 1, step(1, 0)),
            bn3: BatchNorm2d::new(c),
            downsample: projection(c_in, c, stride),
        }
    }
}

impl Forward for Bottleneck {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv1.call(x, cx);
        let y = self.bn1.call(&y, cx).relu();
        let y = self.conv2.call(&y, cx);
        let y = self.bn2.call(&y, cx).relu();
        let y = self.conv3.call(&y, cx);
        let y = self.bn3.call(&y, cx);
        joined(x, &y, &self.downsample, cx)
    }
}

/// Residual net: convolution, batch norm, ReLU and max-pool, four stages that halve the image (but the
/// first) and double the channels, global average, linear layer.
///
/// `[N, 3, H, W]` to logits `[N, classes]`, of any size of image. State dict as torchvision's `resnet18` and the others,
/// `resnext50_32x4d`, `wide_resnet50_2`: `conv1.weight`, `bn1.weight`, …, `layer1.0.conv1.weight`, …, `fc.bias`.
/// Source: He et al. 2016, *Deep residual learning for image recognition*, table 1.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{ResNet, ResNetConfig, Stem};
///
/// assert_eq!(ResNet::new(&ResNetConfig::default()).num_parameters(), 11_689_512);
/// let small = ResNetConfig { classes: 100, stem: Stem::Small, ..ResNetConfig::default() };
/// assert_eq!(ResNet::new(&small).num_parameters(), 11_220_132);
/// ```
#[derive(Module)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    #[module(skip)]
    maxpool: MaxPool2d,
    layer1: Sequential,
    layer2: Sequential,
    layer3: Sequential,
    layer4: Sequential,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    fc: Linear,
}

impl ResNet {
    /// ResNet-18.
    pub fn resnet18(classes: usize, stem: Stem) -> Self {
        Self::new(&ResNetConfig { classes, stem, ..ResNetConfig::default() })
    }

    /// A net of this size.
    pub fn new(config: &ResNetConfig) -> Self {
        let conv1 = match config.stem {
            Stem::Large => he_conv(3, 64, 7, step(2, 3)),
            Stem::Small => {
                Conv2d::with_options(3, 64, [3; 2], Conv2dOptions { bias: false, ..step(1, 1) })
            }
        };
        let mut c_in = 64;
        let mut stage = |i: usize| {
            let (width, stride) = (64 << i, if i == 0 { 1 } else { 2 });
            let stage = stage(config.block, config.depths[i], c_in, width, stride);
            c_in = config.block.channels(width);
            stage
        };
        ResNet {
            conv1,
            bn1: BatchNorm2d::new(64),
            maxpool: MaxPool2d::new(3, 2).with_padding(1),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
            avgpool: AdaptiveAvgPool2d::new([1, 1]),
            fc: Linear::new(config.block.channels(512), config.classes),
        }
    }
}

/// `depth` blocks, the first with a stride.
fn stage(block: ResNetBlock, depth: usize, c_in: usize, width: usize, stride: usize) -> Sequential {
    let c_out = block.channels(width);
    (0..depth).fold(Sequential::new(), |stage, i| {
        let (c_in, stride) = if i == 0 { (c_in, stride) } else { (c_out, 1) };
        match block {
            ResNetBlock::Basic => stage.with(BasicBlock::new(c_in, c_out, stride)),
            ResNetBlock::Bottleneck { groups, width_per_group } => {
                let middle = width * width_per_group / 64 * groups;
                stage.with(Bottleneck::new(c_in, middle, groups, c_out, stride))
            }
        }
    })
}

impl Forward for ResNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv1.call(x, cx);
        let y = self.bn1.call(&y, cx).relu();
        let mut y = self.maxpool.forward(&y, cx);
        for stage in [&self.layer1, &self.layer2, &self.layer3, &self.layer4] {
            y = stage.call(&y, cx);
        }
        let y = self.avgpool.forward(&y, cx);
        self.fc.call(&y.flatten(1), cx)
    }
}
