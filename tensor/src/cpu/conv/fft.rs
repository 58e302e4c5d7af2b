//! Convolutions of stride one by Fourier transforms: dense ones as matrix products at every frequency, depthwise ones as
//! products of numbers.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::axis::Axis;
use crate::cpu::conv::fourier::{Fourier, LENGTHS};
use crate::cpu::conv::transformed::{Images, Patch, Sliding, Tiles, Transform, weight_grad};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use crate::cpu::wide::wide;

/// A pass of a convolution, as the tiles see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    InputGrad,
    WeightGrad,
}

/// Multiply-adds of a product that take as long as a transform takes for one number and one halving of its length: loads and
/// stores beside additions.
const TRANSFORM_COST: f64 = 4.0;

/// The same for a number of a transformed kernel that goes to memory and back.
const MEMORY_COST: f64 = 8.0;

/// Multiply-adds of a matrix product in the time of one of a depthwise loop.
const DEPTHWISE_COST: f64 = 2.5;

/// The size of the tiles of a pass and their step, if the algorithm is made for it and would be faster.
pub(super) fn plan(g: &ConvGeometry, pass: Pass) -> Option<[[usize; 2]; 2]> {
    let depthwise = g.is_depthwise() && g.o == g.c;
    if g.stride != [1; 2] || g.dilation != [1; 2] || !(g.groups == 1 || depthwise) || g.n == 0 {
        return None;
    }
    let axes = [0, 1].map(|i| AxisTiles::all(g, pass, i));
    let channels = (g.c + g.o) as f64 / 2.0;
    let pairs = if depthwise { channels } else { g.c as f64 * g.o as f64 };
    let cost = |rows: &AxisTiles, columns: &AxisTiles| {
        let points = (rows.len * columns.len) as f64;
        let tiles = (g.n * rows.count * columns.count) as f64;
        let transform = TRANSFORM_COST * points * points.log2();
        let product = 1.5 * points * if depthwise { MEMORY_COST } else { 1.0 };
        tiles * (2.0 * channels * transform + pairs * product)
            + pairs * (transform + 1.5 * points * MEMORY_COST)
    };
    let all = axes[0].iter().flat_map(|rows| axes[1].iter().map(move |columns| (rows, columns)));
    let (rows, columns) = all.min_by(|a, b| cost(a.0, a.1).total_cmp(&cost(b.0, b.1)))?;
    let taps: f64 = g.forward_axes().iter().map(met_taps).product();
    let direct = g.n as f64 * pairs * taps * if depthwise { DEPTHWISE_COST } else { 1.0 };
    let wins = cost(rows, columns) < direct;
    wins.then_some([[rows.len, columns.len], [rows.step, columns.step]])
}

/// Pairs of an output and a tap that meet inside the image.
fn met_taps(axis: &Axis) -> f64 {
    axis.phases[0].iter().map(|tap| axis.inside(tap.1, axis.out_len).len()).sum::<usize>() as f64
}

/// How an axis is cut into tiles.
pub(super) struct AxisTiles {
    pub(super) len: usize,
    pub(super) step: usize,
    count: usize,
}

impl AxisTiles {
    /// All ways: tiles that overlap by the kernel, or one tile in which the zeros of both sides are the same.
    pub(super) fn all(g: &ConvGeometry, pass: Pass, axis: usize) -> Vec<Self> {
        let (input, output, kernel) = ([g.h, g.w][axis], [g.oh, g.ow][axis], [g.kh, g.kw][axis]);
        let (src, results, shift) = match pass {
            Pass::InputGrad => {
                (output, input, (kernel as isize - 1).checked_sub_unsigned(g.padding[axis]))
            }
            _ => (input, output, Some(g.padding[axis] as isize)),
        };
        let shift = shift.and_then(|shift| usize::try_from(shift).ok());
        let lengths = LENGTHS.into_iter().filter(move |&len| len >= kernel);
        let way = |len: usize| {
            let whole = shift.is_some_and(|shift| {
                len >= src + shift && len + shift >= results + kernel - 1 && len >= results
            });
            let step = if whole { results } else { len - kernel + 1 };
            Self { len, step, count: results.div_ceil(step) }
        };
        lengths.map(way).collect()
    }
}

pub(super) fn forward<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    [size, step]: [[usize; 2]; 2],
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let transform = &Fourier::new(size, step);
    match g.is_depthwise() {
        true => Depthwise { isa, g, transform }.slide(false, x, w, bias, y),
        false => Sliding { isa, transform, g, weight: w, transposed: false }.run(x, bias, y),
    }
}

pub(super) fn input_grad<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    [size, step]: [[usize; 2]; 2],
    dy: &[T],
    w: &[T],
    dx: &mut [T],
) {
    let transform = &Fourier::new(size, step);
    match g.is_depthwise() {
        true => Depthwise { isa, g, transform }.slide(true, dy, w, None, dx),
        false => Sliding { isa, transform, g, weight: w, transposed: true }.run(dy, None, dx),
    }
}

pub(super) fn weight_gradient<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    [size, step]: [[usize; 2]; 2],
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    let transform = &Fourier::new(size, step);
    match g.is_depthwise() {
        true => Depthwise { isa, g, transform }.weight_grad(x, dy, dw),
        false => weight_grad(isa, transform, g, x, dy, dw),
    }
}

/// Ranges of images whose sums of a weight gradient are added in order.
const SPLITS: usize = 4;

/// Every channel on its own: at each frequency a product of two numbers.
struct Depthwise<'a, T> {
    isa: Isa,
    g: &'a ConvGeometry,
    transform: &'a Fourier<T>,
}

impl<T: Real> Depthwise<'_, T> {
    /// Channels of two registers.
    fn width(&self) -> usize {
        T::kernels(self.isa).columns
    }

    /// Numbers of a transformed tile.
    fn len(&self) -> usize {
        self.transform.planes() * self.width()
    }

    fn slide(&self, transposed: bool, src: &[T], weight: &[T], bias: Option<&[T]>, out: &mut [T]) {
        let (g, width, len) = (self.g, self.width(), self.len());
        let (input, output) = ([g.h, g.w], [g.oh, g.ow]);
        let (from, to) = if transposed { (output, input) } else { (input, output) };
        let src = Images { start: Shared::new(src.as_ptr().cast_mut()), size: from, channels: g.c };
        let out = Images { start: Shared::new(out.as_mut_ptr()), size: to, channels: g.c };
        let tiles = Tiles::new(g.n, to, self.transform.step());
        let units = g.c.div_ceil(width);
        let kernels = Scratch::<T>::new(units * len);
        let kernels_at = Shared::new(kernels.ptr());
        run_tasks(units, units * len, |unit| {
            // SAFETY: each unit has its own place.
            unsafe { self.kernel(weight, unit, transposed, kernels_at.ptr().add(unit * len)) };
        });
        run_tasks(units * tiles.count, g.macs(), |task| {
            let (unit, tile) = (task / tiles.count, task % tiles.count);
            let (image, begin) = tiles.place(tile);
            let begin = begin.map(|at| at as isize);
            let shift = [0, 1].map(|i| match transposed {
                true => [g.kh, g.kw][i] as isize - 1 - g.padding[i] as isize,
                false => g.padding[i] as isize,
            });
            let shifted = [begin[0] - shift[0], begin[1] - shift[1]];
            let channel = unit * width;
            let from = src.patch(image, shifted, self.transform.size(), channel, width);
            let to = out.patch(image, begin, self.transform.step(), channel, width);
            let bias = bias.map_or(std::ptr::null(), |b| b[channel..].as_ptr());
            let mut data = Scratch::<T>::new(len);
            // SAFETY: tiles and units are different parts of the output; the kernels are complete.
            unsafe {
                self.transform.data(self.isa, &from, data.ptr(), width);
                let kernel = std::slice::from_raw_parts(kernels_at.ptr().add(unit * len), len);
                let data = data.slice();
                wide(|| data.iter_mut().zip(kernel).for_each(|(x, &k)| *x = *x * k));
                self.transform.inverse(self.isa, data.as_ptr(), width, bias, &to);
            }
        });
    }

    /// Transforms the kernels of a unit of channels.
    unsafe fn kernel(&self, weight: &[T], unit: usize, turned: bool, to: *mut T) {
        let (g, width, taps) = (self.g, self.width(), self.g.taps());
        let mut packed = Scratch::<T>::new(taps * width);
        packed.slice().fill(T::ZERO);
        let channels = unit * width..((unit + 1) * width).min(g.c);
        let from_rows: Vec<usize> = (0..channels.len()).map(|c| c * taps).collect();
        let to_rows: Vec<usize> = (0..taps).map(|tap| tap * width).collect();
        let from = &weight[channels.start * taps..channels.end * taps];
        let (sign, first) = if turned { (-1, (taps - 1) * width) } else { (1, 0) };
        // SAFETY: all taps of these channels; the caller vouches for `to`.
        unsafe {
            (T::loops(self.isa).transpose)(from.as_ptr(), &from_rows, packed.ptr(), &to_rows);
            let patch = Patch {
                at: packed.ptr().add(first),
                steps: [sign * (g.kw * width) as isize, sign * width as isize],
                rows: 0..g.kh,
                columns: 0..g.kw,
                channels: width,
            };
            self.transform.kernel(self.isa, &patch, to, width);
        }
    }

    fn weight_grad(&self, x: &[T], dy: &[T], dw: &mut [T]) {
        let (g, width, len) = (self.g, self.width(), self.len());
        let x =
            Images { start: Shared::new(x.as_ptr().cast_mut()), size: [g.h, g.w], channels: g.c };
        let dy = Shared::new(dy.as_ptr().cast_mut());
        let dy = Images { start: dy, size: [g.oh, g.ow], channels: g.c };
        let tiles = Tiles::new(g.n, [g.oh, g.ow], self.transform.step());
        let units = g.c.div_ceil(width);
        let splits = SPLITS.min(tiles.count);
        let per_split = tiles.count.div_ceil(splits);
        let sums = Scratch::<T>::new(units * splits * len);
        let sums_at = Shared::new(sums.ptr());
        run_tasks(units * splits, g.macs(), |task| {
            let (unit, split) = (task / splits, task % splits);
            // SAFETY: each task has its own sums.
            let sums =
                unsafe { std::slice::from_raw_parts_mut(sums_at.ptr().add(task * len), len) };
            sums.fill(T::ZERO);
            let (mut data, mut kernel) = (Scratch::<T>::new(len), Scratch::<T>::new(len));
            for tile in
                (split * per_split).min(tiles.count)..((split + 1) * per_split).min(tiles.count)
            {
                let (image, begin) = tiles.place(tile);
                let begin = begin.map(|at| at as isize);
                let shifted = [0, 1].map(|i| begin[i] - g.padding[i] as isize);
                let channel = unit * width;
                let from = x.patch(image, shifted, self.transform.size(), channel, width);
                let by = dy.patch(image, begin, self.transform.step(), channel, width);
                // SAFETY: existing pixels; the scratch memory is this task's.
                unsafe {
                    self.transform.data(self.isa, &from, data.ptr(), width);
                    self.transform.kernel(self.isa, &by, kernel.ptr(), width);
                }
                let factors = data.slice().iter().zip(kernel.slice().iter());
                wide(|| sums.iter_mut().zip(factors).for_each(|(sum, (&x, &k))| *sum += x * k));
            }
        });
        let dw = Shared::new(dw.as_mut_ptr());
        run_tasks(units, units * len, |unit| {
            let taps = g.taps();
            let results = Scratch::<T>::new(taps * width);
            let patch = Patch {
                at: results.ptr(),
                steps: [(g.kw * width) as isize, width as isize],
                rows: 0..g.kh,
                columns: 0..g.kw,
                channels: width,
            };
            let channels = unit * width..((unit + 1) * width).min(g.c);
            let from_rows: Vec<usize> = (0..taps).map(|tap| tap * width).collect();
            let to_rows: Vec<usize> = (0..channels.len()).map(|c| c * taps).collect();
            // SAFETY: the sums are complete and used by nobody else; the kernels of these channels are this task's.
            unsafe {
                let sums = sums_at.ptr().add(unit * splits * len);
                let sums = std::slice::from_raw_parts_mut(sums, splits * len);
                let (total, others) = sums.split_at_mut(len);
                for other in others.chunks_exact(len) {
                    wide(|| total.iter_mut().zip(other).for_each(|(sum, &x)| *sum += x));
                }
                self.transform.inverse(self.isa, total.as_ptr(), width, std::ptr::null(), &patch);
                let to = dw.ptr().add(channels.start * taps);
                (T::loops(self.isa).transpose)(results.ptr(), &from_rows, to, &to_rows);
            }
        });
    }
}
