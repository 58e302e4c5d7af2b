//! Products of matrices in the shapes that convolutions give rise to.

use std::hint::black_box;

use autograd::trace::kernel;
use tensor::{DType, Device, Stream, Tensor};

use super::{Prepared, Workload};

pub(super) fn all() -> Vec<Workload> {
    let forward = "product of row-major matrices: the Sudoku net's 7x7 layer, whole batch";
    let weight = "product with the transpose of a row-major matrix: a 7x7 layer's weight gradient";
    vec![
        Workload::new("gemm_256x8100x12544", forward, |d| product(d, [256, 8100, 12544], false)),
        Workload::new("gemm_bww_64x3136x1024", weight, |d| product(d, [64, 3136, 1024], true)),
    ]
}

/// `[m, k]` times `[k, n]`, the latter stored as `[n, k]` if `transposed`.
fn product(device: Device, [m, n, k]: [usize; 3], transposed: bool) -> Prepared {
    let stream = &mut Stream::new(0);
    let mut random = |shape: [usize; 2]| Tensor::randn(shape, DType::F32, device, stream);
    let a = random([m, k]);
    let b = if transposed { random([n, k]).transpose(0, 1) } else { random([k, n]) };
    let product = move || black_box(&a).matmul(black_box(&b));
    let step = Box::new(move || drop(black_box(kernel("matmul", (m * n * k) as u64, &product))));
    Prepared { step, flop: Some(2.0 * (m * n * k) as f64), bytes: None }
}
