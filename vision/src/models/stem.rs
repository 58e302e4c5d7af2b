//! [`Stem`]: how a family's first layer looks at an image.

use nn::{
    Init,
    layers::{Conv2d, Conv2dOptions},
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
    let options = Conv2dOptions { bias: false, ..options };
    let mut conv = Conv2d::with_options(c_in, c_out, [kernel; 2], options);
    let fan_out = c_out * kernel * kernel / options.groups;
    conv.weight.set_init(Init::he_normal_fan_out(fan_out));
    conv
}

/// Stride and padding alone.
pub(super) fn step(stride: usize, padding: usize) -> Conv2dOptions {
    Conv2dOptions { stride: [stride; 2], padding: [padding; 2], ..Default::default() }
}
