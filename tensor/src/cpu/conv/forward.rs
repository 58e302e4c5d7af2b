//! The forward pass.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::pack;
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
    let panels = pack::forward_panels(g, w, T::kernels(isa).columns);
    let sliding = Sliding {
        images: g.n,
        axes: g.forward_axes(),
        kernel_width: g.kw,
        taps: g.taps(),
        src_channels: g.c,
        out_channels: g.o,
        groups: g.groups,
        macs: g.macs(),
    };
    sliding.run(isa, x, &panels, bias, y);
}
