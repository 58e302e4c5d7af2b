//! Softmax, cross entropy and layer normalization: functions of the rows of contiguous matrices.

use super::{
    columns,
    elementwise::float,
    launch::{Define, Grid, In, Module, Out, Source, THREADS, Value, kernels},
    operand::{gpu, input, optional, output},
};
use crate::{
    DType, Tensor,
    kernels::{Classes, LayerNormGrad},
    layout::Layout,
};

static ROWS: Source = Source { name: "rows", text: include_str!("kernels/rows.cu"), options: &[] };

kernels! { ROWS;
    any fn softmax_of(x: In, y: Out, rows: u64, length: u32, log: u32);
    any fn softmax_grad_of(y: In, dy: In, dx: Out, rows: u64, length: u32, log: u32);
    any fn loss_of(
        x: In, p: In, index: In, loss: Out, lse: Out, rows: u64, length: u32, hit: f64, share: f64,
    );
    any fn loss_grad_of(
        x: In, p: In, index: In, lse: In, dloss: In, dx: Out, rows: u64, length: u32, hit: f64, share: f64,
    );
    any fn layer_norm_of(
        x: In, weight: In, bias: In, y: Out, stats: Out, rows: u64, length: u32, eps: f64,
    );
    any fn layer_norm_grad_of(
        x: In, dy: In, stats: In, weight: In, dx: Out, rows: u64, length: u32,
    );
}

/// Rows of at least this many elements have a block each, shorter ones a warp.
const LONG: usize = 1024;
const GROUPS: [u32; 2] = [32, THREADS];

/// How rows are spread over threads.
struct Rows {
    defines: [Define; 2],
    grid: Grid,
    rows: u64,
    length: u32,
}

impl Rows {
    fn new(op: &str, dtype: DType, rows: usize, length: usize) -> Self {
        let group = GROUPS[usize::from(length >= LONG)];
        Rows {
            defines: [float(op, dtype), ("GROUP", Value::Int(group.into()))],
            grid: Grid::blocks(rows.div_ceil((THREADS / group) as usize)),
            rows: rows as u64,
            length: u32::try_from(length).expect("rows have fewer than 2^32 elements"),
        }
    }

    /// Of a matrix, and `None` where there is nothing to compute.
    fn of(op: &str, x: &Tensor, length: usize) -> Option<Self> {
        (x.numel() > 0).then(|| Rows::new(op, x.dtype(), x.numel() / length, length))
    }
}

/// Softmax along the last axis, or its logarithm.
pub(super) fn softmax(x: &Tensor, log: bool) -> Tensor {
    let gpu = gpu(x);
    let (y, out) = output(gpu, Layout::contiguous(x.shape()), x.dtype());
    if let Some(Rows { defines, grid, rows, length }) = Rows::of("softmax", x, x.dim(-1)) {
        let from = input(gpu, x);
        // SAFETY: both hold `rows` rows of `length` elements.
        unsafe { softmax_of(gpu, &defines, grid, "softmax", from, out, rows, length, log.into()) };
    }
    y
}

/// Its derivative from the output.
pub(super) fn softmax_grad(y: &Tensor, dy: &Tensor, log: bool) -> Tensor {
    let (gpu, kernel) = (gpu(y), "softmax_grad");
    let (dx, out) = output(gpu, Layout::contiguous(y.shape()), y.dtype());
    let (from, grads) = (input(gpu, y), input(gpu, dy));
    if let Some(Rows { defines, grid, rows, length }) = Rows::of(kernel, y, y.dim(-1)) {
        let log = log.into();
        // SAFETY: all hold `rows` rows of `length` elements.
        unsafe {
            softmax_grad_of(gpu, &defines, grid, kernel, from, grads, out, rows, length, log);
        }
    }
    dx
}

/// Probabilities or classes, and the parts of a target that a class has and that all have.
fn targets(gpu: &super::Gpu, targets: Classes, classes: usize) -> (In, In, f64, f64) {
    match targets {
        Classes::Probabilities(p) => (input(gpu, p), In(0), 0.0, 0.0),
        Classes::Index { index, smoothing } => {
            (In(0), input(gpu, index), 1.0 - smoothing, smoothing / classes as f64)
        }
    }
}

/// Loss and log-sum-exp of each row. A class that is out of range gives NaN: nobody waits to look at classes.
pub(super) fn cross_entropy(logits: &Tensor, classes: Classes) -> (Tensor, Tensor) {
    let (gpu, kernel) = (gpu(logits), "cross_entropy");
    let layout = Layout::contiguous(logits.shape().without_axis(logits.rank() - 1));
    let [(loss, to), (lse, to_lse)] = [(); 2].map(|()| output(gpu, layout, logits.dtype()));
    let (p, index, hit, share) = targets(gpu, classes, logits.dim(-1));
    if let Some(Rows { defines, grid, rows, length }) = Rows::of(kernel, logits, logits.dim(-1)) {
        let x = input(gpu, logits);
        // SAFETY: logits and probabilities hold `rows` rows of `length` elements, the others `rows` elements.
        unsafe {
            loss_of(gpu, &defines, grid, kernel, x, p, index, to, to_lse, rows, length, hit, share);
        }
    }
    (loss, lse)
}

/// The gradient of the logits.
pub(super) fn cross_entropy_grad(
    logits: &Tensor,
    classes: Classes,
    lse: &Tensor,
    dloss: &Tensor,
) -> Tensor {
    let (gpu, kernel) = (gpu(logits), "cross_entropy_grad");
    let (dx, out) = output(gpu, Layout::contiguous(logits.shape()), logits.dtype());
    let (p, index, hit, share) = targets(gpu, classes, logits.dim(-1));
    let (x, lse, dloss) = (input(gpu, logits), input(gpu, lse), input(gpu, dloss));
    if let Some(Rows { defines, grid, rows, length }) = Rows::of(kernel, logits, logits.dim(-1)) {
        // SAFETY: as in `cross_entropy`.
        unsafe {
            loss_grad_of(
                gpu, &defines, grid, kernel, x, p, index, lse, dloss, out, rows, length, hit, share,
            );
        }
    }
    dx
}

/// Rows of `length` elements normalized; also their mean and inverse deviation.
pub(super) fn layer_norm(
    x: &Tensor,
    length: usize,
    weight: Option<&Tensor>,
    bias: Option<&Tensor>,
    eps: f64,
) -> (Tensor, Tensor) {
    let (gpu, kernel) = (gpu(x), "layer_norm");
    let (y, out) = output(gpu, x.layout.dense_like(), x.dtype());
    let rows = x.numel() / length.max(1);
    let (stats, to) = output(gpu, Layout::contiguous([rows, 2].into()), x.dtype());
    let (weight, bias) = (optional(gpu, weight), optional(gpu, bias));
    if let Some(Rows { defines, grid, rows, length }) = Rows::of(kernel, x, length) {
        let from = input(gpu, x);
        // SAFETY: x and y hold `rows` rows of `length` elements, weight and bias one, the statistics two numbers a row.
        unsafe {
            layer_norm_of(
                gpu, &defines, grid, kernel, from, weight, bias, out, to, rows, length, eps,
            );
        }
    }
    (y, stats)
}

/// The derivatives of [`layer_norm`].
pub(super) fn layer_norm_grad(
    x: &Tensor,
    dy: &Tensor,
    length: usize,
    stats: &Tensor,
    weight: Option<&Tensor>,
) -> LayerNormGrad {
    let (gpu, kernel) = (gpu(x), "layer_norm_grad");
    let (dx, out) = output(gpu, x.layout.dense_like(), x.dtype());
    let (from, grads, of, by) =
        (input(gpu, x), input(gpu, dy), input(gpu, stats), optional(gpu, weight));
    if let Some(Rows { defines, grid, rows, length }) = Rows::of(kernel, x, length) {
        // SAFETY: as in `layer_norm`.
        unsafe {
            layer_norm_grad_of(gpu, &defines, grid, kernel, from, grads, of, by, out, rows, length);
        }
    }
    let [dweight, dbias] = columns::layer_norm_sums(x, dy, stats, length);
    LayerNormGrad { dx, dweight, dbias }
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let mut all = Vec::new();
    for t in [DType::F32, DType::F64] {
        for group in GROUPS {
            let group = ("GROUP", Value::Int(group.into()));
            all.push(Module::new(&ROWS, &[("T", Value::Type(t)), group]));
        }
    }
    all
}
