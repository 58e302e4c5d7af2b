//! What is measured: one value for every workload, in one list.
//!
//! Operations are counted as two for every multiply-add of the dense nominal computation: of a convolution also the taps
//! that fall on padding or on zeros of a mask, although leaving those out is half the art. So a rate can exceed the peak,
//! and equals of two programs stay equals.

mod conv;
mod gemm;
mod infer;
mod loader;
mod rsa;
mod small;
mod train;

use serde::Serialize;
use tensor::{ConvAlgorithm, Device};

/// Something to measure.
pub(super) struct Workload {
    /// As on the command line and in results.
    pub(super) name: String,
    /// What it does, in a few words.
    pub(super) about: String,
    /// A part of the name that a filter must contain for this to run, which it never does by default.
    pub(super) on_request: Option<String>,
    /// The workload that computes the same with less work, if there is one.
    pub(super) twin: Option<Twin>,
    /// Makes inputs and models on a device.
    pub(super) prepare: Box<dyn Fn(Device) -> Prepared>,
}

/// Another way to the same results.
pub(super) struct Twin {
    /// The other workload's name.
    pub(super) name: String,
    /// Computes both and compares, a line for each result.
    pub(super) compare: Box<dyn Fn() -> Vec<Agreement> + Sync>,
}

/// How far two computations of one result agree.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Agreement {
    /// The result.
    pub(super) what: &'static str,
    /// How many numbers it has.
    pub(super) values: usize,
    /// How many of them differ in any bit.
    pub(super) differing: usize,
}

/// A workload that is ready to run.
pub(super) struct Prepared {
    /// One repetition.
    pub(super) step: Box<dyn FnMut()>,
    /// Floating-point operations of a repetition, where counting them makes sense.
    pub(super) flop: Option<f64>,
    /// Bytes that a repetition must read and write at least, where memory is the limit.
    pub(super) bytes: Option<f64>,
}

impl Workload {
    fn new(
        name: impl Into<String>,
        about: impl Into<String>,
        prepare: impl Fn(Device) -> Prepared + 'static,
    ) -> Workload {
        Workload {
            name: name.into(),
            about: about.into(),
            on_request: None,
            twin: None,
            prepare: Box::new(prepare),
        }
    }
}

/// The name of an algorithm that is not the default, as part of a workload's name.
fn on_request(algorithm: ConvAlgorithm) -> Option<&'static str> {
    match algorithm {
        ConvAlgorithm::Direct => None,
        ConvAlgorithm::Winograd => Some("winograd"),
        ConvAlgorithm::Fft => Some("fft"),
    }
}

/// All workloads: products, convolutions, depthwise convolutions, training steps, inference, representational similarity,
/// loading, optimizer, overhead.
pub(super) fn all() -> Vec<Workload> {
    [gemm::all(), conv::all(), train::all(), infer::all(), rsa::all(), loader::all(), small::all()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: Vec<String> = all().into_iter().map(|w| w.name).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name}");
        }
    }
}
