//! Sampling of channels-last images: forward in parallel over rows of samples, its transpose over images.

use rayon::prelude::*;

use super::{float::Float, pad::for_each_image_row, parallel::GRAIN, wide::wide};
use crate::{Shape, Tensor, dtype::with_float, layout::Layout, ops::Sampling};

/// Work of a sample beside its channels, in elements: two sets of weights.
const WEIGHTS: usize = 32;

pub(super) fn grid_sample(x: &Tensor, grid: &Tensor, sampling: &Sampling, shape: Shape) -> Tensor {
    let [_, c, h, w] = x.dims_of();
    let [n, _, out_h, out_w] = shape[..].try_into().expect("samples have 4 axes");
    with_float!("grid_sample", x.dtype(), T => {
        let (src, grid) = (x.dense_slice::<T>(), grid.dense_slice::<T>());
        Tensor::build::<T>(Layout::channels_last(shape), x.device(), |y| {
            let work = 4 + WEIGHTS / c.max(1);
            for_each_image_row(y, [n, c, out_h, out_w], work, |image, row, y| {
                let src = &src[image * h * w * c..][..h * w * c];
                let places = &grid[(image * out_h + row) * out_w * 2..][..out_w * 2];
                y.fill(T::ZERO);
                wide(
                    #[inline(always)]
                    || {
                        for (y, place) in y.chunks_mut(c).zip(places.chunks(2)) {
                            for_each_pixel(place, sampling, [h, w], |pixel, weight| {
                                add(y, &src[pixel * c..][..c], weight);
                            });
                        }
                    },
                );
            });
        })
    })
}

pub(super) fn grid_sample_transpose(
    dy: &Tensor,
    grid: &Tensor,
    sampling: &Sampling,
    image: Shape,
) -> Tensor {
    let [_, c, h, w] = image[..].try_into().expect("images have 4 axes");
    let [_, _, out_h, out_w] = dy.dims_of();
    with_float!("grid_sample_transpose", dy.dtype(), T => {
        let (src, grid) = (dy.dense_slice::<T>(), grid.dense_slice::<T>());
        Tensor::build::<T>(Layout::channels_last(image), dy.device(), |dx| {
            if dx.is_empty() {
                return;
            }
            // One after the other inside an image: several samples may meet in one pixel, in an order that must not vary.
            let spread = |(i, dx): (usize, &mut [T])| {
                let samples = out_h * out_w;
                let src = src[i * samples * c..][..samples * c].chunks(c);
                dx.fill(T::ZERO);
                let places = grid[i * samples * 2..][..samples * 2].chunks(2);
                wide(
                    #[inline(always)]
                    || {
                        for (src, place) in src.zip(places) {
                            for_each_pixel(place, sampling, [h, w], |pixel, weight| {
                                add(&mut dx[pixel * c..][..c], src, weight);
                            });
                        }
                    },
                );
            };
            let images = h * w * c;
            if src.len() * WEIGHTS <= GRAIN {
                dx.chunks_mut(images).enumerate().for_each(spread);
            } else {
                dx.par_chunks_mut(images).enumerate().for_each(spread);
            }
        })
    })
}

/// Calls `f(pixel, weight)` for the pixels of an image of height and width `[h, w]` that count at a place `(x, y)`.
#[inline(always)]
fn for_each_pixel<T: Float>(
    place: &[T],
    sampling: &Sampling,
    [h, w]: [usize; 2],
    mut f: impl FnMut(usize, T),
) {
    let rows = sampling.taps(0, h, place[1].to_f64());
    let columns = sampling.taps(1, w, place[0].to_f64());
    for (i, wy) in rows.iter() {
        for (j, wx) in columns.iter() {
            f(i * w + j, T::from_f64(wy * wx));
        }
    }
}

#[inline(always)]
fn add<T: Float>(y: &mut [T], x: &[T], weight: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += weight * x;
    }
}
