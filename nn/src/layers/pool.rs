//! Pooling as layers.

use autograd::Var;
use tensor::Pool2d;

use crate::{Context, Forward, Module};

/// The largest element of each window.
///
/// Input `[N, C, H, W]`, output `[N, C, H', W']` with `H' = (H + 2 padding - kernel) / stride + 1`, rounded down
/// unless [`with_ceil_mode`](Self::with_ceil_mode).
/// Same as `torch.nn.MaxPool2d` without dilation.
#[derive(Clone, Copy, Debug, Module)]
pub struct MaxPool2d {
    #[module(skip)]
    pool: Pool2d,
}

impl MaxPool2d {
    /// Square windows every `stride` pixels, without padding.
    pub fn new(kernel_size: usize, stride: usize) -> Self {
        MaxPool2d { pool: square(kernel_size, stride) }
    }

    /// The same with `padding` on all sides, which never wins.
    pub fn with_padding(mut self, padding: usize) -> Self {
        self.pool.padding = [padding; 2];
        self
    }

    /// The same with the number of windows rounded up: the last may reach beyond the padding.
    pub fn with_ceil_mode(mut self) -> Self {
        self.pool.ceil_mode = true;
        self
    }
}

impl Forward for MaxPool2d {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.max_pool2d(&self.pool)
    }
}

/// The mean of each window; shapes as [`MaxPool2d`].
///
/// Padding counts as zeros. Same as `torch.nn.AvgPool2d`.
#[derive(Clone, Copy, Debug, Module)]
pub struct AvgPool2d {
    #[module(skip)]
    pool: Pool2d,
    #[module(skip)]
    count_include_pad: bool,
}

impl AvgPool2d {
    /// Square windows every `stride` pixels, without padding.
    pub fn new(kernel_size: usize, stride: usize) -> Self {
        AvgPool2d { pool: square(kernel_size, stride), count_include_pad: true }
    }

    /// The same with `padding` zeros on all sides; without `count_include_pad` they do not count in the mean's divisor.
    /// PyTorch's default is that they do.
    pub fn with_padding(mut self, padding: usize, count_include_pad: bool) -> Self {
        self.pool.padding = [padding; 2];
        self.count_include_pad = count_include_pad;
        self
    }

    /// The same with the number of windows rounded up: the last may reach beyond the padding.
    pub fn with_ceil_mode(mut self) -> Self {
        self.pool.ceil_mode = true;
        self
    }
}

impl Forward for AvgPool2d {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.avg_pool2d(&self.pool, self.count_include_pad)
    }
}

fn square(kernel: usize, stride: usize) -> Pool2d {
    Pool2d { kernel: [kernel; 2], stride: [stride; 2], padding: [0; 2], ceil_mode: false }
}

/// The mean of windows that share the image evenly: `[N, C, H, W]` to `[N, C, size[0], size[1]]`.
///
/// `[1, 1]` is global average pooling. Same as `torch.nn.AdaptiveAvgPool2d`.
#[derive(Clone, Copy, Debug, Module)]
pub struct AdaptiveAvgPool2d {
    #[module(skip)]
    size: [usize; 2],
}

impl AdaptiveAvgPool2d {
    /// `size` is `[height, width]` of the output.
    pub fn new(size: [usize; 2]) -> Self {
        AdaptiveAvgPool2d { size }
    }
}

impl Forward for AdaptiveAvgPool2d {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.adaptive_avg_pool2d(self.size)
    }
}
