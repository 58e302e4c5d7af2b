//! Padding of images as layers; `padding` is `[left, right, top, bottom]`, as in PyTorch.

use autograd::Var;

use crate::{Context, Forward, Module};

/// Continues images by zeros. Input `[N, C, H, W]`, output `[N, C, H + top + bottom, W + left + right]`.
///
/// Same as `torch.nn.ZeroPad2d`, without its negative paddings.
#[derive(Clone, Copy, Debug, Module)]
pub struct ZeroPad2d {
    #[module(skip)]
    padding: [usize; 4],
}

impl ZeroPad2d {
    /// `padding` is `[left, right, top, bottom]`.
    pub fn new(padding: [usize; 4]) -> Self {
        ZeroPad2d { padding }
    }
}

impl Forward for ZeroPad2d {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.pad2d(self.padding.map(|p| p as isize))
    }
}

/// Continues images by a constant. Shapes as [`ZeroPad2d`].
///
/// Same as `torch.nn.ConstantPad2d`, without its negative paddings.
#[derive(Clone, Copy, Debug, Module)]
pub struct ConstantPad2d {
    #[module(skip)]
    padding: [usize; 4],
    #[module(skip)]
    value: f64,
}

impl ConstantPad2d {
    /// `padding` is `[left, right, top, bottom]`.
    pub fn new(padding: [usize; 4], value: f64) -> Self {
        ConstantPad2d { padding, value }
    }
}

impl Forward for ConstantPad2d {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.constant_pad2d(self.padding.map(|p| p as isize), self.value)
    }
}

/// Continues images by their mirror image, the border pixel not repeated. Shapes as [`ZeroPad2d`].
///
/// Same as `torch.nn.ReflectionPad2d`.
#[derive(Clone, Copy, Debug, Module)]
pub struct ReflectionPad2d {
    #[module(skip)]
    padding: [usize; 4],
}

impl ReflectionPad2d {
    /// `padding` is `[left, right, top, bottom]`, each less than the image's width or height.
    pub fn new(padding: [usize; 4]) -> Self {
        ReflectionPad2d { padding }
    }
}

impl Forward for ReflectionPad2d {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.reflection_pad2d(self.padding)
    }
}
