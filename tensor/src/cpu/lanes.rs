//! The inner loops of the depthwise convolution, on planes of one vector of channels.
//!
//! A plane holds the pixels of one image for `LANES` channels, contiguous and zero-padded; so every tap of a kernel row is a
//! stretch of vectors, and output pixels (or, for the weight gradient, taps) sit in registers.

use crate::cpu::microkernel::prefetch;
use crate::cpu::simd::Vector;
use std::ops::Range;

/// Taps of one kernel row at neighboring pixels: vectors from `x` on in the plane, from `w` on in the packed weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TapRun {
    pub(crate) x: usize,
    pub(crate) w: usize,
    pub(crate) len: usize,
    pub(crate) pixels: Pixels,
}

/// Where pixels begin and end among the vectors from a run's `x` on; the others are zeros.
pub(crate) type Pixels = [isize; 2];

/// First and last output of a tile that is wanted.
pub(crate) type Outputs = [usize; 2];

/// The taps of a run that meet a pixel from any of the outputs: the first, and how many.
#[inline(always)]
fn met(len: usize, [begin, end]: Pixels, [first, last]: Outputs) -> (usize, usize) {
    // Output j meets vector j + s by tap s.
    let from = (begin - last as isize).clamp(0, len as isize);
    let to = (end - first as isize).clamp(from, len as isize);
    (from as usize, (to - from) as usize)
}

/// `out[j] = start + Σ_runs Σ_{s < len} x[run.x + j + s] · w[run.w + s]` for the output vectors `j` of a tile.
///
/// `x` is already that of the tile's first output; `outputs` only says which taps meet nothing but zeros, and are left out.
///
/// # Safety
/// The instruction set is available; all vectors named lie in live memory, `out` (as many as the tile's width) is writable and
/// touched by nobody else.
pub(crate) type SlideFn<T> =
    unsafe fn(&[TapRun], outputs: Outputs, x: *const T, w: *const T, start: *const T, out: *mut T);

/// Taps of one row of source pixels as two neighboring output rows meet them: each by its own kernel row, or not at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PairRun {
    pub(crate) x: usize,
    pub(crate) w: [Option<usize>; 2],
    pub(crate) len: usize,
    pub(crate) pixels: Pixels,
}

/// [`SlideFn`] for a tile of each of two output rows: a loaded pixel serves both.
///
/// # Safety
/// As for [`SlideFn`].
pub(crate) type SlidePairFn<T> = unsafe fn(
    &[PairRun],
    outputs: Outputs,
    x: *const T,
    w: *const T,
    start: *const T,
    out: [*mut T; 2],
);

/// The loops of one instruction set and number type. All counts are in vectors.
///
/// # Safety
/// As for [`SlideFn`].
pub(crate) struct LaneLoops<T: 'static> {
    /// Numbers of a vector.
    pub(crate) lanes: usize,
    /// Output vectors per tile and the function for it, widest first.
    pub(crate) slides: &'static [(usize, SlideFn<T>)],
    /// The same for two rows at once.
    pub(crate) slide_pairs: &'static [(usize, SlidePairFn<T>)],
    /// `grad[s] += Σ_{j < count} x[j + s] · dy[j]` for `s < taps`; most products with what is no pixel are left out.
    pub(crate) correlate: unsafe fn(
        x: *const T,
        pixels: Pixels,
        dy: *const T,
        count: usize,
        grad: *mut T,
        taps: usize,
    ),
    /// Spreads `count` pixels of `channels` channels, `step` numbers apart: vector `v` of pixel `i` goes to
    /// `planes[v · plane + i · lanes]`; missing channels of the last vector are zeros.
    pub(crate) gather: unsafe fn(
        pixels: *const T,
        step: usize,
        channels: usize,
        planes: *mut T,
        plane: usize,
        count: usize,
    ),
    /// The reverse of `gather`.
    pub(crate) scatter: unsafe fn(
        pixels: *mut T,
        step: usize,
        channels: usize,
        planes: *const T,
        plane: usize,
        count: usize,
    ),
}

#[inline(always)]
unsafe fn slide<V: Vector, const WIDTH: usize>(
    runs: &[TapRun],
    outputs: Outputs,
    x: *const V::Elem,
    w: *const V::Elem,
    start: *const V::Elem,
    out: *mut V::Elem,
) {
    // SAFETY: the caller upholds the contract of `SlideFn`.
    unsafe {
        let mut acc = [V::load(start); WIDTH];
        for run in runs {
            let (skipped, len) = met(run.len, run.pixels, outputs);
            let (x, w) = (x.add((run.x + skipped) * V::LANES), w.add((run.w + skipped) * V::LANES));
            slide_row(&mut acc, x, w, len);
        }
        for (j, sum) in acc.iter().enumerate() {
            sum.store(out.add(j * V::LANES));
        }
    }
}

#[inline(always)]
unsafe fn slide_pair<V: Vector, const WIDTH: usize>(
    runs: &[PairRun],
    outputs: Outputs,
    x: *const V::Elem,
    w: *const V::Elem,
    start: *const V::Elem,
    out: [*mut V::Elem; 2],
) {
    // SAFETY: the caller upholds the contract of `SlideFn`.
    unsafe {
        let mut upper = [V::load(start); WIDTH];
        let mut lower = upper;
        for run in runs {
            let (skipped, len) = met(run.len, run.pixels, outputs);
            let mut x = x.add((run.x + skipped) * V::LANES);
            match run.w.map(|w| w.map(|w| w + skipped)) {
                [Some(above), Some(below)] => {
                    let (mut above, mut below) = (w.add(above * V::LANES), w.add(below * V::LANES));
                    for _ in 0..len {
                        let factors = [V::load(above), V::load(below)];
                        for (j, (a, b)) in upper.iter_mut().zip(&mut lower).enumerate() {
                            let pixel = V::load(x.add(j * V::LANES));
                            *a = pixel.mul_add(factors[0], *a);
                            *b = pixel.mul_add(factors[1], *b);
                        }
                        x = x.add(V::LANES);
                        above = above.add(V::LANES);
                        below = below.add(V::LANES);
                    }
                }
                [Some(w_row), None] => slide_row(&mut upper, x, w.add(w_row * V::LANES), len),
                [None, Some(w_row)] => slide_row(&mut lower, x, w.add(w_row * V::LANES), len),
                [None, None] => {}
            }
        }
        for (sums, out) in [upper, lower].iter().zip(out) {
            for (j, sum) in sums.iter().enumerate() {
                sum.store(out.add(j * V::LANES));
            }
        }
    }
}

/// Adds the taps of one kernel row to the sums of one tile.
#[inline(always)]
unsafe fn slide_row<V: Vector, const WIDTH: usize>(
    sums: &mut [V; WIDTH],
    mut x: *const V::Elem,
    mut w: *const V::Elem,
    len: usize,
) {
    // SAFETY: the caller upholds the contract of `SlideFn`.
    unsafe {
        for _ in 0..len {
            let factor = V::load(w);
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = V::load(x.add(j * V::LANES)).mul_add(factor, *sum);
            }
            x = x.add(V::LANES);
            w = w.add(V::LANES);
        }
    }
}

/// Taps of the weight gradient held in registers, and pixels per round: each pixel of `x` is loaded once for several of both.
const TAPS: usize = 4;
const PIXELS: usize = 4;

#[inline(always)]
unsafe fn correlate<V: Vector>(
    x: *const V::Elem,
    [begin, end]: Pixels,
    dy: *const V::Elem,
    count: usize,
    grad: *mut V::Elem,
    taps: usize,
) {
    let mut tap = 0;
    // Of a small kernel no more than a round would be left out, which does not pay.
    let overhang = begin.max((count + taps) as isize - 1 - end);
    let clips = overhang >= 2 * PIXELS as isize;
    // SAFETY: the caller upholds the contract of `LaneLoops`; a block of N taps runs where N are left.
    unsafe {
        while tap < taps {
            let (x, grad) = (x.add(tap * V::LANES), grad.add(tap * V::LANES));
            let at_once = if taps - tap == 5 { 5 } else { TAPS.min(taps - tap) };
            // Output gradient j meets vector j + s. Only whole rounds are left out, so that what is left is added in the
            // same order.
            let met = if clips {
                let first = (begin - (tap + at_once - 1) as isize).clamp(0, count as isize);
                let last = (end - tap as isize).clamp(0, count as isize) as usize;
                first as usize / PIXELS * PIXELS..last.next_multiple_of(PIXELS).min(count)
            } else {
                0..count
            };
            match at_once {
                _ if met.is_empty() => {}
                1 => correlate_taps::<V, 1>(x, dy, met, grad),
                2 => correlate_taps::<V, 2>(x, dy, met, grad),
                3 => correlate_taps::<V, 3>(x, dy, met, grad),
                5 => correlate_taps::<V, 5>(x, dy, met, grad),
                _ => correlate_taps::<V, TAPS>(x, dy, met, grad),
            }
            tap += at_once;
        }
    }
}

#[inline(always)]
unsafe fn correlate_taps<V: Vector, const N: usize>(
    x: *const V::Elem,
    dy: *const V::Elem,
    outputs: Range<usize>,
    grad: *mut V::Elem,
) {
    // SAFETY: the caller upholds the contract of `LaneLoops`.
    unsafe {
        // Two sets of sums, for the sake of more independent chains than the latency of an addition.
        let mut acc = [[V::zero(); N]; 2];
        let mut j = outputs.start;
        while j + PIXELS <= outputs.end {
            let d: [V; PIXELS] = std::array::from_fn(|i| V::load(dy.add((j + i) * V::LANES)));
            for (i, &d) in d.iter().enumerate() {
                for (s, sum) in acc[i % 2].iter_mut().enumerate() {
                    *sum = V::load(x.add((j + i + s) * V::LANES)).mul_add(d, *sum);
                }
            }
            j += PIXELS;
        }
        while j < outputs.end {
            let d = V::load(dy.add(j * V::LANES));
            for (s, sum) in acc[0].iter_mut().enumerate() {
                *sum = V::load(x.add((j + s) * V::LANES)).mul_add(d, *sum);
            }
            j += 1;
        }
        let [even, odd] = acc;
        for (s, (even, odd)) in even.into_iter().zip(odd).enumerate() {
            let to = grad.add(s * V::LANES);
            V::load(to).add(even.add(odd)).store(to);
        }
    }
}

#[inline(always)]
unsafe fn gather<V: Vector>(
    pixels: *const V::Elem,
    step: usize,
    channels: usize,
    planes: *mut V::Elem,
    plane: usize,
    count: usize,
) {
    for i in 0..count {
        for (v, c) in (0..channels).step_by(V::LANES).enumerate() {
            // SAFETY: the caller upholds the contract of `LaneLoops`.
            unsafe {
                prefetch(pixels.wrapping_add((i + 6) * step + c));
                let x = V::load_part(pixels.add(i * step + c), channels - c);
                x.store(planes.add(v * plane + i * V::LANES));
            }
        }
    }
}

#[inline(always)]
unsafe fn scatter<V: Vector>(
    pixels: *mut V::Elem,
    step: usize,
    channels: usize,
    planes: *const V::Elem,
    plane: usize,
    count: usize,
) {
    for i in 0..count {
        for (v, c) in (0..channels).step_by(V::LANES).enumerate() {
            // SAFETY: the caller upholds the contract of `LaneLoops`.
            unsafe {
                let x = V::load(planes.add(v * plane + i * V::LANES));
                x.store_part(pixels.add(i * step + c), channels - c);
            }
        }
    }
}

macro_rules! compile {
    ($module:ident, [$($features:literal)?], [$($width:literal)*], [$($pair:literal)*]) => {
        pub(crate) mod $module {
            use super::{LaneLoops, Outputs, PairRun, Pixels, TapRun, Vector};

            $(#[target_feature(enable = $features)])?
            unsafe fn slide<V: Vector, const WIDTH: usize>(
                runs: &[TapRun],
                outputs: Outputs,
                x: *const V::Elem,
                w: *const V::Elem,
                start: *const V::Elem,
                out: *mut V::Elem,
            ) {
                // SAFETY: the caller upholds the contract of `SlideFn`.
                unsafe { super::slide::<V, WIDTH>(runs, outputs, x, w, start, out) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn slide_pair<V: Vector, const WIDTH: usize>(
                runs: &[PairRun],
                outputs: Outputs,
                x: *const V::Elem,
                w: *const V::Elem,
                start: *const V::Elem,
                out: [*mut V::Elem; 2],
            ) {
                // SAFETY: the caller upholds the contract of `SlideFn`.
                unsafe { super::slide_pair::<V, WIDTH>(runs, outputs, x, w, start, out) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn correlate<V: Vector>(
                x: *const V::Elem,
                pixels: Pixels,
                dy: *const V::Elem,
                count: usize,
                grad: *mut V::Elem,
                taps: usize,
            ) {
                // SAFETY: the caller upholds the contract of `LaneLoops`.
                unsafe { super::correlate::<V>(x, pixels, dy, count, grad, taps) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn gather<V: Vector>(
                pixels: *const V::Elem,
                step: usize,
                channels: usize,
                planes: *mut V::Elem,
                plane: usize,
                count: usize,
            ) {
                // SAFETY: the caller upholds the contract of `LaneLoops`.
                unsafe { super::gather::<V>(pixels, step, channels, planes, plane, count) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn scatter<V: Vector>(
                pixels: *mut V::Elem,
                step: usize,
                channels: usize,
                planes: *const V::Elem,
                plane: usize,
                count: usize,
            ) {
                // SAFETY: the caller upholds the contract of `LaneLoops`.
                unsafe { super::scatter::<V>(pixels, step, channels, planes, plane, count) }
            }

            /// The loops for vectors of this instruction set.
            pub(crate) fn loops<V: Vector>() -> &'static LaneLoops<V::Elem> {
                &LaneLoops {
                    lanes: V::LANES,
                    slides: &[$(($width, slide::<V, $width>)),*],
                    slide_pairs: &[$(($pair, slide_pair::<V, $pair>)),*],
                    correlate: correlate::<V>,
                    gather: gather::<V>,
                    scatter: scatter::<V>,
                }
            }
        }
    };
}

compile!(portable, [], [8 4], [4]);
#[cfg(target_arch = "x86_64")]
compile!(avx2, ["avx2,fma"], [12 8 4], [6 4]);
#[cfg(target_arch = "x86_64")]
compile!(avx512, ["avx512f"], [28 24 16 14 8 4], [14 12 10 8 7 5 4]);
