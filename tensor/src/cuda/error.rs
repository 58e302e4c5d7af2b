//! What can be wrong with a machine's CUDA, and what to do about it.

use std::{
    ffi::{CStr, c_char},
    path::PathBuf,
};

use cudarc::driver::sys::{self, CUresult};

/// The oldest driver interface that is used: CUDA 12.8, drivers 570 and later.
pub(super) const OLDEST_DRIVER: (u32, u32) = (12, 8);
/// The least compute capability: Ampere, the first with bf16 tensor cores and asynchronous copies.
pub(super) const LEAST_CAPABILITY: (u32, u32) = (8, 0);

/// Why a CUDA device cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CudaError {
    /// There is no driver library.
    #[error(
        "no CUDA driver library (libcuda.so.1); for an NVIDIA GPU install its driver, version 570 or later"
    )]
    NoDriverLibrary,
    /// The driver is older than what this program was built for.
    #[error(
        "the NVIDIA driver supports CUDA {}.{}, {}.{} is needed; install driver 570 or later",
        found.0, found.1, OLDEST_DRIVER.0, OLDEST_DRIVER.1
    )]
    DriverTooOld {
        /// The CUDA version of the driver.
        found: (u32, u32),
    },
    /// The driver sees no device.
    #[error(
        "the NVIDIA driver is there but shows no GPU; see nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set"
    )]
    NoDevice,
    /// There are fewer devices.
    #[error("there is no cuda:{index}: this machine has {count} CUDA device{}", if *count == 1 { "" } else { "s" })]
    NoSuchDevice {
        /// The number asked for.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// The device is too old.
    #[error(
        "cuda:{index} ({name}) has compute capability {}.{}, {}.{} is needed",
        found.0, found.1, LEAST_CAPABILITY.0, LEAST_CAPABILITY.1
    )]
    Capability {
        /// The device.
        index: usize,
        /// Its name.
        name: String,
        /// Its compute capability.
        found: (u32, u32),
    },
    /// The compiler of kernels is missing.
    #[error(
        "no NVRTC (libnvrtc.so.13 or .12), which compiles the kernels; \
         `pip install nvidia-cuda-nvrtc`, or set CUDA_HOME to a CUDA toolkit (looked in {}the system's libraries)",
        list(tried)
    )]
    NoCompiler {
        /// The folders that were searched.
        tried: Vec<PathBuf>,
    },
    /// A kernel does not compile: a bug of this crate.
    #[error("NVRTC cannot compile {source_file}:\n{log}")]
    Compile {
        /// The kernel source.
        source_file: String,
        /// What the compiler says.
        log: String,
    },
    /// Device memory is full.
    #[error(
        "out of memory on {device}: {wanted} bytes wanted, {used} in use by tensors, {free} of {total} free"
    )]
    OutOfMemory {
        /// The device.
        device: crate::Device,
        /// Bytes asked for.
        wanted: usize,
        /// Bytes that tensors hold.
        used: usize,
        /// Bytes the driver has left.
        free: usize,
        /// Bytes of the device.
        total: usize,
    },
    /// The driver refused a call.
    #[error("{call}: {code}")]
    Driver {
        /// The function.
        call: &'static str,
        /// The driver's name for what went wrong.
        code: String,
    },
}

/// The folders, each with a comma after it.
fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|f| format!("{}, ", f.display())).collect()
}

/// `Ok` if the driver's function `call` succeeded.
pub(super) fn check(call: &'static str, result: CUresult) -> Result<(), CudaError> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    let mut name: *const c_char = std::ptr::null();
    // SAFETY: gives a static string, or leaves `name` alone.
    let known = unsafe { sys::cuGetErrorName(result, &mut name) } == CUresult::CUDA_SUCCESS;
    let code = if known && !name.is_null() {
        // SAFETY: a static string of the driver that ends with 0.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    } else {
        format!("{result:?}")
    };
    Err(CudaError::Driver { call, code })
}
