//! Global response normalization, in terms of other ops.

use super::OpInfo;
use crate::{Var, gradcheck::Case};

impl Var {
    /// Global response normalization of images with channels last, `[N, H, W, C]`:
    ///
    /// `y = x + weight · x · n + bias` with `n = g / (mean over channels of g + eps)` and `g` the Euclidean norm of each
    /// channel over the pixels of its image. `weight` and `bias` are `[C]`.
    ///
    /// Derivative of the norm at an all-zero channel: 0. Source: Woo et al. 2023 (ConvNeXt V2), algorithm 1; same as
    /// timm's `GlobalResponseNorm(channels_last=True)`.
    ///
    /// # Panics
    /// If the input does not have 4 axes, or weight or bias is not `[C]`.
    #[track_caller]
    pub fn grn(&self, weight: &Var, bias: &Var, eps: f64) -> Var {
        assert!(
            self.dims().len() == 4,
            "grn: input {} has {} axes, not the 4 of [N, H, W, C]",
            self.shape(),
            self.dims().len()
        );
        let channels = self.dims()[3];
        for (name, v) in [("weight", weight), ("bias", bias)] {
            assert!(
                v.dims() == [channels],
                "grn: {name} {} is not [{channels}], one for each channel of input {}",
                v.shape(),
                self.shape()
            );
        }
        let norms = self.l2_norm(&[1, 2], true);
        let responses = &norms / (norms.mean_axes(&[-1], true) + eps);
        // x (1 + weight n): one pass over the pixels instead of three.
        self * (responses * weight + 1.0) + bias
    }
}

pub(super) const INFO: &[OpInfo] = &[OpInfo {
    name: "grn",
    formula: "x + weight x |x| / mean |x| + bias, norms over pixels",
    case: |d| {
        let shape: [usize; 4] = std::array::from_fn(|_| d.len(1..=4, 14..=24));
        // Away from zero: a norm has a kink there.
        let x = d.away_from_zero(shape);
        let inputs = vec![x, d.normal([shape[3]]), d.normal([shape[3]])];
        Case::new(inputs, |v| v[0].grn(&v[1], &v[2], 1e-3))
    },
}];
