//! Running sums, products and extremes: every element of a line with all before it.
//!
//! Sums and products of floats are accumulated in f64.

use super::{
    elementwise::copy,
    parallel::{GRAIN, for_each_chunk},
};
use crate::{
    Element, Tensor,
    dtype::{with_element, with_float},
    kernels::{ArgOp, ScanOp},
};

/// Walks along `axis` of `K` tensors of one shape at once, in the memory order of the first where it is dense.
///
/// Each line begins with state `start`; `step(state, elements, index)` gives the output's element.
fn walk<T: Element, O: Element, S: Copy + Sync, const K: usize>(
    inputs: [&Tensor; K],
    axis: usize,
    start: S,
    step: impl Fn(&mut S, [T; K], usize) -> O + Sync,
) -> Tensor {
    let layout = inputs[0].layout.dense_like();
    let dense = inputs.map(|x| if x.layout == layout { x.clone() } else { copy(x, layout) });
    let sources = dense.each_ref().map(|x| x.dense_slice::<T>());
    let (len, inner) = (layout.shape[axis], layout.strides()[axis]);
    Tensor::build::<O>(layout, inputs[0].device(), |out| {
        if out.is_empty() {
            return;
        }
        // Memory is [outer, len, inner]; every outer block is one piece of work.
        let block = len * inner;
        for_each_chunk(out, block * (GRAIN / block).max(1), |first, out| {
            let mut states = vec![start; inner];
            for (row, out) in out.chunks_mut(inner).enumerate() {
                let index = row % len;
                if index == 0 {
                    states.fill(start);
                }
                let at = first + row * inner;
                let sources = sources.map(|s| &s[at..at + inner]);
                for (i, (out, state)) in out.iter_mut().zip(&mut states).enumerate() {
                    *out = step(state, sources.map(|s| s[i]), index);
                }
            }
        });
    })
}

/// Running sums, products or log-sum-exps along `axis`.
pub(super) fn scan(op: ScanOp, x: &Tensor, axis: usize) -> Tensor {
    with_float!(op.name(), x.dtype(), T => match op {
        ScanOp::Sum => walk([x], axis, 0.0, |sum: &mut f64, [x]: [T; 1], _| {
            *sum += x.to_f64();
            T::from_f64(*sum)
        }),
        ScanOp::Prod => walk([x], axis, 1.0, |product: &mut f64, [x]: [T; 1], _| {
            *product *= x.to_f64();
            T::from_f64(*product)
        }),
        ScanOp::LogSumExp => {
            // The largest so far, and the sum of exponentials relative to it.
            let start = (f64::NEG_INFINITY, 0.0);
            walk([x], axis, start, |(max, sum): &mut (f64, f64), [x]: [T; 1], _| {
                let x = x.to_f64();
                if x > *max {
                    *sum = *sum * (*max - x).exp() + 1.0;
                    *max = x;
                } else if x == *max {
                    // Infinities, too, whose difference would be NaN.
                    *sum += 1.0;
                } else {
                    *sum += (x - *max).exp();
                }
                T::from_f64(*max + sum.ln())
            })
        }
    })
}

/// The index along `axis` of the last extreme so far. A NaN beats every number and every NaN before it, as in PyTorch.
pub(super) fn arg_scan(op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
    with_element!(x.dtype(), T => {
        let zero = T::from_f64(0.0);
        let nan = |x: T| x.partial_cmp(&x).is_none();
        walk([x], axis, (zero, 0i64), |(best, at): &mut (T, i64), [x]: [T; 1], index| {
            let better = match op {
                ArgOp::Max => x >= *best,
                ArgOp::Min => x <= *best,
            };
            if index == 0 || better || nan(x) {
                (*best, *at) = (x, index as i64);
            }
            *at
        })
    })
}

/// `y[i] = decay[i] y[i - 1] + x[i]` along `axis`, from `y[0] = x[0]`.
pub(super) fn linear_recurrence(decay: &Tensor, x: &Tensor, axis: usize) -> Tensor {
    with_float!("linear_recurrence", x.dtype(), T => {
        walk([x, decay], axis, 0.0, |y: &mut f64, [x, decay]: [T; 2], index| {
            let before = if index == 0 { 0.0 } else { decay.to_f64() * *y };
            *y = before + x.to_f64();
            T::from_f64(*y)
        })
    })
}
