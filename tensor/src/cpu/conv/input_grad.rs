//! The gradient with respect to the input: a sliding product over the output gradient, one phase per step of the stride.
//!
//! Few input channels (a first layer) would leave most columns of a panel empty. With a stride above one, the pixels of a
//! stride-by-stride block then take the columns together: the gradient of such blocks is that of a convolution of stride one
//! with as many times the channels and a smaller kernel, some of whose taps are zero.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::conv::sliding::Sliding;
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let axes = g.backward_axes();
    let blocks = PixelBlocks::new(g, &axes);
    let half = T::kernels(isa).columns / 2;
    let columns = |channels: usize| channels.next_multiple_of(half);
    // Multiplications of a stride-by-stride block of pixels, either way.
    let one_by_one = g.taps() * columns(g.group_inputs());
    let by_blocks = blocks.g.taps() * columns(blocks.g.c);
    // Half as many again for the second pass over the gradient.
    if g.groups > 1 || 2 * one_by_one < 3 * by_blocks {
        return Sliding { isa, g, axes, weight: w, transposed: true }.run(dy, None, dx);
    }
    let weight = blocks.weight(g, w);
    let mut sums = Scratch::<T>::new(blocks.g.n * blocks.g.h * blocks.g.w * blocks.g.c);
    let axes = blocks.g.backward_axes();
    Sliding { isa, g: &blocks.g, axes, weight: &weight, transposed: true }.run(
        dy,
        None,
        sums.slice(),
    );
    blocks.unfold(g, sums.slice(), dx);
}

/// A convolution of stride one whose input channels are `(row in the block, column in the block, channel)`.
struct PixelBlocks {
    g: ConvGeometry,
    /// For rows and columns: the tap of the original kernel by place in the block and tap of this one.
    taps: [Vec<Vec<Option<usize>>>; 2],
}

impl PixelBlocks {
    fn new(g: &ConvGeometry, axes: &[Axis; 2]) -> Self {
        // A pixel at `place` of block `i` meets output gradient `i + offset`; the new kernel's tap is `last − offset`.
        let [(kh, top, rows), (kw, left, columns)] = axes.each_ref().map(|axis| {
            let offsets = || axis.phases.iter().flatten().map(|tap| tap.1);
            let (first, last) = (offsets().min().unwrap_or(0), offsets().max().unwrap_or(0));
            let kernel = (last - first + 1) as usize;
            let mut taps = vec![vec![None; kernel]; axis.out_step];
            for (place, phase) in axis.phases.iter().enumerate() {
                phase.iter().for_each(|&(tap, at)| taps[place][(last - at) as usize] = Some(tap));
            }
            // Tap 0 meets some place at an offset of at least 0, so the last one is not negative.
            (kernel, last as usize, taps)
        });
        let blocks = ConvGeometry {
            c: g.stride[0] * g.stride[1] * g.c,
            h: g.h.div_ceil(g.stride[0]),
            w: g.w.div_ceil(g.stride[1]),
            kh,
            kw,
            stride: [1, 1],
            padding: [top, left],
            dilation: [1, 1],
            ..*g
        };
        Self { g: blocks, taps: [rows, columns] }
    }

    /// The weight, `[O, block rows · block columns · C, kh, kw]`.
    fn weight<T: Real>(&self, g: &ConvGeometry, w: &[T]) -> Vec<T> {
        let [rows, columns] = &self.taps;
        let mut weight = Vec::with_capacity(self.g.o * self.g.c * self.g.taps());
        for o in 0..g.o {
            for (row, column) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
                for c in 0..g.c {
                    let tap = |r: Option<usize>, s: Option<usize>| match (r, s) {
                        (Some(r), Some(s)) => w[((o * g.c + c) * g.kh + r) * g.kw + s],
                        _ => T::ZERO,
                    };
                    weight.extend(row.iter().flat_map(|&r| column.iter().map(move |&s| tap(r, s))));
                }
            }
        }
        weight
    }

    /// `[N, H / stride, W / stride, block rows, block columns, C]` to `[N, H, W, C]`.
    fn unfold<T: Real>(&self, g: &ConvGeometry, sums: &[T], dx: &mut [T]) {
        let [block_rows, block_columns] = g.stride;
        let row_len = g.w * g.c;
        let part = block_columns * g.c;
        let dx = Shared::new(dx.as_mut_ptr());
        run_tasks(g.n * g.h, sums.len(), |task| {
            let (n, h) = (task / g.h, task % g.h);
            // SAFETY: row `task` of dx, which this task owns.
            let row =
                unsafe { std::slice::from_raw_parts_mut(dx.ptr().add(task * row_len), row_len) };
            let blocks = (n * self.g.h + h / block_rows) * self.g.w;
            for (j, pixels) in row.chunks_mut(part).enumerate() {
                let from = (blocks + j) * self.g.c + h % block_rows * part;
                pixels.copy_from_slice(&sums[from..][..pixels.len()]);
            }
        });
    }
}
