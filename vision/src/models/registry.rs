//! [`create`]: every architecture by the name torchvision or timm gives it.

use nn::Forward;

use super::{
    AlexNet, AlexNetConfig, ConvNeXt, ConvNeXtConfig, ConvNeXtV2, ConvNeXtV2Config, DenseNet,
    DenseNetConfig, RepLKNet, RepLKNetConfig, ResNet, ResNetConfig, SqueezeNet, SqueezeNetConfig,
    SqueezeNetVersion, Stem, SudokuNet, SudokuNetConfig, Vgg, VggConfig, Vit, VitConfig,
};
use crate::Error;

/// What may be chosen about an architecture; the default is as published for ImageNet.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// Height and width of images in pixels. Default 224. Transformers are made for one size; of all others it is checked that
    /// images do not vanish on the way, and they take any that do not.
    pub image_size: usize,
    /// The first layer. Default as published. VGG and ConvNeXt have nothing to replace for small images: theirs is the same
    /// either way.
    pub stem: Stem,
    /// Probability of a zero in dropout layers; `None`, the default, is as published.
    pub dropout: Option<f64>,
    /// The probability with which the last block is left out for a sample in training; `None`, the default, is as published.
    pub stochastic_depth: Option<f64>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        ModelConfig {
            classes: 1000,
            image_size: 224,
            stem: Stem::Large,
            dropout: None,
            stochastic_depth: None,
        }
    }
}

impl ModelConfig {
    /// The CIFAR variants: images of 32 pixels and a small first layer (section 3 of the specification).
    pub fn cifar(classes: usize) -> Self {
        ModelConfig { classes, image_size: 32, stem: Stem::Small, ..Self::default() }
    }
}

/// An architecture that [`create`] makes.
pub struct ModelInfo {
    /// Its name.
    pub name: &'static str,
    /// Authors, year and what it is, in a few words.
    pub about: &'static str,
    family: Family,
    build: fn(&ModelConfig) -> Box<dyn Forward>,
}

impl ModelInfo {
    /// The shape of one image, as a batch of 1.
    pub fn input(&self, config: &ModelConfig) -> [usize; 4] {
        match self.family {
            Family::Sudoku => [1, 1, 9, 9],
            _ => [1, 3, config.image_size, config.image_size],
        }
    }

    /// The smallest height and width that do not vanish on the way.
    pub fn smallest_image(&self, stem: Stem) -> usize {
        let of = |large: usize, small: usize| if stem == Stem::Large { large } else { small };
        match self.name {
            "squeezenet1_1" => of(17, 8),
            name if name.starts_with("squeezenet") => of(21, 8),
            name if name.starts_with("alexnet") => of(63, 15),
            name if name.starts_with("densenet") => of(29, 15),
            name if name.starts_with("vgg") || name.starts_with("convnext") => 32,
            _ => 1,
        }
    }

    /// The default configuration of this architecture.
    pub fn config(&self) -> ModelConfig {
        match self.family {
            Family::Sudoku => ModelConfig { classes: 9, image_size: 9, ..ModelConfig::default() },
            _ => ModelConfig::default(),
        }
    }
}

/// What differs between architectures in what may be chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Dropout, any size of image.
    Dropout,
    /// Neither dropout nor stochastic depth.
    Plain,
    /// Stochastic depth.
    StochasticDepth,
    /// Stochastic depth, and no form for small images.
    LargeOnly,
    /// Dropout, and images of one size divided into patches of so many pixels.
    Patches(usize),
    /// Boards of 9x9 cells.
    Sudoku,
}

impl Family {
    fn has_dropout(self) -> bool {
        matches!(self, Family::Dropout | Family::Patches(_))
    }

    fn has_stochastic_depth(self) -> bool {
        matches!(self, Family::StochasticDepth | Family::LargeOnly)
    }
}

/// Pixels of a patch: for small images a quarter of what they are for large ones.
fn patch_size(large: usize, stem: Stem) -> usize {
    match stem {
        Stem::Large => large,
        Stem::Small => large / 4,
    }
}

const fn model(
    name: &'static str,
    about: &'static str,
    family: Family,
    build: fn(&ModelConfig) -> Box<dyn Forward>,
) -> ModelInfo {
    ModelInfo { name, about, family, build }
}

const VGG: &str = "Simonyan & Zisserman 2015: 3x3 convolutions";
const VGG_BN: &str = "Simonyan & Zisserman 2015: 3x3 convolutions with batch norm";
const RESNET: &str = "He et al. 2016: residual blocks";
const RESNEXT: &str = "Xie et al. 2017: residual blocks of grouped convolutions";
const WIDE: &str = "Zagoruyko & Komodakis 2016: wide residual blocks";
const DENSE: &str = "Huang et al. 2017: densely connected layers";
const SQUEEZE: &str = "Iandola et al. 2016: fire modules";
const CONVNEXT: &str = "Liu et al. 2022: depthwise 7x7 blocks";
const CONVNEXT_V2: &str = "Woo et al. 2023: ConvNeXt with global response normalization";
const REPLKNET: &str = "Ding et al. 2022: depthwise kernels up to 31x31";
const VIT: &str = "Dosovitskiy et al. 2021: transformer over patches";
const SUDOKU: &str = "Kwon et al. 2025: convolutions over a 9x9 board";

/// Every architecture, by family.
pub static MODELS: &[ModelInfo] = &[
    model("alexnet", "Krizhevsky 2014: large kernels first", Family::Dropout, |c| {
        let base = AlexNetConfig::default();
        let dropout = c.dropout.unwrap_or(base.dropout);
        Box::new(AlexNet::new(&AlexNetConfig { classes: c.classes, stem: c.stem, dropout }))
    }),
    model("vgg11", VGG, Family::Dropout, |c| vgg(c, [1, 1, 2, 2, 2], false)),
    model("vgg11_bn", VGG_BN, Family::Dropout, |c| vgg(c, [1, 1, 2, 2, 2], true)),
    model("vgg13", VGG, Family::Dropout, |c| vgg(c, [2, 2, 2, 2, 2], false)),
    model("vgg13_bn", VGG_BN, Family::Dropout, |c| vgg(c, [2, 2, 2, 2, 2], true)),
    model("vgg16", VGG, Family::Dropout, |c| vgg(c, [2, 2, 3, 3, 3], false)),
    model("vgg16_bn", VGG_BN, Family::Dropout, |c| vgg(c, [2, 2, 3, 3, 3], true)),
    model("vgg19", VGG, Family::Dropout, |c| vgg(c, [2, 2, 4, 4, 4], false)),
    model("vgg19_bn", VGG_BN, Family::Dropout, |c| vgg(c, [2, 2, 4, 4, 4], true)),
    model("resnet18", RESNET, Family::Plain, |c| resnet(c, ResNetConfig::default())),
    model("resnet34", RESNET, Family::Plain, |c| resnet(c, ResNetConfig::resnet34())),
    model("resnet50", RESNET, Family::Plain, |c| resnet(c, ResNetConfig::resnet50())),
    model("resnet101", RESNET, Family::Plain, |c| resnet(c, ResNetConfig::resnet101())),
    model("resnet152", RESNET, Family::Plain, |c| resnet(c, ResNetConfig::resnet152())),
    model("resnext50_32x4d", RESNEXT, Family::Plain, |c| {
        resnet(c, ResNetConfig::resnet50().with_bottleneck(32, 4))
    }),
    model("resnext101_32x8d", RESNEXT, Family::Plain, |c| {
        resnet(c, ResNetConfig::resnet101().with_bottleneck(32, 8))
    }),
    model("resnext101_64x4d", RESNEXT, Family::Plain, |c| {
        resnet(c, ResNetConfig::resnet101().with_bottleneck(64, 4))
    }),
    model("wide_resnet50_2", WIDE, Family::Plain, |c| {
        resnet(c, ResNetConfig::resnet50().with_bottleneck(1, 128))
    }),
    model("wide_resnet101_2", WIDE, Family::Plain, |c| {
        resnet(c, ResNetConfig::resnet101().with_bottleneck(1, 128))
    }),
    model("densenet121", DENSE, Family::Plain, |c| densenet(c, DenseNetConfig::default())),
    model("densenet161", DENSE, Family::Plain, |c| densenet(c, DenseNetConfig::densenet161())),
    model("densenet169", DENSE, Family::Plain, |c| densenet(c, DenseNetConfig::densenet169())),
    model("densenet201", DENSE, Family::Plain, |c| densenet(c, DenseNetConfig::densenet201())),
    model("squeezenet1_0", SQUEEZE, Family::Dropout, |c| squeezenet(c, SqueezeNetVersion::V1_0, 0)),
    model(
        "squeezenet1_0_caffe",
        "Iandola et al. 2016: the authors' release, whose last convolution pads",
        Family::Dropout,
        |c| squeezenet(c, SqueezeNetVersion::V1_0, 1),
    ),
    model("squeezenet1_1", SQUEEZE, Family::Dropout, |c| squeezenet(c, SqueezeNetVersion::V1_1, 0)),
    model("convnext_tiny", CONVNEXT, Family::StochasticDepth, |c| {
        convnext(c, ConvNeXtConfig::default())
    }),
    model("convnext_small", CONVNEXT, Family::StochasticDepth, |c| {
        convnext(c, ConvNeXtConfig::small())
    }),
    model("convnext_base", CONVNEXT, Family::StochasticDepth, |c| {
        convnext(c, ConvNeXtConfig::base())
    }),
    model("convnext_large", CONVNEXT, Family::StochasticDepth, |c| {
        convnext(c, ConvNeXtConfig::large())
    }),
    model("convnextv2_atto", CONVNEXT_V2, Family::StochasticDepth, |c| {
        convnextv2(c, ConvNeXtV2Config::atto())
    }),
    model("convnextv2_femto", CONVNEXT_V2, Family::StochasticDepth, |c| {
        convnextv2(c, ConvNeXtV2Config::femto())
    }),
    model("convnextv2_pico", CONVNEXT_V2, Family::StochasticDepth, |c| {
        convnextv2(c, ConvNeXtV2Config::pico())
    }),
    model("convnextv2_nano", CONVNEXT_V2, Family::StochasticDepth, |c| {
        convnextv2(c, ConvNeXtV2Config::nano())
    }),
    model("convnextv2_tiny", CONVNEXT_V2, Family::StochasticDepth, |c| {
        convnextv2(c, ConvNeXtV2Config::default())
    }),
    model("convnextv2_base", CONVNEXT_V2, Family::StochasticDepth, |c| {
        convnextv2(c, ConvNeXtV2Config::base())
    }),
    model("replknet31t", REPLKNET, Family::LargeOnly, |c| replknet(c, RepLKNetConfig::tiny())),
    model("replknet31b", REPLKNET, Family::LargeOnly, |c| replknet(c, RepLKNetConfig::default())),
    model("vit_t_16", VIT, Family::Patches(16), |c| vit(c, 16, VitConfig::tiny())),
    model("vit_s_16", VIT, Family::Patches(16), |c| vit(c, 16, VitConfig::small())),
    model("vit_s_32", VIT, Family::Patches(32), |c| vit(c, 32, VitConfig::small())),
    model("vit_b_16", VIT, Family::Patches(16), |c| vit(c, 16, VitConfig::default())),
    model("vit_b_32", VIT, Family::Patches(32), |c| vit(c, 32, VitConfig::default())),
    model("sudoku_10x256", SUDOKU, Family::Sudoku, |_| sudoku(10, 256)),
    model("sudoku_3x16", SUDOKU, Family::Sudoku, |_| sudoku(3, 16)),
];

fn vgg(c: &ModelConfig, depths: [usize; 5], batch_norm: bool) -> Box<dyn Forward> {
    let dropout = c.dropout.unwrap_or(VggConfig::default().dropout);
    Box::new(Vgg::new(&VggConfig { depths, batch_norm, classes: c.classes, dropout }))
}

fn resnet(c: &ModelConfig, size: ResNetConfig) -> Box<dyn Forward> {
    Box::new(ResNet::new(&ResNetConfig { classes: c.classes, stem: c.stem, ..size }))
}

fn densenet(c: &ModelConfig, size: DenseNetConfig) -> Box<dyn Forward> {
    Box::new(DenseNet::new(&DenseNetConfig { classes: c.classes, stem: c.stem, ..size }))
}

fn squeezenet(c: &ModelConfig, version: SqueezeNetVersion, padding: usize) -> Box<dyn Forward> {
    Box::new(SqueezeNet::new(&SqueezeNetConfig {
        version,
        classes: c.classes,
        stem: c.stem,
        last_padding: padding,
        dropout: c.dropout.unwrap_or(SqueezeNetConfig::default().dropout),
    }))
}

fn convnext(c: &ModelConfig, size: ConvNeXtConfig) -> Box<dyn Forward> {
    let stochastic_depth = c.stochastic_depth.unwrap_or(size.stochastic_depth);
    Box::new(ConvNeXt::new(&ConvNeXtConfig { classes: c.classes, stochastic_depth, ..size }))
}

fn convnextv2(c: &ModelConfig, size: ConvNeXtV2Config) -> Box<dyn Forward> {
    let stochastic_depth = c.stochastic_depth.unwrap_or(size.stochastic_depth);
    Box::new(ConvNeXtV2::new(&ConvNeXtV2Config { classes: c.classes, stochastic_depth, ..size }))
}

fn replknet(c: &ModelConfig, size: RepLKNetConfig) -> Box<dyn Forward> {
    let stochastic_depth = c.stochastic_depth.unwrap_or(size.stochastic_depth);
    Box::new(RepLKNet::new(&RepLKNetConfig { classes: c.classes, stochastic_depth, ..size }))
}

fn vit(c: &ModelConfig, patch: usize, size: VitConfig) -> Box<dyn Forward> {
    Box::new(Vit::new(&VitConfig {
        image_size: c.image_size,
        patch_size: patch_size(patch, c.stem),
        classes: c.classes,
        dropout: c.dropout.unwrap_or(size.dropout),
        ..size
    }))
}

fn sudoku(blocks: usize, channels: usize) -> Box<dyn Forward> {
    Box::new(SudokuNet::new(&SudokuNetConfig { blocks, channels }))
}

/// The architecture of this name.
///
/// # Errors
/// [`Error::UnknownModel`], with names that are nearly the same.
pub fn find(name: &str) -> Result<&'static ModelInfo, Error> {
    MODELS.iter().find(|m| m.name == name).ok_or_else(|| {
        // As far as one slip in five characters: `resnet81`, `convnext-tiny`, `vgg16bn`.
        let likeness =
            |m: &ModelInfo| strsim::normalized_damerau_levenshtein(&name.to_lowercase(), m.name);
        let mut near: Vec<(f64, &str)> =
            MODELS.iter().map(|m| (likeness(m), m.name)).filter(|(like, _)| *like >= 0.7).collect();
        near.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let similar = near.into_iter().take(3).map(|(_, name)| name).collect();
        Error::UnknownModel { name: name.to_owned(), similar }
    })
}

/// A net by its name, without values yet: `initialize` it or load a state dict.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{ModelConfig, create};
///
/// let model = create("squeezenet1_1", &ModelConfig { classes: 10, ..ModelConfig::default() })?;
/// assert_eq!(model.num_parameters(), 727_626);
/// let error = create("squeezenet", &ModelConfig::default()).err().expect("no such name");
/// assert!(error.to_string().contains("did you mean squeezenet1_0 or squeezenet1_1?"));
/// # Ok::<(), vision::Error>(())
/// ```
///
/// # Errors
/// [`Error::UnknownModel`], and [`Error::ModelConfig`] if the architecture has no such form: dropout where it has none,
/// images that do not divide into patches.
pub fn create(name: &str, config: &ModelConfig) -> Result<Box<dyn Forward>, Error> {
    let info = find(name)?;
    check(info, config)?;
    Ok((info.build)(config))
}

/// Whether the architecture can be made like this.
fn check(info: &ModelInfo, config: &ModelConfig) -> Result<(), Error> {
    let wrong = |setting, expected: &str, found: String| {
        let expected = expected.to_owned();
        Err(Error::ModelConfig { name: info.name, setting, expected, found })
    };
    let rates = [
        ("dropout", config.dropout, info.family.has_dropout()),
        ("stochastic_depth", config.stochastic_depth, info.family.has_stochastic_depth()),
    ];
    for (setting, rate, has) in rates {
        match rate {
            Some(p) if !has => return wrong(setting, "none: it has no such layer", p.to_string()),
            Some(p) if !(0.0..=1.0).contains(&p) => {
                return wrong(setting, "a probability", p.to_string());
            }
            _ => {}
        }
    }
    if config.classes == 0 {
        return wrong("classes", "at least 1", "0".into());
    }
    let (size, stem) = (config.image_size, config.stem);
    let smallest = info.smallest_image(stem);
    if size < smallest {
        return wrong("image_size", &format!("at least {smallest} pixels"), size.to_string());
    }
    match info.family {
        Family::LargeOnly if stem == Stem::Small => {
            wrong("stem", "Large: there is no other form", "Small".into())
        }
        Family::Patches(large) if !size.is_multiple_of(patch_size(large, stem)) => {
            let patch = patch_size(large, stem);
            wrong("image_size", &format!("a multiple of its patches of {patch}"), size.to_string())
        }
        Family::Sudoku if *config != info.config() => {
            wrong("config", "ModelInfo::config(): a board has one size", format!("{config:?}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(name: &str, config: &ModelConfig) -> String {
        create(name, config).err().expect("cannot be made").to_string()
    }

    /// Parameters of torchvision's and timm's models with 1000 classes, as their documentation lists them; RepLKNet-31B by
    /// its paper (79 M) and the published code.
    #[test]
    fn parameters_are_those_of_the_published_models() {
        use nn::ModuleExt;
        let published = [
            ("alexnet", 61_100_840),
            ("vgg11", 132_863_336),
            ("vgg11_bn", 132_868_840),
            ("vgg13", 133_047_848),
            ("vgg13_bn", 133_053_736),
            ("vgg16", 138_357_544),
            ("vgg16_bn", 138_365_992),
            ("vgg19", 143_667_240),
            ("vgg19_bn", 143_678_248),
            ("resnet18", 11_689_512),
            ("resnet34", 21_797_672),
            ("resnet50", 25_557_032),
            ("resnet101", 44_549_160),
            ("resnet152", 60_192_808),
            ("resnext50_32x4d", 25_028_904),
            ("resnext101_32x8d", 88_791_336),
            ("resnext101_64x4d", 83_455_272),
            ("wide_resnet50_2", 68_883_240),
            ("wide_resnet101_2", 126_886_696),
            ("densenet121", 7_978_856),
            ("densenet161", 28_681_000),
            ("densenet169", 14_149_480),
            ("densenet201", 20_013_928),
            ("squeezenet1_0", 1_248_424),
            ("squeezenet1_1", 1_235_496),
            ("convnext_tiny", 28_589_128),
            ("convnext_small", 50_223_688),
            ("convnext_base", 88_591_464),
            ("convnext_large", 197_767_336),
            ("convnextv2_atto", 3_708_400),
            ("convnextv2_femto", 5_233_240),
            ("convnextv2_pico", 9_066_280),
            ("convnextv2_nano", 15_623_800),
            ("convnextv2_tiny", 28_635_496),
            ("convnextv2_base", 88_717_800),
            ("vit_b_16", 86_567_656),
            ("vit_b_32", 88_224_232),
        ];
        for (name, parameters) in published {
            let model = create(name, &ModelConfig::default()).unwrap();
            assert_eq!(model.num_parameters(), parameters, "{name}");
        }
    }

    #[test]
    fn unknown_names_suggest_near_ones() {
        let config = ModelConfig::default();
        assert!(
            message("resnet81", &config)
                .ends_with("did you mean resnet18 or resnet101 or resnet34?")
        );
        assert!(message("ConvNeXt-Tiny", &config).contains("did you mean convnext_tiny"));
        assert!(
            message("transformer", &config).contains("`cargo xtask model list` shows them all")
        );
    }

    #[test]
    fn impossible_settings_are_named() {
        let default = ModelConfig::default;
        let dropout = ModelConfig { dropout: Some(0.5), ..default() };
        assert_eq!(
            message("resnet18", &dropout),
            "model resnet18: dropout is 0.5, expected none: it has no such layer"
        );
        let more = ModelConfig { dropout: Some(1.5), ..default() };
        assert!(message("alexnet", &more).contains("dropout is 1.5, expected a probability"));
        let size = ModelConfig { image_size: 30, ..ModelConfig::cifar(10) };
        assert!(message("vit_t_16", &size).contains("expected a multiple of its patches of 4"));
        assert!(message("replknet31t", &ModelConfig::cifar(10)).contains("stem is Small"));
        assert!(message("sudoku_3x16", &default()).contains("config is"));
        assert!(message("vgg11", &ModelConfig { classes: 0, ..default() }).contains("at least 1"));
    }

    /// One pixel less vanishes, as the layers say.
    #[test]
    fn the_smallest_images_are_as_small_as_can_be() {
        use autograd::Var;
        use nn::{Context, ModuleExt};
        use tensor::{DType, Device, Tensor};
        for (name, stem) in [
            ("squeezenet1_0", Stem::Large),
            ("squeezenet1_0", Stem::Small),
            ("squeezenet1_1", Stem::Large),
            ("densenet121", Stem::Small),
            ("convnextv2_atto", Stem::Large),
        ] {
            let image_size = find(name).unwrap().smallest_image(stem);
            let config = ModelConfig { classes: 2, image_size, stem, ..ModelConfig::default() };
            let mut model = create(name, &config).unwrap();
            model.initialize(0, DType::F32, Device::Cpu);
            let run = |size: usize| {
                let x = Tensor::zeros([1, 3, size, size], DType::F32, Device::Cpu);
                model.call(&Var::constant(x), &mut Context::eval()).dims().to_vec()
            };
            assert_eq!(run(image_size), [1, 2], "{name}");
            let smaller =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(image_size - 1)));
            assert!(smaller.is_err(), "{name} takes {} pixels", image_size - 1);
            let message = message(name, &ModelConfig { image_size: image_size - 1, ..config });
            assert!(
                message.contains(&format!("expected at least {image_size} pixels")),
                "{message}"
            );
        }
    }

    #[test]
    fn names_are_unique() {
        for (i, m) in MODELS.iter().enumerate() {
            assert!(MODELS[..i].iter().all(|other| other.name != m.name), "{}", m.name);
        }
    }
}
