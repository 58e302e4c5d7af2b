//! `cargo xtask bench`: how fast the workloads of the paper are on this machine, and beside another program.
//!
//! Every workload runs in a fresh process of this program (so that its peak memory is its own), which the command asks for
//! one round after the other over the protocol of `peer`. With `--versus` the other program speaks the same protocol, and
//! rounds alternate: ours, other, ours, other. What a workload does is in `workloads`; what the machine could do at most,
//! in `probe`.

use std::{io::BufRead as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::json;
use tensor::Device;

use crate::{
    devices,
    failure::{Failure, Outcome, nearest, parse_threads, say},
};
pub(crate) use compare::{Comparison, Contest};
pub(crate) use peer::Place;
use peer::{Answer, Peer};
use report::{Line, Pair, Report};
use workloads::Workload;

mod compare;
mod peer;
mod probe;
mod report;
mod worker;
mod workloads;

/// What `cargo xtask bench` is asked for.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Only workloads whose name contains this; may be given several times
    #[arg(long, value_name = "SUBSTR")]
    filter: Vec<String>,
    /// Show the workloads, and run nothing
    #[arg(long, conflicts_with_all = ["threads", "rounds", "versus", "timeout"])]
    list: bool,
    /// One JSON object a line on standard output; everything else goes to standard error
    #[arg(long)]
    json: bool,
    /// Where to compute: cpu, cuda (the first GPU) or cuda:N (see `cargo xtask devices`)
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
    /// Threads to compute with (default: all cores)
    #[arg(long, value_name = "N", value_parser = parse_threads, allow_hyphen_values = true)]
    threads: Option<usize>,
    /// Rounds of every workload, each of at least 0.2 seconds; the median counts
    #[arg(long, value_name = "R", default_value_t = 5)]
    rounds: usize,
    /// Another program to compare with, run by the shell: it reads a workload's name a line on its standard input and
    /// answers each with one line of JSON, `{"ms": …, "cpu_ms": …, "peak_rss_mib": …}` or `{"error": …}`
    #[arg(long, value_name = "CMD")]
    versus: Option<String>,
    /// Seconds to wait for one answer of a program before giving up
    #[arg(long, value_name = "SECONDS", default_value_t = 900.0)]
    timeout: f64,
    /// Instead of measuring, watch the ops of one repetition of one workload: writes a Chrome trace (for Perfetto) to FILE
    /// and prints a table per op
    #[arg(long, value_name = "FILE", conflicts_with_all = ["list", "json", "versus", "serve", "rounds", "timeout"])]
    profile: Option<PathBuf>,
    /// Be the other program of a --versus: answer names on standard input (to compare two builds of this one)
    #[arg(long, conflicts_with_all = ["filter", "list", "json", "versus", "rounds"])]
    serve: bool,
    /// CUDA libraries to use in place of the system's
    #[arg(long = "library", hide = true, value_name = "FILE")]
    libraries: Vec<PathBuf>,
    /// As --serve, in this very process and for this workload only
    #[arg(long, hide = true, value_name = "WORKLOAD", conflicts_with_all = ["filter", "list", "json", "versus", "serve", "rounds", "timeout"])]
    worker: Option<String>,
}

/// Runs the workloads and prints a line for each and a summary.
///
/// # Errors
/// A usage error for impossible options; otherwise if a program ends, answers nonsense or not at all, or the other one
/// refuses a workload.
pub fn run(args: &BenchArgs) -> Outcome {
    let threads = match args.threads {
        None => std::thread::available_parallelism().map_or(1, usize::from),
        Some(n) => n,
    };
    if args.versus.as_ref().is_some_and(|command| command.trim().is_empty()) {
        return Err(Failure::Usage("--versus: expected a command, found nothing".to_owned()));
    }
    if args.rounds == 0 {
        return Err(Failure::Usage("--rounds 0: expected at least 1".to_owned()));
    }
    let timeout = Duration::try_from_secs_f64(args.timeout)
        .ok()
        .filter(|t| !t.is_zero())
        .ok_or_else(|| Failure::Usage(format!("--timeout {}: expected seconds", args.timeout)))?;
    tensor::cuda::use_libraries(args.libraries.clone());
    let device = devices::parse(&args.device)?;
    let place = Place { device: args.device.clone(), libraries: args.libraries.clone() };
    if let Some(name) = &args.worker {
        let workload = workloads::all().into_iter().find(|w| &w.name == name);
        let workload = workload.ok_or_else(|| Failure::Usage(unknown(name)))?;
        return Ok(worker::work(workload, threads, device)?);
    }
    if args.serve {
        return Ok(serve(threads, &place, timeout)?);
    }
    if args.list {
        return list(args);
    }
    let chosen = choose(&args.filter)?;
    if let Some(file) = &args.profile {
        let [workload] = &chosen[..] else {
            let names: Vec<&str> = chosen.iter().map(|w| w.name.as_str()).collect();
            return Err(Failure::Usage(format!(
                "--profile: --filter must name one workload, not {} ({})",
                names.len(),
                names.join(", ")
            )));
        };
        return Ok(worker::profile(workload, threads, device, file)?);
    }
    measure(args, &chosen, threads, device, &place, timeout)
}

/// Every workload in whose name a filter is, also those that run on request only.
fn list(args: &BenchArgs) -> Outcome {
    let all = known(&args.filter)?;
    let named =
        |w: &&Workload| args.filter.is_empty() || args.filter.iter().any(|f| w.name.contains(f));
    for Workload { name, about, on_request, .. } in all.iter().filter(named) {
        if args.json {
            say!("{}", json!({ "name": name, "about": about, "on_request": on_request }));
            continue;
        }
        let when = on_request.as_ref().map(|part| format!(" (only by --filter …{part}…)"));
        say!("{name:<24} {about}{}", when.unwrap_or_default());
    }
    Ok(())
}

/// All workloads, if there is one for every filter.
fn known(filters: &[String]) -> Result<Vec<Workload>, Failure> {
    let all = workloads::all();
    match filters.iter().find(|f| !all.iter().any(|w| w.name.contains(f.as_str()))) {
        Some(wrong) => Err(Failure::Usage(format!("--filter {}", unknown(wrong)))),
        None => Ok(all),
    }
}

/// The workloads that a filter names, all if there is none.
fn choose(filters: &[String]) -> Result<Vec<Workload>, Failure> {
    let all = known(filters)?;
    let wanted = |w: &Workload| match &w.on_request {
        // What is opt-in never stands among the defaults, nor beside another program, unless it is named.
        Some(part) => filters.iter().any(|f| f.contains(part) && w.name.contains(f.as_str())),
        None => filters.is_empty() || filters.iter().any(|f| w.name.contains(f.as_str())),
    };
    let (chosen, rest): (Vec<Workload>, Vec<Workload>) = all.into_iter().partition(wanted);
    if chosen.is_empty() {
        let asked = |w: &&Workload| filters.iter().any(|f| w.name.contains(f.as_str()));
        let names: Vec<&str> = rest.iter().filter(asked).map(|w| w.name.as_str()).collect();
        return Err(Failure::Usage(format!(
            "--filter {}: only in names that must be asked for more exactly: {}",
            filters.join(" --filter "),
            names.join(", ")
        )));
    }
    Ok(chosen)
}

/// That no workload has this name (or part of one), and which there are.
fn unknown(name: &str) -> String {
    let all = workloads::all();
    let names: Vec<&str> = all.iter().map(|w| w.name.as_str()).collect();
    let hint = nearest(name, names.iter().copied());
    let hint = hint.map(|n| format!(" (did you mean {n:?}?)")).unwrap_or_default();
    format!("{name}: no such workload{hint}. There are {}", names.join(", "))
}

/// Answers the protocol of [`peer`] on standard input and output, each workload in a process of its own.
fn serve(threads: usize, place: &Place, timeout: Duration) -> anyhow::Result<()> {
    let known = workloads::all();
    let mut current: Option<(String, Peer)> = None;
    for name in std::io::stdin().lock().lines() {
        let name = name.context("reading standard input")?.trim().to_owned();
        if !known.iter().any(|w| w.name == name) {
            say!("{}", json!({ "workload": name, "error": unknown(&name) }));
            continue;
        }
        let peer = match &mut current {
            Some((running, peer)) if *running == name => peer,
            slot => {
                // The old one ends before the next begins: never two at work.
                *slot = None;
                let peer = Peer::ours(&name, threads, place, timeout)?;
                &mut slot.insert((name.clone(), peer)).1
            }
        };
        match peer.ask(&name)? {
            Answer::Reading(reading) => say!("{}", serde_json::to_string(&reading)?),
            Answer::Refused(why) => {
                say!("{}", json!({ "workload": name, "error": why }));
            }
        }
    }
    Ok(())
}

fn measure(
    args: &BenchArgs,
    workloads: &[Workload],
    threads: usize,
    device: Device,
    place: &Place,
    timeout: Duration,
) -> Outcome {
    let mut other = match &args.versus {
        Some(command) => Some(Peer::shell(command, timeout)?),
        None => None,
    };
    if let Some(busy) = probe::busy() {
        eprintln!("{busy}");
    }
    let mut report = Report::new(args.json, threads, probe::of(device, threads)?, other.is_some());
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.context("starting threads")?;
    let mut refusals = Vec::new();
    for workload in workloads {
        let mut ours = Peer::ours(&workload.name, threads, place, timeout)?;
        let (mut our_rounds, mut other_rounds) = (Vec::new(), Vec::new());
        let mut refused = false;
        for _ in 0..args.rounds {
            match ours.ask(&workload.name)? {
                Answer::Reading(reading) => our_rounds.push(reading),
                Answer::Refused(why) => return Err(anyhow!("{}: {why}", workload.name).into()),
            }
            if let Some(other) = other.as_mut().filter(|_| !refused) {
                match other.ask(&workload.name)? {
                    Answer::Reading(reading) => other_rounds.push(reading),
                    Answer::Refused(why) => {
                        refused = true;
                        refusals.push(format!("{}: {why}", workload.name));
                    }
                }
            }
        }
        // Its memory is no longer anyone's business.
        drop(ours);
        let mut line =
            Line::new(&workload.name, threads, &our_rounds, &other_rounds, report.peak());
        if let Some(twin) = &workload.twin
            && let Some(cropped) = report.find(&twin.name)
        {
            let pair = Pair::new(cropped, &line, pool.install(|| (twin.compare)()));
            line = line.beside(pair);
        }
        report.line(line);
    }
    report.summary();
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(anyhow!("the program of --versus refused {}", refusals.join("; ")).into())
    }
}
