//! Sums, means and other statistics over axes.

use tensor::{Shape, Tensor};

use super::{OpInfo, scalar_like};
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// Sum over broadcast axes down to `shape`: the adjoint of broadcasting. Derivative: `dy` broadcast back.
#[derive(Clone, Debug)]
struct SumTo {
    from: Shape,
    shape: Shape,
}

impl Op for SumTo {
    fn name(&self) -> &'static str {
        "sum_to"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].sum_to(self.shape)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.broadcast_to(self.from))]
    }
}

/// Repeats axes of length 1. Derivative: the sum over them. Same as `torch.broadcast_to`.
#[derive(Clone, Debug)]
struct BroadcastTo {
    from: Shape,
    shape: Shape,
}

impl Op for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].broadcast_to(self.shape)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.sum_to(self.from))]
    }
}

/// `sum (x - mean)^2 / (n - correction)` over `axes`, kept. Derivative: `2 dy (x - mean) / (n - correction)`. Same as
/// `torch.var`.
#[derive(Clone, Debug)]
struct Variance {
    axes: Vec<isize>,
    correction: usize,
}

impl Op for Variance {
    fn name(&self) -> &'static str {
        "var"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        inputs[0].var(&self.axes, self.correction, true)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let x = saved.var(0);
        let n = x.value().numel() / dy.value().numel().max(1);
        let divisor = n.saturating_sub(self.correction) as f64;
        let centered = &x - x.mean_axes(&self.axes, true);
        vec![Some(dy * (2.0 / divisor) * centered)]
    }
}

/// `ln(sum e^x)` over `axes`, kept. Derivative: `dy e^(x - y)`. Same as `torch.logsumexp`.
#[derive(Clone, Debug)]
struct LogSumExp {
    axes: Vec<isize>,
}

impl Op for LogSumExp {
    fn name(&self) -> &'static str {
        "logsumexp"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.output();
        inputs[0].logsumexp(&self.axes, true)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy * (saved.var(0) - saved.var(1)).exp())]
    }
}

/// `sqrt(sum x^2)` over `axes`, kept. Derivative: `dy x / y`, 0 where `y = 0`, as in PyTorch. Same as
/// `torch.linalg.vector_norm`.
#[derive(Clone, Debug)]
struct L2Norm {
    axes: Vec<isize>,
}

impl Op for L2Norm {
    fn name(&self) -> &'static str {
        "l2_norm"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.output();
        inputs[0].l2_norm(&self.axes, true)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, y) = (saved.var(0), saved.var(1));
        // Where y is 0 all x are: 0 / 1.
        let divisor = y.masked_fill(&y.value().eq(&scalar_like(y.value(), 0.0)), 1.0);
        vec![Some(dy / divisor * x)]
    }
}

impl Var {
    /// The sum over the axes along which `shape` was broadcast to this variable's shape; itself if equal.
    ///
    /// # Panics
    /// If `shape` does not broadcast to this shape.
    #[track_caller]
    pub fn sum_to(&self, shape: impl Into<Shape>) -> Var {
        let (from, shape) = (self.shape(), shape.into());
        if from == shape { self.clone() } else { Var::apply(SumTo { from, shape }, &[self]) }
    }

    /// The sum of all elements, a scalar.
    pub fn sum(&self) -> Var {
        self.sum_to([])
    }

    /// The sum over `axes` (negative: from the end). Same as `torch.sum`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn sum_axes(&self, axes: &[isize], keepdim: bool) -> Var {
        let kept = self.sum_to(self.shape().reduced("sum", axes));
        self.drop_axes("sum", kept, axes, keepdim)
    }

    /// The mean of all elements, a scalar; NaN if there are none.
    pub fn mean(&self) -> Var {
        self.sum() * (1.0 / self.value().numel() as f64)
    }

    /// The mean over `axes` (negative: from the end). Same as `torch.mean`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn mean_axes(&self, axes: &[isize], keepdim: bool) -> Var {
        let kept = self.sum_to(self.shape().reduced("mean", axes));
        let n = self.value().numel() as f64 / kept.value().numel() as f64;
        self.drop_axes("mean", kept * (1.0 / n), axes, keepdim)
    }

    /// Variance over `axes`: `sum (x - mean)^2 / (n - correction)`; `correction` 1 is the unbiased one. Same as
    /// `torch.var`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn var(&self, axes: &[isize], correction: usize, keepdim: bool) -> Var {
        let kept = Var::apply(Variance { axes: axes.to_vec(), correction }, &[self]);
        self.drop_axes("var", kept, axes, keepdim)
    }

    /// `ln(sum e^x)` over `axes`, without overflow. Same as `torch.logsumexp`.
    ///
    /// # Panics
    /// If an axis does not exist, occurs twice or has length 0.
    #[track_caller]
    pub fn logsumexp(&self, axes: &[isize], keepdim: bool) -> Var {
        let kept = Var::apply(LogSumExp { axes: axes.to_vec() }, &[self]);
        self.drop_axes("logsumexp", kept, axes, keepdim)
    }

    /// `sqrt(sum x^2)` over `axes`; derivative 0 where it is 0. Same as `torch.linalg.vector_norm`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn l2_norm(&self, axes: &[isize], keepdim: bool) -> Var {
        let kept = Var::apply(L2Norm { axes: axes.to_vec() }, &[self]);
        self.drop_axes("l2_norm", kept, axes, keepdim)
    }

    /// `kept` without the reduced axes unless they shall stay.
    #[track_caller]
    fn drop_axes(&self, op: &str, kept: Var, axes: &[isize], keepdim: bool) -> Var {
        if keepdim { kept } else { kept.reshape(self.shape().without_axes(op, axes)) }
    }

    /// Repeated along axes of length 1 and new leading axes.
    ///
    /// # Panics
    /// If this shape does not broadcast to `shape`.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Var {
        let (from, shape) = (self.shape(), shape.into());
        if from == shape { self.clone() } else { Var::apply(BroadcastTo { from, shape }, &[self]) }
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "sum_to", formula: "sum over broadcast axes", case: sum_to_case },
    OpInfo { name: "broadcast_to", formula: "x repeated", case: broadcast_case },
    OpInfo {
        name: "var",
        formula: "sum (x - mean)^2 / (n - correction)",
        case: |d| {
            let (shape, axes, keepdim) = draw_axes(d);
            let n: usize = axes.iter().map(|&a| shape[shape.axis("var", a)]).product();
            let correction = usize::from(n > 1 && d.flag());
            Case::new(vec![d.normal(shape)], move |v| {
                // The variance of nothing is NaN; there is nothing to check then.
                if n == 0 { v[0].sum() } else { v[0].var(&axes, correction, keepdim) }
            })
        },
    },
    OpInfo {
        name: "logsumexp",
        formula: "ln(sum e^x)",
        case: |d| {
            let (shape, axes, keepdim) = draw_axes(d);
            let shape: Vec<usize> = shape.iter().map(|&n| n.max(1)).collect();
            Case::new(vec![d.normal(shape)], move |v| v[0].logsumexp(&axes, keepdim))
        },
    },
    OpInfo {
        name: "l2_norm",
        formula: "sqrt(sum x^2)",
        case: |d| {
            let (shape, axes, keepdim) = draw_axes(d);
            let x = d.away_from_zero(shape);
            let x = &x + &x.sign().mul_scalar(0.3);
            Case::new(vec![x], move |v| v[0].l2_norm(&axes, keepdim))
        },
    },
];

/// A shape, a random set of its axes (some counted from the end) and whether to keep them.
pub(super) fn draw_axes(d: &mut Draw) -> (Shape, Vec<isize>, bool) {
    let shape = d.shape(0..=4);
    let rank = shape.rank() as isize;
    let mut axes: Vec<isize> = (0..rank).filter(|_| d.flag()).collect();
    for a in &mut axes {
        *a -= if d.flag() { rank } else { 0 };
    }
    d.stream().shuffle(&mut axes);
    (shape, axes, d.flag())
}

/// A shape and one that broadcasts to it.
fn full_and_part(d: &mut Draw) -> (Shape, Shape) {
    let full = d.shape(0..=4);
    let part: Vec<usize> = full.iter().map(|&n| if d.flag() { 1 } else { n }).collect();
    let skip = d.int(0..=part.len());
    let part = if part[..skip].iter().all(|&n| n == 1) { &part[skip..] } else { &part[..] };
    (full, Shape::new(part))
}

fn sum_to_case(d: &mut Draw) -> Case {
    let (full, part) = full_and_part(d);
    Case::new(vec![d.normal(full)], move |v| v[0].sum_to(part))
}

fn broadcast_case(d: &mut Draw) -> Case {
    let (full, part) = full_and_part(d);
    Case::new(vec![d.normal(part)], move |v| v[0].broadcast_to(full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_norm_of_zeros_has_gradient_zero() {
        let x = Var::leaf(Tensor::new(&[0.0f64, 0.0, 0.0, -4.0], [2, 2]));
        let y = x.l2_norm(&[1], false);
        assert_eq!(y.value().to_vec::<f64>(), [0.0, 4.0]);
        assert_eq!(y.sum().backward().wrt(&x).to_vec::<f64>(), [0.0, 0.0, 0.0, -1.0]);
    }

    #[test]
    fn means_are_sums_over_counts() {
        let x = Var::leaf(Tensor::new(&[1.0f64, 2.0, 3.0, 6.0], [2, 2]));
        assert_eq!(x.mean().value().item(), 3.0);
        assert_eq!(x.mean_axes(&[-1], true).value().to_vec::<f64>(), [1.5, 4.5]);
        assert_eq!(x.sum_axes(&[0], false).value().to_vec::<f64>(), [4.0, 8.0]);
        assert_eq!(x.mean().backward().wrt(&x).to_vec::<f64>(), [0.25; 4]);
    }
}
