//! The public operations by family: check shapes and dtypes, then dispatch to the device.

mod activation;
mod conv;
mod dropout;
mod elementwise;
mod grid_sample;
mod index;
mod lp_mask;
mod matmul;
mod norm;
mod optim;
mod order;
mod pad;
mod pool;
mod recurrent;
mod reduce;
mod resample;
mod scan;
mod softmax;
mod unfold;

pub use activation::Activation;
#[cfg(feature = "cuda")]
pub(crate) use conv::conv2d_shape;
pub use conv::{Conv2dOptions, ConvAlgorithm};
pub use grid_sample::{GridSample, SampleMode, SamplePadding, Sampling};
pub use optim::{AdamStep, SgdStep, sum_of_squares};
pub use pool::Pool2d;
pub use recurrent::RecurrentCell;
pub use resample::{Interpolate, InterpolateMode, Taps};
pub use softmax::Targets;
pub use unfold::Unfold;

use crate::{DType, Shape, Tensor, layout::Layout};

/// Checks that all operands have one dtype and one device.
#[track_caller]
pub(crate) fn check_same(op: &str, tensors: &[&Tensor]) {
    let first = tensors[0];
    for t in &tensors[1..] {
        assert!(
            t.dtype() == first.dtype(),
            "{op}: operands have dtypes {} and {}; cast one of them",
            first.dtype(),
            t.dtype()
        );
    }
    check_devices(op, tensors);
}

/// Checks that all operands are on one device.
#[track_caller]
pub(crate) fn check_devices(op: &str, tensors: &[&Tensor]) {
    let first = tensors[0];
    for t in &tensors[1..] {
        assert!(
            t.device() == first.device(),
            "{op}: operands are on {} and {}; move one of them",
            first.device(),
            t.device()
        );
    }
}

/// The axis lengths of images `[N, C, H, W]`.
#[track_caller]
pub(crate) fn image_dims(op: &str, x: Shape) -> [usize; 4] {
    let Ok(dims) = x[..].try_into() else {
        panic!("{op}: input {x} has {} axes, not the 4 of [N, C, H, W]", x.rank())
    };
    dims
}

/// A vector of one number per channel of `x`, contiguous.
#[track_caller]
pub(crate) fn check_vector(
    op: &str,
    name: &str,
    v: &Tensor,
    channels: usize,
    x: &Tensor,
) -> Tensor {
    check_same(op, &[x, v]);
    check_statistics_vector(op, name, v, channels, x)
}

/// As [`check_vector`], for statistics.
#[track_caller]
pub(crate) fn check_statistics_vector(
    op: &str,
    name: &str,
    v: &Tensor,
    channels: usize,
    x: &Tensor,
) -> Tensor {
    check_statistics(op, v, x);
    assert!(
        v.dims() == [channels],
        "{op}: {name} {} is not [{channels}], one for each channel of input {}",
        v.shape(),
        x.shape()
    );
    v.contiguous()
}

/// Checks that statistics of `x` have its dtype, or f32 where that is a 16-bit float.
#[track_caller]
pub(crate) fn check_statistics(op: &str, statistics: &Tensor, x: &Tensor) {
    if x.dtype().is_half() && statistics.dtype() == DType::F32 {
        check_devices(op, &[x, statistics]);
    } else {
        check_same(op, &[x, statistics]);
    }
}

/// `x` (`[N, C, ..]`) with axis 1 innermost in memory; itself if it is already.
pub(crate) fn channels_innermost(x: &Tensor) -> Tensor {
    if x.layout.has_channels_innermost() {
        return x.clone();
    }
    x.kernels().copy(x, Layout::channels_innermost(x.shape()))
}
