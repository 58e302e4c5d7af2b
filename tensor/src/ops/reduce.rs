//! Reductions over any set of axes.
//!
//! `axes` may be negative (from the end) and in any order; an empty list reduces nothing. With `keepdim` the reduced
//! axes stay with length 1, else they are removed. Floats are accumulated in f64; the result does not depend on the
//! number of threads.

use crate::{
    DType, Shape, Tensor,
    kernels::{ArgOp, ReduceOp},
    shape::{axis_index, resolve_axes},
};

impl Tensor {
    #[track_caller]
    fn reduce(&self, op: ReduceOp, axes: &[isize], keepdim: bool) -> Tensor {
        let resolved = resolve_axes(op.name(), axes, &self.shape());
        let empty = resolved.iter().any(|&a| self.dims()[a] == 0);
        assert!(
            !(empty && matches!(op, ReduceOp::Max | ReduceOp::Min)),
            "{}: shape {} has no elements along axes {resolved:?}",
            op.name(),
            self.shape()
        );
        let y = self.kernels().reduce(op, self, &resolved);
        if keepdim { y } else { y.reshape(self.shape().without_axes(op.name(), axes)) }
    }

    /// Every axis, for reductions to a scalar.
    fn all_axes(&self) -> Vec<isize> {
        (0..self.rank() as isize).collect()
    }

    /// Sum over `axes`, 0 over none; I64 and U8 give I64. Like `torch.sum`.
    ///
    /// ```
    /// use tensor::Tensor;
    ///
    /// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
    /// assert_eq!(x.sum(&[0], false).to_vec::<f32>(), [4.0, 6.0]);
    /// assert_eq!(x.sum(&[-1], true).dims(), [2, 1]);
    /// ```
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn sum(&self, axes: &[isize], keepdim: bool) -> Tensor {
        self.reduce(ReduceOp::Sum, axes, keepdim)
    }

    /// Sum of all elements, shape `[]`.
    #[track_caller]
    pub fn sum_all(&self) -> Tensor {
        self.sum(&self.all_axes(), false)
    }

    /// Sum over the axes that were broadcast from `shape`: the transpose of
    /// [`broadcast_to`](Tensor::broadcast_to). Like `torch.Tensor.sum_to_size`.
    ///
    /// # Panics
    /// If `shape` does not broadcast to this tensor's shape.
    #[track_caller]
    pub fn sum_to(&self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        if shape == self.shape() {
            return self.clone();
        }
        assert!(
            shape.broadcast(&self.shape()) == Some(self.shape()),
            "sum_to: shape {shape} does not broadcast to {}",
            self.shape()
        );
        let lead = self.rank() - shape.rank();
        let axes: Vec<isize> = (0..self.rank())
            .filter(|&a| a < lead || shape[a - lead] != self.dims()[a])
            .map(|a| a as isize)
            .collect();
        self.sum(&axes, true).reshape(shape)
    }

    /// Mean over `axes`, NaN over no elements. Like `torch.mean`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice, or the dtype is no float.
    #[track_caller]
    pub fn mean(&self, axes: &[isize], keepdim: bool) -> Tensor {
        self.reduce(ReduceOp::Mean, axes, keepdim)
    }

    /// Mean of all elements, shape `[]`.
    #[track_caller]
    pub fn mean_all(&self) -> Tensor {
        self.mean(&self.all_axes(), false)
    }

    /// Sum of squares over `axes`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice, or the dtype is no float.
    #[track_caller]
    pub fn sum_squares(&self, axes: &[isize], keepdim: bool) -> Tensor {
        self.reduce(ReduceOp::SumSquares, axes, keepdim)
    }

    /// Euclidean norm `sqrt(sum x^2)` over `axes`. Like `torch.linalg.vector_norm` of order 2.
    ///
    /// Squares are summed in f64 but the sum is rounded to the dtype: norms beyond 1.8e19 overflow in f32.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice, or the dtype is no float.
    #[track_caller]
    pub fn l2_norm(&self, axes: &[isize], keepdim: bool) -> Tensor {
        if self.dtype().is_half() {
            return self.to_dtype(DType::F32).l2_norm(axes, keepdim).to_dtype(self.dtype());
        }
        self.sum_squares(axes, keepdim).sqrt()
    }

    /// Variance over `axes`: `sum (x - mean)^2 / (n - correction)`, in two passes (no cancellation).
    ///
    /// `correction` 0 is the biased (population) variance, 1 the unbiased one. Like `torch.var`: NaN or infinite
    /// where `n <= correction`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice, or the dtype is no float.
    #[track_caller]
    pub fn var(&self, axes: &[isize], correction: usize, keepdim: bool) -> Tensor {
        if self.dtype().is_half() {
            return self.to_dtype(DType::F32).var(axes, correction, keepdim).to_dtype(self.dtype());
        }
        let n: usize =
            resolve_axes("var", axes, &self.shape()).into_iter().map(|a| self.dims()[a]).product();
        let centered = self.sub(&self.mean(axes, true));
        let divisor = n.saturating_sub(correction) as f64;
        // 0 · ∞ = NaN and positive · ∞ = ∞, as in PyTorch.
        centered.sum_squares(axes, keepdim).mul_scalar(1.0 / divisor)
    }

    /// Largest element over `axes`; NaN if there is one. Any dtype. Like `torch.amax`.
    ///
    /// # Panics
    /// If an axis does not exist, occurs twice or has length 0.
    #[track_caller]
    pub fn amax(&self, axes: &[isize], keepdim: bool) -> Tensor {
        self.reduce(ReduceOp::Max, axes, keepdim)
    }

    /// Smallest element over `axes`; NaN if there is one. Any dtype. Like `torch.amin`.
    ///
    /// # Panics
    /// If an axis does not exist, occurs twice or has length 0.
    #[track_caller]
    pub fn amin(&self, axes: &[isize], keepdim: bool) -> Tensor {
        self.reduce(ReduceOp::Min, axes, keepdim)
    }

    /// `log(sum exp(x))` over `axes`, without overflow for any `x`. Like `torch.logsumexp`.
    ///
    /// # Panics
    /// If an axis does not exist, occurs twice or has length 0, or the dtype is no float.
    #[track_caller]
    pub fn logsumexp(&self, axes: &[isize], keepdim: bool) -> Tensor {
        if self.dtype().is_half() {
            return self.to_dtype(DType::F32).logsumexp(axes, keepdim).to_dtype(self.dtype());
        }
        let max = self.amax(axes, true);
        // An infinite maximum is not subtracted (inf - inf is NaN), the largest finite number does as well.
        let largest = if self.dtype() == DType::F32 { f64::from(f32::MAX) } else { f64::MAX };
        let shift = max.clamp(-largest, largest);
        let y = self.sub(&shift).exp().sum(axes, true).log().add(&shift);
        if keepdim { y } else { y.reshape(self.shape().without_axes("logsumexp", axes)) }
    }

    #[track_caller]
    fn arg_reduce(&self, op: ArgOp, axis: isize, keepdim: bool) -> Tensor {
        let axis = axis_index(op.name(), axis, &self.shape());
        assert!(
            self.dims()[axis] > 0,
            "{}: axis {axis} of shape {} has no elements",
            op.name(),
            self.shape()
        );
        let y = self.kernels().arg_reduce(op, self, axis);
        if keepdim { y.unsqueeze(axis as isize) } else { y }
    }

    /// I64 index along `axis` of the largest element, of the first of equals, of the first NaN if there is one.
    ///
    /// Like `torch.argmax`, which does not promise the first of equals.
    ///
    /// # Panics
    /// If the axis does not exist or has length 0.
    #[track_caller]
    pub fn argmax(&self, axis: isize, keepdim: bool) -> Tensor {
        self.arg_reduce(ArgOp::Max, axis, keepdim)
    }

    /// I64 index along `axis` of the smallest element, of the first of equals, of the first NaN if there is one.
    ///
    /// Like `torch.argmin`, which does not promise the first of equals.
    ///
    /// # Panics
    /// If the axis does not exist or has length 0.
    #[track_caller]
    pub fn argmin(&self, axis: isize, keepdim: bool) -> Tensor {
        self.arg_reduce(ArgOp::Min, axis, keepdim)
    }

    /// Whether every element of a float tensor is finite; true for integers.
    pub fn all_finite(&self) -> bool {
        match self.dtype() {
            DType::I64 | DType::U8 => true,
            DType::BF16 | DType::F16 => self.to_dtype(DType::F32).all_finite(),
            // NaN and infinities survive a sum of x · 0; finite values give 0.
            DType::F32 | DType::F64 => self.mul_scalar(0.0).sum_all().item() == 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Device, Stream};

    /// Every reduction written down once more, element by element.
    fn naive(x: &Tensor, axes: &[usize], init: f64, f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let dims = x.dims();
        let kept: Vec<usize> = (0..dims.len()).filter(|a| !axes.contains(a)).collect();
        let mut out = vec![init; kept.iter().map(|&a| dims[a]).product()];
        for (flat, v) in x.to_f64_vec().into_iter().enumerate() {
            let mut rest = flat;
            let mut index = vec![0; dims.len()];
            for a in (0..dims.len()).rev() {
                index[a] = rest % dims[a];
                rest /= dims[a];
            }
            let at = kept.iter().fold(0, |at, &a| at * dims[a] + index[a]);
            out[at] = f(out[at], v);
        }
        out
    }

    /// A tensor of this shape, contiguous, permuted, sliced or broadcast.
    fn variant(dims: &[usize], kind: usize, dtype: DType, stream: &mut Stream) -> Tensor {
        let rank = dims.len();
        match kind {
            1 => {
                let order = stream.permutation(rank);
                let mut source = vec![0; rank];
                order.iter().zip(dims).for_each(|(&o, &d)| source[o] = d);
                Tensor::randn(source, dtype, Device::Cpu, stream).permute(&order)
            }
            2 if rank > 0 => {
                let wide = Shape::new(dims).with_axis(rank - 1, 2 * dims[rank - 1] + 1);
                let x = Tensor::randn(wide, dtype, Device::Cpu, stream);
                x.slice(-1, 1, 2 * dims[rank - 1] + 1, 2)
            }
            3 if rank > 0 => {
                let narrow = Shape::new(dims).with_axis(stream.below(rank as u64) as usize, 1);
                Tensor::randn(narrow, dtype, Device::Cpu, stream).broadcast_to(dims)
            }
            _ => Tensor::randn(dims, dtype, Device::Cpu, stream),
        }
    }

    fn assert_close(got: &Tensor, want: &[f64], tol: f64) {
        let got = got.to_f64_vec();
        assert_eq!(got.len(), want.len());
        for (i, (g, w)) in got.iter().zip(want).enumerate() {
            assert!((g - w).abs() <= tol * (1.0 + w.abs()), "element {i}: {g}, not {w}");
        }
    }

    fn check(dims: &[usize], axes: &[usize], kind: usize, seed: u64) {
        let mut stream = Stream::new(seed);
        let signed: Vec<isize> = axes.iter().map(|&a| a as isize).collect();
        for (dtype, tol) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
            let x = variant(dims, kind, dtype, &mut stream);
            let n = axes.iter().map(|&a| dims[a]).product::<usize>() as f64;
            let sums = naive(&x, axes, 0.0, |a, b| a + b);
            assert_close(&x.sum(&signed, false), &sums, tol);
            let squares = naive(&x, axes, 0.0, |a, b| a + b * b);
            assert_close(&x.sum_squares(&signed, true), &squares, tol);
            if n > 0.0 {
                let means: Vec<f64> = sums.iter().map(|s| s / n).collect();
                assert_close(&x.mean(&signed, false), &means, tol);
                assert_close(&x.amax(&signed, false), &naive(&x, axes, -1e9, f64::max), 0.0);
                assert_close(&x.amin(&signed, true), &naive(&x, axes, 1e9, f64::min), 0.0);
                let lse = naive(&x, axes, 0.0, |a, b| a + b.exp());
                let lse: Vec<f64> = lse.iter().map(|v| v.ln()).collect();
                assert_close(&x.logsumexp(&signed, false), &lse, 3.0 * tol);
                let var = |s: (&f64, &f64)| s.0 / n - (s.1 / n).powi(2);
                let vars: Vec<f64> = squares.iter().zip(&sums).map(var).collect();
                assert_close(&x.var(&signed, 0, false), &vars, 3.0 * tol);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn reductions_agree_with_loops(
            dims in prop::collection::vec(0usize..6, 0..5),
            mask in 0usize..32,
            kind in 0usize..4,
            seed: u64,
        ) {
            let axes: Vec<usize> = (0..dims.len()).filter(|a| mask >> a & 1 == 1).collect();
            check(&dims, &axes, kind, seed);
        }

        #[test]
        fn argmax_and_cumsum_agree_with_loops(
            dims in prop::collection::vec(1usize..6, 1..4),
            axis in 0usize..3,
            kind in 0usize..4,
            seed: u64,
        ) {
            let axis = axis % dims.len();
            let x = variant(&dims, kind, DType::F64, &mut Stream::new(seed));
            let lines = x.transpose(axis as isize, -1).contiguous().to_f64_vec();
            let back = |y: Tensor| y.transpose(axis as isize, -1).contiguous().to_f64_vec();
            let (best, running) = (x.argmax(axis as isize, true), x.cumsum(axis as isize));
            let (best, running) = (back(best), back(running));
            let least = back(x.neg().argmin(axis as isize, true));
            for (i, line) in lines.chunks(dims[axis]).enumerate() {
                let max = line.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(Some(best[i] as usize), line.iter().position(|&v| v == max));
                prop_assert_eq!(best[i], least[i]);
                let mut sum = 0.0;
                for (j, v) in line.iter().enumerate() {
                    sum += v;
                    prop_assert!((running[i * dims[axis] + j] - sum).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn large_reductions_of_every_path() {
        // More than one piece: all, a long row, rows kept with few and many columns, strided.
        check(&[100_000], &[0], 0, 1);
        check(&[3, 70_001], &[1], 0, 2);
        check(&[40_000, 3], &[0], 0, 3);
        check(&[50, 5_000], &[0], 0, 4);
        check(&[5, 12, 40, 33], &[0, 2, 3], 0, 5);
        check(&[5, 12, 40, 33], &[0, 2, 3], 1, 6);
        check(&[40_000, 2], &[0, 1], 2, 7);
        check(&[300, 301], &[0], 3, 8);
    }

    #[test]
    fn channels_last_sums_keep_their_memory_order() {
        let x = variant(&[2, 3, 4, 5], 0, DType::F32, &mut Stream::new(1)).channels_last();
        let y = x.mean(&[1], true);
        assert_eq!(y.to_vec::<f32>(), x.contiguous().mean(&[1], true).to_vec::<f32>());
        assert!(x.sum(&[3], true).is_channels_last());
    }

    #[test]
    fn sums_of_many_f32_are_exact_to_the_last_digit() {
        let x = Tensor::full(0.1, [10_000_000], DType::F32, Device::Cpu);
        let exact = 1e7 * f64::from(0.1f32);
        assert_eq!(x.sum_all().item(), f64::from(exact as f32));
        // A mean of 1e6 leaves a one-pass variance in f32 without a correct digit.
        let x = Tensor::randn([10_000], DType::F64, Device::Cpu, &mut Stream::new(4));
        let shifted = x.add_scalar(1e6).to_dtype(DType::F32);
        let want = shifted.to_dtype(DType::F64).var(&[0], 1, false).item();
        assert!((shifted.var(&[0], 1, false).item() / want - 1.0).abs() < 1e-5);
    }

    #[test]
    fn thread_count_changes_no_bit() {
        let x = Tensor::randn([37, 64, 50], DType::F32, Device::Cpu, &mut Stream::new(6));
        let all = || {
            [x.sum(&[0, 1], false), x.sum(&[2], false), x.sum_all(), x.var(&[0, 2], 0, false)]
                .map(|t| t.to_vec::<f32>())
        };
        let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("a pool");
        assert_eq!(pool(1).install(all), pool(3).install(all));
    }

    #[test]
    fn nan_and_infinity_propagate() {
        let x = Tensor::new(&[1.0f32, f32::NAN, 3.0, f32::INFINITY, 0.0, 2.0], [2, 3]);
        assert!(x.amax(&[1], false).to_vec::<f32>()[0].is_nan());
        assert!(x.amin(&[1], false).to_vec::<f32>()[0].is_nan());
        assert_eq!(x.argmax(1, false).to_vec::<i64>(), [1, 0]);
        assert_eq!(x.logsumexp(&[1], false).to_vec::<f32>()[1], f32::INFINITY);
        assert!(!x.all_finite());
        let none = Tensor::full(f64::NEG_INFINITY, [3], DType::F64, Device::Cpu);
        assert_eq!(none.logsumexp(&[0], false).item(), f64::NEG_INFINITY);
        assert!(Tensor::zeros([3], DType::F32, Device::Cpu).all_finite());
    }

    #[test]
    fn integers_and_empty_axes() {
        let x = Tensor::new(&[200u8, 100, 3, 4], [2, 2]);
        assert_eq!(x.sum(&[0], false).to_vec::<i64>(), [203, 104]);
        assert_eq!(x.amax(&[0, 1], false).to_vec::<u8>(), [200]);
        let empty = Tensor::zeros([0, 2], DType::F32, Device::Cpu);
        assert_eq!(empty.sum(&[0], false).to_vec::<f32>(), [0.0, 0.0]);
        assert!(empty.mean(&[0], false).to_vec::<f32>()[0].is_nan());
        assert_eq!(empty.sum(&[1], false).dims(), [0]);
        assert_eq!(x.sum_to([2]).to_vec::<i64>(), [203, 104]);
        assert_eq!(x.sum_to([2, 1]).to_vec::<i64>(), [300, 7]);
    }

    #[test]
    #[should_panic(expected = "amax: shape [0, 2] has no elements along axes [0]")]
    fn a_maximum_of_nothing_panics() {
        Tensor::zeros([0, 2], DType::F32, Device::Cpu).amax(&[0], false);
    }

    #[test]
    #[should_panic(expected = "sum: axes [0, -2] of shape [2, 3] name one twice")]
    fn an_axis_given_twice_panics() {
        Tensor::zeros([2, 3], DType::F32, Device::Cpu).sum(&[0, -2], false);
    }
}
