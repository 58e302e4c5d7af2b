//! Runs killed with SIGKILL at any moment, in processes of their own.
//!
//! This file has no test harness: called with `train DIRECTORY [no-log]` it is the run that gets killed.

mod tiny;

use std::{
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use nn::train::{Outcome, TrainOptions};
use tensor::Stream;
use tiny::{Net, log_without_seconds, options, train};

const EPOCHS: usize = 40;
const KILLED_RUNS: u64 = 4;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[1..] {
        ["train", directory, ..] => child(Path::new(directory), arguments.contains(&"no-log")),
        // What cargo's other runners ask a harness for.
        [.., "--list"] | ["--list", ..] => ExitCode::SUCCESS,
        _ => {
            killed_and_resumed_runs_end_with_the_bytes_of_one_that_was_not();
            a_full_disk_leaves_the_checkpoint_before();
            ExitCode::SUCCESS
        }
    }
}

/// A run that writes its checkpoint after each step.
fn child(directory: &Path, no_log: bool) -> ExitCode {
    let mut options = TrainOptions { checkpoint_steps: Some(1), ..options(directory, EPOCHS) };
    if no_log {
        options.metrics = None;
    }
    match train(options, &mut Net::new(), |_| ()) {
        Ok(Outcome::Finished { .. }) => ExitCode::SUCCESS,
        Ok(other) => {
            eprintln!("{other:?}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(directory: &Path) -> Child {
    let me = std::env::current_exe().expect("this program has a path");
    let mut command = Command::new(me);
    command.arg("train").arg(directory).stderr(Stdio::inherit()).spawn().expect("it can be started")
}

/// The final checkpoint.
fn bytes(directory: &Path) -> Vec<u8> {
    std::fs::read(directory.join("run.safetensors")).expect("a checkpoint")
}

fn killed_and_resumed_runs_end_with_the_bytes_of_one_that_was_not() {
    let whole = tempfile::tempdir().expect("a directory");
    let started = Instant::now();
    assert!(start(whole.path()).wait().expect("it runs").success());
    let duration = started.elapsed();

    let mut moments = Stream::new(u64::from(std::process::id()));
    for run in 0..KILLED_RUNS {
        let directory = tempfile::tempdir().expect("a directory");
        let mut kills = 0u32;
        loop {
            let mut child = start(directory.path());
            // About three kills a run.
            std::thread::sleep(
                duration.mul_f64(0.6 * moments.uniform()) + Duration::from_millis(1),
            );
            child.kill().expect("a child can be killed");
            match child.wait().expect("it has ended") {
                status if status.success() => break,
                status => assert_eq!(status.code(), None, "the run failed by itself"),
            }
            kills += 1;
        }
        println!("run {run}: killed {kills} times");
        let (a, b) = (directory.path(), whole.path());
        assert!(bytes(a) == bytes(b), "run {run}: the checkpoints differ");
        assert_eq!(log_without_seconds(a), log_without_seconds(b), "run {run}");
    }
}

/// A limit on the size of files stands for the full disk: writing fails in the middle of the temporary file.
#[cfg(unix)]
fn a_full_disk_leaves_the_checkpoint_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut child = start(directory.path());
    let path = directory.path().join("run.safetensors");
    while !path.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().expect("a child can be killed");
    child.wait().expect("it has ended");
    let before = bytes(directory.path());
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$0\" train \"$1\" no-log"])
        .arg(std::env::current_exe().expect("this program has a path"))
        .arg(directory.path())
        .output()
        .expect("there is a shell");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "a file of {} bytes was written", before.len());
    assert!(message.contains("run.safetensors: File too large"), "{message}");
    assert!(bytes(directory.path()) == before, "the checkpoint was changed");
    println!("full disk: {}", message.trim());
}

#[cfg(not(unix))]
fn a_full_disk_leaves_the_checkpoint_before() {}
