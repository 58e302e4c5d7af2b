//! Batch normalization and layer normalization, with their derivatives.

use super::{
    channels_innermost, check_same, check_statistics, check_statistics_vector, check_vector,
};
use crate::{
    Tensor,
    kernels::{BatchNormGrad, LayerNormGrad},
};

/// Batch norm wants `[N, C]` or `[N, C, ..]`.
#[track_caller]
fn channels(op: &str, x: &Tensor) -> usize {
    assert!(
        x.rank() >= 2,
        "{op}: input {} has {} axes; it needs [N, C] or [N, C, ..]",
        x.shape(),
        x.rank()
    );
    x.dims()[1]
}

impl Tensor {
    /// Mean and biased variance of each channel, the batch statistics of batch normalization: each `[C]`.
    ///
    /// Input `[N, C]` or `[N, C, ..]`. Accurate for means far from 0 (no difference of large squares); f32 input is
    /// summed in f64. Of 16-bit input they are f32.
    ///
    /// # Panics
    /// If the input has fewer than 2 axes.
    #[track_caller]
    pub fn batch_norm_stats(&self) -> (Tensor, Tensor) {
        channels("batch_norm_stats", self);
        self.kernels().batch_stats(&channels_innermost(self))
    }

    /// `(x - mean) * invstd * weight + bias` per channel.
    ///
    /// Input `[N, C]` or `[N, C, ..]`; all others `[C]`; `invstd = 1 / sqrt(var + eps)`. Output of the input's shape
    /// with channels innermost in memory.
    ///
    /// # Panics
    /// If a vector is not `[C]`, or dtypes or devices differ.
    #[track_caller]
    pub fn batch_norm(
        &self,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Tensor {
        let c = channels("batch_norm", self);
        let vector = |name, v| check_vector("batch_norm", name, v, c, self);
        let statistics = |name, v| check_statistics_vector("batch_norm", name, v, c, self);
        let (mean, invstd) = (statistics("mean", mean), statistics("invstd", invstd));
        let (weight, bias) = (weight.map(|w| vector("weight", w)), bias.map(|b| vector("bias", b)));
        self.kernels().batch_norm(
            &channels_innermost(self),
            &mean,
            &invstd,
            weight.as_ref(),
            bias.as_ref(),
        )
    }

    /// The gradients of [`batch_norm`](Self::batch_norm) from its input (`self`), the gradient `dy` of its output and
    /// its other arguments.
    ///
    /// With `training` mean and variance are those of the input and are differentiated too; otherwise they are
    /// constants. `dx` is left out where it is not wanted: it costs most of the time.
    ///
    /// # Panics
    /// As [`batch_norm`](Self::batch_norm), or if `dy` has another shape.
    #[track_caller]
    pub fn batch_norm_grad(
        &self,
        dy: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        training: bool,
        wants_dx: bool,
    ) -> BatchNormGrad {
        const OP: &str = "batch_norm_grad";
        let c = channels(OP, self);
        check_gradient(OP, self, dy);
        let vector = |name, v| check_vector(OP, name, v, c, self);
        let statistics = |name, v| check_statistics_vector(OP, name, v, c, self);
        let (mean, invstd) = (statistics("mean", mean), statistics("invstd", invstd));
        let weight = weight.map(|w| vector("weight", w));
        self.kernels().batch_norm_grad(
            &channels_innermost(self),
            &channels_innermost(dy),
            &mean,
            &invstd,
            weight.as_ref(),
            training,
            wants_dx,
        )
    }

    /// The sum over all axes but axis 1: the gradient of a bias per channel. `[N, C, ..]` to `[C]`; f32 is summed
    /// in f64.
    ///
    /// # Panics
    /// If the input has fewer than 2 axes.
    #[track_caller]
    pub fn channel_sums(&self) -> Tensor {
        channels("channel_sums", self);
        self.kernels().channel_sums(&channels_innermost(self))
    }

    /// Layer normalization over the last `axes` axes: `(x - mean) / sqrt(var + eps) * weight + bias` with the mean
    /// and the biased variance of those axes; `weight` and `bias` have their shape.
    ///
    /// Returns the output (contiguous) and the statistics that [`layer_norm_grad`](Self::layer_norm_grad) needs. For
    /// images normalized over channels, permute: a channels-last image is not copied by it.
    /// Same as `torch.nn.functional.layer_norm`.
    ///
    /// # Panics
    /// If the input has fewer axes, or `weight` or `bias` another shape, dtype or device.
    #[track_caller]
    pub fn layer_norm(
        &self,
        axes: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> (Tensor, Tensor) {
        let length = normalized_length("layer_norm", self, axes, &[weight, bias]);
        let contiguous = |t: Option<&Tensor>| t.map(Tensor::contiguous);
        self.kernels().layer_norm(
            &self.contiguous(),
            length,
            contiguous(weight).as_ref(),
            contiguous(bias).as_ref(),
            eps,
        )
    }

    /// The gradients of [`layer_norm`](Self::layer_norm) from its input (`self`), the gradient `dy` of its output and
    /// its statistics.
    ///
    /// # Panics
    /// As [`layer_norm`](Self::layer_norm), or if `dy` has another shape.
    #[track_caller]
    pub fn layer_norm_grad(
        &self,
        axes: usize,
        dy: &Tensor,
        stats: &Tensor,
        weight: Option<&Tensor>,
    ) -> LayerNormGrad {
        let length = normalized_length("layer_norm_grad", self, axes, &[weight]);
        check_gradient("layer_norm_grad", self, dy);
        check_statistics("layer_norm_grad", stats, self);
        let weight = weight.map(Tensor::contiguous);
        let (x, dy) = (self.contiguous(), dy.contiguous());
        let mut grad = self.kernels().layer_norm_grad(&x, &dy, length, stats, weight.as_ref());
        let normalized = &self.dims()[self.rank() - axes..];
        grad.dweight = grad.dweight.reshape(normalized);
        grad.dbias = grad.dbias.reshape(normalized);
        grad
    }
}

/// `dy` must look like the output, which looks like `x`.
#[track_caller]
fn check_gradient(op: &str, x: &Tensor, dy: &Tensor) {
    check_same(op, &[x, dy]);
    assert!(
        x.shape() == dy.shape(),
        "{op}: gradient {} does not have the shape {} of the output",
        dy.shape(),
        x.shape()
    );
}

/// Number of elements of the last `axes` axes, which all of `vectors` must have as their shape.
#[track_caller]
fn normalized_length(op: &str, x: &Tensor, axes: usize, vectors: &[Option<&Tensor>]) -> usize {
    assert!(
        (1..=x.rank()).contains(&axes),
        "{op}: input {} does not have the {axes} axes to normalize over (at least 1)",
        x.shape()
    );
    let normalized = &x.dims()[x.rank() - axes..];
    for v in vectors.iter().flatten() {
        check_same(op, &[x, v]);
        assert!(
            v.dims() == normalized,
            "{op}: weight or bias {} does not have the shape of the last {axes} axes of input {}",
            v.shape(),
            x.shape()
        );
    }
    normalized.iter().product()
}

#[cfg(test)]
mod tests {
    use crate::{DType, Device, Tensor};

    fn wave(shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        let x = Tensor::arange(n, Device::Cpu).to_dtype(DType::F64);
        x.mul_scalar(1.7).sin().reshape(shape)
    }

    #[test]
    fn stats_are_accurate_far_from_zero_in_f32() {
        // 3 channels with variance 1/12 around 1000: naive sums of squares have no digit left.
        let n = 70_000;
        let x: Vec<f32> = (0..n * 3).map(|i| 1000.0 + (i / 3) as f32 / n as f32).collect();
        let exact: f64 = x.iter().step_by(3).map(|&v| v as f64).sum::<f64>() / n as f64;
        let var: f64 =
            x.iter().step_by(3).map(|&v| (v as f64 - exact).powi(2)).sum::<f64>() / n as f64;
        let (mean, got) = Tensor::new(&x, [n, 3]).batch_norm_stats();
        for c in 0..3 {
            assert!((mean.to_f64_vec()[c] - exact).abs() < 1e-4);
            assert!((got.to_f64_vec()[c] / var - 1.0).abs() < 1e-4, "{:?} != {var}", got);
        }
    }

    #[test]
    fn memory_format_and_rank_do_not_matter() {
        let x = wave(&[3, 5, 4, 2]);
        let (mean, var) = x.batch_norm_stats();
        let invstd = var.add_scalar(1e-5).rsqrt();
        let y = x.batch_norm(&mean, &invstd, None, None);
        assert!(y.is_channels_last());
        for other in [x.channels_last(), x.transpose(2, 3).contiguous().transpose(2, 3)] {
            assert_eq!(other.batch_norm(&mean, &invstd, None, None).to_f64_vec(), y.to_f64_vec());
        }
        let flat = x.reshape([3, 5, 8]).batch_norm(&mean, &invstd, None, None);
        assert_eq!(flat.to_f64_vec(), y.to_f64_vec());
    }

    #[test]
    fn normalized_output_has_mean_0_and_variance_1() {
        let x = wave(&[4, 37, 3, 3]).mul_scalar(3.0).add_scalar(5.0);
        let (mean, var) = x.batch_norm_stats();
        let (mean, var) = x.batch_norm(&mean, &var.rsqrt(), None, None).batch_norm_stats();
        assert!(mean.to_f64_vec().iter().all(|m| m.abs() < 1e-12));
        assert!(var.to_f64_vec().iter().all(|v| (v - 1.0).abs() < 1e-12));
    }

    #[test]
    fn empty_batches_pass() {
        let x = Tensor::zeros([0, 3, 2, 2], DType::F32, Device::Cpu);
        assert_eq!(x.channel_sums().to_f64_vec(), [0.0; 3]);
        let (y, _) = x.layer_norm(1, None, None, 1e-5);
        assert_eq!(y.dims(), [0, 3, 2, 2]);
    }

    #[test]
    #[should_panic(
        expected = "batch_norm: weight [4] is not [3], one for each channel of input [2, 3, 4]"
    )]
    fn wrong_weight_names_the_shapes() {
        let (x, v) = (wave(&[2, 3, 4]), wave(&[3]));
        x.batch_norm(&v, &v, Some(&wave(&[4])), None);
    }
}
