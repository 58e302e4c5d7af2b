//! [`convert`]: enlarge and mask every `Conv2d` of a model.

use std::any::Any;

use nn::{Init, Module, layers::Conv2d, module};
use tensor::{Stream, Tensor};

use crate::{Error, LpMask, MaskConfig};

/// What stands around the old kernel in an enlarged one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Surround {
    /// The enlarged layer's default initialization, uniform in `±1/sqrt(fan_in)`: what the experiments ran with
    /// (discrepancy D4 of the specification), hence the default.
    #[default]
    Random,
    /// Zeros, as the paper says: the converted layer then computes the old function wherever the mask is 1.
    Zero,
}

/// How large the new kernel is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum KernelSize {
    /// `l = k + 2 ceil(k / 2)`: 1 to 3, 2 to 4, 3 to 7, 5 to 11, 7 to 15, 11 to 23. The default.
    #[default]
    Enlarge,
    /// `l = floor(k s) + floor(k mod s)`, the scale option of the reference code; 1 keeps the kernel (RepLKNet).
    Scale(f64),
}

impl KernelSize {
    /// The new length of an axis of `k` taps, and by how much the padding grows.
    fn enlarged(self, k: usize) -> (usize, usize) {
        match self {
            KernelSize::Enlarge => (k + 2 * k.div_ceil(2), k.div_ceil(2)),
            KernelSize::Scale(s) => {
                let l = (k as f64 * s).floor() as usize + (k as f64 % s).floor() as usize;
                (l, l.saturating_sub(k) / 2)
            }
        }
    }
}

/// How a model is converted.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvertConfig {
    /// The masks, or `None` for the control `large`: enlarged kernels without a mask.
    pub mask: Option<MaskConfig>,
    /// What stands around transferred weights. Default random.
    pub surround: Surround,
    /// Whether the old kernel's weights move into the middle of the new one; if not, the whole kernel starts afresh
    /// (RepLKNet and the scale option in the reference code). Default true.
    pub transfer: bool,
    /// How large the new kernels are. Default [`KernelSize::Enlarge`].
    pub size: KernelSize,
    /// Seed of the new weights; each layer has a stream of its own, keyed by its name. Default 0.
    pub seed: u64,
    /// Whether to convert a layer that has a mask already (it grows again, with a new mask). Default false: an error.
    pub again: bool,
}

impl ConvertConfig {
    /// Lp-convolution: trained masks that start with exponent `p`.
    pub fn lp(p: f64) -> Self {
        ConvertConfig {
            mask: Some(MaskConfig::trained(p)),
            surround: Surround::default(),
            transfer: true,
            size: KernelSize::default(),
            seed: 0,
            again: false,
        }
    }

    /// The control with frozen masks (`lpf256`: with `p = 256` the mask is exactly 1 on kernels of up to 7 taps in f64 and
    /// 15 in f32, so that the converted model computes the function of the unconverted one; on larger kernels it is a
    /// little below 1 at the rim).
    pub fn frozen(p: f64) -> Self {
        ConvertConfig { mask: Some(MaskConfig::frozen(p)), ..Self::lp(p) }
    }

    /// The control without masks: large kernels, all taps free.
    pub fn large() -> Self {
        ConvertConfig { mask: None, ..Self::lp(2.0) }
    }

    /// The same with another seed for new weights.
    pub fn with_seed(self, seed: u64) -> Self {
        ConvertConfig { seed, ..self }
    }
}

/// One converted layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Its place in the model, as in the state dict.
    pub path: String,
    /// `[height, width]` before.
    pub from: [usize; 2],
    /// `[height, width]` now.
    pub to: [usize; 2],
}

/// Enlarges every [`Conv2d`] of a model and gives it a mask, 1x1 and depthwise ones included. Stride, dilation, groups
/// and bias stay, and so does the size of the output (with [`KernelSize::Scale`]: where the kernel grows by an even
/// number). Returns what was converted, in order of definition.
///
/// A model that is initialized stays so: the new weights are drawn with `config.seed` and the old ones transferred. One
/// that is not will be initialized at the new size.
///
/// ```
/// use lpconv::{ConvertConfig, convert};
/// use nn::layers::{Conv2d, Sequential};
///
/// let mut model = Sequential::new().with(Conv2d::new(3, 8, 3)).with(Conv2d::new(8, 8, 1));
/// let layers = convert(&mut model, &ConvertConfig::lp(2.0))?;
/// assert_eq!(layers[0].to, [7, 7]);
/// assert_eq!(layers[1].to, [3, 3]);
/// # Ok::<(), lpconv::Error>(())
/// ```
///
/// # Errors
/// If a layer has a mask already and `config.again` is not set, or a scale below 1 or an impossible exponent or threshold is
/// asked for; nothing is changed then.
pub fn convert(model: &mut dyn Module, config: &ConvertConfig) -> Result<Vec<Converted>, Error> {
    convert_where(model, |_, _| Some(config.clone()))
}

/// As [`convert`], with a choice for each layer by its path: how it is converted, or `None` to leave it as it is.
///
/// # Errors
/// As [`convert`].
pub fn convert_where(
    model: &mut dyn Module,
    choose: impl Fn(&str, &Conv2d) -> Option<ConvertConfig>,
) -> Result<Vec<Converted>, Error> {
    let mut wrong = None;
    module::for_each_module(model, &mut |path, m| {
        if let Some(conv) = (m as &dyn Any).downcast_ref::<Conv2d>()
            && let Some(config) = choose(path, conv)
            && let Err(error) = check(path, conv, &config)
        {
            wrong.get_or_insert(error);
        }
    });
    if let Some(error) = wrong {
        return Err(error);
    }
    let mut converted = Vec::new();
    module::for_each_module_mut(model, &mut |path, m| {
        if let Some(conv) = (m as &mut dyn Any).downcast_mut::<Conv2d>()
            && let Some(config) = choose(path, conv)
        {
            converted.push(convert_layer(path, conv, &config));
        }
    });
    Ok(converted)
}

/// What is impossible about converting a layer like this.
fn check(path: &str, conv: &Conv2d, config: &ConvertConfig) -> Result<(), Error> {
    if conv.parametrization().is_some() && !config.again {
        return Err(Error::AlreadyConverted { layer: path.to_owned() });
    }
    if let KernelSize::Scale(scale) = config.size
        && !(scale.is_finite() && scale >= 1.0)
    {
        return Err(Error::Parameter {
            name: "scale",
            value: scale,
            expected: "a finite number of at least 1",
        });
    }
    match &config.mask {
        Some(mask) if !(mask.p_init > 0.0 && mask.p_init.is_finite()) => Err(Error::Parameter {
            name: "p_init",
            value: mask.p_init,
            expected: "a positive finite number",
        }),
        Some(mask) if !mask.tap_threshold_is_possible() => Err(Error::Parameter {
            name: "tap_threshold",
            value: mask.tap_threshold,
            expected: MaskConfig::TAP_THRESHOLD,
        }),
        _ => Ok(()),
    }
}

fn convert_layer(path: &str, conv: &mut Conv2d, config: &ConvertConfig) -> Converted {
    let from = conv.kernel_size();
    let [(lh, ph), (lw, pw)] = from.map(|k| config.size.enlarged(k));
    let [o, i, ..] = conv.weight.shape()[..] else { unreachable!("a kernel has 4 axes") };
    let options = *conv.options();
    let init = Init::fan_in_uniform(i * lh * lw);
    let trained = conv.weight.requires_grad();
    let values = conv.weight.is_initialized().then(|| {
        let old = conv.weight.value();
        // The reference code draws the whole enlarged kernel and then writes the old one into it.
        let mut stream = Stream::new(config.seed).derive(path).derive("surround");
        let around = match config.surround {
            Surround::Zero if config.transfer => Init::Constant(0.0),
            _ => init.clone(),
        };
        let new = around.draw([o, i, lh, lw].into(), old.dtype(), old.device(), &mut stream);
        if config.transfer { transfer(old, &new) } else { new }
    });
    conv.weight = nn::Param::new([o, i, lh, lw], init);
    if let Some(values) = values {
        conv.weight.set(values);
    }
    conv.weight.set_requires_grad(trained);
    // Taps lie `dilation` pixels apart, and so do those that are new.
    let [dh, dw] = options.dilation;
    conv.set_padding([options.padding[0] + ph * dh, options.padding[1] + pw * dw]);
    conv.set_parametrization(None);
    if let Some(mask) = &config.mask {
        let mut mask = LpMask::new(o, from, mask);
        if conv.weight.is_initialized() {
            let (dtype, device) = (conv.weight.value().dtype(), conv.weight.value().device());
            // Constants: the stream is not read.
            nn::ModuleExt::initialize(&mut mask, config.seed, dtype, device);
        }
        conv.set_parametrization(Some(Box::new(mask)));
    }
    Converted { path: path.to_owned(), from, to: [lh, lw] }
}

/// The weights of `old` in the middle of `new` (at `ceil(k / 2)` where the kernel was enlarged).
fn transfer(old: &Tensor, new: &Tensor) -> Tensor {
    let [_, _, kh, kw] = old.dims_of();
    let [_, _, lh, lw] = new.dims_of();
    let [top, left] = [(lh - kh) / 2, (lw - kw) / 2];
    let middle_rows = new.narrow(2, top, kh);
    let row = Tensor::cat(
        &[&middle_rows.narrow(3, 0, left), old, &middle_rows.narrow(3, left + kw, lw - kw - left)],
        3,
    );
    Tensor::cat(&[&new.narrow(2, 0, top), &row, &new.narrow(2, top + kh, lh - kh - top)], 2)
}

/// Raises every mask's exponent to at least `p_min`: the constraint of the Sudoku experiment, applied to the parameter
/// between backward and optimizer step (section 1.5 of the specification), so that the used value may dip below until the
/// next step.
pub fn clamp_p(model: &mut dyn Module, p_min: f64) {
    let smallest = p_min.log2();
    for_each_mask_mut(model, &mut |_, mask| {
        if mask.log2p.requires_grad() {
            let clamped = mask.log2p.value().clamp(smallest, f64::INFINITY);
            *mask.log2p.value_mut() = clamped;
        }
    });
}

/// Calls `f` with the path and mask of every masked layer, in order of definition.
pub fn for_each_mask<'a>(model: &'a dyn Module, f: &mut dyn FnMut(&str, &'a LpMask)) {
    module::for_each_module(model, &mut |path, m| {
        if let Some(conv) = (m as &dyn Any).downcast_ref::<Conv2d>()
            && let Some(p) = conv.parametrization()
            && let Some(mask) = (p as &dyn Any).downcast_ref::<LpMask>()
        {
            f(path, mask);
        }
    });
}

/// As [`for_each_mask`], to be changed.
pub fn for_each_mask_mut(model: &mut dyn Module, f: &mut dyn FnMut(&str, &mut LpMask)) {
    module::for_each_module_mut(model, &mut |path, m| {
        if let Some(conv) = (m as &mut dyn Any).downcast_mut::<Conv2d>()
            && let Some(p) = conv.parametrization_mut()
            && let Some(mask) = (p as &mut dyn Any).downcast_mut::<LpMask>()
        {
            f(path, mask);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use autograd::Var;
    use autograd::gradcheck::Draw;
    use nn::{
        Context, Forward, ModuleExt,
        layers::{Conv2dOptions, Sequential},
    };
    use tensor::{DType, Device};

    fn small_model() -> Sequential {
        let options = Conv2dOptions { padding: [1, 0], stride: [2, 1], ..Default::default() };
        let mut model = Sequential::new()
            .with(Conv2d::with_options(3, 6, [3, 5], options))
            .with(Conv2d::with_options(
                6,
                6,
                [2, 2],
                Conv2dOptions { groups: 6, ..Default::default() },
            ))
            .with(Conv2d::new(6, 4, 1));
        model.initialize(1, DType::F64, Device::Cpu);
        model
    }

    fn run(model: &Sequential, x: &Tensor) -> Vec<f64> {
        model.call(&Var::constant(x.clone()), &mut Context::eval()).value().to_f64_vec()
    }

    #[test]
    fn sizes_follow_the_papers_rule() {
        let sizes = [1, 2, 3, 4, 5, 7, 11].map(|k| KernelSize::Enlarge.enlarged(k));
        assert_eq!(sizes, [(3, 1), (4, 1), (7, 2), (8, 2), (11, 3), (15, 4), (23, 6)]);
        assert_eq!(KernelSize::Scale(1.0).enlarged(31), (31, 0));
        assert_eq!(KernelSize::Scale(1.5).enlarged(3), (4, 0));
    }

    #[test]
    fn a_frozen_mask_of_256_computes_the_old_function_to_the_bit() {
        let x = Draw::new("x", 0).normal([2, 3, 11, 12]);
        let base = small_model();
        let mut frozen = small_model();
        convert(&mut frozen, &ConvertConfig::frozen(256.0)).unwrap();
        assert_eq!(run(&base, &x), run(&frozen, &x));
        assert!(
            frozen
                .named_parameters()
                .iter()
                .all(|(n, p)| { p.requires_grad() != (n.ends_with("log2p") || n.ends_with(".C")) })
        );
    }

    #[test]
    fn output_sizes_stay_and_weights_move_to_the_middle() {
        let x = Draw::new("x", 0).normal([1, 3, 11, 12]);
        for config in [ConvertConfig::lp(2.0), ConvertConfig::large()] {
            let mut model = small_model();
            let before = model.state_dict();
            let out = run(&model, &x).len();
            convert(&mut model, &config).unwrap();
            assert_eq!(run(&model, &x).len(), out);
            let after = model.state_dict();
            let weight = &after.iter().find(|(n, _)| n == "0.weight").unwrap().1;
            assert_eq!(weight.dims(), [6, 3, 7, 11]);
            let middle = weight.narrow(2, 2, 3).narrow(3, 3, 5);
            assert_eq!(middle.to_vec::<f64>(), before[0].1.to_vec::<f64>());
            assert_ne!(weight.to_vec::<f64>()[0], 0.0);
        }
    }

    #[test]
    fn a_dilated_layer_keeps_its_function_and_output_size() {
        let options = Conv2dOptions { padding: [2, 1], dilation: [2, 3], ..Default::default() };
        let layer = || {
            let mut model = Sequential::new().with(Conv2d::with_options(2, 3, [3, 3], options));
            model.initialize(3, DType::F64, Device::Cpu);
            model
        };
        let x = Draw::new("x", 0).normal([1, 2, 12, 13]);
        let mut frozen = layer();
        convert(&mut frozen, &ConvertConfig::frozen(256.0)).unwrap();
        assert_eq!(run(&layer(), &x), run(&frozen, &x));
    }

    #[test]
    fn impossible_conversions_change_nothing() {
        let mut model = small_model();
        let mut config = ConvertConfig { size: KernelSize::Scale(0.5), ..ConvertConfig::lp(2.0) };
        assert!(convert(&mut model, &config).unwrap_err().to_string().contains("scale = 0.5"));
        config = ConvertConfig::lp(f64::NAN);
        assert!(convert(&mut model, &config).unwrap_err().to_string().contains("p_init = NaN"));
        for tap_threshold in [-0.1, 1.0, f64::NAN] {
            config.mask = Some(MaskConfig { tap_threshold, ..Default::default() });
            let error = convert(&mut model, &config).unwrap_err().to_string();
            assert!(error.contains("tap_threshold = "), "{error}");
        }
        assert_eq!(model.num_parameters(), small_model().num_parameters());
    }

    #[test]
    fn state_dict_names_are_the_reference_codes() {
        let mut model = Sequential::new().with(Conv2d::new(1, 2, 3));
        convert(&mut model, &ConvertConfig::lp(16.0)).unwrap();
        model.initialize(0, DType::F32, Device::Cpu);
        let names: Vec<String> = model.state_dict().into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["0.weight", "0.bias", "0.log2p", "0.C"]);
        assert_eq!(model.state_dict()[2].1.to_f64_vec(), [4.0, 4.0]);
        let c = model.state_dict()[3].1.to_vec::<f32>();
        assert_eq!(c[..4], [(1.0 / 1.5001) as f32, 0.0, 0.0, (1.0 / 1.5001) as f32]);
    }

    #[test]
    fn converting_twice_is_an_error_unless_asked_for() {
        let mut model = small_model();
        convert(&mut model, &ConvertConfig::lp(2.0)).unwrap();
        let error = convert(&mut model, &ConvertConfig::lp(2.0)).unwrap_err();
        assert!(error.to_string().starts_with("layer \"0\" has an Lp-mask already"), "{error}");
        let again = ConvertConfig { again: true, ..ConvertConfig::lp(2.0) };
        assert_eq!(convert(&mut model, &again).unwrap()[0].to, [15, 23]);
    }

    #[test]
    fn p_is_clamped_where_it_is_trained() {
        let mut model = small_model();
        convert(&mut model, &ConvertConfig::lp(1.0)).unwrap();
        clamp_p(&mut model, 2.0);
        for_each_mask(&model, &mut |_, mask| {
            assert!(mask.log2p.value().to_f64_vec().iter().all(|&l| l == 1.0));
        });
    }
}
