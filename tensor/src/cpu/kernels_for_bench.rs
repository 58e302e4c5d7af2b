//! A way for `benches/kernels.rs` to reach the kernels.

use crate::cpu::conv::{ConvGeometry, conv_forward, conv_input_grad, conv_weight_grad};
use crate::cpu::gemm;

/// A square convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv(ConvGeometry);

impl Conv {
    /// A convolution of `[n, c, size, size]` to `o` channels.
    pub fn new(
        [n, c, size, o]: [usize; 4],
        kernel: usize,
        stride: usize,
        padding: usize,
        groups: usize,
    ) -> Self {
        let out = (size + 2 * padding - kernel) / stride + 1;
        Self(ConvGeometry {
            n,
            c,
            h: size,
            w: size,
            o,
            kh: kernel,
            kw: kernel,
            oh: out,
            ow: out,
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1; 2],
            groups,
        })
    }

    /// Elements of input, weight and output.
    pub fn lens(&self) -> [usize; 3] {
        let g = &self.0;
        [g.n * g.h * g.w * g.c, g.o * g.c / g.groups * g.kh * g.kw, g.n * g.oh * g.ow * g.o]
    }

    /// The forward pass.
    pub fn forward(&self, x: &[f32], w: &[f32], y: &mut [f32]) {
        conv_forward(&self.0, x, w, None, y);
    }

    /// The gradient with respect to the input.
    pub fn input_grad(&self, dy: &[f32], w: &[f32], dx: &mut [f32]) {
        conv_input_grad(&self.0, dy, w, dx);
    }

    /// The gradient with respect to the weight.
    pub fn weight_grad(&self, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        conv_weight_grad(&self.0, x, dy, dw);
    }
}

/// `C = A · B` for dense `[m, k]` and `[k, n]`; either may be stored transposed.
pub fn gemm([m, n, k]: [usize; 3], transposed: [bool; 2], a: &[f32], b: &[f32], c: &mut [f32]) {
    let strides = |rows: usize, columns: usize, transposed: bool| {
        if transposed { [1, rows] } else { [columns, 1] }
    };
    gemm::gemm(
        m,
        n,
        k,
        a,
        strides(m, k, transposed[0]),
        b,
        strides(k, n, transposed[1]),
        c,
        n,
        false,
    );
}
