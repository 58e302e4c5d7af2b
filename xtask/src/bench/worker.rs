//! The process that runs one workload: a round for every line on its standard input.

use std::{io::BufRead as _, path::Path, time::Instant};

use anyhow::{Context as _, Result};

use tensor::Device;

use super::{
    peer::Reading,
    workloads::{Prepared, Workload},
};
use crate::{failure::say, profile::profiled};

/// Seconds a round takes at least: long against timers and interruptions, short enough to interleave.
const ROUND_S: f64 = 0.2;

/// Repetitions before anything is measured: the first asks the system for memory, the second finds it again.
const WARM_UP: usize = 2;

/// Prepares the workload and answers.
///
/// # Errors
/// If the threads cannot be started or standard input cannot be read.
pub(super) fn work(workload: Workload, threads: usize, device: Device) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut prepared: Option<(Prepared, u64)> = None;
    for line in std::io::stdin().lock().lines() {
        line.context("reading standard input")?;
        let (prepared, repetitions) = prepared.get_or_insert_with(|| {
            let mut prepared = (workload.prepare)(device);
            let repetitions = warm_up(&mut prepared, device);
            (prepared, repetitions)
        });
        let reading = round(&workload.name, prepared, *repetitions, device);
        say!("{}", serde_json::to_string(&reading)?);
    }
    Ok(())
}

/// Watches one repetition of the workload; see [`profiled`].
///
/// # Errors
/// If the threads cannot be started or the trace cannot be written.
pub(super) fn profile(
    workload: &Workload,
    threads: usize,
    device: Device,
    file: &Path,
) -> Result<()> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut prepared = (workload.prepare)(device);
    // As warm as what is measured: a whole round before it.
    let repetitions = warm_up(&mut prepared, device);
    repeat(&mut prepared, repetitions, device);
    profiled(file, || (prepared.step)())
}

/// Runs so many repetitions and waits until the device has done them.
fn repeat(prepared: &mut Prepared, repetitions: u64, device: Device) {
    (0..repetitions).for_each(|_| (prepared.step)());
    if let Device::Cuda(index) = device {
        // A device that failed ends the process, and with it the answer.
        tensor::cuda::synchronize(index).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Repetitions until nothing is new, and how many of them make a round.
fn warm_up(prepared: &mut Prepared, device: Device) -> u64 {
    repeat(prepared, WARM_UP as u64, device);
    let mut repetitions = 1;
    loop {
        let begin = Instant::now();
        repeat(prepared, repetitions, device);
        let seconds = begin.elapsed().as_secs_f64();
        // A tenth of a round is long enough to judge by.
        if seconds > ROUND_S / 10.0 {
            return (repetitions as f64 * ROUND_S / seconds).ceil() as u64;
        }
        repetitions *= 4;
    }
}

fn round(name: &str, prepared: &mut Prepared, repetitions: u64, device: Device) -> Reading {
    let (begin, cpu_begin) = (Instant::now(), cpu_time_s());
    repeat(prepared, repetitions, device);
    let (seconds, cpu_end) = (begin.elapsed().as_secs_f64(), cpu_time_s());
    let ms = |seconds: f64| seconds * 1e3 / repetitions as f64;
    Reading {
        workload: Some(name.to_owned()),
        ms: ms(seconds),
        cpu_ms: cpu_begin.zip(cpu_end).map(|(begin, end)| ms(end - begin)),
        peak_rss_mib: peak_rss_mib(),
        flop: prepared.flop,
        bytes: prepared.bytes,
    }
}

/// Processor time of this process so far, all threads together.
#[cfg(unix)]
fn cpu_time_s() -> Option<f64> {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9)
}

#[cfg(not(unix))]
fn cpu_time_s() -> Option<f64> {
    None
}

/// Most memory this process has had, where the system tells (Linux).
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_tells_the_time_of_one_repetition() {
        let pause = std::time::Duration::from_millis(3);
        let step = Box::new(move || std::thread::sleep(pause));
        let mut prepared = Prepared { step, flop: Some(1.0), bytes: None };
        let repetitions = warm_up(&mut prepared, Device::Cpu);
        assert!((1..=67).contains(&repetitions), "{repetitions}");
        let reading = round("pause", &mut prepared, 4, Device::Cpu);
        assert!(reading.ms >= 3.0, "{reading:?}");
        assert!(reading.cpu_ms.is_none_or(|cpu| cpu >= 0.0));
        assert_eq!((reading.flop, reading.bytes), (Some(1.0), None));
    }
}
