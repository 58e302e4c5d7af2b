//! Reductions: sums, extremes and arg-extremes.
//!
//! Sums of floats are accumulated in f64. The reduced elements are split into pieces whose bounds depend on shape
//! and layout alone; the pieces' results are combined in order, so that threads never change a bit.

use std::marker::PhantomData;

use super::parallel::{GRAIN, for_each_chunk};
use crate::{
    DType, Element, Tensor,
    cpu::scratch::List,
    dtype::with_float,
    kernels::{ArgOp, ReduceOp},
    layout::Layout,
    shape::MAX_RANK,
};

/// Independent accumulators of a row: enough for the registers of a wide vector unit.
const LANES: usize = 16;
/// Columns that are accumulated together: their f64 accumulators take half of a first-level cache.
const COLUMNS: usize = 2048;
/// Rows of at least this many go into one piece, so that the pieces' results take little memory.
const MIN_ROWS: usize = 8;

/// One kind of reduction.
trait Reducer: Sync {
    type In: Element;
    type Acc: Copy + Send + Sync;
    type Out: Element;
    const INIT: Self::Acc;
    fn fold(acc: Self::Acc, x: Self::In) -> Self::Acc;
    fn combine(a: Self::Acc, b: Self::Acc) -> Self::Acc;
    fn finish(&self, acc: Self::Acc) -> Self::Out;
}

/// Sum of floats times `scale` (1 for a sum, 1/n for a mean).
struct Sum<T> {
    scale: f64,
    of: PhantomData<T>,
}

impl<T: Element> Reducer for Sum<T> {
    type In = T;
    type Acc = f64;
    type Out = T;
    const INIT: f64 = 0.0;
    #[inline(always)]
    fn fold(acc: f64, x: T) -> f64 {
        acc + x.to_f64()
    }
    #[inline(always)]
    fn combine(a: f64, b: f64) -> f64 {
        a + b
    }
    fn finish(&self, acc: f64) -> T {
        T::from_f64(acc * self.scale)
    }
}

struct SumSquares<T>(PhantomData<T>);

impl<T: Element> Reducer for SumSquares<T> {
    type In = T;
    type Acc = f64;
    type Out = T;
    const INIT: f64 = 0.0;
    #[inline(always)]
    fn fold(acc: f64, x: T) -> f64 {
        let x = x.to_f64();
        acc + x * x
    }
    #[inline(always)]
    fn combine(a: f64, b: f64) -> f64 {
        a + b
    }
    fn finish(&self, acc: f64) -> T {
        T::from_f64(acc)
    }
}

struct IntSum<T>(PhantomData<T>);

impl<T: Element + Into<i64>> Reducer for IntSum<T> {
    type In = T;
    type Acc = i64;
    type Out = i64;
    const INIT: i64 = 0;
    #[inline(always)]
    fn fold(acc: i64, x: T) -> i64 {
        acc.wrapping_add(x.into())
    }
    #[inline(always)]
    fn combine(a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
    fn finish(&self, acc: i64) -> i64 {
        acc
    }
}

/// A type with a smallest and a largest value, of which NaN is the only one not equal to itself.
trait Extreme: Element {
    const LOWEST: Self;
    const HIGHEST: Self;
}

macro_rules! extreme {
    ($($t:ident: $low:ident, $high:ident;)*) => {
        $(impl Extreme for $t {
            const LOWEST: Self = $t::$low;
            const HIGHEST: Self = $t::$high;
        })*
    };
}

extreme! {
    f32: NEG_INFINITY, INFINITY;
    f64: NEG_INFINITY, INFINITY;
    i64: MIN, MAX;
    u8: MIN, MAX;
}

#[inline(always)]
#[allow(clippy::eq_op)]
fn is_nan<T: PartialOrd>(x: T) -> bool {
    x != x
}

/// Whether `x` takes the place of `best`: NaN wins over every number and the first one stays.
#[inline(always)]
fn beats<T: PartialOrd + Copy, const MAX: bool>(x: T, best: T) -> bool {
    let better = if MAX { x > best } else { x < best };
    better || (is_nan(x) && !is_nan(best))
}

struct Best<T, const MAX: bool>(PhantomData<T>);

impl<T: Extreme, const MAX: bool> Reducer for Best<T, MAX> {
    type In = T;
    type Acc = T;
    type Out = T;
    const INIT: T = if MAX { T::LOWEST } else { T::HIGHEST };
    #[inline(always)]
    fn fold(acc: T, x: T) -> T {
        let better = if MAX { x > acc } else { x < acc };
        // NaN, once there, stays: nothing compares with it. Without a branch, so that the loop is vectorized.
        if better | is_nan(x) { x } else { acc }
    }
    #[inline(always)]
    fn combine(a: T, b: T) -> T {
        Self::fold(a, b)
    }
    fn finish(&self, acc: T) -> T {
        acc
    }
}

/// An axis, possibly of several merged ones: length and step in the input.
#[derive(Clone, Copy)]
struct Axis {
    len: usize,
    step: usize,
}

/// The offset of element `index` of the row-major product of `axes`.
fn offset(axes: &[Axis], mut index: usize) -> usize {
    let Some((first, rest)) = axes.split_first() else { return 0 };
    let mut at = 0;
    for axis in rest.iter().rev() {
        at += index % axis.len * axis.step;
        index /= axis.len;
    }
    at + index * first.step
}

/// How a reduction walks its input: the innermost axis in memory is the *row*; it is either reduced, then every
/// result takes whole rows, or kept, then rows are added up column by column.
struct Plan {
    keep: Vec<Axis>,
    reduce: Vec<Axis>,
    row: Axis,
    row_kept: bool,
    base: usize,
    /// Layout of the result, with reduced axes of length 1, in the memory order of the input.
    out: Layout,
    /// Number of reduced rows per result, how many of them make a piece, and pieces per row and in all.
    rows: usize,
    rows_per_piece: usize,
    segments: usize,
    pieces: usize,
}

impl Plan {
    fn new(x: &Tensor, axes: &[usize]) -> Self {
        let (mut order, rank) = x.layout.memory_order();
        // Broadcast axes repeat memory: outermost, they leave the innermost loop over real neighbors.
        order[..rank].sort_by_key(|&axis| x.strides()[axis] != 0);
        let mut shape = x.shape();
        let mut reduced = [false; MAX_RANK];
        for &axis in axes {
            shape = shape.with_axis(axis, 1);
            reduced[axis] = true;
        }
        let mut merged: Vec<(Axis, bool)> = Vec::new();
        for &axis in &order[..rank] {
            let new = Axis { len: x.dims()[axis], step: x.strides()[axis] };
            if new.len == 1 {
                continue;
            }
            match merged.last_mut() {
                Some((last, r)) if *r == reduced[axis] && last.step == new.step * new.len => {
                    *last = Axis { len: last.len * new.len, step: new.step };
                }
                _ => merged.push((new, reduced[axis])),
            }
        }
        let (row, row_reduced) = merged.pop().unwrap_or((Axis { len: 1, step: 1 }, true));
        let of = |kind: bool| merged.iter().filter(|(_, r)| *r == kind).map(|(a, _)| *a).collect();
        let (keep, reduce): (Vec<Axis>, Vec<Axis>) = (of(false), of(true));
        let rows: usize = reduce.iter().map(|a| a.len).product();
        let (rows_per_piece, segments) = if row_reduced {
            ((GRAIN / row.len.max(1)).max(1), row.len.div_ceil(GRAIN))
        } else {
            ((GRAIN / row.len.clamp(1, COLUMNS)).max(MIN_ROWS), 1)
        };
        Plan {
            row,
            row_kept: !row_reduced,
            base: x.layout.offset,
            out: Layout::dense(shape, &order[..rank]),
            rows,
            rows_per_piece,
            segments,
            pieces: rows.div_ceil(rows_per_piece) * segments,
            keep,
            reduce,
        }
    }

    /// Results per row: the row's columns where it is kept, else 1.
    fn width(&self) -> usize {
        if self.row_kept { self.row.len } else { 1 }
    }

    /// Rows of piece `piece`, as a range of row numbers.
    fn rows_of(&self, piece: usize) -> std::ops::Range<usize> {
        let start = piece * self.rows_per_piece;
        start..(start + self.rows_per_piece).min(self.rows)
    }

    /// Accumulates results `start..` of the array `[kept index][piece][column]`.
    fn accumulate<R: Reducer>(&self, src: &[R::In], start: usize, acc: &mut [R::Acc]) {
        if !self.row_kept {
            for (i, a) in acc.iter_mut().enumerate() {
                *a = self.fold_rows::<R>(src, start + i);
            }
            return;
        }
        let (mut at, mut rest) = (start, acc);
        while !rest.is_empty() {
            let column = at % self.row.len;
            let n = rest.len().min(self.row.len - column).min(COLUMNS);
            let (now, later) = rest.split_at_mut(n);
            self.fold_columns::<R>(src, at / self.row.len, column, now);
            (at, rest) = (at + n, later);
        }
    }

    /// One piece of one result where rows are reduced.
    fn fold_rows<R: Reducer>(&self, src: &[R::In], unit: usize) -> R::Acc {
        let (kept, piece) = (unit / self.pieces, unit % self.pieces);
        let from = piece % self.segments * GRAIN;
        let len = (self.row.len - from).min(GRAIN);
        let base = self.base + offset(&self.keep, kept) + from * self.row.step;
        let mut lanes = [R::INIT; LANES];
        for row in self.rows_of(piece / self.segments) {
            let at = base + offset(&self.reduce, row);
            if self.row.step == 1 {
                let row = &src[at..at + len];
                let (groups, tail) = row.as_chunks::<LANES>();
                for group in groups {
                    for (lane, &x) in lanes.iter_mut().zip(group) {
                        *lane = R::fold(*lane, x);
                    }
                }
                for (lane, &x) in lanes.iter_mut().zip(tail) {
                    *lane = R::fold(*lane, x);
                }
            } else {
                for i in 0..len {
                    let lane = &mut lanes[i % LANES];
                    *lane = R::fold(*lane, src[at + i * self.row.step]);
                }
            }
        }
        // Halving keeps the sum's tree balanced.
        let mut n = LANES;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                lanes[i] = R::combine(lanes[i], lanes[i + n]);
            }
        }
        lanes[0]
    }

    /// One piece of the results of neighboring columns where rows are kept.
    fn fold_columns<R: Reducer>(
        &self,
        src: &[R::In],
        unit: usize,
        column: usize,
        acc: &mut [R::Acc],
    ) {
        let (kept, piece) = (unit / self.pieces, unit % self.pieces);
        let base = self.base + offset(&self.keep, kept) + column * self.row.step;
        let n = acc.len();
        acc.fill(R::INIT);
        for row in self.rows_of(piece) {
            let at = base + offset(&self.reduce, row);
            if self.row.step == 1 {
                for (a, &x) in acc.iter_mut().zip(&src[at..at + n]) {
                    *a = R::fold(*a, x);
                }
            } else {
                for (i, a) in acc.iter_mut().enumerate() {
                    *a = R::fold(*a, src[at + i * self.row.step]);
                }
            }
        }
    }

    fn run<R: Reducer>(&self, x: &Tensor, reducer: &R) -> Tensor {
        let src = x.storage_slice::<R::In>();
        Tensor::build::<R::Out>(self.out, x.device(), |out| {
            if x.numel() == 0 {
                out.fill(reducer.finish(R::INIT));
            } else if self.pieces == 1 {
                let work = self.rows * if self.row_kept { 1 } else { self.row.len };
                for_each_chunk(out, (GRAIN / work).max(self.width().min(COLUMNS)), |start, out| {
                    let mut acc = List::filled(R::INIT, out.len());
                    self.accumulate::<R>(src, start, &mut acc);
                    for (o, &a) in out.iter_mut().zip(acc.iter()) {
                        *o = reducer.finish(a);
                    }
                });
            } else {
                let (width, pieces) = (self.width(), self.pieces);
                let mut partial = List::filled(R::INIT, out.len() * pieces);
                for_each_chunk(&mut partial, width.min(COLUMNS), |start, acc| {
                    self.accumulate::<R>(src, start, acc);
                });
                for_each_chunk(out, (GRAIN / pieces).max(1), |start, out| {
                    for (i, o) in out.iter_mut().enumerate() {
                        let (kept, column) = ((start + i) / width, (start + i) % width);
                        let first = kept * pieces * width + column;
                        let acc = (1..pieces).fold(partial[first], |acc, piece| {
                            R::combine(acc, partial[first + piece * width])
                        });
                        *o = reducer.finish(acc);
                    }
                });
            }
        })
    }
}

/// Reduces `axes` to length 1.
pub(super) fn reduce(op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
    let plan = Plan::new(x, axes);
    match (op, x.dtype()) {
        (ReduceOp::Sum, DType::I64) => plan.run(x, &IntSum::<i64>(PhantomData)),
        (ReduceOp::Sum, DType::U8) => plan.run(x, &IntSum::<u8>(PhantomData)),
        (ReduceOp::Max, DType::I64) => plan.run(x, &Best::<i64, true>(PhantomData)),
        (ReduceOp::Max, DType::U8) => plan.run(x, &Best::<u8, true>(PhantomData)),
        (ReduceOp::Min, DType::I64) => plan.run(x, &Best::<i64, false>(PhantomData)),
        (ReduceOp::Min, DType::U8) => plan.run(x, &Best::<u8, false>(PhantomData)),
        (op, dtype) => with_float!(op.name(), dtype, T => match op {
            ReduceOp::Sum => plan.run(x, &Sum::<T> { scale: 1.0, of: PhantomData }),
            ReduceOp::Mean => {
                let n: usize = axes.iter().map(|&a| x.dims()[a]).product();
                let scale = 1.0 / n as f64;
                plan.run(x, &Sum::<T> { scale, of: PhantomData })
            }
            ReduceOp::SumSquares => plan.run(x, &SumSquares::<T>(PhantomData)),
            ReduceOp::Max => plan.run(x, &Best::<T, true>(PhantomData)),
            ReduceOp::Min => plan.run(x, &Best::<T, false>(PhantomData)),
        }),
    }
}

/// The index along `axis` of the first extreme, shape without `axis`.
pub(super) fn arg_reduce(op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
    match (op, x.dtype()) {
        (ArgOp::Max, DType::I64) => arg_best::<i64, true>(x, axis),
        (ArgOp::Max, DType::U8) => arg_best::<u8, true>(x, axis),
        (ArgOp::Min, DType::I64) => arg_best::<i64, false>(x, axis),
        (ArgOp::Min, DType::U8) => arg_best::<u8, false>(x, axis),
        (op, dtype) => with_float!(op.name(), dtype, T => match op {
            ArgOp::Max => arg_best::<T, true>(x, axis),
            ArgOp::Min => arg_best::<T, false>(x, axis),
        }),
    }
}

fn arg_best<T: Element, const MAX: bool>(x: &Tensor, axis: usize) -> Tensor {
    let src = x.storage_slice::<T>();
    let (len, step) = (x.dims()[axis], x.strides()[axis]);
    let outer: Vec<Axis> = (0..x.rank())
        .filter(|&a| a != axis)
        .map(|a| Axis { len: x.dims()[a], step: x.strides()[a] })
        .collect();
    let layout = Layout::contiguous(x.shape().without_axis(axis));
    Tensor::build::<i64>(layout, x.device(), |out| {
        for_each_chunk(out, (GRAIN / len.max(1)).max(1), |start, out| {
            for (i, o) in out.iter_mut().enumerate() {
                let at = x.layout.offset + offset(&outer, start + i);
                let mut best = 0;
                for j in 1..len {
                    if beats::<T, MAX>(src[at + j * step], src[at + best * step]) {
                        best = j;
                    }
                }
                *o = best as i64;
            }
        });
    })
}
