//! Nets by name: those of `vision`, and small ones that two cores can train.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module,
    layers::{
        AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Conv2dOptions, Dropout, Flatten, Linear, MaxPool2d,
        ReLU, Sequential,
    },
};
use vision::models::{
    self, ConvNeXtV2, ConvNeXtV2Config, DenseNet, DenseNetConfig, ModelConfig, RepLKNet,
    RepLKNetConfig, Stem,
};

/// What a net is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) classes: usize,
    /// Height and width of the input.
    pub(super) image: usize,
    /// Probability of a zero in the dropout of nets that have one.
    pub(super) dropout: f64,
    /// The probability with which nets that can do so leave out their last block.
    pub(super) stochastic_depth: f64,
}

/// Names of the small nets and what they are.
const SMALL: &[(&str, &str)] = &[
    ("resnet8", "residual net of three basic blocks, widths 16, 32, 64"),
    ("resnet14", "residual net of six basic blocks, widths 16, 32, 64"),
    ("resnet11", "residual net of three bottlenecks, widths 16, 32, 64"),
    ("resnext11", "the same with 4 groups in the 3x3 convolutions and twice their width"),
    ("alexnet_eighth", "AlexNet for small images at an eighth of its widths"),
    (
        "convnextv2_mini",
        "ConvNeXt-V2 of blocks 1, 1, 2, 1 and widths 16, 32, 64, 128, stride 4 at the start",
    ),
    ("densenet_mini", "DenseNet of growth 8 and blocks of 2, 3, 4, 3 layers"),
    ("replknet_mini", "RepLKNet of kernels 13, 11, 9, 5, stages 1, 1, 2, 1, widths 16, 24, 32, 64"),
];

/// What a name means, in words; `None` for the paper's own nets.
pub(super) fn about(name: &str) -> Option<&'static str> {
    SMALL.iter().find(|(n, _)| *n == name).map(|(_, about)| *about)
}

/// A net without values yet.
pub(super) fn create(name: &str, wanted: &Wanted) -> Result<Box<dyn Forward>, String> {
    let Wanted { classes, image, dropout, stochastic_depth } = *wanted;
    let plain = |depth| Box::new(SmallResNet::new(depth, None, classes));
    let bottleneck = |groups| Box::new(SmallResNet::new(1, Some(groups), classes));
    Ok(match name {
        "resnet8" => plain(1),
        "resnet14" => plain(2),
        "resnet11" => bottleneck(1),
        "resnext11" => bottleneck(4),
        "alexnet_eighth" => Box::new(alexnet_eighth(classes, image, dropout)),
        "convnextv2_mini" => Box::new(ConvNeXtV2::new(&ConvNeXtV2Config {
            depths: [1, 1, 2, 1],
            dims: [16, 32, 64, 128],
            classes,
            stochastic_depth,
            ..ConvNeXtV2Config::default()
        })),
        "densenet_mini" => Box::new(DenseNet::new(&DenseNetConfig {
            growth: 8,
            depths: [2, 3, 4, 3],
            stem_channels: 16,
            classes,
            stem: Stem::Small,
        })),
        "replknet_mini" => Box::new(RepLKNet::new(&RepLKNetConfig {
            kernels: [13, 11, 9, 5],
            small_kernel: 3,
            depths: [1, 1, 2, 1],
            dims: [16, 24, 32, 64],
            classes,
            stochastic_depth,
        })),
        name => return of_vision(name, wanted),
    })
}

/// The paper's nets: with the small first layer for images of fewer than 64 pixels (section 3 of the specification).
fn of_vision(name: &str, wanted: &Wanted) -> Result<Box<dyn Forward>, String> {
    let Wanted { classes, image, dropout, stochastic_depth } = *wanted;
    let stem = if image < 64 { Stem::Small } else { Stem::Large };
    let plain =
        ModelConfig { classes, image_size: image, stem, dropout: None, stochastic_depth: None };
    // Nets take no value for what they do not have, so the first that fits is the one.
    let with = [
        ModelConfig { dropout: Some(dropout), ..plain.clone() },
        ModelConfig { stochastic_depth: Some(stochastic_depth), ..plain.clone() },
    ];
    let fits = with.iter().find_map(|config| models::create(name, config).ok());
    match fits {
        Some(model) => Ok(model),
        None => models::create(name, &plain).map_err(|e| {
            let small: Vec<&str> = SMALL.iter().map(|(name, _)| *name).collect();
            format!("{e}; small nets: {}", small.join(", "))
        }),
    }
}

fn conv(c_in: usize, c_out: usize, kernel: usize, stride: usize, groups: usize) -> Conv2d {
    let options = Conv2dOptions {
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        groups,
        bias: false,
        ..Default::default()
    };
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    conv.weight.set_init(Init::he_normal_fan_out(c_out * kernel * kernel));
    conv
}

/// Convolutions with batch norm and a way around them: `relu(x + f(x))`, as in `vision`'s ResNet.
#[derive(Module)]
struct Block {
    body: Sequential,
    downsample: Option<Sequential>,
}

impl Block {
    /// Two 3x3 convolutions, or with `groups` 1x1, grouped 3x3 and 1x1 to four times the width.
    fn new(c_in: usize, width: usize, groups: Option<usize>, stride: usize) -> Self {
        let norm = BatchNorm2d::new;
        let (body, c_out) = match groups {
            None => {
                let body = Sequential::new()
                    .with(conv(c_in, width, 3, stride, 1))
                    .with(norm(width))
                    .with(ReLU)
                    .with(conv(width, width, 3, 1, 1))
                    .with(norm(width));
                (body, width)
            }
            Some(groups) => {
                let middle = if groups == 1 { width } else { 2 * width };
                let body = Sequential::new()
                    .with(conv(c_in, middle, 1, 1, 1))
                    .with(norm(middle))
                    .with(ReLU)
                    .with(conv(middle, middle, 3, stride, groups))
                    .with(norm(middle))
                    .with(ReLU)
                    .with(conv(middle, 4 * width, 1, 1, 1))
                    .with(norm(4 * width));
                (body, 4 * width)
            }
        };
        let around = || Sequential::new().with(conv(c_in, c_out, 1, stride, 1)).with(norm(c_out));
        Block { body, downsample: (stride != 1 || c_in != c_out).then(around) }
    }
}

impl Forward for Block {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.body.call(x, cx);
        let around = match &self.downsample {
            Some(downsample) => downsample.call(x, cx),
            None => x.clone(),
        };
        (&y + &around).relu()
    }
}

/// The widths of the three stages.
const WIDTHS: [usize; 3] = [16, 32, 64];

/// A residual net of three stages behind a 3x3 convolution and the max-pool that the paper's nets keep for small images.
#[derive(Module)]
struct SmallResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    #[module(skip)]
    maxpool: MaxPool2d,
    layers: Sequential,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    fc: Linear,
}

impl SmallResNet {
    fn new(depth: usize, groups: Option<usize>, classes: usize) -> Self {
        // The first layer starts from PyTorch's default, as the paper's replaced one does.
        let options = Conv2dOptions { padding: [1; 2], bias: false, ..Default::default() };
        let (mut layers, mut c_in) = (Sequential::new(), WIDTHS[0]);
        for (stage, width) in WIDTHS.into_iter().enumerate() {
            for block in 0..depth {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                layers = layers.with(Block::new(c_in, width, groups, stride));
                c_in = if groups.is_some() { 4 * width } else { width };
            }
        }
        SmallResNet {
            conv1: Conv2d::with_options(3, WIDTHS[0], [3; 2], options),
            bn1: BatchNorm2d::new(WIDTHS[0]),
            maxpool: MaxPool2d::new(3, 2).with_padding(1),
            layers,
            avgpool: AdaptiveAvgPool2d::new([1, 1]),
            fc: Linear::new(c_in, classes),
        }
    }
}

impl Forward for SmallResNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv1.call(x, cx);
        let y = self.bn1.call(&y, cx).relu();
        let y = self.maxpool.forward(&y, cx);
        let y = self.layers.call(&y, cx);
        let y = self.avgpool.forward(&y, cx);
        self.fc.call(&y.flatten(1), cx)
    }
}

/// No norms, as AlexNet has none: the net in which plain enlargement does the most harm.
fn alexnet_eighth(classes: usize, image: usize, dropout: f64) -> Sequential {
    let conv = |c_in, c_out, kernel| {
        let options = Conv2dOptions { padding: [kernel / 2; 2], ..Default::default() };
        Conv2d::with_options(c_in, c_out, [kernel; 2], options)
    };
    let pool = || MaxPool2d::new(3, 2);
    let after = |size: usize| (size - 3) / 2 + 1;
    let side = after(after(after(image)));
    Sequential::new()
        .with(conv(3, 8, 3))
        .with(ReLU)
        .with(pool())
        .with(conv(8, 24, 5))
        .with(ReLU)
        .with(pool())
        .with(conv(24, 48, 3))
        .with(ReLU)
        .with(conv(48, 32, 3))
        .with(ReLU)
        .with(conv(32, 32, 3))
        .with(ReLU)
        .with(pool())
        .with(Flatten)
        .with(Dropout::new(dropout))
        .with(Linear::new(32 * side * side, 512))
        .with(ReLU)
        .with(Dropout::new(dropout))
        .with(Linear::new(512, 512))
        .with(ReLU)
        .with(Linear::new(512, classes))
}

#[cfg(test)]
mod tests {
    use nn::{ModuleExt, summary};
    use tensor::{DType, Device};

    use super::*;

    #[test]
    fn small_nets_take_images_and_are_as_small_as_they_should_be() {
        let wanted = Wanted { classes: 20, image: 32, dropout: 0.5, stochastic_depth: 0.0 };
        for (name, _) in SMALL {
            let mut net = create(name, &wanted).unwrap();
            net.initialize(0, DType::F32, Device::Cpu);
            let summary = summary(&*net, [1, 3, 32, 32]);
            assert_eq!(summary.rows[0].output, Some([1, 20].into()), "{name}");
            assert!(summary.macs < 9_000_000, "{name}: {} MACs", summary.macs);
            assert!(about(name).is_some());
        }
        // 3.4 MMAC in the specification.
        let mut net = create("resnet8", &wanted).unwrap();
        net.initialize(0, DType::F32, Device::Cpu);
        let macs = summary(&*net, [1, 3, 32, 32]).macs as f64 / 1e6;
        assert!((macs - 3.4).abs() < 0.2, "{macs}");
    }

    #[test]
    fn the_papers_nets_have_their_dropout_and_unknown_ones_are_named() {
        let wanted = Wanted { classes: 100, image: 32, dropout: 0.5, stochastic_depth: 0.1 };
        for name in ["alexnet", "vgg16_bn", "resnet18", "resnet34", "convnext_tiny"] {
            create(name, &wanted).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        let error = create("resnet81", &wanted).err().unwrap();
        assert!(error.contains("did you mean") && error.contains("resnet8,"), "{error}");
    }
}
