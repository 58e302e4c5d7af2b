//! A device that is in use: its context, its one stream, copies to and from its memory.

use std::{
    collections::HashMap,
    ptr,
    sync::{Mutex, OnceLock, RwLock},
};

use cudarc::driver::sys::{self, CUcontext, CUstream};

use super::{
    DeviceInfo, available,
    error::{CudaError, check},
    launch::{Function, FunctionKey},
    memory::{Buffer, Memory},
    table::Tables,
};
use crate::Device;

/// More devices than any machine has.
const MOST_DEVICES: usize = 64;

/// A CUDA device with everything that is made for it once.
///
/// All work goes to one stream, so kernels and copies run in the order in which they were asked for, and memory that a
/// tensor gives back can be given out again at once: whoever uses it next runs later.
pub(crate) struct Gpu {
    pub(crate) info: DeviceInfo,
    context: CUcontext,
    pub(super) stream: CUstream,
    pub(super) memory: Mutex<Memory>,
    pub(super) functions: RwLock<HashMap<FunctionKey, Function>>,
    pub(super) tables: Mutex<Tables>,
}

// SAFETY: the driver's functions may be called from any thread, each thread binding the context first (`bind`).
unsafe impl Send for Gpu {}
// SAFETY: as above; what is mutable is behind locks.
unsafe impl Sync for Gpu {}

static GPUS: [OnceLock<Result<Gpu, CudaError>>; MOST_DEVICES] =
    [const { OnceLock::new() }; MOST_DEVICES];

impl Gpu {
    /// The device `cuda:index`, made ready at the first call.
    pub(crate) fn get(index: usize) -> Result<&'static Gpu, CudaError> {
        let cell = GPUS.get(index).ok_or_else(|| match available() {
            Ok(driver) => CudaError::NoSuchDevice { index, count: driver.devices.len() },
            Err(error) => error,
        })?;
        cell.get_or_init(|| Gpu::new(index)).as_ref().map_err(Clone::clone)
    }

    fn new(index: usize) -> Result<Gpu, CudaError> {
        let driver = available()?;
        let count = driver.devices.len();
        let info =
            driver.devices.get(index).ok_or(CudaError::NoSuchDevice { index, count })?.clone();
        info.usable()?;
        super::library::open_compiler()?;
        let (mut device, mut context, mut stream) = (0, ptr::null_mut(), ptr::null_mut());
        // SAFETY: writes a handle.
        check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, index as i32) })?;
        // SAFETY: writes a handle, which lives until the program ends.
        let retained = unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, device) };
        check("cuDevicePrimaryCtxRetain", retained)?;
        // SAFETY: a live context.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(context) })?;
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: writes a handle.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        let (memory, functions, tables) = Default::default();
        Ok(Gpu { info, context, stream, memory, functions, tables })
    }

    /// The device's name in the public interface.
    pub(crate) fn device(&self) -> Device {
        Device::Cuda(self.info.index)
    }

    /// Makes the context current on this thread; before every call of the driver that works on it.
    pub(super) fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context lives as long as the program.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.context) })
    }

    /// A new buffer with these bytes.
    pub(crate) fn upload(&'static self, bytes: &[u8]) -> Result<Buffer, CudaError> {
        let buffer = Buffer::new(self, bytes.len())?;
        if !bytes.is_empty() {
            // SAFETY: both sides hold `bytes.len()` bytes; from memory that is not pinned the driver has read all of it
            // when the call returns.
            let result = unsafe {
                let from = bytes.as_ptr().cast();
                sys::cuMemcpyHtoDAsync_v2(buffer.address(), from, bytes.len(), self.stream)
            };
            check("cuMemcpyHtoDAsync", result)?;
        }
        Ok(buffer)
    }

    /// Copies device memory to the host, after all work before it.
    pub(crate) fn download(&self, address: u64, to: &mut [u8]) -> Result<(), CudaError> {
        if to.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: the caller's tensor holds `to.len()` bytes at `address`; `to` outlives the copy, which is waited for.
        let result = unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), address, to.len(), self.stream)
        };
        check("cuMemcpyDtoHAsync", result)?;
        self.synchronize()
    }

    /// Waits until the device has done all it was asked for.
    pub(crate) fn synchronize(&self) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: a live stream.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.stream) })
    }
}
