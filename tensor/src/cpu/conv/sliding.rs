//! The product shared by the forward pass and the input gradient: every output pixel gathers the taps it meets.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::conv::pack::{self, ChannelBlocks, Sizes, WeightPacking};
use crate::cpu::gemm::even_chunk;
use crate::cpu::microkernel::{Order, Real, Run};
use crate::cpu::product::{BLOCK_ROWS, Join, Panels, Product, Strip, chunk_len, is_large};
use crate::cpu::scratch::List;
use crate::cpu::simd::Isa;
use std::ops::Range;

/// `out[n, i, j, ·] = bias + Σ_taps src[n, i', j', ·] · weights[tap]` over two [`Axis`]es.
pub(super) struct Sliding<'a, T> {
    pub(super) isa: Isa,
    pub(super) g: &'a ConvGeometry,
    pub(super) axes: [Axis; 2],
    pub(super) weight: &'a [T],
    /// The weight's output channels are the source (input gradient) instead of the result (forward).
    pub(super) transposed: bool,
}

/// What the rows of a tile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// The images of a batch at one output pixel: no tap on padding is ever multiplied, in either direction.
    Images,
    /// The pixels of one output row (and phase) of one image: rows of taps on padding are skipped, columns are not.
    Pixels,
}

/// With more bytes of weights than this, and few enough rows, tasks pack their own panels. Half of what usually is the L3 cache
/// of a few cores would do as well; below it packed panels come back from the cache.
const LOCAL_BYTES: usize = 4 << 20;

/// Rows of a product with local panels, at most: a 16-channel slice of them is 256 KiB.
const LOCAL_ROWS: usize = 4096;

/// Rows of a task with local panels, at least (if there are as many): packing costs as much as some 30 rows.
const LOCAL_BLOCK_ROWS: usize = 1024;

impl<T: Real> Sliding<'_, T> {
    /// Channels of the source and of the output, all groups together.
    fn channels(&self) -> [usize; 2] {
        if self.transposed { [self.g.o, self.g.c] } else { [self.g.c, self.g.o] }
    }

    pub(super) fn run(&self, src: &[T], bias: Option<&[T]>, out: &mut [T]) {
        match self.rows(T::kernels(self.isa).rows()) {
            Rows::Images => self.by_images(src, bias, out),
            Rows::Pixels => self.by_pixels(src, bias, out),
        }
    }

    /// Chooses by the number of rows and the height of the tiles.
    ///
    /// The kernel's size has no say: the two kinds add products in different orders, and a kernel must give the same bits as
    /// the one without its rim of zeros.
    fn rows(&self, tallest: usize) -> Rows {
        // A step of k in a tile of r rows costs about r + 2: two loads and the loop beside the rows' multiplications.
        let cost = |rows: usize| {
            let height = rows.div_ceil(rows.div_ceil(tallest).max(1)) as f64;
            (height + 2.0) / height
        };
        let columns = &self.axes[1];
        // About the pixels of an output row; its true length may depend on the kernel.
        let pixels = columns.src_len.div_ceil(columns.src_step).max(1);
        // About what a 5x5 kernel multiplies on padding.
        let padding = 1.0 / pixels as f64;
        let by_pixels = cost(pixels) * (1.0 + padding);
        // Sorting the batch by pixels moves each source number twice, against a few taps for each output channel.
        let outputs = (self.channels()[1] / self.g.groups).max(1) as f64;
        let sorting = (0.01 + 0.5 / outputs) * (columns.src_step * columns.src_step) as f64;
        let by_images = cost(self.g.n) * (1.0 + sorting);
        if by_images < by_pixels { Rows::Images } else { Rows::Pixels }
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            images: self.g.n,
            rows: self.axes[0].src_len,
            columns: self.axes[1].src_len,
            channels: self.channels()[0],
        }
    }

    fn packing(&self, blocks: ChannelBlocks) -> WeightPacking<'_, T> {
        WeightPacking {
            weight: self.weight,
            g: self.g,
            transposed: self.transposed,
            window: self.axes.each_ref().map(Axis::used),
            blocks,
            isa: self.isa,
            width: T::kernels(self.isa).columns,
        }
    }

    fn by_images(&self, src: &[T], bias: Option<&[T]>, out: &mut [T]) {
        let [rows, columns] = &self.axes;
        let [src_channels, out_channels] = self.channels();
        let (images, groups) = (self.g.n, self.g.groups);
        // One cache line of `f32`: the rows of a tile are neighboring lines.
        let blocks = ChannelBlocks::new(groups, src_channels / groups, 16);
        let packing = self.packing(blocks);
        let staged = pack::blocked(self.isa, src, self.sizes(), blocks, true);
        let k = packing.block_rows().max(1);
        let parts = Parts::new(images, BLOCK_ROWS);
        let positions = rows.out_len * columns.out_len;
        let out_image = positions * out_channels;

        let weights = size_of_val(self.weight) * k / (self.g.taps() * blocks.size).max(1);
        let local =
            weights > LOCAL_BYTES && positions * images <= LOCAL_ROWS && k <= 2 * chunk_len::<T>();
        // Whole blocks, about a chunk of them; of a very large kernel a part of one.
        let chunk = match chunk_len::<T>() {
            limit if k <= 2 * limit => (limit / k).max(1) * k,
            limit => even_chunk(k, limit),
        };
        let repeated = chunk >= k;
        let packed;
        let pack_blocks =
            |panels: Range<usize>, rows: Range<usize>, to: *mut T, distance: usize| {
                for (i, panel) in panels.enumerate() {
                    let to = to.wrapping_add(i * distance);
                    // SAFETY: the product asks for at most a chunk, which is made of whole blocks, and offers room for one.
                    unsafe { packing.blocks(panel, rows.start / k..rows.end / k, to) }
                }
            };
        let b = if local {
            Panels::Local(&pack_blocks)
        } else {
            packed = packing.all();
            Panels::Packed(packed.ptr())
        };
        let block_rows = if local { LOCAL_BLOCK_ROWS } else { BLOCK_ROWS };
        let product = Product {
            a: staged.copy.ptr(),
            lda: blocks.size,
            b,
            k: if repeated { k } else { blocks.count * k },
            repeats: if repeated { blocks.count } else { 1 },
            a_repeat: staged.block,
            chunk,
            ldc: out_image,
            a_group: blocks.count * staged.block,
            strips: positions * parts.count,
            block: (block_rows / parts.longest()).max(1),
            ..self.product(bias, out)
        };
        let [row_window, column_window] = &packing.window;
        // SAFETY: `taps` only names source pixels that exist; each strip owns some images of one output pixel.
        unsafe {
            let plan = |strip: usize| {
                let (position, part) = (strip / parts.count, strip % parts.count);
                let (first, count) = parts.range(part);
                let a = (first * blocks.size) as isize;
                let c = position * out_channels + first * out_image;
                Strip { a, c, rows: count, list: position }
            };
            product.run(plan, |position, runs| {
                for block in 0..if repeated { 1 } else { blocks.count } {
                    for (r, h) in rows.taps(position / columns.out_len) {
                        for (s, w) in columns.taps(position % columns.out_len) {
                            let tap = (r - row_window.start) * column_window.len() + s
                                - column_window.start;
                            let a = (block * staged.block + h * staged.row + w * staged.column)
                                as isize;
                            runs.push(Run {
                                a,
                                b: block * k + tap * blocks.size,
                                len: blocks.size,
                            });
                        }
                    }
                }
            });
        }
    }

    fn by_pixels(&self, src: &[T], bias: Option<&[T]>, out: &mut [T]) {
        let [rows, columns] = &self.axes;
        let [src_channels, out_channels] = self.channels();
        let staged = pack::padded(src, self.sizes(), columns.overhang());
        let len = src_channels / self.g.groups;
        let packing = self.packing(ChannelBlocks::whole(self.g.groups, len));
        let panels = packing.all();
        let k = packing.block_rows().max(1);
        let phases = columns.out_step;
        let parts = Parts::new(columns.count(0), BLOCK_ROWS);
        let limit = chunk_len::<T>();
        let product = Product {
            a: staged.start,
            lda: columns.src_step * staged.pixel,
            b: Panels::Packed(panels.ptr()),
            k,
            // Whole taps, or equal parts of one.
            chunk: if len <= limit {
                (limit / len.max(1) * len).max(1)
            } else {
                even_chunk(len, limit)
            },
            ldc: columns.out_step * out_channels,
            a_group: len,
            strips: self.g.n * rows.out_len * phases * parts.count,
            block: (BLOCK_ROWS / parts.longest()).max(1),
            ..self.product(bias, out)
        };
        let [row_window, column_window] = &packing.window;
        // SAFETY: rows of taps exist by `Axis::taps`, columns reach at most `overhang` out of the source, which is padded by
        // as much; each strip owns some pixels of one phase of one output row.
        unsafe {
            let place = |strip: usize| {
                let (strip, part) = (strip / parts.count, strip % parts.count);
                let (strip, phase) = (strip / phases, strip % phases);
                let (first, count) = parts.range(part);
                let count = count.min(columns.count(phase).saturating_sub(first));
                (strip / rows.out_len, strip % rows.out_len, phase, first, count)
            };
            let plan = |strip: usize| {
                let (image, row, phase, first, count) = place(strip);
                let pixel = (image * rows.out_len + row) * columns.out_len;
                let c = (pixel + phase + first * columns.out_step) * out_channels;
                Strip { a: 0, c, rows: count, list: strip }
            };
            product.run(plan, |strip, runs| {
                let (image, row, phase, first, count) = place(strip);
                for (r, h) in rows.taps(row) {
                    for &(s, offset) in &columns.phases[phase] {
                        let offset = offset + (first * columns.src_step) as isize;
                        if columns.inside(offset, count).is_empty() {
                            continue;
                        }
                        let tap =
                            (r - row_window.start) * column_window.len() + s - column_window.start;
                        let at = (offset + staged.left as isize) * staged.pixel as isize;
                        let a = at + (image * staged.image + h * staged.row) as isize;
                        push_run(runs, Run { a, b: tap * len, len }, 1);
                    }
                }
            });
        }
    }

    /// What both kinds of rows have in common.
    fn product<'b>(&self, bias: Option<&'b [T]>, out: &mut [T]) -> Product<'b, T> {
        let out_channels = self.channels()[1];
        Product {
            kernels: T::kernels(self.isa),
            order: Order::RowMajor,
            a: std::ptr::null(),
            lda: 0,
            b: Panels::Packed(std::ptr::null()),
            k: 1,
            repeats: 1,
            a_repeat: 0,
            chunk: 1,
            panel_group: 1,
            columns: out_channels / self.g.groups,
            c: out.as_mut_ptr(),
            ldc: 0,
            bias,
            accumulate: false,
            far: false,
            large: is_large::<T>(out.len()),
            join: Join::Continue,
            groups: self.g.groups,
            a_group: 0,
            c_group: out_channels / self.g.groups,
            strips: 0,
            block: 1,
            work: self.g.macs(),
        }
    }
}

/// Appends a run, or prolongs the last one where it ends: the taps of a kernel row are often one stretch of memory.
pub(super) fn push_run(runs: &mut List<Run>, run: Run, k_step: usize) {
    if let Some(last) = runs.last_mut()
        && last.a + (last.len * k_step) as isize == run.a
        && last.b + last.len == run.b
    {
        last.len += run.len;
        return;
    }
    runs.push(run);
}

/// A length cut into nearly equal parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    total: usize,
    pub(super) count: usize,
}

impl Parts {
    /// As few parts as possible of at most `limit`.
    pub(super) fn new(total: usize, limit: usize) -> Self {
        Self { total, count: total.div_ceil(limit).max(1) }
    }

    pub(super) fn longest(&self) -> usize {
        self.total.div_ceil(self.count).max(1)
    }

    /// Start and length of a part.
    pub(super) fn range(&self, part: usize) -> (usize, usize) {
        let first = (part * self.longest()).min(self.total);
        (first, self.longest().min(self.total - first))
    }
}
