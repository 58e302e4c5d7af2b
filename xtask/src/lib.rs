//! The paper on top of the workspace: experiments, data, benches, and the reports made of them.
//!
//! [`report`] is the presentation layer; it knows nothing of experiments or tensors. [`verify`] compares the workspace with
//! the software the paper was made with.

pub mod report;
pub mod verify;
