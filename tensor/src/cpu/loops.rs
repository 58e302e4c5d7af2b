//! Vectorized loops without a tile: matrix-vector products and the depthwise convolution.

use crate::cpu::simd::Vector;

/// One tap of a depthwise row: `src[offset + j · src_step + c]` meets weight row `weight` for `j` in `begin..end`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tap {
    pub(crate) offset: isize,
    pub(crate) weight: usize,
    pub(crate) begin: usize,
    pub(crate) end: usize,
}

/// A row of `count` pixels that share a list of taps; every pixel is `channels` contiguous numbers.
pub(crate) struct DepthwiseRow<'a, T> {
    pub(crate) taps: &'a [Tap],
    pub(crate) src: *const T,
    pub(crate) src_step: usize,
    pub(crate) channels: usize,
    pub(crate) count: usize,
    /// Distance of neighboring pixels of the other activation.
    pub(crate) dst_step: usize,
}

/// The loops of one instruction set and number type.
///
/// # Safety
/// For all of them: the instruction set is available and the memory named by the arguments is live, the output writable and
/// touched by nobody else.
pub(crate) struct Loops<T: 'static> {
    /// `Σ_i a[i] · b[i]` over `len` elements.
    pub(crate) dot: unsafe fn(a: *const T, b: *const T, len: usize) -> T,
    /// `out[j] = (accumulate ? out[j] : 0) + Σ_i coefficients[i] · rows[i · ld + j]` for `j < len`, `i < count`.
    pub(crate) combine: unsafe fn(
        out: *mut T,
        len: usize,
        rows: *const T,
        ld: usize,
        coefficients: &[T],
        accumulate: bool,
    ),
    /// `to[to_rows[j] + i] = from[from_rows[i] + j]`: a transpose between rows at any places.
    pub(crate) transpose:
        unsafe fn(from: *const T, from_rows: &[usize], to: *mut T, to_rows: &[usize]),
    /// Cuts `len` numbers into blocks of `size`, `to_step` apart; the last block is filled up with zeros.
    pub(crate) split:
        unsafe fn(from: *const T, len: usize, size: usize, to: *mut T, to_step: usize),
    /// `dst[j · dst_step + c] = bias[c] + Σ_taps weights[tap · channels + c] · src[…]`; `bias` may be null.
    pub(crate) depthwise:
        unsafe fn(row: &DepthwiseRow<T>, weights: *const T, bias: *const T, dst: *mut T),
    /// `grad[tap · channels + c] += Σ_j other[j · dst_step + c] · src[…]`.
    pub(crate) depthwise_weight: unsafe fn(row: &DepthwiseRow<T>, other: *const T, grad: *mut T),
}

/// Output pixels of a depthwise row, or taps of its weight gradient, held in registers.
const BLOCK: usize = 8;

#[inline(always)]
unsafe fn dot<V: Vector>(a: *const V::Elem, b: *const V::Elem, len: usize) -> V::Elem
where
    V::Elem: std::ops::Add<Output = V::Elem>,
{
    // SAFETY: the caller upholds the contract of `Loops`; `i + 4 · LANES <= len` inside the block loop.
    unsafe {
        let mut acc = [V::zero(); 4];
        let mut i = 0;
        while i + 4 * V::LANES <= len {
            for (lane, sum) in acc.iter_mut().enumerate() {
                let at = i + lane * V::LANES;
                *sum = V::load(a.add(at)).mul_add(V::load(b.add(at)), *sum);
            }
            i += 4 * V::LANES;
        }
        while i < len {
            acc[0] =
                V::load_part(a.add(i), len - i).mul_add(V::load_part(b.add(i), len - i), acc[0]);
            i += V::LANES;
        }
        let sum = acc[0].add(acc[1]).add(acc[2].add(acc[3]));
        let mut lanes = [std::mem::MaybeUninit::<V::Elem>::uninit(); 16];
        sum.store(lanes.as_mut_ptr().cast());
        let mut total = lanes[0].assume_init();
        for lane in &lanes[1..V::LANES] {
            total = total + lane.assume_init();
        }
        total
    }
}

#[inline(always)]
unsafe fn combine<V: Vector>(
    out: *mut V::Elem,
    len: usize,
    rows: *const V::Elem,
    ld: usize,
    coefficients: &[V::Elem],
    accumulate: bool,
) {
    // SAFETY: the caller upholds the contract of `Loops`; full loads stay below `len`, the tail is masked.
    unsafe {
        let mut j = 0;
        while j + 4 * V::LANES <= len {
            let mut acc = [V::zero(); 4];
            if accumulate {
                for (v, sum) in acc.iter_mut().enumerate() {
                    *sum = V::load(out.add(j + v * V::LANES));
                }
            }
            for (i, &x) in coefficients.iter().enumerate() {
                let x = V::splat(x);
                for (v, sum) in acc.iter_mut().enumerate() {
                    *sum = x.mul_add(V::load(rows.add(i * ld + j + v * V::LANES)), *sum);
                }
            }
            for (v, sum) in acc.iter().enumerate() {
                sum.store(out.add(j + v * V::LANES));
            }
            j += 4 * V::LANES;
        }
        while j < len {
            let rest = len - j;
            let mut sum = if accumulate { V::load_part(out.add(j), rest) } else { V::zero() };
            for (i, &x) in coefficients.iter().enumerate() {
                sum = V::splat(x).mul_add(V::load_part(rows.add(i * ld + j), rest), sum);
            }
            sum.store_part(out.add(j), rest);
            j += V::LANES;
        }
    }
}

#[inline(always)]
unsafe fn transpose<V: Vector>(
    from: *const V::Elem,
    from_rows: &[usize],
    to: *mut V::Elem,
    to_rows: &[usize],
) {
    let n = V::SQUARE;
    // A few long rows at a time: more streams than the hardware can prefetch cost twice as much.
    for (bi, rows) in from_rows.chunks(n).enumerate() {
        for (bj, columns) in to_rows.chunks(n).enumerate() {
            // SAFETY: the caller upholds the contract of `Loops`; the square form runs on whole squares only.
            unsafe {
                let (from, to) = (from.add(bj * n), to.add(bi * n));
                if columns.len() == n && rows.len() == n {
                    V::transpose_square(from, rows, to, columns);
                    continue;
                }
                for (j, &column) in columns.iter().enumerate() {
                    for (i, &row) in rows.iter().enumerate() {
                        *to.add(column + i) = *from.add(row + j);
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn split<V: Vector>(
    from: *const V::Elem,
    len: usize,
    size: usize,
    to: *mut V::Elem,
    to_step: usize,
) {
    for block in 0..len.div_ceil(size) {
        let begin = block * size;
        let count = size.min(len - begin);
        for i in (0..size).step_by(V::LANES) {
            // SAFETY: the caller upholds the contract of `Loops`; lanes beyond the block are masked, and read as zeros.
            unsafe {
                let lanes = V::load_part(from.wrapping_add(begin + i), count.saturating_sub(i));
                lanes.store_part(to.add(block * to_step + i), size - i);
            }
        }
    }
}

#[inline(always)]
unsafe fn depthwise<V: Vector>(
    row: &DepthwiseRow<V::Elem>,
    weights: *const V::Elem,
    bias: *const V::Elem,
    dst: *mut V::Elem,
) {
    let mut c = 0;
    while c < row.channels {
        // SAFETY: the caller upholds the contract of `Loops`; the full form runs only where LANES channels are left.
        unsafe {
            if c + V::LANES <= row.channels {
                depthwise_channels::<V, true>(row, weights, bias, dst, c);
            } else {
                depthwise_channels::<V, false>(row, weights, bias, dst, c);
            }
        }
        c += V::LANES;
    }
}

#[inline(always)]
unsafe fn load<V: Vector, const FULL: bool>(from: *const V::Elem, count: usize) -> V {
    // SAFETY: the caller vouches for `count` elements, and for LANES of them where FULL.
    unsafe { if FULL { V::load(from) } else { V::load_part(from, count) } }
}

#[inline(always)]
unsafe fn store<V: Vector, const FULL: bool>(v: V, to: *mut V::Elem, count: usize) {
    // SAFETY: as for `load`.
    unsafe { if FULL { v.store(to) } else { v.store_part(to, count) } }
}

#[inline(always)]
unsafe fn depthwise_channels<V: Vector, const FULL: bool>(
    row: &DepthwiseRow<V::Elem>,
    weights: *const V::Elem,
    bias: *const V::Elem,
    dst: *mut V::Elem,
    c: usize,
) {
    let rest = row.channels - c;
    // SAFETY: the caller upholds the contract of `Loops`; only pixels inside a tap's range are read.
    unsafe {
        let start = if bias.is_null() { V::zero() } else { load::<V, FULL>(bias.add(c), rest) };
        let mut first = 0;
        while first < row.count {
            let mut acc = [start; BLOCK];
            for tap in row.taps {
                let w = load::<V, FULL>(weights.add(tap.weight * row.channels + c), rest);
                let at = row.src.wrapping_offset(tap.offset).wrapping_add(first * row.src_step + c);
                if tap.begin <= first && first + BLOCK <= tap.end {
                    for (j, sum) in acc.iter_mut().enumerate() {
                        let x = load::<V, FULL>(at.wrapping_add(j * row.src_step), rest);
                        *sum = w.mul_add(x, *sum);
                    }
                } else {
                    for (j, sum) in acc.iter_mut().enumerate() {
                        if tap.begin <= first + j && first + j < tap.end {
                            let x = load::<V, FULL>(at.wrapping_add(j * row.src_step), rest);
                            *sum = w.mul_add(x, *sum);
                        }
                    }
                }
            }
            for (j, &sum) in acc.iter().enumerate() {
                if first + j < row.count {
                    store::<V, FULL>(sum, dst.add((first + j) * row.dst_step + c), rest);
                }
            }
            first += BLOCK;
        }
    }
}

#[inline(always)]
unsafe fn depthwise_weight<V: Vector>(
    row: &DepthwiseRow<V::Elem>,
    other: *const V::Elem,
    grad: *mut V::Elem,
) {
    let mut c = 0;
    while c < row.channels {
        // SAFETY: the caller upholds the contract of `Loops`; the full form runs only where LANES channels are left.
        unsafe {
            if c + V::LANES <= row.channels {
                depthwise_weight_channels::<V, true>(row, other, grad, c);
            } else {
                depthwise_weight_channels::<V, false>(row, other, grad, c);
            }
        }
        c += V::LANES;
    }
}

#[inline(always)]
unsafe fn depthwise_weight_channels<V: Vector, const FULL: bool>(
    row: &DepthwiseRow<V::Elem>,
    other: *const V::Elem,
    grad: *mut V::Elem,
    c: usize,
) {
    // SAFETY: the caller upholds the contract of `Loops`.
    unsafe {
        let mut taps = row.taps;
        while let Some((block, rest)) = taps.split_first_chunk::<BLOCK>() {
            accumulate_taps::<V, BLOCK, FULL>(row, block, other, grad, c);
            taps = rest;
        }
        for tap in taps {
            accumulate_taps::<V, 1, FULL>(row, std::array::from_ref(tap), other, grad, c);
        }
    }
}

#[inline(always)]
unsafe fn accumulate_taps<V: Vector, const N: usize, const FULL: bool>(
    row: &DepthwiseRow<V::Elem>,
    taps: &[Tap; N],
    other: *const V::Elem,
    grad: *mut V::Elem,
    c: usize,
) {
    let rest = row.channels - c;
    // The pixels that all taps of the block share; the few others follow tap by tap.
    let mut begin = taps.iter().map(|t| t.begin).max().unwrap_or(0);
    let mut end = taps.iter().map(|t| t.end).min().unwrap_or(0);
    if begin >= end {
        (begin, end) = (0, 0);
    }
    // SAFETY: the caller upholds the contract of `Loops`; only pixels inside a tap's range are read.
    unsafe {
        let mut acc = [V::zero(); N];
        for j in begin..end {
            let d = load::<V, FULL>(other.add(j * row.dst_step + c), rest);
            let at = row.src.wrapping_add(j * row.src_step + c);
            for (tap, sum) in taps.iter().zip(&mut acc) {
                *sum = load::<V, FULL>(at.wrapping_offset(tap.offset), rest).mul_add(d, *sum);
            }
        }
        for (tap, sum) in taps.iter().zip(&mut acc) {
            for j in (tap.begin..begin.min(tap.end)).chain(end.max(tap.begin)..tap.end) {
                let d = load::<V, FULL>(other.add(j * row.dst_step + c), rest);
                let at = row.src.wrapping_add(j * row.src_step + c);
                *sum = load::<V, FULL>(at.wrapping_offset(tap.offset), rest).mul_add(d, *sum);
            }
            let to = grad.add(tap.weight * row.channels + c);
            store::<V, FULL>(load::<V, FULL>(to, rest).add(*sum), to, rest);
        }
    }
}

/// The loops compiled for the baseline target.
pub(crate) fn portable<V: Vector>() -> &'static Loops<V::Elem>
where
    V::Elem: std::ops::Add<Output = V::Elem>,
{
    &Loops {
        dot: dot::<V>,
        combine: combine::<V>,
        transpose: transpose::<V>,
        split: split::<V>,
        depthwise: depthwise::<V>,
        depthwise_weight: depthwise_weight::<V>,
    }
}

macro_rules! compile_for {
    ($name:ident, $module:ident, $features:literal, $doc:literal) => {
        #[cfg(target_arch = "x86_64")]
        mod $module {
            use super::{DepthwiseRow, Vector};

            #[target_feature(enable = $features)]
            pub(super) unsafe fn dot<V: Vector>(
                a: *const V::Elem,
                b: *const V::Elem,
                len: usize,
            ) -> V::Elem
            where
                V::Elem: std::ops::Add<Output = V::Elem>,
            {
                // SAFETY: the caller upholds the contract of `Loops`.
                unsafe { super::dot::<V>(a, b, len) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn combine<V: Vector>(
                out: *mut V::Elem,
                len: usize,
                rows: *const V::Elem,
                ld: usize,
                coefficients: &[V::Elem],
                accumulate: bool,
            ) {
                // SAFETY: the caller upholds the contract of `Loops`.
                unsafe { super::combine::<V>(out, len, rows, ld, coefficients, accumulate) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn transpose<V: Vector>(
                from: *const V::Elem,
                from_rows: &[usize],
                to: *mut V::Elem,
                to_rows: &[usize],
            ) {
                // SAFETY: the caller upholds the contract of `Loops`.
                unsafe { super::transpose::<V>(from, from_rows, to, to_rows) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn split<V: Vector>(
                from: *const V::Elem,
                len: usize,
                size: usize,
                to: *mut V::Elem,
                to_step: usize,
            ) {
                // SAFETY: the caller upholds the contract of `Loops`.
                unsafe { super::split::<V>(from, len, size, to, to_step) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn depthwise<V: Vector>(
                row: &DepthwiseRow<V::Elem>,
                weights: *const V::Elem,
                bias: *const V::Elem,
                dst: *mut V::Elem,
            ) {
                // SAFETY: the caller upholds the contract of `Loops`.
                unsafe { super::depthwise::<V>(row, weights, bias, dst) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn depthwise_weight<V: Vector>(
                row: &DepthwiseRow<V::Elem>,
                other: *const V::Elem,
                grad: *mut V::Elem,
            ) {
                // SAFETY: the caller upholds the contract of `Loops`.
                unsafe { super::depthwise_weight::<V>(row, other, grad) }
            }
        }

        #[doc = $doc]
        #[cfg(target_arch = "x86_64")]
        pub(crate) fn $name<V: Vector>() -> &'static Loops<V::Elem>
        where
            V::Elem: std::ops::Add<Output = V::Elem>,
        {
            &Loops {
                dot: $module::dot::<V>,
                combine: $module::combine::<V>,
                transpose: $module::transpose::<V>,
                split: $module::split::<V>,
                depthwise: $module::depthwise::<V>,
                depthwise_weight: $module::depthwise_weight::<V>,
            }
        }
    };
}

compile_for!(avx2, with_avx2, "avx2,fma", "The loops compiled for AVX2 with FMA.");
compile_for!(avx512, with_avx512, "avx512f", "The loops compiled for AVX-512.");
