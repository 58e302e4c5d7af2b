//! Reductions along any axes.

use super::{
    copy::DTYPES,
    fill,
    launch::{Define, Grid, In, Module, Out, Source, THREADS, Value, kernels},
    operand::{gpu, input, output, scratch},
    strided::{Part, Walk, walk},
};
use crate::{
    DType, Tensor,
    kernels::{ArgOp, ReduceOp},
    layout::Layout,
    shape::MAX_RANK,
};

static REDUCE: Source =
    Source { name: "reduce", text: include_str!("kernels/reduce.cu"), options: &[] };

kernels! { REDUCE;
    any fn reduction(x: In, out: Out, kept: Walk<1>, reduced: Walk<1>, piece: u32, scale: f64);
    any fn combination(pieces: In, out: Out, outputs: u32, count: u32, scale: f64);
    any fn arg_reduction(x: In, y: Out, kept: Walk<1>, length: u32, step: i64);
}

/// The ranks that the walks over kept and over reduced axes are compiled for.
const RANKS: [usize; 3] = [1, 3, MAX_RANK];

/// A reduction with fewer elements for each output is not cut into pieces.
const LEAST_PIECE: usize = 4096;
/// Blocks enough to fill the largest GPU several times over: more pieces than that gain nothing.
const ENOUGH_BLOCKS: usize = 1024;

/// How a reduction walks its input.
struct Plan {
    kept: Part<1>,
    reduced: Part<1>,
    /// Whether neighbors in memory belong to one output, and there are many.
    along_memory: bool,
}

impl Plan {
    /// The layout of the result, with reduced axes of length 1 in the memory order of the input; and the walks, where the
    /// input has elements.
    fn new(x: &Tensor, axes: &[usize]) -> (Layout, Option<Plan>) {
        let (mut order, rank) = x.layout.memory_order();
        // Broadcast axes repeat memory: outermost, they leave the innermost loop over real neighbors.
        order[..rank].sort_by_key(|&axis| x.strides()[axis] != 0);
        let shape = axes.iter().fold(x.shape(), |shape, &axis| shape.with_axis(axis, 1));
        let layout = Layout::dense(shape, &order[..rank]);
        if x.numel() == 0 {
            return (layout, None);
        }
        let innermost = order[..rank].iter().rev().find(|&&a| x.dims()[a] > 1);
        // A block for one output needs enough elements to be worth its threads.
        let n: usize = axes.iter().map(|&a| x.dims()[a]).product();
        let along_memory = innermost.is_none_or(|a| axes.contains(a)) && n >= THREADS as usize / 4;
        // The first element of each kept index; the elements that make the first output.
        let first = |keep: bool| {
            let axes = (0..rank).filter(|a| axes.contains(a) == keep);
            axes.fold(x.layout, |l, a| l.slice(a, 0, 1, 1))
        };
        let ordered = |l: Layout| {
            // Walked in the memory order of the input.
            let dense = Layout::dense(l.shape, &order[..rank]);
            let mut parts = walk(&dense, [&l]);
            assert!(parts.len() == 1, "reductions of more than 2^31 elements are not supported");
            parts.remove(0)
        };
        let (kept, reduced) = (ordered(first(true)), ordered(first(false)));
        (layout, Some(Plan { kept, reduced, along_memory }))
    }

    fn defines(&self, x: &Tensor) -> [Define; 4] {
        let [kept, reduced] = [("KEPT", &self.kept), ("REDUCED", &self.reduced)]
            .map(|(name, part)| part.rank_as(name, &RANKS));
        [("T", Value::Type(x.dtype())), is_float(x.dtype()), kept, reduced]
    }
}

fn is_float(dtype: DType) -> Define {
    ("FLOAT", Value::Int(dtype.is_float().into()))
}

/// How a reduction is computed.
struct Kind {
    /// The kernels along memory, across memory, and of the pieces.
    kernels: [&'static str; 3],
    /// Bytes of an accumulator.
    accumulator: usize,
    /// What the result is multiplied by.
    scale: f64,
    result: DType,
}

/// `axes` reduced to length 1.
#[track_caller]
pub(super) fn reduce(op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
    let dtype = x.dtype();
    let integer = !dtype.is_float();
    assert!(
        !(integer && matches!(op, ReduceOp::Mean | ReduceOp::SumSquares)),
        "{}: dtype {dtype} is not supported; cast to a float first",
        op.name(),
    );
    let sum = Kind {
        kernels: ["rows_sum", "columns_sum", "pieces_sum"],
        accumulator: 8,
        scale: 1.0,
        result: if integer { DType::I64 } else { dtype },
    };
    let extreme = |kernels| Kind {
        kernels,
        // An element and whether there is one yet.
        accumulator: (dtype.size() + 4).next_multiple_of(dtype.size().max(4)),
        scale: 1.0,
        result: dtype,
    };
    let kind = match op {
        ReduceOp::Sum => sum,
        ReduceOp::Mean => {
            let n: usize = axes.iter().map(|&a| x.dims()[a]).product();
            Kind { scale: 1.0 / n as f64, ..sum }
        }
        ReduceOp::SumSquares => Kind {
            kernels: ["rows_sum_squares", "columns_sum_squares", "pieces_sum_squares"],
            ..sum
        },
        ReduceOp::Max => extreme(["rows_amax", "columns_amax", "pieces_amax"]),
        ReduceOp::Min => extreme(["rows_amin", "columns_amin", "pieces_amin"]),
    };
    run(&kind, x, axes)
}

/// The sum of squares of all elements, in f64; a tensor of one element.
pub(super) fn wide_sum_of_squares(x: &Tensor) -> Tensor {
    let kind = Kind {
        kernels: ["rows_wide_sum_squares", "columns_wide_sum_squares", "pieces_wide_sum_squares"],
        accumulator: 8,
        scale: 1.0,
        result: DType::F64,
    };
    run(&kind, x, &(0..x.rank()).collect::<Vec<_>>())
}

fn run(kind: &Kind, x: &Tensor, axes: &[usize]) -> Tensor {
    let (gpu, scale) = (gpu(x), kind.scale);
    let (layout, plan) = Plan::new(x, axes);
    let Some(plan) = plan else {
        // Of nothing: 0 times the scale, which is NaN for a mean.
        return fill::full(gpu, 0.0 * scale, layout, kind.result);
    };
    let (y, out) = output(gpu, layout, kind.result);
    let ([rows, columns, pieces], outputs) = (kind.kernels, plan.kept.n);
    let (kernel, blocks) =
        if plan.along_memory { (rows, outputs) } else { (columns, outputs.div_ceil(32)) };
    let most = (ENOUGH_BLOCKS / blocks).max(1);
    let piece = plan.reduced.n.div_ceil((plan.reduced.n / LEAST_PIECE).clamp(1, most));
    let count = plan.reduced.n.div_ceil(piece);
    let mut grid = Grid::blocks(blocks);
    grid.blocks[1] = count as u32;
    let partial = (count > 1).then(|| scratch(gpu, outputs * count * kind.accumulator));
    let to = partial.as_ref().map_or(out, |p| Out(p.address()));
    let (from, defines) = (input(gpu, x), plan.defines(x));
    let (kept, reduced) = (plan.kept.walk, plan.reduced.walk);
    // SAFETY: the walks cover x; there is an output, or an accumulator for each piece of it, for each kept index.
    unsafe { reduction(gpu, &defines, grid, kernel, from, to, kept, reduced, piece as u32, scale) };
    if let Some(partial) = partial {
        let (outputs, count) = (outputs as u32, count as u32);
        let grid = Grid::over(outputs as usize, 1);
        // SAFETY: as many accumulators as were written above.
        unsafe {
            let from = In(partial.address());
            combination(gpu, &defines, grid, pieces, from, out, outputs, count, scale);
        }
    }
    y
}

/// The index along `axis` of the first extreme, shape without `axis`.
pub(super) fn arg_reduce(op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
    let gpu = gpu(x);
    let layout = Layout::contiguous(x.shape().without_axis(axis));
    let (y, out) = output(gpu, layout, DType::I64);
    if y.numel() == 0 {
        return y;
    }
    let (length, step) = (x.dims()[axis], x.strides()[axis]);
    let first = x.layout.slice(axis, 0, 1, 1);
    let kept = &walk(&Layout::contiguous(first.shape), [&first])[0];
    let defines = [
        ("T", Value::Type(x.dtype())),
        is_float(x.dtype()),
        kept.rank_as("KEPT", &RANKS),
        ("REDUCED", Value::Int(1)),
    ];
    // A block for each output pays where the axis runs along memory and gives each of its threads something to do.
    let rows = step == 1 && length >= THREADS as usize / 4;
    let (kernel, grid) = match (op, rows) {
        (ArgOp::Max, true) => ("rows_argmax", Grid::blocks(kept.n)),
        (ArgOp::Min, true) => ("rows_argmin", Grid::blocks(kept.n)),
        (ArgOp::Max, false) => ("columns_argmax", Grid::over(kept.n, 1)),
        (ArgOp::Min, false) => ("columns_argmin", Grid::over(kept.n, 1)),
    };
    let (from, length) = (input(gpu, x), length as u32);
    // SAFETY: the walk covers the first elements along the axis, length and step the others.
    unsafe {
        arg_reduction(gpu, &defines, grid, kernel, from, out, kept.walk, length, step as i64)
    };
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let mut all = Vec::new();
    for t in DTYPES {
        for (kept, reduced) in RANKS.into_iter().flat_map(|k| RANKS.map(|r| (k as i64, r as i64))) {
            let defines = [
                ("T", Value::Type(t)),
                is_float(t),
                ("KEPT", Value::Int(kept)),
                ("REDUCED", Value::Int(reduced)),
            ];
            all.push(Module::new(&REDUCE, &defines));
        }
    }
    all
}
