//! Cross entropy, fused with the softmax; second derivatives go through the formula.

use tensor::{DType, Shape, Targets, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// How the losses of a batch become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean: PyTorch's default.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}

impl Reduction {
    /// The reduced losses.
    fn forward(self, losses: &Tensor) -> Tensor {
        let sum = || losses.sum_to([]);
        match self {
            Reduction::Mean => sum().mul_scalar(1.0 / losses.numel() as f64),
            Reduction::Sum => sum(),
            Reduction::None => losses.clone(),
        }
    }

    /// The gradient of the losses, of shape `losses`, from that of the result.
    fn backward(self, dy: &Var, losses: Shape) -> Var {
        match self {
            Reduction::Mean => dy.mul_scalar(1.0 / losses.numel() as f64).broadcast_to(losses),
            Reduction::Sum => dy.broadcast_to(losses),
            Reduction::None => dy.clone(),
        }
    }
}

/// `-sum(target log_softmax(x))` over the classes (axis 1), reduced.
///
/// Derivative: `dloss (softmax(x) sum(target) - target)`; the target is a constant.
/// Same as `torch.nn.functional.cross_entropy`, whose mean over smoothed classes is this one without class weights.
#[derive(Clone, Debug)]
struct CrossEntropy {
    target: Target,
    reduction: Reduction,
}

#[derive(Clone, Debug)]
enum Target {
    Classes { index: Tensor, smoothing: f64 },
    Probabilities(Tensor),
}

impl CrossEntropy {
    fn targets(&self) -> Targets<'_> {
        match &self.target {
            Target::Classes { index, smoothing } => {
                Targets::Classes { index, smoothing: *smoothing }
            }
            Target::Probabilities(p) => Targets::Probabilities(p),
        }
    }

    /// The target probabilities in the shape and dtype of the logits.
    fn dense(&self, logits: &Tensor) -> Tensor {
        let (index, smoothing) = match &self.target {
            Target::Probabilities(p) => return p.clone(),
            Target::Classes { index, smoothing } => (index, *smoothing),
        };
        let classes = logits.dims()[1];
        let one = Tensor::full(1.0 - smoothing, [], logits.dtype(), logits.device());
        let index = index.to_dtype(DType::I64).unsqueeze(1);
        let others = logits.full_like(smoothing / classes as f64);
        others.scatter_add(1, &index, &one.broadcast_to(index.shape()))
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        match self.target {
            Target::Classes { .. } => "cross_entropy",
            Target::Probabilities(_) => "soft_cross_entropy",
        }
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        let (losses, lse) = inputs[0].cross_entropy(self.targets());
        saver.input(0);
        saver.extra(lse);
        self.reduction.forward(&losses)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, lse) = (saved.var(0), saved.tensor(1));
        let dloss = self.reduction.backward(dy, lse.shape());
        if saved.create_graph() {
            let target = self.dense(x.value());
            let total = Var::constant(target.sum(&[1], true));
            return vec![Some(dloss.unsqueeze(1) * (x.softmax(1) * total - Var::constant(target)))];
        }
        let dx = x.value().cross_entropy_grad(self.targets(), lse, dloss.value());
        vec![Some(Var::constant(dx))]
    }
}

impl Var {
    /// The cross entropy of logits `[N, K]` or `[N, K, d1, ..]` with class indices `[N]` or `[N, d1, ..]` (`I64`).
    ///
    /// With label smoothing `e` in `0..=1` (0 for none) the target gives `1 - e + e / K` to the class and `e / K` to all
    /// others. Logits with the classes innermost in memory (channels last) are not copied. Losses are reduced over
    /// everything but the classes. Same as `torch.nn.functional.cross_entropy`.
    ///
    /// # Panics
    /// If the target does not fit or a class is not in `0..K`.
    #[track_caller]
    pub fn cross_entropy(&self, index: &Tensor, smoothing: f64, reduction: Reduction) -> Var {
        let target = Target::Classes { index: index.clone(), smoothing };
        Var::apply(CrossEntropy { target, reduction }, &[self])
    }

    /// The cross entropy of logits `[N, K]` or `[N, K, d1, ..]` with probabilities of the same shape, which are
    /// constants (mixup, cutmix). Same as `torch.nn.functional.cross_entropy` with such a target.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn soft_cross_entropy(&self, probabilities: &Tensor, reduction: Reduction) -> Var {
        let target = Target::Probabilities(probabilities.clone());
        Var::apply(CrossEntropy { target, reduction }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "cross_entropy", formula: "-log_softmax(x)[class]", case: cross_entropy_case },
    OpInfo {
        name: "soft_cross_entropy",
        formula: "-sum(target log_softmax(x))",
        case: soft_cross_entropy_case,
    },
];

/// Logits `[N, K, ..]`, not empty, and a reduction.
fn logits(d: &mut Draw) -> (Tensor, Reduction) {
    let rank = d.int(2..=4);
    // Some 50,000 elements where shapes are large.
    let large = [220, 36, 15][rank - 2];
    let shape: Vec<usize> = (0..rank).map(|_| d.len(1..=4, large..=large + large / 4)).collect();
    let reduction = [Reduction::Mean, Reduction::Sum, Reduction::None][d.int(0..=2)];
    (d.normal(shape), reduction)
}

fn cross_entropy_case(d: &mut Draw) -> Case {
    let (x, reduction) = logits(d);
    let shape = x.shape().without_axis(1);
    let classes = x.dims()[1];
    let index: Vec<i64> = (0..shape.numel()).map(|_| d.int(0..=classes - 1) as i64).collect();
    let (index, smoothing) = (Tensor::new(&index, shape), d.int(0..=4) as f64 / 4.0);
    Case::new(vec![x], move |v| v[0].cross_entropy(&index, smoothing, reduction))
}

fn soft_cross_entropy_case(d: &mut Draw) -> Case {
    let (x, reduction) = logits(d);
    let target = d.uniform(x.shape(), 0.0, 1.0);
    Case::new(vec![x], move |v| v[0].soft_cross_entropy(&target.to_dtype(v[0].dtype()), reduction))
}
