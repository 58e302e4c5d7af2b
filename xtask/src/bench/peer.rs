//! The protocol between `bench` and the programs it measures: one workload's name a line on their standard input, one line of
//! JSON with one round's figures back.
//!
//! A program runs a round when it is asked for one, and nothing in between, so that two programs can take turns.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

/// The figures of one round. Only `ms` is needed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Reading {
    /// The name that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) workload: Option<String>,
    /// Wall-clock milliseconds of one repetition, the mean over the round.
    pub(super) ms: f64,
    /// Milliseconds of processor time of one repetition, all threads together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cpu_ms: Option<f64>,
    /// Most memory the process has had so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) peak_rss_mib: Option<f64>,
    /// Floating-point operations of one repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) flop: Option<f64>,
    /// Bytes that one repetition must read and write at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<f64>,
}

/// What a program said.
#[derive(Debug)]
pub(super) enum Answer {
    /// A round.
    Reading(Reading),
    /// That it cannot run this workload, and why.
    Refused(String),
}

/// A running program that answers.
pub(super) struct Peer {
    /// What to call it in messages.
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    timeout: Duration,
}

/// How long a program may take to end after its standard input is closed.
const FAREWELL: Duration = Duration::from_secs(2);

impl Peer {
    /// A fresh process of this program for one workload.
    pub(super) fn ours(workload: &str, threads: usize, timeout: Duration) -> Result<Peer> {
        let program = std::env::current_exe().context("finding this program's file")?;
        let mut command = Command::new(program);
        command.args(["bench", "--worker", workload, "--threads", &threads.to_string()]);
        Self::start(format!("the process that runs {workload}"), command, timeout)
    }

    /// A command line for the shell.
    pub(super) fn shell(line: &str, timeout: Duration) -> Result<Peer> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut command = Command::new(shell);
        command.args([flag, line]);
        Self::start(format!("the program of --versus ({line})"), command, timeout)
    }

    fn start(name: String, mut command: Command, timeout: Duration) -> Result<Peer> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().expect("it was asked for");
        let (sender, lines) = channel();
        // A read cannot be given a time limit; receiving from a thread that reads can.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        Ok(Peer { name, child, stdin, lines, timeout })
    }

    /// Asks for one round of a workload.
    ///
    /// # Errors
    /// If the program has ended, says nothing within the time limit, or something that is not an answer.
    pub(super) fn ask(&mut self, workload: &str) -> Result<Answer> {
        let stdin = self.stdin.as_mut().expect("only closed when dropped");
        let asked = writeln!(stdin, "{workload}").and_then(|()| stdin.flush());
        let line = match asked {
            Ok(()) => self.lines.recv_timeout(self.timeout),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match line {
            Ok(line) => parse(&line, workload)
                .with_context(|| format!("{} answered {workload} with {line:?}", self.name)),
            Err(RecvTimeoutError::Timeout) => bail!(
                "{} did not answer {workload} within {} seconds (--timeout)",
                self.name,
                self.timeout.as_secs_f64()
            ),
            Err(RecvTimeoutError::Disconnected) => {
                let how = match self.wait(FAREWELL) {
                    Some(status) => format!("ended ({status})"),
                    None => "closed its standard output".to_owned(),
                };
                bail!("{} {how} instead of answering {workload}", self.name)
            }
        }
    }

    fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begin.elapsed() < limit => thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stdin = None;
        if self.wait(FAREWELL).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn parse(line: &str, workload: &str) -> Result<Answer> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Message {
        Refused { error: String },
        Reading(Reading),
    }
    let message = serde_json::from_str(line).map_err(|_| {
        anyhow!(
            "expected one line of JSON, {{\"workload\": {workload:?}, \"ms\": …}} or {{\"error\": …}}"
        )
    })?;
    let reading = match message {
        Message::Refused { error } => return Ok(Answer::Refused(error)),
        Message::Reading(reading) => reading,
    };
    if let Some(other) = reading.workload.as_ref().filter(|w| *w != workload) {
        bail!("that is the workload {other}");
    }
    ensure!(reading.ms.is_finite() && reading.ms > 0.0, "ms must be a positive number");
    Ok(Answer::Reading(reading))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_readings_or_refusals_of_the_workload_asked_for() {
        let Answer::Reading(r) = parse(r#"{"workload": "a", "ms": 2.5, "more": 1}"#, "a").unwrap()
        else {
            panic!("a reading")
        };
        assert_eq!((r.ms, r.cpu_ms, r.peak_rss_mib), (2.5, None, None));
        assert!(matches!(parse(r#"{"ms": 1}"#, "a").unwrap(), Answer::Reading(_)));
        assert!(
            matches!(parse(r#"{"error": "no"}"#, "a").unwrap(), Answer::Refused(why) if why == "no")
        );
        for wrong in ["", "hello", "{}", r#"{"ms": "x"}"#, r#"{"ms": 0}"#, r#"{"ms": -1}"#, "[1]"] {
            assert!(parse(wrong, "a").is_err(), "{wrong}");
        }
        let other = parse(r#"{"workload": "b", "ms": 1}"#, "a").unwrap_err();
        assert_eq!(other.to_string(), "that is the workload b");
    }
}
