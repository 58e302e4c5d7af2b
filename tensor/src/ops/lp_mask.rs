//! Lp-masks: one soft window `exp(-|C d|_p^p)` per output channel of a convolution, its gradient, and its product
//! with the kernel. Paper section 3; the crate `lpconv` puts layers around it.

use super::check_same;
use crate::{
    Tensor,
    kernels::{LpWindow, MaskGradient},
};

/// Checks `c [O, 2, 2]` and `log2p [O]`, returning `O`.
#[track_caller]
fn channels(op: &str, c: &Tensor, log2p: &Tensor) -> usize {
    check_same(op, &[c, log2p]);
    let fits = c.rank() == 3 && c.dims()[1..] == [2, 2] && log2p.dims() == [c.dims()[0]];
    assert!(fits, "{op}: C {} and log2p {} are not [O, 2, 2] and [O]", c.shape(), log2p.shape());
    c.dims()[0]
}

impl Tensor {
    /// The masks `M[o, m, n] = exp(-(|z_0|^p + |z_1|^p))` with `z = C_o d`, `p = 2^log2p_o` and `d` the offset (row,
    /// column) of tap `(m, n)` from `center`, in pixels.
    ///
    /// `c` is `[O, 2, 2]`, `log2p` `[O]`, both f32 or both f64; the result is `[O, kh, kw]`. Any finite `p > 0` works:
    /// computed in f64 inside, values below the dtype's smallest normal number become exactly 0 (a denormal tap would
    /// slow every product down and means nothing). At `d = 0` the mask is 1.
    ///
    /// # Panics
    /// If the shapes or dtypes do not fit.
    #[track_caller]
    pub fn lp_mask(c: &Tensor, log2p: &Tensor, kernel: [usize; 2], center: [f64; 2]) -> Tensor {
        channels("lp_mask", c, log2p);
        let (c, log2p) = (c.contiguous(), log2p.contiguous());
        c.kernels().lp_mask(&c, &log2p, LpWindow { kernel, center })
    }

    /// The gradients of `C` and `log2p` from the gradient `dmask [O, kh, kw]` of the masks.
    ///
    /// With `a_r = |z_r|`: `dC[r, q] = -sum dM M p a_r^(p-1) sign(z_r) d_q` and
    /// `dlog2p = -p ln 2 sum dM M sum_r a_r^p ln a_r`. Both terms are 0 where `z_r = 0` (their limit for p > 1; the
    /// subgradient 0 at p = 1; a definition for p < 1, where the derivative diverges) and where the mask is exactly 0
    /// (where `a^p` may have overflowed), so no gradient is ever NaN. Formulas of section 1.3 of the specification.
    ///
    /// # Panics
    /// If the shapes or dtypes do not fit.
    #[track_caller]
    pub fn lp_mask_grad(
        dmask: &Tensor,
        mask: &Tensor,
        c: &Tensor,
        log2p: &Tensor,
        center: [f64; 2],
    ) -> (Tensor, Tensor) {
        let o = channels("lp_mask_grad", c, log2p);
        check_same("lp_mask_grad", &[dmask, mask, c]);
        let [mo, kh, kw] = mask.dims_of();
        assert!(
            mo == o && dmask.shape() == mask.shape(),
            "lp_mask_grad: gradient {} and mask {} do not fit C {}",
            dmask.shape(),
            mask.shape(),
            c.shape()
        );
        let g = MaskGradient {
            dmask: &dmask.contiguous(),
            mask: &mask.contiguous(),
            c: &c.contiguous(),
            log2p: &log2p.contiguous(),
        };
        c.kernels().lp_mask_grad(g, LpWindow { kernel: [kh, kw], center })
    }

    /// `weight[o, i, m, n] * mask[o, m, n]`, without the outermost `crop[0]` rows and `crop[1]` columns of taps on each
    /// side: `[O, I, kh, kw]` to `[O, I, kh - 2 crop[0], kw - 2 crop[1]]`, contiguous.
    ///
    /// # Panics
    /// If the shapes do not fit or nothing is left.
    #[track_caller]
    pub fn masked_weight(&self, mask: &Tensor, crop: [usize; 2]) -> Tensor {
        check_masked("masked_weight", self, mask, crop);
        self.kernels().masked_weight(&self.contiguous(), &mask.contiguous(), crop)
    }

    /// The gradients of [`masked_weight`](Self::masked_weight) with respect to the weight (`dy * mask`, 0 in the cropped
    /// border) and, if `mask_wanted`, to the mask (`sum_i dy * weight`, 0 in the border).
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn masked_weight_grad(
        &self,
        weight: &Tensor,
        mask: &Tensor,
        crop: [usize; 2],
        mask_wanted: bool,
    ) -> (Tensor, Option<Tensor>) {
        check_masked("masked_weight_grad", weight, mask, crop);
        check_same("masked_weight_grad", &[self, weight]);
        let [o, i, kh, kw] = weight.dims_of();
        let cropped = [o, i, kh - 2 * crop[0], kw - 2 * crop[1]];
        assert!(
            self.dims() == cropped,
            "masked_weight_grad: gradient {} of a result of shape {cropped:?}",
            self.shape()
        );
        let (weight, mask) = (weight.contiguous(), mask.contiguous());
        self.kernels().masked_weight_grad(&self.contiguous(), &weight, &mask, crop, mask_wanted)
    }

    /// How many rows and columns of taps are exactly 0 in every mask, on both sides alike: what a convolution may leave
    /// out. `self` is `[O, kh, kw]`; never the whole kernel.
    ///
    /// # Panics
    /// If there are not 3 axes.
    #[track_caller]
    pub fn zero_border(&self) -> [usize; 2] {
        let [_, kh, kw] = self.dims_of();
        let used = self.abs().max_over_channels();
        let zero_row = |m: usize| (0..kw).all(|n| used[m * kw + n] == 0.0);
        let zero_column = |n: usize| (0..kh).all(|m| used[m * kw + n] == 0.0);
        let rows = (0..kh.saturating_sub(1) / 2)
            .take_while(|&m| zero_row(m) && zero_row(kh - 1 - m))
            .count();
        let columns = (0..kw.saturating_sub(1) / 2)
            .take_while(|&n| zero_column(n) && zero_column(kw - 1 - n))
            .count();
        [rows, columns]
    }

    /// The largest value of each tap over all channels of `[O, kh, kw]` nonnegative values.
    fn max_over_channels(&self) -> Vec<f64> {
        let [_, kh, kw] = self.dims_of();
        let values = self.to_f64_vec();
        let mut largest = vec![0.0f64; kh * kw];
        for channel in values.chunks(kh * kw) {
            for (l, v) in largest.iter_mut().zip(channel) {
                *l = l.max(*v);
            }
        }
        largest
    }
}

#[track_caller]
fn check_masked(op: &str, weight: &Tensor, mask: &Tensor, crop: [usize; 2]) {
    check_same(op, &[weight, mask]);
    let fits = weight.rank() == 4
        && mask.rank() == 3
        && weight.dims()[0] == mask.dims()[0]
        && weight.dims()[2..] == mask.dims()[1..]
        && 2 * crop[0] < weight.dims()[2]
        && 2 * crop[1] < weight.dims()[3];
    assert!(
        fits,
        "{op}: weight {}, mask {} and crop {crop:?} are not [O, I, kh, kw], [O, kh, kw] and less than half the kernel",
        weight.shape(),
        mask.shape()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;

    fn round_mask(p: f64, sigma: f64, k: usize, dtype: DType) -> Tensor {
        let c = Tensor::new(&[1.0 / sigma, 0.0, 0.0, 1.0 / sigma], [1, 2, 2]).to_dtype(dtype);
        let log2p = Tensor::new(&[p.log2()], [1]).to_dtype(dtype);
        Tensor::lp_mask(&c, &log2p, [k, k], [(k as f64 - 1.0) / 2.0; 2])
    }

    /// The test values of section 1.2 of the specification: k = 3, l = 7, sigma = 1.5001.
    #[test]
    fn values_along_an_axis() {
        let along =
            |p| round_mask(p, 1.5001, 7, DType::F64).select(1, 3).to_vec::<f64>()[3..].to_vec();
        for (p, expected) in [
            (2.0, [1.0, 0.6412, 0.1691, 0.0183]),
            (4.0, [1.0, 0.8208, 0.0424, 0.0]),
            (8.0, [1.0, 0.9618, 0.0, 0.0]),
            (16.0, [1.0, 0.9985, 0.0, 0.0]),
        ] {
            for (a, e) in along(p).iter().zip(expected) {
                assert!((a - e).abs() < 5e-5, "p = {p}: {a} instead of {e}");
            }
        }
        let sum: f64 = round_mask(2.0, 1.5001, 7, DType::F64).to_f64_vec().iter().sum();
        assert!((sum - 7.0607).abs() < 5e-5);
    }

    #[test]
    fn large_p_is_exactly_the_old_window_and_denormals_are_flushed() {
        let frozen = round_mask(256.0, 1.5001, 7, DType::F32).to_f64_vec();
        let expected = |m: usize, n: usize| f64::from((2..5).contains(&m) && (2..5).contains(&n));
        for (i, v) in frozen.iter().enumerate() {
            assert_eq!(*v, expected(i / 7, i % 7));
        }
        // At p = 16 a quarter of the taps would be denormal in f32 (benchmarks, mask after init).
        for v in round_mask(16.0, 1.5001, 7, DType::F32).to_vec::<f32>() {
            assert!(v == 0.0 || v >= f32::MIN_POSITIVE);
        }
        assert_eq!(round_mask(256.0, 1.5001, 7, DType::F32).zero_border(), [2, 2]);
        assert_eq!(round_mask(2.0, 1.5001, 7, DType::F32).zero_border(), [0, 0]);
    }

    #[test]
    fn nothing_is_nan_where_powers_overflow_or_the_center_is_hit() {
        for p in [0.25f64, 0.5, 1.0, 1.5, 256.0, 1e6] {
            for dtype in [DType::F32, DType::F64] {
                let c = Tensor::new(&[2.0, 0.0, 0.0, 1e-3], [1, 2, 2]).to_dtype(dtype);
                let log2p = Tensor::new(&[p.log2()], [1]).to_dtype(dtype);
                let center = [3.0, 3.0];
                let mask = Tensor::lp_mask(&c, &log2p, [7, 7], center);
                let (dc, dp) =
                    Tensor::lp_mask_grad(&mask.full_like(1.0), &mask, &c, &log2p, center);
                for t in [&mask, &dc, &dp] {
                    assert!(t.to_f64_vec().iter().all(|v| v.is_finite()), "p = {p}: {t:?}");
                }
            }
        }
    }

    #[test]
    fn cropping_drops_taps_and_their_gradients() {
        let weight = Tensor::new(&(0..50).map(f64::from).collect::<Vec<_>>(), [2, 1, 5, 5]);
        let mask = Tensor::new(&(0..50).map(|i| f64::from(i) * 0.1).collect::<Vec<_>>(), [2, 5, 5]);
        let full = weight.masked_weight(&mask, [0, 0]);
        let cropped = weight.masked_weight(&mask, [1, 2]);
        assert_eq!(cropped.dims(), [2, 1, 3, 1]);
        assert_eq!(cropped.to_vec::<f64>(), full.narrow(2, 1, 3).narrow(3, 2, 1).to_vec::<f64>());
        let (dw, dm) = cropped.full_like(1.0).masked_weight_grad(&weight, &mask, [1, 2], true);
        assert_eq!(dw.to_f64_vec()[12], mask.to_f64_vec()[12]);
        assert_eq!(dm.unwrap().to_f64_vec()[25 + 12], weight.to_f64_vec()[25 + 12]);
        assert_eq!(dw.to_f64_vec()[0], 0.0);
        assert_eq!(dw.to_f64_vec()[11], 0.0);
    }
}
