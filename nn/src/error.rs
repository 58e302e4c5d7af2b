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
    /// Evaluating the model after an epoch failed.
    #[error("epoch {epoch}: evaluation failed: {source}")]
    Evaluation {
        /// The epoch.
        epoch: usize,
        /// What the evaluation says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Training went out of bounds.
    #[error(
        "step {step} (epoch {epoch}, batch {batch}): {what} is not finite; {first}; {}",
        last_checkpoint(.checkpoint)
    )]
    NotFinite {
        /// The optimizer step, counted from 0 over the whole run.
        step: usize,
        /// The epoch.
        epoch: usize,
        /// The batch within the epoch.
        batch: usize,
        /// What was found: the loss, the norm of the gradients, a parameter.
        what: String,
        /// Where it began, as far as a second forward can tell.
        first: String,
        /// The last good checkpoint.
        checkpoint: Option<PathBuf>,
    },
    /// A metrics log lacks lines that the checkpoint beside it counts on.
    #[error(
        "{}: {found} lines, but the checkpoint {} was written after {expected}; put the log back, or delete both to \
         start anew",
        path.display(),
        checkpoint.display()
    )]
    LogTooShort {
        /// The log.
        path: PathBuf,
        /// The checkpoint.
        checkpoint: PathBuf,
        /// How many lines the checkpoint has seen.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// Something is wrong with what a file holds.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<Error>,
    },
    /// A checkpoint was written by a run with another model, recipe or program.
    #[error(
        "{}: {key}: expected {expected}, found {found}; the checkpoint belongs to another run: choose another path, \
         or delete it to start anew",
        path.display()
    )]
    OtherRun {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor, or the place in the recipe (`recipe.lr`), that differs.
        key: String,
        /// What this run has.
        expected: String,
        /// What the checkpoint has.
        found: String,
    },
    /// A file is not whole, or not what it should be.
    #[error("{}: the file is damaged: {reason}; delete it, or put back a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one can tell.
        reason: String,
    },
    /// A file holds a tensor this program has no type for.
    #[error("{}: \"{key}\" is {found}; supported are floats, integers up to i64 and truth values, with up to {} axes", path.display(), tensor::MAX_RANK)]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// What it is.
        found: String,
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

fn last_checkpoint(path: &Option<PathBuf>) -> String {
    match path {
        Some(path) => format!("the last good checkpoint is {}", path.display()),
        None => "there is no checkpoint".to_owned(),
    }
}

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
