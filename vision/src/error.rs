//! What can go wrong with files and settings that come from outside.

use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::datasets::sudoku::PuzzleError;

/// Why a data set could not be read, written or generated.
///
/// Every variant names the file and, where there is one, the line (counted from 1 in the
/// decompressed text), so that the message alone is enough to find the fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file does not exist or may not be opened.
    #[error("cannot open {path}: {source}; check the path, or fetch the data set first")]
    Open {
        /// The file asked for.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// Reading stopped because of the disk, not because of the content.
    #[error("cannot read {path} at line {line}: {source}")]
    Read {
        /// The file being read.
        path: PathBuf,
        /// The line that could not be completed.
        line: u64,
        /// What the operating system said.
        source: io::Error,
    },

    /// A gzip stream is cut off or damaged.
    #[error(
        "{path}: the gzip stream is damaged or cut off at line {line} ({source}); \
         the file is probably an incomplete download: fetch it again"
    )]
    CorruptGzip {
        /// The file being read.
        path: PathBuf,
        /// The line of the decompressed text that could not be completed.
        line: u64,
        /// What the decompressor said.
        source: io::Error,
    },

    /// The file holds nothing, or a header and nothing below it.
    #[error("{path}: expected {expected}, found {found}")]
    Empty {
        /// The file being read.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },

    /// A data set is not laid out as it should be.
    #[error("{}: expected {expected}, found {found}", path.display())]
    Malformed {
        /// The file or folder.
        path: PathBuf,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },

    /// Images are not of one size where they must be.
    #[error(
        "image {index} is {} x {}, others are {} x {}; resize or crop them to one size",
        found.0, found.1, expected.0, expected.1
    )]
    ImageSize {
        /// The image's place in its set.
        index: usize,
        /// Height and width of those before it.
        expected: (usize, usize),
        /// Its height and width.
        found: (usize, usize),
    },

    /// An image cannot be corrupted as asked for.
    #[error("{0}")]
    Corruption(String),

    /// The first line is not the header of this format.
    #[error("{path}, line {line}: expected the header {expected:?}, found {found:?}")]
    Header {
        /// The file being read.
        path: PathBuf,
        /// The line of the header.
        line: u64,
        /// The header of the format.
        expected: String,
        /// The beginning of the line that was found.
        found: String,
    },

    /// A row does not have the form that the format asks for.
    #[error("{path}, line {line}: expected {expected}, found {found}")]
    Row {
        /// The file being read.
        path: PathBuf,
        /// The line of the row.
        line: u64,
        /// The form of a row or field.
        expected: String,
        /// What stands there.
        found: String,
    },

    /// A row has the right form but is not a Sudoku puzzle with its solution.
    #[error("{path}, line {line}: {source}")]
    Puzzle {
        /// The file being read.
        path: PathBuf,
        /// The line of the row.
        line: u64,
        /// The rule that is broken.
        source: PuzzleError,
    },

    /// The file could not be written; whatever stood there before is unchanged.
    #[error(transparent)]
    Write(#[from] tensor::Error),

    /// A file of weights could not be read.
    #[error(transparent)]
    WeightsFile(tensor::Error),

    /// A file of weights has a name that does not tell its format.
    #[error("{}: expected a name that ends in {expected}", path.display())]
    WeightsFormat {
        /// The file.
        path: PathBuf,
        /// The endings that are known.
        expected: &'static str,
    },

    /// Weights do not fit the model.
    #[error("{}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: Box<nn::Error>,
    },

    /// A picture could not be decoded.
    #[error("{}: {reason}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },

    /// A file that splits a data set does not say what it should.
    #[error("{}: {reason}", path.display())]
    Splits {
        /// The file, or the set's folder.
        path: PathBuf,
        /// What was expected, and what was found.
        reason: String,
    },

    /// There is no architecture of this name.
    #[error("there is no model {name:?}; {}", suggestion(.similar))]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// Names that are nearly the same, the nearest first.
        similar: Vec<&'static str>,
    },

    /// An architecture cannot be made as asked for.
    #[error("model {name}: {setting} is {found}, expected {expected}")]
    ModelConfig {
        /// The architecture.
        name: &'static str,
        /// The field of [`ModelConfig`](crate::models::ModelConfig).
        setting: &'static str,
        /// What it can be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// Puzzles were asked for with a number of givens that cannot be generated.
    #[error(
        "sudoku generator: givens {}..={} asked for, expected a non-empty range within {}..={}",
        found.start(), found.end(), expected.start(), expected.end()
    )]
    GivensRange {
        /// The widest range that can be generated.
        expected: RangeInclusive<usize>,
        /// The range asked for.
        found: RangeInclusive<usize>,
    },
}

fn suggestion(similar: &[&str]) -> String {
    match similar {
        [] => "`cargo xtask model list` shows them all".into(),
        names => format!("did you mean {}?", names.join(" or ")),
    }
}
