//! [`Error`]: what can be wrong with the world outside: files and what they hold.

use std::path::PathBuf;

use crate::DType;

/// A file that could not be read, written or understood. Wrong programs panic instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system refused to let the file be read: there is none, or no permission.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file could not be written; whatever stood there before is unchanged.
    #[error("cannot write {}: {source}{}; an older file of that name is unchanged", path.display(), advice(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not in its format: a header that cannot be parsed, or contradicts itself.
    #[error("{}: not a valid {format} file: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format it should have.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The file is shorter or longer than its header says: an interrupted download or copy.
    #[error("{}: {found} bytes of data, its header announces {expected}; fetch or write it again", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes of data by the header.
        expected: u64,
        /// Bytes of data there are.
        found: u64,
    },
    /// A valid file with something this crate has no tensor for.
    #[error("{}: {key} is {found}, which is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The tensor's name, or `array` in a file of one.
        key: String,
        /// What it is.
        found: String,
    },
    /// There is no tensor of this name.
    #[error("{}: no tensor {key:?} among {count}{}", path.display(), example(similar))]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        key: String,
        /// Number of tensors in the file.
        count: usize,
        /// The name in the file with the longest common ending, to show how names look there.
        similar: Option<String>,
    },
    /// A tensor has another dtype than the one asked for.
    #[error("{}: {key:?} is {found}, expected {expected}", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        key: String,
        /// The dtype asked for.
        expected: DType,
        /// The dtype in the file.
        found: DType,
    },
    /// A tensor has another shape than the one asked for.
    #[error("{}: {key:?} has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        key: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
}

/// What to do about it, where that is known.
fn advice(source: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => "; make room and try again",
        _ => "",
    }
}

fn example(similar: &Option<String>) -> String {
    similar.as_ref().map_or(String::new(), |name| format!(" (names are like {name:?})"))
}
