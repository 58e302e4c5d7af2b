//! What training a trial is to every experiment: where it is saved, when it stops, what it shows.

use nn::train::{Progress, TrainOptions};
use serde::Serialize;

use super::Session;
use crate::{failure::Outcome, results::TrialFolder};

impl Session<'_> {
    /// The trainer's options for a trial of `epochs` passes: checkpoints and metrics in its folder, stopped by Ctrl-C.
    ///
    /// # Errors
    /// If what defines the trial cannot be written as JSON.
    pub(in crate::experiments) fn train_options(
        &self,
        folder: &TrialFolder,
        spec: &impl Serialize,
        seed: u64,
        epochs: usize,
    ) -> Outcome<TrainOptions> {
        Ok(TrainOptions {
            epochs,
            seed,
            recipe: serde_json::to_value(spec)?,
            checkpoint: Some(folder.file("checkpoint.safetensors")),
            checkpoint_seconds: Some(self.request.save_every),
            metrics: Some(folder.file("metrics.jsonl")),
            stop: self.stop.clone(),
            ..Default::default()
        })
    }

    /// The progress line of a trial.
    pub(in crate::experiments) fn progress(&self, title: &str) -> Progress {
        if self.request.quiet { Progress::hidden() } else { Progress::stderr().with_label(title) }
    }
}
