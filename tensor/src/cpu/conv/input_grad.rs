//! The gradient with respect to the input: a sliding product over the output gradient, one phase per step of the stride.
//!
//! Few input channels (a first layer) would leave most columns of a panel empty. If the pixels of a stride-by-stride block
//! fill them together, they do: the gradient of such blocks is that of a convolution of stride one with as many times the
//! channels and a smaller kernel, some of whose taps are zero. If not, the taps take the columns ([`scatter`]).

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::conv::scatter;
use crate::cpu::conv::sliding::Sliding;
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let axes = g.backward_axes();
    let half = T::kernels(isa).columns / 2;
    // Columns computed for each column wanted, pixel by pixel and by blocks. The kernel's size has no say: a kernel must give
    // the same bits as the one without its rim of zeros.
    let waste = |channels: usize| channels.next_multiple_of(half) as f64 / channels as f64;
    let by_blocks = waste(g.stride[0] * g.stride[1] * g.c);
    if g.groups > 1 || waste(g.c) < 2.0 {
        return Sliding { isa, g, axes, weight: w, transposed: true }.run(dy, None, dx);
    }
    if by_blocks > 1.5 {
        return scatter::run(isa, g, dy, w, dx);
    }
    let blocks = PixelBlocks::new(g, &axes);
    let mut weight = blocks.weight(g, w);
    let mut sums = Scratch::<T>::new(blocks.g.n * blocks.g.h * blocks.g.w * blocks.g.c);
    let axes = blocks.g.backward_axes();
    Sliding { isa, g: &blocks.g, axes, weight: weight.slice(), transposed: true }.run(
        dy,
        None,
        sums.slice(),
    );
    blocks.unfold(g, sums.slice(), dx);
}

/// A convolution of stride one whose input channels are `(row in the block, column in the block, channel)`.
struct PixelBlocks {
    g: ConvGeometry,
    /// The first block begins this many rows and columns before the first pixel.
    shift: [usize; 2],
    /// For rows and columns: the tap of the original kernel by place in the block and tap of this one.
    taps: [Vec<Vec<Option<usize>>>; 2],
}

impl PixelBlocks {
    fn new(g: &ConvGeometry, axes: &[Axis; 2]) -> Self {
        let [rows, columns] = axes.each_ref().map(AxisBlocks::new);
        let blocks = ConvGeometry {
            c: g.stride[0] * g.stride[1] * g.c,
            h: (g.h + rows.shift).div_ceil(g.stride[0]),
            w: (g.w + columns.shift).div_ceil(g.stride[1]),
            kh: rows.kernel,
            kw: columns.kernel,
            stride: [1, 1],
            padding: [rows.last, columns.last],
            dilation: [1, 1],
            ..*g
        };
        let shift = [rows.shift, columns.shift];
        Self { g: blocks, shift, taps: [rows.taps, columns.taps] }
    }

    /// The weight, `[O, block rows · block columns · C, kh, kw]`.
    fn weight<T: Real>(&self, g: &ConvGeometry, w: &[T]) -> Scratch<T> {
        let [rows, columns] = &self.taps;
        let mut weight = Scratch::new(self.g.o * self.g.c * self.g.taps());
        let mut places = weight.slice().iter_mut();
        for o in 0..g.o {
            for (row, column) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
                for c in 0..g.c {
                    let tap = |r: Option<usize>, s: Option<usize>| match (r, s) {
                        (Some(r), Some(s)) => w[((o * g.c + c) * g.kh + r) * g.kw + s],
                        _ => T::ZERO,
                    };
                    let taps = row.iter().flat_map(|&r| column.iter().map(move |&s| tap(r, s)));
                    taps.zip(places.by_ref()).for_each(|(tap, place)| *place = tap);
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
            let (block_row, place) =
                ((h + self.shift[0]) / block_rows, (h + self.shift[0]) % block_rows);
            let blocks = (n * self.g.h + block_row) * self.g.w;
            let skipped = self.shift[1] * g.c;
            for j in 0..self.g.w {
                // The first block may begin before the row, the last one end after it.
                let (begin, end) =
                    ((j * part).max(skipped), ((j + 1) * part).min(skipped + row_len));
                let from = (blocks + j) * self.g.c + place * part + begin - j * part;
                row[begin - skipped..end - skipped].copy_from_slice(&sums[from..][..end - begin]);
            }
        });
    }
}

/// One axis of [`PixelBlocks`].
struct AxisBlocks {
    shift: usize,
    kernel: usize,
    /// The largest distance from a block to an output gradient that it meets: the new kernel's tap is `last − distance`.
    last: usize,
    taps: Vec<Vec<Option<usize>>>,
}

impl AxisBlocks {
    /// The blocks that need the smallest kernel.
    fn new(axis: &Axis) -> Self {
        (0..axis.out_step)
            .map(|shift| Self::shifted(axis, shift))
            .min_by_key(|blocks| blocks.kernel)
            .expect("a stride is at least 1")
    }

    fn shifted(axis: &Axis, shift: usize) -> Self {
        let step = axis.out_step;
        // (place, tap, distance): pixel `block · step + place − shift` belongs to this block or the one before.
        let met = || {
            (0..step).flat_map(move |place| {
                let before = isize::from(place < shift);
                let phase = (place + step - shift) % step;
                axis.phases[phase].iter().map(move |&(tap, at)| (place, tap, at - before))
            })
        };
        let (first, last) =
            met().fold((0, 0), |(first, last), (_, _, at)| (first.min(at), last.max(at)));
        let kernel = (last - first + 1) as usize;
        let mut taps = vec![vec![None; kernel]; step];
        met().for_each(|(place, tap, at)| taps[place][(last - at) as usize] = Some(tap));
        Self { shift, kernel, last: last as usize, taps }
    }
}
