//! The experiments of the paper: one module each, all in one list.
//!
//! An [`Experiment`] says what it asks, what data it needs, how it is run and how its report is written from the results
//! folder. To add one: a module here and a line in [`EXPERIMENTS`].

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tensor::Device;

use crate::{
    failure::{Failure, Outcome, nearest, say},
    report::{RunInfo, Scale},
    results::{self, Results, TrialFolder},
    settings,
};

mod classification;
mod condition;
mod cost;
mod epochs;
mod masks;
mod receptive_fields;
mod rsa;
mod scenes;
mod shapes;
mod sudoku;
mod table1;
mod table2;
mod table3;
mod table9;
mod training;
mod transfer;
mod v1;

/// How large an experiment is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ScaleName {
    /// Minutes on two cores.
    #[default]
    Demo,
    /// About an hour on two cores.
    Small,
    /// The paper's own recipe.
    Paper,
}

impl ScaleName {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ScaleName::Demo => "demo",
            ScaleName::Small => "small",
            ScaleName::Paper => "paper",
        }
    }

    /// As reports judge it.
    pub fn scale(self) -> Scale {
        match self {
            ScaleName::Demo => Scale::Demo,
            ScaleName::Small => Scale::Small,
            ScaleName::Paper => Scale::Paper,
        }
    }

    /// The scale of a folder's label (`demo-epochs=8` is a demo).
    pub fn of_label(label: &str) -> ScaleName {
        match label.split('-').next() {
            Some("paper") => ScaleName::Paper,
            Some("small") => ScaleName::Small,
            _ => ScaleName::Demo,
        }
    }
}

/// What the command line asks of an experiment.
#[derive(Clone, Debug)]
pub struct Request {
    /// How large.
    pub scale: ScaleName,
    /// Only these conditions; empty: all.
    pub conditions: Vec<String>,
    /// Only these seeds; empty: those of the scale.
    pub seeds: Vec<u64>,
    /// `key=value` overrides of the recipe.
    pub set: Vec<String>,
    /// Data in place of the built-in set.
    pub data: Option<PathBuf>,
    /// Where to compute.
    pub device: Device,
    /// Minutes that training may take: a shorter schedule, not one that is cut off.
    pub max_minutes: Option<f64>,
    /// Print the trials and run nothing.
    pub dry_run: bool,
    /// No progress.
    pub quiet: bool,
    /// Seconds between checkpoints within an epoch.
    pub save_every: f64,
    /// The results folder.
    pub results: PathBuf,
    /// Whether experiments were named; if not, an option that means one of them is no mistake for the others.
    pub named: bool,
}

impl Request {
    /// The folder name of the scale, what was overridden, the data file's name, and the device if it is not the CPU.
    fn label(&self) -> String {
        let mut parts = self.set.clone();
        parts.extend(self.max_minutes.map(|m| format!("max-minutes={m}")));
        let name = self.data.as_deref().and_then(Path::file_name);
        parts.extend(name.map(|n| format!("data={}", n.to_string_lossy())));
        if self.device != Device::Cpu {
            parts.push(format!("device={}", self.device));
        }
        settings::label(self.scale.name(), &parts)
    }

    /// The command line that asks for this.
    fn command(&self, experiment: &str) -> String {
        let mut words = vec![format!("cargo xtask reproduce {experiment}")];
        if self.scale != ScaleName::default() {
            words.push(format!("--scale {}", self.scale.name()));
        }
        words.extend(self.conditions.iter().map(|c| format!("--condition {c}")));
        words.extend(self.seeds.iter().map(|s| format!("--seed {s}")));
        words.extend(self.set.iter().map(|s| format!("--set {s}")));
        words.extend(self.max_minutes.iter().map(|m| format!("--max-minutes {m}")));
        words.extend(self.data.iter().map(|d| format!("--data {}", d.display())));
        if self.device != Device::Cpu {
            words.push(format!("--device {}", self.device));
        }
        words.join(" ")
    }
}

/// What an experiment runs in.
#[derive(Debug)]
pub struct Session<'a> {
    /// What was asked.
    pub request: &'a Request,
    /// The experiment's folder for this label.
    pub folder: PathBuf,
    /// Set when Ctrl-C or SIGTERM came: save and stop.
    pub stop: Arc<AtomicBool>,
}

impl Session<'_> {
    /// An error if the program was asked to stop.
    ///
    /// # Errors
    /// [`Failure::Interrupted`].
    pub fn check_stop(&self) -> Outcome {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted(
                "everything is saved; the same command goes on from here".into(),
            ));
        }
        Ok(())
    }
}

/// One experiment.
pub struct Experiment {
    /// Its name on the command line and in `results/`.
    pub name: &'static str,
    /// What of the paper it reproduces.
    pub paper: &'static str,
    /// The data it needs, in words.
    pub data: &'static str,
    /// How long the demo takes on two cores, in words.
    pub demo: &'static str,
    /// Checks the request before anything runs, and says which trials it means.
    trials: fn(&Request) -> Outcome<Vec<String>>,
    /// Whether its report is made of trials.
    has_trials: bool,
    /// Whether its schedule can be made to fit a time.
    can_shorten: bool,
    /// Runs what is not done yet.
    run: fn(&Session) -> Outcome,
    /// Writes the report of a folder of results; returns the page.
    report: fn(&Path, ScaleName) -> anyhow::Result<PathBuf>,
}

/// All experiments, in the order in which `reproduce` runs them.
pub const EXPERIMENTS: &[Experiment] = &[
    shapes::EXPERIMENT,
    cost::EXPERIMENT,
    receptive_fields::EXPERIMENT,
    rsa::EXPERIMENT,
    sudoku::EXPERIMENT,
    table1::EXPERIMENT,
    table2::EXPERIMENT,
    table3::EXPERIMENT,
    table9::EXPERIMENT,
    transfer::EXPERIMENT,
    v1::EXPERIMENT,
];

/// The trials of an experiment that has nothing to choose, as it computes the same at every scale: none. Options that would
/// change it are an error where it was named; `reproduce` without names hands its options to every experiment, and those that
/// mean others do no harm there.
fn without_options(name: &str, does: &str, request: &Request) -> Outcome<Vec<String>> {
    let given = [
        ("--condition", !request.conditions.is_empty()),
        ("--seed", !request.seeds.is_empty()),
        ("--set", !request.set.is_empty()),
        ("--data", request.data.is_some()),
        ("--device", request.device != Device::Cpu),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) if request.named => {
            Err(Failure::Usage(format!("{name} {does}: {flag} has no meaning")))
        }
        _ => Ok(Vec::new()),
    }
}

fn find(name: &str) -> Outcome<&'static Experiment> {
    EXPERIMENTS.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = EXPERIMENTS.iter().map(|e| e.name).collect();
        let hint = match nearest(name, names.iter().copied()) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => ".".into(),
        };
        Failure::Usage(format!(
            "there is no experiment \"{name}\"{hint} Known: {}",
            names.join(", ")
        ))
    })
}

fn chosen(names: &[String]) -> Outcome<Vec<&'static Experiment>> {
    if names.is_empty() {
        return Ok(EXPERIMENTS.iter().collect());
    }
    names.iter().map(|name| find(name)).collect()
}

/// `cargo xtask reproduce`.
///
/// # Errors
/// For what is not known, what fails on the way, and when stopped.
pub fn reproduce(names: &[String], request: &Request) -> Outcome {
    let experiments = chosen(names)?;
    if names.is_empty() && !(request.set.is_empty() && request.conditions.is_empty()) {
        return Err(Failure::Usage(
            "--set and --condition belong to one experiment: name it (see cargo xtask list)".into(),
        ));
    }
    if let Some(minutes) = request.max_minutes
        && let Some(other) = experiments.iter().find(|e| !e.can_shorten)
    {
        let able: Vec<&str> =
            EXPERIMENTS.iter().filter(|e| e.can_shorten).map(|e| e.name).collect();
        return Err(Failure::Usage(format!(
            "--max-minutes {minutes}: {} has no schedule that could be shortened; of the experiments {} have",
            other.name,
            able.join(", ")
        )));
    }
    if let Some(path) = &request.data {
        std::fs::metadata(path).with_context(|| format!("--data {}", path.display()))?;
    }
    // Every request is checked before the first experiment runs: a typing error shows at once, not after an hour.
    let mut plans = Vec::new();
    for experiment in &experiments {
        plans.push((experiment, (experiment.trials)(request)?));
    }
    let label = request.label();
    if request.dry_run {
        for (experiment, trials) in plans {
            let folder = request.results.join(experiment.name).join(&label);
            for trial in trials {
                let done = TrialFolder::new(&folder, &trial).is_done();
                say!(
                    "{}\t{label}\t{trial}\t{}",
                    experiment.name,
                    if done { "done" } else { "to run" }
                );
            }
        }
        return Ok(());
    }
    let results = Results::open(&request.results)?;
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || flag.store(true, Ordering::Relaxed))
        .context("listening for Ctrl-C")?;
    for experiment in experiments {
        let folder = results.folder(experiment.name, &label);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let session = Session { request, folder: folder.clone(), stop: stop.clone() };
        results::write_json(
            &folder.join("run.json"),
            &RunRecord { command: request.command(experiment.name), machine: machine() },
        )?;
        (experiment.run)(&session)?;
        let page = (experiment.report)(&folder, request.scale)?;
        say!("{}: report written to {}", experiment.name, page.display());
    }
    Ok(())
}

/// `cargo xtask list`.
///
/// # Errors
/// If the results folder is of another version.
pub fn list(results: &Path) -> Outcome {
    let opened = if results.exists() { Some(Results::open(results)?) } else { None };
    for e in EXPERIMENTS {
        say!("{}", e.name);
        say!("  paper  {}", e.paper);
        say!("  data   {}", e.data);
        say!("  demo   {}", e.demo);
        let labels = opened.as_ref().map(|r| r.labels(e.name)).unwrap_or_default();
        if labels.is_empty() {
            say!("  run    not yet: cargo xtask reproduce {}", e.name);
        }
        for label in labels {
            let folder = results.join(e.name).join(&label);
            let trials = TrialFolder::all(&folder);
            let done = trials.iter().filter(|(_, t)| t.is_done()).count();
            let report = folder.join("index.html");
            let report =
                if report.exists() { report.display().to_string() } else { "no report yet".into() };
            match trials.len() {
                0 => say!("  run    {label}: {report}"),
                n => say!("  run    {label}: {done} of {n} started trials done; {report}"),
            }
        }
    }
    Ok(())
}

/// `cargo xtask report`.
///
/// # Errors
/// If an experiment is not known, results are damaged, or a report cannot be written.
pub fn report(names: &[String], root: &Path) -> Outcome {
    let experiments = chosen(names)?;
    if !root.exists() {
        return Err(Failure::Usage(format!(
            "{}: there are no results yet; run cargo xtask reproduce first",
            root.display()
        )));
    }
    let opened = Results::open(root)?;
    for experiment in experiments {
        for label in opened.labels(experiment.name) {
            let folder = opened.folder(experiment.name, &label);
            // A run that failed before its first trial leaves nothing to report.
            if experiment.has_trials && TrialFolder::all(&folder).is_empty() {
                continue;
            }
            let page = (experiment.report)(&folder, ScaleName::of_label(&label))?;
            say!("{}: report written to {}", experiment.name, page.display());
        }
    }
    Ok(())
}

/// How a folder's results were last asked for, written beside them.
#[derive(Serialize, Deserialize)]
struct RunRecord {
    command: String,
    machine: String,
}

/// How a report's numbers came about.
fn run_info(
    folder: &Path,
    recipe: &[(String, String)],
    seeds: &[u64],
    duration: Duration,
) -> anyhow::Result<RunInfo> {
    let file = folder.join("run.json");
    let record = if file.exists() {
        results::read_json(&file)?
    } else {
        RunRecord { command: "not recorded".into(), machine: "not recorded".into() }
    };
    Ok(RunInfo {
        command: record.command,
        recipe: recipe.to_vec(),
        seeds: seeds.to_vec(),
        duration,
        versions: vec![("xtask".into(), env!("CARGO_PKG_VERSION").into())],
        machine: record.machine,
    })
}

/// Processor and cores of this machine.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let processor = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let processor = processor.unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    format!("{processor}, {cores} cores, {}", std::env::consts::OS)
}
