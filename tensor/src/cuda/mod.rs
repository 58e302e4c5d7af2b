//! The CUDA devices: everything the CPU can do, on an NVIDIA GPU, found at run time.
//!
//! Nothing of CUDA is needed to build or to start a program. The first question for a device ([`available`],
//! [`Device::cuda`](crate::Device::cuda)) looks for the driver; kernels are compiled by NVRTC for the device at hand when they
//! are first used and kept in the user's cache folder (`~/.cache/lp-kernels`).
//!
//! # How it is built
//! - `library`, `driver`: which libraries and devices there are, and why not.
//! - `gpu`, `memory`: a device in use: one stream, copies, and blocks of memory that are used again.
//! - `compile`, `launch`: from a `.cu` file and its constants to a kernel, and the call of it.
//! - `operand`, `strided`: tensors as arguments, and walks over strided memory.
//! - `dispatch`: the list of all ops.
//! - `copy`, `elementwise`, `reduce`, ..: a family of ops each; its kernels are in `kernels/`, a file of the same name.
//! - `parity`: all ops against the CPU; its tests run them on a stand-in for a GPU.
//! - `probe`: what a device could do at most.
//!
//! # How to add a family of kernels
//! 1. Write `kernels/FAMILY.cu`. `kernels/common.cuh` stands before it: types (`f32`, `bf16`, ..), `KERNEL(name, parameters)`
//!    for a kernel of 256 threads a block, `BOUNDED_KERNEL(threads, name, ..)` for another number, `Walk` and `offsets` for
//!    strided operands, `block_sum`. Use no header, no texture, no inline assembly outside a primitive with a C++ twin: the
//!    file must also be C++ (`tensor/stand-in`, whose `shim.h` has the words of CUDA C). What varies (element type, tile,
//!    kernel size) is a macro that the launch defines: `T`, `RANK`, `TILE`.
//! 2. Write `FAMILY.rs`: a `static` `launch::Source`; `kernels!` with the Rust signature of every kernel (numbers and
//!    sizes of parameters are compared with the kernel's when it is first used); functions with the signatures of the methods
//!    of `Kernels` (kernels.rs) that allocate with `operand::output` and launch; `modules()`, which lists every
//!    way in which the source is compiled, for `cargo xtask kernels`.
//! 3. Plug it in: `mod FAMILY` here, `FAMILY::modules()` in `report::all_modules`, the methods in `dispatch.rs`. Nothing has to be registered with the stand-in: it compiles the same sources at run time.
//! 4. Test: `parity/` already compares every method with the CPU on drawn shapes and strides, in four orders of threads; add
//!    the shapes that matter to the family (edges of tiles, more than one block, empty tensors).
//!    `cargo test -p tensor parity::ops::METHOD` runs one, and prints (`-- --nocapture`) why it is skipped where there is no C++
//!    compiler. Device memory is full of NaN and has a guard behind every buffer, so that what is not written, or written
//!    outside, shows. `CUDA_STAND_IN_FLAGS="-O1 -g" cargo test ..` compiles kernels with other options. Then
//!    `cargo xtask kernels --filter FAMILY --each` for registers, memory and spills.
//!
//! # Rules
//! - Sums must not depend on the order of threads: no atomic additions of floats, pieces are combined in a fixed order.
//! - Results lie in memory as the CPU's do (the same layouts), and come from the same formulas.
//! - No waiting for the device inside an op, but where its result is a number on the host.

mod columns;
mod compile;
mod conv;
mod copy;
mod depthwise;
mod dispatch;
mod driver;
mod elementwise;
mod error;
mod fill;
mod gpu;
mod image;
mod index;
mod launch;
mod library;
mod lp_mask;
mod matmul;
mod memory;
mod operand;
mod optim;
mod parity;
mod pool;
mod probe;
mod random;
mod recurrent;
mod reduce;
mod report;
mod resample;
mod rows;
mod sample;
mod scan;
mod sort;
#[cfg(test)]
mod stand_in;
mod strided;
mod table;

pub use compile::Compiled;
pub(crate) use dispatch::Cuda;
pub use driver::{DeviceInfo, Driver, available};
pub use error::CudaError;
pub(crate) use fill::{arange, full};
pub(crate) use gpu::Gpu;
pub use library::use_libraries;
pub(crate) use memory::Buffer;
pub use memory::MemoryUse;
pub(crate) use operand::gpu_of;
pub use parity::{Agreement, compare_with_cpu, ops};
pub use probe::{Ceilings, ceilings};
pub(crate) use random::{Distribution, bernoulli, draw};
pub use report::{
    KernelModule, compiler_version, kernel_modules, memory_use, release_cached, synchronize,
};
