//! E12, prediction of mouse V1 (Table 5): do Lp-convolutions help a model of visual cortex predict activity?
//!
//! `recipe` says what a trial is, `data` finds recordings, `train` runs a trial, `look` asks the trained model for fields and
//! tuning, `report` and `figures` write the page.

mod data;
mod figures;
mod look;
mod recipe;
mod report;
mod train;

use super::{Experiment, Request, Session, condition::Condition};
use crate::{
    failure::{Failure, Outcome},
    results::TrialFolder,
    settings,
};
use data::{Mouse, SYNTHETIC};
use recipe::Recipe;
use train::TrialSpec;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "v1",
    paper: "Table 5 (E12): prediction of mouse V1 activity by the CNN-GRU of Xu et al.",
    data: "three two-photon sessions (Park et al. 2024) are built in; the paper's mice (osf.io/msp3a), or recordings of \
           your own, with --data FOLDER",
    demo: "about 8 minutes",
    trials: |request| {
        let (_, trials) = plan(request)?;
        Ok(trials.iter().map(|t| t.name()).collect())
    },
    has_trials: true,
    can_shorten: false,
    run,
    report: report::write,
};

/// The conditions of Table 5.
const CONDITIONS: [Condition; 6] = [
    Condition::Base,
    Condition::Large,
    Condition::Lp(2.0),
    Condition::Lp(4.0),
    Condition::Lp(8.0),
    Condition::Lp(16.0),
];

/// One trial: a mouse, a condition and a seed.
#[derive(Clone, Debug, PartialEq)]
struct Trial {
    mouse: Mouse,
    condition: Condition,
    seed: u64,
}

impl Trial {
    fn name(&self) -> String {
        format!("{}-{}-seed{}", self.mouse.name(), self.condition, self.seed)
    }
}

/// The recipe and the trials that a request means.
fn plan(request: &Request) -> Outcome<(Recipe, Vec<Trial>)> {
    let usage = |e: String| Failure::Usage(format!("v1: {e}"));
    let recipe = Recipe::of(request.scale, request.data.is_some());
    let recipe = settings::overridden(&recipe, &request.set)?;
    recipe.check().map_err(usage)?;
    let mice = data::mice(&recipe, request.data.as_deref(), request.scale)?;
    let conditions = if request.conditions.is_empty() {
        CONDITIONS.to_vec()
    } else {
        let parsed: Result<Vec<Condition>, String> =
            request.conditions.iter().map(|c| c.parse()).collect();
        parsed.map_err(usage)?
    };
    let seeds = match &request.seeds[..] {
        [] => vec![0, 1, 2],
        given => given.to_vec(),
    };
    let mut trials = Vec::new();
    // Seed by seed: an interrupted run has complete comparisons for the seeds it has finished.
    for &seed in &seeds {
        for mouse in &mice {
            for &condition in &conditions {
                trials.push(Trial { mouse: mouse.clone(), condition, seed });
            }
        }
    }
    // The check that the pipeline finds known fields needs no statistics over conditions.
    if recipe.synthetic_bins > 0 {
        let both = [Condition::Base, Condition::Lp(2.0)];
        trials.extend(both.into_iter().filter(|c| conditions.contains(c)).map(|condition| Trial {
            mouse: Mouse::Synthetic,
            condition,
            seed: seeds[0],
        }));
    }
    Ok((recipe, trials))
}

fn run(session: &Session) -> Outcome {
    let (recipe, trials) = plan(session.request)?;
    let mut pending = Vec::new();
    for trial in &trials {
        let spec = TrialSpec {
            mouse: trial.mouse.name(),
            condition: trial.condition.to_string(),
            seed: trial.seed,
            recipe: recipe.clone(),
            data: data::digest(&trial.mouse)?,
        };
        let folder = TrialFolder::new(&session.folder, &trial.name());
        // A finished trial counts only if it is the one that is asked for: same recipe, same data.
        folder.check(&spec)?;
        if !folder.is_done() {
            pending.push((trial, spec, folder));
        }
    }
    let mut loaded: Option<(Mouse, train::Data)> = None;
    for (i, (trial, spec, folder)) in pending.iter().enumerate() {
        let data = match loaded.take() {
            Some((mouse, data)) if mouse == trial.mouse => data,
            _ => data::load(&recipe, &trial.mouse)?,
        };
        let title = format!("{} ({} of {})", trial.name(), i + 1, pending.len());
        train::run(session, folder, spec, trial.condition, &data, &title)?;
        loaded = Some((trial.mouse.clone(), data));
    }
    Ok(())
}
