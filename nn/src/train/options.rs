//! [`TrainOptions`]: what a run is to do.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use serde_json::{Value, json};

/// What a schedule counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Epochs: one learning rate for each.
    #[default]
    Epochs,
    /// Optimizer steps over the whole run.
    Steps,
}

/// The metric by which epochs are compared; an epoch that only equals the best so far is not better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Best {
    /// The largest value of this metric is the best (an accuracy).
    Largest(String),
    /// The smallest value of this metric is the best (a loss).
    Smallest(String),
}

impl Best {
    pub(super) fn metric(&self) -> &str {
        match self {
            Best::Largest(name) | Best::Smallest(name) => name,
        }
    }

    pub(super) fn is_better(&self, value: f64, than: f64) -> bool {
        match self {
            Best::Largest(_) => value > than,
            Best::Smallest(_) => value < than,
        }
    }
}

/// What a [`Trainer`](super::Trainer) does beside calling the closures.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Passes over the data. Default 1.
    pub epochs: usize,
    /// Key of all randomness inside forwards (dropout): streams are functions of it, the epoch and the batch.
    /// Default 0.
    pub seed: u64,
    /// Everything else this run depends on (model, learning rate, augmentation), as JSON: a checkpoint of a run with
    /// another recipe is refused. Default null.
    pub recipe: Value,
    /// What the schedule counts. Default epochs.
    pub clock: Clock,
    /// Batches whose gradients are averaged for one step; an epoch's last step takes what is left. Default 1.
    pub accumulate: usize,
    /// Scale gradients so that their common norm is at most this. Default: do not.
    pub clip_norm: Option<f64>,
    /// The metric for which the best epoch is kept in mind. Default none.
    pub best: Option<Best>,
    /// End the run after so many epochs in a row that are not better than the best (early stopping). Default: do not.
    pub patience: Option<usize>,
    /// Where the state dict of the best epoch is kept, for [`load_model`](crate::load_model). Default: nowhere.
    pub best_weights: Option<PathBuf>,
    /// The checkpoint: read first if it is there, written after each epoch, when stopped, and as often as
    /// `checkpoint_steps` and `checkpoint_seconds` say. Default none.
    pub checkpoint: Option<PathBuf>,
    /// Write the checkpoint every so many steps. Default: do not.
    pub checkpoint_steps: Option<usize>,
    /// Write the checkpoint at the first step after so many seconds. Default 300: what a kill costs at most.
    pub checkpoint_seconds: Option<f64>,
    /// The log, one JSON object a line, one line an epoch. Started anew unless a run continues. Default none.
    pub metrics: Option<PathBuf>,
    /// Add a line with the values of every so-many-th step to the log. Default: do not.
    pub log_steps: Option<usize>,
    /// Looked at between steps: once true, the run writes a checkpoint and returns. A signal handler may set it.
    pub stop: Arc<AtomicBool>,
}

impl Default for TrainOptions {
    fn default() -> Self {
        TrainOptions {
            epochs: 1,
            seed: 0,
            recipe: Value::Null,
            clock: Clock::Epochs,
            accumulate: 1,
            clip_norm: None,
            best: None,
            patience: None,
            best_weights: None,
            checkpoint: None,
            checkpoint_steps: None,
            checkpoint_seconds: Some(300.0),
            metrics: None,
            log_steps: None,
            stop: Arc::default(),
        }
    }
}

impl TrainOptions {
    /// The options that change a run's bits (or the lines of its log), to be compared on resuming.
    pub(super) fn identity(&self) -> Value {
        let mut identity = json!({
            "epochs": self.epochs,
            "seed": self.seed,
            "clock": format!("{:?}", self.clock),
            "accumulate": self.accumulate,
            "clip_norm": self.clip_norm,
            "best": self.best.as_ref().map(|best| format!("{best:?}")),
            "log_steps": self.log_steps,
        });
        // Only where it is used: checkpoints written before it was an option stay valid.
        if let Some(patience) = self.patience {
            identity["patience"] = patience.into();
        }
        identity
    }
}
