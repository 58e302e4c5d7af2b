//! The CPU device: kernels over slices, parallel with rayon, bit-identical for any number of threads.

pub(crate) mod conv;
mod elementwise;
mod float;
pub(crate) mod gemm;
#[doc(hidden)]
pub mod kernels_for_bench;
mod loops;
mod microkernel;
pub(crate) mod parallel;
mod product;
pub(crate) mod recycle;
mod reduce;
mod scratch;
mod simd;
mod strided;

use crate::{
    DType, Shape, Tensor,
    kernels::{ArgOp, BinaryOp, CompareOp, Kernels, ReduceOp, UnaryOp},
    layout::Layout,
};

/// The CPU's implementation of every op.
pub(crate) struct Cpu;

impl Kernels for Cpu {
    fn copy(&self, x: &Tensor, layout: Layout) -> Tensor {
        elementwise::copy(x, layout)
    }
    fn cast(&self, x: &Tensor, dtype: DType) -> Tensor {
        elementwise::cast(x, dtype)
    }
    fn unary(&self, op: UnaryOp, x: &Tensor) -> Tensor {
        elementwise::unary(op, x)
    }
    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        elementwise::binary(op, a, b, shape)
    }
    fn compare(&self, op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        elementwise::compare(op, a, b, shape)
    }
    fn reduce(&self, op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
        reduce::reduce(op, x, axes)
    }
    fn arg_reduce(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        reduce::arg_reduce(op, x, axis)
    }
    fn cumsum(&self, x: &Tensor, axis: usize) -> Tensor {
        reduce::cumsum(x, axis)
    }
}
