//! A CUDA driver and compiler for tests on machines without a GPU.
//!
//! Two small libraries in C++, built by [`build`] with the machine's C++ compiler when a test asks for them: one exports the
//! functions of `libcuda` that the crate `tensor` calls, the other those of NVRTC. Kernels are written in a part of CUDA C
//! that, with the words of `cpp/shim.h`, is also C++: the stand-in for NVRTC compiles the very sources that a GPU gets, the
//! stand-in for the driver runs them on the processors. Device memory is host memory filled with NaN; the threads of a
//! block are fibers, so barriers and shuffles work; four devices run the threads in four orders, so that a missing barrier
//! shows. What it cannot show: races between blocks, alignment faults, occupancy, speed.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

/// The number of devices the stand-in has; they differ in the order in which threads run.
pub const DEVICES: usize = 4;

/// The built libraries.
#[derive(Clone, Debug)]
pub struct StandIn {
    /// In the place of `libcuda.so`.
    pub driver: PathBuf,
    /// In the place of `libnvrtc.so`.
    pub compiler: PathBuf,
}

/// Why the stand-in could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no C++ compiler.
    #[error("no C++ compiler (c++, g++ or clang++; or name one in CXX): install g++")]
    NoCompiler,
    /// Only systems with ELF libraries have the stand-in.
    #[error("the stand-in for CUDA needs Linux")]
    System,
    /// The compiler refused.
    #[error("{command}: {message}")]
    Compile {
        /// What was run.
        command: String,
        /// What it printed.
        message: String,
    },
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

const SOURCES: [(&str, &str); 6] = [
    ("abi.h", include_str!("../cpp/abi.h")),
    ("fiber.h", include_str!("../cpp/fiber.h")),
    ("execute.h", include_str!("../cpp/execute.h")),
    ("shim.h", include_str!("../cpp/shim.h")),
    ("driver.cpp", include_str!("../cpp/driver.cpp")),
    ("compiler.cpp", include_str!("../cpp/compiler.cpp")),
];

/// Options for kernels and driver: `-O2`, or what `CUDA_STAND_IN_FLAGS` says (say `-O1 -fsanitize=address`).
fn flags() -> String {
    std::env::var("CUDA_STAND_IN_FLAGS").unwrap_or_else(|_| "-O2".into())
}

/// The first C++ compiler that answers.
fn compiler() -> Result<String, BuildError> {
    let named = std::env::var("CXX").ok();
    let works = |c: &String| {
        Command::new(c).arg("--version").output().is_ok_and(|output| output.status.success())
    };
    named
        .into_iter()
        .chain(["c++", "g++", "clang++"].map(String::from))
        .find(works)
        .ok_or(BuildError::NoCompiler)
}

/// Builds both libraries, or finds those of an earlier call with the same sources and options.
///
/// # Errors
/// If there is no C++ compiler, or it fails.
pub fn build() -> Result<StandIn, BuildError> {
    if !cfg!(target_os = "linux") {
        return Err(BuildError::System);
    }
    let (compiler, flags) = (compiler()?, flags());
    let mut hasher = DefaultHasher::new();
    (&compiler, &flags, SOURCES).hash(&mut hasher);
    let id = hasher.finish();
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../target/cuda-stand-in/{id:016x}"));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::Io { path, source }
    };
    fs::create_dir_all(&folder).map_err(io(&folder))?;
    for (name, text) in SOURCES {
        write_if_missing(&folder.join(name), text.as_bytes()).map_err(io(&folder.join(name)))?;
    }
    let include = folder.display().to_string();
    // Shown as NVRTC's minor version: caches of compiled kernels take note of it.
    let number = id as u32 & 0x7FFF_FFFF;
    let defines = [
        format!("-DSTAND_IN_CXX=\"{compiler}\""),
        format!("-DSTAND_IN_FLAGS=\"{flags}\""),
        format!("-DSTAND_IN_INCLUDE=\"{include}\""),
        format!("-DSTAND_IN_ID={number}"),
    ];
    let library = |source: &str, name: &str| -> Result<PathBuf, BuildError> {
        let finished = folder.join(name);
        if finished.exists() {
            return Ok(finished);
        }
        // Tests of several crates may build at once: each renames a file of its own.
        let own = folder.join(format!("{name}.{}", std::process::id()));
        let mut command = Command::new(&compiler);
        command
            .args(["-std=c++17", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra"])
            .args(["-pthread", &format!("-Wl,-soname,{name}")])
            .args(flags.split_whitespace())
            .args(&defines)
            .arg(folder.join(source))
            .arg("-o")
            .arg(&own)
            .arg("-ldl");
        let output = command.output().map_err(io(&own))?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(BuildError::Compile { command: format!("{command:?}"), message });
        }
        fs::rename(&own, &finished).map_err(io(&finished))?;
        Ok(finished)
    };
    Ok(StandIn {
        driver: library("driver.cpp", "libcuda.so")?,
        compiler: library("compiler.cpp", "libnvrtc.so")?,
    })
}

fn write_if_missing(path: &Path, text: &[u8]) -> std::io::Result<()> {
    if fs::read(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let own = path.with_extension(format!("{}.new", std::process::id()));
    fs::write(&own, text)?;
    fs::rename(own, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_builds_where_there_is_a_compiler() {
        match build() {
            Ok(built) => assert!(built.driver.exists() && built.compiler.exists()),
            Err(BuildError::NoCompiler | BuildError::System) => {
                println!("skipped: no C++ compiler here");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
