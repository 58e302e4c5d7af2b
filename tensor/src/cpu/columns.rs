//! Sums over the rows or along the rows of row-major matrices, in an order that depends on the shape alone.
//!
//! The channels of channels-last images are the columns of such a matrix, and so are the features of a batch.

use rayon::prelude::*;

use super::{float::Float, parallel::GRAIN, wide::wide};

/// Columns summed side by side: two AVX-512 registers of f32.
const LANES: usize = 32;
/// The same for what is left of the columns.
const NARROW: usize = 8;
/// Rows summed in `T` before the sum moves on to f64.
const RUN: usize = 64;

/// The rows of a matrix with `columns` columns that are worked on at once: about [`GRAIN`] elements.
pub(super) fn rows_per_block(columns: usize) -> usize {
    (GRAIN / columns.max(1)).max(1)
}

/// `f(first row, rows)` for consecutive blocks of the rows of a matrix, in parallel; results in the order of the rows.
pub(super) fn map_row_blocks<R: Send>(
    rows: usize,
    columns: usize,
    f: impl Fn(usize, usize) -> R + Sync,
) -> Vec<R> {
    let step = rows_per_block(columns);
    let blocks = rows.div_ceil(step);
    let run = |i: usize| f(i * step, step.min(rows - i * step));
    if blocks <= 1 {
        (0..blocks).map(run).collect()
    } else {
        (0..blocks).into_par_iter().map(run).collect()
    }
}

/// Adds up `parts` element by element, first to last.
fn add_up<const K: usize>(parts: &[[Vec<f64>; K]], columns: usize) -> [Vec<f64>; K] {
    std::array::from_fn(|k| {
        let mut sum = vec![0.0; columns];
        for part in parts {
            for (s, &p) in sum.iter_mut().zip(&part[k]) {
                *s += p;
            }
        }
        sum
    })
}

/// Per column the sums over all rows of the `K` numbers that `term` makes of `N` matrices' elements and of `P`
/// constants of the column.
pub(super) fn column_sums<T: Float, const N: usize, const P: usize, const K: usize>(
    matrices: [&[T]; N],
    constants: [&[T]; P],
    columns: usize,
    term: impl Fn([T; N], [T; P]) -> [T; K] + Copy + Sync,
) -> [Vec<f64>; K] {
    let rows = matrices[0].len() / columns.max(1);
    let parts = map_row_blocks(rows, columns, |first, count| {
        let block = matrices.map(|m| &m[first * columns..][..count * columns]);
        block_sums(block, constants, columns, term)
    });
    add_up(&parts, columns)
}

/// [`column_sums`] of a block that fits the cache.
/// `term` must be small enough to be inlined.
pub(super) fn block_sums<T: Float, const N: usize, const P: usize, const K: usize>(
    matrices: [&[T]; N],
    constants: [&[T]; P],
    columns: usize,
    term: impl Fn([T; N], [T; P]) -> [T; K] + Copy,
) -> [Vec<f64>; K] {
    let mut sums: [Vec<f64>; K] = std::array::from_fn(|_| vec![0.0; columns]);
    let wide_end = columns - columns % LANES;
    let narrow_end = columns - columns % NARROW;
    wide(
        #[inline(always)]
        || {
            for at in (0..wide_end).step_by(LANES) {
                strip::<T, LANES, N, P, K>(matrices, constants, columns, at, term, &mut sums);
            }
            for at in (wide_end..narrow_end).step_by(NARROW) {
                strip::<T, NARROW, N, P, K>(matrices, constants, columns, at, term, &mut sums);
            }
            for at in narrow_end..columns {
                strip::<T, 1, N, P, K>(matrices, constants, columns, at, term, &mut sums);
            }
        },
    );
    sums
}

/// The sums of `B` columns from column `at`.
#[inline(always)]
fn strip<T: Float, const B: usize, const N: usize, const P: usize, const K: usize>(
    matrices: [&[T]; N],
    constants: [&[T]; P],
    columns: usize,
    at: usize,
    term: impl Fn([T; N], [T; P]) -> [T; K],
    sums: &mut [Vec<f64>; K],
) {
    let rows = matrices[0].len() / columns;
    let lanes = |slice: &[T], at: usize| -> [T; B] {
        slice[at..at + B].try_into().expect("a strip lies inside its row")
    };
    let constants: [[T; B]; P] = std::array::from_fn(|p| lanes(constants[p], at));
    for first in (0..rows).step_by(RUN) {
        let mut run = [[T::ZERO; B]; K];
        for row in first..(first + RUN).min(rows) {
            let values: [[T; B]; N] =
                std::array::from_fn(|n| lanes(matrices[n], row * columns + at));
            for i in 0..B {
                let terms = term(
                    std::array::from_fn(|n| values[n][i]),
                    std::array::from_fn(|p| constants[p][i]),
                );
                for k in 0..K {
                    run[k][i] += terms[k];
                }
            }
        }
        for k in 0..K {
            for i in 0..B {
                sums[k][at + i] += run[k][i].to_f64();
            }
        }
    }
}

/// Lanes of a sum along one row.
const ROW_LANES: usize = 16;

/// The sums along one row of the `K` numbers that `term` makes of `N` rows' elements.
///
/// Always the same order: lane `i` sums elements `i, i + 16, ..`, then the lanes are added in pairs.
#[inline(always)]
pub(super) fn row_sums<T: Float, const N: usize, const K: usize>(
    rows: [&[T]; N],
    term: impl Fn([T; N]) -> [T; K],
) -> [T; K] {
    let n = rows[0].len();
    let whole = n - n % ROW_LANES;
    let mut lanes = [[T::ZERO; ROW_LANES]; K];
    for at in (0..whole).step_by(ROW_LANES) {
        let values: [[T; ROW_LANES]; N] = std::array::from_fn(|r| {
            rows[r][at..at + ROW_LANES].try_into().expect("whole vectors lie inside the row")
        });
        for i in 0..ROW_LANES {
            let terms = term(std::array::from_fn(|r| values[r][i]));
            for k in 0..K {
                lanes[k][i] += terms[k];
            }
        }
    }
    for at in whole..n {
        let terms = term(std::array::from_fn(|r| rows[r][at]));
        for k in 0..K {
            lanes[k][at - whole] += terms[k];
        }
    }
    lanes.map(|mut lanes| {
        let mut width = ROW_LANES / 2;
        while width > 0 {
            for i in 0..width {
                let other = lanes[i + width];
                lanes[i] += other;
            }
            width /= 2;
        }
        lanes[0]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_columns_and_rows_are_exact_for_integers() {
        for (rows, columns) in [(1, 1), (3, 5), (200, 33), (65, 64), (0, 4), (4000, 40)] {
            let m: Vec<f32> = (0..rows * columns).map(|i| (i % 7) as f32).collect();
            let shift: Vec<f32> = (0..columns).map(|i| (i % 3) as f32).collect();
            let [sum, squares] =
                column_sums([&m[..]], [&shift[..]], columns, |[x], [s]| [x, (x - s) * (x - s)]);
            for j in 0..columns {
                let column = (0..rows).map(|i| m[i * columns + j] as f64);
                let s = shift[j] as f64;
                assert_eq!(sum[j], column.clone().sum::<f64>(), "{rows}x{columns} column {j}");
                assert_eq!(squares[j], column.map(|x| (x - s) * (x - s)).sum::<f64>());
            }
            for row in m.chunks(columns) {
                let [sum] = row_sums([row], |[x]| [x]);
                assert_eq!(sum, row.iter().sum::<f32>());
            }
        }
    }
}
