//! Losses: from a model's output and its target to what is minimized.

use autograd::Var;
use tensor::Tensor;

pub use autograd::Reduction;

/// `-sum_k target_k log softmax(logits)_k`, the target being `1 - e + e / K` for the class and `e / K` for all others.
///
/// Logits `[N, K]` or `[N, K, d1, …]`, classes `I64` `[N]` or `[N, d1, …]`, `e` is the label smoothing in `0..=1`. The
/// mean is over all of `N, d1, …`. Same as `torch.nn.functional.cross_entropy` (without weights and `ignore_index`).
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
    logits.cross_entropy(classes, label_smoothing, reduction)
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
    logits.soft_cross_entropy(probabilities, reduction)
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

#[track_caller]
fn difference(op: &str, x: &Var, target: &Tensor) -> Var {
    assert!(
        x.shape() == target.shape(),
        "{op}: target {} does not have the shape {} of the output",
        target.shape(),
        x.shape()
    );
    x - &Var::constant(target.clone())
}

fn reduce(losses: &Var, reduction: Reduction) -> Var {
    match reduction {
        Reduction::Mean => losses.mean(),
        Reduction::Sum => losses.sum(),
        Reduction::None => losses.clone(),
    }
}
