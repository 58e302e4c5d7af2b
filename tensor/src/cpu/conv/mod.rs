//! Two-dimensional convolution (cross-correlation, as in PyTorch) and its two gradients on plain slices.
//!
//! Activations are channels last, `[N, H, W, C]`; weights are `[O, C / groups, kh, kw]`. All three passes are implicit matrix
//! products ([`crate::cpu::product`]): rows are pixels or images, the taps of the kernel are runs of `k`, taps that fall on
//! padding are left out, and the patch matrix is never written. Depthwise convolutions have their own loops.

mod axis;
mod depthwise;
mod fft;
mod forward;
mod fourier;
mod input_grad;
mod pack;
mod scatter;
mod sliding;
mod transformed;
mod weight_grad;
mod winograd;

use crate::ConvAlgorithm;
use crate::cpu::microkernel::Real;
use crate::cpu::simd::Isa;
use axis::Axis;
use fft::Pass;

/// The sizes of a convolution.
///
/// Zero padding is the same on both sides of an axis; `oh` and `ow` are
/// `(h + 2 · padding − dilation · (kh − 1) − 1) / stride + 1` or less.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvGeometry {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) h: usize,
    pub(crate) w: usize,
    pub(crate) o: usize,
    pub(crate) kh: usize,
    pub(crate) kw: usize,
    pub(crate) oh: usize,
    pub(crate) ow: usize,
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
    pub(crate) algorithm: ConvAlgorithm,
}

impl ConvGeometry {
    fn check(&self, x: usize, w: usize, y: usize) {
        assert!(
            self.groups > 0
                && self.c.is_multiple_of(self.groups)
                && self.o.is_multiple_of(self.groups),
            "conv: {} and {} channels do not divide into {} groups",
            self.c,
            self.o,
            self.groups
        );
        assert!(!self.stride.contains(&0), "conv: stride {:?} has a zero", self.stride);
        let expected = [
            self.n * self.h * self.w * self.c,
            self.o * self.group_inputs() * self.taps(),
            self.n * self.oh * self.ow * self.o,
        ];
        assert_eq!([x, w, y], expected, "conv: lengths of input, weight and output of {self:?}");
    }

    fn taps(&self) -> usize {
        self.kh * self.kw
    }

    fn group_inputs(&self) -> usize {
        self.c / self.groups
    }

    fn group_outputs(&self) -> usize {
        self.o / self.groups
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.c
    }

    /// Multiply-adds of a pass, counting taps on padding.
    fn macs(&self) -> usize {
        self.n * self.oh * self.ow * self.o * self.group_inputs() * self.taps()
    }

    /// Rows and columns of the output over those of the input.
    fn forward_axes(&self) -> [Axis; 2] {
        [
            Axis::forward(
                self.h,
                self.oh,
                self.kh,
                self.stride[0],
                self.padding[0],
                self.dilation[0],
            ),
            Axis::forward(
                self.w,
                self.ow,
                self.kw,
                self.stride[1],
                self.padding[1],
                self.dilation[1],
            ),
        ]
    }

    /// Rows and columns of the input gradient over those of the output gradient.
    fn backward_axes(&self) -> [Axis; 2] {
        [
            Axis::backward(
                self.h,
                self.oh,
                self.kh,
                self.stride[0],
                self.padding[0],
                self.dilation[0],
            ),
            Axis::backward(
                self.w,
                self.ow,
                self.kw,
                self.stride[1],
                self.padding[1],
                self.dilation[1],
            ),
        ]
    }

    /// Whether a pass with so many results runs with Winograd's algorithm.
    fn winograd(&self, results: [usize; 2]) -> bool {
        self.algorithm == ConvAlgorithm::Winograd && winograd::applies(self, results)
    }

    /// The tiles of a pass that runs with Fourier transforms: their size and step.
    fn fft(&self, pass: Pass) -> Option<[[usize; 2]; 2]> {
        if self.algorithm == ConvAlgorithm::Fft { fft::plan(self, pass) } else { None }
    }

    /// The weight gradient walks over the images of a batch at one pixel, not over the pixels of an image.
    fn small_maps(&self) -> bool {
        self.n >= 8 && self.ow < 16 || self.n >= 4 * self.ow
    }

    /// The same convolution with all pixels of the batch in one row, where pixels do not meet each other.
    fn flattened(&self) -> Self {
        let pointwise = self.taps() == 1
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && [self.oh, self.ow] == [self.h, self.w];
        if !pointwise {
            return *self;
        }
        let pixels = self.n * self.h * self.w;
        Self { n: 1, h: 1, w: pixels, oh: 1, ow: pixels, ..*self }
    }
}

/// `y[n, i, j, o] = bias[o] + Σ_{c, r, s} x[n, i·stride + r·dilation − padding, …, c] · w[o, c, r, s]`.
pub(crate) fn conv_forward<T: Real>(
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    conv_forward_on(Isa::active(), g, x, w, bias, y);
}

/// The gradient of [`conv_forward`] with respect to `x`, given that with respect to `y`; overwrites `dx`.
pub(crate) fn conv_input_grad<T: Real>(g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    conv_input_grad_on(Isa::active(), g, dy, w, dx);
}

/// The gradient of [`conv_forward`] with respect to `w`, given that with respect to `y`; overwrites `dw`.
pub(crate) fn conv_weight_grad<T: Real>(g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    conv_weight_grad_on(Isa::active(), g, x, dy, dw);
}

fn conv_forward_on<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    g.check(x.len(), w.len(), y.len());
    if let Some(bias) = bias {
        assert_eq!(bias.len(), g.o, "conv: length of bias of {g:?}");
    }
    if y.is_empty() {
        return;
    }
    if let Some(tiles) = g.fft(Pass::Forward) {
        return fft::forward(isa, g, tiles, x, w, bias, y);
    }
    match g.is_depthwise() {
        _ if g.winograd([g.oh, g.ow]) => winograd::forward(isa, g, x, w, bias, y),
        true => depthwise::forward(isa, g, x, w, bias, y),
        false => forward::run(isa, &g.flattened(), x, w, bias, y),
    }
}

fn conv_input_grad_on<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    g.check(dx.len(), w.len(), dy.len());
    if dx.is_empty() {
        return;
    }
    if let Some(tiles) = g.fft(Pass::InputGrad) {
        return fft::input_grad(isa, g, tiles, dy, w, dx);
    }
    match g.is_depthwise() {
        _ if g.winograd([g.h, g.w]) => winograd::input_grad(isa, g, dy, w, dx),
        true => depthwise::input_grad(isa, g, dy, w, dx),
        false => input_grad::run(isa, &g.flattened(), dy, w, dx),
    }
}

fn conv_weight_grad_on<T: Real>(isa: Isa, g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    g.check(x.len(), dw.len(), dy.len());
    if dw.is_empty() {
        return;
    }
    if let Some(tiles) = g.fft(Pass::WeightGrad) {
        return fft::weight_gradient(isa, g, tiles, x, dy, dw);
    }
    match g.is_depthwise() {
        _ if g.winograd([g.oh, g.ow]) => winograd::weight_gradient(isa, g, x, dy, dw),
        true => depthwise::weight_grad(isa, g, x, dy, dw),
        // Flattened pixels come in another order, and a kernel of one tap must give the bits of one with a rim of zeros.
        false if g.small_maps() => weight_grad::run(isa, g, x, dy, dw),
        false => weight_grad::run(isa, &g.flattened(), x, dy, dw),
    }
}

#[cfg(test)]
mod algorithm_tests;
#[cfg(test)]
mod tests;
