//! [`ResNet`] with basic blocks: 18 and 34 layers.

use autograd::Var;
use nn::{
    Context, Forward, Module,
    layers::{
        AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Conv2dOptions, Linear, MaxPool2d, Sequential,
    },
};

use super::stem::{Stem, he_conv, step};

/// Size of a [`ResNet`]; the default is ResNet-18 for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// Blocks of the four stages, whose widths are 64, 128, 256 and 512. Default 2, 2, 2, 2: ResNet-18.
    pub depths: [usize; 4],
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The first convolution. Default 7x7 with stride 2. The max-pool behind it stays either way.
    pub stem: Stem,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        ResNetConfig { depths: [2, 2, 2, 2], classes: 1000, stem: Stem::Large }
    }
}

/// Two 3x3 convolutions, each with batch norm, and a way around them: `relu(x + f(x))`. He et al. 2016, fig. 2.
#[derive(Module)]
struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    /// Where the shape changes, the way around is a 1x1 convolution with batch norm (option B of the paper).
    downsample: Option<Sequential>,
}

impl BasicBlock {
    fn new(c_in: usize, c: usize, stride: usize) -> Self {
        let projection = || {
            Sequential::new().with(he_conv(c_in, c, 1, step(stride, 0))).with(BatchNorm2d::new(c))
        };
        BasicBlock {
            conv1: he_conv(c_in, c, 3, step(stride, 1)),
            bn1: BatchNorm2d::new(c),
            conv2: he_conv(c, c, 3, step(1, 1)),
            bn2: BatchNorm2d::new(c),
            downsample: (stride != 1 || c_in != c).then(projection),
        }
    }
}

impl Forward for BasicBlock {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv1.call(x, cx);
        let y = self.bn1.call(&y, cx).relu();
        let y = self.conv2.call(&y, cx);
        let y = self.bn2.call(&y, cx);
        let around = match &self.downsample {
            Some(downsample) => downsample.call(x, cx),
            None => x.clone(),
        };
        (&y + &around).relu()
    }
}

/// Residual net of basic blocks: convolution, batch norm, ReLU and max-pool, four stages that halve the image (but the
/// first) and double the channels, global average, linear layer.
///
/// `[N, 3, H, W]` to logits `[N, classes]`, of any size of image. State dict as torchvision's `resnet18` and `resnet34`.
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
    /// A net of this size.
    pub fn new(config: &ResNetConfig) -> Self {
        let conv1 = match config.stem {
            Stem::Large => he_conv(3, 64, 7, step(2, 3)),
            Stem::Small => {
                Conv2d::with_options(3, 64, [3; 2], Conv2dOptions { bias: false, ..step(1, 1) })
            }
        };
        let [d1, d2, d3, d4] = config.depths;
        ResNet {
            conv1,
            bn1: BatchNorm2d::new(64),
            maxpool: MaxPool2d::new(3, 2).with_padding(1),
            layer1: stage(d1, 64, 64, 1),
            layer2: stage(d2, 64, 128, 2),
            layer3: stage(d3, 128, 256, 2),
            layer4: stage(d4, 256, 512, 2),
            avgpool: AdaptiveAvgPool2d::new([1, 1]),
            fc: Linear::new(512, config.classes),
        }
    }

    /// 18 layers.
    pub fn resnet18(classes: usize, stem: Stem) -> Self {
        Self::new(&ResNetConfig { classes, stem, ..ResNetConfig::default() })
    }

    /// 34 layers.
    pub fn resnet34(classes: usize, stem: Stem) -> Self {
        Self::new(&ResNetConfig { depths: [3, 4, 6, 3], classes, stem })
    }
}

/// `depth` blocks of `c` channels, the first with a stride.
fn stage(depth: usize, c_in: usize, c: usize, stride: usize) -> Sequential {
    (0..depth).fold(Sequential::new(), |stage, i| match i {
        0 => stage.with(BasicBlock::new(c_in, c, stride)),
        _ => stage.with(BasicBlock::new(c, c, 1)),
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
