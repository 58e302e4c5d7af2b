//! Depthwise convolution: every channel is its own group, so there is nothing to multiply as matrices.
//!
//! A task takes a band of output rows of an image and some channels, so few that their source rows stay in the cache. It copies
//! those rows into one plane for each vector of channels, padded and sorted so that the taps of a kernel row lie side by side
//! whatever the stride, and slides over the planes ([`crate::cpu::lanes`]). Rows of taps on padding are skipped.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::lanes::{LaneLoops, PairRun, SlideFn, SlidePairFn, TapRun};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{List, Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

pub(super) fn forward<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    slide(isa, g, &g.forward_axes(), repeated(g, x, &mut None), w, bias, y);
}

pub(super) fn input_grad<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
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

/// The input with each channel repeated for each of its output channels.
fn repeated<'a, T: Real>(
    g: &ConvGeometry,
    x: &'a [T],
    room: &'a mut Option<Scratch<T>>,
) -> &'a [T] {
    let multiplier = g.group_outputs();
    if multiplier == 1 {
        return x;
    }
    let out = room.insert(Scratch::new(x.len() * multiplier)).slice();
    for (out, &x) in out.chunks_exact_mut(multiplier.max(1)).zip(x) {
        out.fill(x);
    }
    out
}

/// Taps that lie side by side in a sorted row: the kernel's columns, in order, and where the first one is.
struct Neighbors {
    /// Source phase of the taps.
    phase: usize,
    /// First vector in that phase's part of the row, for output 0.
    at: usize,
    taps: Vec<usize>,
}

/// A row of source pixels as it is copied: the pixels of each phase of the source step side by side, with zeros around.
///
/// Source pixel `phase + i · step` is vector `phase · len + left + i`.
struct SortedRow {
    step: usize,
    left: usize,
    len: usize,
    src_len: usize,
    /// For each output phase.
    neighbors: Vec<Vec<Neighbors>>,
}

impl SortedRow {
    /// A row is long enough for `outputs` outputs, the axis's own rounded up to whole tiles.
    fn new(axis: &Axis, outputs: usize) -> Self {
        let step = axis.src_step as isize;
        let offsets = || axis.phases.iter().flatten().map(|tap| tap.1.div_euclid(step));
        let left = (-offsets().min().unwrap_or(0)).max(0);
        let last = offsets().max().unwrap_or(0) + outputs as isize;
        let pixels = axis.src_len.div_ceil(axis.src_step) as isize;
        let len = (left + last.max(pixels)) as usize;
        let neighbors = axis.phases.iter().map(|taps| {
            // (phase, place, tap) of every tap, in the order of places.
            let mut places: Vec<_> = taps
                .iter()
                .map(|&(tap, offset)| (offset.rem_euclid(step), offset.div_euclid(step), tap))
                .collect();
            places.sort_unstable();
            let mut all: Vec<Neighbors> = vec![];
            for (phase, place, tap) in places {
                let (phase, at) = (phase as usize, (place + left) as usize);
                match all.last_mut() {
                    Some(last) if last.phase == phase && last.at + last.taps.len() == at => {
                        last.taps.push(tap);
                    }
                    _ => all.push(Neighbors { phase, at, taps: vec![tap] }),
                }
            }
            all
        });
        Self {
            step: axis.src_step,
            left: left as usize,
            len,
            src_len: axis.src_len,
            neighbors: neighbors.collect(),
        }
    }

    /// The runs of an output phase for kernel rows and the rows of the plane that they meet.
    fn runs(&self, phase: usize, rows: impl Iterator<Item = (usize, usize)>) -> Vec<TapRun> {
        let taps =
            |neighbors: &[Neighbors]| neighbors.iter().map(|run| run.taps.len()).sum::<usize>();
        let before: usize = self.neighbors[..phase].iter().map(|n| taps(n)).sum();
        let row_weights: usize = self.neighbors.iter().map(|n| taps(n)).sum();
        let mut runs = vec![];
        for (r, row) in rows {
            let mut w = r * row_weights + before;
            for run in &self.neighbors[phase] {
                let len = run.taps.len();
                runs.push(TapRun {
                    x: row * self.vectors() + run.phase * self.len + run.at,
                    w,
                    len,
                });
                w += len;
            }
        }
        runs
    }

    /// The runs of an output phase for two output rows, in the order in which either row alone meets them.
    fn pair_runs(&self, phase: usize, rows: &[PairRow]) -> Vec<PairRun> {
        let taps =
            |neighbors: &[Neighbors]| neighbors.iter().map(|run| run.taps.len()).sum::<usize>();
        let before: usize = self.neighbors[..phase].iter().map(|n| taps(n)).sum();
        let row_weights: usize = self.neighbors.iter().map(|n| taps(n)).sum();
        let mut runs = vec![];
        for row in rows {
            let mut w = row.taps.map(|tap| tap.map(|r| r * row_weights + before));
            for run in &self.neighbors[phase] {
                let len = run.taps.len();
                let x = row.src * self.vectors() + run.phase * self.len + run.at;
                runs.push(PairRun { x, w, len });
                w = w.map(|w| w.map(|w| w + len));
            }
        }
        runs
    }

    /// Vectors of a row.
    fn vectors(&self) -> usize {
        self.step * self.len
    }

    /// Room for so many rows, with zeros where no pixel will be copied.
    fn planes<T: Real>(&self, lanes: usize, rows: usize) -> Scratch<T> {
        let planes = Scratch::<T>::new(rows * self.vectors() * lanes);
        for (row, phase) in (0..rows).flat_map(|row| (0..self.step).map(move |phase| (row, phase)))
        {
            let start = (row * self.step + phase) * self.len;
            let pixels = self.src_len.saturating_sub(phase).div_ceil(self.step);
            for (from, to) in [(0, self.left), (self.left + pixels, self.len)] {
                // SAFETY: vectors of this row; all bits zero are the number zero.
                unsafe {
                    planes.ptr().add((start + from) * lanes).write_bytes(0, (to - from) * lanes);
                }
            }
        }
        planes
    }

    /// Copies a row of pixels `step` apart, of which `channels` are taken, to its place in the planes; the zeros around are
    /// there already.
    ///
    /// # Safety
    /// `from` is a row of the source, `to` has room for a sorted row in each plane.
    unsafe fn copy<T: Real>(
        &self,
        loops: &LaneLoops<T>,
        from: *const T,
        step: usize,
        channels: usize,
        to: *mut T,
        plane: usize,
    ) {
        for phase in 0..self.step {
            let to = to.wrapping_add((phase * self.len + self.left) * loops.lanes);
            let from = from.wrapping_add(phase * step);
            let pixels = self.src_len.saturating_sub(phase).div_ceil(self.step);
            // SAFETY: these pixels of the row exist, and their places in the sorted row.
            unsafe { (loops.gather)(from, self.step * step, channels, to, plane, pixels) };
        }
    }
}

/// A row of source pixels and the kernel rows by which two neighboring output rows meet it.
struct PairRow {
    src: usize,
    taps: [Option<usize>; 2],
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
    fn new(loops: &LaneLoops<T>, count: usize) -> Self {
        // A tile costs its outputs and about one more, for the weight.
        let cost = |width: usize| count.div_ceil(width) * (width + 1);
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

/// What the tasks do: bands of output rows of all images, and groups of vectors of channels.
struct Bands<'a> {
    images: usize,
    axis: &'a Axis,
    /// Output rows of a band.
    rows: usize,
    channels: usize,
    /// Channels of a group, a multiple of the lanes but for the last.
    group: usize,
}

/// A part of the work, see [`Bands`].
struct Band {
    image: usize,
    out_rows: Range<usize>,
    src_rows: Range<usize>,
}

impl<'a> Bands<'a> {
    /// Bands and groups whose source rows, of `row_bytes` for each vector of channels, fill some 3/8 of a 1 MiB L2 cache.
    fn new(
        images: usize,
        axis: &'a Axis,
        kernel: usize,
        channels: usize,
        lanes: usize,
        row_bytes: usize,
    ) -> Self {
        const BYTES: usize = 384 << 10;
        let vectors = channels.div_ceil(lanes);
        // At least some eight output rows beside the halo, if need be for fewer channels.
        let groups = vectors.div_ceil((BYTES / ((kernel + 8) * row_bytes)).max(1));
        let group = vectors.div_ceil(groups);
        let src_rows = (BYTES / (group * row_bytes)).saturating_sub(kernel);
        let rows = (src_rows * axis.out_step / axis.src_step).clamp(4, axis.out_len.max(4));
        let count = axis.out_len.div_ceil(rows).max(1);
        Self {
            images,
            axis,
            rows: axis.out_len.div_ceil(count).max(1),
            channels,
            group: group * lanes,
        }
    }

    fn groups(&self) -> usize {
        self.channels.div_ceil(self.group)
    }

    /// The channels of a group.
    fn channels(&self, group: usize) -> Range<usize> {
        group * self.group..((group + 1) * self.group).min(self.channels)
    }

    fn per_image(&self) -> usize {
        self.axis.out_len.div_ceil(self.rows)
    }

    fn count(&self) -> usize {
        self.images * self.per_image()
    }

    fn get(&self, band: usize) -> Band {
        let first = band % self.per_image() * self.rows;
        let out_rows = first..(first + self.rows).min(self.axis.out_len);
        self.at(band / self.per_image(), out_rows)
    }

    /// A band of chosen rows, not more than [`rows`](Self::rows).
    fn at(&self, image: usize, out_rows: Range<usize>) -> Band {
        let mut met = out_rows.clone().flat_map(|i| self.axis.taps(i).map(|tap| tap.1));
        let start = met.next().unwrap_or(0);
        let src = met.fold(start..start, |range, h| range.start.min(h)..range.end.max(h));
        let src_rows = src.start..(src.end + 1).min(self.axis.src_len);
        Band { image, out_rows, src_rows }
    }

    /// Source rows of the largest band.
    fn longest(&self) -> usize {
        let met = |first: usize| {
            let rows = first..(first + self.rows).min(self.axis.out_len);
            self.at(0, rows).src_rows.len()
        };
        (0..self.axis.out_len).map(met).max().unwrap_or(0)
    }
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
    let tiles = Tiles::new(loops, columns.count(0));
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
                            slide(&runs, planes.wrapping_add(j * lanes), w, start, to);
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
                            slide(&runs, planes.wrapping_add(j * lanes), w, start, to);
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

pub(super) fn weight_grad<T: Real>(isa: Isa, g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
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
                    unsafe { (loops.correlate)(x, dy, g.ow, sums, run.len) };
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
