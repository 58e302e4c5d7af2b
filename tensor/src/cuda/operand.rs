//! Tensors as arguments of kernels.

use super::{
    error::CudaError,
    gpu::Gpu,
    launch::{In, Out},
    memory::Buffer,
};
use crate::{DType, Device, Tensor, layout::Layout};

/// A device's failure in the middle of an op ends the program: there is no result to go on with.
pub(super) fn or_panic<T>(result: Result<T, CudaError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// The GPU of a device.
///
/// # Panics
/// If it is no usable CUDA device.
pub(crate) fn gpu_of(device: Device) -> &'static Gpu {
    match device {
        Device::Cuda(index) => or_panic(Gpu::get(index)),
        Device::Cpu => panic!(
            "a tensor on cpu was given to an op on a CUDA device; move it there with to_device"
        ),
    }
}

/// The GPU a tensor lies on.
pub(super) fn gpu(x: &Tensor) -> &'static Gpu {
    match x.cuda_buffer() {
        Some(buffer) => buffer.gpu,
        None => gpu_of(x.device()),
    }
}

/// Where the elements of `x` begin; strides of its layout count from there.
pub(super) fn input(gpu: &Gpu, x: &Tensor) -> In {
    let Some(buffer) = x.cuda_buffer().filter(|b| std::ptr::eq(b.gpu, gpu)) else {
        panic!(
            "an op on {} was given a tensor on {}; move one of them with to_device",
            gpu.device(),
            x.device()
        )
    };
    In(buffer.address() + (x.layout.offset * x.dtype().size()) as u64)
}

/// As [`input`]; 0 for none.
pub(super) fn optional(gpu: &Gpu, x: Option<&Tensor>) -> In {
    x.map_or(In(0), |x| input(gpu, x))
}

/// A new tensor of a dense layout, and where a kernel writes its elements.
pub(super) fn output(gpu: &'static Gpu, layout: Layout, dtype: DType) -> (Tensor, Out) {
    debug_assert!(layout.is_dense() && layout.offset == 0);
    let buffer = or_panic(Buffer::new(gpu, layout.shape.numel() * dtype.size()));
    let out = Out(buffer.address());
    (Tensor::from_cuda(buffer, layout, dtype), out)
}

/// Memory of `bytes` bytes for the time of an op.
pub(super) fn scratch(gpu: &'static Gpu, bytes: usize) -> Buffer {
    or_panic(Buffer::new(gpu, bytes))
}

/// `x`, of dense memory that no other tensor shares, and where a kernel changes its elements; copies first where it must.
pub(super) fn in_place(x: &mut Tensor) -> Out {
    if !x.layout.is_dense() || !x.owns_storage() {
        *x = x.device().kernels().copy(x, x.layout.dense_like());
    }
    Out(input(gpu(x), x).0)
}
