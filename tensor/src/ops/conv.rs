//! Convolution of images and linear layers, with their derivatives.

use super::{check_same, check_vector, image_dims};
use crate::{Shape, Tensor};

/// How a convolution is computed on the CPU.
///
/// The default is exact up to the rounding of the sums; the others trade a stated part of that for speed, and change nothing
/// but the rounding. Each of the three passes (output, input gradient, weight gradient) for which the chosen algorithm is not
/// made, or would not be faster, silently runs as [`Direct`](Self::Direct), with the bits of `Direct`. The number of threads
/// changes no bit of any of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConvAlgorithm {
    /// The sum as it is written: an implicit matrix product, or a direct loop for depthwise kernels.
    #[default]
    Direct,
    /// Winograd's minimal filtering, `F(4x4, 3x3)`: a quarter of the multiplications for dense 3x3 kernels.
    ///
    /// For groups = 1, 3x3, stride 1, dilation 1, at least 16 channels on either side, and maps whose sides are not mostly the
    /// rim of a 4x4 tile. 2 to 3 times as fast as `Direct` in all three passes from 64 channels on. The error of `f32` is some 8
    /// times that of `Direct`: with standard normal data and weights the largest error, over the root mean square of the result,
    /// is about 2e-5 with 16 channels and 7e-5 with 256 (`Direct`: 2e-6 and 1e-5).
    Winograd,
    /// Products of Fourier transforms of overlapping tiles: the time hardly depends on the size of the kernel.
    ///
    /// For stride 1, dilation 1, and groups = 1 or depthwise layers with as many output as input channels, with kernels of at
    /// most 80x80, where an estimate of the time is below that of the sum: for dense layers with some 16 channels from about
    /// 5x5 on, for depthwise ones from about 15x15 on. 3 to 5 times as fast as `Direct` in all three passes for 7x7 kernels and
    /// for depthwise 31x31. Masked kernels whose rim of zeros is left out no longer have the same bits with and without the
    /// rim. The error of `f32` is below that of `Direct` where sums are long: with standard normal data and weights at most
    /// 3e-6 of the root mean square of the result (7x7 and 256 channels; `Direct`: some 2.5e-5).
    Fft,
}

/// How the kernel of a convolution moves over the image; pairs are `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Step of the window.
    pub stride: [usize; 2],
    /// Zeros on both sides.
    pub padding: [usize; 2],
    /// Spacing of the taps.
    pub dilation: [usize; 2],
    /// Blocks of channels that do not see each other.
    pub groups: usize,
    /// How it is computed on the CPU.
    pub algorithm: ConvAlgorithm,
}

impl Default for Conv2dOptions {
    /// Stride 1, no padding, dilation 1, one group: PyTorch's defaults; computed directly.
    fn default() -> Self {
        Conv2dOptions {
            stride: [1; 2],
            padding: [0; 2],
            dilation: [1; 2],
            groups: 1,
            algorithm: ConvAlgorithm::Direct,
        }
    }
}

/// The shape `[N, O, oh, ow]` of a convolution's output, after all checks:
/// `oh = (H + 2 padding - dilation (kh - 1) - 1) / stride + 1`, rounded down.
#[track_caller]
pub(crate) fn conv2d_shape(op: &str, x: Shape, weight: Shape, options: &Conv2dOptions) -> Shape {
    let Conv2dOptions { stride, padding, dilation, groups, .. } = *options;
    let [n, c, h, w] = image_dims(op, x);
    let Ok([o, per_group, kh, kw]) = <[usize; 4]>::try_from(&weight[..]) else {
        panic!(
            "{op}: weight {weight} has {} axes, not the 4 of [O, C / groups, kh, kw]",
            weight.rank()
        )
    };
    assert!(
        groups > 0 && !stride.contains(&0) && !dilation.contains(&0),
        "{op}: stride {stride:?}, dilation {dilation:?} and groups = {groups} must be at least 1"
    );
    assert!(
        c == per_group * groups,
        "{op}: input {x} has {c} channels but weight {weight} with groups = {groups} expects {}",
        per_group * groups
    );
    assert!(
        o.is_multiple_of(groups),
        "{op}: weight {weight} has {o} output channels, which do not divide into groups = {groups}"
    );
    let out = |len: usize, kernel: usize, i: usize| {
        let span = dilation[i] * kernel.checked_sub(1)? + 1;
        Some((len + 2 * padding[i]).checked_sub(span)? / stride[i] + 1)
    };
    match (out(h, kh, 0), out(w, kw, 1)) {
        (Some(oh), Some(ow)) => Shape::new(&[n, o, oh, ow]),
        _ => panic!(
            "{op}: input {x} padded by {padding:?} is smaller than the kernel of weight {weight} with dilation \
             {dilation:?}"
        ),
    }
}

impl Tensor {
    /// Cross-correlation of images with a bank of kernels: `y[n, o, i, j] = bias[o] +
    /// sum over c, r, s of x[n, c, i stride + r dilation - padding, ..] weight[o, c, r, s]`.
    ///
    /// Input `[N, C, H, W]`, weight `[O, C / groups, kh, kw]`, bias `[O]`, output `[N, O, oh, ow]` in channels-last
    /// memory with `oh = (H + 2 padding - dilation (kh - 1) - 1) / stride + 1` rounded down. An input that is not
    /// channels last is copied. Same as `torch.nn.functional.conv2d`.
    ///
    /// # Panics
    /// If shapes do not fit each other and the options, or dtypes or devices differ.
    #[track_caller]
    pub fn conv2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
    ) -> Tensor {
        check_same("conv2d", &[self, weight]);
        let shape = conv2d_shape("conv2d", self.shape(), weight.shape(), options);
        let bias = bias.map(|b| check_vector("conv2d", "bias", b, shape[1], weight));
        let (x, weight) = (self.channels_last(), weight.contiguous());
        self.kernels().conv2d(&x, &weight, bias.as_ref(), options, shape)
    }

    /// The gradient of the input of [`conv2d`](Self::conv2d), of shape `input`, from the output's gradient (`self`).
    /// As a function of `self` and the weight this is also the transposed convolution.
    ///
    /// # Panics
    /// If `self` does not have the shape of the output, or as [`conv2d`](Self::conv2d).
    #[track_caller]
    pub fn conv2d_input_grad(
        &self,
        weight: &Tensor,
        input: impl Into<Shape>,
        options: &Conv2dOptions,
    ) -> Tensor {
        const OP: &str = "conv2d_input_grad";
        let input = input.into();
        check_same(OP, &[self, weight]);
        let output = conv2d_shape(OP, input, weight.shape(), options);
        check_output(OP, self, output, input);
        let (dy, weight) = (self.channels_last(), weight.contiguous());
        self.kernels().conv2d_input_grad(&dy, &weight, options, input)
    }

    /// The gradient of the weight of [`conv2d`](Self::conv2d), of shape `weight`, from the input (`self`) and the
    /// output's gradient `dy`. Contiguous.
    ///
    /// # Panics
    /// If `dy` does not have the shape of the output, or as [`conv2d`](Self::conv2d).
    #[track_caller]
    pub fn conv2d_weight_grad(
        &self,
        dy: &Tensor,
        weight: impl Into<Shape>,
        options: &Conv2dOptions,
    ) -> Tensor {
        const OP: &str = "conv2d_weight_grad";
        let weight = weight.into();
        check_same(OP, &[self, dy]);
        let output = conv2d_shape(OP, self.shape(), weight, options);
        check_output(OP, dy, output, self.shape());
        let (x, dy) = (self.channels_last(), dy.channels_last());
        self.kernels().conv2d_weight_grad(&x, &dy, options, weight)
    }

    /// `x weight^T + bias` over the last axis.
    ///
    /// Input `[.., I]`, weight `[O, I]`, bias `[O]`, output `[.., O]`, contiguous. Transposed operands are read in
    /// place. Same as `torch.nn.functional.linear`.
    ///
    /// # Panics
    /// If the shapes do not fit, or dtypes or devices differ.
    #[track_caller]
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        check_same("linear", &[self, weight]);
        let (x, w) = (self.shape(), weight.shape());
        assert!(
            x.rank() >= 1 && w.rank() == 2 && x[x.rank() - 1] == w[1],
            "linear: input {x} and weight {w} do not fit; they must be [.., I] and [O, I]"
        );
        let bias = bias.map(|b| check_vector("linear", "bias", b, w[0], weight));
        let rows = x[..x.rank() - 1].iter().product::<usize>();
        let y = self.kernels().linear(&self.reshape([rows, w[1]]), weight, bias.as_ref());
        y.reshape(x.with_axis(x.rank() - 1, w[0]))
    }
}

#[track_caller]
fn check_output(op: &str, dy: &Tensor, expected: Shape, input: Shape) {
    assert!(
        dy.shape() == expected,
        "{op}: gradient {} is not {expected}, the output for input {input}",
        dy.shape()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device};

    fn wave(shape: &[usize], seed: f64) -> Tensor {
        let x = Tensor::arange(shape.iter().product(), Device::Cpu).to_dtype(DType::F64);
        x.mul_scalar(seed).sin().reshape(shape)
    }

    #[test]
    fn shapes_follow_pytorch() {
        let shape = |x: [usize; 4], w: [usize; 4], options: Conv2dOptions| {
            conv2d_shape("conv2d", x.into(), w.into(), &options).to_vec()
        };
        let d = Conv2dOptions::default();
        assert_eq!(shape([2, 3, 7, 8], [5, 3, 3, 1], d), [2, 5, 5, 8]);
        let o = Conv2dOptions { stride: [4, 4], padding: [2, 2], ..d };
        assert_eq!(shape([1, 3, 224, 224], [64, 3, 11, 11], o), [1, 64, 55, 55]);
        let o = Conv2dOptions { stride: [1, 2], padding: [2, 0], dilation: [2, 1], groups: 3, ..d };
        assert_eq!(shape([2, 6, 9, 11], [3, 2, 3, 3], o), [2, 3, 9, 5]);
    }

    #[test]
    fn gradients_are_transposes_of_the_convolution() {
        let o = Conv2dOptions {
            stride: [2, 1],
            padding: [1, 2],
            dilation: [1, 2],
            groups: 2,
            ..Default::default()
        };
        let (x, w) = (wave(&[2, 4, 6, 7], 1.3), wave(&[6, 2, 3, 2], 0.7));
        let y = x.conv2d(&w, None, &o);
        let g = wave(y.dims(), 2.1);
        let dot = |a: &Tensor, b: &Tensor| (a * b).to_f64_vec().iter().sum::<f64>();
        let expected = dot(&y, &g);
        let dx = g.conv2d_input_grad(&w, x.shape(), &o);
        let dw = x.conv2d_weight_grad(&g, w.shape(), &o);
        assert!((dot(&x, &dx) - expected).abs() < 1e-10);
        assert!((dot(&w, &dw) - expected).abs() < 1e-10);
    }

    #[test]
    fn linear_reads_transposed_and_gapped_operands() {
        let (x, w, b) = (wave(&[2, 3, 5], 1.1), wave(&[4, 5], 0.9), wave(&[4], 2.0));
        let y = x.linear(&w, Some(&b));
        assert_eq!(y.dims(), [2, 3, 4]);
        let (xs, ws) = (x.to_f64_vec(), w.to_f64_vec());
        let expected: f64 = (0..5).map(|i| xs[4 * 5 + i] * ws[2 * 5 + i]).sum();
        let got = y.to_f64_vec()[4 * 4 + 2];
        assert!((got - expected - b.to_f64_vec()[2]).abs() < 1e-12);
        let transposed = w.transpose(0, 1).contiguous().transpose(0, 1);
        let close = |a: &Tensor, b: &Tensor| {
            a.to_f64_vec().iter().zip(b.to_f64_vec()).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(close(&x.linear(&transposed, Some(&b)), &y));
        assert!(close(&x.select(0, 1).linear(&w, Some(&b)), &y.select(0, 1)));
        assert_eq!(x.select(0, 1).select(0, 2).linear(&w, None).dims(), [4]);
    }

    #[test]
    #[should_panic(
        expected = "conv2d: input [8, 3, 32, 32] has 3 channels but weight [64, 4, 3, 3] with groups = 1 expects 4"
    )]
    fn wrong_channels_are_named() {
        let zeros = |s: [usize; 4]| Tensor::zeros(s, DType::F32, Device::Cpu);
        zeros([8, 3, 32, 32]).conv2d(&zeros([64, 4, 3, 3]), None, &Conv2dOptions::default());
    }

    #[test]
    #[should_panic(
        expected = "conv2d: input [1, 1, 4, 9] padded by [0, 0] is smaller than the kernel of weight [1, 1, 3, 3] with dilation [2, 2]"
    )]
    fn too_large_a_kernel_is_named() {
        let zeros = |s: [usize; 4]| Tensor::zeros(s, DType::F32, Device::Cpu);
        let o = Conv2dOptions { dilation: [2, 2], ..Default::default() };
        zeros([1, 1, 4, 9]).conv2d(&zeros([1, 1, 3, 3]), None, &o);
    }

    #[test]
    #[should_panic(
        expected = "linear: input [2, 3] and weight [4, 5] do not fit; they must be [.., I] and [O, I]"
    )]
    fn wrong_linear_shapes_are_named() {
        wave(&[2, 3], 1.0).linear(&wave(&[4, 5], 1.0), None);
    }
}
