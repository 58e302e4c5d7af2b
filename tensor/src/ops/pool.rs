//! Pooling over windows of images, with its derivatives.

use super::{check_devices, image_dims};
use crate::{Shape, Tensor, kernels::PoolWindow};

/// Kernel size, stride and padding of a pooling, each `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    /// Height and width of a window.
    pub kernel: [usize; 2],
    /// Steps between windows.
    pub stride: [usize; 2],
    /// Rows and columns added on each side; at most half a kernel.
    pub padding: [usize; 2],
    /// Whether windows may reach beyond the padding at the end, if they start before it: the number of windows is rounded up.
    /// PyTorch's default is false.
    pub ceil_mode: bool,
}

impl Pool2d {
    /// Output height and width for an input `[N, C, H, W]`.
    #[track_caller]
    fn output(&self, op: &str, x: Shape) -> [usize; 2] {
        let Pool2d { kernel, stride, padding, ceil_mode } = *self;
        let [_, _, h, w] = image_dims(op, x);
        let valid = (0..2).all(|i| kernel[i] > 0 && stride[i] > 0 && 2 * padding[i] <= kernel[i]);
        assert!(
            valid,
            "{op}: kernel {kernel:?} and stride {stride:?} must be at least 1 and padding {padding:?} at most half \
             the kernel"
        );
        let out = |len: usize, i: usize| {
            // Window 0 may be cut by at most a stride less one.
            let reach = len + 2 * padding[i] + if ceil_mode { stride[i] - 1 } else { 0 };
            let room = (len > 0).then(|| reach.checked_sub(kernel[i])).flatten()?;
            // None starts in the padding at the end. Without `ceil_mode` none could.
            Some((room / stride[i]).min((len + padding[i] - 1) / stride[i]) + 1)
        };
        match (out(h, 0), out(w, 1)) {
            (Some(h), Some(w)) => [h, w],
            _ => panic!(
                "{op}: input {x} padded by {padding:?} is smaller than the kernel {kernel:?}"
            ),
        }
    }

    /// The windows of each output row (`axis` 0) or column (1); padding counts if `padding_counts`, but never what lies
    /// beyond it.
    fn windows(
        &self,
        axis: usize,
        len: usize,
        out: usize,
        padding_counts: bool,
    ) -> Vec<PoolWindow> {
        let (kernel, stride, padding) = (self.kernel[axis], self.stride[axis], self.padding[axis]);
        let window = |i: usize| {
            let (start, end) = (i * stride, (i * stride + kernel).min(len + 2 * padding));
            let inside = start.saturating_sub(padding)..(end - padding).min(len);
            let count = if padding_counts { end - start } else { inside.len() };
            PoolWindow { inside, count }
        };
        (0..out).map(window).collect()
    }
}

/// The windows of an adaptive pooling: `floor(i * len / out)..ceil((i + 1) * len / out)`.
fn adaptive_windows(len: usize, out: usize) -> Vec<PoolWindow> {
    let window = |i: usize| {
        let inside = i * len / out..((i + 1) * len).div_ceil(out);
        PoolWindow { count: inside.len(), inside }
    };
    (0..out).map(window).collect()
}

impl Tensor {
    /// The largest element of each window, and the cell of the window where it is.
    ///
    /// Input `[N, C, H, W]`, outputs `[N, C, (H + 2p - k) / s + 1, ..]` (rounded down, with `ceil_mode` up) in channels-last memory; cells
    /// are `row * kernel_width + column` as `U8`. Padding never wins. Of equal maxima the first in row-major order is
    /// taken; NaN is larger than any number. Same as `torch.nn.functional.max_pool2d`, but for the indices.
    ///
    /// # Panics
    /// If the input does not have 4 axes or is smaller than the kernel, the padding is larger than half the kernel,
    /// or the kernel has more than 256 cells.
    #[track_caller]
    pub fn max_pool2d(&self, pool: &Pool2d) -> (Tensor, Tensor) {
        let size = pool.output("max_pool2d", self.shape());
        assert!(
            pool.kernel[0] * pool.kernel[1] <= 256,
            "max_pool2d: kernel {:?} has more than 256 cells, the most that an index holds",
            pool.kernel
        );
        self.kernels().max_pool2d(&self.channels_last(), pool, size)
    }

    /// The input's gradient of [`max_pool2d`](Self::max_pool2d) from the output's (`self`), the cells it returned and
    /// the input's shape.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn max_pool2d_grad(
        &self,
        cells: &Tensor,
        input: impl Into<Shape>,
        pool: &Pool2d,
    ) -> Tensor {
        const OP: &str = "max_pool2d_grad";
        let input = input.into();
        let [out_h, out_w] = pool.output(OP, input);
        let dims @ [n, c, ..] = image_dims(OP, input);
        for t in [self, cells] {
            check_pooled(OP, t, input, [n, c, out_h, out_w]);
        }
        check_devices(OP, &[self, cells]);
        let (dy, cells) = (self.channels_last(), cells.channels_last());
        self.kernels().max_pool2d_grad(&dy, &cells, pool, dims)
    }

    /// The mean of each window.
    ///
    /// Input `[N, C, H, W]`, output as of [`max_pool2d`](Self::max_pool2d). With `count_include_pad` (PyTorch's default)
    /// the sum is divided by the size of the kernel, otherwise by the number of elements that are not padding; what a window
    /// of `ceil_mode` covers beyond the padding never counts. Same as `torch.nn.functional.avg_pool2d`.
    ///
    /// # Panics
    /// If the input does not have 4 axes or is smaller than the kernel, or the padding is larger than half the kernel.
    #[track_caller]
    pub fn avg_pool2d(&self, pool: &Pool2d, count_include_pad: bool) -> Tensor {
        let [out_h, out_w] = pool.output("avg_pool2d", self.shape());
        let [_, _, h, w] = image_dims("avg_pool2d", self.shape());
        let windows = [(0, h, out_h), (1, w, out_w)]
            .map(|(axis, len, out)| pool.windows(axis, len, out, count_include_pad));
        self.kernels().avg_pool2d(&self.channels_last(), &windows)
    }

    /// The input's gradient of [`avg_pool2d`](Self::avg_pool2d) from the output's (`self`) and the input's
    /// shape.
    ///
    /// # Panics
    /// If `self` does not have the shape of the output.
    #[track_caller]
    pub fn avg_pool2d_grad(
        &self,
        input: impl Into<Shape>,
        pool: &Pool2d,
        count_include_pad: bool,
    ) -> Tensor {
        let input = input.into();
        let [out_h, out_w] = pool.output("avg_pool2d_grad", input);
        let [n, c, h, w] = image_dims("avg_pool2d_grad", input);
        check_pooled("avg_pool2d_grad", self, input, [n, c, out_h, out_w]);
        let windows = [(0, h, out_h), (1, w, out_w)]
            .map(|(axis, len, out)| pool.windows(axis, len, out, count_include_pad));
        self.kernels().avg_pool2d_grad(&self.channels_last(), &windows, [h, w])
    }

    /// The mean of `size[0] x size[1]` windows that share the image evenly; `[1, 1]` is global average pooling.
    ///
    /// Input `[N, C, H, W]`, output `[N, C, size[0], size[1]]`; window `i` covers
    /// `floor(i H / size)..ceil((i + 1) H / size)`. Same as `torch.nn.functional.adaptive_avg_pool2d`.
    ///
    /// # Panics
    /// If the input does not have 4 axes or an empty image is to be averaged.
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Tensor {
        let [_, _, h, w] = image_dims("adaptive_avg_pool2d", self.shape());
        assert!(
            h > 0 && w > 0,
            "adaptive_avg_pool2d: images of input {} have no pixels to average",
            self.shape()
        );
        let windows = [adaptive_windows(h, size[0]), adaptive_windows(w, size[1])];
        self.kernels().avg_pool2d(&self.channels_last(), &windows)
    }

    /// The input's gradient of [`adaptive_avg_pool2d`](Self::adaptive_avg_pool2d) from the output's (`self`) and the
    /// input's shape.
    ///
    /// # Panics
    /// If the numbers of images or channels differ.
    #[track_caller]
    pub fn adaptive_avg_pool2d_grad(&self, input: impl Into<Shape>) -> Tensor {
        let input = input.into();
        let [_, _, out_h, out_w] = image_dims("adaptive_avg_pool2d_grad", self.shape());
        let [n, c, h, w] = image_dims("adaptive_avg_pool2d_grad", input);
        check_pooled("adaptive_avg_pool2d_grad", self, input, [n, c, out_h, out_w]);
        let windows = [adaptive_windows(h, out_h), adaptive_windows(w, out_w)];
        self.kernels().avg_pool2d_grad(&self.channels_last(), &windows, [h, w])
    }
}

#[track_caller]
fn check_pooled(op: &str, dy: &Tensor, input: Shape, expected: [usize; 4]) {
    assert!(
        dy.dims() == expected,
        "{op}: {} is not {expected:?}, what input {input} is pooled to",
        dy.shape()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device};

    const K3S2P1: Pool2d =
        Pool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1], ceil_mode: false };

    #[test]
    fn the_first_of_equal_maxima_gets_the_gradient() {
        let x = Tensor::zeros([1, 1, 3, 3], DType::F64, Device::Cpu);
        let (y, cells) = x.max_pool2d(&K3S2P1);
        assert_eq!(y.to_f64_vec(), [0.0; 4]);
        let dx = y.full_like(1.0).max_pool2d_grad(&cells, x.shape(), &K3S2P1);
        // Windows start at (-1, -1), (-1, 1), (1, -1), (1, 1): first cells inside are these.
        assert_eq!(dx.to_f64_vec(), [1., 1., 0., 1., 1., 0., 0., 0., 0.]);
    }

    #[test]
    fn nan_wins_and_minus_infinity_is_a_number() {
        let inf = f64::NEG_INFINITY;
        let x = Tensor::new(&[inf, inf, 1.0, f64::NAN], [1, 1, 1, 4]);
        let pool = Pool2d { kernel: [1, 2], stride: [1, 2], padding: [0, 0], ceil_mode: false };
        let (y, cells) = x.max_pool2d(&pool);
        assert!(y.to_f64_vec()[0] == inf && y.to_f64_vec()[1].is_nan());
        assert_eq!(cells.to_vec::<u8>(), [0, 1]);
    }

    #[test]
    fn channels_are_pooled_alike() {
        // 21 channels: whole vectors and a rest.
        let x = Tensor::arange(2 * 21 * 30, Device::Cpu).to_dtype(DType::F64).sin();
        let x = x.reshape([2, 21, 5, 6]);
        let (y, _) = x.max_pool2d(&K3S2P1);
        let mean = x.avg_pool2d(&K3S2P1, false);
        for c in 0..21 {
            let one = x.narrow(1, c, 1);
            assert_eq!(one.max_pool2d(&K3S2P1).0.to_f64_vec(), y.narrow(1, c, 1).to_f64_vec());
            assert_eq!(
                one.avg_pool2d(&K3S2P1, false).to_f64_vec(),
                mean.narrow(1, c, 1).to_f64_vec()
            );
        }
    }

    #[test]
    fn padding_counts_only_if_asked() {
        let x = Tensor::ones([1, 1, 2, 2], DType::F32, Device::Cpu);
        assert_eq!(x.avg_pool2d(&K3S2P1, false).to_f64_vec(), [1.0]);
        assert!((x.avg_pool2d(&K3S2P1, true).to_f64_vec()[0] - 4.0 / 9.0).abs() < 1e-7);
    }

    #[test]
    #[should_panic(
        expected = "max_pool2d: input [1, 1, 2, 5] padded by [0, 0] is smaller than the kernel [3, 3]"
    )]
    fn too_small_an_input_is_named() {
        let pool = Pool2d { kernel: [3, 3], stride: [2, 2], padding: [0, 0], ceil_mode: false };
        Tensor::zeros([1, 1, 2, 5], DType::F32, Device::Cpu).max_pool2d(&pool);
    }
}
