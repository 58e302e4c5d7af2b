//! Depthwise convolution: every channel is its own group, so there is nothing to multiply as matrices.
//!
//! A task takes a band of output rows of an image and some channels, so few that their source rows stay in the cache. It copies
//! those rows into one plane for each vector of channels, padded and sorted so that the taps of a kernel row lie side by side
//! whatever the stride, and slides over the planes ([`crate::cpu::lanes`]). Rows of taps on padding are
//! skipped, and in each tile the columns of taps that only meet padding there.

mod slide;
mod weight_grad;

pub(super) use slide::{forward, input_grad};
pub(super) use weight_grad::weight_grad;

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::lanes::{LaneLoops, PairRun, Pixels, TapRun};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::Scratch;
use slide::PairRow;
use std::ops::Range;

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
                    pixels: self.pixels(run),
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
                runs.push(PairRun { x, w, len, pixels: self.pixels(run) });
                w = w.map(|w| w.map(|w| w + len));
            }
        }
        runs
    }

    /// Where the pixels are, counted from the place of the first tap.
    fn pixels(&self, run: &Neighbors) -> Pixels {
        let begin = self.left as isize - run.at as isize;
        let pixels = self.src_len.saturating_sub(run.phase).div_ceil(self.step);
        [begin, begin + pixels as isize]
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
