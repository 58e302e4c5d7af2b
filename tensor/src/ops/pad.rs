//! Padding and cropping of images.

use super::image_dims;
use crate::Tensor;

/// The length of an axis of `len` with `before` and `after` elements added (or, if negative, cut off).
#[track_caller]
fn padded(len: usize, [before, after]: [isize; 2], x: &Tensor, padding: [isize; 4]) -> usize {
    let out = len as isize + before + after;
    let cut = before.min(0) + after.min(0) + len as isize;
    assert!(
        out >= 0 && cut >= 0,
        "pad2d: padding {padding:?} (left, right, top, bottom) cuts more off than input {} has",
        x.shape()
    );
    out as usize
}

/// Axis `len` must be longer than what is mirrored on either side.
#[track_caller]
fn check_reflection(len: usize, sides: [usize; 2], x: &Tensor, padding: [usize; 4]) {
    assert!(
        sides.iter().all(|&p| p < len.max(1)),
        "reflection_pad2d: padding {padding:?} (left, right, top, bottom) must be smaller than height and width \
         of input {}",
        x.shape()
    );
}

impl Tensor {
    /// Zeros added around images, or a border cut off where the padding is negative.
    ///
    /// Input `[N, C, H, W]`, output `[N, C, H + top + bottom, W + left + right]` in channels-last memory.
    /// The gradient of the input is the output's gradient padded by `-padding`.
    /// Same as `torch.nn.functional.pad(x, [left, right, top, bottom])`.
    ///
    /// # Panics
    /// If the input does not have 4 axes or more is cut off than there is.
    #[track_caller]
    pub fn pad2d(&self, padding: [isize; 4]) -> Tensor {
        self.constant_pad2d(padding, 0.0)
    }

    /// `value` added around images; else as [`pad2d`](Self::pad2d). Same as
    /// `torch.nn.functional.pad(x, [left, right, top, bottom], value=value)`.
    ///
    /// # Panics
    /// If the input does not have 4 axes or more is cut off than there is.
    #[track_caller]
    pub fn constant_pad2d(&self, padding: [isize; 4], value: f64) -> Tensor {
        let [_, _, h, w] = image_dims("pad2d", self.shape());
        let [left, right, top, bottom] = padding;
        let out_h = padded(h, [top, bottom], self, padding);
        let out_w = padded(w, [left, right], self, padding);
        self.kernels().pad2d(&self.channels_last(), [top, left], [out_h, out_w], value)
    }

    /// Images continued by their mirror image; the border itself is not repeated.
    ///
    /// Input `[N, C, H, W]`, `padding` is left, right, top, bottom; output
    /// `[N, C, H + top + bottom, W + left + right]` in channels-last memory. Same as
    /// `torch.nn.functional.pad(.., mode="reflect")`.
    ///
    /// # Panics
    /// If the input does not have 4 axes or a padding is not smaller than the axis it mirrors.
    #[track_caller]
    pub fn reflection_pad2d(&self, padding: [usize; 4]) -> Tensor {
        let [_, _, h, w] = image_dims("reflection_pad2d", self.shape());
        check_reflection(h, [padding[2], padding[3]], self, padding);
        check_reflection(w, [padding[0], padding[1]], self, padding);
        self.kernels().reflection_pad2d(&self.channels_last(), padding)
    }

    /// The gradient of the input of [`reflection_pad2d`](Self::reflection_pad2d) from its output's gradient
    /// (`self`, `[N, C, H + top + bottom, W + left + right]`): every element gets the sum over its mirror images.
    ///
    /// # Panics
    /// If `self` is not the output of such a padding.
    #[track_caller]
    pub fn reflection_pad2d_grad(&self, padding: [usize; 4]) -> Tensor {
        let [_, _, out_h, out_w] = image_dims("reflection_pad2d_grad", self.shape());
        let [left, right, top, bottom] = padding;
        let axis = |len: usize, before: usize, after: usize| {
            len.checked_sub(before + after).filter(|&n| before < n.max(1) && after < n.max(1))
        };
        assert!(
            axis(out_h, top, bottom).is_some() && axis(out_w, left, right).is_some(),
            "reflection_pad2d_grad: {} is not the shape of images padded by {padding:?} (left, right, top, bottom)",
            self.shape()
        );
        self.kernels().reflection_pad2d_grad(&self.channels_last(), padding)
    }
}

#[cfg(test)]
mod tests {
    use crate::{DType, Device, Tensor};

    /// `[1, 2, h, w]` counting up.
    fn counting(h: usize, w: usize) -> Tensor {
        Tensor::arange(2 * h * w, Device::Cpu).reshape([1, 2, h, w]).to_dtype(DType::F64)
    }

    #[test]
    fn zero_padding_and_cropping_mix() {
        let y = counting(2, 3).pad2d([-1, 1, 1, -1]);
        assert_eq!(y.dims(), [1, 2, 2, 3]);
        assert_eq!(y.to_f64_vec(), [0., 0., 0., 1., 2., 0., 0., 0., 0., 7., 8., 0.]);
        assert!(y.is_channels_last());
        // Cutting off what was added gives the input back.
        let x = counting(3, 4);
        assert_eq!(x.pad2d([2, 1, 0, 3]).pad2d([-2, -1, 0, -3]).to_f64_vec(), x.to_f64_vec());
    }

    #[test]
    fn padding_has_any_value() {
        let y = counting(1, 2).narrow(1, 0, 1).constant_pad2d([1, -1, 0, 1], -2.5);
        assert_eq!(y.to_f64_vec(), [-2.5, 0.0, -2.5, -2.5]);
    }

    #[test]
    fn reflection_does_not_repeat_the_border() {
        let y = counting(2, 3).narrow(1, 0, 1).reflection_pad2d([2, 1, 1, 0]);
        assert_eq!(y.dims(), [1, 1, 3, 6]);
        assert_eq!(
            y.to_f64_vec(),
            [5., 4., 3., 4., 5., 4., 2., 1., 0., 1., 2., 1., 5., 4., 3., 4., 5., 4.]
        );
    }

    #[test]
    fn reflection_gradient_is_the_transpose() {
        // <pad(x), g> = <x, grad(g)> for any x and g.
        let (x, padding) = (counting(4, 5).add_scalar(0.5), [3, 4, 2, 1]);
        let y = x.reflection_pad2d(padding);
        let g = y.add_scalar(1.0).sin();
        let dot = |a: &Tensor, b: &Tensor| (a * b).to_f64_vec().iter().sum::<f64>();
        let (left, right) = (dot(&y, &g), dot(&x, &g.reflection_pad2d_grad(padding)));
        assert!((left - right).abs() < 1e-9, "{left} != {right}");
    }

    #[test]
    #[should_panic(
        expected = "reflection_pad2d: padding [1, 1, 3, 0] (left, right, top, bottom) must be smaller than height and width of input [1, 2, 3, 4]"
    )]
    fn too_large_a_reflection_names_the_shape() {
        counting(3, 4).reflection_pad2d([1, 1, 3, 0]);
    }

    #[test]
    #[should_panic(
        expected = "pad2d: padding [-3, -2, 0, 0] (left, right, top, bottom) cuts more off than input [1, 2, 3, 4] has"
    )]
    fn too_large_a_crop_names_the_shape() {
        counting(3, 4).pad2d([-3, -2, 0, 0]);
    }
}
