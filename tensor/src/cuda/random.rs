//! Random tensors: the numbers of the CPU.

use super::{
    fill::pattern,
    gpu::Gpu,
    launch::{Grid, Module, Out, Source, kernels},
    operand::output,
};
use crate::{DType, Shape, Tensor, layout::Layout};

static RANDOM: Source = Source {
    name: "random",
    text: include_str!("kernels/random.cu"),
    // Products and sums are rounded one by one, as on the CPU.
    options: &["--fmad=false"],
};

kernels! { RANDOM;
    any fn numbers(y: Out, key: u64, n: u64);
    any fn bernoulli_of(y: Out, key: u64, threshold: u64, one: u64, n: u64);
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Distribution {
    /// Uniform in `[0, 1)`.
    Uniform,
    /// Normal of mean 0 and variance 1.
    Normal,
}

/// Numbers of dtype f32 or f64, each a function of the key and its place.
pub(crate) fn draw(
    gpu: &'static Gpu,
    what: Distribution,
    shape: Shape,
    dtype: DType,
    key: u64,
) -> Tensor {
    let (y, out) = output(gpu, Layout::contiguous(shape), dtype);
    let (kernel, per_block) = match (what, dtype) {
        (Distribution::Uniform, DType::F32) => ("uniform_f32", 4),
        (Distribution::Uniform, _) => ("uniform_f64", 2),
        (Distribution::Normal, DType::F32) => ("normal_f32", 4),
        (Distribution::Normal, _) => ("normal_f64", 2),
    };
    let n = shape.numel();
    // SAFETY: the output has n elements of the kernel's type.
    unsafe { numbers(gpu, &[], Grid::over(n, per_block), kernel, out, key, n as u64) };
    y
}

/// 1 where the random word of a place is below `threshold`, else 0; any dtype.
pub(crate) fn bernoulli(
    gpu: &'static Gpu,
    threshold: u64,
    shape: Shape,
    dtype: DType,
    key: u64,
) -> Tensor {
    let (y, out) = output(gpu, Layout::contiguous(shape), dtype);
    let kernel = match dtype.size() {
        1 => "bernoulli_1",
        2 => "bernoulli_2",
        4 => "bernoulli_4",
        _ => "bernoulli_8",
    };
    let (n, one) = (shape.numel(), pattern(1.0, dtype));
    // SAFETY: the output has n elements of the kernel's size.
    unsafe { bernoulli_of(gpu, &[], Grid::over(n, 4), kernel, out, key, threshold, one, n as u64) };
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    vec![Module::new(&RANDOM, &[])]
}
