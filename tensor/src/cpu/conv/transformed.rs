//! Convolutions of stride one by a transform: tiles of the image and kernels are transformed, multiplied, and the products
//! transformed back.
//!
//! A transform ([`Transform`]) turns a tile of pixels into a number for each of its *planes*, a kernel likewise, and the sums
//! over the channels become one matrix product for each plane: `[tiles, C] · [C, O]` for a pass that slides a kernel over an
//! image, `[C, tiles] · [tiles, O]` for the gradient of the weight. All steps work on vectors of channels.
//!
//! Tiles are taken in batches whose transformed copy stays in the cache, so that no transformed copy of the whole batch of
//! images is ever written; weights whose transformed copy is large are taken by groups of panels. Batches and groups depend on
//! the shapes only: the result does not depend on the number of threads.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::pack::{ChannelBlocks, WeightPacking};
use crate::cpu::microkernel::{Order, Real, Run, Tile};
use crate::cpu::product::chunk_len;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::{Isa, Vector};
use std::ops::Range;

/// Transformed tiles of a batch, at least: half of a 1 MiB L2.
const BATCH_BYTES: usize = 512 << 10;

/// Transformed tiles of a batch of a weight gradient, and of a batch that meets several groups of panels.
const LARGE_BATCH_BYTES: usize = 8 << 20;

/// Transformed weights of a group of panels, or sums of a weight gradient.
const GROUP_BYTES: usize = 16 << 20;

/// Transformed results of a task.
const RESULT_BYTES: usize = 384 << 10;

/// Input channels whose kernels a task transforms.
const PACKED_CHANNELS: usize = 16;

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
    /// The pixel, which must exist, or `None` if it does not.
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
struct Tiles {
    grid: [usize; 2],
    step: [usize; 2],
    count: usize,
}

impl Tiles {
    fn new(images: usize, results: [usize; 2], step: [usize; 2]) -> Self {
        let grid = [0, 1].map(|i| results[i].div_ceil(step[i]));
        Self { grid, step, count: images * grid[0] * grid[1] }
    }

    /// The image of a tile, and its first row and column.
    fn place(&self, tile: usize) -> (usize, [usize; 2]) {
        let [rows, columns] = self.grid;
        let (row, column) = (tile / columns % rows, tile % columns);
        (tile / columns / rows, [row * self.step[0], column * self.step[1]])
    }
}

/// Activations in channels-last order.
#[derive(Clone, Copy)]
struct Images<T> {
    start: Shared<T>,
    size: [usize; 2],
    channels: usize,
}

impl<T: Copy> Images<T> {
    /// `size` pixels that begin at a row and column, with channels from `channel` on, at most `width`.
    fn patch(
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

/// A pass that slides a kernel over images.
pub(super) struct Sliding<'a, T, X> {
    pub(super) isa: Isa,
    pub(super) transform: &'a X,
    pub(super) g: &'a ConvGeometry,
    pub(super) weight: &'a [T],
    /// The input gradient: the kernel turned around, over the output gradient.
    pub(super) transposed: bool,
}

impl<T: Real, X: Transform<T>> Sliding<'_, T, X> {
    pub(super) fn run(&self, src: &[T], bias: Option<&[T]>, out: &mut [T]) {
        let g = self.g;
        let width = T::kernels(self.isa).columns;
        let (input, output) = (([g.h, g.w], g.c), ([g.oh, g.ow], g.o));
        let (from, to) = if self.transposed { (output, input) } else { (input, output) };
        let src = Shared::new(src.as_ptr().cast_mut());
        let src = Images { start: src, size: from.0, channels: from.1 };
        let out = Images { start: Shared::new(out.as_mut_ptr()), size: to.0, channels: to.1 };
        let tiles = Tiles::new(g.n, to.0, self.transform.step());
        let (planes, panels) = (self.transform.planes(), to.1.div_ceil(width));
        let panel_len = planes * src.channels * width;
        let groups = panels.div_ceil((GROUP_BYTES / (panel_len * size_of::<T>())).max(1));
        let group = panels.div_ceil(groups);
        let lda = rows_apart::<T>(self.isa, src.channels);
        let bytes = match groups {
            1 => BATCH_BYTES.max(panels * panel_len * size_of::<T>() / 2),
            _ => LARGE_BATCH_BYTES,
        };
        let rows = T::kernels(self.isa).rows();
        let count = bytes.div_ceil(planes * lda * size_of::<T>()).next_multiple_of(2 * rows);
        let per_task = RESULT_BYTES / (planes * width * size_of::<T>()) / rows * rows;
        let pass = Pass {
            src,
            out,
            bias,
            tiles,
            panel_len,
            lda,
            per_task: per_task.clamp(rows, 4 * rows),
            whole: (groups == 1).then(|| self.kernels(0..panels, src.channels)),
            group,
            panels,
        };
        let batches = pass.tiles.count.div_ceil(count);
        run_tasks(batches, g.macs(), |batch| {
            self.batch(&pass, batch * count..((batch + 1) * count).min(pass.tiles.count));
        });
    }

    /// The transformed kernels of some panels, `[panels, planes, channels, width]`.
    fn kernels(&self, panels: Range<usize>, channels: usize) -> Scratch<T> {
        let g = self.g;
        let width = T::kernels(self.isa).columns;
        let blocks = ChannelBlocks::new(1, channels, PACKED_CHANNELS);
        let packing = WeightPacking {
            weight: self.weight,
            g,
            transposed: self.transposed,
            window: [0..g.kh, 0..g.kw],
            blocks,
            isa: self.isa,
            width,
        };
        let planes = self.transform.planes();
        let kernels = Scratch::<T>::new(panels.len() * planes * channels * width);
        let to = Shared::new(kernels.ptr());
        let column = (blocks.size * width) as isize;
        let sign = if self.transposed { -1 } else { 1 };
        let steps = [g.kw as isize * column, column].map(|step| sign * step);
        let first = if self.transposed { (g.taps() - 1) * blocks.size * width } else { 0 };
        let work = panels.len() * planes * channels * width;
        run_tasks(panels.len() * blocks.count, work, |task| {
            let (panel, block) = (task / blocks.count, task % blocks.count);
            let packed = Scratch::<T>::new(packing.block_rows() * width);
            // SAFETY: room for one block; every channel of every panel has its own place in all planes.
            unsafe {
                packing.blocks(panels.start + panel, block..block + 1, packed.ptr());
                for (i, channel) in blocks.range(block).enumerate() {
                    let from = Patch {
                        at: packed.ptr().add(first + i * width),
                        steps,
                        rows: 0..g.kh,
                        columns: 0..g.kw,
                        channels: width,
                    };
                    let to = to.ptr().add((panel * planes * channels + channel) * width);
                    self.transform.kernel(self.isa, &from, to, channels * width);
                }
            }
        });
        kernels
    }

    fn batch(&self, pass: &Pass<T>, tiles: Range<usize>) {
        let planes = self.transform.planes();
        let plane = spread::<T>(tiles.len() * pass.lda);
        let data = Scratch::<T>::new(planes * plane);
        let to = Shared::new(data.ptr());
        run_tasks(tiles.len(), planes * plane, |tile| {
            let (image, [row, column]) = pass.tiles.place(tiles.start + tile);
            let g = self.g;
            let shift = |i: usize, kernel: usize| match self.transposed {
                true => kernel as isize - 1 - g.padding[i] as isize,
                false => g.padding[i] as isize,
            };
            let begin = [row as isize - shift(0, g.kh), column as isize - shift(1, g.kw)];
            // SAFETY: the tile's row in all planes, which this task owns.
            unsafe {
                let to = to.ptr().add(tile * pass.lda);
                self.transform_data(&pass.src, image, begin, to, plane);
            }
        });
        for first in (0..pass.panels).step_by(pass.group) {
            let panels = first..(first + pass.group).min(pass.panels);
            let group;
            let kernels = match &pass.whole {
                Some(kernels) => kernels,
                None => {
                    group = self.kernels(panels.clone(), pass.src.channels);
                    &group
                }
            };
            let parts = tiles.len().div_ceil(pass.per_task);
            let work = tiles.len() * panels.len() * pass.panel_len;
            run_tasks(parts * panels.len(), work, |task| {
                let (part, panel) = (task / panels.len(), task % panels.len());
                let part = part * pass.per_task..((part + 1) * pass.per_task).min(tiles.len());
                // SAFETY: tasks differ in tiles or panels; what they read is complete.
                unsafe {
                    let a = data.ptr().add(part.start * pass.lda);
                    let b = kernels.ptr().add(panel * pass.panel_len);
                    let part = tiles.start + part.start..tiles.start + part.end;
                    self.results(pass, part, panels.start + panel, [a, b], plane);
                }
            });
        }
    }

    /// All channels of a tile.
    unsafe fn transform_data(
        &self,
        src: &Images<T>,
        image: usize,
        begin: [isize; 2],
        to: *mut T,
        plane: usize,
    ) {
        let width = T::kernels(self.isa).columns;
        for channel in (0..src.channels).step_by(width) {
            let from = src.patch(image, begin, self.transform.size(), channel, width);
            // SAFETY: the caller vouches for the tile's row in all planes.
            unsafe { self.transform.data(self.isa, &from, to.add(channel), plane) };
        }
    }

    /// Some tiles of a panel of the output from their transformed data `a` and kernels `b`.
    unsafe fn results(
        &self,
        pass: &Pass<T>,
        tiles: Range<usize>,
        panel: usize,
        [a, b]: [*const T; 2],
        a_plane: usize,
    ) {
        let width = T::kernels(self.isa).columns;
        let (planes, k) = (self.transform.planes(), pass.src.channels);
        let plane = spread::<T>(tiles.len() * width);
        let products = Scratch::<T>::new(planes * plane);
        for p in 0..planes {
            let product = Multiply {
                order: Order::RowMajor,
                a: a.wrapping_add(p * a_plane),
                lda: pass.lda,
                b: b.wrapping_add(p * k * width),
                c: products.ptr().wrapping_add(p * plane),
                rows: tiles.len(),
                k,
                add: false,
            };
            // SAFETY: the caller vouches for the operands; the products are this task's.
            unsafe { product.run(self.isa) };
        }
        let channel = panel * width;
        let bias = pass.bias.map_or(std::ptr::null(), |b| b[channel..].as_ptr());
        for (i, tile) in tiles.enumerate() {
            let (image, begin) = pass.tiles.place(tile);
            let begin = begin.map(|at| at as isize);
            let to = pass.out.patch(image, begin, self.transform.step(), channel, width);
            let from = products.ptr().wrapping_add(i * width);
            // SAFETY: the products are complete; nobody else writes these pixels and channels.
            unsafe { self.transform.inverse(self.isa, from, plane, bias, &to) };
        }
    }
}

/// What the tasks of a [`Sliding`] pass share.
struct Pass<'a, T> {
    src: Images<T>,
    out: Images<T>,
    bias: Option<&'a [T]>,
    tiles: Tiles,
    /// Transformed kernels of a panel.
    panel_len: usize,
    lda: usize,
    /// Tiles of a task.
    per_task: usize,
    /// The transformed kernels, if they are one group.
    whole: Option<Scratch<T>>,
    /// Panels of a group.
    group: usize,
    panels: usize,
}

/// The gradient of the weight, `Σ_tiles x-tile · dy-tile` with the output gradient as the kernel.
pub(super) fn weight_grad<T: Real>(
    isa: Isa,
    transform: &impl Transform<T>,
    g: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let width = T::kernels(isa).columns;
    let (planes, panels) = (transform.planes(), g.o.div_ceil(width));
    let sums_len = planes * g.c * width;
    let groups = panels.div_ceil((GROUP_BYTES / (sums_len * size_of::<T>())).max(1));
    let group = panels.div_ceil(groups);
    let x = Images { start: Shared::new(x.as_ptr().cast_mut()), size: [g.h, g.w], channels: g.c };
    let dy_start = Shared::new(dy.as_ptr().cast_mut());
    let dy = Images { start: dy_start, size: [g.oh, g.ow], channels: g.o };
    let tiles = Tiles::new(g.n, [g.oh, g.ow], transform.step());
    let lda = rows_apart::<T>(isa, g.c);
    let tile_bytes = planes * (lda + group * width) * size_of::<T>();
    let batch = (LARGE_BATCH_BYTES / tile_bytes).max(4 * T::kernels(isa).rows());
    let sums = Scratch::<T>::new(group * sums_len);
    for first in (0..panels).step_by(group) {
        let panels = first..(first + group).min(panels);
        let pass = Gradient { isa, transform, g, x, dy, tiles: &tiles, lda, panels, sums: &sums };
        for begin in (0..tiles.count).step_by(batch) {
            pass.batch(begin..(begin + batch).min(tiles.count));
        }
        pass.write(dw);
    }
}

/// The weight's gradient for some panels of output channels.
struct Gradient<'a, T, X> {
    isa: Isa,
    transform: &'a X,
    g: &'a ConvGeometry,
    x: Images<T>,
    dy: Images<T>,
    tiles: &'a Tiles,
    lda: usize,
    panels: Range<usize>,
    /// `[panels, planes, input channels, width]`.
    sums: &'a Scratch<T>,
}

/// Products of a task of a weight gradient.
const TASK_PLANES: usize = 6;

/// Input channels of a task that writes the weight's gradient.
const WRITTEN_CHANNELS: usize = 8;

impl<T: Real, X: Transform<T>> Gradient<'_, T, X> {
    fn width(&self) -> usize {
        T::kernels(self.isa).columns
    }

    /// Adds the tiles' products, or begins with those of the first batch.
    fn batch(&self, tiles: Range<usize>) {
        let (planes, width, count) = (self.transform.planes(), self.width(), tiles.len());
        let plane = spread::<T>(count * self.lda);
        let panel_len = planes * count * width;
        let data = Scratch::<T>::new(planes * plane);
        let kernels = Scratch::<T>::new(self.panels.len() * panel_len);
        let to = [&data, &kernels].map(|scratch| Shared::new(scratch.ptr()));
        run_tasks(count, planes * plane, |tile| {
            let (image, begin) = self.tiles.place(tiles.start + tile);
            let begin = begin.map(|at| at as isize);
            let shifted = [0, 1].map(|i| begin[i] - self.g.padding[i] as isize);
            for channel in (0..self.g.c).step_by(width) {
                let size = self.transform.size();
                let from = self.x.patch(image, shifted, size, channel, width);
                // SAFETY: the tile's row in all planes, which this task owns.
                unsafe {
                    let to = to[0].ptr().add(tile * self.lda + channel);
                    self.transform.data(self.isa, &from, to, plane);
                }
            }
            for (i, panel) in self.panels.clone().enumerate() {
                let size = self.transform.step();
                let from = self.dy.patch(image, begin, size, panel * width, width);
                // SAFETY: as above.
                unsafe {
                    let to = to[1].ptr().add(i * panel_len + tile * width);
                    self.transform.kernel(self.isa, &from, to, count * width);
                }
            }
        });
        let (parts, rows) = (planes.div_ceil(TASK_PLANES), self.g.c);
        let sums = Shared::new(self.sums.ptr());
        run_tasks(self.panels.len() * parts, self.panels.len() * panel_len * rows, |task| {
            let (panel, part) = (task / parts, task % parts);
            for p in part * TASK_PLANES..((part + 1) * TASK_PLANES).min(planes) {
                let product = Multiply {
                    order: Order::ColumnMajor,
                    a: to[0].ptr().wrapping_add(p * plane),
                    lda: self.lda,
                    b: to[1].ptr().wrapping_add(panel * panel_len + p * count * width),
                    c: sums.ptr().wrapping_add((panel * planes + p) * rows * width),
                    rows,
                    k: count,
                    add: tiles.start > 0,
                };
                // SAFETY: the operands are complete; each plane of each panel has its own sums.
                unsafe { product.run(self.isa) };
            }
        });
    }

    /// Transforms the sums to their places in `dw`, `[O, C, kh, kw]`.
    fn write(&self, dw: &mut [T]) {
        let (g, width, planes) = (self.g, self.width(), self.transform.planes());
        let (taps, parts) = (g.taps(), g.c.div_ceil(WRITTEN_CHANNELS));
        let dw = Shared::new(dw.as_mut_ptr());
        run_tasks(self.panels.len() * parts, self.panels.len() * planes * g.c * width, |task| {
            let (i, first) = (task / parts, task % parts * WRITTEN_CHANNELS);
            let channels = first..(first + WRITTEN_CHANNELS).min(g.c);
            let scratch = Scratch::<T>::new(channels.len() * taps * width);
            let outputs = (self.panels.start + i) * width..g.o;
            // SAFETY: the sums are complete; the scratch memory and this part of dw are the task's.
            unsafe {
                for (row, channel) in channels.clone().enumerate() {
                    let to = Patch {
                        at: scratch.ptr().add(row * taps * width),
                        steps: [(g.kw * width) as isize, width as isize],
                        rows: 0..g.kh,
                        columns: 0..g.kw,
                        channels: width,
                    };
                    let from = self.sums.ptr().add((i * planes * g.c + channel) * width);
                    let plane = g.c * width;
                    self.transform.inverse(self.isa, from, plane, std::ptr::null(), &to);
                }
                let rows = |count: usize, step: usize| (0..count).map(move |i| i * step).collect();
                let from_rows: Vec<usize> = rows(channels.len() * taps, width);
                let to_rows: Vec<usize> = rows(width.min(outputs.len()), g.c * taps);
                let to = dw.ptr().add((outputs.start * g.c + first) * taps);
                (T::loops(self.isa).transpose)(scratch.ptr(), &from_rows, to, &to_rows);
            }
        });
    }
}
