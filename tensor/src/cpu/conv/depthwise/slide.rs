//! The forward pass and the input gradient of a depthwise convolution: tiles of outputs slide over the sorted rows.

use super::{Band, Bands, SortedRow, repeated};
use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::lanes::{LaneLoops, SlideFn, SlidePairFn};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{List, Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

pub(in crate::cpu::conv) fn forward<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    slide(isa, g, &g.forward_axes(), repeated(g, x, &mut None), w, bias, y);
}

pub(in crate::cpu::conv) fn input_grad<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) {
    let axes = g.backward_axes();
    let multiplier = g.group_outputs();
    if multiplier == 1 {
        return slide(isa, g, &axes, dy, w, None, dx);
    }
    if multiplier == 0 {
        return dx.fill(T::ZERO);
    }
    let mut each = Scratch::new(dx.len() * multiplier);
    let each = each.slice();
    slide(isa, g, &axes, dy, w, None, each);
    for (sum, parts) in dx.iter_mut().zip(each.chunks_exact(multiplier)) {
        *sum = parts.iter().fold(T::ZERO, |a, &b| a + b);
    }
}

/// A row of source pixels and the kernel rows by which two neighboring output rows meet it.
pub(super) struct PairRow {
    pub(super) src: usize,
    pub(super) taps: [Option<usize>; 2],
}

/// The source rows (and kernel rows) that output rows `i` and `i + 1` meet, if most serve both.
fn pair_rows(rows: &Axis, i: usize, first_src: usize) -> Option<Vec<PairRow>> {
    let [above, below]: [Vec<(usize, usize)>; 2] =
        [0, 1].map(|more| rows.taps(i + more).map(|(tap, h)| (tap, h - first_src)).collect());
    let mut merged: Vec<PairRow> = vec![];
    let mut below = below.into_iter().peekable();
    // Both lists go through the source in one direction.
    let descending = above.first().map(|tap| tap.1) > above.last().map(|tap| tap.1);
    let before = |a: usize, b: usize| if descending { a > b } else { a < b };
    for (tap, src) in above {
        while let Some((tap, at)) = below.next_if(|&(_, at)| before(at, src)) {
            merged.push(PairRow { src: at, taps: [None, Some(tap)] });
        }
        let other = below.next_if(|&(_, at)| at == src).map(|other| other.0);
        merged.push(PairRow { src, taps: [Some(tap), other] });
    }
    merged.extend(below.map(|(tap, src)| PairRow { src, taps: [None, Some(tap)] }));
    let shared = merged.iter().filter(|row| row.taps.iter().all(Option::is_some)).count();
    (2 * shared > merged.len()).then_some(merged)
}

/// The tiles with the least work for a row of this many pixels: for one output row, and for two together.
struct Tiles<T: 'static> {
    one: (usize, SlideFn<T>),
    two: (usize, SlidePairFn<T>),
}

impl<T> Tiles<T> {
    fn new(loops: &LaneLoops<T>, axis: &Axis) -> Self {
        // The outputs that each tap meets, for each phase.
        let taps = |phase: usize| axis.phases[phase].iter().map(move |tap| (phase, tap.1));
        let met: Vec<Range<usize>> = (0..axis.out_step)
            .flat_map(taps)
            .map(|(phase, offset)| axis.inside(offset, axis.count(phase)))
            .filter(|met| !met.is_empty())
            .collect();
        // For each tap that a tile meets, its outputs and about one more, for the weight.
        let cost = |width: usize| {
            let tiles = met.iter().map(|met| met.end.div_ceil(width) - met.start / width);
            tiles.sum::<usize>() * (width + 1)
        };
        let one = *loops.slides.iter().min_by_key(|(width, _)| cost(*width)).expect("a tile");
        let two = *loops.slide_pairs.iter().min_by_key(|(width, _)| cost(*width)).expect("a tile");
        Self { one, two }
    }

    /// Outputs of `count`, rounded up to whole tiles of either kind.
    fn padded(&self, count: usize) -> usize {
        count.next_multiple_of(self.one.0).max(count.next_multiple_of(self.two.0))
    }
}

/// Weights by vectors of channels: `[blocks, rows, taps in the order of the neighbors, lanes]`.
fn packed_weights<T: Real>(g: &ConvGeometry, w: &[T], lanes: usize, order: &[usize]) -> List<T> {
    let blocks = g.o.div_ceil(lanes);
    let mut packed = List::filled(T::ZERO, blocks * g.kh * order.len() * lanes);
    for (i, vector) in packed.chunks_exact_mut(lanes).enumerate() {
        let (block, tap) = (i / (g.kh * order.len()), i % (g.kh * order.len()));
        let tap = tap / order.len() * g.kw + order[tap % order.len()];
        for (lane, x) in vector.iter_mut().enumerate().take(g.o - block * lanes) {
            *x = w[(block * lanes + lane) * g.taps() + tap];
        }
    }
    packed
}

/// `out[n, i, j, o] = bias[o] + Σ_taps src[n, i', j', o] · w[o, tap]` with `g.o` channels on both sides.
fn slide<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    [rows, columns]: &[Axis; 2],
    src: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    let loops = T::lane_loops(isa);
    let (channels, lanes) = (g.o, loops.lanes);
    let tiles = Tiles::new(loops, columns);
    let outputs = tiles.padded(columns.count(0));
    let sorted = SortedRow::new(columns, outputs);
    let order: Vec<usize> =
        sorted.neighbors.iter().flatten().flat_map(|n| n.taps.clone()).collect();
    let weights = packed_weights(g, w, lanes, &order);
    let mut starts = vec![T::ZERO; channels.next_multiple_of(lanes)];
    if let Some(bias) = bias {
        starts[..channels].copy_from_slice(bias);
    }
    let row_len = sorted.vectors() * lanes;
    let bands = Bands::new(g.n, rows, g.kh, channels, lanes, row_len * size_of::<T>());
    let groups = bands.groups();
    let out = Shared::new(out.as_mut_ptr());
    run_tasks(bands.count() * groups, g.macs(), |task| {
        let Band { image, out_rows, src_rows } = bands.get(task / groups);
        let taken = bands.channels(task % groups);
        let vectors = taken.len().div_ceil(lanes);
        let plane = src_rows.len() * row_len;
        let planes = sorted.planes::<T>(lanes, vectors * src_rows.len());
        for (i, h) in src_rows.clone().enumerate() {
            let from = (image * rows.src_len + h) * columns.src_len * channels + taken.start;
            let (from, to) =
                (src.as_ptr().wrapping_add(from), planes.ptr().wrapping_add(i * row_len));
            // SAFETY: row h of the source, and row i of the planes.
            unsafe { sorted.copy(loops, from, channels, taken.len(), to, plane) };
        }
        let result_len = outputs * lanes;
        let row_results = vectors * result_len;
        let results = Scratch::<T>::new(2 * row_results);
        let mut i = out_rows.start;
        while i < out_rows.end {
            let pair = match i + 1 < out_rows.end {
                true => pair_rows(rows, i, src_rows.start),
                false => None,
            };
            for phase in 0..columns.out_step {
                let count = columns.count(phase);
                let vector = |v: usize| {
                    let c = taken.start + v * lanes;
                    let planes = planes.ptr().wrapping_add(v * plane).cast_const();
                    let to = results.ptr().wrapping_add(v * result_len);
                    (planes, weights[c * g.taps()..].as_ptr(), starts[c..].as_ptr(), to)
                };
                // SAFETY: the rows of the planes are long enough for whole tiles, and so are the results.
                unsafe {
                    if let Some(pair) = &pair {
                        let runs = sorted.pair_runs(phase, pair);
                        let (tile, slide) = tiles.two;
                        for (v, j) in
                            (0..vectors).flat_map(|v| (0..count).step_by(tile).map(move |j| (v, j)))
                        {
                            let (planes, w, start, to) = vector(v);
                            let to = to.wrapping_add(j * lanes);
                            let to = [to, to.wrapping_add(row_results)];
                            let met = [j, (j + tile).min(count) - 1];
                            slide(&runs, met, planes.wrapping_add(j * lanes), w, start, to);
                        }
                    } else {
                        let met = rows.taps(i).map(|(r, h)| (r, h - src_rows.start));
                        let runs = sorted.runs(phase, met);
                        let (tile, slide) = tiles.one;
                        for (v, j) in
                            (0..vectors).flat_map(|v| (0..count).step_by(tile).map(move |j| (v, j)))
                        {
                            let (planes, w, start, to) = vector(v);
                            let to = to.wrapping_add(j * lanes);
                            let met = [j, (j + tile).min(count) - 1];
                            slide(&runs, met, planes.wrapping_add(j * lanes), w, start, to);
                        }
                    }
                }
                for row in 0..if pair.is_some() { 2 } else { 1 } {
                    let pixel = (image * rows.out_len + i + row) * columns.out_len + phase;
                    let to = out.ptr().wrapping_add(pixel * channels + taken.start);
                    let from = results.ptr().wrapping_add(row * row_results);
                    let step = columns.out_step * channels;
                    // SAFETY: the pixels of this phase, in channels of a row that the task owns.
                    unsafe { (loops.scatter)(to, step, taken.len(), from, result_len, count) };
                }
            }
            i += if pair.is_some() { 2 } else { 1 };
        }
    });
}
