//! [`LpConv2d`]: a convolution with an Lp-mask, as a layer of its own.

use autograd::Var;
use nn::{
    Context, Forward, Module,
    layers::{Conv2d, Conv2dOptions},
};
use tensor::Shape;

use crate::{LpMask, MaskConfig};

/// A [`Conv2d`] whose kernel is multiplied by a trainable Lp-mask (see [`LpMask`]).
///
/// State dict: `weight`, `bias`, `log2p`, `C`, as in the reference code.
///
/// ```
/// use autograd::Var;
/// use lpconv::{LpConv2d, MaskConfig};
/// use nn::{Context, Forward, ModuleExt};
/// use tensor::{DType, Device, Tensor};
///
/// let mut layer = LpConv2d::new(3, 8, 7, &MaskConfig::default());
/// layer.initialize(0, DType::F32, Device::Cpu);
/// let x = Var::constant(Tensor::ones([1, 3, 9, 9], DType::F32, Device::Cpu));
/// assert_eq!(layer.call(&x, &mut Context::eval()).dims(), [1, 8, 9, 9]);
/// ```
#[derive(Module)]
pub struct LpConv2d {
    #[module(flatten)]
    conv: Conv2d,
}

impl LpConv2d {
    /// A square kernel that keeps the image's size (odd `kernel_size`, stride 1, padding `kernel_size / 2`). The mask
    /// starts with a radius of a quarter of the kernel: half of it, as after [`convert`](crate::convert).
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel_size: usize,
        mask: &MaskConfig,
    ) -> Self {
        let options = Conv2dOptions { padding: [kernel_size / 2; 2], ..Conv2dOptions::default() };
        let base = (kernel_size / 2).max(1);
        Self::with_options(in_channels, out_channels, [kernel_size; 2], [base; 2], options, mask)
    }

    /// Any geometry: a kernel of `kernel_size` taps whose mask starts with the radius of one of `base_kernel`.
    ///
    /// # Panics
    /// If the channels are not divisible by the groups.
    #[track_caller]
    pub fn with_options(
        in_channels: usize,
        out_channels: usize,
        kernel_size: [usize; 2],
        base_kernel: [usize; 2],
        options: Conv2dOptions,
        mask: &MaskConfig,
    ) -> Self {
        let mut conv = Conv2d::with_options(in_channels, out_channels, kernel_size, options);
        let mask = LpMask::new(out_channels, base_kernel, mask);
        conv.set_parametrization(Some(Box::new(mask)));
        LpConv2d { conv }
    }

    /// The convolution inside.
    pub fn conv(&self) -> &Conv2d {
        &self.conv
    }
}

impl Forward for LpConv2d {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.conv.forward(x, cx)
    }

    fn macs(&self, input: &Shape, output: &Shape) -> u64 {
        self.conv.macs(input, output)
    }
}
