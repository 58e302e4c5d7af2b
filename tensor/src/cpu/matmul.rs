//! Batched matrix products of views: the batch axes are walked, each product goes to the GEMM kernel with its strides.

use super::{
    gemm::{Gemm, gemm_batched},
    simd::Isa,
    strided::Rows,
};
use crate::{Shape, Tensor, dtype::with_float, layout::Layout};

/// `a · b` for `a` `[batch.., m, k]` and `b` `[batch.., k, n]` with the same batch axes, in contiguous memory.
pub(super) fn matmul(a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let rank = shape.rank();
    let (row, column) = (rank - 2, rank - 1);
    let out = Layout::contiguous(shape);
    let strides = |l: &Layout| [l.strides()[row], l.strides()[column]];
    with_float!("matmul", a.dtype(), T => Tensor::build::<T>(out, a.device(), |c| {
        let product = Gemm {
            m: shape[row],
            n: shape[column],
            k: a.dims()[column],
            a_strides: strides(&a.layout),
            b_strides: strides(&b.layout),
            ldc: shape[column],
            bias: None,
        };
        if c.is_empty() || product.k == 0 {
            c.fill(0.0);
            return;
        }
        // The first elements of the matrices form a tensor of the batch axes.
        let corner = |l: &Layout| l.slice(row, 0, 1, 1).slice(column, 0, 1, 1);
        let batch = Rows::new([&corner(&out), &corner(&a.layout), &corner(&b.layout)]);
        let (a, b) = (a.storage_slice::<T>(), b.storage_slice::<T>());
        for i in 0..batch.count() {
            let ([c0, a0, b0], [c_step, a_step, b_step]) = (batch.start(i), batch.steps);
            let operands = [&a[a0..], &b[b0..]];
            gemm_batched(
                Isa::active(),
                &product,
                batch.len,
                operands,
                [a_step, b_step],
                &mut c[c0..],
                c_step,
            );
        }
    }))
}
