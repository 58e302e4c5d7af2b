//! Batch normalization of rows of channels: `[rows, channels]`, row major, which is what channels-last memory is.
//!
//! All of it is bound by memory traffic: statistics read the input once, normalizing reads and writes once, the
//! derivative reads input and output gradient twice and writes once.

use super::{
    columns::{block_sums, column_sums, map_row_blocks, rows_per_block},
    float::Float,
    parallel::for_each_chunk,
    wide::wide,
};
use crate::{
    Shape, Tensor,
    dtype::{Element, with_float},
    kernels::BatchNormGrad,
    layout::Layout,
};

/// Mean and biased variance of each channel of `x`, whose axis 1 is innermost in memory, in one pass.
///
/// Blocks of rows are centered on their own mean while they are in the cache and then combined (Chan, Golub &
/// LeVeque 1983), so that a mean far from 0 costs no digits.
pub(super) fn batch_stats(x: &Tensor) -> (Tensor, Tensor) {
    let channels = x.dims()[1];
    with_float!("batch_norm", x.dtype(), T => {
        let (mean, var) = stats(x.dense_slice::<T>(), channels);
        (vector::<T>(&mean, x), vector::<T>(&var, x))
    })
}

/// A `[channels]` tensor of the dtype and device of `x`.
fn vector<T: Element>(values: &[f64], x: &Tensor) -> Tensor {
    Tensor::build::<T>(Layout::contiguous(Shape::new(&[values.len()])), x.device(), |out| {
        for (o, &v) in out.iter_mut().zip(values) {
            *o = T::from_f64(v);
        }
    })
}

fn stats<T: Float>(x: &[T], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = x.len() / channels.max(1);
    let blocks = map_row_blocks(rows, channels, |first, count| {
        let block = &x[first * channels..][..count * channels];
        let [sum] = block_sums([block], [], channels, |[x], []| [x]);
        let center: Vec<T> = sum.iter().map(|s| T::from_f64(s / count as f64)).collect();
        let [rest, squares] = block_sums([block], [&center[..]], channels, |[x], [m]| {
            let d = x - m;
            [d, d * d]
        });
        (count, center, rest, squares)
    });
    let (mut mean, mut m2) = (vec![0.0; channels], vec![0.0; channels]);
    let mut before = 0;
    for (count, center, rest, squares) in blocks {
        let (n, total) = (count as f64, (before + count) as f64);
        for c in 0..channels {
            // `center` was rounded to T: what is left of the sum corrects for it.
            let block_mean = center[c].to_f64() + rest[c] / n;
            let block_m2 = squares[c] - rest[c] * rest[c] / n;
            let delta = block_mean - mean[c];
            mean[c] += delta * (n / total);
            m2[c] += block_m2 + delta * delta * (before as f64 * n / total);
        }
        before += count;
    }
    // No rows, no statistics: NaN, as the mean of nothing.
    let rows = rows as f64;
    if rows == 0.0 {
        mean.fill(f64::NAN);
    }
    (mean, m2.into_iter().map(|s| s / rows).collect())
}

/// `(x - mean) * scale + bias` per channel, `scale = invstd * weight`; a missing weight is 1, a missing bias 0.
pub(super) fn batch_norm(
    x: &Tensor,
    mean: &Tensor,
    invstd: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Tensor {
    let channels = x.dims()[1];
    with_float!("batch_norm", x.dtype(), T => {
        let src = x.dense_slice::<T>();
        let mean = mean.dense_slice::<T>();
        let scale = scale::<T>(invstd, weight);
        let bias = bias.map_or(vec![T::ZERO; channels], |b| b.dense_slice::<T>().to_vec());
        Tensor::build::<T>(x.layout.dense_like(), x.device(), |out| {
            for_each_chunk(out, rows_per_block(channels) * channels.max(1), |start, out| {
                let src = &src[start..start + out.len()];
                wide(#[inline(always)] || normalize(out, src, mean, &scale, &bias));
            });
        })
    })
}

/// `invstd * weight`.
fn scale<T: Float>(invstd: &Tensor, weight: Option<&Tensor>) -> Vec<T> {
    let invstd = invstd.dense_slice::<T>();
    match weight {
        Some(w) => invstd.iter().zip(w.dense_slice::<T>()).map(|(&i, &w)| i * w).collect(),
        None => invstd.to_vec(),
    }
}

#[inline(always)]
fn normalize<T: Float>(out: &mut [T], src: &[T], mean: &[T], scale: &[T], bias: &[T]) {
    let channels = mean.len().max(1);
    for (out, src) in out.chunks_exact_mut(channels).zip(src.chunks_exact(channels)) {
        let constants = mean.iter().zip(scale).zip(bias);
        for ((o, &x), ((&m, &s), &b)) in out.iter_mut().zip(src).zip(constants) {
            *o = (x - m) * s + b;
        }
    }
}

/// The derivatives of [`batch_norm`]; with `training` the mean and variance depend on `x`.
///
/// With `h = (x - mean) * invstd`: `dweight = sum(dy * h)`, `dbias = sum(dy)`, and
/// `dx = scale * (dy - dbias / rows - h * dweight / rows)`, in evaluation `dx = scale * dy`.
pub(super) fn batch_norm_grad(
    x: &Tensor,
    dy: &Tensor,
    mean: &Tensor,
    invstd: &Tensor,
    weight: Option<&Tensor>,
    training: bool,
    wants_dx: bool,
) -> BatchNormGrad {
    let channels = x.dims()[1];
    with_float!("batch_norm", x.dtype(), T => {
        let (xs, dys) = (x.dense_slice::<T>(), dy.dense_slice::<T>());
        let (mean, inv) = (mean.dense_slice::<T>(), invstd.dense_slice::<T>());
        let [dbias, mut dweight] =
            column_sums([xs, dys], [mean], channels, |[x, g], [m]| [g, g * (x - m)]);
        for (w, &i) in dweight.iter_mut().zip(inv) {
            *w *= i.to_f64();
        }
        let dx = wants_dx.then(|| {
            let rows = xs.len() as f64 / channels.max(1) as f64;
            let average = |sum: f64| if training { sum / rows } else { 0.0 };
            let scale = scale::<T>(invstd, weight);
            let shift: Vec<T> = dbias.iter().map(|&b| T::from_f64(average(b))).collect();
            let slope: Vec<T> = dweight
                .iter()
                .zip(inv)
                .map(|(&w, i)| T::from_f64(average(w) * i.to_f64()))
                .collect();
            Tensor::build::<T>(x.layout.dense_like(), x.device(), |out| {
                for_each_chunk(out, rows_per_block(channels) * channels.max(1), |start, out| {
                    let range = start..start + out.len();
                    let constants = [mean, &scale, &shift, &slope];
                    wide(#[inline(always)] || {
                        input_gradient(out, &xs[range.clone()], &dys[range.clone()], constants)
                    });
                });
            })
        });
        BatchNormGrad { dx, dweight: vector::<T>(&dweight, x), dbias: vector::<T>(&dbias, x) }
    })
}

#[inline(always)]
fn input_gradient<T: Float>(
    out: &mut [T],
    xs: &[T],
    dys: &[T],
    [mean, scale, shift, slope]: [&[T]; 4],
) {
    let channels = mean.len().max(1);
    let rows = xs.chunks_exact(channels).zip(dys.chunks_exact(channels));
    for (out, (xs, dys)) in out.chunks_exact_mut(channels).zip(rows) {
        let constants = mean.iter().zip(scale).zip(shift.iter().zip(slope));
        let values = out.iter_mut().zip(xs.iter().zip(dys));
        for ((o, (&x, &g)), ((&m, &s), (&a, &b))) in values.zip(constants) {
            *o = s * (g - a - (x - m) * b);
        }
    }
}

/// The sum of `x`, whose axis 1 is innermost in memory, over all axes but that one.
pub(super) fn channel_sums(x: &Tensor) -> Tensor {
    let channels = x.dims()[1];
    with_float!("channel_sums", x.dtype(), T => {
        let [sum] = column_sums([x.dense_slice::<T>()], [], channels, |[x], []| [x]);
        vector::<T>(&sum, x)
    })
}
