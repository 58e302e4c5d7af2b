//! Ops that choose a number by its size, and what becomes of the gradient at ties.

use tensor::{Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// The larger (`max`) or the smaller of two, with broadcasting. Derivative: `dy` for the chosen one, half of it for
/// each at a tie, as in PyTorch. Same as `torch.maximum` and `torch.minimum`.
#[derive(Clone, Debug)]
struct Extreme {
    max: bool,
}

impl Op for Extreme {
    fn name(&self) -> &'static str {
        if self.max { "maximum" } else { "minimum" }
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        if self.max { inputs[0].maximum(inputs[1]) } else { inputs[0].minimum(inputs[1]) }
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (a, b) = (saved.tensor(0), saved.tensor(1));
        // 1 where the first is chosen, 1/2 where both are equal, else 0.
        let share = |first: &Tensor, second: &Tensor| {
            let (up, down) = if self.max { (first, second) } else { (second, first) };
            let [strict, weak] = [up.gt(down), up.ge(down)].map(|mask| mask.to_dtype(dy.dtype()));
            dy * Var::constant(strict.add(&weak).mul_scalar(0.5))
        };
        vec![wanted[0].then(|| share(a, b)), wanted[1].then(|| share(b, a))]
    }
}

/// `x` limited to `min..=max`. Derivative: `dy` inside and on the limits, 0 outside, as in PyTorch. Same as
/// `torch.clamp`.
#[derive(Clone, Debug)]
struct Clamp {
    min: f64,
    max: f64,
}

impl Op for Clamp {
    fn name(&self) -> &'static str {
        "clamp"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        let y = inputs[0].clamp(self.min, self.max);
        if saver.is_recording() {
            saver.extra(y.ne(inputs[0]));
        }
        y
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.masked_fill(saved.tensor(0), 0.0))]
    }
}

/// Largest (`max`) or smallest element over axes, which `kept` has with length 1. Derivative: `dy` shared equally among
/// all elements that attain it, as in PyTorch. Same as `torch.amax` and `torch.amin`.
#[derive(Clone, Debug)]
struct ReduceExtreme {
    max: bool,
    axes: Vec<isize>,
    kept: Shape,
}

impl Op for ReduceExtreme {
    fn name(&self) -> &'static str {
        if self.max { "amax" } else { "amin" }
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.output();
        let x = inputs[0];
        if self.max { x.amax(&self.axes, true) } else { x.amin(&self.axes, true) }
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let attains = saved.tensor(0).eq(saved.tensor(1)).to_dtype(dy.dtype());
        let share = attains.div(&attains.sum_to(self.kept));
        vec![Some(dy * Var::constant(share))]
    }
}

impl Var {
    /// The larger of both, elementwise with broadcasting; a tie splits the gradient in halves. Same as `torch.maximum`.
    ///
    /// # Panics
    /// If the shapes do not broadcast or dtypes or devices differ.
    #[track_caller]
    pub fn maximum(&self, other: &Var) -> Var {
        Var::apply(Extreme { max: true }, &[self, other])
    }

    /// The smaller of both, elementwise with broadcasting; a tie splits the gradient in halves. Same as
    /// `torch.minimum`.
    ///
    /// # Panics
    /// If the shapes do not broadcast or dtypes or devices differ.
    #[track_caller]
    pub fn minimum(&self, other: &Var) -> Var {
        Var::apply(Extreme { max: false }, &[self, other])
    }

    /// Limited to `min..=max`; the gradient passes inside and on the limits. Same as `torch.clamp`.
    ///
    /// # Panics
    /// If `min > max`.
    #[track_caller]
    pub fn clamp(&self, min: f64, max: f64) -> Var {
        Var::apply(Clamp { min, max }, &[self])
    }

    /// Largest element over `axes`; elements that attain it share the gradient equally. Same as `torch.amax`.
    ///
    /// # Panics
    /// If an axis does not exist, occurs twice or has length 0.
    #[track_caller]
    pub fn amax(&self, axes: &[isize], keepdim: bool) -> Var {
        self.reduce_extreme(true, axes, keepdim)
    }

    /// Smallest element over `axes`; elements that attain it share the gradient equally. Same as `torch.amin`.
    ///
    /// # Panics
    /// As [`amax`](Self::amax).
    #[track_caller]
    pub fn amin(&self, axes: &[isize], keepdim: bool) -> Var {
        self.reduce_extreme(false, axes, keepdim)
    }

    #[track_caller]
    fn reduce_extreme(&self, max: bool, axes: &[isize], keepdim: bool) -> Var {
        let name = if max { "amax" } else { "amin" };
        let kept = self.shape().reduced(name, axes);
        let y = Var::apply(ReduceExtreme { max, axes: axes.to_vec(), kept }, &[self]);
        if keepdim { y } else { y.reshape(self.shape().without_axes(name, axes)) }
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "maximum", formula: "max(a, b)", case: |d| pair(d, Var::maximum) },
    OpInfo { name: "minimum", formula: "min(a, b)", case: |d| pair(d, Var::minimum) },
    OpInfo {
        name: "clamp",
        formula: "min(max(x, low), high)",
        case: |d| {
            let shape = d.shape(0..=4);
            // Multiples of 0.05 plus 0.03: no value lies on a limit.
            Case::new(vec![d.distinct(shape)], |v| v[0].clamp(-0.8, 0.6))
        },
    },
    OpInfo { name: "amax", formula: "max over axes", case: |d| reduction(d, Var::amax) },
    OpInfo { name: "amin", formula: "min over axes", case: |d| reduction(d, Var::amin) },
];

fn pair(d: &mut Draw, f: fn(&Var, &Var) -> Var) -> Case {
    let (a, b) = d.broadcasting_shapes();
    // All values are 0.03 plus multiples of 0.05: a shift by 0.02 keeps them apart.
    let (a, b) = (d.distinct(a), d.distinct(b).add_scalar(0.02));
    Case::new(vec![a, b], move |v| f(&v[0], &v[1]))
}

fn reduction(d: &mut Draw, f: fn(&Var, &[isize], bool) -> Var) -> Case {
    let (shape, axes, keepdim) = super::reduce::draw_axes(d);
    let shape = shape.iter().map(|&n| n.max(1)).collect::<Vec<_>>();
    Case::new(vec![d.distinct(shape)], move |v| f(&v[0], &axes, keepdim))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(x: &[f64]) -> Var {
        Var::leaf(Tensor::new(x, [x.len()]))
    }

    #[test]
    fn ties_share_the_gradient() {
        let (a, b) = (leaf(&[1.0, 2.0, 3.0]), leaf(&[1.0, 3.0, 2.0]));
        let g = a.maximum(&b).sum().backward();
        assert_eq!(g.wrt(&a).to_vec::<f64>(), [0.5, 0.0, 1.0]);
        assert_eq!(g.wrt(&b).to_vec::<f64>(), [0.5, 1.0, 0.0]);
        let g = a.minimum(&b).sum().backward();
        assert_eq!(g.wrt(&a).to_vec::<f64>(), [0.5, 1.0, 0.0]);
        let x = leaf(&[4.0, 1.0, 4.0, 4.0, 4.0]);
        let g = x.amax(&[0], false).backward();
        assert_eq!(g.wrt(&x).to_vec::<f64>(), [0.25, 0.0, 0.25, 0.25, 0.25]);
    }

    #[test]
    fn the_limits_of_clamp_pass_the_gradient() {
        let x = leaf(&[-2.0, -1.0, 0.0, 1.0, 2.0]);
        let g = x.clamp(-1.0, 1.0).sum().backward();
        assert_eq!(g.wrt(&x).to_vec::<f64>(), [0.0, 1.0, 1.0, 1.0, 0.0]);
    }
}
