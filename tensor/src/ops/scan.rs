//! Running sums, products and extremes along an axis.
//!
//! Floats are accumulated in f64; the result does not depend on the number of threads.

use super::check_same;
use crate::{
    Tensor,
    kernels::{ArgOp, ScanOp},
    shape::axis_index,
};

impl Tensor {
    #[track_caller]
    fn scan(&self, op: ScanOp, axis: isize) -> Tensor {
        self.kernels().scan(op, self, axis_index(op.name(), axis, &self.shape()))
    }

    /// Running sum along `axis`, the element itself included. Like `torch.cumsum`.
    ///
    /// # Panics
    /// If the axis does not exist or the dtype is no float.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Tensor {
        self.scan(ScanOp::Sum, axis)
    }

    /// Running product along `axis`, the element itself included. Like `torch.cumprod`.
    ///
    /// # Panics
    /// If the axis does not exist or the dtype is no float.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Tensor {
        self.scan(ScanOp::Prod, axis)
    }

    /// Running `log(sum exp(x))` along `axis`, without overflow for any `x`. Like `torch.logcumsumexp`.
    ///
    /// # Panics
    /// If the axis does not exist or the dtype is no float.
    #[track_caller]
    pub fn logcumsumexp(&self, axis: isize) -> Tensor {
        self.scan(ScanOp::LogSumExp, axis)
    }

    /// I64 index along `axis` of the largest element so far, of the last of equals, of the last NaN once there was one.
    ///
    /// The indices of `torch.cummax`; the values are those that [`gather`](Self::gather) finds there.
    ///
    /// ```
    /// use tensor::Tensor;
    ///
    /// let x = Tensor::new(&[1.0f32, 3.0, 3.0, f32::NAN, 5.0, f32::NAN], [6]);
    /// assert_eq!(x.argcummax(0).to_vec::<i64>(), [0, 1, 2, 3, 3, 5]);
    /// ```
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn argcummax(&self, axis: isize) -> Tensor {
        let axis = axis_index("cummax", axis, &self.shape());
        self.kernels().arg_scan(ArgOp::Max, self, axis)
    }

    /// I64 index along `axis` of the smallest element so far, of the last of equals, of the last NaN once there was one.
    /// The indices of `torch.cummin`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn argcummin(&self, axis: isize) -> Tensor {
        let axis = axis_index("cummin", axis, &self.shape());
        self.kernels().arg_scan(ArgOp::Min, self, axis)
    }

    /// `y[i] = decay[i] y[i - 1] + x[i]` along `axis`, from `y[0] = x[0]`: a leaky sum of `x` (`self`).
    ///
    /// The first `decay` of each line has no influence. With `decay` 1 it is [`cumsum`](Self::cumsum).
    ///
    /// # Panics
    /// If the axis does not exist, shapes, dtypes or devices differ, or the dtype is no float.
    #[track_caller]
    pub fn linear_recurrence(&self, decay: &Tensor, axis: isize) -> Tensor {
        check_same("linear_recurrence", &[self, decay]);
        assert!(
            self.shape() == decay.shape(),
            "linear_recurrence: decay {} does not have the shape {} of the input",
            decay.shape(),
            self.shape()
        );
        let axis = axis_index("linear_recurrence", axis, &self.shape());
        self.kernels().linear_recurrence(decay, self, axis)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DType, Device, Stream};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn scans_agree_with_loops(
            dims in prop::collection::vec(1usize..6, 1..4),
            axis in 0usize..3,
            permuted: bool,
            seed: u64,
        ) {
            let axis = axis % dims.len();
            let mut stream = Stream::new(seed);
            let draw = |stream: &mut Stream| {
                let x = Tensor::randn(&dims[..], DType::F64, Device::Cpu, stream);
                if permuted { x.transpose(0, -1).contiguous().transpose(0, -1) } else { x }
            };
            // Rounded to halves: ties.
            let x = draw(&mut stream).mul_scalar(2.0).to_dtype(DType::I64).to_dtype(DType::F64);
            let decay = Tensor::randn(&dims[..], DType::F64, Device::Cpu, &mut stream);
            let along = axis as isize;
            let lines = |y: &Tensor| y.transpose(along, -1).contiguous().to_f64_vec();
            let of = [
                x.cumsum(along), x.cumprod(along), x.logcumsumexp(along), x.argcummax(along),
                x.argcummin(along), x.linear_recurrence(&decay, along),
            ];
            let of = of.map(|y| lines(&y));
            let (x, decay) = (lines(&x), lines(&decay));
            for (i, line) in x.chunks(dims[axis]).enumerate() {
                let mut y = 0.0;
                for j in 0..line.len() {
                    let (at, so_far) = (i * dims[axis] + j, &line[..=j]);
                    y = so_far[j] + if j == 0 { 0.0 } else { decay[at] * y };
                    let max = so_far.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let min = so_far.iter().copied().fold(f64::INFINITY, f64::min);
                    let last = |v| so_far.iter().rposition(|&x| x == v).unwrap() as f64;
                    let expected = [
                        so_far.iter().sum(), so_far.iter().product(),
                        so_far.iter().map(|x| x.exp()).sum::<f64>().ln(), last(max), last(min), y,
                    ];
                    for (k, e) in expected.into_iter().enumerate() {
                        prop_assert!((of[k][at] - e).abs() <= 1e-12 * (1.0 + e.abs()), "{k}: {at}");
                    }
                }
            }
        }
    }

    #[test]
    fn long_lines_of_every_layout_are_whole() {
        // More than one piece of work, lines and columns.
        for (shape, axis) in [([3, 40_000], 1), ([40_000, 3], 0), ([20_000, 4], 1)] {
            let x = Tensor::ones(shape, DType::F32, Device::Cpu);
            let y = x.cumsum(axis).select(axis, shape[axis as usize] - 1);
            assert!(y.to_f64_vec().iter().all(|&v| v == shape[axis as usize] as f64));
        }
    }

    #[test]
    fn running_log_sums_take_any_number() {
        let inf = f64::INFINITY;
        let x = Tensor::new(&[-inf, -inf, -1e4, 1e4, inf, 2.0, inf], [7]);
        let y = x.logcumsumexp(0).to_f64_vec();
        assert_eq!(y, [-inf, -inf, -1e4, 1e4, inf, inf, inf]);
        let y = Tensor::new(&[1.0, f64::NAN, inf, 2.0], [4]).logcumsumexp(0).to_f64_vec();
        assert!(y[0] == 1.0 && y[1..].iter().all(|v| v.is_nan()));
    }

    #[test]
    fn the_last_nan_is_the_smallest_so_far() {
        let nan = f32::NAN;
        // torch.cummin gives these.
        let x = Tensor::new(&[1.0, 3.0, 1.0, nan, 0.0, nan, 2.0], [7]);
        assert_eq!(x.argcummin(0).to_vec::<i64>(), [0, 0, 2, 3, 3, 5, 5]);
    }

    #[test]
    #[should_panic(
        expected = "linear_recurrence: decay [2, 1] does not have the shape [2, 3] of the input"
    )]
    fn a_decay_of_another_shape_is_named() {
        let zeros = |shape| Tensor::zeros(shape, DType::F32, Device::Cpu);
        zeros([2, 3]).linear_recurrence(&zeros([2, 1]), 1);
    }
}
