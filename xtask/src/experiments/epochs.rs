//! The learning curves that a trial wrote as it went.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

use crate::report::figure::{Curve, Ink};

/// A line of `metrics.jsonl`.
#[derive(Deserialize)]
pub(in crate::experiments) struct Epoch {
    kind: String,
    /// Counted from 0.
    epoch: f64,
    /// `null` stands for what was no number.
    metrics: BTreeMap<String, Option<f64>>,
}

impl Epoch {
    /// Passes over the data when the line was written.
    pub(in crate::experiments) fn passes(&self) -> f64 {
        self.epoch + 1.0
    }

    pub(in crate::experiments) fn get(&self, name: &str) -> f64 {
        self.metrics.get(name).copied().flatten().unwrap_or(f64::NAN)
    }
}

/// The epochs that a trial has finished so far.
pub(in crate::experiments) fn epochs(path: &Path) -> anyhow::Result<Vec<Epoch>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut epochs = Vec::new();
    // A line without its end was being written when the run was killed; the resumed run writes it again.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for (i, line) in whole.lines().enumerate() {
        let epoch: Epoch = serde_json::from_str(line)
            .map_err(|e| anyhow!("{}, line {}: damaged ({e})", path.display(), i + 1))?;
        if epoch.kind == "epoch" {
            epochs.push(epoch);
        }
    }
    Ok(epochs)
}

/// One metric of several runs by epoch, as far as all of them have come; epochs at which one of them did not measure it are
/// left out.
pub(in crate::experiments) fn curve(
    runs: &[&[Epoch]],
    metric: &str,
    factor: f64,
    label: &str,
    ink: Ink,
) -> Curve {
    let shortest = runs.iter().map(|epochs| epochs.len()).min().unwrap_or(0);
    let measured: Vec<usize> =
        (0..shortest).filter(|&e| runs.iter().all(|r| r[e].get(metric).is_finite())).collect();
    let x: Vec<f64> = measured.iter().map(|&e| runs[0][e].passes()).collect();
    let of_run = |run: &&[Epoch]| measured.iter().map(|&e| factor * run[e].get(metric)).collect();
    let series: Vec<Vec<f64>> = runs.iter().map(of_run).collect();
    Curve::over_runs(label, ink, &x, &series)
}
