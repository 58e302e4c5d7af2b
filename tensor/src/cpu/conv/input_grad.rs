//! The gradient with respect to the input: a sliding product over the output gradient, one phase per step of the stride.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::pack;
use crate::cpu::conv::sliding::Sliding;
use crate::cpu::microkernel::Real;
use crate::cpu::simd::Isa;

pub(super) fn run<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let panels = pack::backward_panels(g, w, T::kernels(isa).columns);
    let sliding = Sliding {
        images: g.n,
        axes: g.backward_axes(),
        kernel_width: g.kw,
        taps: g.taps(),
        src_channels: g.o,
        out_channels: g.c,
        groups: g.groups,
        macs: g.macs(),
    };
    sliding.run(isa, dy, &panels, None, dx);
}
