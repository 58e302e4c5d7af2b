//! [`Device`]: where a tensor's elements live and its ops are computed.

use std::fmt;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{cpu, kernels::Kernels};

/// Where a tensor lives. More devices will be added; match with a wildcard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The machine's processors, used through rayon's thread pool.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number in the driver's order; [`Device::cuda`] says whether it can be used.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl Device {
    /// The GPU `cuda:index`, ready to be used.
    ///
    /// # Errors
    /// Why it cannot be used: no driver, no such GPU, no compiler for its kernels; the message says what to install.
    #[cfg(feature = "cuda")]
    pub fn cuda(index: usize) -> Result<Device, cuda::CudaError> {
        cuda::Gpu::get(index).map(cuda::Gpu::device)
    }

    /// The device's implementation of every op.
    pub(crate) fn kernels(self) -> &'static dyn Kernels {
        match self {
            Device::Cpu => &cpu::Cpu,
            #[cfg(feature = "cuda")]
            Device::Cuda(_) => &cuda::Cuda,
        }
    }
}

impl fmt::Display for Device {
    /// `cpu`, `cuda:0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
            #[cfg(feature = "cuda")]
            Device::Cuda(index) => f.pad(&format!("cuda:{index}")),
        }
    }
}
