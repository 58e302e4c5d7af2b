//! Sorting along an axis.

use std::cmp::Ordering;

use super::parallel::{GRAIN, for_each_chunk};
use crate::{Element, Tensor, dtype::with_element, layout::Layout};

/// Comparisons of an element with others, about: lines are sorted in parallel where there is more work than this.
const WORK: usize = 16;

/// For each row (last axis) of contiguous `x` the I64 indices that sort it; equal elements keep their order.
pub(super) fn argsort(x: &Tensor, descending: bool) -> Tensor {
    let row = x.dims().last().copied().unwrap_or(1);
    with_element!(x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<i64>(Layout::contiguous(x.shape()), x.device(), |y| {
            if y.is_empty() {
                return;
            }
            for_each_chunk(y, row * (GRAIN / (row * WORK)).max(1), |start, y| {
                for (i, y) in y.chunks_mut(row).enumerate() {
                    let values = &src[start + i * row..][..row];
                    y.iter_mut().zip(0..).for_each(|(y, k)| *y = k);
                    let order = |&a: &i64, &b: &i64| compare(values[a as usize], values[b as usize]);
                    match descending {
                        false => y.sort_by(order),
                        true => y.sort_by(|a, b| order(b, a)),
                    }
                }
            });
        })
    })
}

/// NaN is larger than any number, and equal to NaN.
fn compare<T: Element>(a: T, b: T) -> Ordering {
    let nan = |x: T| x.partial_cmp(&x).is_none();
    a.partial_cmp(&b).unwrap_or_else(|| nan(a).cmp(&nan(b)))
}
