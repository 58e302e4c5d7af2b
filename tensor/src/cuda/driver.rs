//! The driver: whether this machine has CUDA devices that can be used, and what they are.

use std::{
    ffi::{CStr, c_char, c_int},
    sync::OnceLock,
};

use cudarc::driver::sys::{self, CUdevice_attribute};

use super::{
    error::{CudaError, LEAST_CAPABILITY, OLDEST_DRIVER, check},
    library,
};

/// What [`available`] found.
#[derive(Clone, Debug)]
pub struct Driver {
    /// The CUDA version of the driver.
    pub version: (u32, u32),
    /// The devices in the driver's order: `cuda:0`, `cuda:1`, ..
    pub devices: Vec<DeviceInfo>,
}

/// A CUDA device.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Its place in the driver's order.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its compute capability.
    pub capability: (u32, u32),
    /// Bytes of its memory.
    pub memory_bytes: usize,
    /// Its streaming multiprocessors.
    pub multiprocessors: u32,
    /// The most shared memory of a block in bytes, where a kernel asks for it.
    pub shared_memory_bytes: u32,
}

impl DeviceInfo {
    /// Whether kernels can run on it.
    ///
    /// # Errors
    /// If its compute capability is too low.
    pub fn usable(&self) -> Result<(), CudaError> {
        if self.capability >= LEAST_CAPABILITY {
            return Ok(());
        }
        let (index, name, found) = (self.index, self.name.clone(), self.capability);
        Err(CudaError::Capability { index, name, found })
    }
}

/// The driver and its devices, asked for once in a program; an error where there are none.
///
/// Nothing of CUDA is touched before the first call, and nothing panics without CUDA.
///
/// # Errors
/// The first of: no driver library, a driver that is too old, no device.
pub fn available() -> Result<&'static Driver, CudaError> {
    static DRIVER: OnceLock<Result<Driver, CudaError>> = OnceLock::new();
    DRIVER.get_or_init(find).as_ref().map_err(Clone::clone)
}

fn find() -> Result<Driver, CudaError> {
    library::open_chosen();
    // SAFETY: only asks whether a library can be opened. All other calls of the driver come after this one.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriverLibrary);
    }
    let mut version = 0;
    // SAFETY: writes a number; the only function that may come before `cuInit`.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&mut version) })?;
    // 12080 is 12.8.
    let version = (version as u32 / 1000, version as u32 % 1000 / 10);
    if version < OLDEST_DRIVER {
        return Err(CudaError::DriverTooOld { found: version });
    }
    // SAFETY: 0 is the only flag there is.
    match unsafe { sys::cuInit(0) } {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => return Err(CudaError::NoDevice),
        result => check("cuInit", result)?,
    }
    let mut count = 0;
    // SAFETY: writes a number.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) })?;
    let devices = (0..count).map(describe).collect::<Result<Vec<_>, _>>()?;
    if devices.is_empty() { Err(CudaError::NoDevice) } else { Ok(Driver { version, devices }) }
}

fn describe(index: c_int) -> Result<DeviceInfo, CudaError> {
    let mut device = 0;
    // SAFETY: writes a handle.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, index) })?;
    let mut name = [0 as c_char; 256];
    // SAFETY: writes at most 256 bytes, with a 0 at their end.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), 256, device) })?;
    let mut memory_bytes = 0;
    // SAFETY: writes a number.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut memory_bytes, device) })?;
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: writes a number.
        let result = unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) };
        check("cuDeviceGetAttribute", result).map(|()| value as u32)
    };
    use CUdevice_attribute as A;
    Ok(DeviceInfo {
        index: index as usize,
        // SAFETY: ends with a 0, see above.
        name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
        capability: (
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(A::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        memory_bytes,
        multiprocessors: attribute(A::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_memory_bytes: attribute(A::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
    })
}
