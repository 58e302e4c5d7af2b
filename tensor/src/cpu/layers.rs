//! Convolutions and linear layers on tensors: the bridge to the kernels on slices.

use super::{
    conv::{ConvGeometry, conv_forward, conv_input_grad, conv_weight_grad},
    gemm::{Gemm, gemm_batched},
    simd::Isa,
};
use crate::{Conv2dOptions, Shape, Tensor, dtype::with_float, layout::Layout};

fn geometry(x: Shape, weight: Shape, y: Shape, options: &Conv2dOptions) -> ConvGeometry {
    let Conv2dOptions { stride, padding, dilation, groups, algorithm } = *options;
    ConvGeometry {
        n: x[0],
        c: x[1],
        h: x[2],
        w: x[3],
        o: weight[0],
        kh: weight[2],
        kw: weight[3],
        oh: y[2],
        ow: y[3],
        stride,
        padding,
        dilation,
        groups,
        algorithm,
    }
}

pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
    output: Shape,
) -> Tensor {
    let g = geometry(x.shape(), weight.shape(), output, options);
    with_float!("conv2d", x.dtype(), T => {
        let bias = bias.map(|b| b.dense_slice::<T>());
        Tensor::build::<T>(Layout::channels_last(output), x.device(), |y| {
            conv_forward(&g, x.dense_slice(), weight.dense_slice(), bias, y);
        })
    })
}

pub(super) fn conv2d_input_grad(
    dy: &Tensor,
    weight: &Tensor,
    options: &Conv2dOptions,
    input: Shape,
) -> Tensor {
    let g = geometry(input, weight.shape(), dy.shape(), options);
    with_float!("conv2d_input_grad", dy.dtype(), T => {
        Tensor::build::<T>(Layout::channels_last(input), dy.device(), |dx| {
            conv_input_grad(&g, dy.dense_slice(), weight.dense_slice(), dx);
        })
    })
}

pub(super) fn conv2d_weight_grad(
    x: &Tensor,
    dy: &Tensor,
    options: &Conv2dOptions,
    weight: Shape,
) -> Tensor {
    let g = geometry(x.shape(), weight, dy.shape(), options);
    with_float!("conv2d_weight_grad", x.dtype(), T => {
        Tensor::build::<T>(Layout::contiguous(weight), x.device(), |dw| {
            conv_weight_grad(&g, x.dense_slice(), dy.dense_slice(), dw);
        })
    })
}

/// `x weight^T + bias` for matrices of any strides.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let ([rows, inputs], [outputs, _]) = (x.dims_of(), weight.dims_of());
    let layout = Layout::contiguous(Shape::new(&[rows, outputs]));
    let [x_strides, [o_stride, i_stride]] = [x, weight].map(|t| [t.strides()[0], t.strides()[1]]);
    with_float!("linear", x.dtype(), T => {
        Tensor::build::<T>(layout, x.device(), |y| {
            let product = Gemm {
                m: rows,
                n: outputs,
                k: inputs,
                a_strides: x_strides,
                b_strides: [i_stride, o_stride],
                ldc: outputs,
                bias: bias.map(|b| b.dense_slice::<T>()),
            };
            let operands = [
                &x.storage_slice::<T>()[x.layout.offset..],
                &weight.storage_slice::<T>()[weight.layout.offset..],
            ];
            gemm_batched(Isa::active(), &product, 1, operands, [0, 0], y, 0);
        })
    })
}
