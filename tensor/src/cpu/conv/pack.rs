//! Copies of activations and weights in the order the tiles want to read them.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::microkernel::Real;
use crate::cpu::product::pack_panels;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};

/// Activations with arbitrary distances of images, rows and pixels; channels are contiguous.
pub(super) struct Staged<T> {
    pub(super) start: *const T,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) pixel: usize,
    /// Zero pixels before column 0.
    pub(super) left: usize,
    _copy: Option<Scratch<T>>,
}

/// The sizes of activations in channels-last order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
}

/// The channel stride of a copy: pixels must not fall on the same few sets of the L1 cache.
fn spread<T>(channels: usize) -> usize {
    channels + if (channels * size_of::<T>()).is_multiple_of(2048) { 16 } else { 0 }
}

/// Activations as they are.
pub(super) fn borrow<T: Real>(src: &[T], sizes: Sizes) -> Staged<T> {
    let row = sizes.columns * sizes.channels;
    Staged {
        start: src.as_ptr(),
        image: sizes.rows * row,
        row,
        pixel: sizes.channels,
        left: 0,
        _copy: None,
    }
}

/// A copy in the order `[H, W, N, C]`: the images of a batch lie side by side.
pub(super) fn images_inside<T: Real>(src: &[T], sizes: Sizes) -> Staged<T> {
    let Sizes { images, rows, columns, channels } = sizes;
    let image = spread::<T>(channels);
    let pixel = images * image;
    let row = columns * pixel;
    let copy = Scratch::<T>::new(rows * row);
    let to = Shared::new(copy.ptr());
    run_tasks(rows, src.len(), |r| {
        for n in 0..images {
            for w in 0..columns {
                let from = &src[((n * rows + r) * columns + w) * channels..][..channels];
                let to = to.ptr().wrapping_add(r * row + w * pixel + n * image);
                // SAFETY: the offset addresses one pixel inside the copy; tasks own different rows of it.
                unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, channels) };
            }
        }
    });
    Staged { start: copy.ptr(), image, row, pixel, left: 0, _copy: Some(copy) }
}

/// A copy with zero pixels before and after each row; no copy where none are needed.
pub(super) fn padded<T: Real>(src: &[T], sizes: Sizes, [left, right]: [usize; 2]) -> Staged<T> {
    let Sizes { images, rows, columns, channels } = sizes;
    if left == 0 && right == 0 {
        return borrow(src, sizes);
    }
    let row = (left + columns + right) * channels;
    let copy = Scratch::<T>::new(images * rows * row);
    let to = Shared::new(copy.ptr());
    run_tasks(images * rows, src.len(), |r| {
        let from = &src[r * columns * channels..][..columns * channels];
        // SAFETY: row r of the copy has exactly these elements; tasks own different rows.
        let to = unsafe { std::slice::from_raw_parts_mut(to.ptr().add(r * row), row) };
        to[..left * channels].fill(T::ZERO);
        to[left * channels..][..from.len()].copy_from_slice(from);
        to[(left + columns) * channels..].fill(T::ZERO);
    });
    Staged { start: copy.ptr(), image: rows * row, row, pixel: channels, left, _copy: Some(copy) }
}

/// Weights for the forward pass: `k = (tap, input channel)`, columns are output channels.
pub(super) fn forward_panels<T: Real>(g: &ConvGeometry, w: &[T], width: usize) -> Scratch<T> {
    let (inputs, outputs, taps) = (g.group_inputs(), g.group_outputs(), g.taps());
    let panels = outputs.div_ceil(width);
    let k = inputs * taps;
    pack_panels::<T>(g.groups * panels, k * width, |panel, to| {
        let (group, first) = (panel / panels, panel % panels * width);
        let w = &w[group * outputs * k..][..outputs * k];
        // 64 numbers of each of the panel's output channels at a time: whole lines in, a transpose inside L1, whole lines out.
        const BLOCK: usize = 64;
        let mut block = [[T::ZERO; 32]; BLOCK];
        let columns = width.min(outputs - first);
        for begin in (0..k).step_by(BLOCK) {
            let len = BLOCK.min(k - begin);
            for column in 0..columns {
                let from = &w[(first + column) * k + begin..][..len];
                for (row, &x) in block.iter_mut().zip(from) {
                    row[column] = x;
                }
            }
            for (i, row) in block[..len].iter().enumerate() {
                let (channel, tap) = ((begin + i) / taps, (begin + i) % taps);
                let to = to.wrapping_add((tap * inputs + channel) * width);
                // SAFETY: row (tap, channel) of the panel; `width` is at most 32 for every kernel.
                unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), to, width) };
            }
        }
    })
}

/// Weights for the input gradient: `k = (tap, output channel)`, columns are input channels.
pub(super) fn backward_panels<T: Real>(g: &ConvGeometry, w: &[T], width: usize) -> Scratch<T> {
    let (inputs, outputs, taps) = (g.group_inputs(), g.group_outputs(), g.taps());
    let panels = inputs.div_ceil(width);
    pack_panels::<T>(g.groups * panels, outputs * taps * width, |panel, to| {
        let (group, first) = (panel / panels, panel % panels * width);
        let columns = width.min(inputs - first);
        for output in 0..outputs {
            let from = &w[((group * outputs + output) * inputs + first) * taps..][..columns * taps];
            for tap in 0..taps {
                // SAFETY: row (tap, output) of the panel, which this task owns.
                let to = unsafe {
                    std::slice::from_raw_parts_mut(to.add((tap * outputs + output) * width), width)
                };
                for (column, x) in to[..columns].iter_mut().enumerate() {
                    *x = from[column * taps + tap];
                }
                to[columns..].fill(T::ZERO);
            }
        }
    })
}

/// Output gradients for the weight gradient: `k` is the pixel, columns are output channels.
///
/// Pixels are ordered `(image, row, column)`, or `(row, column, image)` with `images_inside`.
pub(super) fn pixel_panels<T: Real>(
    g: &ConvGeometry,
    dy: &[T],
    width: usize,
    images_inside: bool,
) -> Scratch<T> {
    let panels = g.group_outputs().div_ceil(width);
    let positions = g.oh * g.ow;
    let pixels = g.n * positions;
    pack_panels::<T>(g.groups * panels, pixels * width, |panel, to| {
        let (group, first) = (panel / panels, panel % panels * width);
        let columns = width.min(g.group_outputs() - first);
        let copy = |pixel: usize, at: usize| {
            let from = &dy[pixel * g.o + group * g.group_outputs() + first..][..columns];
            // SAFETY: `at` is a row of this task's panel.
            let to = unsafe { std::slice::from_raw_parts_mut(to.add(at * width), width) };
            to[..columns].copy_from_slice(from);
            to[columns..].fill(T::ZERO);
        };
        if images_inside {
            for n in 0..g.n {
                (0..positions).for_each(|p| copy(n * positions + p, p * g.n + n));
            }
        } else {
            (0..pixels).for_each(|p| copy(p, p));
        }
    })
}
