//! Running sums, products and extremes along an axis.

use super::{
    copy::{DTYPES, copy},
    elementwise::float,
    launch::{Define, Grid, In, Module, Out, Source, Value, kernels},
    operand::{gpu, input, optional, output},
};
use crate::{
    DType, Tensor,
    kernels::{ArgOp, ScanOp},
};

static SCAN: Source = Source { name: "scan", text: include_str!("kernels/scan.cu"), options: &[] };

kernels! { SCAN;
    any fn scan_of(x: In, by: In, y: Out, lines: u64, length: u32, inner: u64);
}

/// Lines enough to fill a device with a thread each, and lines too short for a block.
const MANY: usize = if cfg!(test) { 64 } else { 1 << 14 };
const SHORT: usize = if cfg!(test) { 4 } else { 32 };

/// `op` of each element along `axis` and all before it.
pub(super) fn scan(op: ScanOp, x: &Tensor, axis: usize) -> Tensor {
    float(op.name(), x.dtype());
    let kernels = match op {
        ScanOp::Sum => ["blocks_sum", "threads_sum"],
        ScanOp::Prod => ["blocks_product", "threads_product"],
        ScanOp::LogSumExp => ["blocks_log_sum_exp", "threads_log_sum_exp"],
    };
    run(kernels, x, None, axis, x.dtype())
}

/// The index along `axis` of the last extreme so far.
pub(super) fn arg_scan(op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
    let kernels = match op {
        ArgOp::Max => ["blocks_argmax", "threads_argmax"],
        ArgOp::Min => ["blocks_argmin", "threads_argmin"],
    };
    run(kernels, x, None, axis, DType::I64)
}

/// `y[i] = decay[i] y[i - 1] + x[i]` along `axis`.
pub(super) fn linear_recurrence(decay: &Tensor, x: &Tensor, axis: usize) -> Tensor {
    float("linear_recurrence", x.dtype());
    run(["blocks_recurrence", "threads_recurrence"], x, Some(decay), axis, x.dtype())
}

fn defines(dtype: DType) -> [Define; 2] {
    let float = matches!(dtype, DType::F32 | DType::F64);
    [("T", Value::Type(dtype)), ("FLOAT", Value::Int(float.into()))]
}

fn run(
    [blocks, threads]: [&'static str; 2],
    x: &Tensor,
    by: Option<&Tensor>,
    axis: usize,
    dtype: DType,
) -> Tensor {
    let gpu = gpu(x);
    optional(gpu, by);
    let layout = x.layout.dense_like();
    let dense = |t: &Tensor| if t.layout == layout { t.clone() } else { copy(t, layout) };
    let (x, by) = (dense(x), by.map(dense));
    let (y, out) = output(gpu, layout, dtype);
    if y.numel() == 0 {
        return y;
    }
    let (length, inner) = (layout.shape[axis], layout.strides()[axis]);
    let lines = y.numel() / length;
    let (kernel, grid) = match lines >= MANY || length <= SHORT {
        true => (threads, Grid::over(lines, 1)),
        false => (blocks, Grid::blocks(lines)),
    };
    let (from, by, defines) = (input(gpu, &x), optional(gpu, by.as_ref()), defines(x.dtype()));
    let length = u32::try_from(length).expect("lines have fewer than 2^32 elements");
    // SAFETY: all are dense, in one memory order, of as many lines.
    unsafe {
        scan_of(gpu, &defines, grid, kernel, from, by, out, lines as u64, length, inner as u64)
    };
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    DTYPES.map(|t| Module::new(&SCAN, &defines(t))).into()
}
