//! Workloads beside another program, one after the other, for whoever keeps the figures himself.

use std::time::Duration;

use anyhow::{Result, anyhow};

use super::{
    peer::{Answer, Peer, Place, Reading},
    workloads,
};

/// The figures of one workload, medians of the rounds.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    /// Milliseconds of one repetition.
    pub(crate) ms: f64,
    /// The same of the other program, or why there is none.
    pub(crate) other_ms: Option<Result<f64, String>>,
    /// Floating-point operations of a repetition.
    pub(crate) flop: Option<f64>,
    /// Bytes that a repetition must read and write at least.
    pub(crate) bytes: Option<f64>,
}

/// Our processes and the other program, which take turns.
pub(crate) struct Contest {
    place: Place,
    other: Option<Peer>,
    timeout: Duration,
    rounds: usize,
}

impl Contest {
    /// With the program that a command line of the shell starts, if there is one.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn new(
        place: Place,
        other: Option<&str>,
        timeout: Duration,
        rounds: usize,
    ) -> Result<Self> {
        let other = other.map(|command| Peer::shell(command, timeout)).transpose()?;
        Ok(Contest { place, other, timeout, rounds })
    }

    /// Runs a workload in turns.
    ///
    /// # Errors
    /// If there is no such workload, or ours fails; that the other's does is in the result.
    pub(crate) fn run(&mut self, workload: &str) -> Result<Comparison> {
        if !workloads::all().iter().any(|w| w.name == workload) {
            return Err(anyhow!("{}", super::unknown(workload)));
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut ours = Peer::ours(workload, threads, &self.place, self.timeout)?;
        let (mut readings, mut others) = (Vec::new(), Vec::new());
        let mut refused = None;
        for _ in 0..self.rounds {
            match ours.ask(workload)? {
                Answer::Reading(reading) => readings.push(reading),
                Answer::Refused(why) => return Err(anyhow!("{workload}: {why}")),
            }
            if let Some(other) = self.other.as_mut().filter(|_| refused.is_none()) {
                match other.ask(workload) {
                    Ok(Answer::Reading(reading)) => others.push(reading),
                    Ok(Answer::Refused(why)) => refused = Some(why),
                    Err(error) => {
                        refused = Some(format!("{error:#}"));
                        // It may still be busy with this one: it is not asked again.
                        self.other = None;
                    }
                }
            }
        }
        let other_ms = match refused {
            Some(why) => Some(Err(why)),
            None => (!others.is_empty()).then(|| Ok(median(&others))),
        };
        let Reading { flop, bytes, .. } = readings[0];
        Ok(Comparison { ms: median(&readings), other_ms, flop, bytes })
    }
}

fn median(readings: &[Reading]) -> f64 {
    let mut ms: Vec<f64> = readings.iter().map(|r| r.ms).collect();
    ms.sort_by(f64::total_cmp);
    ms[ms.len() / 2]
}
