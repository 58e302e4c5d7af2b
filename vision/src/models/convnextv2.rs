//! [`ConvNeXtV2`] and its block.

use autograd::Var;
use nn::{
    Context, Forward, Module,
    layers::{
        AdaptiveAvgPool2d, Conv2d, Conv2dOptions, DropPath, Grn, LayerNorm, LayerNorm2d, Linear,
        Sequential,
    },
};

use super::{
    convnext::{EPS, conv, linear},
    stem::step,
};

/// Size of a [`ConvNeXtV2`]; the default is ConvNeXt-V2-T for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNeXtV2Config {
    /// Blocks of the four stages. Default 3, 3, 9, 3.
    pub depths: [usize; 4],
    /// Channels of the four stages. Default 96, 192, 384, 768.
    pub dims: [usize; 4],
    /// Whether the linear layers of a block are stored as 1x1 convolutions, which is what timm does for the nets smaller than
    /// T; they compute the same, but Lp-conversion sees them. Default false.
    pub conv_mlp: bool,
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The probability with which the last block is left out for a sample in training; it grows linearly from 0 at the
    /// first. Default 0.
    pub stochastic_depth: f64,
}

impl Default for ConvNeXtV2Config {
    fn default() -> Self {
        ConvNeXtV2Config {
            depths: [3, 3, 9, 3],
            dims: [96, 192, 384, 768],
            conv_mlp: false,
            classes: 1000,
            stochastic_depth: 0.0,
        }
    }
}

impl ConvNeXtV2Config {
    /// ConvNeXt-V2-A.
    pub fn atto() -> Self {
        let (depths, dims) = ([2, 2, 6, 2], [40, 80, 160, 320]);
        ConvNeXtV2Config { depths, dims, conv_mlp: true, ..Self::default() }
    }

    /// ConvNeXt-V2-F.
    pub fn femto() -> Self {
        ConvNeXtV2Config { dims: [48, 96, 192, 384], ..Self::atto() }
    }

    /// ConvNeXt-V2-P.
    pub fn pico() -> Self {
        ConvNeXtV2Config { dims: [64, 128, 256, 512], ..Self::atto() }
    }

    /// ConvNeXt-V2-N.
    pub fn nano() -> Self {
        let (depths, dims) = ([2, 2, 8, 2], [80, 160, 320, 640]);
        ConvNeXtV2Config { depths, dims, ..Self::atto() }
    }

    /// ConvNeXt-V2-B.
    pub fn base() -> Self {
        let (depths, dims) = ([3, 3, 27, 3], [128, 256, 512, 1024]);
        ConvNeXtV2Config { depths, dims, ..Self::default() }
    }
}

/// Two layers over the channels of each pixel, with GELU and global response normalization between them.
#[derive(Module)]
struct Mlp {
    fc1: Box<dyn Forward>,
    grn: Grn,
    fc2: Box<dyn Forward>,
    #[module(skip)]
    convolutions: bool,
}

impl Mlp {
    fn new(c: usize, hidden: usize, convolutions: bool) -> Self {
        let layer = |c_in, c_out| -> Box<dyn Forward> {
            match convolutions {
                true => Box::new(conv(c_in, c_out, 1, step(1, 0))),
                false => Box::new(linear(c_in, c_out)),
            }
        };
        Mlp { fc1: layer(c, hidden), grn: Grn::new(hidden), fc2: layer(hidden, c), convolutions }
    }
}

impl Forward for Mlp {
    /// `[N, C, H, W]` where the layers are convolutions, else `[N, H, W, C]`.
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.fc1.call(x, cx).gelu();
        let y = match self.convolutions {
            true => {
                let y = self.grn.call(&y.permute(&TO_END), cx);
                y.permute(&TO_FRONT)
            }
            false => self.grn.call(&y, cx),
        };
        self.fc2.call(&y, cx)
    }
}

/// The axes of `[N, C, H, W]` for `[N, H, W, C]`, and back.
const TO_END: [usize; 4] = [0, 2, 3, 1];
const TO_FRONT: [usize; 4] = [0, 3, 1, 2];

/// Depthwise 7x7 convolution, layer norm and a [`Mlp`] 4 times as wide, and a way around it all: Woo et al. 2023, fig. 5.
/// Against ConvNeXt's block it has global response normalization and no layer scale.
///
/// Input and output `[N, C, H, W]`. State dict as timm's `ConvNeXtBlock`.
#[derive(Module)]
struct Block {
    conv_dw: Conv2d,
    norm: Box<dyn Forward>,
    mlp: Mlp,
    #[module(skip)]
    drop_path: DropPath,
}

impl Block {
    fn new(c: usize, conv_mlp: bool, stochastic_depth: f64) -> Self {
        let depthwise = Conv2dOptions { groups: c, ..step(1, 3) };
        Block {
            conv_dw: conv(c, c, 7, depthwise),
            norm: match conv_mlp {
                true => Box::new(LayerNorm2d::with_eps(c, EPS)),
                false => Box::new(LayerNorm::with_eps([c], EPS)),
            },
            mlp: Mlp::new(c, 4 * c, conv_mlp),
            drop_path: DropPath::new(stochastic_depth),
        }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv_dw.call(x, cx);
        let y = match self.mlp.convolutions {
            true => {
                let y = self.norm.call(&y, cx);
                self.mlp.call(&y, cx)
            }
            false => {
                let y = self.norm.call(&y.permute(&TO_END), cx);
                self.mlp.call(&y, cx).permute(&TO_FRONT)
            }
        };
        x + &self.drop_path.forward(&y, cx)
    }
}

/// Half the image (but before the first stage), then blocks.
#[derive(Module)]
struct Stage {
    downsample: Option<Sequential>,
    blocks: Sequential,
}

impl Forward for Stage {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = match &self.downsample {
            Some(downsample) => downsample.call(x, cx),
            None => x.clone(),
        };
        self.blocks.call(&y, cx)
    }
}

/// Global average, layer norm, linear layer.
#[derive(Module)]
struct Head {
    #[module(skip)]
    global_pool: AdaptiveAvgPool2d,
    norm: LayerNorm2d,
    fc: Linear,
}

impl Forward for Head {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.global_pool.forward(x, cx);
        let y = self.norm.call(&y, cx);
        self.fc.call(&y.flatten(1), cx)
    }
}

/// ConvNeXt with global response normalization: patches of 4x4 pixels, four stages between which the image is halved,
/// global average, layer norm, linear layer.
///
/// `[N, 3, H, W]` to logits `[N, classes]`, images of at least 32 pixels. State dict as timm's `convnextv2_tiny` and the
/// others: `stem.0.weight`, …, `stages.0.blocks.0.conv_dw.weight`, …, `head.fc.bias`. Source: Woo et al. 2023, *ConvNeXt V2:
/// co-designing and scaling ConvNets with masked autoencoders*.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{ConvNeXtV2, ConvNeXtV2Config};
///
/// assert_eq!(ConvNeXtV2::new(&ConvNeXtV2Config::default()).num_parameters(), 28_635_496);
/// ```
#[derive(Module)]
pub struct ConvNeXtV2 {
    stem: Sequential,
    stages: Vec<Stage>,
    head: Head,
}

impl ConvNeXtV2 {
    /// A net of this size.
    ///
    /// # Panics
    /// If `stochastic_depth` is no probability.
    #[track_caller]
    pub fn new(config: &ConvNeXtV2Config) -> Self {
        let ConvNeXtV2Config { depths, dims, conv_mlp, classes, stochastic_depth } = *config;
        let mut rates = DropPath::rates(stochastic_depth, depths.iter().sum()).into_iter();
        let mut stages = Vec::new();
        for (i, (&depth, &c)) in depths.iter().zip(&dims).enumerate() {
            let halve = || {
                Sequential::new().with(LayerNorm2d::with_eps(dims[i - 1], EPS)).with(conv(
                    dims[i - 1],
                    c,
                    2,
                    step(2, 0),
                ))
            };
            let blocks = rates
                .by_ref()
                .take(depth)
                .fold(Sequential::new(), |blocks, p| blocks.with(Block::new(c, conv_mlp, p)));
            stages.push(Stage { downsample: (i > 0).then(halve), blocks });
        }
        let stem = Sequential::new()
            .with(conv(3, dims[0], 4, step(4, 0)))
            .with(LayerNorm2d::with_eps(dims[0], EPS));
        let head = Head {
            global_pool: AdaptiveAvgPool2d::new([1, 1]),
            norm: LayerNorm2d::with_eps(dims[3], EPS),
            fc: linear(dims[3], classes),
        };
        ConvNeXtV2 { stem, stages, head }
    }
}

impl Forward for ConvNeXtV2 {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let mut y = self.stem.call(x, cx);
        for stage in &self.stages {
            y = stage.call(&y, cx);
        }
        self.head.call(&y, cx)
    }
}
