//! Products with a few vectors: the matrix is read once, as it lies.

use crate::cpu::gemm::Strides;
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Shared, run_tasks};
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
    let ([rows, k], [rs, cs]) = (matrix.size, matrix.strides);
    let count = vectors.size[0];
    // SAFETY: the caller vouches for the extents.
    let vectors: Vec<T> = (0..count * k)
        .map(|i| unsafe {
            *vectors.start.add(i / k * vectors.strides[0] + i % k * vectors.strides[1])
        })
        .collect();
    let vector = |j: usize| &vectors[j * k..][..k];
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
                for from in (0..k).step_by(COLUMNS) {
                    let columns = matrix.add(from * cs);
                    for (j, sums) in sums[..count].iter_mut().enumerate() {
                        let x = &vector(j)[from..(from + COLUMNS).min(k)];
                        (loops.combine)(sums.as_mut_ptr(), len, columns, cs, x, true);
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
