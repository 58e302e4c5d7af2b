//! The forward pass.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::sliding::Sliding;
use crate::cpu::microkernel::Real;
use crate::cpu::simd::Isa;

pub(super) fn run<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    Sliding { isa, g, axes: g.forward_axes(), weight: w, transposed: false }.run(x, bias, y);
}
