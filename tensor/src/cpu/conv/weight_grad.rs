//! The gradient with respect to the weight: for every tap, (input, shifted by the tap)ᵀ times output gradient, summed over all
//! pixels of the batch.
//!
//! A task owns all taps of some input channels and of one panel of output channels. Its sums stay in the cache while it walks
//! over the pixels, and are then written to the weight's order. Where there would be too few tasks, the pixels are cut into
//! ranges (by the shapes, not by the threads) whose sums are added in order.
//!
//! The three channels of a picture would fill a fifth of a tile. There the numbers of a whole kernel row, which lie side by side
//! in a padded row of the input, take the place of the channels: a kernel of `kh` taps of `kw · C` channels.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::conv::pack::{self, ChannelBlocks, Sizes};
use crate::cpu::conv::sliding::{Parts, push_run};
use crate::cpu::gemm::even_chunk;
use crate::cpu::microkernel::{Order, Real, Run};
use crate::cpu::product::{Join, Panels, Part, Product, Strip, chunk_len};
use crate::cpu::scratch::{List, Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

/// Bytes of a task's sums: a quarter of a 1 MiB L2, beside the pixels of a chunk.
const SUMS_BYTES: usize = 256 << 10;

/// Input channels of a task, at most.
const PART_CHANNELS: usize = 128;

/// Tasks to aim at, as for other products.
const TASKS: usize = 16;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let grad = WeightGrad::new(isa, g, x, dy);
    let (tiles, splits) = (grad.tiles(), grad.splits);
    let partial = Scratch::<T>::new(if splits > 1 { tiles * splits * grad.sums_len() } else { 0 });
    let (partial, dw) = (Shared::new(partial.ptr()), Shared::new(dw.as_mut_ptr()));
    let place = |tile: usize, split: usize| {
        partial.ptr().wrapping_add((tile * splits + split) * grad.sums_len())
    };
    if splits == 1 {
        run_tasks(tiles, g.macs(), |tile| {
            let sums = Scratch::<T>::new(grad.sums_len());
            // SAFETY: the sums are this task's; tiles are different parts of dw.
            unsafe {
                grad.sum(tile, 0, sums.ptr());
                grad.write(tile, sums.ptr(), dw.ptr());
            }
        });
        return;
    }
    run_tasks(tiles * splits, g.macs(), |task| {
        let (tile, split) = (task / splits, task % splits);
        // SAFETY: each pair of tile and range has its own sums.
        unsafe { grad.sum(tile, split, place(tile, split)) };
    });
    run_tasks(tiles, tiles * splits * grad.sums_len(), |tile| {
        let sums = place(tile, 0);
        // SAFETY: all sums of this tile are complete, and nobody else uses them; tiles are different parts of dw.
        unsafe {
            for split in 1..splits {
                let other = place(tile, split);
                (0..grad.sums_len()).for_each(|i| *sums.add(i) += *other.add(i));
            }
            grad.write(tile, sums, dw.ptr());
        }
    });
}

/// The input with the distances that the runs need.
struct Input<T> {
    start: *const T,
    images_inside: bool,
    image: usize,
    row: usize,
    column: usize,
    /// Distance of blocks of channels, and of groups.
    block: usize,
    group: usize,
    /// Distance of consecutive pixels of a run.
    k_step: usize,
    _copy: Option<Scratch<T>>,
}

// SAFETY: shared access only yields the raw pointer; who uses it answers for races.
unsafe impl<T: Sync> Sync for Input<T> {}

impl<T: Real> Input<T> {
    fn new(
        isa: Isa,
        g: &ConvGeometry,
        x: &[T],
        blocks: ChannelBlocks,
        images_inside: bool,
    ) -> Self {
        if images_inside {
            let sizes = Sizes { images: g.n, rows: g.h, columns: g.w, channels: g.c };
            let copy = pack::blocked(isa, x, sizes, blocks, true);
            return Self {
                start: copy.copy.ptr(),
                images_inside: true,
                image: copy.image,
                row: copy.row,
                column: copy.column,
                block: copy.block,
                group: blocks.count * copy.block,
                k_step: blocks.size,
                _copy: Some(copy.copy),
            };
        }
        Self {
            start: x.as_ptr(),
            images_inside: false,
            image: g.h * g.w * g.c,
            row: g.w * g.c,
            column: g.c,
            block: blocks.size,
            group: blocks.channels,
            k_step: g.stride[1] * g.c,
            _copy: None,
        }
    }

    /// Padded rows, of which each output column reads the stretch of `kw · C` numbers that its kernel row covers.
    fn of_kernel_rows(g: &ConvGeometry, columns: &Axis, x: &[T], blocks: ChannelBlocks) -> Self {
        let sizes = Sizes { images: g.n, rows: g.h, columns: g.w, channels: g.c };
        let padded = pack::padded(x, sizes, columns.overhang());
        Self {
            start: padded.start,
            images_inside: false,
            image: padded.image,
            row: padded.row,
            column: 0,
            block: blocks.size,
            group: 0,
            k_step: g.stride[1] * g.c,
            _copy: padded.copy,
        }
    }
}

struct WeightGrad<'a, T: Real> {
    isa: Isa,
    g: &'a ConvGeometry,
    axes: [Axis; 2],
    /// The input: as it is, or (with small maps) in blocks of channels and with the images of the batch side by side, so that
    /// runs of pixels are long.
    input: Input<T>,
    /// The output gradient, `[groups, panels, pixels, width]`.
    pixels: Scratch<T>,
    /// Taps that meet the input anywhere.
    window: [Range<usize>; 2],
    /// Input channels in blocks of a tile's height; with `kernel_rows`, the numbers of a kernel row.
    blocks: ChannelBlocks,
    /// The columns of the kernel count as channels: few channels fill the tiles that way, at the price of products with padding.
    kernel_rows: bool,
    /// Blocks of a group, cut into the tasks' parts.
    parts: Parts,
    /// Panels of a group.
    panels: usize,
    width: usize,
    /// Ranges of chunks of pixels.
    splits: usize,
}

impl<'a, T: Real> WeightGrad<'a, T> {
    fn new(isa: Isa, g: &'a ConvGeometry, x: &[T], dy: &[T]) -> Self {
        let axes = g.forward_axes();
        let kernels = T::kernels(isa);
        let width = kernels.columns;
        let images_inside = g.small_maps();
        let kernel_rows = !images_inside
            && g.groups == 1
            && g.dilation[1] == 1
            && g.kw > 1
            && 2 * g.c <= kernels.rows();
        let channels = if kernel_rows { g.kw * g.c } else { g.group_inputs() };
        let blocks = ChannelBlocks::new(g.groups, channels, kernels.rows());
        let input = if kernel_rows {
            Input::of_kernel_rows(g, &axes[1], x, blocks)
        } else {
            Input::new(isa, g, x, blocks, images_inside)
        };
        let mut window = axes.each_ref().map(Axis::used);
        let panels = g.group_outputs().div_ceil(width);
        let parts = if kernel_rows {
            window[1] = 0..1;
            Parts::new(blocks.count, blocks.count)
        } else {
            let tap_bytes = (window[0].len() * window[1].len()).max(1) * width * size_of::<T>();
            let channels = (SUMS_BYTES / tap_bytes).clamp(1, PART_CHANNELS);
            Parts::new(blocks.count, (channels / blocks.size).max(1))
        };
        let sizes = Sizes { images: g.n, rows: g.oh, columns: g.ow, channels: g.o };
        let columns = ChannelBlocks {
            groups: g.groups,
            channels: g.group_outputs(),
            size: width,
            count: panels,
        };
        let pixels = pack::blocked(isa, dy, sizes, columns, images_inside).copy;
        let mut grad = Self {
            isa,
            g,
            axes,
            input,
            pixels,
            window,
            blocks,
            kernel_rows,
            parts,
            panels,
            width,
            splits: 1,
        };
        let chunks = grad.product(std::ptr::null_mut()).chunks();
        // As many as the tiles of a small kernel ask for: a larger kernel may have more tiles, but where its rim is zeros the
        // sums must be those of the small one.
        let tiles = g.groups * panels * g.group_inputs().div_ceil(PART_CHANNELS);
        grad.splits = TASKS.div_ceil(tiles.max(1)).min(chunks);
        grad
    }

    fn taps(&self) -> usize {
        self.window[0].len() * self.window[1].len()
    }

    fn tiles(&self) -> usize {
        self.g.groups * self.parts.count * self.panels
    }

    /// Channels of a part, at most.
    fn part_channels(&self) -> usize {
        self.parts.longest() * self.blocks.size
    }

    /// Elements of the sums of a task: `[taps, channels of the part, width]` and a row of zeros for the taps never met.
    fn sums_len(&self) -> usize {
        (self.taps() * self.part_channels() + 1) * self.width
    }

    /// Group, part of the input channels and panel of a tile.
    fn tile(&self, tile: usize) -> (usize, usize, usize) {
        let (group, tile) =
            (tile / (self.parts.count * self.panels), tile % (self.parts.count * self.panels));
        (group, tile / self.panels, tile % self.panels)
    }

    fn product(&self, sums: *mut T) -> Product<'_, T> {
        let pixels = self.g.n * self.g.oh * self.g.ow;
        Product {
            kernels: T::kernels(self.isa),
            order: Order::ColumnMajor,
            a: self.input.start,
            lda: self.input.k_step,
            b: Panels::Packed(self.pixels.ptr()),
            k: pixels,
            repeats: 1,
            a_repeat: 0,
            // Half a chunk: the pixels of a task take more of the cache than the rows of other products.
            chunk: even_chunk(pixels, chunk_len::<T>() / 2),
            panel_group: 1,
            columns: self.g.group_outputs(),
            c: sums,
            ldc: self.width,
            bias: None,
            accumulate: false,
            far: false,
            large: false,
            join: Join::Add,
            groups: self.g.groups,
            a_group: self.input.group,
            c_group: 0,
            strips: 0,
            block: 1,
            work: 0,
        }
    }

    /// Sums a tile over a range of pixels.
    ///
    /// # Safety
    /// `sums` has room for `sums_len` elements that nobody else touches.
    unsafe fn sum(&self, tile: usize, split: usize, sums: *mut T) {
        let (group, part, panel) = self.tile(tile);
        // The panel's columns begin at column 0 of the sums.
        let product = self.product(sums.wrapping_sub(panel * self.width));
        let chunks = product.chunks();
        let per_split = chunks.div_ceil(self.splits);
        let range = (split * per_split).min(chunks)..((split + 1) * per_split).min(chunks);
        let zero_from =
            if range.is_empty() { 0 } else { self.taps() * self.part_channels() * self.width };
        // SAFETY: inside the sums.
        unsafe { (zero_from..self.sums_len()).for_each(|i| *sums.add(i) = T::ZERO) };
        let pixels = range.start * product.chunk..(range.end * product.chunk).min(product.k);
        let (first, count) = self.parts.range(part);
        let what =
            Part { group, strips: 0..self.taps() * count, panels: panel..panel + 1, chunks: range };
        // SAFETY: the runs only name input pixels that exist; each strip owns the rows of one tap and block.
        unsafe {
            let plan = |strip: usize| {
                let (tap, block) = (strip / count, strip % count);
                Strip {
                    a: ((first + block) * self.input.block) as isize,
                    c: (tap * self.part_channels() + block * self.blocks.size) * self.width,
                    rows: self.blocks.range(first + block).len(),
                    list: tap,
                }
            };
            product.run_part(&what, &plan, &|tap, runs| self.list(tap, &pixels, runs));
        }
    }

    /// The runs of pixels at which a tap meets the input, among them all in the range `pixels`.
    fn list(&self, tap: usize, pixels: &Range<usize>, runs: &mut List<Run>) {
        let (g, [rows, columns]) = (self.g, &self.axes);
        let (_, dh) = rows.phases[0][self.window[0].start + tap / self.window[1].len()];
        let (_, dw) = columns.phases[0][self.window[1].start + tap % self.window[1].len()];
        let rows_inside = rows.inside(dh, g.oh);
        let columns_inside = if self.kernel_rows { 0..g.ow } else { columns.inside(dw, g.ow) };
        if columns_inside.is_empty() || pixels.is_empty() {
            return;
        }
        let h = |i: usize| (dh + (i * rows.src_step) as isize) as usize;
        let w = |j: usize| (dw + (j * columns.src_step) as isize) as usize;
        let within = |range: Range<usize>, unit: usize| {
            range.start.max(pixels.start / unit)..range.end.min(pixels.end.div_ceil(unit))
        };
        let input = &self.input;
        if input.images_inside {
            for i in within(rows_inside, g.ow * g.n) {
                for j in columns_inside.clone() {
                    let a = (h(i) * input.row + w(j) * input.column) as isize;
                    push_run(runs, Run { a, b: (i * g.ow + j) * g.n, len: g.n }, input.k_step);
                }
            }
        } else {
            let (begin, len) = (columns_inside.start, columns_inside.len());
            for n in within(0..g.n, g.oh * g.ow) {
                for i in rows_inside.clone() {
                    let column = if self.kernel_rows { 0 } else { w(begin) * input.column };
                    let a = n * input.image + h(i) * input.row + column;
                    let b = (n * g.oh + i) * g.ow + begin;
                    push_run(runs, Run { a: a as isize, b, len }, input.k_step);
                }
            }
        }
    }

    /// Writes a tile to its place in `dw`, `[O, C / groups, kh, kw]`.
    ///
    /// # Safety
    /// `sums` is complete, and nobody else writes the tile's part of `dw`.
    unsafe fn write(&self, tile: usize, sums: *const T, dw: *mut T) {
        let (group, part, panel) = self.tile(tile);
        let (inputs, outputs, taps) =
            (self.g.group_inputs(), self.g.group_outputs(), self.g.taps());
        let (first, count) = self.parts.range(part);
        let channels = if self.kernel_rows {
            0..inputs
        } else {
            self.blocks.range(first).start..self.blocks.range(first + count - 1).end
        };
        let longest = self.part_channels();
        let [window_rows, window_columns] = &self.window;
        let row = |channel: usize, tap: usize| {
            let (r, s) = (tap / self.g.kw, tap % self.g.kw);
            let row = if self.kernel_rows && window_rows.contains(&r) {
                (r - window_rows.start) * longest + s * inputs + channel
            } else if window_rows.contains(&r) && window_columns.contains(&s) {
                let tap = (r - window_rows.start) * window_columns.len() + s - window_columns.start;
                tap * longest + channel
            } else {
                self.taps() * longest
            };
            row * self.width
        };
        let from_rows: Vec<usize> =
            (0..channels.len()).flat_map(|c| (0..taps).map(move |tap| row(c, tap))).collect();
        let first_output = panel * self.width;
        let to_rows: Vec<usize> =
            (0..self.width.min(outputs - first_output)).map(|o| o * inputs * taps).collect();
        let to =
            dw.wrapping_add(((group * outputs + first_output) * inputs + channels.start) * taps);
        // SAFETY: rows of the sums; for each output channel of the panel, the taps of the part's channels.
        unsafe { (T::loops(self.isa).transpose)(sums, &from_rows, to, &to_rows) };
    }
}
