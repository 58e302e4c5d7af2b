//! [`fold`]: the form of a model for evaluation, which computes the same with less work.

use std::any::Any;

use nn::{
    Module, Param,
    layers::{BatchNorm2d, Conv2d, Conv2dOptions, Linear},
    module::{ChildMut, for_each_module_mut},
};
use tensor::Tensor;

use super::{
    convnext::ConvNeXtBlock,
    replknet::{ConvFfn, LargeKernel, LargeKernelBlock},
};

/// Brings a model into a form for evaluation: batch norms and layer scales go into the weights of the convolutions and linear
/// layers beside them, Lp-masks into the weights they multiply (and kernels lose the border of zeros that a mask leaves), and
/// the branches of [`RepLKNet`](super::RepLKNet) become one kernel.
///
/// In evaluation the model computes the same up to rounding, with half the passes over its activations; it can no longer be
/// trained, and its state dict has other names: load weights first. A batch norm that is defined right behind a convolution is
/// taken to be computed right behind it, which is so in every architecture of this crate.
///
/// ```
/// use autograd::Var;
/// use nn::{Context, Forward, ModuleExt};
/// use tensor::{DType, Device, Tensor};
/// use vision::models::{ModelConfig, create, fold};
///
/// let mut model = create("resnet18", &ModelConfig::cifar(10))?;
/// model.initialize(0, DType::F32, Device::Cpu);
/// let x = Var::constant(Tensor::ones([1, 3, 32, 32], DType::F32, Device::Cpu));
/// let before = model.call(&x, &mut Context::eval()).value().to_f64_vec();
/// fold(&mut *model);
/// let after = model.call(&x, &mut Context::eval()).value().to_f64_vec();
/// assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-4));
/// # Ok::<(), vision::Error>(())
/// ```
///
/// # Panics
/// If the model has no values yet.
#[track_caller]
pub fn fold(model: &mut dyn Module) {
    // Children come before parents: when a block is asked, its layers have been folded.
    for_each_module_mut(model, &mut |_, module| {
        fold_pairs(module);
        let module = module as &mut dyn Any;
        if let Some(kernel) = module.downcast_mut::<LargeKernel>() {
            kernel.merge();
        } else if let Some(block) = module.downcast_mut::<LargeKernelBlock>() {
            block.fold();
        } else if let Some(block) = module.downcast_mut::<ConvFfn>() {
            block.fold();
        } else if let Some(block) = module.downcast_mut::<ConvNeXtBlock>() {
            block.fold();
        } else if let Some(conv) = module.downcast_mut::<Conv2d>()
            && conv.parametrization().is_some()
        {
            let bias = conv.bias.take();
            *conv = with_values(conv, conv.effective_weight(), bias);
        }
    });
}

/// Folds every batch norm of a module into the convolution right before it.
fn fold_pairs(module: &mut dyn Module) {
    let mut before: Option<&mut Conv2d> = None;
    for (_, child) in module.children_mut() {
        let ChildMut::Module(child) = child else {
            before = None;
            continue;
        };
        let child = child as &mut dyn Any;
        if let Some(norm) = child.downcast_mut::<BatchNorm2d>() {
            if let Some(conv) = before.take() {
                norm_behind(conv, norm);
            }
        } else {
            before = child.downcast_mut();
        }
    }
}

/// The convolution takes over what the batch norm behind it does.
pub(super) fn norm_behind(conv: &mut Conv2d, norm: &mut BatchNorm2d) {
    let Some((factor, summand)) = norm.dissolve() else { return };
    let weight = &conv.effective_weight() * &factor.reshape([factor.numel(), 1, 1, 1]);
    let bias = match &conv.bias {
        Some(bias) => &(bias.value() * &factor) + &summand,
        None => summand,
    };
    *conv = with_values(conv, weight, Some(Param::from_tensor(bias)));
}

/// The 1x1 convolution takes over what the batch norm before it does, unless it pads: zeros are added behind the norm.
pub(super) fn norm_before(norm: &mut BatchNorm2d, conv: &mut Conv2d) {
    let Conv2dOptions { padding, groups, .. } = *conv.options();
    if conv.kernel_size() != [1, 1] || padding != [0, 0] || groups != 1 {
        return;
    }
    let Some((factor, summand)) = norm.dissolve() else { return };
    let weight = conv.effective_weight();
    let channels = weight.dims()[1];
    let summand = weight
        .reshape([conv.out_channels(), channels])
        .linear(&summand.reshape([1, channels]), None);
    let summand = summand.reshape([conv.out_channels()]);
    let bias = match &conv.bias {
        Some(bias) => bias.value() + &summand,
        None => summand,
    };
    let weight = &weight * &factor.reshape([1, channels, 1, 1]);
    *conv = with_values(conv, weight, Some(Param::from_tensor(bias)));
}

/// The linear layer takes over a factor of each of its outputs.
pub(super) fn scale_behind(linear: &mut Linear, factor: &Tensor) {
    let n = factor.numel();
    linear.weight.set(linear.weight.value() * &factor.reshape([n, 1]));
    if let Some(bias) = &mut linear.bias {
        bias.set(bias.value() * &factor.reshape([n]));
    }
}

/// The same layer with this weight, without parametrization, and without a border of taps that are 0 in all channels.
fn with_values(conv: &Conv2d, weight: Tensor, bias: Option<Param>) -> Conv2d {
    let Conv2dOptions { padding, dilation, .. } = *conv.options();
    let [o, i, kh, kw] = weight.dims_of();
    // Reading the weights is worth it only where a mask may have left zeros.
    let border = match conv.parametrization() {
        Some(_) => weight.reshape([o * i, kh, kw]).zero_border(),
        None => [0, 0],
    };
    let crop = [0, 1].map(|axis| border[axis].min(padding[axis] / dilation[axis]));
    let kernel = [kh - 2 * crop[0], kw - 2 * crop[1]];
    let weight = weight.narrow(2, crop[0], kernel[0]).narrow(3, crop[1], kernel[1]).contiguous();
    let padding = [0, 1].map(|axis| padding[axis] - crop[axis] * dilation[axis]);
    let options = Conv2dOptions { padding, bias: bias.is_some(), ..*conv.options() };
    let mut same = Conv2d::with_options(conv.in_channels(), o, kernel, options);
    same.weight.set(weight);
    same.bias = bias;
    same
}

#[cfg(test)]
mod tests {
    use autograd::Var;
    use nn::{Context, Forward, ModuleExt};
    use tensor::{DType, Device, Stream};

    use super::*;
    use crate::models::{ModelConfig, create, find};

    /// A model of few classes whose norms and scales are far from the identity.
    fn trained(name: &str, config: &ModelConfig) -> Box<dyn Forward> {
        let mut model = create(name, config).unwrap();
        model.initialize(0, DType::F64, Device::Cpu);
        let stream = &mut Stream::new(1);
        let mut state = model.state_dict();
        for (name, value) in &mut state {
            let range = match () {
                () if name.ends_with("running_var") => 0.5..1.5,
                () if name.ends_with("running_mean") || name.ends_with("bias") => -0.3..0.3,
                () if name.ends_with("layer_scale") || value.rank() == 1 => 0.5..1.5,
                () => continue,
            };
            if value.dtype().is_float() && value.rank() > 0 {
                let uniform = Tensor::rand(value.shape(), DType::F64, Device::Cpu, stream);
                *value = uniform.mul_scalar(range.end - range.start).add_scalar(range.start);
            }
        }
        model.load_state_dict(state).unwrap();
        model
    }

    #[test]
    fn a_folded_model_computes_the_same_with_fewer_norms() {
        // How many batch norms are left: those before an activation, and those without a convolution beside them.
        for (name, size, left) in [
            ("alexnet", 63, 0),
            ("vgg11_bn", 32, 0),
            ("resnet18", 32, 0),
            ("resnext50_32x4d", 32, 0),
            ("densenet121", 32, 58 + 3 + 1),
            ("squeezenet1_1", 32, 0),
            ("convnext_tiny", 32, 0),
            ("convnextv2_atto", 32, 0),
            ("replknet31t", 32, 1),
            ("vit_t_16", 32, 0),
            ("sudoku_3x16", 9, 0),
        ] {
            let info = find(name).unwrap();
            let mut config = ModelConfig { image_size: size, ..info.config() };
            config.classes = if size == 9 { 9 } else { 7 };
            let mut model = trained(name, &config);
            let x =
                Tensor::randn(info.input(&config), DType::F64, Device::Cpu, &mut Stream::new(2));
            let logits = |model: &dyn Forward| {
                let x = Var::constant(x.clone());
                model.call(&x, &mut Context::eval()).value().to_f64_vec()
            };
            let before = logits(&*model);
            fold(&mut *model);
            let after = logits(&*model);
            let largest = before.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            for (a, b) in before.iter().zip(&after) {
                assert!((a - b).abs() <= 1e-10 * largest, "{name}: {a} {b}");
            }
            let state = model.state_dict();
            let norms = state.iter().filter(|(n, _)| n.ends_with("running_var")).count();
            assert_eq!(norms, left, "{name}");
            assert!(!state.iter().any(|(n, _)| n.ends_with("layer_scale")), "{name}");
            // Once more changes nothing.
            fold(&mut *model);
            assert_eq!(logits(&*model), after, "{name}");
        }
    }

    #[test]
    #[should_panic(expected = "it was folded into another layer for evaluation")]
    fn a_folded_model_is_not_trained() {
        let mut model = trained("resnet18", &ModelConfig::cifar(3));
        fold(&mut *model);
        let x = Tensor::ones([2, 3, 32, 32], DType::F64, Device::Cpu);
        model.call(&Var::constant(x), &mut Context::train(Stream::new(0)));
    }
}
