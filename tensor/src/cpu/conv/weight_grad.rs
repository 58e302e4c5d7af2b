//! The gradient with respect to the weight: for every tap, (input, shifted by the tap)ᵀ times output gradient, summed over
//! all pixels of the batch.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::pack::{self, Sizes};
use crate::cpu::conv::sliding::{Parts, push_run};
use crate::cpu::gemm::even_chunk;
use crate::cpu::microkernel::{Order, Real, Run};
use crate::cpu::product::{Product, Strip, chunk_len};
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;

/// Below this many strips a block takes one strip, for the sake of enough tasks; above, all taps of a kernel row share the
/// pixels in the cache.
const FEW_STRIPS: usize = 64;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let kernels = T::kernels(isa);
    let [rows, columns] = &g.forward_axes();
    let sizes = Sizes { images: g.n, rows: g.h, columns: g.w, channels: g.c };
    // Runs of pixels must be long: with small maps they go over the images.
    let images_inside = g.n > g.ow && g.ow < 16;
    let staged = if images_inside { pack::images_inside(x, sizes) } else { pack::borrow(x, sizes) };
    let panels = pack::pixel_panels(g, dy, kernels.columns, images_inside);
    let pixels = g.n * g.oh * g.ow;
    let (inputs, outputs, taps) = (g.group_inputs(), g.group_outputs(), g.taps());
    let k_step = if images_inside { staged.image } else { columns.src_step * staged.pixel };

    let parts = Parts::new(inputs);
    let strips = parts.count * taps;
    // [groups, taps, inputs, outputs]
    let sums = Scratch::<T>::new(g.groups * taps * inputs * outputs);
    let product = Product {
        kernels,
        order: Order::ColumnMajor,
        a: staged.start,
        lda: k_step,
        b: panels.ptr(),
        k: pixels,
        // Half a chunk: the pixels of a strip take more of the cache than the rows of other products.
        chunk: even_chunk(pixels, chunk_len::<T>() / 2),
        columns: outputs,
        c: sums.ptr(),
        ldc: outputs,
        bias: None,
        accumulate: false,
        groups: g.groups,
        a_group: inputs,
        c_group: taps * inputs * outputs,
        strips,
        block: if strips * outputs.div_ceil(kernels.columns) < FEW_STRIPS { 1 } else { g.kw },
        work: g.macs(),
    };
    // SAFETY: `taps` and `inside` only name input pixels that exist; each strip owns some rows of one tap.
    unsafe {
        product.run(|strip, runs| {
            // Taps run fastest, so that those of a kernel row share a block.
            let (part, tap) = (strip / taps, strip % taps);
            let (first, count) = parts.range(part);
            let ((_, dh), (_, dw)) = (rows.phases[0][tap / g.kw], columns.phases[0][tap % g.kw]);
            let rows_inside = rows.inside(dh, g.oh);
            let columns_inside = columns.inside(dw, g.ow);
            let h = |i: usize| (dh + (i * rows.src_step) as isize) as usize;
            let w = |j: usize| (dw + (j * columns.src_step) as isize) as usize;
            if images_inside {
                for i in rows_inside {
                    for j in columns_inside.clone() {
                        let a = (h(i) * staged.row + w(j) * staged.pixel) as isize;
                        push_run(runs, Run { a, b: (i * g.ow + j) * g.n, len: g.n }, k_step);
                    }
                }
            } else if !columns_inside.is_empty() {
                let (begin, len) = (columns_inside.start, columns_inside.len());
                for n in 0..g.n {
                    for i in rows_inside.clone() {
                        let a = n * staged.image + h(i) * staged.row + w(begin) * staged.pixel;
                        let b = (n * g.oh + i) * g.ow + begin;
                        push_run(runs, Run { a: a as isize, b, len }, k_step);
                    }
                }
            }
            Strip { a: first as isize, c: (tap * inputs + first) * outputs, rows: count }
        });
    }
    to_oihw(g, sums.ptr(), dw);
}

/// `[groups, taps, inputs, outputs]` to `[groups · outputs, inputs, taps]`.
fn to_oihw<T: Real>(g: &ConvGeometry, sums: *const T, dw: &mut [T]) {
    // Output channels of a task: one cache line of each row of sums.
    const BLOCK: usize = 16;
    let (inputs, outputs, taps) = (g.group_inputs(), g.group_outputs(), g.taps());
    let blocks = outputs.div_ceil(BLOCK);
    let (sums, to) = (Shared::new(sums.cast_mut()), Shared::new(dw.as_mut_ptr()));
    run_tasks(g.groups * blocks, dw.len(), |task| {
        let (group, first) = (task / blocks, task % blocks * BLOCK);
        let count = BLOCK.min(outputs - first);
        let from = sums.ptr().wrapping_add(group * taps * inputs * outputs + first);
        let to = to.ptr().wrapping_add((group * outputs + first) * inputs * taps);
        for input in 0..inputs {
            for tap in 0..taps {
                for o in 0..count {
                    // SAFETY: both offsets lie in their arrays; tasks own different output channels.
                    unsafe {
                        let x = *from.add((tap * inputs + input) * outputs + o);
                        *to.add((o * inputs + input) * taps + tap) = x;
                    }
                }
            }
        }
    });
}
