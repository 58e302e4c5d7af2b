//! Normalization: [`BatchNorm2d`], [`LayerNorm`], [`LayerNorm2d`] and [`Grn`].

use autograd::{BatchStats, Var};
use tensor::{DType, Device, Shape, Tensor};

use crate::{Buffer, Context, Forward, Init, Module, Param};

/// Batch normalization of each channel: `(x - mean) / sqrt(var + eps) · weight + bias`.
///
/// Input and output `[N, C]` or `[N, C, …]`: PyTorch's `BatchNorm1d`, `2d` and `3d` in one. In training, mean and
/// (biased) variance are those of the batch, and the running statistics move towards them by `momentum` (the variance
/// towards the unbiased one); in evaluation the running statistics are used.
///
/// State: `weight` (1) and `bias` (0), `running_mean` (0), `running_var` (1), `num_batches_tracked` (0, `I64`).
#[derive(Module)]
pub struct BatchNorm2d {
    /// `[C]`; `None` if not affine.
    pub weight: Option<Param>,
    /// `[C]`; `None` if not affine.
    pub bias: Option<Param>,
    running_mean: Option<Buffer>,
    running_var: Option<Buffer>,
    num_batches_tracked: Option<Buffer>,
    #[module(skip)]
    options: BatchNormOptions,
}

/// The options of [`BatchNorm2d`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormOptions {
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
    /// How far running statistics move to those of a batch. Default 0.1.
    pub momentum: f64,
    /// Whether there are weight and bias. Default true.
    pub affine: bool,
}

impl Default for BatchNormOptions {
    fn default() -> Self {
        BatchNormOptions { eps: 1e-5, momentum: 0.1, affine: true }
    }
}

impl BatchNorm2d {
    /// For `channels` channels, with PyTorch's defaults.
    pub fn new(channels: usize) -> Self {
        Self::with_options(channels, BatchNormOptions::default())
    }

    /// With other options.
    pub fn with_options(channels: usize, options: BatchNormOptions) -> Self {
        let param =
            |start: f64| options.affine.then(|| Param::new([channels], Init::Constant(start)));
        let buffer = |start: f64| {
            Some(Buffer::new(Tensor::full(start, [channels], DType::F32, Device::Cpu)))
        };
        BatchNorm2d {
            weight: param(1.0),
            bias: param(0.0),
            running_mean: buffer(0.0),
            running_var: buffer(1.0),
            num_batches_tracked: Some(Buffer::new(Tensor::scalar(0i64))),
            options,
        }
    }

    /// What it computes in evaluation, `factor · x + summand`, both `[C]` in the dtype of the running statistics: what is left of
    /// it when it is folded into the convolution before.
    ///
    /// # Panics
    /// If it was [dissolved](Self::dissolve).
    #[track_caller]
    pub fn as_affine(&self) -> (Tensor, Tensor) {
        let BatchStats { mean, var } =
            self.running().expect("a batch norm that was dissolved has no statistics");
        let (dtype, device) = (mean.dtype(), mean.device());
        let full = |t: &Tensor| t.to_device(Device::Cpu).to_dtype(DType::F64);
        let scale = full(&var).add_scalar(self.options.eps).pow_scalar(-0.5);
        let factor = match &self.weight {
            Some(weight) => &scale * &full(weight.value()),
            None => scale,
        };
        let shift = &full(&mean) * &factor;
        let summand = match &self.bias {
            Some(bias) => &full(bias.value()) - &shift,
            None => shift.mul_scalar(-1.0),
        };
        (factor.to_dtype(dtype).to_device(device), summand.to_dtype(dtype).to_device(device))
    }

    /// Gives away what it computes in evaluation, as [`as_affine`](Self::as_affine), for another layer to compute, and is
    /// the identity from now on, without state. It can no longer be trained. `None` if that was done before.
    pub fn dissolve(&mut self) -> Option<(Tensor, Tensor)> {
        self.running()?;
        let affine = self.as_affine();
        (self.weight, self.bias) = (None, None);
        (self.running_mean, self.running_var, self.num_batches_tracked) = (None, None, None);
        Some(affine)
    }

    /// The running statistics, unless it was dissolved.
    fn running(&self) -> Option<BatchStats> {
        let (mean, var) = (self.running_mean.as_ref()?, self.running_var.as_ref()?);
        Some(BatchStats { mean: mean.get(), var: var.get() })
    }

    /// Moves the running statistics towards those of a batch with `count` elements in each channel.
    fn track(&self, stats: &BatchStats, count: usize) {
        let unbiased = stats.var.mul_scalar(count as f64 / (count - 1) as f64);
        for (buffer, batch) in [(&self.running_mean, &stats.mean), (&self.running_var, &unbiased)] {
            let Some(buffer) = buffer else { continue };
            let mut running = buffer.get();
            running.lerp_mut(&batch.to_dtype(running.dtype()), self.options.momentum);
            buffer.set(running);
        }
        if let Some(tracked) = &self.num_batches_tracked {
            let seen = tracked.get();
            tracked.set(Tensor::scalar(seen.item() as i64 + 1).to_device(seen.device()));
        }
    }
}

impl Forward for BatchNorm2d {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let Some(running) = self.running() else {
            assert!(
                !cx.is_training(),
                "BatchNorm2d: it was folded into another layer for evaluation; make the model afresh to train it"
            );
            return x.clone();
        };
        let x = cx.full_operand(x);
        let (weight, bias) =
            (self.weight.as_ref().map(|p| cx.var(p)), self.bias.as_ref().map(|p| cx.var(p)));
        let (weight, bias, eps) = (weight.as_ref(), bias.as_ref(), self.options.eps);
        if !cx.is_training() {
            return x.batch_norm_eval(&running, weight, bias, eps);
        }
        let count = x.shape().numel() / x.dims()[1].max(1);
        assert!(
            count > 1,
            "BatchNorm2d: input {} has {count} element per channel; the statistics of a batch need at least 2",
            x.shape()
        );
        let (y, stats) = x.batch_norm(weight, bias, eps);
        if !cx.is_replaying() {
            self.track(&stats, count);
        }
        y
    }
}

/// Layer normalization over the last axes: `(x - mean) / sqrt(var + eps) · weight + bias`, with mean and biased variance
/// over those axes of each sample.
///
/// Input and output `[…, *shape]`; weight and bias have `shape` and start at 1 and 0. Same as `torch.nn.LayerNorm`.
#[derive(Module)]
pub struct LayerNorm {
    /// In the shape of the normalized axes.
    pub weight: Param,
    /// In the shape of the normalized axes.
    pub bias: Param,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm {
    /// Over the last axes, which have this shape; `eps` is PyTorch's 1e-5.
    pub fn new(shape: impl Into<Shape>) -> Self {
        Self::with_eps(shape, 1e-5)
    }

    /// With another `eps` (1e-6 in torchvision's transformers and ConvNeXt).
    pub fn with_eps(shape: impl Into<Shape>, eps: f64) -> Self {
        let shape = shape.into();
        LayerNorm {
            weight: Param::new(shape, Init::Constant(1.0)),
            bias: Param::new(shape, Init::Constant(0.0)),
            eps,
        }
    }
}

impl Forward for LayerNorm {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let x = cx.full_operand(x);
        let axes = self.weight.shape().rank();
        x.layer_norm(axes, Some(&cx.var(&self.weight)), Some(&cx.var(&self.bias)), self.eps)
    }
}

/// Layer normalization of each pixel over its channels. Input and output `[N, C, H, W]`.
///
/// State and starting values as [`LayerNorm`] of shape `[C]`. Same as torchvision's `LayerNorm2d` (of ConvNeXt).
#[derive(Module)]
pub struct LayerNorm2d {
    /// `[C]`.
    pub weight: Param,
    /// `[C]`.
    pub bias: Param,
    #[module(skip)]
    eps: f64,
}

impl LayerNorm2d {
    /// For `channels` channels; `eps` is 1e-6 in ConvNeXt.
    pub fn with_eps(channels: usize, eps: f64) -> Self {
        let LayerNorm { weight, bias, eps } = LayerNorm::with_eps([channels], eps);
        LayerNorm2d { weight, bias, eps }
    }
}

impl Forward for LayerNorm2d {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let x = cx.full_operand(x);
        x.layer_norm2d(Some(&cx.var(&self.weight)), Some(&cx.var(&self.bias)), self.eps)
    }
}

/// Global response normalization: `y = x + weight · x · g / (mean of g + eps) + bias`, `g` being the norm of each channel
/// over the pixels of its image.
///
/// Input and output `[N, H, W, C]`; weight and bias `[C]` start at 0, so that it passes its input. Source: Woo et al. 2023
/// (ConvNeXt V2), algorithm 1; same as timm's `GlobalResponseNorm`.
#[derive(Module)]
pub struct Grn {
    /// `[C]`.
    pub weight: Param,
    /// `[C]`.
    pub bias: Param,
    #[module(skip)]
    eps: f64,
}

impl Grn {
    /// For `channels` channels, with the `eps` of ConvNeXt V2, 1e-6.
    pub fn new(channels: usize) -> Self {
        Self::with_eps(channels, 1e-6)
    }

    /// With another `eps`.
    pub fn with_eps(channels: usize, eps: f64) -> Self {
        let param = || Param::new([channels], Init::Constant(0.0));
        Grn { weight: param(), bias: param(), eps }
    }
}

impl Forward for Grn {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let x = cx.full_operand(x);
        x.grn(&cx.var(&self.weight), &cx.var(&self.bias), self.eps)
    }
}
