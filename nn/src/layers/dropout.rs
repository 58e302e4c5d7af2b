//! [`Dropout`] and [`DropPath`].

use autograd::Var;
use tensor::Tensor;

use crate::{Context, Forward, Module};

/// Sets each element to 0 with probability `p` and divides the others by `1 - p`, in training; passes in evaluation.
///
/// Each use in a forward draws from its own stream of the context. Same as `torch.nn.Dropout`.
#[derive(Clone, Copy, Debug, Module)]
pub struct Dropout {
    #[module(skip)]
    p: f64,
}

impl Dropout {
    /// Drops with probability `p`.
    ///
    /// # Panics
    /// If `p` is not in `0..=1`.
    #[track_caller]
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "Dropout: {p} is not a probability");
        Dropout { p }
    }

    /// The probability of a zero.
    pub fn p(&self) -> f64 {
        self.p
    }
}

impl Default for Dropout {
    /// PyTorch's default: one half.
    fn default() -> Self {
        Dropout { p: 0.5 }
    }
}

impl Forward for Dropout {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        // The stream is taken even if nothing is dropped, so that changing p changes no other layer's numbers.
        match cx.is_training() {
            true => x.dropout(self.p, &mut cx.next_stream()),
            false => x.clone(),
        }
    }
}

/// Sets all of a sample to 0 with probability `p` and divides the others by `1 - p`, in training; passes in evaluation.
/// Stands at the end of a residual branch, which it leaves out for some samples.
///
/// The samples are the first axis. Each use in a forward draws from its own stream of the context. Source: Huang et al.
/// 2016 (stochastic depth); same as timm's `DropPath` and torchvision's `StochasticDepth(mode="row")`.
#[derive(Clone, Copy, Debug, Module)]
pub struct DropPath {
    #[module(skip)]
    p: f64,
}

impl DropPath {
    /// Drops with probability `p`.
    ///
    /// # Panics
    /// If `p` is not in `0..=1`.
    #[track_caller]
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "DropPath: {p} is not a probability");
        DropPath { p }
    }

    /// The probability of a zero.
    pub fn p(&self) -> f64 {
        self.p
    }

    /// The probabilities of `depth` blocks, from 0 for the first to `last` for the last in equal steps: timm's and
    /// torchvision's rule.
    pub fn rates(last: f64, depth: usize) -> Vec<f64> {
        (0..depth).map(|i| last * i as f64 / depth.saturating_sub(1).max(1) as f64).collect()
    }
}

impl Forward for DropPath {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        if !cx.is_training() {
            return x.clone();
        }
        // As in Dropout: the stream is taken even if nothing is dropped.
        let mut stream = cx.next_stream();
        if self.p == 0.0 {
            return x.clone();
        }
        let mut shape = vec![1; x.dims().len()];
        shape[0] = x.dims()[0];
        let device = x.value().device();
        let kept = Tensor::bernoulli_mask(1.0 - self.p, shape, x.dtype(), device, &mut stream);
        // Nothing is kept at p = 1: any finite scale will do.
        let scale = if self.p == 1.0 { 0.0 } else { 1.0 / (1.0 - self.p) };
        x * &Var::constant(kept.mul_scalar(scale))
    }
}
