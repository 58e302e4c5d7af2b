//! What several families share: [`Stem`], how the first layer looks at an image, and how layers start and are named.

use nn::{
    Init,
    layers::{Conv2d, Conv2dOptions, Linear},
    module::{Child, ChildMut, Field},
};

/// The first convolution of an architecture that was made for large photographs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stem {
    /// As published, for images of 224 pixels. The default.
    #[default]
    Large,
    /// 3x3 with stride 1 and padding 1, for images of 32 pixels; all that follows stays. It starts from PyTorch's default
    /// initialization, whatever the family has (section 3 of the specification).
    Small,
}

/// A convolution without bias that starts as in He et al. 2015, normal by fan-out.
pub(super) fn he_conv(c_in: usize, c_out: usize, kernel: usize, options: Conv2dOptions) -> Conv2d {
    he_conv_with_bias(c_in, c_out, kernel, Conv2dOptions { bias: false, ..options })
}

/// As [`he_conv`], with the bias the options ask for, starting at 0.
pub(super) fn he_conv_with_bias(
    c_in: usize,
    c_out: usize,
    kernel: usize,
    options: Conv2dOptions,
) -> Conv2d {
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    // PyTorch's fan-out does not see the groups.
    let fan_out = c_out * kernel * kernel;
    conv.weight.set_init(Init::he_normal_fan_out(fan_out));
    if let Some(bias) = &mut conv.bias {
        bias.set_init(Init::Constant(0.0));
    }
    conv
}

/// Stride and padding alone.
pub(super) fn step(stride: usize, padding: usize) -> Conv2dOptions {
    Conv2dOptions { stride: [stride; 2], padding: [padding; 2], ..Default::default() }
}

/// A linear layer whose weight and bias start from these.
pub(super) fn linear(inputs: usize, outputs: usize, weight: Init, bias: Init) -> Linear {
    let mut linear = Linear::new(inputs, outputs);
    linear.weight.set_init(weight);
    if let Some(b) = &mut linear.bias {
        b.set_init(bias);
    }
    linear
}

/// Layers one after another whose names are a word and a number: `denselayer1`, `denselayer2`, ….
pub(super) struct Numbered<M> {
    pub(super) word: &'static str,
    pub(super) first: usize,
    pub(super) layers: Vec<M>,
}

impl<M: Field> Field for Numbered<M> {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        debug_assert!(name.is_empty(), "a Numbered field is flattened");
        for (i, layer) in self.layers.iter().enumerate() {
            layer.collect(&format!("{}{}", self.word, self.first + i), out);
        }
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        debug_assert!(name.is_empty(), "a Numbered field is flattened");
        for (i, layer) in self.layers.iter_mut().enumerate() {
            layer.collect_mut(&format!("{}{}", self.word, self.first + i), out);
        }
    }
}
