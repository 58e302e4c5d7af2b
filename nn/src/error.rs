//! What can go wrong outside the program: files, checkpoints, state dicts.

use std::path::PathBuf;

/// The error of everything in this crate that depends on outside input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A state dict does not fit the model.
    #[error("state dict does not fit the model: {}", summary(.missing, .unexpected, .mismatched))]
    StateDict {
        /// Names the model has and the state dict lacks.
        missing: Vec<String>,
        /// Names the state dict has and the model lacks.
        unexpected: Vec<String>,
        /// Tensors of another shape: (name, expected, found).
        mismatched: Vec<(String, String, String)>,
    },
    /// An optimizer's saved state does not fit the model or the optimizer.
    #[error("optimizer state does not fit: {}", summary(.missing, .unexpected, .mismatched))]
    OptimizerState {
        /// Fields that parameters lack of which others are there.
        missing: Vec<String>,
        /// Names of no field of this optimizer for a parameter of this model.
        unexpected: Vec<String>,
        /// Tensors of another shape: (name, expected, found).
        mismatched: Vec<(String, String, String)>,
    },
    /// A sample could not be read.
    #[error("epoch {epoch}, batch {batch}: sample {index} could not be read: {source}")]
    Sample {
        /// The epoch.
        epoch: usize,
        /// The batch within the epoch.
        batch: usize,
        /// The sample within the data set.
        index: usize,
        /// What the data set says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Samples could not be made into a batch.
    #[error("epoch {epoch}, batch {batch}: {source}")]
    Collate {
        /// The epoch.
        epoch: usize,
        /// The batch within the epoch.
        batch: usize,
        /// What the collate function says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A data set or collate function panicked.
    #[error("epoch {epoch}, batch {batch}: the data set or collate function panicked: {message}")]
    WorkerPanic {
        /// The epoch.
        epoch: usize,
        /// The batch within the epoch.
        batch: usize,
        /// What it said.
        message: String,
    },
    /// The system gave no thread.
    #[error("no thread for loading data: {source}; ask for fewer workers")]
    Thread {
        /// Why.
        source: std::io::Error,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The result of everything in this crate that depends on outside input.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The first few of each kind, with how many more there are.
fn summary(
    missing: &[String],
    unexpected: &[String],
    mismatched: &[(String, String, String)],
) -> String {
    let some = |what: &str, names: Vec<String>| {
        const SHOWN: usize = 3;
        let more = names.len().saturating_sub(SHOWN);
        let head = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
        match (names.is_empty(), more) {
            (true, _) => None,
            (_, 0) => Some(format!("{what} {head}")),
            _ => Some(format!("{what} {head} and {more} more")),
        }
    };
    let quoted = |names: &[String]| names.iter().map(|n| format!("\"{n}\"")).collect();
    let shapes = mismatched
        .iter()
        .map(|(name, expected, found)| format!("\"{name}\" (expected {expected}, found {found})"))
        .collect();
    [
        some("missing", quoted(missing)),
        some("unexpected", quoted(unexpected)),
        some("other shape:", shapes),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("; ")
}
