//! Pure data in, files out: how the results of an experiment are shown.
//!
//! Nothing in here knows an experiment. An experiment fills a [`Report`] with
//!
//! - [`Claim`]s, each judged by [`verdict`] from numbers and the [`Scale`] of the run, never by hand;
//! - [`Table`]s, written as TSV (full precision, for programs) and Markdown (for people);
//! - [`Figure`]s, written as SVG and PNG from one scene;
//!
//! and saves it: one self-contained HTML page with those files beside it.

mod base64;
pub mod figure;
pub mod page;
pub mod table;
pub mod verdict;

pub use figure::Figure;
pub use page::{Report, ReportError, RunInfo};
pub use table::{Cell, Emphasis, Number, Table};
pub use verdict::{Claim, Comparison, Quantity, Scale, Verdict};
