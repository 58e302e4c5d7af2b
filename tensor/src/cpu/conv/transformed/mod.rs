//! Convolutions of stride one by a transform: tiles of the image and kernels are transformed, multiplied, and the products
//! transformed back.
//!
//! A transform ([`Transform`]) turns a tile of pixels into a number for each of its *planes*, a kernel likewise, and the sums
//! over the channels become one matrix product for each plane: `[tiles, C] · [C, O]` for a pass that slides a kernel over an
//! image, `[C, tiles] · [tiles, O]` for the gradient of the weight. All steps work on vectors of channels.
//!
//! Tiles are taken in batches whose transformed copy stays in the cache. Weights whose transformed copy is large are taken by
//! groups of panels, and batches are then larger, up to 48 MiB. Batches and groups depend on the shapes only: the result does
//! not depend on the number of threads.

mod sliding;
mod weight_grad;

pub(super) use sliding::Sliding;
pub(super) use weight_grad::weight_grad;

use crate::cpu::microkernel::{Order, Real, Run, Tile};
use crate::cpu::product::chunk_len;
use crate::cpu::scratch::Shared;
use crate::cpu::simd::{Isa, Vector};
use std::ops::Range;

/// Transformed tiles of a batch that meets several groups of panels: each batch transforms all kernels again.
const LARGE_BATCH_BYTES: usize = 48 << 20;

/// Transformed weights of a group of panels, or sums of a weight gradient.
const GROUP_BYTES: usize = 16 << 20;

/// A rectangle of pixels, of which some exist, with the channels of two registers each.
#[derive(Clone, Debug)]
pub(super) struct Patch<T> {
    /// Pixel `(0, 0)`, whether it exists or not.
    pub(super) at: *mut T,
    /// Distances of rows and columns.
    pub(super) steps: [isize; 2],
    /// The rows and columns that exist.
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// Channels that exist, at most those of two registers.
    pub(super) channels: usize,
}

impl<T> Patch<T> {
    /// The pixel, if it exists.
    #[inline(always)]
    pub(super) fn pixel(&self, row: usize, column: usize) -> Option<*mut T> {
        let exists = self.rows.contains(&row) && self.columns.contains(&column);
        exists.then(|| {
            self.at.wrapping_offset(row as isize * self.steps[0] + column as isize * self.steps[1])
        })
    }

    /// Register `v` (0 or 1) of a pixel; zeros for what does not exist.
    ///
    /// # Safety
    /// What exists is live memory; see [`Vector`].
    #[inline(always)]
    pub(super) unsafe fn load<V: Vector<Elem = T>>(
        &self,
        row: usize,
        column: usize,
        v: usize,
    ) -> V {
        // SAFETY: the pixel exists, and its channels beyond `channels` are masked.
        unsafe {
            match self.pixel(row, column) {
                Some(at) if self.channels >= 2 * V::LANES => V::load(at.add(v * V::LANES)),
                Some(at) => V::load_part(
                    at.wrapping_add(v * V::LANES),
                    self.channels.saturating_sub(v * V::LANES),
                ),
                None => V::zero(),
            }
        }
    }

    /// Writes register `v` of a pixel, unless it does not exist.
    ///
    /// # Safety
    /// What exists is live memory that nobody else touches; see [`Vector`].
    #[inline(always)]
    pub(super) unsafe fn store<V: Vector<Elem = T>>(
        &self,
        row: usize,
        column: usize,
        v: usize,
        value: V,
    ) {
        // SAFETY: as for `load`.
        unsafe {
            match self.pixel(row, column) {
                Some(at) if self.channels >= 2 * V::LANES => value.store(at.add(v * V::LANES)),
                Some(at) => value.store_part(
                    at.wrapping_add(v * V::LANES),
                    self.channels.saturating_sub(v * V::LANES),
                ),
                None => {}
            }
        }
    }
}

/// A bilinear algorithm for the sliding products of a tile: `result = inverse(data ∘ kernel)`.
///
/// For all three steps a plane is two registers wide, planes are `plane` elements apart, and the patch's memory is live
/// (written by nobody else where it is the result).
pub(super) trait Transform<T: Real>: Sync {
    /// Numbers that a tile becomes.
    fn planes(&self) -> usize;
    /// Rows and columns of the tile's data.
    fn size(&self) -> [usize; 2];
    /// Rows and columns by which tiles follow each other: the results of a sliding pass, the kernel of a weight gradient.
    fn step(&self) -> [usize; 2];
    /// Transforms the image.
    unsafe fn data(&self, isa: Isa, from: &Patch<T>, to: *mut T, plane: usize);
    /// Transforms what slides over the image.
    unsafe fn kernel(&self, isa: Isa, from: &Patch<T>, to: *mut T, plane: usize);
    /// Transforms products back and adds the bias unless it is null; it has as many numbers as the patch has channels.
    unsafe fn inverse(&self, isa: Isa, from: *const T, plane: usize, bias: *const T, to: &Patch<T>);
}

/// A loop that is compiled for every instruction set.
pub(super) trait Compiled<T> {
    /// Must be `#[inline(always)]`, as all that it calls with `V`.
    ///
    /// # Safety
    /// As the loop says; the vector's instruction set is available.
    unsafe fn run<V: Vector<Elem = T>>(self);
}

/// Runs a loop with the vectors of an instruction set.
///
/// # Safety
/// The instruction set is available, and what the loop asks for.
pub(super) unsafe fn run_compiled<T: Real>(isa: Isa, body: impl Compiled<T>) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2<T: Real>(body: impl Compiled<T>) {
        // SAFETY: the caller's contract.
        unsafe { body.run::<T::Avx2>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<T: Real>(body: impl Compiled<T>) {
        // SAFETY: the caller's contract.
        unsafe { body.run::<T::Avx512>() }
    }
    // SAFETY: the caller's contract.
    unsafe {
        match isa {
            Isa::Portable => body.run::<T::Portable>(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(body),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(body),
        }
    }
}

/// The tiles of a batch of images.
pub(super) struct Tiles {
    grid: [usize; 2],
    step: [usize; 2],
    pub(super) count: usize,
}

impl Tiles {
    pub(super) fn new(images: usize, results: [usize; 2], step: [usize; 2]) -> Self {
        let grid = [0, 1].map(|i| results[i].div_ceil(step[i]));
        Self { grid, step, count: images * grid[0] * grid[1] }
    }

    /// The image of a tile, and its first row and column.
    pub(super) fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.grid;
        let (row, column) = (tile / columns % rows, tile % columns);
        (tile / columns / rows, [row * self.step[0], column * self.step[1]])
    }
}

/// Activations in channels-last order.
#[derive(Clone, Copy)]
pub(super) struct Images<T> {
    pub(super) start: Shared<T>,
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
}

impl<T: Copy> Images<T> {
    /// `size` pixels that begin at a row and column, with channels from `channel` on, at most `width`.
    pub(super) fn patch(
        &self,
        image: usize,
        begin: [isize; 2],
        size: [usize; 2],
        channel: usize,
        width: usize,
    ) -> Patch<T> {
        let row = self.size[1] * self.channels;
        let first = begin[0] * row as isize + begin[1] * self.channels as isize;
        let existing = |i: usize| {
            let inside = |at: isize| (at - begin[i]).clamp(0, size[i] as isize) as usize;
            inside(0)..inside(self.size[i] as isize)
        };
        Patch {
            at: self
                .start
                .ptr()
                .wrapping_add(image * self.size[0] * row + channel)
                .wrapping_offset(first),
            steps: [row as isize, self.channels as isize],
            rows: existing(0),
            columns: existing(1),
            channels: (self.channels - channel).min(width),
        }
    }
}

/// `C = A · B`, or `C += A · B`, for one panel of `B`.
struct Multiply<T> {
    order: Order,
    a: *const T,
    lda: usize,
    b: *const T,
    c: *mut T,
    rows: usize,
    k: usize,
    add: bool,
}

impl<T: Real> Multiply<T> {
    /// # Safety
    /// The instruction set is available, and the operands lie in live memory; nobody else touches `C`.
    unsafe fn run(self, isa: Isa) {
        let kernels = T::kernels(isa);
        let width = kernels.columns;
        let tiles = kernels.tiles(self.order, width);
        let count = self.rows.div_ceil(tiles.len());
        let (row_step, k_step) = match self.order {
            Order::RowMajor => (self.lda, 1),
            Order::ColumnMajor => (1, self.lda),
        };
        for first in (0..self.k).step_by(chunk_len::<T>()) {
            let runs = [Run { a: 0, b: 0, len: chunk_len::<T>().min(self.k - first) }];
            let mut row = 0;
            for i in 0..count {
                let height = self.rows / count + usize::from(i < self.rows % count);
                let tile = Tile {
                    a: self.a.wrapping_add(row * row_step + first * k_step),
                    lda: self.lda,
                    b: self.b.wrapping_add(first * width),
                    runs: &runs,
                    repeats: 1,
                    a_repeat: 0,
                    b_repeat: 0,
                    c: self.c.wrapping_add(row * width),
                    ldc: width,
                    columns: width,
                    start: std::ptr::null(),
                    start_step: 0,
                    add: self.add || first > 0,
                    stream: false,
                    ahead: 0,
                };
                // SAFETY: rows and k of the operands.
                unsafe { tiles[height - 1](&tile) };
                row += height;
            }
        }
    }
}

/// A distance of planes of so many elements that does not fall on one set of a cache.
fn spread<T>(len: usize) -> usize {
    let line = 64 / size_of::<T>();
    let len = len.next_multiple_of(line);
    if (len / line).is_multiple_of(2) { len + line } else { len }
}

/// Channels of the image, by vectors.
fn rows_apart<T: Real>(isa: Isa, channels: usize) -> usize {
    let len = channels.next_multiple_of(T::kernels(isa).columns);
    if (len * size_of::<T>()).is_multiple_of(2048) { len + 64 / size_of::<T>() } else { len }
}
