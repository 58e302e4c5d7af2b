//! Losses: from a model's output and its target to what is minimized. Of 16-bit outputs they are computed in f32.

use autograd::Var;
use tensor::{DType, Tensor};

pub use autograd::Reduction;

/// `-sum_k target_k log softmax(logits)_k`, the target being `1 - e + e / K` for the class and `e / K` for all others.
///
/// Logits `[N, K]` or `[N, K, d1, …]`, classes `I64` `[N]` or `[N, d1, …]`, `e` is the label smoothing in `0..=1`. The
/// mean is over all of `N, d1, …`. Same as `torch.nn.functional.cross_entropy` (without weights and `ignore_index`: [`cross_entropy_with`]).
///
/// # Panics
/// If shapes do not fit or a class is not in `0..K`.
#[track_caller]
pub fn cross_entropy(
    logits: &Var,
    classes: &Tensor,
    label_smoothing: f64,
    reduction: Reduction,
) -> Var {
    in_full(logits).cross_entropy(classes, label_smoothing, reduction)
}

/// `-sum_k target_k log softmax(logits)_k` for targets that are probabilities (mixup), in the shape of the logits.
///
/// Logits `[N, K]` or `[N, K, d1, …]`. Same as `timm.loss.SoftTargetCrossEntropy`, and as `cross_entropy` of PyTorch
/// with probabilities.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn soft_cross_entropy(logits: &Var, probabilities: &Tensor, reduction: Reduction) -> Var {
    let logits = in_full(logits);
    logits.soft_cross_entropy(&probabilities.to_dtype(logits.dtype()), reduction)
}

/// The options of [`cross_entropy_with`].
#[derive(Clone, Debug)]
pub struct CrossEntropy<'a> {
    /// One weight for each class, `[K]`; all 1 if `None`, the default.
    pub weight: Option<&'a Tensor>,
    /// Samples of this class do not count. Default -100, as in PyTorch.
    pub ignore_index: i64,
    /// `e`, in `0..=1`. Default 0.
    pub label_smoothing: f64,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        CrossEntropy { weight: None, ignore_index: -100, label_smoothing: 0.0 }
    }
}

/// The [`cross_entropy`] with a weight `w` for each class, and without samples of the class `ignore_index`:
/// `-sum_k w_k target_k log softmax(logits)_k`, 0 for those left out.
///
/// Shapes as there. The mean is weighted: it is over the weights of the samples' classes, NaN if all are left out. Same as
/// `torch.nn.functional.cross_entropy`.
///
/// # Panics
/// As [`cross_entropy`], or if the weights are not `[K]`.
#[track_caller]
pub fn cross_entropy_with(
    logits: &Var,
    classes: &Tensor,
    options: &CrossEntropy<'_>,
    reduction: Reduction,
) -> Var {
    let (count, dtype, device) = (logits.dims()[1], logits.dtype(), logits.value().device());
    let ones = Tensor::ones([count], dtype, device);
    let weight = options.weight.unwrap_or(&ones);
    assert!(
        weight.dims() == [count],
        "cross_entropy_with: weight {} is not [{count}], one for each class of logits {}",
        weight.shape(),
        logits.shape()
    );
    let ignored = Tensor::full(options.ignore_index as f64, [], DType::I64, device);
    let ignored = classes.eq(&ignored);
    // Any class will do for samples that do not count.
    let known = classes.masked_fill(&ignored, 0.0);
    let weights = weight.index_select(0, &known.reshape([known.numel()]));
    let weights = weights.reshape(known.dims()).masked_fill(&ignored, 0.0);
    let smoothing = options.label_smoothing;
    // [N, .., K]: smoothed targets of the samples that count, times the weights.
    let hard = known.one_hot(count, dtype).mul_scalar(1.0 - smoothing);
    let counts = ignored.eq(&ignored.zeros_like()).to_dtype(dtype).unsqueeze(-1);
    let target = hard.add_scalar(smoothing / count as f64).mul(weight).mul(&counts);
    let mut order: Vec<usize> = (0..target.rank() - 1).collect();
    order.insert(1, target.rank() - 1);
    let losses = logits.soft_cross_entropy(&target.permute(&order), Reduction::None);
    match reduction {
        Reduction::Mean => losses.sum() * (1.0 / weights.sum_all().item()),
        other => reduce(&losses, other),
    }
}

/// `(x - target)²`, element by element. Same as `torch.nn.functional.mse_loss`.
///
/// # Panics
/// If the shapes differ: PyTorch would broadcast, which is never what one meant.
#[track_caller]
pub fn mse(x: &Var, target: &Tensor, reduction: Reduction) -> Var {
    let d = difference("mse", x, target);
    reduce(&d.square(), reduction)
}

/// `|x - target|`, element by element. Same as `torch.nn.functional.l1_loss`.
///
/// # Panics
/// As [`mse`].
#[track_caller]
pub fn l1(x: &Var, target: &Tensor, reduction: Reduction) -> Var {
    reduce(&difference("l1", x, target).abs(), reduction)
}

/// The options of [`poisson_nll`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PoissonNll {
    /// Whether the model's output is the logarithm of the rate. Default true, as in PyTorch.
    pub log_input: bool,
    /// Whether Stirling's approximation of `ln(target!)`, which does not depend on the output, is added where
    /// `target > 1`. Default false.
    pub full: bool,
    /// Added to a rate before its logarithm is taken. Default 1e-8.
    pub eps: f64,
}

impl Default for PoissonNll {
    fn default() -> Self {
        PoissonNll { log_input: true, full: false, eps: 1e-8 }
    }
}

/// The negative logarithm of a Poisson probability of the counts `target`, element by element: `e^x - target · x` for
/// the logarithm `x` of a rate, `x - target · ln(x + eps)` for a rate.
///
/// Same as `torch.nn.functional.poisson_nll_loss`.
///
/// # Panics
/// As [`mse`].
#[track_caller]
pub fn poisson_nll(x: &Var, target: &Tensor, options: &PoissonNll, reduction: Reduction) -> Var {
    check_shapes("poisson_nll", x, target);
    let (x, counts) = (&in_full(x), Var::constant(target.clone()));
    let losses = match options.log_input {
        true => x.exp() - &counts * x,
        false => x - &counts * (x + options.eps).log(),
    };
    let losses = if options.full { losses + stirling(target) } else { losses };
    reduce(&losses, reduction)
}

/// `t ln t - t + ln(2 π t) / 2` where `t > 1`, else 0.
fn stirling(target: &Tensor) -> Var {
    let one = Tensor::full(1.0, [], target.dtype(), target.device());
    let small = target.le(&one);
    // ln 1 where the result is thrown away: no NaN to carry along.
    let t = target.masked_fill(&small, 1.0);
    let half = t.mul_scalar(2.0 * std::f64::consts::PI).log().mul_scalar(0.5);
    let ln_factorial = t.mul(&t.log()).sub(&t).add(&half);
    Var::constant(ln_factorial.masked_fill(&small, 0.0))
}

/// `x` in f32 if it is a 16-bit float.
fn in_full(x: &Var) -> Var {
    if x.dtype().is_half() { x.to_dtype(DType::F32) } else { x.clone() }
}

#[track_caller]
fn difference(op: &str, x: &Var, target: &Tensor) -> Var {
    check_shapes(op, x, target);
    in_full(x) - Var::constant(target.clone())
}

#[track_caller]
fn check_shapes(op: &str, x: &Var, target: &Tensor) {
    assert!(
        x.shape() == target.shape(),
        "{op}: target {} does not have the shape {} of the output",
        target.shape(),
        x.shape()
    );
}

fn reduce(losses: &Var, reduction: Reduction) -> Var {
    match reduction {
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses.clone(),
    }
}
