//! The updates of optimizers: in place, in one pass over a parameter and its state.
//!
//! Each call treats one parameter. What a parameter's gradient and state are, and how learning rates change, is for
//! `nn` to say.

use super::check_same;
use crate::Tensor;

/// Stochastic gradient descent with momentum, for [`Tensor::sgd_step_mut`]. Same as `torch.optim.SGD`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Factor of the old velocity; 0 for none.
    pub momentum: f64,
    /// The gradient enters the velocity times `1 - dampening`.
    pub dampening: f64,
    /// `weight_decay * param` is added to the gradient.
    pub weight_decay: f64,
    /// Look ahead along the velocity.
    pub nesterov: bool,
}

/// Adam, for [`Tensor::adam_step_mut`]. Same as `torch.optim.Adam` and, decoupled, `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the running means of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the root of the second mean, after the correction of its bias.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// AdamW: the parameter shrinks by `lr * weight_decay`. Otherwise `weight_decay * param` is added to the gradient.
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub step: u64,
}

/// Checks that `others` fit `x` and gives `x` dense memory of its own order.
#[track_caller]
fn check_in_place(op: &str, x: &mut Tensor, others: &[&Tensor]) {
    for t in others {
        check_same(op, &[x, t]);
        assert!(
            t.shape() == x.shape(),
            "{op}: {} does not have the shape {} of what it updates",
            t.shape(),
            x.shape()
        );
    }
    if !x.layout.is_dense() {
        *x = x.kernels().copy(x, x.layout.dense_like());
    }
}

/// `t` in the memory order of `x`; itself if it is already.
fn in_order_of(t: &Tensor, x: &Tensor) -> Tensor {
    if t.layout.same_order(&x.layout) {
        return t.clone();
    }
    t.kernels().copy(t, x.layout.dense_like())
}

/// Brings a state tensor into the memory order of `x`, without sharing it.
fn reorder(t: &mut Tensor, x: &Tensor) {
    if !t.layout.same_order(&x.layout) {
        *t = in_order_of(t, x);
    }
}

impl Tensor {
    /// One step of stochastic gradient descent: with `g = grad + weight_decay * x` and the velocity
    /// `v = momentum * v + (1 - dampening) * g` (`v = g` at first),
    /// `x -= lr * v`, with Nesterov `x -= lr * (g + momentum * v)`, without momentum `x -= lr * g`.
    ///
    /// `velocity` is `None` before the first step and stays so without momentum.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn sgd_step_mut(&mut self, grad: &Tensor, velocity: &mut Option<Tensor>, step: &SgdStep) {
        check_in_place("sgd_step", self, &[grad]);
        let grad = in_order_of(grad, self);
        let first = velocity.is_none();
        let state = if step.momentum == 0.0 {
            None
        } else {
            let state = velocity.get_or_insert_with(|| self.zeros_like());
            check_in_place("sgd_step", self, &[state]);
            reorder(state, self);
            Some(state)
        };
        self.kernels().sgd_step(self, &grad, state, step, first);
    }

    /// One step of Adam: with `g = grad` (`+ weight_decay * x` unless decoupled), `m = b1 m + (1 - b1) g`,
    /// `v = b2 v + (1 - b2) g^2`, `x -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`; decoupled decay first
    /// multiplies `x` by `1 - lr * weight_decay`.
    ///
    /// `m` and `v` are zeros before the first step. Source: Kingma & Ba 2015; Loshchilov & Hutter 2019.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ or the number of the step is 0.
    #[track_caller]
    pub fn adam_step_mut(
        &mut self,
        grad: &Tensor,
        m: &mut Tensor,
        v: &mut Tensor,
        step: &AdamStep,
    ) {
        assert!(step.step > 0, "adam_step: steps count from 1");
        check_in_place("adam_step", self, &[grad, m, v]);
        let grad = in_order_of(grad, self);
        reorder(m, self);
        reorder(v, self);
        self.kernels().adam_step(self, &grad, m, v, step);
    }

    /// `x += weight * (other - x)`, for moving averages. Same as `torch.Tensor.lerp_`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn lerp_mut(&mut self, other: &Tensor, weight: f64) {
        check_in_place("lerp", self, &[other]);
        let other = in_order_of(other, self);
        self.kernels().lerp(self, &other, weight);
    }
}

/// The sum of the squares of all elements of all `tensors`, in f64: the square of the norm that gradients are
/// clipped by.
///
/// # Panics
/// If a dtype is no float.
#[track_caller]
pub fn sum_of_squares<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> f64 {
    let square = |t: &Tensor| {
        let t = if t.layout.is_dense() { t.clone() } else { t.contiguous() };
        t.kernels().sum_of_squares(&t)
    };
    tensors.into_iter().map(square).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(values: &[f64]) -> Tensor {
        Tensor::new(values, [values.len()])
    }

    #[test]
    fn memory_orders_may_differ() {
        let image = |seed: f64| {
            let n = 2 * 3 * 4 * 5;
            let x: Vec<f64> = (0..n).map(|i| (i as f64 * seed).sin()).collect();
            Tensor::new(&x, [2, 3, 4, 5])
        };
        let (start, grad) = (image(1.0), image(2.0));
        let step = AdamStep {
            lr: 0.1,
            betas: [0.9, 0.99],
            eps: 1e-8,
            weight_decay: 0.1,
            decoupled: false,
            step: 1,
        };
        let run = |mut x: Tensor, grad: &Tensor| {
            let (mut m, mut v) = (x.zeros_like().contiguous(), x.zeros_like().contiguous());
            x.adam_step_mut(grad, &mut m, &mut v, &step);
            (x.to_f64_vec(), m.to_f64_vec(), v.to_f64_vec())
        };
        let expected = run(start.clone(), &grad);
        assert_eq!(run(start.channels_last(), &grad), expected);
        assert_eq!(run(start.clone(), &grad.channels_last()), expected);
        // The start shared its memory with `x`: it has not changed.
        assert_eq!(start.to_f64_vec(), image(1.0).to_f64_vec());
    }

    #[test]
    fn dampening_spares_the_first_step() {
        let step =
            SgdStep { lr: 1.0, momentum: 0.5, dampening: 0.5, weight_decay: 0.0, nesterov: false };
        let (mut x, mut velocity) = (t(&[0.0]), None);
        x.sgd_step_mut(&t(&[1.0]), &mut velocity, &step);
        assert_eq!(x.item(), -1.0);
        x.sgd_step_mut(&t(&[1.0]), &mut velocity, &step);
        assert_eq!(x.item(), -2.0);
    }

    #[test]
    fn sums_of_squares_and_averages() {
        assert_eq!(sum_of_squares([&t(&[3.0, 4.0]), &t(&[]), &t(&[2.0])]), 29.0);
        let mut x = t(&[1.0, 2.0]);
        x.lerp_mut(&t(&[3.0, 2.0]), 0.25);
        assert_eq!(x.to_f64_vec(), [1.5, 2.0]);
    }

    #[test]
    #[should_panic(expected = "sgd_step: [3] does not have the shape [2] of what it updates")]
    fn wrong_gradient_is_named() {
        let step =
            SgdStep { lr: 1.0, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false };
        t(&[1.0, 2.0]).sgd_step_mut(&t(&[1.0, 2.0, 3.0]), &mut None, &step);
    }
}
