//! Matrix products of any strides, with a separate path for a few rows or columns.

use crate::cpu::gemv::{FEW, Few, few_vectors};
use crate::cpu::loops::Loops;
use crate::cpu::microkernel::{Order, Real, Run, prefetch};
use crate::cpu::product::{Join, Panels, Product, Strip, chunk_len, is_large};
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

/// Distances of neighboring rows and of neighboring columns, in elements.
pub(crate) type Strides = [usize; 2];

/// One product: `C = A · B`, plus `bias` in every row if there is one.
///
/// `A` is `[m, k]` and `B` is `[k, n]` with any strides; `C` is `[m, n]` with rows `ldc` apart. Sums over `k` run in an order
/// that depends on the shape and the strides alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gemm<'a, T> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a_strides: Strides,
    pub(crate) b_strides: Strides,
    pub(crate) ldc: usize,
    /// `[n]`
    pub(crate) bias: Option<&'a [T]>,
}

/// `count` products of one shape; product `i` starts `i · ab_steps` into `A` and `B` and `i · c_step` into `C`.
///
/// # Panics
/// If a slice is too short for its matrix, the rows of `C` overlap, or the products' parts of `C` overlap.
pub(crate) fn gemm_batched<T: Real>(
    isa: Isa,
    shape: &Gemm<T>,
    count: usize,
    [a, b]: [&[T]; 2],
    ab_steps: [usize; 2],
    c: &mut [T],
    c_step: usize,
) {
    let Gemm { m, n, k, a_strides, b_strides, ldc, .. } = *shape;
    if m == 0 || n == 0 || count == 0 {
        return;
    }
    let extent =
        |[rows, columns]: [usize; 2], [rs, cs]: Strides| (rows - 1) * rs + (columns - 1) * cs + 1;
    let c_extent = extent([m, n], [ldc, 1]);
    let last = count - 1;
    if k > 0 {
        let needed = last * ab_steps[0] + extent([m, k], a_strides);
        assert!(a.len() >= needed, "gemm: A has {} elements, needs {needed}", a.len());
        let needed = last * ab_steps[1] + extent([k, n], b_strides);
        assert!(b.len() >= needed, "gemm: B has {} elements, needs {needed}", b.len());
    }
    let bias_len = shape.bias.map_or(n, <[T]>::len);
    assert!(bias_len == n, "gemm: a bias of {bias_len} elements for {n} columns");
    assert!(m == 1 || ldc >= n, "gemm: rows of C are {ldc} apart but {n} long");
    assert!(last == 0 || c_step >= c_extent, "gemm: products overlap in C");
    let needed = last * c_step + c_extent;
    assert!(c.len() >= needed, "gemm: C has {} elements, needs {needed}", c.len());

    let operands = [Shared::new(a.as_ptr().cast_mut()), Shared::new(b.as_ptr().cast_mut())];
    let out = Shared::new(c.as_mut_ptr());
    run_tasks(count, count * m * n * k, |i| {
        let a = operands[0].ptr().wrapping_add(i * ab_steps[0]);
        let b = operands[1].ptr().wrapping_add(i * ab_steps[1]);
        // SAFETY: the extents were checked above, the products are disjoint in C, and `isa` comes from detection.
        unsafe { product(isa, shape, a, b, out.ptr().wrapping_add(i * c_step)) }
    });
}

unsafe fn product<T: Real>(isa: Isa, shape: &Gemm<T>, a: *const T, b: *const T, c: *mut T) {
    let Gemm { m, n, k, a_strides, b_strides: [b_rows, b_columns], ldc, bias } = *shape;
    // SAFETY: the caller vouches for the operands' extents in all cases.
    unsafe {
        // A short sum is worth no call for each element, and a long one can be shared among threads.
        let few = if (16..LONG_SUM).contains(&k) { FEW } else { 1 };
        if n <= few && n <= m {
            let matrix = Few { start: a, size: [m, k], strides: a_strides };
            let vectors = Few { start: b, size: [n, k], strides: [b_columns, b_rows] };
            return few_vectors(isa, &matrix, &vectors, c, [ldc, 1], |_, j| {
                bias.map_or(T::ZERO, |bias| bias[j])
            });
        }
        if m <= few {
            let matrix = Few { start: b, size: [n, k], strides: [b_columns, b_rows] };
            let vectors = Few { start: a, size: [m, k], strides: a_strides };
            return few_vectors(isa, &matrix, &vectors, c, [1, ldc], |i, _| {
                bias.map_or(T::ZERO, |bias| bias[i])
            });
        }
        match k_ranges(shape, T::kernels(isa).columns) {
            1 => blocked_product(isa, shape, a, b, c, TASKS),
            ranges => long_product(isa, shape, a, b, c, ranges),
        }
    }
}

/// A product of a long sum: each range of `k` is summed on its own.
unsafe fn long_product<T: Real>(
    isa: Isa,
    shape: &Gemm<T>,
    a: *const T,
    b: *const T,
    c: *mut T,
    ranges: usize,
) {
    let Gemm { m, n, k, a_strides, b_strides: [b_rows, b_columns], ldc, bias } = *shape;
    let length = k.div_ceil(ranges);
    let partial = Scratch::<T>::new(ranges * m * n);
    let (a, b) = (Shared::new(a.cast_mut()), Shared::new(b.cast_mut()));
    let (partial, c) = (Shared::new(partial.ptr()), Shared::new(c));
    // The second operand is packed, so that should be the narrow one; the sums are put the right way around in the end.
    let turned = m < n;
    let [row, column] = if turned { [1, m] } else { [n, 1] };
    run_tasks(ranges, m * n * k, |range| {
        let first = range * length;
        let a = a.ptr().wrapping_add(first * a_strides[1]).cast_const();
        let b = b.ptr().wrapping_add(first * b_rows).cast_const();
        let part = Gemm { k: length.min(k.saturating_sub(first)), ldc: n, bias: None, ..*shape };
        let sums = partial.ptr().wrapping_add(range * m * n);
        // SAFETY: the caller's operands, and a range's own part of the sums. Few tasks, so that this range is packed about once.
        unsafe {
            if turned {
                let (a_strides, b_strides) = ([b_columns, b_rows], [a_strides[1], a_strides[0]]);
                let part = Gemm { m: n, n: m, ldc: m, a_strides, b_strides, ..part };
                blocked_product(isa, &part, b, a, sums, 1);
            } else {
                blocked_product(isa, &part, a, b, sums, 1);
            }
        }
    });
    run_tasks(m, ranges * m * n, |i| {
        for j in 0..n {
            let start = bias.map_or(T::ZERO, |bias| bias[j]);
            let at =
                |range: usize| partial.ptr().wrapping_add(range * m * n + i * row + j * column);
            // SAFETY: all sums have been written, and each row of C belongs to one task.
            unsafe {
                *c.ptr().add(i * ldc + j) = (0..ranges).fold(start, |sum, range| sum + *at(range));
            }
        }
    });
}

/// Ranges that `k` is cut into, to be summed apart: for small results of long sums, as weight gradients are, there are no
/// other tasks that would not pack the same part of `B` twice.
fn k_ranges<T>(shape: &Gemm<T>, width: usize) -> usize {
    let Gemm { m, n, k, .. } = *shape;
    const MOST: usize = 16;
    if n.div_ceil(width * PANEL_GROUP) >= TASKS || k < LONG_SUM || m * n > k * 16 {
        return 1;
    }
    (4 * k / LONG_SUM).min(MOST)
}

/// A sum of so many terms is cut into ranges.
const LONG_SUM: usize = 8192;

/// The product in blocks of rows, at least `tasks` if there are as many.
///
/// # Safety
/// The operands have the extents of the shape, `C` is touched by nobody else, and the instruction set is available.
pub(crate) unsafe fn blocked_product<T: Real>(
    isa: Isa,
    shape: &Gemm<T>,
    a: *const T,
    b: *const T,
    c: *mut T,
    tasks: usize,
) {
    let Gemm { m, n, k, a_strides, b_strides: [b_rows, b_columns], ldc, bias } = *shape;
    // SAFETY: the caller vouches for the operands' extents.
    unsafe {
        let kernels = T::kernels(isa);
        let width = kernels.columns;
        let shared_b = Shared::new(b.cast_mut());
        let pack = |panels: Range<usize>, rows: Range<usize>, to: *mut T, distance: usize| {
            let columns = panels.start * width..(panels.end * width).min(n);
            let b = shared_b.ptr().wrapping_add(rows.start * b_rows + columns.start * b_columns);
            let size = [rows.len(), columns.len()];
            // SAFETY: these rows and columns of B exist; the product offers room for a chunk of the panels.
            pack_panels(T::loops(isa), b, [b_rows, b_columns], size, width, to, distance)
        };
        let staged = stage_a(T::loops(isa), a, a_strides, [m, k]);
        let (order, lda) = (staged.order, staged.lda);
        let row_step = if order == Order::RowMajor { lda } else { 1 };
        let chunk = even_chunk(k, chunk_len::<T>());
        let strips = m.div_ceil(STRIP_ROWS);
        let strip_rows = m.div_ceil(strips);
        let across = n.div_ceil(width * PANEL_GROUP);
        let blocks = strips.div_ceil(TASK_STRIPS).max(tasks.div_ceil(across).min(strips));
        Product {
            kernels,
            order,
            a: staged.start,
            lda,
            b: Panels::Local(&pack),
            k,
            repeats: 1,
            a_repeat: 0,
            chunk,
            panel_group: PANEL_GROUP,
            columns: n,
            c,
            ldc,
            bias,
            accumulate: false,
            far: true,
            large: is_large::<T>(m * n),
            join: Join::Add,
            groups: 1,
            a_group: 0,
            c_group: 0,
            strips,
            block: strips.div_ceil(blocks),
            work: m * n * k,
        }
        .run(
            |strip| {
                let first = strip * strip_rows;
                Strip {
                    a: (first * row_step) as isize,
                    c: first * ldc,
                    rows: strip_rows.min(m.saturating_sub(first)),
                    list: 0,
                }
            },
            |_, runs| runs.push(Run { a: 0, b: 0, len: k }),
        );
    }
}

/// Rows of a strip: four of the tallest tiles; a chunk of 1024 `f32` of them is 224 KiB of A in the L2 cache.
const STRIP_ROWS: usize = 56;

/// Panels packed at once, another 512 KiB; their rows of B are half a KiB in one piece.
const PANEL_GROUP: usize = 4;

/// Tasks to have at least: a flat product has too few panels to make them.
const TASKS: usize = 8;

/// Strips of a task. Every task packs its own panels: against some thousand rows that is about one percent of the work.
const TASK_STRIPS: usize = 24;

/// A chunk length of at most `limit` that cuts `k` into nearly equal chunks.
pub(crate) fn even_chunk(k: usize, limit: usize) -> usize {
    k.div_ceil(k.div_ceil(limit).max(1)).max(1)
}

/// Rows this many bytes apart (or multiples) fall on so few sets of an L1 cache that the rows of a tile evict each other.
const ALIASING_BYTES: usize = 2048;

/// `A` as a tile can read it.
struct StagedA<T> {
    start: *const T,
    lda: usize,
    order: Order,
    _copy: Option<Scratch<T>>,
}

/// Uses `A` where it lies if one of its strides is one and the other harmless; copies it otherwise.
unsafe fn stage_a<T: Real>(
    loops: &Loops<T>,
    a: *const T,
    [rs, cs]: Strides,
    [m, k]: [usize; 2],
) -> StagedA<T> {
    let harmless = |stride: usize| !(stride * size_of::<T>()).is_multiple_of(ALIASING_BYTES);
    let (order, outer, inner, step, inner_step) = if rs == 1 && cs != 1 {
        (Order::ColumnMajor, k, m, cs, rs)
    } else {
        (Order::RowMajor, m, k, rs, cs)
    };
    if k == 0 || inner_step == 1 && harmless(step) {
        return StagedA { start: a, lda: step, order, _copy: None };
    }
    let mut lda = inner.next_multiple_of(16);
    if !harmless(lda) {
        lda += 16;
    }
    let copy = Scratch::<T>::new(outer * lda);
    let (from, to) = (Shared::new(a.cast_mut()), Shared::new(copy.ptr()));
    const ROWS: usize = 64;
    run_tasks(outer.div_ceil(ROWS), outer * inner, |task| {
        for row in task * ROWS..((task + 1) * ROWS).min(outer) {
            let (from, to) =
                (from.ptr().wrapping_add(row * step), to.ptr().wrapping_add(row * lda));
            // SAFETY: row < outer, so both rows lie in their memory; rows of the copy are disjoint.
            unsafe {
                if inner_step == 1 {
                    (loops.split)(from, inner, inner, to, 0);
                } else {
                    for i in 0..inner {
                        *to.add(i) = *from.add(i * inner_step);
                    }
                }
            }
        }
    });
    StagedA { start: copy.ptr(), lda, order, _copy: Some(copy) }
}

/// Writes `[k, columns]` of `B` as panels, `distance` apart, of `k` rows of `width` numbers, filled up with zeros.
unsafe fn pack_panels<T: Real>(
    loops: &Loops<T>,
    b: *const T,
    [rs, cs]: Strides,
    [k, columns]: [usize; 2],
    width: usize,
    to: *mut T,
    distance: usize,
) {
    /// Elements of a cache line of `f32`.
    const LINE: usize = 16;
    // SAFETY: the caller vouches for `[k, columns]` of B and `k · width` elements in each panel.
    unsafe {
        if cs == 1 {
            for row in 0..k {
                // Rows are far apart: without a hint every other line comes late.
                let ahead = b.wrapping_add((row + 4) * rs);
                (0..columns).step_by(LINE).for_each(|i| prefetch(ahead.wrapping_add(i)));
                (loops.split)(b.add(row * rs), columns, width, to.add(row * width), distance);
            }
            return;
        }
        for (panel, first) in (0..columns).step_by(width).enumerate() {
            let (b, to) = (b.add(first * cs), to.add(panel * distance));
            let columns = width.min(columns - first);
            if columns < width {
                to.write_bytes(0, k * width);
            }
            if rs == 1 {
                let from_rows: Vec<usize> = (0..columns).map(|column| column * cs).collect();
                let to_rows: Vec<usize> = (0..k).map(|row| row * width).collect();
                (loops.transpose)(b, &from_rows, to, &to_rows);
                continue;
            }
            for (row, i) in (0..k).flat_map(|row| (0..columns).map(move |i| (row, i))) {
                *to.add(row * width + i) = *b.add(row * rs + i * cs);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn numbers(len: usize, seed: usize) -> Vec<f64> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f64 / 1001.0 - 1.0).collect()
    }

    /// A matrix of any order with gaps: strides and the elements they need.
    fn layout(rows: usize, columns: usize, order: usize, gap: usize) -> (Strides, usize) {
        match order {
            0 => ([columns + gap, 1], rows * (columns + gap)),
            1 => ([1, rows + gap], columns * (rows + gap)),
            _ => ([columns * 2 + gap, 2], rows * (columns * 2 + gap)),
        }
    }

    fn check([m, n, k]: [usize; 3], orders: [usize; 2], gap: usize, with_bias: bool, count: usize) {
        let (a_strides, a_len) = layout(m, k, orders[0], gap);
        let (b_strides, b_len) = layout(k, n, orders[1], gap);
        let ldc = n + gap;
        let lens = [a_len * count, b_len * count, m * ldc * count, n];
        let [a, b, c, bias] = lens.map(|len| numbers(len, len));
        let mut expected = c.clone();
        let mut magnitude: Vec<f64> = vec![1.0; c.len()];
        for i in 0..count {
            for (row, column) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let product = |p: usize| {
                    a[i * a_len + row * a_strides[0] + p * a_strides[1]]
                        * b[i * b_len + p * b_strides[0] + column * b_strides[1]]
                };
                // In parts, so that the reference itself is exact enough.
                let part = |from: usize| (from..(from + 512).min(k)).map(product).sum::<f64>();
                let dot: f64 = (0..k).step_by(512).map(part).sum();
                magnitude[i * m * ldc + row * ldc + column] +=
                    (0..k).map(|p| product(p).abs()).sum::<f64>();
                let start = if with_bias { bias[column] } else { 0.0 };
                expected[i * m * ldc + row * ldc + column] = dot + start;
            }
        }
        let steps = [a_len, b_len];
        let narrow = |x: &[f64]| x.iter().map(|&x| x as f32).collect::<Vec<_>>();
        let (a32, b32, bias32) = (narrow(&a), narrow(&b), narrow(&bias));
        let shape =
            Gemm { m, n, k, a_strides, b_strides, ldc, bias: with_bias.then_some(bias.as_slice()) };
        let shape32 = Gemm {
            m,
            n,
            k,
            a_strides,
            b_strides,
            ldc,
            bias: with_bias.then_some(bias32.as_slice()),
        };
        for isa in Isa::available() {
            let mut found = c.clone();
            gemm_batched(isa, &shape, count, [&a, &b], steps, &mut found, m * ldc);
            let mut found32 = narrow(&c);
            gemm_batched(isa, &shape32, count, [&a32, &b32], steps, &mut found32, m * ldc);
            for (i, &e) in expected.iter().enumerate() {
                let near = |x: f64, eps: f64| (x - e).abs() <= eps * magnitude[i];
                assert!(near(found[i], 1e-14), "{isa:?} f64 {shape:?} [{i}]: {} for {e}", found[i]);
                assert!(
                    near(found32[i].into(), 2e-6),
                    "{isa:?} f32 {shape:?} [{i}]: {} for {e}",
                    found32[i]
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_shape_and_order(
            m in 0..70usize, n in 0..70usize, k in 0..90usize, orders in [0..3usize, 0..3usize],
            gap in 0..3usize, with_bias: bool, count in 1..3usize,
        ) {
            check([m, n, k], orders, gap, with_bias, count);
        }

        #[test]
        fn a_few_rows_or_columns(
            len in 0..1100usize, few in 1..=FEW + 1, k in 0..300usize, columns: bool, orders in [0..3usize, 0..3usize],
            with_bias: bool,
        ) {
            check(if columns { [len, few, k] } else { [few, len, k] }, orders, 0, with_bias, 1);
        }
    }

    #[test]
    fn several_chunks_blocks_and_panels() {
        for orders in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            check([300, 70, 2100], orders, 0, true, 1);
            // Strides of a multiple of 2 KiB are copied first.
            check([64, 64, 1024], orders, 0, false, 1);
            check([1024, 40, 33], orders, 0, false, 1);
            // Long sums in ranges of their own, the last one shorter; the narrow operand is packed.
            check([20, 37, 8209], orders, 3, true, 1);
            check([37, 20, 8209], orders, 0, true, 1);
            // A few vectors, just not and just so long that they are one of those.
            check([FEW, 40, LONG_SUM - 1], orders, 0, true, 1);
            check([40, FEW, LONG_SUM], orders, 0, false, 1);
        }
    }

    /// A sum of 50,000 terms is as exact as one of a thousand, whichever way the numbers lie.
    #[test]
    fn long_sums_of_one_vector() {
        for orders in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            check([3, 1, 50_000], orders, 0, false, 1);
            check([1, 3, 50_000], orders, 0, false, 1);
        }
    }

    /// A result of more than 32 MiB is written past the caches if its rows are whole cache lines, and else is not: that may
    /// not change a bit.
    #[test]
    fn large_results() {
        let ([m, n, k], gap) = ([4200, 2048, 3], 5);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let [a, b] = [a, b].map(|x| x.iter().map(|&x| x as f32).collect::<Vec<_>>());
        let bias = &b[..n];
        for isa in Isa::available() {
            let run = |ldc: usize| {
                let mut c = crate::cpu::scratch::Scratch::<f32>::new(m * ldc);
                let shape =
                    Gemm { m, n, k, a_strides: [k, 1], b_strides: [n, 1], ldc, bias: Some(bias) };
                gemm_batched(isa, &shape, 1, [&a, &b], [0, 0], c.slice(), 0);
                c
            };
            let (mut streamed, mut stored) = (run(n), run(n + gap));
            for (i, (x, y)) in
                streamed.slice().chunks(n).zip(stored.slice().chunks(n + gap)).enumerate()
            {
                let same = x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits());
                assert!(same, "{isa:?}, row {i}");
                let exact: f64 =
                    (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n])).sum();
                assert!((f64::from(x[0]) - exact - f64::from(bias[0])).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        for [m, n, k] in [[200, 150, 300], [3, 1500, 200], [1500, 2, 200], [30, 40, 20_000]] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            let run = |threads: usize| {
                let mut c = vec![0.0; m * n];
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let (a_strides, b_strides) = ([k, 1], [n, 1]);
                let shape = Gemm { m, n, k, a_strides, b_strides, ldc: n, bias: None };
                pool.install(|| {
                    gemm_batched(Isa::active(), &shape, 1, [&a, &b], [0, 0], &mut c, 0);
                });
                c.into_iter().map(f64::to_bits).collect::<Vec<_>>()
            };
            assert!(run(1) == run(2) && run(1) == run(5), "{m} {n} {k}");
        }
    }
}
