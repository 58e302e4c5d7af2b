//! The patches of images as columns, and their sum back into images.

use std::ops::Range;

use super::{
    float::Float,
    parallel::{GRAIN, for_each_chunk},
};
use crate::{
    Element, Tensor,
    dtype::{with_element, with_float},
    layout::Layout,
    ops::Unfold,
};

/// One tap of a kernel along one axis: place `i` reads pixel `first + i * stride`.
struct Tap {
    first: isize,
    stride: usize,
    /// The places that read a pixel of the image.
    inside: Range<usize>,
}

impl Tap {
    fn pixel(&self, place: usize) -> usize {
        (self.first + (place * self.stride) as isize) as usize
    }
}

/// The taps along `axis` (0 rows, 1 columns) of an image with `len` pixels there.
fn taps(windows: &Unfold, axis: usize, len: usize, places: usize) -> Vec<Tap> {
    let stride = windows.stride[axis];
    let tap = |k: usize| {
        let first = (k * windows.dilation[axis]) as isize - windows.padding[axis] as isize;
        let places_before = |pixel: isize| (pixel - first).max(0) as usize;
        let end = places_before(len as isize).div_ceil(stride).min(places);
        let start = places_before(0).div_ceil(stride).min(end);
        Tap { first, stride, inside: start..end }
    };
    (0..windows.kernel[axis]).map(tap).collect()
}

/// Calls `f(index, plane)` for consecutive planes of `len` elements, in parallel.
fn for_each_plane<T: Element>(out: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if out.is_empty() {
        return;
    }
    for_each_chunk(out, len * (GRAIN / len).max(1), |start, planes| {
        planes.chunks_mut(len).enumerate().for_each(|(i, plane)| f(start / len + i, plane));
    });
}

/// For contiguous images `[N, C, H, W]` the pixels under each tap at each place, 0 in the padding.
pub(super) fn unfold(x: &Tensor, windows: &Unfold, [rows, columns]: [usize; 2]) -> Tensor {
    let [n, c, h, w] = x.dims_of();
    let (down, across) = (taps(windows, 0, h, rows), taps(windows, 1, w, columns));
    let count = down.len() * across.len();
    let layout = Layout::contiguous([n, c * count, rows * columns].into());
    with_element!(x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<T>(layout, x.device(), |out| {
            for_each_plane(out, rows * columns, |index, plane| {
                let image = &src[index / count * h * w..][..h * w];
                let (tap, over) = (&down[index % count / across.len()], &across[index % across.len()]);
                plane.fill(T::default());
                for i in tap.inside.clone() {
                    let row = &image[tap.pixel(i) * w..][..w];
                    for j in over.inside.clone() {
                        plane[i * columns + j] = row[over.pixel(j)];
                    }
                }
            });
        })
    })
}

/// The sum of contiguous patches `[N, C kh kw, rows * columns]` where they lie in images of height and width `[h, w]`.
pub(super) fn fold(
    x: &Tensor,
    windows: &Unfold,
    [rows, columns]: [usize; 2],
    [h, w]: [usize; 2],
) -> Tensor {
    let [n, channels, places] = x.dims_of();
    let (down, across) = (taps(windows, 0, h, rows), taps(windows, 1, w, columns));
    let count = down.len() * across.len();
    let layout = Layout::contiguous([n, channels / count, h, w].into());
    with_float!("fold", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<T>(layout, x.device(), |out| {
            for_each_plane(out, h * w, |index, image| {
                image.fill(T::ZERO);
                for (k, tap) in down.iter().enumerate() {
                    for (l, over) in across.iter().enumerate() {
                        let plane = index * count + k * across.len() + l;
                        let plane = &src[plane * places..][..places];
                        for i in tap.inside.clone() {
                            let row = &mut image[tap.pixel(i) * w..][..w];
                            for j in over.inside.clone() {
                                row[over.pixel(j)] += plane[i * columns + j];
                            }
                        }
                    }
                }
            });
        })
    })
}
