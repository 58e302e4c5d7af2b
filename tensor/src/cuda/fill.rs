//! Constant tensors and counts.

use super::{
    gpu::Gpu,
    launch::{Define, Grid, Module, Out, Source, Value, kernels},
    operand::output,
};
use crate::{DType, Element, Tensor, dtype::with_element, layout::Layout};

static FILL: Source = Source { name: "fill", text: include_str!("kernels/fill.cu"), options: &[] };

kernels! { FILL;
    fn fill(y: Out, pattern: u64, n: u64);
    fn count(y: Out, n: u64);
}

/// The constant that tells kernels the size of an element.
pub(super) fn size(dtype: DType) -> Define {
    ("SIZE", Value::Int(dtype.size() as i64))
}

/// The bits of `value` as an element of `dtype`.
pub(super) fn pattern(value: f64, dtype: DType) -> u64 {
    let mut bits = [0; 8];
    with_element!(dtype, T => {
        let value = T::from_f64(value);
        let bytes = bytemuck::bytes_of(&value);
        bits[..bytes.len()].copy_from_slice(bytes);
    });
    u64::from_le_bytes(bits)
}

/// `value` everywhere.
pub(crate) fn full(gpu: &'static Gpu, value: f64, layout: Layout, dtype: DType) -> Tensor {
    let (y, out) = output(gpu, layout, dtype);
    let n = layout.shape.numel();
    // SAFETY: the output has n elements.
    unsafe { fill(gpu, &[size(dtype)], Grid::over(n, 4), out, pattern(value, dtype), n as u64) };
    y
}

/// The integers `0..n`.
pub(crate) fn arange(gpu: &'static Gpu, n: usize) -> Tensor {
    let (y, out) = output(gpu, Layout::contiguous([n].into()), DType::I64);
    // SAFETY: the output has n elements.
    unsafe { count(gpu, &[size(DType::I64)], Grid::over(n, 1), out, n as u64) };
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [1, 2, 4, 8].map(|s| Module::new(&FILL, &[("SIZE", Value::Int(s))])).into()
}
