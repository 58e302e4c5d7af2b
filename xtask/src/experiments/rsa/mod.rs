//! E11, representational similarity (Fig 6, 11): which layers of a model find the same scenes alike as mouse visual cortex?
//!
//! `brain` makes recordings into RSMs and ceilings, `models` says which models are compared, `similarity` computes, `report`
//! writes the page and `figures` draws.

mod brain;
mod figures;
mod models;
mod report;
mod similarity;

use std::time::Instant;

use tensor::Device;

use super::{Experiment, Request, Session};
use crate::{
    failure::{Failure, Outcome},
    results::write_json,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "rsa",
    paper: "Fig 6, 11 (E11): representational similarity to mouse visual cortex",
    data: "built in: 118 scenes, spikes of 6 areas; --data FOLDER for single trials (AREA_SESSION.npz)",
    demo: "about 3 minutes",
    trials,
    has_trials: false,
    can_shorten: false,
    run,
    report: report::write,
};

/// The file of all similarities.
const FILE: &str = "similarities.json";

/// There is nothing to choose but the recordings.
fn trials(request: &Request) -> Outcome<Vec<String>> {
    let given = [
        ("--condition", !request.conditions.is_empty()),
        ("--seed", !request.seeds.is_empty()),
        ("--set", !request.set.is_empty()),
        ("--device", request.device != Device::Cpu),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) if request.named => Err(Failure::Usage(format!(
            "rsa compares all its models with all areas on the CPU: {flag} has no meaning"
        ))),
        _ => Ok(Vec::new()),
    }
}

fn run(session: &Session) -> Outcome {
    let start = Instant::now();
    let mut found = similarity::compute(session)?;
    found.seconds = start.elapsed().as_secs_f64();
    Ok(write_json(&session.folder.join(FILE), &found)?)
}
