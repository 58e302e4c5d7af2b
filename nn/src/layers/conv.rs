//! [`Conv2d`], and the trait by which another crate computes its weight.

use std::any::Any;

use autograd::Var;
use tensor::{ConvAlgorithm, Shape, Tensor};

use crate::{
    Context, Forward, Init, Module, Param,
    module::{Child, ChildMut, Field, collect_module, collect_module_mut, for_each_module_mut},
};

/// Geometry of a [`Conv2d`] beyond its channels and kernel; each pair is `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step of the window. Default 1.
    pub stride: [usize; 2],
    /// Zeros added on both sides. Default 0.
    pub padding: [usize; 2],
    /// Spacing of the taps. Default 1.
    pub dilation: [usize; 2],
    /// Blocks of channels that do not see each other. Default 1.
    pub groups: usize,
    /// Whether a bias is added. Default true.
    pub bias: bool,
    /// How it is computed on the CPU. Default [`ConvAlgorithm::Direct`].
    pub algorithm: ConvAlgorithm,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions {
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
            groups: 1,
            bias: true,
            algorithm: ConvAlgorithm::Direct,
        }
    }
}

/// How a layer's weight is computed from its parameters: what PyTorch calls a parametrization.
///
/// Its own parameters appear in the state dict beside the layer's `weight` and `bias`.
pub trait Parametrization: Module {
    /// The weight the convolution uses, from the stored one (`[O, I/groups, kh, kw]`).
    fn weight(&self, weight: &Var, layer: &Conv2dOptions, cx: &mut Context) -> Effective;
}

/// The weight of a parametrized layer.
#[derive(Debug)]
pub struct Effective {
    /// `[O, I/groups, kh - 2 crop[0], kw - 2 crop[1]]`.
    pub weight: Var,
    /// Rows and columns of taps left out on each side because they are exactly zero; the layer pads by
    /// `crop * dilation` less. Never more than the padding allows.
    pub crop: [usize; 2],
}

impl Field for Box<dyn Parametrization> {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        collect_module(&**self, name, out);
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        collect_module_mut(&mut **self, name, out);
    }
}

/// 2-d convolution (cross-correlation, as everywhere in deep learning): `y = x * weight + bias`.
///
/// Input `[N, I, H, W]`, output `[N, O, H', W']` with
/// `H' = (H + 2 padding - dilation (kh - 1) - 1) / stride + 1`. Weight `[O, I/groups, kh, kw]` and bias `[O]` start
/// uniform in `±1/sqrt(I/groups · kh · kw)`. Same as `torch.nn.Conv2d` with zero padding.
#[derive(Module)]
pub struct Conv2d {
    /// `[O, I/groups, kh, kw]`, before any parametrization.
    pub weight: Param,
    /// `[O]`.
    pub bias: Option<Param>,
    #[module(flatten)]
    parametrization: Option<Box<dyn Parametrization>>,
    #[module(skip)]
    options: Conv2dOptions,
}

impl Conv2d {
    /// A square kernel with default options.
    pub fn new(in_channels: usize, out_channels: usize, kernel_size: usize) -> Self {
        Self::with_options(in_channels, out_channels, [kernel_size; 2], Conv2dOptions::default())
    }

    /// Any geometry; `kernel_size` is `[height, width]`.
    ///
    /// # Panics
    /// If the channels are not divisible by the groups.
    #[track_caller]
    pub fn with_options(
        in_channels: usize,
        out_channels: usize,
        kernel_size: [usize; 2],
        options: Conv2dOptions,
    ) -> Self {
        let groups = options.groups;
        assert!(
            groups > 0 && in_channels.is_multiple_of(groups) && out_channels.is_multiple_of(groups),
            "Conv2d: {in_channels} input and {out_channels} output channels are not divisible by \
             groups = {groups}"
        );
        let [kh, kw] = kernel_size;
        let shape = [out_channels, in_channels / groups, kh, kw];
        let init = Init::fan_in_uniform(in_channels / groups * kh * kw);
        Conv2d {
            weight: Param::new(shape, init.clone()),
            bias: options.bias.then(|| Param::new([out_channels], init)),
            parametrization: None,
            options,
        }
    }

    /// Stride, padding, dilation, groups, bias.
    pub fn options(&self) -> &Conv2dOptions {
        &self.options
    }

    /// Number of input channels.
    pub fn in_channels(&self) -> usize {
        self.weight.shape()[1] * self.options.groups
    }

    /// Number of output channels.
    pub fn out_channels(&self) -> usize {
        self.weight.shape()[0]
    }

    /// `[height, width]` of the stored kernel.
    pub fn kernel_size(&self) -> [usize; 2] {
        let shape = self.weight.shape();
        [shape[2], shape[3]]
    }

    /// The weight the layer convolves with in evaluation: the stored one, or what its parametrization makes of it.
    ///
    /// # Panics
    /// If the layer has no values yet.
    #[track_caller]
    pub fn effective_weight(&self) -> Tensor {
        let Some(parametrization) = &self.parametrization else {
            return self.weight.value().clone();
        };
        let mut cx = Context::eval();
        let stored = cx.var(&self.weight);
        let Effective { weight, crop } = parametrization.weight(&stored, &self.options, &mut cx);
        let [rows, columns] = crop.map(|n| n as isize);
        weight.value().pad2d([columns, columns, rows, rows])
    }

    /// Another padding (a conversion that enlarges the kernel needs it).
    pub fn set_padding(&mut self, padding: [usize; 2]) {
        self.options.padding = padding;
    }

    /// Sets how the weight is computed.
    pub fn set_parametrization(&mut self, parametrization: Option<Box<dyn Parametrization>>) {
        self.parametrization = parametrization;
    }

    /// How the weight is computed, if not stored as it is.
    pub fn parametrization(&self) -> Option<&dyn Parametrization> {
        self.parametrization.as_deref()
    }

    /// As [`parametrization`](Self::parametrization), to be changed.
    pub fn parametrization_mut(&mut self) -> Option<&mut (dyn Parametrization + 'static)> {
        self.parametrization.as_deref_mut()
    }
}

/// Chooses how all convolutions of a model are computed on the CPU; each falls back where the algorithm is not made for it.
pub fn set_conv_algorithm(model: &mut dyn Module, algorithm: ConvAlgorithm) {
    for_each_module_mut(model, &mut |_, module| {
        if let Some(conv) = (module as &mut dyn Any).downcast_mut::<Conv2d>() {
            conv.options.algorithm = algorithm;
        }
    });
}

impl Forward for Conv2d {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let Conv2dOptions { stride, padding, dilation, groups, algorithm, .. } = self.options;
        let stored = cx.var(&self.weight);
        let Effective { weight, crop } = match &self.parametrization {
            Some(p) => p.weight(&stored, &self.options, cx),
            None => Effective { weight: stored, crop: [0, 0] },
        };
        let bias = self.bias.as_ref().map(|b| cx.product_operand(&cx.var(b)));
        let (x, weight) = (cx.product_operand(x), cx.product_operand(&weight));
        let padding = [0, 1].map(|i| padding[i] - crop[i] * dilation[i]);
        let geometry = tensor::Conv2dOptions { stride, padding, dilation, groups, algorithm };
        x.conv2d(&weight, bias.as_ref(), &geometry)
    }

    fn macs(&self, input: &Shape, output: &Shape) -> u64 {
        // Every output element is a product with one kernel of one group; cropped taps count, as in the dense layer.
        let per_output = self.weight.shape()[1..].iter().product::<usize>();
        debug_assert_eq!(input[1], self.in_channels());
        (output.numel() * per_output) as u64
    }
}
