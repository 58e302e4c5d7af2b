//! The command line: words first, meaning in the modules that are called.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    bench::{self, BenchArgs},
    ci, devices,
    experiments::{self, Request, ScaleName},
    failure::{Failure, parse_threads},
    fit_rf::{self, FitRfArgs},
    gpu_check::{self, GpuCheckArgs},
    kernels::{self, KernelsArgs},
    model::{self, ModelCommand},
    predict::{self, PredictArgs},
    profile::{nan_traced, profiled},
    rsa::{self, RsaArgs},
    verify::VerifyArgs,
};

/// Runs, checks and reports the experiments of the Lp-convolution paper (ICLR 2025).
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run experiments and write their reports (all that need no download, if none is named)
    Reproduce(ReproduceArgs),
    /// Show the experiments, the data they need and what has been run
    List(ListArgs),
    /// Write the reports again from the results that are there, without running anything
    Report(ReportArgs),
    /// Check the library against values from PyTorch and SciPy, and every gradient numerically
    Verify(VerifyArgs),
    /// List the architectures, or show one layer by layer
    #[command(subcommand)]
    Model(ModelCommand),
    /// Say what a model sees in pictures
    Predict(PredictArgs),
    /// Compare the layers of a model with recordings of neurons, on the same images
    Rsa(RsaArgs),
    /// Fit the exponent p of receptive fields, given the positions of inputs
    FitRf(FitRfArgs),
    /// Measure the speed of the paper's workloads on this machine, alone or beside another program
    Bench(BenchArgs),
    /// Show what this machine can compute on, and for what is missing what to install
    Devices,
    /// Compile every CUDA kernel and show what it needs of a GPU (none is needed for it)
    Kernels(KernelsArgs),
    /// Check on a GPU that everything is right, and measure it
    GpuCheck(GpuCheckArgs),
    /// Check the rules of the repository: which crate may use which
    Ci,
}

#[derive(Args, Debug)]
struct ReproduceArgs {
    /// Experiments by name (see `cargo xtask list`); none: all that need no download
    experiments: Vec<String>,
    /// How large: demo (minutes), small (about an hour), paper (the paper's own recipe)
    #[arg(long, value_enum, default_value_t = ScaleName::Demo)]
    scale: ScaleName,
    /// Only this condition; may be given several times
    #[arg(long = "condition", value_name = "NAME")]
    conditions: Vec<String>,
    /// Only this seed; may be given several times (default: the seeds of the scale)
    #[arg(long = "seed", value_name = "N")]
    seeds: Vec<u64>,
    /// Override a value of the recipe; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Data to use in place of the built-in set (sudoku: the 1M-puzzle CSV, plain or gzip; table1, table2, table3, table9: a folder)
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Say what would be run, and run nothing
    #[arg(long)]
    dry_run: bool,
    /// Where to compute: cpu, cuda (the first GPU) or cuda:N (see `cargo xtask devices`)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Threads to compute with (default: all cores); results do not depend on it
    #[arg(long, value_name = "N", value_parser = parse_threads, allow_hyphen_values = true)]
    threads: Option<usize>,
    /// Fit training into so many minutes by a schedule of fewer epochs (table1, table3, table9); the results' label says so
    #[arg(long, value_name = "MINUTES", allow_hyphen_values = true)]
    max_minutes: Option<f64>,
    /// Save a training run at least every so many seconds: what a kill costs at most
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    save_every: f64,
    /// Write what every op costs to FILE (a Chrome trace, for ui.perfetto.dev) and print a table
    #[arg(long, value_name = "FILE", conflicts_with_all = ["trace_nan", "dry_run"])]
    profile: Option<PathBuf>,
    /// Name the first op and layer, forward or backward, that makes a NaN or an infinity (slower)
    #[arg(long, conflicts_with = "dry_run")]
    trace_nan: bool,
    /// No progress on the terminal
    #[arg(long, short)]
    quiet: bool,
    /// Where results and reports go
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Where results are
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

#[derive(Args, Debug)]
struct ReportArgs {
    /// Experiments by name; none: all that have results
    experiments: Vec<String>,
    /// Where results are
    #[arg(long, value_name = "DIR", default_value = "results")]
    results: PathBuf,
}

/// Runs the program on the process's arguments.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    tensor::instruction_set().map_err(|error| Failure::Usage(error.to_string()))?;
    match command {
        Command::Reproduce(args) => reproduce(args),
        Command::List(args) => experiments::list(&args.results),
        Command::Report(args) => experiments::report(&args.experiments, &args.results),
        Command::Verify(args) => crate::verify::run(&args),
        Command::Model(command) => model::run(&command),
        Command::Predict(args) => predict::run(&args),
        Command::Rsa(args) => rsa::run(&args),
        Command::FitRf(args) => fit_rf::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Devices => devices::run(),
        Command::Kernels(args) => kernels::run(&args),
        Command::GpuCheck(args) => gpu_check::run(&args),
        Command::Ci => ci::run(),
    }
}

fn reproduce(args: ReproduceArgs) -> Result<(), Failure> {
    if let Some(n) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(n).build_global()?;
    }
    if args.save_every.is_nan() || args.save_every <= 0.0 {
        return Err(Failure::Usage(format!(
            "--save-every {}: expected a positive number of seconds",
            args.save_every
        )));
    }
    if let Some(minutes) = args.max_minutes.filter(|m| !m.is_finite() || *m <= 0.0) {
        return Err(Failure::Usage(format!(
            "--max-minutes {minutes}: expected a positive number of minutes"
        )));
    }
    let request = Request {
        scale: args.scale,
        conditions: args.conditions,
        seeds: args.seeds,
        set: args.set,
        data: args.data,
        device: devices::parse(&args.device)?,
        max_minutes: args.max_minutes,
        dry_run: args.dry_run,
        quiet: args.quiet,
        save_every: args.save_every,
        results: args.results,
        named: !args.experiments.is_empty(),
    };
    let run = || experiments::reproduce(&args.experiments, &request);
    match &args.profile {
        Some(file) => profiled(file, run)?,
        None if args.trace_nan => nan_traced(run),
        None => run(),
    }
}
