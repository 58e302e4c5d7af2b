//! The gradient of the weight.

use super::{
    GROUP_BYTES, Images, LARGE_BATCH_BYTES, Multiply, Patch, Tiles, Transform, rows_apart, spread,
};
use crate::cpu::conv::ConvGeometry;
use crate::cpu::microkernel::{Order, Real};
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

/// Transformed tiles of a batch of a weight gradient, which reads and writes all sums.
const GRADIENT_BATCH_BYTES: usize = 8 << 20;

/// The gradient of the weight, `Σ_tiles x-tile · dy-tile` with the output gradient as the kernel.
pub(in crate::cpu::conv) fn weight_grad<T: Real>(
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
    let bytes = if groups > 1 { LARGE_BATCH_BYTES } else { GRADIENT_BATCH_BYTES };
    let batch = (bytes / tile_bytes).max(4 * T::kernels(isa).rows());
    let sums = Scratch::<T>::new(group * sums_len);
    let all = Gradient { isa, transform, g, x, dy, tiles: &tiles, lda, panels: 0..0, sums: &sums };
    // A single batch is transformed once for all groups.
    let whole = (tiles.count <= batch).then(|| all.data(0..tiles.count));
    for first in (0..panels).step_by(group) {
        let panels = first..(first + group).min(panels);
        let pass = Gradient { panels, ..all };
        for begin in (0..tiles.count).step_by(batch) {
            let tiles = begin..(begin + batch).min(tiles.count);
            match &whole {
                Some(data) => pass.batch(data, tiles),
                None => pass.batch(&pass.data(tiles.clone()), tiles),
            }
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

    /// The transformed image, `[planes, tiles, channels]`.
    fn data(&self, tiles: Range<usize>) -> Scratch<T> {
        let (planes, width) = (self.transform.planes(), self.width());
        let plane = spread::<T>(tiles.len() * self.lda);
        let data = Scratch::<T>::new(planes * plane);
        let to = Shared::new(data.ptr());
        run_tasks(tiles.len(), planes * plane, |tile| {
            let (image, begin) = self.tiles.place(tiles.start + tile);
            let shifted = [0, 1].map(|i| begin[i] as isize - self.g.padding[i] as isize);
            for channel in (0..self.g.c).step_by(width) {
                let size = self.transform.size();
                let from = self.x.patch(image, shifted, size, channel, width);
                // SAFETY: the tile's row in all planes, which this task owns.
                unsafe {
                    let to = to.ptr().add(tile * self.lda + channel);
                    self.transform.data(self.isa, &from, to, plane);
                }
            }
        });
        data
    }

    /// Adds the tiles' products, or begins with those of the first batch.
    fn batch(&self, data: &Scratch<T>, tiles: Range<usize>) {
        let (planes, width, count) = (self.transform.planes(), self.width(), tiles.len());
        let plane = spread::<T>(count * self.lda);
        let panel_len = planes * count * width;
        let kernels = Scratch::<T>::new(self.panels.len() * panel_len);
        let to = [data, &kernels].map(|scratch| Shared::new(scratch.ptr()));
        run_tasks(count, self.panels.len() * panel_len, |tile| {
            let (image, begin) = self.tiles.place(tiles.start + tile);
            let begin = begin.map(|at| at as isize);
            for (i, panel) in self.panels.clone().enumerate() {
                let size = self.transform.step();
                let from = self.dy.patch(image, begin, size, panel * width, width);
                // SAFETY: the tile's row in all planes of the panel, which this task owns.
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
