//! Softmax and cross entropy of the rows of contiguous matrices; each row is read from memory once.

use super::{
    columns::{row_sums, rows_per_block},
    float::Float,
    parallel::for_each_chunk,
};
use crate::{
    Tensor,
    dtype::{Element, with_float},
    kernels::Classes,
    layout::Layout,
};

/// An exponential costs about this many times what a copy does.
const EXP_COST: usize = 8;

/// Calls `f(first row, rows)` for blocks of the rows of `out`, each `length` long, in parallel.
fn for_each_row_block<T: Element>(
    out: &mut [T],
    length: usize,
    work: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if !out.is_empty() {
        let rows = rows_per_block(work * EXP_COST);
        for_each_chunk(out, rows * length, |start, out| f(start / length, out));
    }
}

/// The largest element; NaN if there is one.
fn maximum<T: Float>(row: &[T]) -> T {
    row.iter().fold(T::NEG_INFINITY, |m, &v| if v > m || v.is_nan() { v } else { m })
}

/// `log(sum(e^x))` without overflow.
fn log_sum_exp<T: Float>(row: &[T]) -> T {
    let max = maximum(row);
    let [sum] = row_sums([row], |[x]| [(x - max).exp()]);
    max + sum.ln()
}

/// Softmax, or its logarithm, along the last axis of contiguous `x`.
pub(super) fn softmax(x: &Tensor, log: bool) -> Tensor {
    let length = x.dim(-1);
    with_float!("softmax", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<T>(Layout::contiguous(x.shape()), x.device(), |out| {
            for_each_row_block(out, length, length, |first, out| {
                let src = &src[first * length..][..out.len()];
                for (out, row) in out.chunks_mut(length).zip(src.chunks(length)) {
                    if log { log_softmax_row(out, row) } else { softmax_row(out, row) }
                }
            });
        })
    })
}

fn softmax_row<T: Float>(out: &mut [T], row: &[T]) {
    let max = maximum(row);
    for (o, &x) in out.iter_mut().zip(row) {
        *o = (x - max).exp();
    }
    let [sum] = row_sums([out], |[e]| [e]);
    for o in out {
        *o = *o / sum;
    }
}

fn log_softmax_row<T: Float>(out: &mut [T], row: &[T]) {
    // Subtracting first the maximum, then the logarithm keeps the digits of a row of large logits.
    let max = maximum(row);
    let [sum] = row_sums([row], |[x]| [(x - max).exp()]);
    let rest = sum.ln();
    for (o, &x) in out.iter_mut().zip(row) {
        *o = x - max - rest;
    }
}

/// `y * (dy - sum(dy * y))` along the last axis, or `dy - e^y * sum(dy)` if `y` is a logarithm.
pub(super) fn softmax_grad(y: &Tensor, dy: &Tensor, log: bool) -> Tensor {
    let length = y.dim(-1);
    with_float!("softmax_grad", y.dtype(), T => {
        let (ys, dys) = (y.dense_slice::<T>(), dy.dense_slice::<T>());
        Tensor::build::<T>(Layout::contiguous(y.shape()), y.device(), |out| {
            for_each_row_block(out, length, length, |first, out| {
                let range = first * length..first * length + out.len();
                let rows = ys[range.clone()].chunks(length).zip(dys[range].chunks(length));
                for (out, (y, dy)) in out.chunks_mut(length).zip(rows) {
                    let both = out.iter_mut().zip(y.iter().zip(dy));
                    if log {
                        let [sum] = row_sums([dy], |[g]| [g]);
                        both.for_each(|(o, (&y, &g))| *o = g - y.exp() * sum);
                    } else {
                        let [sum] = row_sums([y, dy], |[y, g]| [y * g]);
                        both.for_each(|(o, (&y, &g))| *o = y * (g - sum));
                    }
                }
            });
        })
    })
}

/// The class of `row`, checked: it comes from data.
fn class(index: &[i64], row: usize, classes: usize) -> usize {
    usize::try_from(index[row]).ok().filter(|&c| c < classes).unwrap_or_else(|| {
        panic!("cross_entropy: class {} of row {row} is not in 0..{classes}", index[row])
    })
}

/// Losses of the rows of contiguous logits `[.., classes]`, and their log-sum-exp.
pub(super) fn cross_entropy(logits: &Tensor, targets: Classes) -> (Tensor, Tensor) {
    let classes = logits.dim(-1);
    let layout = Layout::contiguous(logits.shape().without_axis(logits.rank() - 1));
    with_float!("cross_entropy", logits.dtype(), T => {
        let src = logits.dense_slice::<T>();
        let row = |i: usize| &src[i * classes..(i + 1) * classes];
        let lse = Tensor::build::<T>(layout, logits.device(), |out| {
            for_each_row_block(out, 1, classes, |first, out| {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = log_sum_exp(row(first + i));
                }
            });
        });
        let lses = lse.dense_slice::<T>();
        let loss = Tensor::build::<T>(layout, logits.device(), |out| match targets {
            Classes::Index { index, smoothing } => {
                let index = index.dense_slice::<i64>();
                let share = T::from_f64(smoothing / classes as f64);
                let hit = T::from_f64(1.0 - smoothing);
                for (i, o) in out.iter_mut().enumerate() {
                    let (x, lse) = (row(i), lses[i]);
                    *o = hit * (lse - x[class(index, i, classes)]);
                    if smoothing > 0.0 {
                        let [rest] = row_sums([x], |[x]| [lse - x]);
                        *o += share * rest;
                    }
                }
            }
            Classes::Probabilities(p) => {
                let p = p.dense_slice::<T>();
                for (i, o) in out.iter_mut().enumerate() {
                    let (p, lse) = (&p[i * classes..(i + 1) * classes], lses[i]);
                    let [loss] = row_sums([row(i), p], |[x, p]| [p * (lse - x)]);
                    *o = loss;
                }
            }
        });
        (loss, lse)
    })
}

/// `dloss * (softmax * sum(target) - target)` for each row.
pub(super) fn cross_entropy_grad(
    logits: &Tensor,
    targets: Classes,
    lse: &Tensor,
    dloss: &Tensor,
) -> Tensor {
    let classes = logits.dim(-1);
    with_float!("cross_entropy", logits.dtype(), T => {
        let (src, lse) = (logits.dense_slice::<T>(), lse.dense_slice::<T>());
        let dloss = dloss.dense_slice::<T>();
        Tensor::build::<T>(Layout::contiguous(logits.shape()), logits.device(), |out| {
            for_each_row_block(out, classes, classes, |first, out| {
                for (i, out) in out.chunks_mut(classes).enumerate() {
                    let row = first + i;
                    let at = row * classes..(row + 1) * classes;
                    let (g, lse) = (dloss[row], lse[row]);
                    let soft = out.iter_mut().zip(&src[at.clone()]).map(|(o, &x)| (o, (x - lse).exp()));
                    match targets {
                        Classes::Index { index, smoothing } => {
                            let share = T::from_f64(smoothing / classes as f64);
                            soft.for_each(|(o, s)| *o = g * (s - share));
                            let hit = class(index.dense_slice::<i64>(), row, classes);
                            out[hit] -= g * T::from_f64(1.0 - smoothing);
                        }
                        Classes::Probabilities(p) => {
                            let p = &p.dense_slice::<T>()[at];
                            let [total] = row_sums([p], |[p]| [p]);
                            soft.zip(p).for_each(|((o, s), &p)| *o = g * (s * total - p));
                        }
                    }
                }
            });
        })
    })
}
