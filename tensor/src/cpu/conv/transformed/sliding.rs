//! Passes that slide a kernel over images: the output and the input gradient.

use super::{
    GROUP_BYTES, Images, LARGE_BATCH_BYTES, Multiply, Patch, Tiles, Transform, rows_apart, spread,
};
use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::pack::{ChannelBlocks, WeightPacking};
use crate::cpu::microkernel::{Order, Real};
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

/// Transformed tiles of a batch, at least: half of a 1 MiB L2.
const BATCH_BYTES: usize = 512 << 10;

/// Transformed results of a task.
const RESULT_BYTES: usize = 384 << 10;

/// Input channels whose kernels a task transforms.
const PACKED_CHANNELS: usize = 16;

/// A pass that slides a kernel over images.
pub(in crate::cpu::conv) struct Sliding<'a, T, X> {
    pub(in crate::cpu::conv) isa: Isa,
    pub(in crate::cpu::conv) transform: &'a X,
    pub(in crate::cpu::conv) g: &'a ConvGeometry,
    pub(in crate::cpu::conv) weight: &'a [T],
    /// The input gradient: the kernel turned around, over the output gradient.
    pub(in crate::cpu::conv) transposed: bool,
}

impl<T: Real, X: Transform<T>> Sliding<'_, T, X> {
    pub(in crate::cpu::conv) fn run(&self, src: &[T], bias: Option<&[T]>, out: &mut [T]) {
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
