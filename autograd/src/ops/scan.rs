//! Running sums, products and extremes along an axis.
//!
//! The derivatives of products and log-sum-exps are linear recurrences, run from the end: there is no division by an element
//! that may be 0 and no exponential that may overflow.

use tensor::Tensor;

use super::{OpInfo, scalar_like};
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// Running sum along `axis`. Derivative: the running sum of `dy` from the end. Same as `torch.cumsum`.
#[derive(Clone, Debug)]
struct CumSum {
    axis: isize,
}

impl Op for CumSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].cumsum(self.axis)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.flip(&[self.axis]).cumsum(self.axis).flip(&[self.axis]))]
    }
}

/// `y[i] = decay[i] y[i - 1] + x[i]`. Derivatives: of `x` the same recurrence from the end,
/// `g[i] = dy[i] + decay[i + 1] g[i + 1]`; of `decay` `g[i] y[i - 1]`.
#[derive(Clone, Debug)]
struct LinearRecurrence {
    axis: isize,
}

impl Op for LinearRecurrence {
    fn name(&self) -> &'static str {
        "linear_recurrence"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(1);
        saver.output();
        inputs[0].linear_recurrence(inputs[1], self.axis)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let g = from_the_end(dy, &saved.var(0), self.axis);
        let ddecay = wanted[1].then(|| &g * before(&saved.var(1), 0.0, self.axis));
        vec![wanted[0].then_some(g), ddecay]
    }
}

/// Running product along `axis`. Derivative: `y[i - 1] g[i]` with `g[i] = dy[i] + x[i + 1] g[i + 1]`, which is right
/// where elements are 0, too. Same as `torch.cumprod`.
#[derive(Clone, Debug)]
struct CumProd {
    axis: isize,
}

impl Op for CumProd {
    fn name(&self) -> &'static str {
        "cumprod"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.output();
        inputs[0].cumprod(self.axis)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let g = from_the_end(dy, &saved.var(0), self.axis);
        vec![Some(g * before(&saved.var(1), 1.0, self.axis))]
    }
}

/// Running `ln(sum e^x)` along `axis`. Derivative: `e^(x[i] - y[i]) g[i]` with
/// `g[i] = dy[i] + e^(y[i] - y[i + 1]) g[i + 1]`, where no exponent is positive; 0 (PyTorch: NaN) where `y` is minus
/// infinity, NaN at plus infinity. Same as `torch.logcumsumexp`.
#[derive(Clone, Debug)]
struct LogCumSumExp {
    axis: isize,
}

impl Op for LogCumSumExp {
    fn name(&self) -> &'static str {
        "logcumsumexp"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.output();
        inputs[0].logcumsumexp(self.axis)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, y) = (saved.var(0), saved.var(1));
        // Nothing has been added yet where y is minus infinity.
        let lowest = f64::NEG_INFINITY;
        let none = |y: &Var| y.value().eq(&scalar_like(y.value(), lowest));
        let y_before = before(&y, lowest, self.axis);
        let decay = (&y_before - &y).masked_fill(&none(&y_before), lowest).exp();
        let share = (&x - &y).masked_fill(&none(&y), lowest).exp();
        vec![Some(share * from_the_end(dy, &decay, self.axis))]
    }
}

/// `g[i] = dy[i] + decay[i + 1] g[i + 1]`.
fn from_the_end(dy: &Var, decay: &Var, axis: isize) -> Var {
    // Reversed, element i meets the factor of element i - 1.
    let factors = decay.flip(&[axis]).roll(1, axis);
    dy.flip(&[axis]).linear_recurrence(&factors, axis).flip(&[axis])
}

/// `start`, then all elements but the last.
fn before(y: &Var, start: f64, axis: isize) -> Var {
    let axis = y.shape().axis("scan", axis);
    let len = y.dims()[axis];
    if len == 0 {
        return y.clone();
    }
    let first = y.value().narrow(axis as isize, 0, 1).full_like(start);
    Var::cat(&[&Var::constant(first), &y.narrow(axis as isize, 0, len - 1)], axis as isize)
}

impl Var {
    /// Running sum along `axis`, the element itself included. Same as `torch.cumsum`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumsum(&self, axis: isize) -> Var {
        Var::apply(CumSum { axis }, &[self])
    }

    /// Running product along `axis`, the element itself included; its gradient is right where elements are 0, too. Same as
    /// `torch.cumprod`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cumprod(&self, axis: isize) -> Var {
        Var::apply(CumProd { axis }, &[self])
    }

    /// Running `ln(sum e^x)` along `axis`, without overflow. Same as `torch.logcumsumexp`, but where it is minus infinity the
    /// gradient is 0 and not NaN.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn logcumsumexp(&self, axis: isize) -> Var {
        Var::apply(LogCumSumExp { axis }, &[self])
    }

    /// The largest element so far along `axis`, and its I64 index; see [`Tensor::argcummax`] for ties and NaN. The gradient
    /// goes to that element. Same as `torch.cummax`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cummax(&self, axis: isize) -> (Var, Tensor) {
        let index = self.value().argcummax(axis);
        (self.gather(axis, &index), index)
    }

    /// The smallest element so far along `axis`, and its I64 index. See [`cummax`](Self::cummax). Same as `torch.cummin`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn cummin(&self, axis: isize) -> (Var, Tensor) {
        let index = self.value().argcummin(axis);
        (self.gather(axis, &index), index)
    }

    /// `y[i] = decay[i] y[i - 1] + x[i]` along `axis`, from `y[0] = x[0]`. See [`Tensor::linear_recurrence`].
    ///
    /// # Panics
    /// As [`Tensor::linear_recurrence`].
    #[track_caller]
    pub fn linear_recurrence(&self, decay: &Var, axis: isize) -> Var {
        Var::apply(LinearRecurrence { axis }, &[self, decay])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "cumsum",
        formula: "running sum along an axis",
        case: |d| {
            let (x, axis) = line_case(d, Draw::normal);
            Case::new(vec![x], move |v| v[0].cumsum(axis))
        },
    },
    OpInfo {
        name: "cumprod",
        formula: "running product along an axis",
        case: |d| {
            let (x, axis) = line_case(d, Draw::normal);
            // Some elements are 0.
            let zeros = Tensor::bernoulli_mask(0.3, x.shape(), x.dtype(), x.device(), d.stream());
            Case::new(vec![x.mul(&zeros.neg().add_scalar(1.0))], move |v| v[0].cumprod(axis))
        },
    },
    OpInfo {
        name: "logcumsumexp",
        formula: "running ln(sum e^x) along an axis",
        case: |d| {
            let (x, axis) = line_case(d, Draw::normal);
            Case::new(vec![x], move |v| v[0].logcumsumexp(axis))
        },
    },
    OpInfo {
        name: "cummax",
        formula: "largest so far along an axis",
        case: |d| {
            let ((x, axis), min) = (line_case(d, Draw::distinct), d.flag());
            Case::new(vec![x], move |v| if min { v[0].cummin(axis).0 } else { v[0].cummax(axis).0 })
        },
    },
    OpInfo {
        name: "linear_recurrence",
        formula: "y[i] = decay[i] y[i - 1] + x[i]",
        case: |d| {
            let (x, axis) = line_case(d, Draw::normal);
            let decay = d.normal(x.shape());
            Case::new(vec![x, decay], move |v| v[0].linear_recurrence(&v[1], axis))
        },
    },
];

/// A tensor and one of its axes, sometimes counted from the end.
fn line_case(d: &mut Draw, draw: fn(&mut Draw, tensor::Shape) -> Tensor) -> (Tensor, isize) {
    let shape = d.shape(1..=4);
    let axis = d.int(0..=shape.rank() - 1) as isize;
    let axis = if d.flag() { axis - shape.rank() as isize } else { axis };
    (draw(d, shape), axis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_of_nothing_has_gradient_zero() {
        let inf = f64::INFINITY;
        let x = Var::leaf(Tensor::new(&[-inf, -inf, 1.0, -inf, 2000.0], [5]));
        let y = x.logcumsumexp(0);
        assert_eq!(y.value().to_vec::<f64>(), [-inf, -inf, 1.0, 1.0, 2000.0]);
        let g = y.sum().backward();
        assert_eq!(g.wrt(&x).to_vec::<f64>(), [0.0, 0.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn the_last_of_equals_gets_the_gradient() {
        let x = Var::leaf(Tensor::new(&[2.0f64, 3.0, 3.0, 1.0], [4]));
        let (y, index) = x.cummax(0);
        assert_eq!(y.value().to_vec::<f64>(), [2.0, 3.0, 3.0, 3.0]);
        assert_eq!(index.to_vec::<i64>(), [0, 1, 2, 2]);
        assert_eq!(y.sum().backward().wrt(&x).to_vec::<f64>(), [1.0, 1.0, 2.0, 0.0]);
        assert_eq!(x.cummin(0).1.to_vec::<i64>(), [0, 0, 0, 3]);
    }
}
