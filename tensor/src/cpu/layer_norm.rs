//! Layer normalization of the rows of a row-major matrix; every row is read from memory once.

use rayon::prelude::*;

use super::{
    columns::{row_sums, rows_per_block},
    float::Float,
    scratch::List,
    wide::wide,
};
use crate::{
    Shape, Tensor,
    dtype::{Element, with_float},
    kernels::LayerNormGrad,
    layout::Layout,
};

/// Rows whose share of the weight's gradient is summed in `T` before it moves on to f64.
const RUN: usize = 64;

/// `(x - mean) * invstd * weight + bias` over rows of `length` elements of contiguous `x`, and the statistics
/// `[rows, 2]`: mean and `invstd = 1 / sqrt(var + eps)` with the biased variance.
pub(super) fn layer_norm(
    x: &Tensor,
    length: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> (Tensor, Tensor) {
    let rows = x.numel() / length.max(1);
    let step = rows_per_block(length);
    with_float!("layer_norm", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        let weight = vector::<T>(weight, length, T::ONE);
        let bias = vector::<T>(bias, length, T::ZERO);
        let mut stats = List::filled(T::ZERO, rows * 2);
        let y = Tensor::build::<T>(x.layout.dense_like(), x.device(), |out| {
            if out.is_empty() {
                return;
            }
            let blocks = out.par_chunks_mut(step * length).zip(stats.par_chunks_mut(step * 2));
            blocks.zip(src.par_chunks(step * length)).for_each(|((out, stats), src)| {
                wide(#[inline(always)] || normalize(out, stats, src, &weight, &bias, eps));
            });
        });
        let layout = Layout::contiguous(Shape::new(&[rows, 2]));
        (y, Tensor::build::<T>(layout, x.device(), |out| out.copy_from_slice(&stats)))
    })
}

/// The elements of `t`, or `length` times `default`.
fn vector<T: Element>(t: Option<&Tensor>, length: usize, default: T) -> Vec<T> {
    t.map_or(vec![default; length], |t| t.dense_slice::<T>().to_vec())
}

#[inline(always)]
fn normalize<T: Float>(
    out: &mut [T],
    stats: &mut [T],
    src: &[T],
    weight: &[T],
    bias: &[T],
    eps: f64,
) {
    let n = weight.len();
    let count = T::from_f64(n as f64);
    let rows = out.chunks_exact_mut(n).zip(src.chunks_exact(n));
    for ((out, src), stats) in rows.zip(stats.chunks_exact_mut(2)) {
        let [sum] = row_sums([src], |[x]| [x]);
        let mean = sum / count;
        let [squares] = row_sums([src], |[x]| [(x - mean) * (x - mean)]);
        let invstd = T::ONE / (squares / count + T::from_f64(eps)).sqrt();
        stats[0] = mean;
        stats[1] = invstd;
        for ((o, &x), (&w, &b)) in out.iter_mut().zip(src).zip(weight.iter().zip(bias)) {
            *o = (x - mean) * invstd * w + b;
        }
    }
}

/// The derivatives of [`layer_norm`].
///
/// With `h = (x - mean) * invstd` and `g = dy * weight`: `dx = invstd * (g - mean(g) - h * mean(g * h))`,
/// `dweight = sum(dy * h)` and `dbias = sum(dy)` over the rows.
pub(super) fn layer_norm_grad(
    x: &Tensor,
    dy: &Tensor,
    length: usize,
    stats: &Tensor,
    weight: Option<&Tensor>,
) -> LayerNormGrad {
    let step = rows_per_block(length);
    with_float!("layer_norm", x.dtype(), T => {
        let (xs, dys) = (x.dense_slice::<T>(), dy.dense_slice::<T>());
        let stats = stats.dense_slice::<T>();
        let weight = vector::<T>(weight, length, T::ONE);
        let mut sums = [vec![0.0; length], vec![0.0; length]];
        let dx = Tensor::build::<T>(x.layout.dense_like(), x.device(), |out| {
            if out.is_empty() {
                return;
            }
            let inputs = xs.par_chunks(step * length).zip(dys.par_chunks(step * length));
            let blocks = out.par_chunks_mut(step * length).zip(inputs);
            let parts: Vec<[Vec<f64>; 2]> = blocks
                .zip(stats.par_chunks(step * 2))
                .map(|((out, (xs, dys)), stats)| {
                    wide(#[inline(always)] || block_gradient(out, xs, dys, stats, &weight))
                })
                .collect();
            for part in &parts {
                for (sum, part) in sums.iter_mut().zip(part) {
                    for (s, &p) in sum.iter_mut().zip(part) {
                        *s += p;
                    }
                }
            }
        });
        let [dweight, dbias] = sums.map(|sum| {
            Tensor::build::<T>(Layout::contiguous(Shape::new(&[length])), x.device(), |out| {
                for (o, &s) in out.iter_mut().zip(&sum) {
                    *o = T::from_f64(s);
                }
            })
        });
        LayerNormGrad { dx, dweight, dbias }
    })
}

/// Writes `dx` of a block of rows and returns their share of `dweight` and `dbias`.
#[inline(always)]
fn block_gradient<T: Float>(
    out: &mut [T],
    xs: &[T],
    dys: &[T],
    stats: &[T],
    weight: &[T],
) -> [Vec<f64>; 2] {
    let n = weight.len();
    let count = T::from_f64(n as f64);
    let mut sums = [vec![0.0; n], vec![0.0; n]];
    let mut run = [vec![T::ZERO; n], vec![T::ZERO; n]];
    let rows = xs.len() / n;
    for row in 0..rows {
        let at = row * n..(row + 1) * n;
        let (x, dy, out) = (&xs[at.clone()], &dys[at.clone()], &mut out[at]);
        let (mean, invstd) = (stats[2 * row], stats[2 * row + 1]);
        let [g, gh] = row_sums([x, dy, weight], |[x, dy, w]| {
            let g = dy * w;
            [g, g * (x - mean)]
        });
        let (g, gh) = (g / count, gh * invstd / count);
        for ((o, &x), (&dy, &w)) in out.iter_mut().zip(x).zip(dy.iter().zip(weight)) {
            *o = invstd * (dy * w - g - (x - mean) * invstd * gh);
        }
        let [dweight, dbias] = &mut run;
        for ((dw, db), (&x, &dy)) in dweight.iter_mut().zip(dbias).zip(x.iter().zip(dy)) {
            *dw += dy * (x - mean) * invstd;
            *db += dy;
        }
        if (row + 1) % RUN == 0 || row + 1 == rows {
            for (sum, run) in sums.iter_mut().zip(&mut run) {
                for (s, r) in sum.iter_mut().zip(run) {
                    *s += r.to_f64();
                    *r = T::ZERO;
                }
            }
        }
    }
    sums
}
