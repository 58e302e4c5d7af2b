//! Pooling of channels-last images: forward in parallel over output rows, backward over images.

use rayon::prelude::*;

use super::{float::Float, pad::for_each_image_row, parallel::GRAIN, wide::wide};
use crate::{
    Tensor,
    dtype::{Element, with_float},
    kernels::PoolWindow,
    layout::Layout,
    ops::Pool2d,
};

/// Channels worked on side by side: one AVX-512 register of f32, a cache line.
const LANES: usize = 16;

/// `B` neighboring elements.
#[inline(always)]
fn lanes<T: Copy, const B: usize>(from: &[T], at: usize) -> [T; B] {
    from[at..at + B].try_into().expect("B elements")
}

/// Maxima of windows and the cells (`row * kernel_width + column`) where they are.
pub(super) fn max_pool2d(
    x: &Tensor,
    pool: &Pool2d,
    [out_h, out_w]: [usize; 2],
) -> (Tensor, Tensor) {
    let [n, c, h, w] = x.dims_of();
    let layout = Layout::channels_last([n, c, out_h, out_w].into());
    let row = out_w * c;
    with_float!("max_pool2d", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        let mut cells = None;
        let y = Tensor::build::<T>(layout, x.device(), |out| {
            cells = Some(Tensor::build::<u8>(layout, x.device(), |cells| {
                if out.is_empty() {
                    return;
                }
                let rows = (GRAIN / (row * pool.kernel[0] * pool.kernel[1])).max(1);
                let blocks = out.par_chunks_mut(rows * row).zip(cells.par_chunks_mut(rows * row));
                blocks.enumerate().for_each(|(block, (out, cells))| {
                    for (i, out) in out.chunks_mut(row).enumerate() {
                        let index = block * rows + i;
                        let image = &src[index / out_h * h * w * c..][..h * w * c];
                        let cells = &mut cells[i * row..(i + 1) * row];
                        wide(
                            #[inline(always)]
                            || max_row(out, cells, image, [h, w, c], pool, index % out_h),
                        );
                    }
                });
            }));
        });
        (y, cells.expect("built with the maxima"))
    })
}

/// One row of maxima.
#[inline(always)]
fn max_row<T: Float>(
    out: &mut [T],
    cells: &mut [u8],
    image: &[T],
    [h, w, c]: [usize; 3],
    pool: &Pool2d,
    row: usize,
) {
    let [kh, kw] = pool.kernel;
    let (vectors, mut window) = (c - c % LANES, Vec::with_capacity(kh * kw));
    for (j, (out, cells)) in out.chunks_mut(c).zip(cells.chunks_mut(c)).enumerate() {
        // (offset in the image, cell) of what the window covers.
        window.clear();
        for a in 0..kh {
            for b in 0..kw {
                let i = (row * pool.stride[0] + a).wrapping_sub(pool.padding[0]);
                let j = (j * pool.stride[1] + b).wrapping_sub(pool.padding[1]);
                if i < h && j < w {
                    window.push(((i * w + j) * c, (a * kw + b) as u32));
                }
            }
        }
        for at in (0..vectors).step_by(LANES) {
            max_lanes::<T, LANES>(out, cells, image, &window, at);
        }
        for at in vectors..c {
            max_lanes::<T, 1>(out, cells, image, &window, at);
        }
    }
}

/// The maxima of `B` channels over one window.
#[inline(always)]
fn max_lanes<T: Float, const B: usize>(
    out: &mut [T],
    cells: &mut [u8],
    image: &[T],
    window: &[(usize, u32)],
    at: usize,
) {
    let (first, cell) = window[0];
    let mut best: [T; B] = lanes(image, first + at);
    // 32 bits like an f32, so that one comparison selects both.
    let mut best_cell = [cell; B];
    for &(offset, cell) in &window[1..] {
        let values: [T; B] = lanes(image, offset + at);
        for i in 0..B {
            // A later NaN replaces an earlier one, as in PyTorch.
            let better = values[i] > best[i] || values[i].is_nan();
            best[i] = if better { values[i] } else { best[i] };
            best_cell[i] = if better { cell } else { best_cell[i] };
        }
    }
    out[at..at + B].copy_from_slice(&best);
    for (o, cell) in cells[at..at + B].iter_mut().zip(best_cell) {
        *o = cell as u8;
    }
}

/// Calls `f(image, memory of the image)` for channels-last images `[n, c, h, w]`, in parallel.
fn for_each_image<T: Element>(
    out: &mut [T],
    [_, c, h, w]: [usize; 4],
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    if out.len() <= GRAIN {
        out.chunks_mut(h * w * c).enumerate().for_each(|(i, image)| f(i, image));
    } else {
        out.par_chunks_mut(h * w * c).enumerate().for_each(|(i, image)| f(i, image));
    }
}

/// Each output's gradient goes to the cell that was largest.
pub(super) fn max_pool2d_grad(
    dy: &Tensor,
    cells: &Tensor,
    pool: &Pool2d,
    dims: [usize; 4],
) -> Tensor {
    let [_, c, _, w] = dims;
    let [_, _, out_h, out_w] = dy.dims_of();
    let cells = cells.dense_slice::<u8>();
    // Offset of each cell from the first one of its window.
    let offsets: Vec<isize> = (0..pool.kernel[0])
        .flat_map(|a| (0..pool.kernel[1]).map(move |b| ((a * w + b) * c) as isize))
        .collect();
    with_float!("max_pool2d_grad", dy.dtype(), T => {
        let src = dy.dense_slice::<T>();
        Tensor::build::<T>(Layout::channels_last(dims.into()), dy.device(), |out| {
            for_each_image(out, dims, |image, out| {
                out.fill(T::ZERO);
                for at in 0..out_h * out_w {
                    let (i, j) = (at / out_w, at % out_w);
                    let row = (i * pool.stride[0]) as isize - pool.padding[0] as isize;
                    let column = (j * pool.stride[1]) as isize - pool.padding[1] as isize;
                    let first = (row * w as isize + column) * c as isize;
                    let from = (image * out_h * out_w + at) * c;
                    let values = src[from..from + c].iter().zip(&cells[from..from + c]);
                    for (channel, (&g, &cell)) in values.enumerate() {
                        out[(first + offsets[cell as usize]) as usize + channel] += g;
                    }
                }
            });
        })
    })
}

/// Means of the windows `rows x columns`.
pub(super) fn avg_pool2d(x: &Tensor, [rows, columns]: &[Vec<PoolWindow>; 2]) -> Tensor {
    let [n, c, h, w] = x.dims_of();
    let dims = [n, c, rows.len(), columns.len()];
    let area = |rows: &[PoolWindow]| rows.first().map_or(1, |r| r.inside.len().max(1));
    with_float!("avg_pool2d", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<T>(Layout::channels_last(dims.into()), x.device(), |out| {
            for_each_image_row(out, dims, area(rows) * area(columns), |image, row, out| {
                let image = &src[image * h * w * c..][..h * w * c];
                for (out, columns) in out.chunks_mut(c).zip(columns) {
                    let window = [&rows[row], columns];
                    wide(#[inline(always)] || mean(out, image, w, window));
                }
            });
        })
    })
}

/// What the sum over a window is divided by.
fn divisor_of<T: Element>(window: [&PoolWindow; 2]) -> T {
    T::from_f64((window[0].count * window[1].count) as f64)
}

/// The mean of one window for all channels.
#[inline(always)]
fn mean<T: Float>(out: &mut [T], image: &[T], w: usize, window: [&PoolWindow; 2]) {
    let vectors = out.len() - out.len() % LANES;
    for at in (0..vectors).step_by(LANES) {
        mean_lanes::<T, LANES>(out, image, w, window, at);
    }
    for at in vectors..out.len() {
        mean_lanes::<T, 1>(out, image, w, window, at);
    }
}

#[inline(always)]
fn mean_lanes<T: Float, const B: usize>(
    out: &mut [T],
    image: &[T],
    w: usize,
    window: [&PoolWindow; 2],
    at: usize,
) {
    let c = out.len();
    let mut sum = [T::ZERO; B];
    for i in window[0].inside.clone() {
        for j in window[1].inside.clone() {
            let values: [T; B] = lanes(image, (i * w + j) * c + at);
            for (s, v) in sum.iter_mut().zip(values) {
                *s += v;
            }
        }
    }
    let count = divisor_of::<T>(window);
    for (o, s) in out[at..at + B].iter_mut().zip(sum) {
        *o = s / count;
    }
}

/// Each output's gradient is spread evenly over its window.
pub(super) fn avg_pool2d_grad(
    dy: &Tensor,
    [rows, columns]: &[Vec<PoolWindow>; 2],
    [h, w]: [usize; 2],
) -> Tensor {
    let [n, c, out_h, out_w] = dy.dims_of();
    let dims = [n, c, h, w];
    with_float!("avg_pool2d_grad", dy.dtype(), T => {
        let src = dy.dense_slice::<T>();
        Tensor::build::<T>(Layout::channels_last(dims.into()), dy.device(), |out| {
            for_each_image(out, dims, |image, out| {
                out.fill(T::ZERO);
                let mut share = vec![T::ZERO; c];
                for at in 0..out_h * out_w {
                    let window = [&rows[at / out_w], &columns[at % out_w]];
                    let count = divisor_of::<T>(window);
                    let from = (image * out_h * out_w + at) * c;
                    for (s, &g) in share.iter_mut().zip(&src[from..from + c]) {
                        *s = g / count;
                    }
                    for i in window[0].inside.clone() {
                        for j in window[1].inside.clone() {
                            let pixel = &mut out[(i * w + j) * c..][..c];
                            for (o, &s) in pixel.iter_mut().zip(&share) {
                                *o += s;
                            }
                        }
                    }
                }
            });
        })
    })
}
