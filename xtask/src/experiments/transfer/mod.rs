//! E8, transfer (Fig 3, Table 4): can a pretrained net be enlarged without losing what it knows, and does it gain?
//!
//! `recipe` says what a trial is, `data` reads pictures and changes them at random, `train` runs a trial, `report` reads what
//! trials left and writes the page.

mod data;
mod recipe;
mod report;
mod train;

use super::{Experiment, Request, ScaleName, Session};
use crate::{
    failure::{Failure, Outcome},
    results::TrialFolder,
    settings,
};
use recipe::{Condition, Recipe};
use train::TrialSpec;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "transfer",
    paper: "Fig 3, Table 4 (E8): 16-shot transfer of a pretrained net whose kernels are enlarged",
    data: "SqueezeNet's ImageNet weights and 600 pictures of ten textures are built in; the paper's scale needs its five data \
           sets and ConvNeXt-V2-T's weights (--data FOLDER)",
    demo: "about 3 minutes",
    trials: |request| {
        let (_, trials) = plan(request)?;
        Ok(trials.iter().map(Trial::name).collect())
    },
    has_trials: true,
    can_shorten: false,
    run,
    report: report::write,
};

/// One trial: a data set, a condition and a seed.
#[derive(Clone, Debug, PartialEq)]
struct Trial {
    set: String,
    condition: Condition,
    seed: u64,
}

impl Trial {
    fn name(&self) -> String {
        format!("{}-{}-seed{}", self.set, self.condition, self.seed)
    }
}

/// The recipe and the trials that a request means.
fn plan(request: &Request) -> Outcome<(Recipe, Vec<Trial>)> {
    let usage = |e: String| Failure::Usage(format!("transfer: {e}"));
    let recipe = settings::overridden(&Recipe::of(request.scale), &request.set)?;
    recipe.check(request).map_err(usage)?;
    let conditions: Vec<Condition> = match &request.conditions[..] {
        [] => Condition::of(request.scale),
        names => names.iter().map(|c| c.parse()).collect::<Result<_, _>>().map_err(usage)?,
    };
    let seeds = match (&request.seeds[..], request.scale) {
        ([], ScaleName::Paper) => vec![0, 1, 2, 3, 4],
        ([], ScaleName::Small) => vec![0, 1, 2],
        ([], ScaleName::Demo) => vec![0],
        (given, _) => given.to_vec(),
    };
    // Seed by seed: an interrupted run has complete comparisons for the seeds it has finished.
    let mut trials = Vec::new();
    for seed in seeds {
        for set in recipe.sets().map_err(usage)? {
            for &condition in &conditions {
                trials.push(Trial { set: set.clone(), condition, seed });
            }
        }
    }
    Ok((recipe, trials))
}

fn run(session: &Session) -> Outcome {
    let (recipe, trials) = plan(session.request)?;
    let root = session.request.data.as_deref();
    let spec = |trial: &Trial| TrialSpec {
        set: trial.set.clone(),
        condition: trial.condition.to_string(),
        seed: trial.seed,
        recipe: recipe.clone(),
    };
    let mut pending = Vec::new();
    for trial in &trials {
        let folder = TrialFolder::new(&session.folder, &trial.name());
        // A finished trial counts only if it is the one that is asked for.
        folder.check(&spec(trial))?;
        if !folder.is_done() {
            pending.push((trial, folder));
        }
    }
    let mut data: Option<(String, data::Data)> = None;
    for (i, (trial, folder)) in pending.iter().enumerate() {
        let of_set = match &mut data {
            Some((set, of_set)) if *set == trial.set => of_set,
            slot => &mut slot.insert((trial.set.clone(), data::load(&trial.set, root)?)).1,
        };
        let title = format!("{} ({} of {})", trial.name(), i + 1, pending.len());
        train::run(session, folder, &spec(trial), of_set, &title)?;
    }
    Ok(())
}
