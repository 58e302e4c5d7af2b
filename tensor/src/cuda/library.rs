//! Where the CUDA libraries are: a toolkit, the packages of a Python environment, the system.
//!
//! A library that was opened by its path is found again by its name when `cudarc` looks for it, so nothing has to be set
//! up (`LD_LIBRARY_PATH`) before the program starts.

use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

use super::error::CudaError;

/// Libraries to use in place of the system's, in the order in which they are opened.
static CHOSEN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Uses these files as CUDA libraries (say, `libcuda.so` or `libnvrtc.so` of an unusual place) for the whole program.
///
/// They must be given before the first question for a CUDA device, and bear the names the system's libraries have. This
/// is how tests run without a GPU.
pub fn use_libraries(files: impl IntoIterator<Item = PathBuf>) {
    let mut chosen = CHOSEN.lock().expect("no thread panics while it holds the list");
    chosen.extend(files);
}

/// Opens the libraries of [`use_libraries`].
pub(super) fn open_chosen() {
    for file in CHOSEN.lock().expect("no thread panics while it holds the list").iter() {
        open(file);
    }
}

/// Opens a library for the rest of the program, and says whether it could be.
fn open(file: &Path) -> bool {
    // SAFETY: libraries of CUDA (and of the stand-in) do nothing when loaded that depends on this program.
    match unsafe { libloading::Library::new(file) } {
        Ok(library) => {
            std::mem::forget(library);
            true
        }
        Err(_) => false,
    }
}

/// Folders that may hold CUDA's libraries, those a user named first.
pub(super) fn folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    for home in ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable) {
        folders.extend([home.join("lib64"), home.join("lib"), home.clone()]);
    }
    for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(variable) {
        folders.push(environment.join("lib"));
        folders.extend(site_packages(&environment.join("lib")));
    }
    folders.extend(python_on_path().iter().flat_map(|python| site_packages(&python.join("lib"))));
    folders.push("/usr/local/cuda/lib64".into());
    for prefix in ["/usr/local/lib", "/usr/lib"] {
        folders.extend(site_packages(Path::new(prefix)));
    }
    if let Some(home) = variable("HOME") {
        folders.extend(site_packages(&home.join(".local/lib")));
    }
    folders.retain(|f| f.is_dir());
    folders
}

/// The prefixes of the first Python on the search path: as it is called, and where the link leads.
fn python_on_path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let python = std::env::split_paths(&path).map(|p| p.join("python3")).find(|p| p.exists());
    let called = python.into_iter().flat_map(|p| [p.canonicalize().ok(), Some(p)]).flatten();
    called.filter_map(|p| Some(p.parent()?.parent()?.to_owned())).collect()
}

/// The folders `pythonX.Y/*-packages/nvidia/*/lib` under `lib`, always in the same order.
fn site_packages(lib: &Path) -> Vec<PathBuf> {
    let children = |folder: &Path| -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        paths.sort();
        paths.reverse();
        paths
    };
    let is_python =
        |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python"));
    let mut folders = Vec::new();
    for python in children(lib).into_iter().filter(is_python) {
        for packages in ["site-packages", "dist-packages"] {
            folders.extend(
                children(&python.join(packages).join("nvidia")).iter().map(|p| p.join("lib")),
            );
        }
    }
    folders
}

/// Opens the NVRTC of a folder in a version (`.13`), its built-in headers first; says whether it could.
fn open_nvrtc(folder: &Path, version: &str) -> bool {
    let file = folder.join(format!("libnvrtc.so{version}"));
    if !file.exists() {
        return false;
    }
    if let Ok(entries) = std::fs::read_dir(folder) {
        let prefix = format!("libnvrtc-builtins.so{version}");
        let needed =
            entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(&prefix));
        needed.for_each(|e| {
            open(&e.path());
        });
    }
    open(&file)
}

/// Makes NVRTC ready for `cudarc`.
pub(super) fn open_compiler() -> Result<(), CudaError> {
    open_chosen();
    // SAFETY: only asks whether a library can be opened.
    let found = || unsafe { cudarc::nvrtc::sys::is_culib_present() };
    let chosen = CHOSEN.lock().expect("no thread panics while it holds the list").clone();
    let is_compiler =
        |p: &PathBuf| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("libnvrtc.so"));
    if chosen.iter().any(is_compiler) && found() {
        return Ok(());
    }
    let folders = folders();
    // A newer compiler knows newer GPUs.
    let opened = [".13", ".12", ""].iter().any(|v| folders.iter().any(|f| open_nvrtc(f, v)));
    if opened || found() { Ok(()) } else { Err(CudaError::NoCompiler { tried: folders }) }
}
