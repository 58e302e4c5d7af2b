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
    /// Of outputs, and of the elements of one: parts where there are more than 32 bits can count.
    kept: Vec<Part<1>>,
    reduced: Vec<Part<1>>,
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
            walk(&dense, [&l])
        };
        let (kept, reduced) = (ordered(first(true)), ordered(first(false)));
        (layout, Some(Plan { kept, reduced, along_memory }))
    }
}

fn defines(x: &Tensor, kept: &Part<1>, reduced: &Part<1>) -> [Define; 4] {
    let ranks = [kept.rank_as("KEPT", &RANKS), reduced.rank_as("REDUCED", &RANKS)];
    [("T", Value::Type(x.dtype())), is_float(x.dtype()), ranks[0], ranks[1]]
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
    for kept in &plan.kept {
        run_part(kind, x, &plan, kept, out.plus(kept.start, kind.result.size()));
    }
    y
}

/// The outputs of one part.
fn run_part(kind: &Kind, x: &Tensor, plan: &Plan, kept: &Part<1>, out: Out) {
    let (gpu, scale, outputs) = (gpu(x), kind.scale, kept.n);
    let [rows, columns, combine] = kind.kernels;
    let (kernel, blocks) =
        if plan.along_memory { (rows, outputs) } else { (columns, outputs.div_ceil(32)) };
    let most = (ENOUGH_BLOCKS / blocks).max(1);
    // Elements of a piece of each part of the reduced axes, and the number of those.
    let cut = |part: &Part<1>| {
        let piece = part.n.div_ceil((part.n / LEAST_PIECE).clamp(1, most));
        // Of several parts each gives at least two pieces: a kernel that makes one writes results.
        let piece = if plan.reduced.len() > 1 { piece.min(part.n.div_ceil(2)) } else { piece };
        (piece, part.n.div_ceil(piece))
    };
    let count: usize = plan.reduced.iter().map(|part| cut(part).1).sum();
    let partial = (count > 1).then(|| scratch(gpu, outputs * count * kind.accumulator));
    let mut to = partial.as_ref().map_or(out, |p| Out(p.address()));
    for reduced in &plan.reduced {
        let (piece, count) = cut(reduced);
        let mut grid = Grid::blocks(blocks);
        grid.blocks[1] = count as u32;
        let from = input(gpu, x).plus(kept.inputs[0] + reduced.inputs[0], x.dtype().size());
        let (defines, kept, reduced) = (defines(x, kept, reduced), kept.walk, reduced.walk);
        // SAFETY: the walks cover x; there is an output, or an accumulator for each piece of it, for each kept index.
        unsafe {
            reduction(gpu, &defines, grid, kernel, from, to, kept, reduced, piece as u32, scale);
        }
        to = to.plus(count * outputs, kind.accumulator);
    }
    if let Some(partial) = partial {
        let (from, grid) = (In(partial.address()), Grid::over(outputs, 1));
        let (outputs, count) = (outputs as u32, count as u32);
        let defines = defines(x, kept, &plan.reduced[0]);
        // SAFETY: as many accumulators as were written above.
        unsafe { combination(gpu, &defines, grid, combine, from, out, outputs, count, scale) };
    }
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
    let (step, count) =
        (step as i64, u32::try_from(length).expect("axes have fewer than 2^32 elements"));
    for kept in walk(&Layout::contiguous(first.shape), [&first]) {
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
        let from = input(gpu, x).plus(kept.inputs[0], x.dtype().size());
        let to = out.plus(kept.start, y.dtype().size());
        // SAFETY: the walk covers the first elements along the axis, length and step the others.
        unsafe { arg_reduction(gpu, &defines, grid, kernel, from, to, kept.walk, count, step) };
    }
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
