//! Vectorized loops without a tile: matrix-vector products, and copies that change the order.

use crate::cpu::simd::Vector;

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
}

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
    for block in 0..len.div_ceil(size.max(1)) {
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

/// The loops compiled for the baseline target.
pub(crate) fn portable<V: Vector>() -> &'static Loops<V::Elem>
where
    V::Elem: std::ops::Add<Output = V::Elem>,
{
    &Loops { dot: dot::<V>, combine: combine::<V>, transpose: transpose::<V>, split: split::<V> }
}

macro_rules! compile_for {
    ($name:ident, $module:ident, $features:literal, $doc:literal) => {
        #[cfg(target_arch = "x86_64")]
        mod $module {
            use super::Vector;

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
            }
        }
    };
}

compile_for!(avx2, with_avx2, "avx2,fma", "The loops compiled for AVX2 with FMA.");
compile_for!(avx512, with_avx512, "avx512f", "The loops compiled for AVX-512.");
