//! The CPU device: kernels over slices, parallel with rayon, bit-identical for any number of threads.

pub(crate) mod conv;
mod elementwise;
mod float;
pub(crate) mod gemm;
#[doc(hidden)]
pub mod kernels_for_bench;
mod loops;
mod lp_mask;
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
    kernels::{ArgOp, BinaryOp, CompareOp, Kernels, LpWindow, MaskGradient, ReduceOp, UnaryOp},
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
    fn lp_mask(&self, c: &Tensor, log2p: &Tensor, window: LpWindow) -> Tensor {
        lp_mask::lp_mask(c, log2p, window)
    }
    fn lp_mask_grad(&self, operands: MaskGradient<'_>, window: LpWindow) -> (Tensor, Tensor) {
        lp_mask::lp_mask_grad(operands, window)
    }
    fn masked_weight(&self, weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor {
        lp_mask::masked_weight(weight, mask, crop)
    }
    fn masked_weight_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        mask: &Tensor,
        crop: [usize; 2],
        mask_wanted: bool,
    ) -> (Tensor, Option<Tensor>) {
        lp_mask::masked_weight_grad(dy, weight, mask, crop, mask_wanted)
    }
}
