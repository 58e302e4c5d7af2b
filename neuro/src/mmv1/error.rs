//! [`Error`]: what can be wrong with recordings and sizes.

use std::path::PathBuf;

/// What can be wrong with a recording, its files, or a model's size.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Sizes of a model that do not fit together.
    #[error("{0}")]
    Config(String),
    /// A file that cannot be read, or is not what its format says (too short, damaged, of another type).
    #[error(transparent)]
    File(#[from] tensor::Error),
    /// A folder or a file that has to be there is not.
    #[error("{path}: missing; {expected}")]
    Missing {
        /// What is not there.
        path: PathBuf,
        /// What was expected in its place.
        expected: String,
    },
    /// An array of another shape or length than the others ask for.
    #[error("{path}: expected {expected}, found {found}")]
    Shape {
        /// The file, or the array's name if it came from memory.
        path: PathBuf,
        /// The shape asked for, and why.
        expected: String,
        /// The shape found.
        found: String,
    },
    /// Values that cannot be used.
    #[error("{path}: {what}")]
    Values {
        /// The file, or the array's name if it came from memory.
        path: PathBuf,
        /// Which values, and what to do.
        what: String,
    },
    /// The description `recording.json` is not understood.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where, and what was expected.
        source: serde_json::Error,
    },
    /// A folder or description that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// A recording from which nothing can be learned.
    #[error("{recording}: {what}")]
    Recording {
        /// Its name.
        recording: String,
        /// What is wrong and what to do.
        what: String,
    },
}
