//! Pooling of channels-last images: every gradient looks for the windows that saw its pixel, so nothing is added twice at once.

use super::{
    elementwise::float,
    launch::{Grid, In, Module, Out, Param, Source, Value, kernels},
    operand::{gpu, input, output},
    strided::Divisor,
};
use crate::{DType, Pool2d, Tensor, kernels::PoolWindow, layout::Layout};

static POOL: Source = Source { name: "pool", text: include_str!("kernels/pool.cu"), options: &[] };

/// Sizes of the walk's result and of what it looks at, and the windows.
#[derive(Clone, Copy)]
#[repr(C)]
struct Pool {
    channels: Divisor,
    height: Divisor,
    width: Divisor,
    other: [i32; 2],
    kernel: [i32; 2],
    stride: [i32; 2],
    padding: [i32; 2],
}

// SAFETY: numbers in the order of `pool.cu`.
unsafe impl Param for Pool {}

kernels! { POOL;
    fn max_pool(x: In, y: Out, cells: Out, p: Pool, n: u64);
    fn max_pool_grad(dy: In, cells: In, dx: Out, p: Pool, n: u64);
    fn avg_pool(x: In, rows: In, columns: In, y: Out, p: Pool, n: u64);
    fn avg_pool_grad(
        dy: In, rows: In, columns: In, down: In, across: In, dx: Out, p: Pool, n: u64,
    );
}

fn int(n: usize) -> i32 {
    i32::try_from(n).expect("images have fewer than 2^31 rows and columns")
}

impl Pool {
    fn new([_, c, h, w]: [usize; 4], other: [usize; 2], pool: Option<&Pool2d>) -> Self {
        let of = |f: fn(&Pool2d) -> [usize; 2]| pool.map_or([0, 0], |p| f(p).map(int));
        Pool {
            channels: Divisor::new(c),
            height: Divisor::new(h),
            width: Divisor::new(w),
            other: other.map(int),
            kernel: of(|p| p.kernel),
            stride: of(|p| p.stride),
            padding: of(|p| p.padding),
        }
    }
}

/// Maxima, and their cells.
pub(super) fn max_pool2d(x: &Tensor, pool: &Pool2d, [oh, ow]: [usize; 2]) -> (Tensor, Tensor) {
    let (gpu, t) = (gpu(x), float("max_pool2d", x.dtype()));
    let [n, c, h, w] = x.dims_of();
    let dims = [n, c, oh, ow];
    let layout = Layout::channels_last(dims.into());
    let (y, out) = output(gpu, layout, x.dtype());
    let (cells, to) = output(gpu, layout, DType::U8);
    let n = y.numel();
    if n > 0 {
        let (from, p) = (input(gpu, x), Pool::new(dims, [h, w], Some(pool)));
        // SAFETY: sizes are those of the tensors; windows are cut at the image's border.
        unsafe { max_pool(gpu, &[t], Grid::over(n, 1), from, out, to, p, n as u64) };
    }
    (y, cells)
}

/// The gradient of an input of shape `dims`.
pub(super) fn max_pool2d_grad(
    dy: &Tensor,
    cells: &Tensor,
    pool: &Pool2d,
    dims: [usize; 4],
) -> Tensor {
    let (gpu, t) = (gpu(dy), float("max_pool2d_grad", dy.dtype()));
    let [_, _, oh, ow] = dy.dims_of();
    let (dx, out) = output(gpu, Layout::channels_last(dims.into()), dy.dtype());
    let (from, cells, n) = (input(gpu, dy), input(gpu, cells), dx.numel());
    if n > 0 {
        let p = Pool::new(dims, [oh, ow], Some(pool));
        // SAFETY: sizes are those of the tensors.
        unsafe { max_pool_grad(gpu, &[t], Grid::over(n, 1), from, cells, out, p, n as u64) };
    }
    dx
}

/// The windows of an axis as the kernels read them.
fn table(windows: &[PoolWindow]) -> Vec<i32> {
    windows
        .iter()
        .flat_map(|w| [w.inside.start, w.inside.end, w.count])
        .map(|n| i32::try_from(n).unwrap_or(i32::MAX))
        .collect()
}

/// For each of `len` pixels the first window that holds it and the end of those.
fn holders(windows: &[PoolWindow], len: usize) -> Vec<i32> {
    let mut spans = vec![[0, 0]; len];
    for (i, window) in windows.iter().enumerate() {
        for span in &mut spans[window.inside.clone()] {
            if span[1] == 0 {
                span[0] = int(i);
            }
            span[1] = int(i + 1);
        }
    }
    spans.into_flattened()
}

/// Means over all pairs of windows.
pub(super) fn avg_pool2d(x: &Tensor, windows: &[Vec<PoolWindow>; 2]) -> Tensor {
    let (gpu, t) = (gpu(x), float("avg_pool2d", x.dtype()));
    let [n, c, h, w] = x.dims_of();
    let dims = [n, c, windows[0].len(), windows[1].len()];
    let (y, out) = output(gpu, Layout::channels_last(dims.into()), x.dtype());
    let (from, n) = (input(gpu, x), y.numel());
    if n > 0 {
        let [rows, columns] = windows.each_ref().map(|w| gpu.table(&table(w)));
        let (p, grid) = (Pool::new(dims, [h, w], None), Grid::over(n, 1));
        // SAFETY: sizes are those of the tensors; windows lie inside the image.
        unsafe { avg_pool(gpu, &[t], grid, from, rows.start(), columns.start(), out, p, n as u64) };
    }
    y
}

/// The gradient of an input of height and width `size`.
pub(super) fn avg_pool2d_grad(
    dy: &Tensor,
    windows: &[Vec<PoolWindow>; 2],
    size: [usize; 2],
) -> Tensor {
    let (gpu, t) = (gpu(dy), float("avg_pool2d_grad", dy.dtype()));
    let [n, c, oh, ow] = dy.dims_of();
    let dims = [n, c, size[0], size[1]];
    let (dx, out) = output(gpu, Layout::channels_last(dims.into()), dy.dtype());
    let (from, n) = (input(gpu, dy), dx.numel());
    if n > 0 {
        let tables = [
            table(&windows[0]),
            table(&windows[1]),
            holders(&windows[0], size[0]),
            holders(&windows[1], size[1]),
        ];
        let tables = tables.map(|t| gpu.table(&t));
        let [rows, columns, down, across] = tables.each_ref().map(|t| t.start());
        let (p, grid) = (Pool::new(dims, [oh, ow], None), Grid::over(n, 1));
        // SAFETY: sizes are those of the tensors; the tables have an entry for each window and each pixel.
        unsafe {
            avg_pool_grad(gpu, &[t], grid, from, rows, columns, down, across, out, p, n as u64);
        }
    }
    dx
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [DType::F32, DType::F64].map(|t| Module::new(&POOL, &[("T", Value::Type(t))])).into()
}
