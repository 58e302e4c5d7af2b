//! What a program can ask of the CUDA devices besides computing.

use super::{
    columns,
    compile::{self, Compiled},
    conv, copy, depthwise, elementwise,
    error::CudaError,
    fill,
    gpu::Gpu,
    image, index,
    launch::Module,
    library, lp_mask, matmul,
    memory::MemoryUse,
    optim, pool, probe, random, recurrent, reduce, resample, rows, sample, scan, sort,
};

/// What the memory of `cuda:index` is used for.
///
/// # Errors
/// If there is no such device.
pub fn memory_use(index: usize) -> Result<MemoryUse, CudaError> {
    Gpu::get(index).map(Gpu::memory_use)
}

/// Waits until `cuda:index` has done all it was asked for, as is needed before a clock is read.
///
/// # Errors
/// If there is no such device, or an earlier kernel failed.
pub fn synchronize(index: usize) -> Result<(), CudaError> {
    Gpu::get(index)?.synchronize()
}

/// Gives the memory of `cuda:index` that tensors no longer hold back to the driver, for other programs.
///
/// # Errors
/// If there is no such device, or an earlier kernel failed.
pub fn release_cached(index: usize) -> Result<(), CudaError> {
    Gpu::get(index)?.release_cached()
}

/// The version of NVRTC, the compiler of kernels.
///
/// # Errors
/// If there is none.
pub fn compiler_version() -> Result<(u32, u32), CudaError> {
    compile::compiler_version()
}

/// A file of kernels with the constants it is compiled with.
pub struct KernelModule(Module);

impl KernelModule {
    /// File and constants: `binary T=f32 RANK=2 ARITHMETIC=1`.
    pub fn name(&self) -> String {
        self.0.to_string()
    }

    /// Compiles it for a compute capability (say, `(9, 0)`), which need not be that of a device at hand.
    ///
    /// # Errors
    /// If there is no NVRTC, or it does not compile.
    pub fn compile(&self, capability: (u32, u32)) -> Result<Compiled, CudaError> {
        library::open_compiler()?;
        compile::accounted(&self.0, capability)
    }
}

/// Every way in which kernels are compiled.
pub fn kernel_modules() -> Vec<KernelModule> {
    all_modules().into_iter().map(KernelModule).collect()
}

/// As [`kernel_modules`].
pub(super) fn all_modules() -> Vec<Module> {
    [
        fill::modules(),
        copy::modules(),
        elementwise::modules(),
        reduce::modules(),
        random::modules(),
        matmul::modules(),
        conv::modules(),
        depthwise::modules(),
        columns::modules(),
        rows::modules(),
        lp_mask::modules(),
        recurrent::modules(),
        pool::modules(),
        probe::modules(),
        image::modules(),
        index::modules(),
        sort::modules(),
        scan::modules(),
        sample::modules(),
        resample::modules(),
        optim::modules(),
    ]
    .concat()
}
