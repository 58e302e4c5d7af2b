//! Elements chosen, joined and added by index.

use super::{
    copy::copy,
    elementwise::float,
    fill,
    launch::{Define, Grid, In, Module, Out, Source, Value, kernels},
    operand::{gpu, input, output},
    sort,
    strided::{Walk, walk},
};
use crate::{DType, Shape, Tensor, layout::Layout};

static INDEX: Source =
    Source { name: "index", text: include_str!("kernels/index.cu"), options: &[] };

kernels! { INDEX;
    fn join(x: In, y: Out, walk: Walk<1>, first: u64, part: u64, block: u64, at: u64);
    fn reorder(x: In, y: Out, walk: Walk<1>);
    any fn select(x: In, index: In, y: Out, length: u64, count: u64, inner: u64, n: u64);
    any fn gather_of(x: In, index: In, y: Out, walk: Walk<1>, step: i64);
    any fn add_at(
        x: In, src: In, sorted: In, order: In, y: Out, length: u64, count: u64, inner: u64, n: u64,
    );
    any fn scatter(src: In, index: In, y: Out, walk: Walk<1>, count: u64, inner: u64, step: i64);
    any fn outside(index: In, found: Out, length: u64, n: u64);
}

/// Constants for elements that are only moved.
fn moved(dtype: DType) -> [Define; 3] {
    let bytes = dtype.size();
    [("T", Value::Word(bytes)), ("ADDS", Value::Int(0)), ("WORD_BYTES", Value::Int(bytes as i64))]
}

/// Constants for elements that are added.
fn added(op: &str, dtype: DType) -> [Define; 3] {
    [float(op, dtype), ("ADDS", Value::Int(1)), ("WORD_BYTES", Value::Int(0))]
}

/// A dense tensor as `[outer, axis, inner]` in memory.
pub(super) struct Blocks {
    pub(super) layout: Layout,
    order: Vec<usize>,
    /// Elements between neighbors along the axis.
    pub(super) inner: usize,
}

impl Blocks {
    /// The memory order of `x` if it is dense, else row-major, for the shape of `x` with `axis` of length `len`.
    pub(super) fn like(x: &Tensor, axis: usize, len: usize) -> Self {
        let order = match x.layout.is_dense() && !x.is_contiguous() {
            true => x.layout.memory_order().0[..x.rank()].to_vec(),
            false => (0..x.rank()).collect(),
        };
        let layout = Layout::dense(x.shape().with_axis(axis, len), &order);
        Blocks { layout, inner: layout.strides()[axis], order }
    }

    /// `x` in this memory order, with `axis` of its own length.
    pub(super) fn source(&self, x: &Tensor) -> Tensor {
        let layout = self.dense(x.shape());
        if x.layout.is_dense() && x.layout.same_order(&layout) {
            x.clone()
        } else {
            copy(x, layout)
        }
    }

    fn dense(&self, shape: Shape) -> Layout {
        Layout::dense(shape, &self.order)
    }
}

/// One behind the other along `axis`.
pub(super) fn cat(tensors: &[&Tensor], axis: usize, length: usize) -> Tensor {
    let (gpu, dtype) = (gpu(tensors[0]), tensors[0].dtype());
    let blocks = Blocks::like(tensors[0], axis, length);
    let (y, out) = output(gpu, blocks.layout, dtype);
    let mut at = 0;
    for x in tensors {
        let from = input(gpu, x);
        let part = x.dims()[axis] * blocks.inner;
        for piece in walk(&blocks.dense(x.shape()), [&x.layout]) {
            let from = from.plus(piece.inputs[0], dtype.size());
            let (first, block) = (piece.start as u64, (length * blocks.inner) as u64);
            let grid = Grid::over(piece.n, 1);
            // SAFETY: the walk covers x, whose parts of the blocks of y lie from `at` on.
            unsafe {
                join(
                    gpu,
                    &moved(dtype),
                    grid,
                    from,
                    out,
                    piece.walk,
                    first,
                    part as u64,
                    block,
                    at as u64,
                );
            }
        }
        at += part;
    }
    y
}

/// Elements in reverse order along `axes`.
pub(super) fn flip(x: &Tensor, axes: &[usize]) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    let (y, out) = output(gpu, Layout::contiguous(x.shape()), dtype);
    if y.numel() == 0 {
        return y;
    }
    // The last element along flipped axes, and steps back from it.
    let steps: Vec<(usize, i64)> = (0..x.rank())
        .map(|a| (a, x.strides()[a] as i64))
        .map(|(a, s)| (x.dims()[a], if axes.contains(&a) { -s } else { s }))
        .collect();
    let last: usize = axes.iter().map(|&a| (x.dims()[a] - 1) * x.strides()[a]).sum();
    let from = input(gpu, x).plus(last, dtype.size());
    let (walk, grid) = (Walk::of("flip", &steps), Grid::over(y.numel(), 1));
    // SAFETY: the walk covers x.
    unsafe { reorder(gpu, &moved(dtype), grid, from, out, walk) };
    y
}

/// Slices of `x` along `axis` in the order of `index`.
pub(super) fn index_select(x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    let blocks = Blocks::like(x, axis, index.numel());
    input(gpu, index);
    let (x, index) = (blocks.source(x), index.contiguous());
    let (y, out) = output(gpu, blocks.layout, dtype);
    let (from, chosen, n) = (input(gpu, &x), input(gpu, &index), y.numel());
    let [length, count, inner] = [x.dims()[axis], index.numel(), blocks.inner].map(|n| n as u64);
    // SAFETY: indices were checked by the op; sizes are those of the tensors.
    unsafe {
        let (kernel, grid) = ("index_select", Grid::over(n, 1));
        select(gpu, &moved(dtype), grid, kernel, from, chosen, out, length, count, inner, n as u64);
    }
    y
}

/// `x` with slice `i` of `src` added to slice `index[i]`, in the order of `i`: the indices are sorted, so that every element
/// finds what is added to it.
pub(super) fn index_add(x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    let defines = added("index_add", dtype);
    let blocks = Blocks::like(x, axis, x.dims()[axis]);
    [index, src].iter().for_each(|t| _ = input(gpu, t));
    let index = index.contiguous();
    let order = sort::argsort(&index, false);
    let sorted = gather(&index, 0, &order);
    let (x, src) = (blocks.source(x), blocks.source(src));
    let (y, out) = output(gpu, blocks.layout, dtype);
    let (from, add, n) = (input(gpu, &x), input(gpu, &src), y.numel());
    let (sorted, order) = (input(gpu, &sorted), input(gpu, &order));
    let [length, count, inner] = [x.dims()[axis], index.numel(), blocks.inner].map(|n| n as u64);
    // SAFETY: as in `index_select`.
    unsafe {
        let (kernel, grid) = ("index_add", Grid::over(n, 1));
        add_at(
            gpu, &defines, grid, kernel, from, add, sorted, order, out, length, count, inner,
            n as u64,
        );
    }
    y
}

/// `y[.., i, ..] = x[.., index[.., i, ..], ..]`.
pub(super) fn gather(x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    input(gpu, index);
    let index = index.contiguous();
    let (y, out) = output(gpu, Layout::contiguous(index.shape()), dtype);
    if y.numel() == 0 {
        return y;
    }
    let steps: Vec<(usize, i64)> = (0..x.rank())
        .map(|a| (index.dims()[a], if a == axis { 0 } else { x.strides()[a] as i64 }))
        .collect();
    let (from, chosen) = (input(gpu, x), input(gpu, &index));
    let (walk, step) = (Walk::of("gather", &steps), x.strides()[axis] as i64);
    let grid = Grid::over(y.numel(), 1);
    // SAFETY: indices were checked by the op; the walk stays inside x.
    unsafe { gather_of(gpu, &moved(dtype), grid, "gather", from, chosen, out, walk, step) };
    y
}

/// `x` with `src[.., i, ..]` added at `[.., index[.., i, ..], ..]`: lines along the axis do not meet, and a thread has a line.
pub(super) fn scatter_add(x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    let defines = added("scatter_add", dtype);
    [index, src].iter().for_each(|t| _ = input(gpu, t));
    let (index, src) = (index.contiguous(), src.contiguous());
    let y = copy(x, Layout::contiguous(x.shape()));
    let out = Out(input(gpu, &y).0);
    if index.numel() == 0 {
        return y;
    }
    let steps: Vec<(usize, i64)> = (0..x.rank())
        .filter(|&a| a != axis)
        .map(|a| (index.dims()[a], y.strides()[a] as i64))
        .collect();
    let walk = Walk::of("scatter_add", &steps);
    let (from, chosen) = (input(gpu, &src), input(gpu, &index));
    let (count, inner) = (index.dims()[axis] as u64, index.strides()[axis] as u64);
    let (grid, step) =
        (Grid::over(index.numel() / index.dims()[axis], 1), y.strides()[axis] as i64);
    // SAFETY: indices were checked by the op; lines of y do not meet; `y` was made here.
    unsafe {
        scatter(gpu, &defines, grid, "scatter_add", from, chosen, out, walk, count, inner, step);
    }
    y
}

/// Position and value of the first index that is not in `0..len`. Waits for the device.
pub(super) fn first_outside(index: &Tensor, len: usize) -> Option<(usize, i64)> {
    let gpu = gpu(index);
    let index = index.contiguous();
    let n = index.numel();
    // All bits set: more than any position.
    let found = fill::full(gpu, -1.0, Layout::contiguous([1].into()), DType::I64);
    let (from, to) = (input(gpu, &index), Out(input(gpu, &found).0));
    // SAFETY: n elements, and one number to write.
    unsafe {
        let (kernel, grid) = ("first_outside", Grid::over(n, 1));
        outside(gpu, &moved(DType::I64), grid, kernel, from, to, len as u64, n as u64);
    }
    let at = usize::try_from(found.to_vec::<i64>()[0]).ok()?;
    let value = index.reshape([n]).narrow(0, at, 1).to_vec::<i64>()[0];
    Some((at, value))
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let words = [DType::U8, DType::F16, DType::F32, DType::F64].map(moved);
    let floats = [DType::F32, DType::F64].map(|t| added("index_add", t));
    words.iter().chain(&floats).map(|d| Module::new(&INDEX, d)).collect()
}
