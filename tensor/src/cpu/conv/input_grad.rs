//! The gradient with respect to the input: a sliding product over the output gradient, one phase per step of the stride.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::sliding::Sliding;
use crate::cpu::microkernel::Real;
use crate::cpu::simd::Isa;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    Sliding { isa, g, axes: g.backward_axes(), weight: w, transposed: true }.run(dy, None, dx);
}
