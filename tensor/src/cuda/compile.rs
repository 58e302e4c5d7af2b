//! Kernels from CUDA C to machine code: compiled by NVRTC at run time for the device at hand, and kept on disk.

use std::{
    ffi::{CStr, CString, c_int},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use cudarc::nvrtc::{
    result::{NvrtcError, compile_program, create_program, destroy_program, get_program_log},
    sys,
};

use super::{error::CudaError, launch::Module};

/// What every kernel source begins with.
const COMMON: &str = include_str!("kernels/common.cuh");

/// Bytes at the start of a file of the cache, before the hash of the rest: a torn or foreign file is not loaded.
const MAGIC: &[u8; 8] = b"lpcubin1";

/// What the compiler made of a module.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// Machine code.
    pub image: Vec<u8>,
    /// What the compiler says: warnings, and for each kernel its registers, memory and spills.
    pub log: String,
}

/// What kernels are compiled for.
#[derive(Clone, Debug, PartialEq)]
enum Target {
    /// Machine code for this very device.
    Machine(u32),
    /// For devices newer than the compiler: the driver translates at load time.
    Portable(u32),
}

/// The machine code (or PTX) of a module for a device of `capability`, from the cache where it is there.
pub(super) fn image(module: &Module, capability: (u32, u32)) -> Result<Vec<u8>, CudaError> {
    let target = target(capability)?;
    let (mut major, mut minor): (c_int, c_int) = (0, 0);
    // SAFETY: writes two numbers.
    nvrtc(module, unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result())?;
    let source = source(module);
    let options = options(module, &target);
    let mut hasher = DefaultHasher::new();
    (&source, &options, major, minor).hash(&mut hasher);
    let file = cache_folder()
        .map(|f| f.join(format!("{}-{:016x}.cubin", module.source.name, hasher.finish())));
    if let Some(file) = &file
        && let Some(image) = read_cached(file)
    {
        return Ok(image);
    }
    let Compiled { image, .. } = compile(module, &source, &options, &target)?;
    if let Some(file) = &file {
        // A cache that cannot be written costs time, nothing else.
        let _ = write_cached(file, &image);
    }
    Ok(image)
}

/// The device's own architecture if the compiler knows it, else the newest older one.
fn target((major, minor): (u32, u32)) -> Result<Target, CudaError> {
    let own = major * 10 + minor;
    let mut count: c_int = 0;
    // SAFETY: writes a number.
    let counted = unsafe { sys::nvrtcGetNumSupportedArchs(&mut count) }.result();
    let mut known = vec![0 as c_int; counted.map_or(0, |()| count as usize)];
    // SAFETY: writes as many numbers as the call before said.
    let listed = unsafe { sys::nvrtcGetSupportedArchs(known.as_mut_ptr()) }.result();
    let known = known.into_iter().map(|a| a as u32);
    let best = known.filter(|&a| listed.is_ok() && a <= own).max();
    match best {
        Some(arch) if arch == own => Ok(Target::Machine(own)),
        Some(arch) => Ok(Target::Portable(arch)),
        None => Ok(Target::Machine(own)),
    }
}

/// Everything the compiler gets to see.
fn source(module: &Module) -> String {
    format!("{COMMON}\n#line 1 \"{}.cu\"\n{}", module.source.name, module.source.text)
}

fn options(module: &Module, target: &Target) -> Vec<String> {
    let arch = match target {
        Target::Machine(arch) => format!("--gpu-architecture=sm_{arch}"),
        Target::Portable(arch) => format!("--gpu-architecture=compute_{arch}"),
    };
    let mut options = vec![arch, "--std=c++17".into()];
    options.extend(module.source.options.iter().map(|&o| o.to_owned()));
    options.extend(module.defines().map(|(name, value)| format!("-D{name}={value}")));
    options
}

fn nvrtc<T>(module: &Module, result: Result<T, NvrtcError>) -> Result<T, CudaError> {
    result.map_err(|error| CudaError::Compile {
        source_file: module.to_string(),
        log: error.to_string(),
    })
}

fn compile(
    module: &Module,
    source: &str,
    options: &[String],
    target: &Target,
) -> Result<Compiled, CudaError> {
    let source = CString::new(source).expect("kernel sources hold no zero byte");
    let name = CString::new(format!("{}.cu", module.source.name)).expect("names hold no zero byte");
    let program = nvrtc(module, create_program(&source, Some(&name)))?;
    // SAFETY: a live program until it is destroyed below.
    let compiled = unsafe { compile_program(program, options) };
    // SAFETY: as above.
    let log = unsafe { get_program_log(program) }.unwrap_or_default();
    let log: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|&c| c != 0).collect();
    let log = String::from_utf8_lossy(&log).trim().to_owned();
    let image = match compiled {
        Err(_) => Err(CudaError::Compile { source_file: module.to_string(), log }),
        Ok(()) => nvrtc(module, fetch(program, target)).map(|image| Compiled { image, log }),
    };
    // SAFETY: a live program, not used any more.
    let destroyed = unsafe { destroy_program(program) };
    nvrtc(module, destroyed)?;
    image
}

fn fetch(program: sys::nvrtcProgram, target: &Target) -> Result<Vec<u8>, NvrtcError> {
    let mut size = 0;
    match target {
        Target::Machine(_) => {
            // SAFETY: a compiled program; writes a number.
            unsafe { sys::nvrtcGetCUBINSize(program, &mut size) }.result()?;
            let mut image = vec![0u8; size];
            // SAFETY: writes as many bytes as it said.
            unsafe { sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()) }.result()?;
            Ok(image)
        }
        Target::Portable(_) => {
            // SAFETY: a compiled program; writes a number.
            unsafe { sys::nvrtcGetPTXSize(program, &mut size) }.result()?;
            let mut image = vec![0u8; size];
            // SAFETY: writes as many bytes as it said, with a 0 at their end.
            unsafe { sys::nvrtcGetPTX(program, image.as_mut_ptr().cast()) }.result()?;
            Ok(image)
        }
    }
}

/// A module compiled for an architecture, with the assembler's account of what its kernels use in the log; not cached.
pub(super) fn accounted(module: &Module, capability: (u32, u32)) -> Result<Compiled, CudaError> {
    let target = Target::Machine(capability.0 * 10 + capability.1);
    let mut options = options(module, &target);
    options.push("--ptxas-options=-v".into());
    compile(module, &source(module), &options, &target)
}

// ---- the cache on disk -----------------------------------------------------------------------------------------

/// `lp-kernels` in the user's folder for caches, `None` where there is none.
fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")))?;
    Some(base.join("lp-kernels"))
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

fn read_cached(file: &Path) -> Option<Vec<u8>> {
    let bytes = fs::read(file).ok()?;
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (sum, image) = rest.split_first_chunk::<8>()?;
    (magic == MAGIC && u64::from_le_bytes(*sum) == checksum(image)).then(|| image.to_vec())
}

/// Writes under another name first: readers see the whole file or none.
fn write_cached(file: &Path, image: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder)?;
    let own =
        file.with_extension(format!("{}.{:?}", std::process::id(), std::thread::current().id()));
    let bytes = [MAGIC, &checksum(image).to_le_bytes()[..], image].concat();
    fs::write(&own, bytes)?;
    fs::rename(&own, file)
}

/// The compiler's version.
///
/// # Errors
/// If there is no NVRTC.
pub(super) fn compiler_version() -> Result<(u32, u32), CudaError> {
    super::library::open_compiler()?;
    let (mut major, mut minor): (c_int, c_int) = (0, 0);
    // SAFETY: writes two numbers.
    match unsafe { sys::nvrtcVersion(&mut major, &mut minor) }.result() {
        Ok(()) => Ok((major as u32, minor as u32)),
        Err(error) => {
            // SAFETY: gives a static string.
            let text = unsafe { CStr::from_ptr(sys::nvrtcGetErrorString(error.0)) };
            Err(CudaError::Driver {
                call: "nvrtcVersion",
                code: text.to_string_lossy().into_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_files_come_out_of_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/x.cubin");
        assert_eq!(read_cached(&file), None);
        write_cached(&file, b"machine code").unwrap();
        assert_eq!(read_cached(&file).unwrap(), b"machine code");
        let mut bytes = fs::read(&file).unwrap();
        bytes.pop();
        fs::write(&file, &bytes).unwrap();
        assert_eq!(read_cached(&file), None);
        fs::write(&file, b"short").unwrap();
        assert_eq!(read_cached(&file), None);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    }
}
