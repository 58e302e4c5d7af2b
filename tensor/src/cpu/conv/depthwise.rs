//! Depthwise convolution: every channel is its own group, so there is nothing to multiply as matrices. Vectors run over the
//! channels, several pixels (or, for the weight gradient, taps) sit in registers, and taps on padding are skipped.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::loops::{DepthwiseRow, Tap};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::borrow::Cow;

pub(super) fn forward<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    slide(isa, g, &g.forward_axes(), &repeated(g, x), w, bias, y);
}

pub(super) fn input_grad<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let axes = g.backward_axes();
    let multiplier = g.group_outputs();
    if multiplier == 1 {
        return slide(isa, g, &axes, dy, w, None, dx);
    }
    let mut each = vec![T::ZERO; dx.len() * multiplier];
    slide(isa, g, &axes, dy, w, None, &mut each);
    if multiplier == 0 {
        return dx.fill(T::ZERO);
    }
    for (sum, parts) in dx.iter_mut().zip(each.chunks_exact(multiplier)) {
        *sum = parts.iter().fold(T::ZERO, |a, &b| a + b);
    }
}

/// The input with each channel repeated for each of its output channels.
fn repeated<'a, T: Real>(g: &ConvGeometry, x: &'a [T]) -> Cow<'a, [T]> {
    match g.group_outputs() {
        1 => Cow::Borrowed(x),
        multiplier => x.iter().flat_map(|&x| std::iter::repeat_n(x, multiplier)).collect(),
    }
}

/// `[O, taps]` to `[taps, O]`.
fn taps_outside<T: Real>(g: &ConvGeometry, w: &[T]) -> Vec<T> {
    (0..g.taps()).flat_map(|tap| (0..g.o).map(move |o| w[o * g.taps() + tap])).collect()
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
    let channels = g.o;
    let weights = taps_outside(g, w);
    let bias = bias.map_or(&[][..], |b| b);
    let out = Shared::new(out.as_mut_ptr());
    let loops = T::loops(isa);
    run_tasks(g.n * rows.out_len, g.macs(), |task| {
        let (n, i) = (task / rows.out_len, task % rows.out_len);
        let mut taps = vec![];
        for phase in 0..columns.out_step {
            let count = columns.count(phase);
            taps.clear();
            for (r, h) in rows.taps(i) {
                let row = (n * rows.src_len + h) * columns.src_len;
                for &(s, offset) in &columns.phases[phase] {
                    let inside = columns.inside(offset, count);
                    let offset = (row as isize + offset) * channels as isize;
                    let (begin, end) = (inside.start, inside.end);
                    if begin < end {
                        taps.push(Tap { offset, weight: r * g.kw + s, begin, end });
                    }
                }
            }
            let pixels = DepthwiseRow {
                taps: &taps,
                src: src.as_ptr(),
                src_step: columns.src_step * channels,
                channels,
                count,
                dst_step: columns.out_step * channels,
            };
            let to = out.ptr().wrapping_add((task * columns.out_len + phase) * channels);
            let bias = if bias.is_empty() { std::ptr::null() } else { bias.as_ptr() };
            // SAFETY: taps name source pixels that exist; the task owns its output row.
            unsafe { (loops.depthwise)(&pixels, weights.as_ptr(), bias, to) };
        }
    });
}

pub(super) fn weight_grad<T: Real>(isa: Isa, g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    // Partial sums over fixed sets of output rows, added in order: the result does not depend on the number of threads.
    const PARTS: usize = 16;
    let [rows, columns] = &g.forward_axes();
    let (channels, taps) = (g.o, g.taps());
    let x = &*repeated(g, x);
    let total = g.n * g.oh;
    let per_part = total.div_ceil(PARTS).max(1);
    let parts = total.div_ceil(per_part);
    let sums = Scratch::<T>::new(parts * taps * channels);
    let start = Shared::new(sums.ptr());
    let loops = T::loops(isa);
    run_tasks(parts, g.macs(), |part| {
        // SAFETY: part `part` of the sums, owned by this task; its zeros are written before anything is read.
        let sums = unsafe {
            let sums = start.ptr().add(part * taps * channels);
            (0..taps * channels).for_each(|i| *sums.add(i) = T::ZERO);
            sums
        };
        let mut met = vec![];
        for row in part * per_part..((part + 1) * per_part).min(total) {
            let (n, i) = (row / g.oh, row % g.oh);
            met.clear();
            for (r, h) in rows.taps(i) {
                let at = (n * g.h + h) * g.w;
                for &(s, offset) in &columns.phases[0] {
                    let inside = columns.inside(offset, g.ow);
                    let offset = (at as isize + offset) * channels as isize;
                    let (begin, end) = (inside.start, inside.end);
                    met.push(Tap { offset, weight: r * g.kw + s, begin, end });
                }
            }
            let pixels = DepthwiseRow {
                taps: &met,
                src: x.as_ptr(),
                src_step: columns.src_step * channels,
                channels,
                count: g.ow,
                dst_step: channels,
            };
            // SAFETY: taps name input pixels that exist; dy's row is whole.
            unsafe {
                (loops.depthwise_weight)(&pixels, dy.as_ptr().add(row * g.ow * channels), sums)
            };
        }
    });
    for (i, dw) in dw.iter_mut().enumerate() {
        let (o, tap) = (i / taps, i % taps);
        *dw = (0..parts).fold(T::ZERO, |sum, part| {
            // SAFETY: every part has `taps · channels` sums, written by its task.
            sum + unsafe { *sums.ptr().add((part * taps + tap) * channels + o) }
        });
    }
}
