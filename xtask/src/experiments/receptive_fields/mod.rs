//! E1, receptive fields (Fig 1, 7, 8, Table 8): is local connectivity in mouse V1 nearer to a Gaussian than a network's first
//! layer, and does training lower its `p`?
//!
//! `fits` computes what is reported, `report` writes the page, `figures` draws.

mod figures;
mod fits;
mod report;

use std::time::Instant;

use tensor::Device;

use super::{Experiment, Request, Session};
use crate::{
    failure::{Failure, Outcome},
    results::write_json,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "rf",
    paper: "Fig 1, 7, 8 and Table 8 (E1): receptive fields of V1 and of first layers",
    data: "built in: 17 traced neurons, 118 scenes, SqueezeNet; --data FILE for AlexNet's own weights",
    demo: "half a minute",
    trials,
    has_trials: false,
    can_shorten: false,
    run,
    report: report::write,
};

/// The file of all fits.
const FILE: &str = "fits.json";

/// There is nothing to choose but the weights.
fn trials(request: &Request) -> Outcome<Vec<String>> {
    let given = [
        ("--condition", !request.conditions.is_empty()),
        ("--seed", !request.seeds.is_empty()),
        ("--set", !request.set.is_empty()),
        ("--device", request.device != Device::Cpu),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) if request.named => Err(Failure::Usage(format!(
            "rf fits what is recorded and trained already: {flag} has no meaning"
        ))),
        _ => Ok(Vec::new()),
    }
}

fn run(session: &Session) -> Outcome {
    let start = Instant::now();
    let mut fits = fits::compute(session)?;
    fits.seconds = start.elapsed().as_secs_f64();
    Ok(write_json(&session.folder.join(FILE), &fits)?)
}
