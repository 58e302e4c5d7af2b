//! Modules, kernels and launches.
//!
//! A [`Source`] is one `.cu` file; with constants (`-DT=f32 -DRANK=2`) it becomes a [`Module`], which is compiled once. The
//! macro `kernels!` pairs every kernel of a source with a Rust function that has the types of its parameters; when a kernel
//! is used for the first time, number and sizes of the parameters are compared with what the driver knows of it.

use std::{
    ffi::{CString, c_void},
    fmt, ptr,
    sync::atomic::{AtomicU32, Ordering},
};

use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule};

use super::{
    compile,
    error::{CudaError, check},
    gpu::Gpu,
};
use crate::DType;

/// A file of kernels.
pub(crate) struct Source {
    /// Its name without `.cu`.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
    /// What NVRTC is told besides the architecture.
    pub(crate) options: &'static [&'static str],
}

/// The value of a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Value {
    Int(i64),
    Type(DType),
    /// The unsigned integer of as many bytes, for elements that are only moved.
    Word(usize),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(i) => write!(f, "{i}"),
            // The names of the types in `common.cuh`.
            Value::Type(dtype) => write!(f, "{dtype}"),
            Value::Word(bytes) => write!(f, "u{}", 8 * bytes),
        }
    }
}

/// A constant of a module.
pub(crate) type Define = (&'static str, Value);

const MOST_DEFINES: usize = 8;

/// A source with its constants: what is compiled at once.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    pub(crate) source: &'static Source,
    defines: [Option<Define>; MOST_DEFINES],
}

impl Module {
    pub(crate) fn new(source: &'static Source, defines: &[Define]) -> Self {
        let mut all = [None; MOST_DEFINES];
        for (slot, &define) in all.iter_mut().zip(defines) {
            *slot = Some(define);
        }
        Module { source, defines: all }
    }

    /// Its constants: name and value.
    pub(crate) fn defines(&self) -> impl Iterator<Item = Define> {
        self.defines.into_iter().flatten()
    }

    fn key(&self, kernel: &'static str) -> FunctionKey {
        FunctionKey { source: self.source.name, defines: self.defines, kernel }
    }
}

impl fmt::Display for Module {
    /// `binary T=f32 RANK=2`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source.name)?;
        self.defines().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// A kernel of a module; the empty name stands for the module itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FunctionKey {
    source: &'static str,
    defines: [Option<Define>; MOST_DEFINES],
    kernel: &'static str,
}

/// What is known of a kernel on one device.
pub(crate) struct Function {
    module: CUmodule,
    function: CUfunction,
    /// The most dynamic shared memory it was allowed so far.
    shared: AtomicU32,
}

/// Blocks of a grid, threads of a block, and the dynamic shared memory of a block in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: [u32; 3],
    pub(crate) threads: [u32; 3],
    pub(crate) shared: u32,
}

/// Threads of a block where nothing speaks for another number.
pub(crate) const THREADS: u32 = 256;

impl Grid {
    /// Blocks of [`THREADS`] threads, `per_thread` of `n` elements for each thread.
    pub(crate) fn over(n: usize, per_thread: usize) -> Self {
        Grid::blocks(n.div_ceil(THREADS as usize * per_thread))
    }

    /// As many blocks of [`THREADS`] threads.
    pub(crate) fn blocks(blocks: usize) -> Self {
        let blocks = u32::try_from(blocks).expect("tensors have fewer than 2^39 elements");
        Grid { blocks: [blocks, 1, 1], threads: [THREADS, 1, 1], shared: 0 }
    }
}

/// Memory that a kernel reads.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct In(pub(crate) u64);

/// Memory that a kernel writes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Out(pub(crate) u64);

/// A type that kernels take as it lies in memory.
///
/// # Safety
/// The type must have the same layout in CUDA C.
pub(crate) unsafe trait Param: Copy {}

macro_rules! params {
    ($($t:ty),*) => {
        $(
            // SAFETY: a number, or a pointer as the number of its address.
            unsafe impl Param for $t {}
        )*
    };
}
params!(In, Out, u32, i32, u64, i64, f32, f64);

/// A parameter's place and size.
pub(crate) struct Argument {
    place: *mut c_void,
    size: usize,
}

impl Argument {
    pub(crate) fn new<P: Param>(value: &P) -> Self {
        Argument { place: ptr::from_ref(value).cast_mut().cast(), size: size_of::<P>() }
    }
}

/// Declares the kernels of a source: for each a function that launches it on `gpu`, compiled with the constants `defines`.
///
/// Kernels that differ in name only share a function `any fn`, which takes the name of the one to launch.
/// The functions are unsafe: their caller answers for the memory that the kernel will touch.
macro_rules! kernels {
    ($source:ident; $($rest:tt)*) => { $crate::cuda::launch::kernels! { @each $source $($rest)* } };
    (@each $source:ident) => {};
    (@each $source:ident fn $name:ident($($arg:ident: $t:ty),* $(,)?); $($rest:tt)*) => {
        #[allow(clippy::too_many_arguments)]
        unsafe fn $name(
            gpu: &$crate::cuda::gpu::Gpu,
            defines: &[$crate::cuda::launch::Define],
            grid: $crate::cuda::launch::Grid,
            $($arg: $t),*
        ) {
            let module = $crate::cuda::launch::Module::new(&$source, defines);
            let arguments = [$($crate::cuda::launch::Argument::new(&$arg)),*];
            // SAFETY: the caller's.
            unsafe { gpu.launch(&module, stringify!($name), grid, &arguments) }
        }
        $crate::cuda::launch::kernels! { @each $source $($rest)* }
    };
    (@each $source:ident any fn $name:ident($($arg:ident: $t:ty),* $(,)?); $($rest:tt)*) => {
        #[allow(clippy::too_many_arguments)]
        unsafe fn $name(
            gpu: &$crate::cuda::gpu::Gpu,
            defines: &[$crate::cuda::launch::Define],
            grid: $crate::cuda::launch::Grid,
            kernel: &'static str,
            $($arg: $t),*
        ) {
            let module = $crate::cuda::launch::Module::new(&$source, defines);
            let arguments = [$($crate::cuda::launch::Argument::new(&$arg)),*];
            // SAFETY: the caller's.
            unsafe { gpu.launch(&module, kernel, grid, &arguments) }
        }
        $crate::cuda::launch::kernels! { @each $source $($rest)* }
    };
}
pub(crate) use kernels;

impl Gpu {
    /// Starts a kernel.
    ///
    /// # Safety
    /// The kernel must stay inside the memory that its arguments point to.
    ///
    /// # Panics
    /// If it does not compile or the driver refuses it.
    pub(crate) unsafe fn launch(
        &self,
        module: &Module,
        kernel: &'static str,
        grid: Grid,
        arguments: &[Argument],
    ) {
        if grid.blocks.contains(&0) {
            return;
        }
        // SAFETY: the caller's.
        if let Err(error) = unsafe { self.try_launch(module, kernel, grid, arguments) } {
            panic!("kernel {kernel} of {module} on {}: {error}", self.device());
        }
    }

    unsafe fn try_launch(
        &self,
        module: &Module,
        kernel: &'static str,
        grid: Grid,
        arguments: &[Argument],
    ) -> Result<(), CudaError> {
        self.bind()?;
        let function = self.function(module, kernel, grid.shared, arguments)?;
        let mut places: Vec<*mut c_void> = arguments.iter().map(|a| a.place).collect();
        let ([x, y, z], [bx, by, bz]) = (grid.blocks, grid.threads);
        // SAFETY: number and sizes of the arguments were compared with the kernel's; the rest is the caller's.
        let result = unsafe {
            let (places, extra) = (places.as_mut_ptr(), ptr::null_mut());
            sys::cuLaunchKernel(
                function,
                x,
                y,
                z,
                bx,
                by,
                bz,
                grid.shared,
                self.stream,
                places,
                extra,
            )
        };
        check("cuLaunchKernel", result)
    }

    /// The kernel, compiled and loaded at its first use.
    fn function(
        &self,
        module: &Module,
        kernel: &'static str,
        shared: u32,
        arguments: &[Argument],
    ) -> Result<CUfunction, CudaError> {
        let key = module.key(kernel);
        let functions = self.functions.read().expect("no thread panics while it holds the table");
        let known = functions.get(&key).map(|f| (f.function, f.shared.load(Ordering::Relaxed)));
        drop(functions);
        if let Some((function, allowed)) = known
            && shared <= allowed
        {
            return Ok(function);
        }
        let mut functions =
            self.functions.write().expect("no thread panics while it holds the table");
        if !functions.contains_key(&key) {
            let loaded = functions.get(&module.key("")).map(|f| f.module);
            let loaded = match loaded {
                Some(module) => module,
                None => {
                    let loaded = self.load(module)?;
                    let entry =
                        Function { module: loaded, function: ptr::null_mut(), shared: 0.into() };
                    functions.insert(module.key(""), entry);
                    loaded
                }
            };
            let function = find(loaded, kernel)?;
            compare(module, kernel, function, arguments);
            // Blocks may have this much without asking.
            let shared = AtomicU32::new(48 * 1024);
            functions.insert(key, Function { module: loaded, function, shared });
        }
        let entry = &functions[&key];
        if shared > entry.shared.load(Ordering::Relaxed) {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a loaded kernel.
            let allowed =
                unsafe { sys::cuFuncSetAttribute(entry.function, attribute, shared as i32) };
            check("cuFuncSetAttribute", allowed)?;
            entry.shared.store(shared, Ordering::Relaxed);
        }
        Ok(entry.function)
    }

    fn load(&self, module: &Module) -> Result<CUmodule, CudaError> {
        let image = compile::image(module, self.info.capability)?;
        let mut loaded = ptr::null_mut();
        // SAFETY: a whole image made by NVRTC.
        let result = unsafe { sys::cuModuleLoadData(&mut loaded, image.as_ptr().cast()) };
        check("cuModuleLoadData", result).map(|()| loaded)
    }

    /// The modules that were loaded so far.
    #[cfg(test)]
    pub(crate) fn loaded_modules(&self) -> Vec<String> {
        let functions = self.functions.read().expect("no thread panics while it holds the table");
        let shown = |key: &FunctionKey| {
            let mut text = key.source.to_owned();
            for (name, value) in key.defines.into_iter().flatten() {
                text += &format!(" {name}={value}");
            }
            text
        };
        functions.keys().filter(|k| k.kernel.is_empty()).map(shown).collect()
    }
}

fn find(module: CUmodule, kernel: &str) -> Result<CUfunction, CudaError> {
    let name = CString::new(kernel).expect("a Rust name holds no zero byte");
    let mut function = ptr::null_mut();
    // SAFETY: a loaded module.
    let result = unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) };
    check("cuModuleGetFunction", result).map(|()| function)
}

/// Compares the kernel's parameters with the arguments it will get: a difference is a bug of this crate.
fn compare(module: &Module, kernel: &str, function: CUfunction, arguments: &[Argument]) {
    let parameter = |index: usize| {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: a loaded kernel; writes two numbers.
        let result = unsafe { sys::cuFuncGetParamInfo(function, index, &mut offset, &mut size) };
        (result == sys::CUresult::CUDA_SUCCESS).then_some(size)
    };
    let wanted: Vec<usize> = (0..).map_while(parameter).collect();
    let given: Vec<usize> = arguments.iter().map(|a| a.size).collect();
    assert!(
        given == wanted,
        "kernel {kernel} of {module}: its parameters have {wanted:?} bytes, the arguments {given:?}"
    );
}
