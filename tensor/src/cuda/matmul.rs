//! Matrix products.

use super::{
    elementwise::float,
    launch::{Grid, In, Module, Out, Param, Source, THREADS, Value, kernels},
    operand::{gpu, input, optional, output},
    strided::{Walk, walk},
};
use crate::{DType, Shape, Tensor, layout::Layout, shape::MAX_RANK};

static MATMUL: Source =
    Source { name: "matmul", text: include_str!("kernels/matmul.cu"), options: &[] };

/// Steps between the rows and between the columns of a matrix.
#[derive(Clone, Copy)]
#[repr(C)]
struct Steps {
    row: i64,
    column: i64,
}

// SAFETY: two numbers, as in `matmul.cu`.
unsafe impl Param for Steps {}

kernels! { MATMUL;
    fn matmul(
        a: In, b: In, bias: In, c: Out, m: u32, n: u32, k: u32, a_steps: Steps, b_steps: Steps, batch: Walk<2>,
    );
}

/// The numbers of batch axes that the kernel is compiled for.
const RANKS: [usize; 2] = [1, MAX_RANK - 2];
/// Sides of the square that a block computes. The large one needs half the memory traffic, but for small matrices leaves
/// most of a GPU idle; in f64 its registers do not suffice.
const TILES: [usize; 2] = [64, 128];
/// Blocks of the larger tile below which a GPU is not full.
const FULL: usize = if cfg!(test) { 4 } else { 128 };

/// `a · b` for `a` `[batch.., m, k]` and `b` `[batch.., k, n]`, plus a bias `[n]` for each row.
pub(super) fn product(a: &Tensor, b: &Tensor, bias: Option<&Tensor>, shape: Shape) -> Tensor {
    let (gpu, t) = (gpu(a), float("matmul", a.dtype()));
    let rank = shape.rank();
    let (row, column) = (rank - 2, rank - 1);
    let layout = Layout::contiguous(shape);
    let (c, out) = output(gpu, layout, a.dtype());
    let steps =
        |l: &Layout| Steps { row: l.strides()[row] as i64, column: l.strides()[column] as i64 };
    // The first elements of the matrices form a tensor of the batch axes.
    let corner = |l: &Layout| l.slice(row, 0, 1, 1).slice(column, 0, 1, 1);
    let [m, n, k] = [shape[row], shape[column], a.dims()[column]];
    if c.numel() == 0 {
        return c;
    }
    let first = Layout::contiguous(corner(&layout).shape);
    // Of a product over nothing the operands are empty: their corners cannot be cut out.
    let operands = if k == 0 { [first, first] } else { [corner(&a.layout), corner(&b.layout)] };
    let batch = &walk(&first, operands.each_ref())[0];
    let blocks = |tile: usize| m.div_ceil(tile) * n.div_ceil(tile) * batch.n;
    let large = a.dtype() == DType::F32 && blocks(TILES[1]) >= FULL;
    let tile = TILES[usize::from(large)];
    let grid = Grid {
        blocks: [m.div_ceil(tile) as u32, n.div_ceil(tile) as u32, batch.n.min(65_535) as u32],
        threads: [THREADS, 1, 1],
        shared: 0,
    };
    let defines = [t, ("TILE", Value::Int(tile as i64)), batch.rank_as("RANK", &RANKS)];
    let size = |x: usize| u32::try_from(x).expect("matrices have fewer than 2^32 rows and columns");
    // SAFETY: sizes, steps and walk are those of the three tensors; the bias has n elements.
    unsafe {
        matmul(
            gpu,
            &defines,
            grid,
            input(gpu, a),
            input(gpu, b),
            optional(gpu, bias),
            out,
            size(m),
            size(n),
            size(k),
            steps(&a.layout),
            steps(&b.layout),
            batch.walk,
        );
    }
    c
}

/// `x weight^T + bias`.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let shape = [x.dims()[0], weight.dims()[0]].into();
    product(x, &weight.transpose(0, 1), bias, shape)
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let mut all = Vec::new();
    for rank in RANKS {
        for (t, tile) in [(DType::F32, 64), (DType::F32, 128), (DType::F64, 64)] {
            let (tile, rank) = (("TILE", Value::Int(tile)), ("RANK", Value::Int(rank as i64)));
            all.push(Module::new(&MATMUL, &[("T", Value::Type(t)), tile, rank]));
        }
    }
    all
}
