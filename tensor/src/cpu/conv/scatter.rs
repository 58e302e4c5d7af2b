//! The gradient with respect to an input of few channels: every output pixel is multiplied with all taps at once, and the
//! products are added to the pixels that the taps meet.
//!
//! The columns of the product are `(tap, input channel)`, many enough to fill the panels. Only some output rows of an image are
//! in memory at a time.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::gemm::{Gemm, blocked_product};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use crate::cpu::wide::wide;

/// Bytes of the products that are in memory at a time: half of a 1 MiB L2 cache.
const PRODUCT_BYTES: usize = 512 << 10;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let columns = g.taps() * g.c;
    if dy.is_empty() || columns == 0 {
        return dx.fill(T::ZERO);
    }
    let weight = taps_before_channels(g, w);
    let row_bytes = g.ow * columns * size_of::<T>();
    let rows_at_once = (PRODUCT_BYTES / row_bytes).clamp(1, g.oh);
    let image_len = g.h * g.w * g.c;
    let dx = Shared::new(dx.as_mut_ptr());
    run_tasks(g.n, g.macs(), |n| {
        // SAFETY: image n of dx, which this task owns.
        let dx = unsafe { std::slice::from_raw_parts_mut(dx.ptr().add(n * image_len), image_len) };
        dx.fill(T::ZERO);
        let mut products = Scratch::<T>::new(rows_at_once * g.ow * columns);
        for first in (0..g.oh).step_by(rows_at_once) {
            let rows = first..(first + rows_at_once).min(g.oh);
            let shape = Gemm {
                m: rows.len() * g.ow,
                n: columns,
                k: g.o,
                a_strides: [g.o, 1],
                b_strides: [columns, 1],
                ldc: columns,
                bias: None,
            };
            let dy = dy[(n * g.oh + first) * g.ow * g.o..].as_ptr();
            // SAFETY: these rows of dy, all of the weight, and room for as many products; `isa` comes from the caller.
            unsafe {
                blocked_product(isa, &shape, dy, weight.ptr().cast_const(), products.ptr(), 1)
            };
            let products = products.slice();
            wide(
                #[inline(always)]
                || {
                    for (pixel, product) in products.chunks_exact(columns).take(shape.m).enumerate()
                    {
                        scatter(g, dx, [first + pixel / g.ow, pixel % g.ow], product);
                    }
                },
            );
        }
    });
}

/// `[O, kh, kw, C]`.
fn taps_before_channels<T: Real>(g: &ConvGeometry, w: &[T]) -> Scratch<T> {
    let taps = g.taps();
    let mut weight = Scratch::new(w.len());
    let len = g.c * taps;
    for (kernels, out) in w.chunks_exact(len).zip(weight.slice().chunks_exact_mut(len)) {
        for (i, out) in out.iter_mut().enumerate() {
            *out = kernels[i % g.c * taps + i / g.c];
        }
    }
    weight
}

/// Adds the products of output pixel `(i, j)`, `[kh, kw, C]`, to the pixels of an image.
#[inline(always)]
fn scatter<T: Real>(g: &ConvGeometry, dx: &mut [T], [i, j]: [usize; 2], product: &[T]) {
    let row_len = g.kw * g.c;
    for (r, product) in product.chunks_exact(row_len).enumerate() {
        let Some(h) = (i * g.stride[0] + r * g.dilation[0]).checked_sub(g.padding[0]) else {
            continue;
        };
        if h >= g.h {
            break;
        }
        let dx = &mut dx[h * g.w * g.c..][..g.w * g.c];
        if g.dilation[1] == 1 {
            // The taps of a kernel row meet neighboring pixels; those on padding are cut off.
            let begin = j * g.stride[1];
            let cut = g.padding[1].saturating_sub(begin) * g.c;
            let at = begin.saturating_sub(g.padding[1]) * g.c;
            if cut < row_len && at < dx.len() {
                dx[at..].iter_mut().zip(&product[cut..]).for_each(|(sum, &x)| *sum += x);
            }
            continue;
        }
        for (s, product) in product.chunks_exact(g.c).enumerate() {
            let at = (j * g.stride[1] + s * g.dilation[1]).checked_sub(g.padding[1]);
            if let Some(at) = at.filter(|&at| at < g.w) {
                let dx = &mut dx[at * g.c..][..g.c];
                dx.iter_mut().zip(product).for_each(|(sum, &x)| *sum += x);
            }
        }
    }
}
