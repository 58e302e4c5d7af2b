//! Pure data in, files out: how the results of an experiment are shown.
//!
//! Nothing in here knows an experiment or a tensor. An experiment hands over [`Claim`]s, each judged by [`verdict`] from
//! numbers and the [`Scale`] of the run, never by hand, and [`Table`]s, written as TSV (full precision, for programs) and
//! Markdown (for people).

pub mod atomic;
pub mod table;
pub mod verdict;

pub use atomic::{WriteError, write_atomic};
pub use table::{Cell, Emphasis, Number, Table};
pub use verdict::{Claim, Comparison, Quantity, Scale, Verdict};
