//! `cargo xtask verify`: this workspace beside PyTorch, torchvision, timm and SciPy.
//!
//! Reference vectors (`manifest.json` and safetensors files, see `xtask/goldens/README.md`) hold inputs, outputs and
//! gradients of operations, layers and whole models. Every case is run in f64 and, where a tolerance for it exists, in
//! f32. A case of an operation that nobody has written is *not supported*, and listed by name; an operation that is
//! supported has to pass all its cases.
//!
//! `verify --gradients` checks every differentiable op against central differences instead.

mod cases;
pub mod compare;
pub mod gradients;
pub mod hashed;
pub mod manifest;
mod summary;
mod trim;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use anyhow::{Result, ensure};
use tensor::DType;

use crate::failure::{self, Outcome};

use cases::Run;
use manifest::{Case, Goldens};
pub use summary::{Failure, Family, Summary};

/// Compare everything with the reference vectors, or check gradients.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct VerifyArgs {
    /// Folder with manifest.json and its safetensors files [default: the copy inside the program].
    #[arg(long, value_name = "DIR")]
    pub goldens: Option<PathBuf>,
    /// Check every differentiable op against central differences instead.
    #[arg(long, conflicts_with_all = ["goldens", "trim"])]
    pub gradients: bool,
    /// Cases to draw for each op with --gradients [default: 100].
    #[arg(long, value_name = "N", requires = "gradients")]
    pub cases: Option<u64>,
    /// Only cases (with --gradients: ops) whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub json: bool,
    /// Copy the part of --goldens that belongs into the repository to this folder, and check nothing.
    #[arg(long, value_name = "DIR", requires = "goldens", conflicts_with_all = ["filter", "json"])]
    pub trim: Option<PathBuf>,
}

/// Cases drawn for each op when nobody says how many.
const GRADIENT_CASES: u64 = 100;

/// Runs `cargo xtask verify` and prints what it finds.
///
/// # Errors
/// If the reference vectors cannot be read, nothing matches the filter, or something failed (after printing it).
pub fn run(args: &VerifyArgs) -> Outcome {
    if args.cases == Some(0) {
        return Err(failure::Failure::Usage("--cases 0: expected at least 1".to_owned()));
    }
    Ok(compare(args)?)
}

fn compare(args: &VerifyArgs) -> Result<()> {
    let filter = args.filter.as_deref().unwrap_or("");
    if args.gradients {
        let checked = gradients::check(filter, args.cases.unwrap_or(GRADIENT_CASES));
        ensure!(!checked.is_empty(), "no op's name contains {filter:?}");
        print(args.json, &checked, || gradients::text(&checked))?;
        let failed = checked.iter().filter(|c| c.failure.is_some()).count();
        ensure!(failed == 0, "{failed} of {} ops failed", checked.len());
        return Ok(());
    }
    let goldens = match &args.goldens {
        Some(directory) => Goldens::open(directory)?,
        None => Goldens::embedded()?,
    };
    if let (Some(from), Some(to)) = (&args.goldens, &args.trim) {
        let kept = trim::trim(&goldens, from, to)?;
        println!("{kept} of {} cases are in {}", goldens.manifest().cases.len(), to.display());
        return Ok(());
    }
    let summary = verify(&goldens, filter)?;
    print(args.json, &summary, || summary.text())?;
    let failed = summary.failed();
    ensure!(failed == 0, "{failed} of {} cases failed", summary.total());
    Ok(())
}

fn print(json: bool, value: &impl serde::Serialize, text: impl Fn() -> String) -> Result<()> {
    match json {
        true => println!("{}", serde_json::to_string_pretty(value)?),
        false => print!("{}", text()),
    }
    Ok(())
}

/// Runs every case whose name contains `filter`.
///
/// # Errors
/// If there is no such case, or the hash of the weights is not the one the vectors were made with.
pub fn verify(goldens: &Goldens, filter: &str) -> Result<Summary> {
    hashed::Hashed::of(goldens.manifest())?;
    let mut summary = Summary::default();
    for case in goldens.manifest().cases.iter().filter(|c| c.name.contains(filter)) {
        match cases::runner(case) {
            Some(runner) => summary.ran(case, run_case(goldens, case, runner)),
            None => summary.not_supported(case, cases::partly_supported(&case.op)),
        }
    }
    ensure!(summary.total() > 0, "no case's name contains {filter:?}");
    Ok(summary)
}

/// Runs a case in every precision it has a tolerance for; one failure for each tensor that is wrong.
fn run_case(goldens: &Goldens, case: &Case, runner: cases::Runner) -> Vec<Failure> {
    let mut failures = Vec::new();
    for dtype in precisions(case) {
        let fail = |role: Option<String>, problem: summary::Problem| Failure {
            case: case.name.clone(),
            precision: dtype.to_string(),
            role,
            problem,
        };
        // A shape error in an op is a panic: of this case, not of the whole program.
        let run = || Run::new(goldens, case, dtype).execute(runner);
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(wrong)) => {
                failures.extend(wrong.into_iter().map(|w| fail(Some(w.role), w.difference.into())))
            }
            Ok(Err(error)) => failures.push(fail(None, format!("{error:#}").into())),
            Err(panic) => failures.push(fail(None, panic_message(panic).into())),
        }
    }
    failures
}

fn precisions(case: &Case) -> impl Iterator<Item = DType> {
    // What is exact, or bytes, is computed once.
    let f64 = case.tol.f64.is_some() || case.tol.f32.is_none();
    let f32 = case.tol.f32.is_some();
    [(DType::F64, f64), (DType::F32, f32)].into_iter().filter_map(|(d, run)| run.then_some(d))
}

fn panic_message(panic: Box<dyn Any + Send>) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", message.unwrap_or("without a message"))
}

/// Rows of words as aligned columns, the first row as the header.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width =
        |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        text += line.trim_end();
        text.push('\n');
        if i == 0 {
            text += &"-".repeat(widths.iter().sum::<usize>() + 2 * (N - 1));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests;
