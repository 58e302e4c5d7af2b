//! The weight gradient of a depthwise convolution: rows of the input, shifted by each tap, times rows of the output gradient.

use super::{Band, Bands, SortedRow, repeated};
use crate::cpu::conv::ConvGeometry;
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

/// The output rows of a batch cut into sets: some images, or some rows of one image.
struct RowSets {
    images: usize,
    rows: usize,
    images_per_set: usize,
    sets_per_image: usize,
}

impl RowSets {
    /// About `count` sets.
    fn new(images: usize, rows: usize, count: usize) -> Self {
        let sets_per_image = count.div_ceil(images.max(1)).min(rows).max(1);
        let images_per_set = images.div_ceil(count).max(1);
        Self { images, rows, images_per_set, sets_per_image }
    }

    fn count(&self) -> usize {
        self.images.div_ceil(self.images_per_set) * self.sets_per_image
    }

    /// Images and output rows of a set.
    fn get(&self, set: usize) -> (Range<usize>, Range<usize>) {
        let (image, part) =
            (set / self.sets_per_image * self.images_per_set, set % self.sets_per_image);
        let row = |part: usize| part * self.rows / self.sets_per_image;
        let images = image..(image + self.images_per_set).min(self.images);
        (images, row(part)..row(part + 1))
    }
}

pub(in crate::cpu::conv) fn weight_grad<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    // Partial sums over fixed sets of output rows, added in order: the result depends neither on the number of threads nor on
    // a rim of zeros around the kernel, which changes the bands.
    const PARTS: usize = 16;
    let loops = T::lane_loops(isa);
    let (channels, lanes) = (g.o, loops.lanes);
    let [rows, columns] = &g.forward_axes();
    let mut room = None;
    let x = repeated(g, x, &mut room);
    let sorted = SortedRow::new(columns, columns.count(0));
    let order: Vec<usize> =
        sorted.neighbors.iter().flatten().flat_map(|n| n.taps.clone()).collect();
    let row_len = sorted.vectors() * lanes;
    let bands = Bands::new(g.n, rows, g.kh, channels, lanes, row_len * size_of::<T>());
    let groups = bands.groups();
    let sets = RowSets::new(g.n, g.oh, PARTS);
    let parts = sets.count();
    let vector_len = g.taps() * lanes;
    let part_len = channels.div_ceil(lanes) * vector_len;
    let sums = Scratch::<T>::new(parts * part_len);
    let start = Shared::new(sums.ptr());
    run_tasks(parts * groups, g.macs(), |task| {
        let (part, taken) = (task / groups, bands.channels(task % groups));
        let vectors = taken.len().div_ceil(lanes);
        let sums = start.ptr().wrapping_add(part * part_len + taken.start / lanes * vector_len);
        // SAFETY: the task's sums.
        (0..vectors * vector_len).for_each(|i| unsafe { *sums.add(i) = T::ZERO });
        let plane = bands.longest() * row_len;
        let planes = sorted.planes::<T>(lanes, vectors * bands.longest());
        let grad_len = g.ow * lanes;
        let grads = Scratch::<T>::new(vectors * grad_len);
        let (images, set_rows) = sets.get(part);
        let firsts = images.flat_map(|image| {
            set_rows.clone().step_by(bands.rows).map(move |first| (image, first))
        });
        for (image, first) in firsts {
            let Band { image, out_rows, src_rows } =
                bands.at(image, first..(first + bands.rows).min(set_rows.end));
            for (i, h) in src_rows.clone().enumerate() {
                let from =
                    x.as_ptr().wrapping_add((image * g.h + h) * g.w * channels + taken.start);
                let to = planes.ptr().wrapping_add(i * row_len);
                // SAFETY: row h of the source, and row i of the planes.
                unsafe { sorted.copy(loops, from, channels, taken.len(), to, plane) };
            }
            for i in out_rows {
                let from =
                    dy.as_ptr().wrapping_add((image * g.oh + i) * g.ow * channels + taken.start);
                // SAFETY: a row of dy, of which these channels are taken.
                unsafe { (loops.gather)(from, channels, taken.len(), grads.ptr(), grad_len, g.ow) };
                let runs = sorted.runs(0, rows.taps(i).map(|(r, h)| (r, h - src_rows.start)));
                for (v, run) in (0..vectors).flat_map(|v| runs.iter().map(move |run| (v, run))) {
                    let x = planes.ptr().wrapping_add(v * plane + run.x * lanes);
                    let dy = grads.ptr().wrapping_add(v * grad_len);
                    let sums = sums.wrapping_add(v * vector_len + run.w * lanes);
                    // SAFETY: the taps of a run are neighbors in the planes and in the sums.
                    unsafe { (loops.correlate)(x, run.pixels, dy, g.ow, sums, run.len) };
                }
            }
        }
    });
    for (o, dw) in dw.chunks_exact_mut(g.taps()).enumerate() {
        for i in 0..g.taps() {
            let at = o / lanes * vector_len + i * lanes + o % lanes;
            // SAFETY: the tasks wrote all sums.
            let sum = |part: usize| unsafe { *sums.ptr().add(part * part_len + at) };
            dw[i / g.kw * g.kw + order[i % g.kw]] =
                (0..parts).fold(T::ZERO, |total, part| total + sum(part));
        }
    }
}
