//! N-dimensional arrays for deep learning: shape, dtype, storage, devices and kernels. No gradients here
//! (see the crate `autograd`), no layers (see `nn`).
//!
//! There is one [`Tensor`] type; its element type ([`DType`]) and its place ([`Device`]) are chosen at run time.
//! Views (transpose, slice, broadcast, reshape where strides allow) share memory. To the user images are
//! `[N, C, H, W]` and convolution weights `[O, I/groups, kh, kw]`, as in PyTorch; in memory the convolution
//! kernels prefer channels last, and every elementwise op keeps the order it is given.
//!
//! ```
//! use tensor::{DType, Device, Tensor};
//!
//! let x = Tensor::ones([2, 3], DType::F32, Device::Cpu);
//! let y = x.mul_scalar(2.0).exp();
//! assert_eq!(y.dims(), [2, 3]);
//! ```

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod dtype;
mod error;
mod half;
pub mod io;
mod kernels;
mod layout;
mod ops;
mod random;
mod shape;
mod tensor;

pub use cpu::simd::{INSTRUCTION_SET_VARIABLE, InstructionSetError, instruction_set};
pub use device::Device;
pub use dtype::{DType, Element};
pub use error::Error;
pub use kernels::{BatchNormGrad, LayerNormGrad};
pub use ops::{
    Activation, AdamStep, Conv2dOptions, ConvAlgorithm, GridSample, Interpolate, InterpolateMode,
    Pool2d, RecurrentCell, SampleMode, SamplePadding, Sampling, SgdStep, Taps, Targets, Unfold,
    sum_of_squares,
};
pub use random::Stream;
pub use shape::{MAX_RANK, Shape};
pub use tensor::Tensor;
