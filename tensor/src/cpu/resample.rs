//! One axis times a banded matrix: each output is a short weighted sum of neighboring runs of memory.

use super::{
    float::Float,
    index::Blocks,
    parallel::{GRAIN, for_each_chunk},
};
use crate::{Tensor, dtype::with_float, ops::Taps};

/// Elements behind the axis from which on a run of memory is worth a loop of its own: one AVX-512 register of f32.
const LONG_RUN: usize = 16;

pub(super) fn resample(x: &Tensor, axis: usize, taps: &Taps) -> Tensor {
    let blocks = Blocks::like(x, axis, taps.outputs());
    let x = blocks.source(x);
    let (inner, block) = (blocks.inner, blocks.block());
    let source_block = taps.inputs() * inner;
    let most = taps.rows().iter().map(|(_, weights)| weights.len()).max().unwrap_or(0).max(1);
    with_float!("resample", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        let cast = |(start, weights): &(usize, Vec<f64>)| {
            (*start, weights.iter().map(|&w| crate::Element::from_f64(w)).collect())
        };
        let rows: Vec<(usize, Vec<T>)> = taps.rows().iter().map(cast).collect();
        Tensor::build::<T>(blocks.layout, x.device(), |y| {
            if y.is_empty() {
                return;
            }
            if inner >= LONG_RUN {
                for_each_chunk(y, inner * (GRAIN / (inner * most)).max(1), |start, y| {
                    for (i, y) in y.chunks_mut(inner).enumerate() {
                        let (outer, i) = ((start / inner + i) / rows.len(), (start / inner + i) % rows.len());
                        weighted_sum(y, &src[outer * source_block..][..source_block], &rows[i]);
                    }
                });
            } else {
                for_each_chunk(y, block * (GRAIN / (block * most)).max(1), |start, y| {
                    for (i, y) in y.chunks_mut(block).enumerate() {
                        let src = &src[(start / block + i) * source_block..][..source_block];
                        for (y, row) in y.chunks_mut(inner).zip(&rows) {
                            weighted_sum(y, src, row);
                        }
                    }
                });
            }
        })
    })
}

/// The weighted sum of consecutive runs as long as `y`.
#[inline(always)]
fn weighted_sum<T: Float>(y: &mut [T], src: &[T], (start, weights): &(usize, Vec<T>)) {
    y.fill(T::ZERO);
    let runs = src[start * y.len()..].chunks(y.len());
    for (&w, x) in weights.iter().zip(runs) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y += w * x;
        }
    }
}
