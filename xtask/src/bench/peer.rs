//! The protocol between `bench` and the programs it measures: one workload's name a line on their standard input, one line of
//! JSON with one round's figures back.
//!
//! A program runs a round when it is asked for one, and nothing in between, so that two programs can take turns.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel},
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

/// Where our processes compute.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// As on the command line.
    pub(crate) device: String,
    /// CUDA libraries to use in place of the system's.
    pub(crate) libraries: Vec<PathBuf>,
}

/// A running program that answers.
pub(super) struct Peer {
    /// What to call it in messages.
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Said>,
    timeout: Duration,
}

/// What was read from a program's standard output.
enum Said {
    Line(String),
    /// More than [`LONGEST_LINE`] bytes without an end of line; nothing is read after it.
    TooLong,
}

/// Bytes of the longest answer. A program that writes without end must not fill the memory.
const LONGEST_LINE: u64 = 64 << 10;

/// How long a program may take to end after its standard input is closed.
const FAREWELL: Duration = Duration::from_secs(2);

impl Peer {
    /// A fresh process of this program for one workload.
    pub(super) fn ours(
        workload: &str,
        threads: usize,
        place: &Place,
        timeout: Duration,
    ) -> Result<Peer> {
        let program = std::env::current_exe().context("finding this program's file")?;
        let mut command = Command::new(program);
        command.args(["bench", "--worker", workload, "--threads", &threads.to_string()]);
        command.args(["--device", &place.device]);
        place.libraries.iter().for_each(|l| _ = command.arg("--library").arg(l));
        Self::start(format!("the process that runs {workload}"), command, timeout)
    }

    /// A command line for the shell.
    pub(super) fn shell(line: &str, timeout: Duration) -> Result<Peer> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut command = Command::new(shell);
        command.args([flag, line]);
        // A group of its own, so that the workers that a program or a pipeline started can be ended with it. Ctrl-C in the
        // terminal does not reach it: when this program dies, what it had running sees its standard input close, and ends
        // as it does after the last question.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Self::start(format!("the program of --versus ({line})"), command, timeout)
    }

    fn start(name: String, mut command: Command, timeout: Duration) -> Result<Peer> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stdout = child.stdout.take().expect("it was asked for");
        // One line ahead: more than that nobody has asked for, and the program's writes then wait for us.
        let (sender, lines) = sync_channel(1);
        // A read cannot be given a time limit; receiving from a thread that reads can.
        thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            while let Ok(Some(said)) = read_line(&mut stdout) {
                let last = matches!(said, Said::TooLong);
                if sender.send(said).is_err() || last {
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
    /// If the program has ended, says nothing within the time limit, or something that is not an answer, or has said
    /// something before it was asked.
    pub(super) fn ask(&mut self, workload: &str) -> Result<Answer> {
        match self.lines.try_recv() {
            Ok(Said::Line(line)) => bail!(
                "{} wrote {:?} before it was asked for {workload}; it must write one line for each that it reads",
                self.name,
                beginning(&line)
            ),
            Ok(Said::TooLong) => bail!(self.endless(workload)),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
        let stdin = self.stdin.as_mut().expect("only closed when dropped");
        let asked = writeln!(stdin, "{workload}").and_then(|()| stdin.flush());
        let line = match asked {
            Ok(()) => self.lines.recv_timeout(self.timeout),
            Err(_) => Err(RecvTimeoutError::Disconnected),
        };
        match line {
            Ok(Said::Line(line)) => parse(&line, workload).with_context(|| {
                format!("{} answered {workload} with {:?}", self.name, beginning(&line))
            }),
            Ok(Said::TooLong) => bail!(self.endless(workload)),
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

    fn endless(&self, workload: &str) -> String {
        format!(
            "{} wrote {LONGEST_LINE} bytes without an end of line instead of answering {workload}",
            self.name
        )
    }

    /// Ends the program and whatever it started, without asking.
    fn kill(&mut self) {
        #[cfg(unix)]
        if let Ok(group) = i32::try_from(self.child.id()) {
            // SAFETY: kill only takes numbers. As long as the child has not been waited for, its number is no other process's
            // and no other group's; where it leads no group, there is none and nothing happens.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
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
            self.kill();
        }
    }
}

/// The next line without its end, `None` after the last.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Said>> {
    let mut line = Vec::new();
    // One byte more than allowed tells a line that is too long from one that fits.
    from.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 > LONGEST_LINE {
        return Ok(Some(Said::TooLong));
    }
    Ok(Some(Said::Line(String::from_utf8_lossy(&line).into_owned())))
}

/// As much of a line as belongs into a message.
fn beginning(line: &str) -> String {
    const CHARS: usize = 200;
    let mut short: String = line.chars().take(CHARS).collect();
    if short.len() < line.len() {
        short.push('…');
    }
    short
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
    fn lines_end_somewhere() {
        let long = LONGEST_LINE as usize;
        let bytes = ["one\n\n", &"x".repeat(long), "\n", &"y".repeat(long + 1)].concat();
        let mut from = bytes.as_bytes();
        let mut lengths = Vec::new();
        while let Some(said) = read_line(&mut from).unwrap() {
            lengths.push(match said {
                Said::Line(line) => Some(line.len()),
                Said::TooLong => None,
            });
        }
        assert_eq!(lengths, [Some(3), Some(0), Some(long), None]);
        assert_eq!(beginning(&bytes).chars().count(), 201);
    }

    /// Both processes of a pipeline that does not end by itself.
    #[test]
    #[cfg(unix)]
    fn what_a_program_started_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("worker");
        let line = format!(
            "sh -c 'echo $$ > {0}.new; mv {0}.new {0}; sleep 100; true' | cat",
            file.display()
        );
        let peer = Peer::shell(&line, Duration::from_secs(1)).unwrap();
        let patience = Instant::now();
        while !file.exists() {
            assert!(patience.elapsed() < Duration::from_secs(30), "the worker does not start");
            thread::sleep(Duration::from_millis(5));
        }
        let worker: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // SAFETY: signal 0 only asks whether the process is there.
        let alive = || unsafe { libc::kill(worker, 0) } == 0 && !is_zombie(worker);
        assert!(alive());
        drop(peer);
        let patience = Instant::now();
        while alive() {
            assert!(patience.elapsed() < Duration::from_secs(30), "the worker runs on");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ended, but not yet waited for by whoever inherited it.
    #[cfg(unix)]
    fn is_zombie(process: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
    }

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
