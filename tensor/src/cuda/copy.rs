//! Elements moved, chosen and converted.

use super::{
    fill::size,
    gpu::Gpu,
    launch::{Grid, In, Module, Out, Source, THREADS, Value, kernels},
    operand::{gpu, input, output},
    strided::{Part, RANKS, Walk, walk},
};
use crate::{DType, Shape, Tensor, layout::Layout};

static COPY: Source = Source { name: "copy", text: include_str!("kernels/copy.cu"), options: &[] };
static CAST: Source = Source { name: "cast", text: include_str!("kernels/cast.cu"), options: &[] };

kernels! { COPY;
    fn strided_copy(x: In, y: Out, walk: Walk<1>);
    fn choose(condition: In, a: In, b: In, y: Out, walk: Walk<3>);
    fn transpose(x: In, y: Out, rows: u32, columns: u32, x_step: u64, x_layer: u64, y_layer: u64);
}
kernels! { CAST;
    fn cast(x: In, y: Out, n: u64);
}

/// Types of numbers.
pub(super) const DTYPES: [DType; 6] =
    [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I64, DType::U8];

impl In {
    /// `elements` of `size` bytes further.
    pub(super) fn plus(self, elements: usize, size: usize) -> In {
        In(self.0 + (elements * size) as u64)
    }
}

impl Out {
    /// `elements` of `size` bytes further.
    pub(super) fn plus(self, elements: usize, size: usize) -> Out {
        Out(self.0 + (elements * size) as u64)
    }
}

/// The elements of `x` in a new tensor of a dense layout.
pub(super) fn copy(x: &Tensor, layout: Layout) -> Tensor {
    let (gpu, bytes) = (gpu(x), x.dtype().size());
    let (y, out) = output(gpu, layout, x.dtype());
    let from = input(gpu, x);
    for part in walk(&layout, [&x.layout]) {
        let (from, to) = (from.plus(part.inputs[0], bytes), out.plus(part.start, bytes));
        if !transposed(gpu, x.dtype(), from, to, &part) {
            // SAFETY: the walk covers the output's elements and those of x that belong to them.
            unsafe {
                let defines = [size(x.dtype()), part.rank()];
                strided_copy(gpu, &defines, Grid::over(part.n, 4), from, to, part.walk);
            }
        }
    }
    y
}

/// Copies by way of tiles where the memory of `x` runs along another axis than that of the output (channels last to
/// contiguous and back); says whether it did.
fn transposed(gpu: &Gpu, dtype: DType, from: In, to: Out, part: &Part<1>) -> bool {
    // Innermost first: columns of the output, its rows, matrices.
    let [(columns, x_step), (rows, along), layer] = part.walk.first_axes();
    let (layers, x_layer) = layer;
    let few = rows < 8 || columns < 8;
    if part.axes() > 3
        || along != 1
        || x_step == 1
        || few
        || layers > 65_535
        || rows.div_ceil(32) > 65_535
    {
        return false;
    }
    let grid = Grid {
        blocks: [columns.div_ceil(32), rows.div_ceil(32), layers],
        threads: [THREADS, 1, 1],
        shared: 0,
    };
    let defines = [size(dtype), ("RANK", Value::Int(1))];
    let y_layer = u64::from(rows) * u64::from(columns);
    // SAFETY: the output is dense, so its matrices follow each other; `from` is stepped through as the walk says.
    unsafe {
        transpose(
            gpu,
            &defines,
            grid,
            from,
            to,
            rows,
            columns,
            x_step as u64,
            x_layer as u64,
            y_layer,
        );
    }
    true
}

/// `a` where `condition` is not 0, else `b`.
pub(super) fn where_(condition: &Tensor, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let (gpu, bytes) = (gpu(a), a.dtype().size());
    let layouts = [condition, a, b]
        .map(|t| t.layout.broadcast_to(shape).expect("shapes were checked to broadcast"));
    let full = [a, b, condition].into_iter().find(|t| t.shape() == shape && t.layout.is_dense());
    let layout = full.map_or(Layout::contiguous(shape), |t| t.layout.dense_like());
    let (y, out) = output(gpu, layout, a.dtype());
    let [c, p, q] = [condition, a, b].map(|t| input(gpu, t));
    for part in walk(&layout, layouts.each_ref()) {
        let [ci, pi, qi] = part.inputs;
        let defines = [size(a.dtype()), part.rank()];
        // SAFETY: the walk covers the output's elements and those of the operands that belong to them.
        unsafe {
            let (c, p, q) = (c.plus(ci, 1), p.plus(pi, bytes), q.plus(qi, bytes));
            let to = out.plus(part.start, bytes);
            choose(gpu, &defines, Grid::over(part.n, 4), c, p, q, to, part.walk);
        }
    }
    y
}

/// The elements of `x` converted to `dtype`.
pub(super) fn convert(x: &Tensor, dtype: DType) -> Tensor {
    let gpu = gpu(x);
    let x = if x.layout.is_dense() { x.clone() } else { x.contiguous() };
    let (y, out) = output(gpu, x.layout.dense_like(), dtype);
    let defines = [("T", Value::Type(x.dtype())), ("U", Value::Type(dtype))];
    // SAFETY: both are dense, of as many elements, in one memory order.
    unsafe { cast(gpu, &defines, Grid::over(x.numel(), 4), input(gpu, &x), out, x.numel() as u64) };
    y
}

/// Every way in which the sources are compiled.
pub(super) fn modules() -> Vec<Module> {
    let mut all = Vec::new();
    for rank in RANKS {
        for size in [1, 2, 4, 8] {
            all.push(Module::new(
                &COPY,
                &[("SIZE", Value::Int(size)), ("RANK", Value::Int(rank as i64))],
            ));
        }
    }
    for t in DTYPES {
        for u in DTYPES.into_iter().filter(|&u| u != t) {
            all.push(Module::new(&CAST, &[("T", Value::Type(t)), ("U", Value::Type(u))]));
        }
    }
    all
}
