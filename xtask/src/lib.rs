//! The paper on top of the workspace: experiments, data, benches, and the reports made of them.
//!
//! [`report`] is the presentation layer; it knows nothing of experiments or tensors. [`verify`] compares the workspace with
//! the software the paper was made with.

pub mod bench;
pub mod ci;
pub mod cli;
pub mod devices;
pub mod experiments;
pub mod failure;
pub mod fit_rf;
pub mod flops;
pub mod gpu_check;
pub mod kernels;
pub mod lock;
pub mod model;
pub mod predict;
pub mod profile;
pub mod report;
pub mod results;
pub mod rsa;
pub mod settings;
pub mod verify;

/// The README's example, compiled and run as a documentation test.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
