//! `cargo xtask kernels`: every CUDA kernel compiled as a GPU would get it, on a machine that needs no GPU.
//!
//! NVRTC has the assembler in it, which says of each kernel how many registers and how much memory it uses. A kernel that
//! spills registers, has a stack where none is expected, or asks for more shared memory than a block may have is a failure.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::anyhow;
use clap::Args;
use rayon::prelude::*;
use tensor::cuda::{self, KernelModule};

use crate::failure::{Failure, Outcome, say};

/// What to compile, and with what.
#[derive(Args, Debug)]
pub struct KernelsArgs {
    /// A folder with the libraries of NVRTC, such as that of an unpacked pip package (default: where a program looks)
    #[arg(long, value_name = "DIR")]
    toolkit: Option<PathBuf>,
    /// The compute capabilities to compile for
    #[arg(long, value_name = "CAPABILITY", value_delimiter = ',', default_value = "8.0,9.0")]
    arch: Vec<String>,
    /// Only modules whose name holds this
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// A line for every kernel, not only for every source
    #[arg(long)]
    each: bool,
}

/// Static shared memory that every block may have, in bytes.
const MOST_SHARED: u32 = 48 * 1024;
/// Kernels that have a stack: sine and cosine reduce large arguments with a table.
const MAY_HAVE_STACK: &[&str] = &["unary_sin", "unary_cos"];

/// What a kernel uses, as the assembler says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Usage {
    kernel: String,
    registers: u32,
    stack: u32,
    spills: u32,
    shared: u32,
}

/// Compiles all and prints the table.
///
/// # Errors
/// If there is no NVRTC, or a kernel does not compile, spills, or uses more than it may.
pub fn run(args: &KernelsArgs) -> Outcome {
    if let Some(folder) = &args.toolkit {
        cuda::use_libraries(libraries(folder)?);
    }
    let capabilities = args.arch.iter().map(|a| capability(a)).collect::<Outcome<Vec<_>>>()?;
    let (nvrtc, minor) = cuda::compiler_version()?;
    let modules: Vec<KernelModule> =
        cuda::kernel_modules().into_iter().filter(|m| m.name().contains(&args.filter)).collect();
    if modules.is_empty() {
        return Err(Failure::Usage(format!(
            "--filter {}: no module has it in its name",
            args.filter
        )));
    }
    let began = Instant::now();
    let jobs: Vec<_> =
        modules.iter().flat_map(|m| capabilities.iter().map(move |&c| (m, c))).collect();
    let compile = |(m, c): (&KernelModule, (u32, u32))| (m.name(), c, m.compile(c));
    let compiled: Vec<_> = jobs.into_par_iter().map(compile).collect();
    let mut failures = Vec::new();
    let mut sources: BTreeMap<(String, (u32, u32)), Source> = BTreeMap::new();
    for (name, capability, result) in compiled {
        let on = format!("{name} for {}.{}", capability.0, capability.1);
        let compiled = match result {
            Ok(compiled) => compiled,
            Err(error) => {
                failures.push(format!("{on}: {error}"));
                continue;
            }
        };
        let (usages, rest) = account(&compiled.log);
        failures.extend(rest.iter().map(|line| format!("{on}: {line}")));
        failures.extend(usages.iter().flat_map(complaints).map(|c| format!("{on}: {c}")));
        if args.each {
            usages.iter().for_each(|u| say!("{on:<48} {}", line(u)));
        }
        let family = name.split(' ').next().unwrap_or_default().to_owned();
        sources.entry((family, capability)).or_default().take(usages, compiled.image.len());
    }
    say!("source      arch  modules  kernels  registers  stack  spills  shared  machine code");
    for ((family, (major, minor)), s) in &sources {
        let Usage { registers, stack, spills, shared, .. } = s.most;
        let kib = s.bytes as f64 / 1024.0;
        say!(
            "{family:<11} {major}.{minor}   {:>7}  {:>7}  {registers:>9}  {stack:>5}  {spills:>6}  {shared:>6}  {kib:>8.0} KiB",
            s.modules,
            s.kernels
        );
    }
    let kernels: usize = sources.values().map(|s| s.kernels).sum();
    say!(
        "{kernels} kernels by NVRTC {nvrtc}.{minor} in {:.0} s; the columns from registers to shared are the most of any",
        began.elapsed().as_secs_f64()
    );
    if failures.is_empty() { Ok(()) } else { Err(anyhow!("{}", failures.join("\n")).into()) }
}

/// A source file's row.
#[derive(Default)]
struct Source {
    modules: usize,
    kernels: usize,
    bytes: usize,
    most: Usage,
}

impl Source {
    fn take(&mut self, usages: Vec<Usage>, bytes: usize) {
        self.modules += 1;
        self.kernels += usages.len();
        self.bytes += bytes;
        for u in usages {
            let most = &mut self.most;
            most.registers = most.registers.max(u.registers);
            most.stack = most.stack.max(u.stack);
            most.spills = most.spills.max(u.spills);
            most.shared = most.shared.max(u.shared);
        }
    }
}

fn line(u: &Usage) -> String {
    format!(
        "{:<28} {:>3} registers, {:>5} bytes shared, {} stack, {} spilled",
        u.kernel, u.registers, u.shared, u.stack, u.spills
    )
}

/// What a kernel does that it may not.
fn complaints(u: &Usage) -> Vec<String> {
    let mut all = Vec::new();
    if u.spills > 0 {
        all.push(format!("{} spills {} bytes of registers", u.kernel, u.spills));
    }
    if u.stack > 0 && !MAY_HAVE_STACK.contains(&u.kernel.as_str()) {
        all.push(format!("{} has a stack of {} bytes", u.kernel, u.stack));
    }
    if u.shared > MOST_SHARED {
        all.push(format!("{} wants {} bytes of shared memory", u.kernel, u.shared));
    }
    all
}

/// What the kernels use, from the compiler's log; and the log's lines that say anything else, which are warnings.
fn account(log: &str) -> (Vec<Usage>, Vec<String>) {
    let (mut usages, mut rest): (Vec<Usage>, Vec<String>) = Default::default();
    for line in log.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let number_before = |word: &str| -> Option<u32> {
            line.split_once(word)?.0.rsplit([' ', ',']).find(|w| !w.is_empty())?.parse().ok()
        };
        if let Some((_, name)) = line.split_once("Compiling entry function '") {
            let kernel = name.split('\'').next().unwrap_or_default().to_owned();
            usages.push(Usage { kernel, ..Default::default() });
        } else if let Some(usage) = usages.last_mut()
            && line.contains("bytes stack frame")
        {
            usage.stack = number_before(" bytes stack frame").unwrap_or(0);
            usage.spills = number_before(" bytes spill stores").unwrap_or(0);
        } else if let Some(usage) = usages.last_mut()
            && line.contains(" registers")
        {
            usage.registers = number_before(" registers").unwrap_or(0);
            usage.shared = number_before(" bytes smem").unwrap_or(0);
        } else if !line.starts_with("ptxas info") {
            rest.push(line.to_owned());
        }
    }
    (usages, rest)
}

/// `8.0` as two numbers.
fn capability(text: &str) -> Outcome<(u32, u32)> {
    let parsed = text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    parsed
        .ok_or_else(|| Failure::Usage(format!("--arch {text}: expected capabilities like 8.0,9.0")))
}

/// NVRTC's libraries anywhere under `folder`, in the order in which they must be opened.
fn libraries(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder)
            .map_err(|error| Failure::Usage(format!("--toolkit {}: {error}", folder.display())))?;
        for path in entries.flatten().map(|e| e.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.starts_with("libnvrtc")
                && name.contains(".so.")
                && !name.contains(".alt.")
            {
                found.push((!name.contains("builtins"), path));
            }
        }
    }
    found.sort();
    if !found.iter().any(|(compiler, _)| *compiler) {
        let folder = folder.display();
        return Err(Failure::Usage(format!("--toolkit {folder}: no libnvrtc.so.12 or .13 in it")));
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "ptxas info    : 24 bytes gmem, 8 bytes cmem[4]
ptxas info    : Compiling entry function 'unary_sin' for 'sm_90'
ptxas info    : Function properties for unary_sin
ptxas         .     32 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 26 registers, used 0 barriers, 16512 bytes smem, 392 bytes cmem[0]
ptxas info    : Compile time = 3.121 ms
unary.cu(3): warning #177-D: variable \"x\" was declared but never referenced
";

    #[test]
    fn the_compilers_log_is_understood() {
        let (usages, rest) = account(LOG);
        let kernel = "unary_sin".to_owned();
        let usage = Usage { kernel, registers: 26, stack: 32, spills: 4, shared: 16512 };
        assert_eq!(usages, std::slice::from_ref(&usage));
        assert_eq!(rest.len(), 1);
        assert!(rest[0].contains("never referenced"));
        assert_eq!(complaints(&usage), ["unary_sin spills 4 bytes of registers"]);
        let other = Usage { kernel: "sum".into(), spills: 0, shared: MOST_SHARED + 1, ..usage };
        assert_eq!(complaints(&other).len(), 2);
    }

    #[test]
    fn capabilities_are_two_numbers() {
        assert_eq!(capability("8.6").unwrap(), (8, 6));
        assert!(capability("90").is_err());
    }
}
