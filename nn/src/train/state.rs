//! Where a run stands: what a checkpoint holds beside model and optimizer.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use tensor::{Stream, Tensor};

use crate::{
    Result,
    checkpoint::{Checkpoint, damaged},
};

/// Integers; they travel as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counters {
    /// The epoch, from 0.
    pub(super) epoch: usize,
    /// Batches of the epoch that have been learned.
    pub(super) batch: usize,
    /// Optimizer steps of the whole run.
    pub(super) step: usize,
    /// Lines of the metrics log.
    pub(super) log_lines: usize,
    /// The epoch in which the best metric was reached.
    pub(super) best_epoch: Option<usize>,
    /// The random stream from which those of the forwards are derived.
    pub(super) stream: [u64; 2],
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    pub(super) counters: Counters,
    /// Sum of value times samples, and sum of samples, of each metric over the epoch so far.
    pub(super) running: BTreeMap<String, [f64; 2]>,
    /// The metrics of the last whole epoch.
    pub(super) last: BTreeMap<String, f64>,
    /// The best metric's name and best value.
    pub(super) best: Option<(String, f64)>,
}

const RUNNING: &str = "training/running";
const LAST: &str = "training/last";
const BEST: &str = "training/best";

impl State {
    /// The beginning of a run.
    pub(super) fn new(seed: u64) -> Self {
        State {
            counters: Counters {
                epoch: 0,
                batch: 0,
                step: 0,
                log_lines: 0,
                best_epoch: None,
                stream: Stream::new(seed).derive("train").state(),
            },
            running: BTreeMap::new(),
            last: BTreeMap::new(),
            best: None,
        }
    }

    /// The random stream of the forward of the current batch.
    pub(super) fn stream(&self) -> Stream {
        let Counters { epoch, batch, stream, .. } = self.counters;
        Stream::from_state(stream).derive_index(epoch as u64).derive_index(batch as u64)
    }

    /// Takes a batch's metric into the epoch's mean.
    pub(super) fn add(&mut self, name: &str, value: f64, samples: usize) {
        let [sum, weight] = self.running.entry(name.to_owned()).or_insert([0.0; 2]);
        *sum += value * samples as f64;
        *weight += samples as f64;
    }

    /// The means of all metrics over the epoch so far.
    pub(super) fn means(&self) -> BTreeMap<String, f64> {
        self.running.iter().map(|(name, [sum, n])| (name.clone(), sum / n)).collect()
    }

    /// The integers, for [`Checkpoint::new`].
    pub(super) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.counters).expect("integers become JSON")
    }

    /// Adds the floats: as tensors, which keep every bit.
    pub(super) fn store(&self, checkpoint: &mut Checkpoint) {
        let scalar = |(name, value): (&String, &f64)| (name.clone(), Tensor::scalar(*value));
        let running =
            self.running.iter().map(|(name, sums)| (name.clone(), Tensor::new(sums, [2])));
        checkpoint.insert(RUNNING, running.collect());
        checkpoint.insert(LAST, self.last.iter().map(scalar).collect());
        let best = self.best.as_ref().map(|(name, value)| scalar((name, value)));
        checkpoint.insert(BEST, best.into_iter().collect());
    }

    /// The state a checkpoint holds.
    pub(super) fn load(path: &Path, checkpoint: &Checkpoint) -> Result<Self> {
        let counters = Counters::deserialize(checkpoint.state())
            .map_err(|e| damaged(path, format!("metadata: {e}")))?;
        let values = |section: &str, n: usize| -> Result<Vec<(String, Vec<f64>)>> {
            let tensors = checkpoint.section(section).into_iter();
            tensors
                .map(|(name, tensor)| match tensor.numel() == n {
                    true => Ok((name, tensor.to_f64_vec())),
                    false => Err(damaged(path, format!("{section}/{name} has not {n} elements"))),
                })
                .collect()
        };
        let scalar = |(name, v): (String, Vec<f64>)| (name, v[0]);
        Ok(State {
            counters,
            running: values(RUNNING, 2)?
                .into_iter()
                .map(|(name, v)| (name, [v[0], v[1]]))
                .collect(),
            last: values(LAST, 1)?.into_iter().map(scalar).collect(),
            best: values(BEST, 1)?.into_iter().map(scalar).next(),
        })
    }
}
