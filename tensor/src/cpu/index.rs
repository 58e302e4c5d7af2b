//! Choosing, joining and rearranging elements.

use super::{
    elementwise,
    float::Float,
    parallel::{GRAIN, for_each_chunk},
    strided::Rows,
};
use crate::{
    Shape, Tensor,
    dtype::{with_element, with_float},
    layout::Layout,
};

pub(super) fn where_(condition: &Tensor, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let broadcast =
        |t: &Tensor| t.layout.broadcast_to(shape).expect("shapes were checked to broadcast");
    let layouts = [broadcast(condition), broadcast(a), broadcast(b)];
    let full = [a, b, condition].into_iter().find(|t| t.shape() == shape && t.layout.is_dense());
    let out = full.map_or(Layout::contiguous(shape), |t| t.layout.dense_like());
    let chosen = condition.storage_slice::<u8>();
    with_element!(a.dtype(), T => {
        let (sa, sb) = (a.storage_slice::<T>(), b.storage_slice::<T>());
        Tensor::build::<T>(out, a.device(), |y| {
            let rows = Rows::new([&out, &layouts[0], &layouts[1], &layouts[2]]);
            elementwise::rows(y, rows, |y, [c0, a0, b0], steps| {
                let n = y.len();
                match steps {
                    [1, 1, 1] => {
                        let ab = sa[a0..a0 + n].iter().zip(&sb[b0..b0 + n]);
                        for ((y, &c), (&a, &b)) in y.iter_mut().zip(&chosen[c0..c0 + n]).zip(ab) {
                            *y = if c != 0 { a } else { b };
                        }
                    }
                    [1, 0, 1] => {
                        let (a, b) = (sa[a0], &sb[b0..b0 + n]);
                        for ((y, &c), &b) in y.iter_mut().zip(&chosen[c0..c0 + n]).zip(b) {
                            *y = if c != 0 { a } else { b };
                        }
                    }
                    [1, 1, 0] => {
                        let (a, b) = (&sa[a0..a0 + n], sb[b0]);
                        for ((y, &c), &a) in y.iter_mut().zip(&chosen[c0..c0 + n]).zip(a) {
                            *y = if c != 0 { a } else { b };
                        }
                    }
                    [dc, da, db] => {
                        for (i, y) in y.iter_mut().enumerate() {
                            let from_a = chosen[c0 + i * dc] != 0;
                            *y = if from_a { sa[a0 + i * da] } else { sb[b0 + i * db] };
                        }
                    }
                }
            });
        })
    })
}

/// A dense tensor as `[outer, axis, inner]` in memory.
pub(super) struct Blocks {
    pub(super) layout: Layout,
    /// Axes from outermost to innermost in memory.
    order: Vec<usize>,
    len: usize,
    pub(super) inner: usize,
}

impl Blocks {
    /// The memory order of `x` if it is dense, else row-major, for the shape of `x` with `axis` of length `len`.
    pub(super) fn like(x: &Tensor, axis: usize, len: usize) -> Self {
        let (mut order, rank) = ((0..x.rank()).collect::<Vec<_>>(), x.rank());
        if x.layout.is_dense() && !x.is_contiguous() {
            order.copy_from_slice(&x.layout.memory_order().0[..rank]);
        }
        let layout = Layout::dense(x.shape().with_axis(axis, len), &order);
        Blocks { layout, order, len, inner: layout.strides()[axis] }
    }

    /// The elements of `x` in this memory order, with `axis` of its own length.
    pub(super) fn source(&self, x: &Tensor) -> Tensor {
        let layout = Layout::dense(x.shape(), &self.order);
        if x.layout.is_dense() && x.layout.same_order(&layout) {
            return x.clone();
        }
        elementwise::copy(x, layout)
    }

    /// Elements of one outer index.
    pub(super) fn block(&self) -> usize {
        self.len * self.inner
    }
}

pub(super) fn cat(tensors: &[&Tensor], axis: usize, length: usize) -> Tensor {
    let blocks = Blocks::like(tensors[0], axis, length);
    with_element!(tensors[0].dtype(), T => {
        let sources: Vec<Tensor> = tensors.iter().map(|t| blocks.source(t)).collect();
        // Each source and the elements it has per outer index.
        let parts: Vec<(&[T], usize)> = sources
            .iter()
            .map(|t| (t.dense_slice::<T>(), t.dims()[axis] * blocks.inner))
            .collect();
        Tensor::build::<T>(blocks.layout, tensors[0].device(), |y| {
            let block = blocks.block();
            if y.is_empty() {
                return;
            }
            for_each_chunk(y, block * (GRAIN / block).max(1), |start, y| {
                for (i, y) in y.chunks_mut(block).enumerate() {
                    let outer = start / block + i;
                    let mut rest = y;
                    for &(source, n) in &parts {
                        let (now, later) = rest.split_at_mut(n);
                        now.copy_from_slice(&source[outer * n..][..n]);
                        rest = later;
                    }
                }
            });
        })
    })
}

pub(super) fn flip(x: &Tensor, axes: &[usize]) -> Tensor {
    let (layout, rank) = (Layout::contiguous(x.shape()), x.rank());
    // The first element of the result and the signed step along each axis.
    let mut first = x.layout.offset as isize;
    let mut steps: Vec<isize> = x.strides().iter().map(|&s| s as isize).collect();
    for &axis in axes {
        first += (x.dims()[axis] as isize - 1) * steps[axis];
        steps[axis] = -steps[axis];
    }
    let row = x.dims().last().copied().unwrap_or(1);
    let step = steps.last().copied().unwrap_or(1);
    with_element!(x.dtype(), T => {
        let src = x.storage_slice::<T>();
        Tensor::build::<T>(layout, x.device(), |y| {
            if y.is_empty() {
                return;
            }
            for_each_chunk(y, row * (GRAIN / row).max(1), |start, y| {
                for (i, y) in y.chunks_mut(row).enumerate() {
                    let (mut at, mut index) = (first, start / row + i);
                    for axis in (0..rank.saturating_sub(1)).rev() {
                        at += (index % x.dims()[axis]) as isize * steps[axis];
                        index /= x.dims()[axis];
                    }
                    for y in y {
                        *y = src[at as usize];
                        at += step;
                    }
                }
            });
        })
    })
}

pub(super) fn index_select(x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
    let index = index.contiguous();
    let index = index.dense_slice::<i64>();
    let blocks = Blocks::like(x, axis, index.len());
    let x = blocks.source(x);
    let (inner, source_block) = (blocks.inner, x.dims()[axis] * blocks.inner);
    with_element!(x.dtype(), T => {
        let src = x.dense_slice::<T>();
        Tensor::build::<T>(blocks.layout, x.device(), |y| {
            if y.is_empty() {
                return;
            }
            for_each_chunk(y, inner * (GRAIN / inner).max(1), |start, y| {
                for (i, y) in y.chunks_mut(inner).enumerate() {
                    let slice = start / inner + i;
                    let (outer, i) = (slice / index.len(), slice % index.len());
                    let from = outer * source_block + index[i] as usize * inner;
                    y.copy_from_slice(&src[from..][..inner]);
                }
            });
        })
    })
}

pub(super) fn index_add(x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
    let blocks = Blocks::like(x, axis, x.dims()[axis]);
    let (x, src) = (blocks.source(x), blocks.source(src));
    let index = index.contiguous();
    let index = index.dense_slice::<i64>();
    with_float!("index_add", x.dtype(), T => {
        let (old, src) = (x.dense_slice::<T>(), src.dense_slice::<T>());
        Tensor::build::<T>(blocks.layout, x.device(), |y| {
            let (block, inner) = (blocks.block(), blocks.inner);
            if y.is_empty() {
                return;
            }
            for_each_chunk(y, block * (GRAIN / block).max(1), |start, y| {
                y.copy_from_slice(&old[start..start + y.len()]);
                for (i, y) in y.chunks_mut(block).enumerate() {
                    let src = &src[(start / block + i) * index.len() * inner..];
                    for (&to, src) in index.iter().zip(src.chunks(inner)) {
                        add(&mut y[to as usize * inner..][..inner], src);
                    }
                }
            });
        })
    })
}

fn add<T: Float>(y: &mut [T], x: &[T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// For each row (last axis) of `index`: where its first element's neighbors lie in a tensor of strides `strides`,
/// the indexed axis aside.
struct Lines<'a> {
    index: &'a Tensor,
    axis: usize,
    strides: &'a [usize],
}

impl Lines<'_> {
    /// Length of a row of the index.
    fn row(&self) -> usize {
        self.index.dims().last().copied().unwrap_or(1)
    }

    /// Calls `f(i, at)` for element `i` of row `row`, whose index is `index[i]`: `at` is its place.
    fn walk(&self, row: usize, index: &[i64], mut f: impl FnMut(usize, usize)) {
        let rank = self.index.rank();
        let (mut base, mut rest) = (0, row);
        for axis in (0..rank - 1).rev() {
            let i = rest % self.index.dims()[axis];
            rest /= self.index.dims()[axis];
            if axis != self.axis {
                base += i * self.strides[axis];
            }
        }
        let along = if self.axis == rank - 1 { 0 } else { self.strides[rank - 1] };
        for (i, &chosen) in index.iter().enumerate() {
            f(i, base + i * along + chosen as usize * self.strides[self.axis]);
        }
    }
}

pub(super) fn gather(x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
    let index = index.contiguous();
    let lines = Lines { index: &index, axis, strides: x.strides() };
    let (row, chosen) = (lines.row(), index.dense_slice::<i64>());
    with_element!(x.dtype(), T => {
        let src = x.storage_slice::<T>();
        Tensor::build::<T>(Layout::contiguous(index.shape()), x.device(), |y| {
            if y.is_empty() {
                return;
            }
            for_each_chunk(y, row * (GRAIN / row).max(1), |start, y| {
                for (r, y) in y.chunks_mut(row).enumerate() {
                    let chosen = &chosen[start + r * row..][..row];
                    lines.walk(start / row + r, chosen, |i, at| y[i] = src[x.layout.offset + at]);
                }
            });
        })
    })
}

pub(super) fn scatter_add(x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
    let (x, index, src) = (x.contiguous(), index.contiguous(), src.contiguous());
    let lines = Lines { index: &index, axis, strides: x.strides() };
    let (row, chosen) = (lines.row(), index.dense_slice::<i64>());
    with_float!("scatter_add", x.dtype(), T => {
        let src = src.dense_slice::<T>();
        Tensor::build::<T>(x.layout.dense_like(), x.device(), |y| {
            y.copy_from_slice(x.dense_slice::<T>());
            // One after the other: several sources may meet in one place, in an order that must not vary.
            if !src.is_empty() {
                for (r, (src, chosen)) in src.chunks(row).zip(chosen.chunks(row)).enumerate() {
                    lines.walk(r, chosen, |i, at| y[at] += src[i]);
                }
            }
        })
    })
}

/// The position and value of the first index outside `0..len`.
pub(super) fn first_outside(index: &Tensor, len: usize) -> Option<(usize, i64)> {
    let index = index.contiguous();
    let mut values = index.dense_slice::<i64>().iter().copied().enumerate();
    values.find(|&(_, i)| usize::try_from(i).map_or(true, |i| i >= len))
}
