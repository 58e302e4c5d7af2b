//! Products with a few vectors: the matrix is read once, as it lies.

use crate::cpu::gemm::Strides;
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;

/// So few rows or columns that packing the other operand would cost more than the product: it is read once, as it lies.
pub(super) const FEW: usize = 4;

/// `[rows, k]` numbers with any strides.
pub(super) struct Few<T> {
    pub(super) start: *const T,
    pub(super) size: [usize; 2],
    pub(super) strides: Strides,
}

/// `out[i · out_steps[0] + j · out_steps[1]] = start(i, j) + Σ_k matrix(i, k) · vectors(j, k)`.
///
/// # Safety
/// Both operands and `out` have these extents, and `out` is touched by nobody else.
pub(super) unsafe fn few_vectors<T: Real>(
    isa: Isa,
    matrix: &Few<T>,
    vectors: &Few<T>,
    out: *mut T,
    out_steps: [usize; 2],
    start: impl Fn(usize, usize) -> T + Sync,
) {
    // Rows of a task, and (where columns are combined) columns taken at once: the sums stay in L1.
    const ROWS: usize = 512;
    const COLUMNS: usize = 8;
    const PART: usize = 1024;
    let ([rows, k], [rs, cs]) = (matrix.size, matrix.strides);
    let count = vectors.size[0];
    let mut copy = Scratch::<T>::new(count * k);
    let copy = copy.slice();
    for (j, copy) in copy.chunks_exact_mut(k.max(1)).enumerate() {
        for (l, x) in copy.iter_mut().enumerate() {
            // SAFETY: the caller vouches for the extents.
            *x = unsafe { *vectors.start.add(j * vectors.strides[0] + l * vectors.strides[1]) };
        }
    }
    let vector = |j: usize| &copy[j * k..][..k];
    let (matrix, out) = (Shared::new(matrix.start.cast_mut()), Shared::new(out));
    let loops = T::loops(isa);
    run_tasks(rows.div_ceil(ROWS), rows * k * count, |task| {
        let first = task * ROWS;
        let len = ROWS.min(rows - first);
        let matrix = matrix.ptr().wrapping_add(first * rs).cast_const();
        let mut sums = [[T::ZERO; ROWS]; FEW];
        // SAFETY: the rows of a task lie inside the matrix and belong to no other task.
        unsafe {
            if rs == 1 && cs != 1 {
                let mut part = [[T::ZERO; ROWS]; FEW];
                for from in (0..k).step_by(COLUMNS) {
                    let columns = matrix.add(from * cs);
                    let end = (from + COLUMNS).min(k);
                    // Errors grow with the length of a part, not with that of the whole sum.
                    let goes_on = !from.is_multiple_of(PART);
                    for (j, part) in part[..count].iter_mut().enumerate() {
                        let x = &vector(j)[from..end];
                        (loops.combine)(part.as_mut_ptr(), len, columns, cs, x, goes_on);
                    }
                    if end == k || end.is_multiple_of(PART) {
                        for (sum, part) in sums.iter_mut().zip(&part).take(count) {
                            sum.iter_mut().zip(part).take(len).for_each(|(sum, &x)| *sum += x);
                        }
                    }
                }
            } else if cs == 1 {
                for (i, j) in (0..len).flat_map(|i| (0..count).map(move |j| (i, j))) {
                    sums[j][i] = (loops.dot)(matrix.add(i * rs), vector(j).as_ptr(), k);
                }
            } else {
                for (i, j) in (0..len).flat_map(|i| (0..count).map(move |j| (i, j))) {
                    for (l, &x) in vector(j).iter().enumerate() {
                        sums[j][i] += *matrix.add(i * rs + l * cs) * x;
                    }
                }
            }
            for (i, j) in (0..len).flat_map(|i| (0..count).map(move |j| (i, j))) {
                let at = (first + i) * out_steps[0] + j * out_steps[1];
                *out.ptr().add(at) = start(first + i, j) + sums[j][i];
            }
        }
    });
}
