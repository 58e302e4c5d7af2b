//! Softmax and its logarithm, fused; second derivatives go through the formulas.

use tensor::Tensor;

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// `y = e^x / sum(e^x)` along an axis. Derivative: `y (dy - sum(dy y))`. Same as `torch.softmax`.
#[derive(Clone, Debug)]
struct Softmax {
    axis: isize,
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.output();
        inputs[0].softmax(self.axis)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            let y = saved.var(0);
            return vec![Some(&y * (dy - (dy * &y).sum_axes(&[self.axis], true)))];
        }
        vec![Some(Var::constant(saved.tensor(0).softmax_grad(dy.value(), self.axis)))]
    }
}

/// `y = x - log(sum(e^x))` along an axis. Derivative: `dy - e^y sum(dy)`. Same as `torch.log_softmax`.
#[derive(Clone, Debug)]
struct LogSoftmax {
    axis: isize,
}

impl Op for LogSoftmax {
    fn name(&self) -> &'static str {
        "log_softmax"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.output();
        inputs[0].log_softmax(self.axis)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            return vec![Some(dy - saved.var(0).exp() * dy.sum_axes(&[self.axis], true))];
        }
        vec![Some(Var::constant(saved.tensor(0).log_softmax_grad(dy.value(), self.axis)))]
    }
}

impl Var {
    /// `e^x / sum(e^x)` along `axis` (negative: from the end). See [`Tensor::softmax`].
    ///
    /// # Panics
    /// As [`Tensor::softmax`].
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Var {
        Var::apply(Softmax { axis }, &[self])
    }

    /// `x - log(sum(e^x))` along `axis` (negative: from the end). See [`Tensor::log_softmax`].
    ///
    /// # Panics
    /// As [`Tensor::log_softmax`].
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Var {
        Var::apply(LogSoftmax { axis }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "softmax",
        formula: "e^x / sum(e^x)",
        case: |d| {
            let (x, axis) = along_an_axis(d);
            Case::new(vec![x], move |v| v[0].softmax(axis))
        },
    },
    OpInfo {
        name: "log_softmax",
        formula: "x - log(sum(e^x))",
        case: |d| {
            let (x, axis) = along_an_axis(d);
            Case::new(vec![x], move |v| v[0].log_softmax(axis))
        },
    },
];

fn along_an_axis(d: &mut Draw) -> (Tensor, isize) {
    let shape = d.shape(1..=4);
    let rank = shape.rank();
    (d.normal(shape), d.int(0..=2 * rank - 1) as isize - rank as isize)
}
