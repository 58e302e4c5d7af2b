//! Lp-mask kernels: the mask, its gradient, and its product with the kernel.

use rayon::prelude::*;

use super::{float::Float, scratch::Scratch, wide::wide};
use crate::{
    Tensor,
    dtype::{Element, with_float},
    kernels::{LpWindow, MaskGradient},
    layout::Layout,
};

/// `(z_0, z_1)` of one tap and the offset that gave it.
fn project(c: [f64; 4], window: &LpWindow, m: usize, n: usize) -> ([f64; 2], [f64; 2]) {
    let d = [m as f64 - window.center[0], n as f64 - window.center[1]];
    ([c[0] * d[0] + c[1] * d[1], c[2] * d[0] + c[3] * d[1]], d)
}

fn matrix<T: Float>(c: &[T]) -> [f64; 4] {
    [0, 1, 2, 3].map(|i| c[i].to_f64())
}

/// `a^p` for `a >= 0`, 0 at 0.
fn power(a: f64, p: f64) -> f64 {
    if a == 0.0 { 0.0 } else { (p * a.ln()).exp() }
}

pub(super) fn lp_mask(c: &Tensor, log2p: &Tensor, window: LpWindow) -> Tensor {
    let [kh, kw] = window.kernel;
    with_float!("lp_mask", c.dtype(), T => {
        // Smaller values would be denormal: a thousandfold slower on some machines, and no different from 0.
        let smallest = T::MIN_POSITIVE.to_f64();
        let (c_all, lambda) = (c.dense_slice::<T>(), log2p.dense_slice::<T>());
        let layout = Layout::contiguous([lambda.len(), kh, kw].into());
        Tensor::build::<T>(layout, c.device(), |out| {
            out.par_chunks_mut((kh * kw).max(1)).enumerate().for_each(|(o, mask)| {
                let (c, p) = (matrix(&c_all[4 * o..]), lambda[o].to_f64().exp2());
                for (tap, value) in mask.iter_mut().enumerate() {
                    let (z, _) = project(c, &window, tap / kw, tap % kw);
                    let v = (-power(z[0].abs(), p) - power(z[1].abs(), p)).exp();
                    *value = if v < smallest { T::ZERO } else { T::from_f64(v) };
                }
            });
        })
    })
}

pub(super) fn lp_mask_grad(g: MaskGradient<'_>, window: LpWindow) -> (Tensor, Tensor) {
    let [kh, kw] = window.kernel;
    with_float!("lp_mask_grad", g.c.dtype(), T => {
        let (dmask, mask) = (g.dmask.dense_slice::<T>(), g.mask.dense_slice::<T>());
        let (c_all, lambda) = (g.c.dense_slice::<T>(), g.log2p.dense_slice::<T>());
        let largest = T::MAX.to_f64();
        // [dC (4), dlog2p] per channel.
        let per_channel: Vec<[f64; 5]> = (0..lambda.len())
            .into_par_iter()
            .map(|o| {
                let (c, p) = (matrix(&c_all[4 * o..]), lambda[o].to_f64().exp2());
                let mut sum = [0.0; 5];
                for tap in 0..kh * kw {
                    let at = o * kh * kw + tap;
                    let weight = dmask[at].to_f64() * mask[at].to_f64();
                    // Where the mask is 0 a power may be infinite: the product's limit is 0.
                    if mask[at] == T::ZERO || weight == 0.0 {
                        continue;
                    }
                    let (z, d) = project(c, &window, tap / kw, tap % kw);
                    for r in 0..2 {
                        let a = z[r].abs();
                        if a == 0.0 {
                            continue;
                        }
                        let log = a.ln();
                        let slope = weight * p * ((p - 1.0) * log).exp() * z[r].signum();
                        sum[2 * r] -= slope * d[0];
                        sum[2 * r + 1] -= slope * d[1];
                        sum[4] -= weight * (p * log).exp() * log;
                    }
                }
                sum[4] *= p * std::f64::consts::LN_2;
                // For p < 1 the derivative diverges near z = 0: keep it a number of the dtype.
                sum.map(|s| s.clamp(-largest, largest))
            })
            .collect();
        let dc = Tensor::build::<T>(Layout::contiguous(g.c.shape()), g.c.device(), |out| {
            for (o, s) in out.chunks_mut(4).zip(&per_channel) {
                for (o, s) in o.iter_mut().zip(s) {
                    *o = T::from_f64(*s);
                }
            }
        });
        let dp = Tensor::build::<T>(Layout::contiguous(g.log2p.shape()), g.c.device(), |out| {
            for (o, s) in out.iter_mut().zip(&per_channel) {
                *o = T::from_f64(s[4]);
            }
        });
        (dc, dp)
    })
}

/// The rows of taps that a crop leaves, as ranges into one `kh * kw` kernel.
fn kept_rows(
    kernel: [usize; 2],
    crop: [usize; 2],
) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    let [kh, kw] = kernel;
    (crop[0]..kh - crop[0]).map(move |m| m * kw + crop[1]..(m + 1) * kw - crop[1])
}

/// Kernels that are multiplied in one stretch where nothing is cropped: whole vectors for any number of taps.
const STRETCH: usize = 16;

pub(super) fn masked_weight(weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor {
    let [_, i, kh, kw] = weight.dims_of();
    let (full, taps) = (kh * kw, (kh - 2 * crop[0]) * (kw - 2 * crop[1]));
    let layout =
        Layout::contiguous([weight.dims()[0], i, kh - 2 * crop[0], kw - 2 * crop[1]].into());
    with_float!("masked_weight", weight.dtype(), T => {
        let (w, m) = (weight.dense_slice::<T>(), mask.dense_slice::<T>());
        Tensor::build::<T>(layout, weight.device(), |out| {
            out.par_chunks_mut((i * taps).max(1)).enumerate().for_each(|(o, out)| {
                let mask = &m[o * full..][..full];
                let kernels = &w[o * i * full..][..i * full];
                wide(#[inline(always)] || match crop {
                    [0, 0] => {
                        let mask = mask.repeat(STRETCH);
                        let stretches = out.chunks_mut(mask.len()).zip(kernels.chunks(mask.len()));
                        for (out, kernels) in stretches {
                            for ((y, &w), &m) in out.iter_mut().zip(kernels).zip(&mask) {
                                *y = w * m;
                            }
                        }
                    }
                    _ => {
                        for (out, kernel) in out.chunks_mut(taps).zip(kernels.chunks(full)) {
                            let mut out = out.iter_mut();
                            for row in kept_rows([kh, kw], crop) {
                                let products = kernel[row.clone()].iter().zip(&mask[row]);
                                for ((&w, &m), y) in products.zip(&mut out) {
                                    *y = w * m;
                                }
                            }
                        }
                    }
                });
            });
        })
    })
}

pub(super) fn masked_weight_grad(
    dy: &Tensor,
    weight: &Tensor,
    mask: &Tensor,
    crop: [usize; 2],
    mask_wanted: bool,
) -> (Tensor, Option<Tensor>) {
    let [_, i, kh, kw] = weight.dims_of();
    let (full, taps) = (kh * kw, (kh - 2 * crop[0]) * (kw - 2 * crop[1]));
    with_float!("masked_weight_grad", weight.dtype(), T => {
        let (w, m, g) =
            (weight.dense_slice::<T>(), mask.dense_slice::<T>(), dy.dense_slice::<T>());
        let mut sums = Scratch::<f64>::new(m.len());
        let dmask = sums.slice();
        dmask.fill(0.0);
        let dw = Tensor::build::<T>(Layout::contiguous(weight.shape()), weight.device(), |out| {
            let channels = out.par_chunks_mut((i * full).max(1)).zip(dmask.par_chunks_mut(full.max(1)));
            channels.enumerate().for_each(|(o, (out, dmask))| {
                let mask = &m[o * full..][..full];
                let kernels = &w[o * i * full..][..i * full];
                let g = &g[o * i * taps..][..i * taps];
                wide(#[inline(always)] || match crop {
                    [0, 0] => whole_gradient(out, dmask, [g, kernels, mask], mask_wanted),
                    _ => {
                        out.fill(T::ZERO);
                        let kernels = kernels.chunks(full).zip(g.chunks(taps));
                        for (out, (kernel, g)) in out.chunks_mut(full).zip(kernels) {
                            let mut g = g.iter();
                            for row in kept_rows([kh, kw], crop) {
                                for (at, &g) in row.zip(&mut g) {
                                    out[at] = g * mask[at];
                                    if mask_wanted {
                                        dmask[at] += g.to_f64() * kernel[at].to_f64();
                                    }
                                }
                            }
                        }
                    }
                });
            });
        });
        let dmask = mask_wanted.then(|| {
            Tensor::build::<T>(Layout::contiguous(mask.shape()), mask.device(), |out| {
                for (o, v) in out.iter_mut().zip(&*dmask) {
                    *o = T::from_f64(*v);
                }
            })
        });
        (dw, dmask)
    })
}

/// The gradients of one output channel whose kernels are not cropped.
#[inline(always)]
fn whole_gradient<T: Float>(
    out: &mut [T],
    dmask: &mut [f64],
    [g, kernels, mask]: [&[T]; 3],
    mask_wanted: bool,
) {
    /// Stretches whose products are summed in `T` before they move on to f64.
    const RUN: usize = 32;
    let full = mask.len();
    let mask = mask.repeat(STRETCH);
    let stretch = mask.len();
    if stretch == 0 {
        return;
    }
    for (out, g) in out.chunks_mut(stretch).zip(g.chunks(stretch)) {
        for ((out, &g), &m) in out.iter_mut().zip(g).zip(&mask) {
            *out = g * m;
        }
    }
    if !mask_wanted {
        return;
    }
    let mut run = vec![T::ZERO; stretch];
    for (kernels, g) in kernels.chunks(RUN * stretch).zip(g.chunks(RUN * stretch)) {
        run.fill(T::ZERO);
        for (kernels, g) in kernels.chunks(stretch).zip(g.chunks(stretch)) {
            for ((sum, &w), &g) in run.iter_mut().zip(kernels).zip(g) {
                *sum += g * w;
            }
        }
        for kernel in run.chunks(full) {
            for (sum, part) in dmask.iter_mut().zip(kernel) {
                *sum += part.to_f64();
            }
        }
    }
}
