//! Updates in place: one pass over a parameter and its state, in parallel chunks.

use rayon::prelude::*;

use super::{columns::row_sums, float::Float, parallel::GRAIN, wide::wide};
use crate::{
    AdamStep, SgdStep, Tensor,
    dtype::{Element, with_float},
};

/// Calls `f` on chunks of `N` slices to be changed and one to be read, in parallel where there is more than one.
fn for_each_chunk<T: Float, const N: usize>(
    out: [&mut [T]; N],
    src: &[T],
    f: impl Fn([&mut [T]; N], &[T]) + Sync,
) {
    if src.len() <= GRAIN {
        return f(out, src);
    }
    let chunks = src.len().div_ceil(GRAIN);
    let mut split: Vec<Vec<&mut [T]>> = (0..chunks).map(|_| Vec::with_capacity(N)).collect();
    for slice in out {
        for (chunk, parts) in slice.chunks_mut(GRAIN).zip(&mut split) {
            parts.push(chunk);
        }
    }
    split.into_par_iter().zip(src.par_chunks(GRAIN)).for_each(|(parts, src)| {
        let parts = parts.try_into().expect("every slice has a part in every chunk");
        f(parts, src);
    });
}

pub(super) fn sgd_step(
    param: &mut Tensor,
    grad: &Tensor,
    velocity: Option<&mut Tensor>,
    step: &SgdStep,
    first: bool,
) {
    with_float!("sgd_step", param.dtype(), T => {
        let c = T::from_f64;
        let (lr, decay) = (c(step.lr), c(step.weight_decay));
        let grad = grad.dense_slice::<T>();
        let param = param.dense_slice_mut::<T>();
        let Some(velocity) = velocity else {
            return for_each_chunk([param], grad, |[param], grad| {
                wide(#[inline(always)] || {
                    for (x, &g) in param.iter_mut().zip(grad) {
                        *x -= lr * (g + decay * *x);
                    }
                });
            });
        };
        // At first the velocity is the gradient itself, without dampening.
        let keep = c(if first { 0.0 } else { step.momentum });
        let take = c(if first { 1.0 } else { 1.0 - step.dampening });
        // The update is `lr * (ahead * g + along * v)`.
        let (ahead, along) = if step.nesterov { (T::ONE, c(step.momentum)) } else { (T::ZERO, T::ONE) };
        for_each_chunk([param, velocity.dense_slice_mut::<T>()], grad, |[param, velocity], grad| {
            wide(#[inline(always)] || {
                for ((x, v), &g) in param.iter_mut().zip(velocity).zip(grad) {
                    let g = g + decay * *x;
                    *v = keep * *v + take * g;
                    *x -= lr * (ahead * g + along * *v);
                }
            });
        });
    });
}

pub(super) fn adam_step(
    param: &mut Tensor,
    grad: &Tensor,
    m: &mut Tensor,
    v: &mut Tensor,
    step: &AdamStep,
) {
    with_float!("adam_step", param.dtype(), T => {
        let c = T::from_f64;
        let [b1, b2] = step.betas;
        let correct = |beta: f64| 1.0 - beta.powf(step.step as f64);
        let lr = c(step.lr / correct(b1));
        let root = c(correct(b2).sqrt());
        let (eps, keep1, take1, keep2, take2) = (c(step.eps), c(b1), c(1.0 - b1), c(b2), c(1.0 - b2));
        let decay = c(if step.decoupled { 0.0 } else { step.weight_decay });
        let shrink = c(if step.decoupled { 1.0 - step.lr * step.weight_decay } else { 1.0 });
        let grad = grad.dense_slice::<T>();
        let out = [param.dense_slice_mut::<T>(), m.dense_slice_mut::<T>(), v.dense_slice_mut::<T>()];
        for_each_chunk(out, grad, |[param, m, v], grad| {
            wide(#[inline(always)] || {
                for ((x, &g), (m, v)) in param.iter_mut().zip(grad).zip(m.iter_mut().zip(v)) {
                    let g = g + decay * *x;
                    *m = keep1 * *m + take1 * g;
                    *v = keep2 * *v + take2 * (g * g);
                    *x = shrink * *x - lr * (*m / (v.sqrt() / root + eps));
                }
            });
        });
    });
}

pub(super) fn lerp(x: &mut Tensor, other: &Tensor, weight: f64) {
    with_float!("lerp", x.dtype(), T => {
        let (weight, other) = (T::from_f64(weight), other.dense_slice::<T>());
        for_each_chunk([x.dense_slice_mut::<T>()], other, |[x], other| {
            wide(#[inline(always)] || {
                for (x, &y) in x.iter_mut().zip(other) {
                    *x = *x + weight * (y - *x);
                }
            });
        });
    });
}

/// Elements whose squares are summed in `T` before the sum moves on to f64.
const RUN: usize = 1024;

pub(super) fn sum_of_squares(x: &Tensor) -> f64 {
    with_float!("sum_of_squares", x.dtype(), T => {
        let chunk = |chunk: &[T]| -> f64 {
            wide(#[inline(always)] || {
                chunk.chunks(RUN).map(|run| row_sums([run], |[x]| [x * x])[0].to_f64()).sum()
            })
        };
        let parts: Vec<f64> = x.dense_slice::<T>().par_chunks(GRAIN).map(chunk).collect();
        parts.iter().sum()
    })
}
