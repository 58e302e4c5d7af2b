//! Batch normalization, and other sums over the rows of matrices `[rows, channels]`, which is what channels-last memory is.

use super::{
    elementwise::float,
    fill,
    gpu::Gpu,
    launch::{Grid, In, Module, Out, Source, THREADS, Value, kernels},
    memory::Buffer,
    operand::{gpu, input, optional, output, scratch},
    strided::Divisor,
};
use crate::{DType, Shape, Tensor, kernels::BatchNormGrad, layout::Layout};

static COLUMNS: Source =
    Source { name: "columns", text: include_str!("kernels/columns.cu"), options: &[] };

kernels! { COLUMNS;
    fn sums_plain(x: In, out: Out, rows: u64, channels: u32, piece: u64);
    fn sums_stats(x: In, out: Out, rows: u64, channels: u32, piece: u64);
    fn sums_batch_norm(
        x: In, dy: In, mean: In, out: Out, rows: u64, channels: u32, piece: u64,
    );
    fn sums_layer_norm(
        x: In, dy: In, stats: In, out: Out, rows: u64, channels: u32, piece: u64,
    );
    fn totals(pieces: In, first: Out, second: Out, channels: u32, count: u32);
    fn mean_and_variance(
        pieces: In, x: In, mean: Out, variance: Out, channels: u32, count: u32, rows: u64,
    );
    fn normalize(
        x: In, mean: In, invstd: In, weight: In, bias: In, y: Out, channels: Divisor, n: u32,
    );
    fn batch_norm_constants(
        pieces: In, invstd: In, weight: In, dweight: Out, dbias: Out, constants: Out, channels: u32,
        count: u32, rows: u64, training: u32,
    );
    fn batch_norm_input(
        x: In, dy: In, mean: In, constants: In, dx: Out, channels: Divisor, n: u32,
    );
}

/// Rows of a piece at least, and blocks that fill a device.
const LEAST_PIECE: usize = if cfg!(test) { 16 } else { 64 };
const FULL: usize = 512;

/// A matrix and how its rows are cut into pieces.
struct Matrix {
    rows: usize,
    channels: usize,
    piece: usize,
    pieces: usize,
}

impl Matrix {
    fn new(n: usize, channels: usize) -> Self {
        let rows = n / channels.max(1);
        let most = FULL.div_ceil(channels.div_ceil(32).max(1));
        let piece = rows.div_ceil((rows / LEAST_PIECE).clamp(1, most)).max(1);
        Matrix { rows, channels, piece, pieces: rows.div_ceil(piece).max(1) }
    }

    /// `[N, C, ..]` with the channels innermost in memory.
    fn of(x: &Tensor) -> Self {
        Matrix::new(x.numel(), x.dims()[1])
    }

    /// The grid of the kernels that sum.
    fn grid(&self) -> Grid {
        let blocks = [self.channels.div_ceil(32) as u32, self.pieces as u32, 1];
        Grid { blocks, threads: [THREADS, 1, 1], shared: 0 }
    }

    /// Where the sums of the pieces go.
    fn sums(&self, gpu: &'static Gpu) -> Buffer {
        scratch(gpu, self.pieces * 2 * self.channels * DType::F64.size())
    }

    /// Number and sizes as the kernels that sum take them.
    fn sizes(&self) -> (u64, u32, u64) {
        (self.rows as u64, self.channels as u32, self.piece as u64)
    }
}

/// Vectors of one number a channel.
fn vectors<const N: usize>(gpu: &'static Gpu, channels: usize, dtype: DType) -> [(Tensor, Out); N] {
    std::array::from_fn(|_| output(gpu, Layout::contiguous(Shape::new(&[channels])), dtype))
}

/// Mean and biased variance of each channel.
pub(super) fn batch_stats(x: &Tensor) -> (Tensor, Tensor) {
    let (gpu, t, matrix) = (gpu(x), float("batch_norm", x.dtype()), Matrix::of(x));
    if matrix.rows == 0 {
        let layout = Layout::contiguous(Shape::new(&[matrix.channels]));
        return (
            fill::full(gpu, f64::NAN, layout, x.dtype()),
            fill::full(gpu, f64::NAN, layout, x.dtype()),
        );
    }
    let [(mean, to_mean), (variance, to_variance)] = vectors(gpu, matrix.channels, x.dtype());
    let (sums, from) = (matrix.sums(gpu), input(gpu, x));
    let (rows, channels, piece) = matrix.sizes();
    let (parts, grid) = (sums.address(), Grid::over(matrix.channels, 1));
    // SAFETY: x has rows times channels elements, the sums two numbers for each piece and channel.
    unsafe {
        sums_stats(gpu, &[t], matrix.grid(), from, Out(parts), rows, channels, piece);
        let count = matrix.pieces as u32;
        mean_and_variance(
            gpu,
            &[t],
            grid,
            In(parts),
            from,
            to_mean,
            to_variance,
            channels,
            count,
            rows,
        );
    }
    (mean, variance)
}

/// Calls `f(first element, elements)` for parts of whole rows whose elements 32 bits can count.
fn for_each_part(matrix: &Matrix, mut f: impl FnMut(usize, u32)) {
    let most = if cfg!(test) { 1 << 10 } else { 1usize << 31 };
    let rows = (most / matrix.channels.max(1)).max(1);
    for first in (0..matrix.rows).step_by(rows) {
        let count = rows.min(matrix.rows - first);
        f(first * matrix.channels, (count * matrix.channels) as u32);
    }
}

/// `(x - mean) * invstd * weight + bias`.
pub(super) fn batch_norm(
    x: &Tensor,
    mean: &Tensor,
    invstd: &Tensor,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
) -> Tensor {
    let (gpu, t, matrix) = (gpu(x), float("batch_norm", x.dtype()), Matrix::of(x));
    let (y, out) = output(gpu, x.layout.dense_like(), x.dtype());
    let (from, mean, invstd) = (input(gpu, x), input(gpu, mean), input(gpu, invstd));
    let (weight, bias, size) = (optional(gpu, weight), optional(gpu, bias), x.dtype().size());
    for_each_part(&matrix, |first, n| {
        let (from, to) = (from.plus(first, size), out.plus(first, size));
        let (grid, channels) = (Grid::over(n as usize, 4), Divisor::new(matrix.channels));
        // SAFETY: both hold n elements from there on, the others one for each channel.
        unsafe { normalize(gpu, &[t], grid, from, mean, invstd, weight, bias, to, channels, n) };
    });
    y
}

/// The derivatives of [`batch_norm`]; with `training` through mean and variance too.
pub(super) fn batch_norm_grad(
    x: &Tensor,
    dy: &Tensor,
    mean: &Tensor,
    invstd: &Tensor,
    weight: Option<&Tensor>,
    training: bool,
    wants_dx: bool,
) -> BatchNormGrad {
    let (gpu, dtype, matrix) = (gpu(x), x.dtype(), Matrix::of(x));
    let t = float("batch_norm", dtype);
    let [(dweight, to_weight), (dbias, to_bias)] = vectors(gpu, matrix.channels, dtype);
    let (sums, constants) = (matrix.sums(gpu), scratch(gpu, 3 * matrix.channels * dtype.size()));
    let (from, grads, mean) = (input(gpu, x), input(gpu, dy), input(gpu, mean));
    let (invstd, weight) = (input(gpu, invstd), optional(gpu, weight));
    let (rows, channels, piece) = matrix.sizes();
    let (parts, by) = (sums.address(), constants.address());
    let (grid, count) = (Grid::over(matrix.channels, 1), matrix.pieces as u32);
    // SAFETY: x and dy have rows times channels elements, the sums two numbers for each piece and channel, the constants
    // three for each channel.
    unsafe {
        sums_batch_norm(
            gpu,
            &[t],
            matrix.grid(),
            from,
            grads,
            mean,
            Out(parts),
            rows,
            channels,
            piece,
        );
        batch_norm_constants(
            gpu,
            &[t],
            grid,
            In(parts),
            invstd,
            weight,
            to_weight,
            to_bias,
            Out(by),
            channels,
            count,
            rows,
            training.into(),
        );
    }
    let dx = wants_dx.then(|| {
        let (dx, out) = output(gpu, x.layout.dense_like(), dtype);
        for_each_part(&matrix, |first, n| {
            let [from, grads] = [from, grads].map(|p| p.plus(first, dtype.size()));
            let (to, by) = (out.plus(first, dtype.size()), In(by));
            let (grid, channels) = (Grid::over(n as usize, 4), Divisor::new(matrix.channels));
            // SAFETY: all hold n elements from there on, the others what was written above.
            unsafe { batch_norm_input(gpu, &[t], grid, from, grads, mean, by, to, channels, n) };
        });
        dx
    });
    BatchNormGrad { dx, dweight, dbias }
}

/// The sum over all axes but axis 1.
pub(super) fn channel_sums(x: &Tensor) -> Tensor {
    let (gpu, t, matrix) = (gpu(x), float("channel_sums", x.dtype()), Matrix::of(x));
    let [(y, out)] = vectors(gpu, matrix.channels, x.dtype());
    let (sums, (rows, channels, piece)) = (matrix.sums(gpu), matrix.sizes());
    let (parts, grid) = (sums.address(), Grid::over(matrix.channels, 1));
    // SAFETY: as in `batch_stats`.
    unsafe {
        sums_plain(gpu, &[t], matrix.grid(), input(gpu, x), Out(parts), rows, channels, piece);
        totals(gpu, &[t], grid, In(parts), out, Out(0), channels, matrix.pieces as u32);
    }
    y
}

/// The gradients of weight and bias of a layer normalization of rows of `length` elements.
pub(super) fn layer_norm_sums(
    x: &Tensor,
    dy: &Tensor,
    stats: &Tensor,
    length: usize,
) -> [Tensor; 2] {
    let (gpu, t) = (gpu(x), float("layer_norm", x.dtype()));
    let matrix = Matrix::new(x.numel(), length);
    let [(dbias, to_bias), (dweight, to_weight)] = vectors(gpu, length, x.dtype());
    let (sums, (rows, channels, piece)) = (matrix.sums(gpu), matrix.sizes());
    let (from, grads, of) = (input(gpu, x), input(gpu, dy), input(gpu, stats));
    let (parts, grid) = (sums.address(), Grid::over(length, 1));
    // SAFETY: as in `batch_stats`; the statistics hold two numbers a row.
    unsafe {
        sums_layer_norm(
            gpu,
            &[t],
            matrix.grid(),
            from,
            grads,
            of,
            Out(parts),
            rows,
            channels,
            piece,
        );
        totals(gpu, &[t], grid, In(parts), to_bias, to_weight, channels, matrix.pieces as u32);
    }
    [dweight, dbias]
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [DType::F32, DType::F64].map(|t| Module::new(&COLUMNS, &[("T", Value::Type(t))])).into()
}
