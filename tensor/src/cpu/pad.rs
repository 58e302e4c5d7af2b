//! Padding of channels-last images: whole runs of pixels are copied at once.

use super::{
    float::Float,
    parallel::{GRAIN, for_each_chunk},
};
use crate::{
    Tensor,
    dtype::{Element, with_element, with_float},
    layout::Layout,
};

/// Calls `f(image, row, memory of the row)` for every row of channels-last images `[n, c, h, w]`; `work` is the number
/// of elements read for each one written.
pub(super) fn for_each_image_row<T: Element>(
    out: &mut [T],
    [_, c, h, w]: [usize; 4],
    work: usize,
    f: impl Fn(usize, usize, &mut [T]) + Sync,
) {
    let row = w * c;
    if out.is_empty() {
        return;
    }
    let rows_per_chunk = (GRAIN / (row * work)).max(1);
    for_each_chunk(out, rows_per_chunk * row, |start, rows| {
        for (i, memory) in rows.chunks_mut(row).enumerate() {
            let index = start / row + i;
            f(index / h, index % h, memory);
        }
    });
}

/// `value` around, or a crop of, channels-last `x`; output pixel `(i, j)` is input pixel `(i - top, j - left)`.
pub(super) fn pad2d(
    x: &Tensor,
    [top, left]: [isize; 2],
    [out_h, out_w]: [usize; 2],
    value: f64,
) -> Tensor {
    let [n, c, h, w] = x.dims_of();
    let layout = Layout::channels_last([n, c, out_h, out_w].into());
    // Columns of the output that come from the input.
    let first = left.clamp(0, out_w as isize) as usize;
    let last = (left + w as isize).clamp(first as isize, out_w as isize) as usize;
    let from = (first as isize - left) as usize;
    with_element!(x.dtype(), T => {
        let (src, value) = (x.dense_slice::<T>(), T::from_f64(value));
        Tensor::build::<T>(layout, x.device(), |out| {
            for_each_image_row(out, [n, c, out_h, out_w], 1, |image, row, out| {
                let i = row as isize - top;
                if i < 0 || i >= h as isize || first == last {
                    out.fill(value);
                    return;
                }
                let at = ((image * h + i as usize) * w + from) * c;
                out[..first * c].fill(value);
                out[first * c..last * c].copy_from_slice(&src[at..at + (last - first) * c]);
                out[last * c..].fill(value);
            });
        })
    })
}

/// Index of the element of an axis of `len` that lies at `i - before` after mirroring.
fn mirror(i: usize, before: usize, len: usize) -> usize {
    let at = (i as isize - before as isize).unsigned_abs();
    if at < len { at } else { 2 * (len - 1) - at }
}

/// Mirror images around channels-last `x`.
pub(super) fn reflection_pad2d(x: &Tensor, [left, right, top, bottom]: [usize; 4]) -> Tensor {
    let [n, c, h, w] = x.dims_of();
    let (out_h, out_w) = (h + top + bottom, w + left + right);
    let layout = Layout::channels_last([n, c, out_h, out_w].into());
    with_element!(x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<T>(layout, x.device(), |out| {
            for_each_image_row(out, [n, c, out_h, out_w], 1, |image, row, out| {
                let at = (image * h + mirror(row, top, h)) * w * c;
                let src = &src[at..at + w * c];
                out[left * c..(left + w) * c].copy_from_slice(src);
                for j in (0..left).chain(left + w..out_w) {
                    let from = mirror(j, left, w) * c;
                    out[j * c..(j + 1) * c].copy_from_slice(&src[from..from + c]);
                }
            });
        })
    })
}

/// The padded rows (or columns) that mirror element `i` of an axis of `len`: itself, then those before and after.
fn images_of(
    i: usize,
    before: usize,
    after: usize,
    len: usize,
) -> impl Iterator<Item = usize> + Clone {
    let front = (1..=before).contains(&i).then(|| before - i);
    let back = (i + 1 < len && len - 1 - i <= after).then(|| before + 2 * (len - 1) - i);
    std::iter::once(before + i).chain(front).chain(back)
}

/// Sums the mirror images of every input element of channels-last `dy`.
pub(super) fn reflection_pad2d_grad(dy: &Tensor, [left, right, top, bottom]: [usize; 4]) -> Tensor {
    let [n, c, out_h, out_w] = dy.dims_of();
    let (h, w) = (out_h - top - bottom, out_w - left - right);
    let layout = Layout::channels_last([n, c, h, w].into());
    with_float!("reflection_pad2d_grad", dy.dtype(), T => {
        let src = dy.dense_slice::<T>();
        Tensor::build::<T>(layout, dy.device(), |out| {
            for_each_image_row(out, [n, c, h, w], 1, |image, row, out| {
                out.fill(T::ZERO);
                for i in images_of(row, top, bottom, h) {
                    let at = (image * out_h + i) * out_w * c;
                    let src = &src[at..at + out_w * c];
                    add(out, &src[left * c..(left + w) * c]);
                    for j in (0..left).chain(left + w..out_w) {
                        let to = mirror(j, left, w) * c;
                        add(&mut out[to..to + c], &src[j * c..(j + 1) * c]);
                    }
                }
            });
        })
    })
}

/// `out += src`.
fn add<T: Float>(out: &mut [T], src: &[T]) {
    for (o, &s) in out.iter_mut().zip(src) {
        *o += s;
    }
}
