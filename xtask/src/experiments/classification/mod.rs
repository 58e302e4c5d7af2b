//! Training image classifiers under several conditions: what Tables 1, 3 and 9 have in common.
//!
//! A [`Study`] says which nets, conditions and seeds a table has at each scale; `recipe` what a trial depends on, `data` and
//! `nets` what it is made of, `train` runs it, `pace` fits a run into the time there is, `report` writes the page.
//!
//! Several processes may work in one results folder: each takes the trials that no other has (see [`crate::lock`]).

mod data;
mod masks;
mod nets;
mod pace;
mod recipe;
mod report;
mod robustness;
mod train;

use std::path::{Path, PathBuf};

use super::{Request, ScaleName, Session, condition::Condition};
use crate::{
    failure::{Failure, Outcome, say},
    lock::Lock,
    results::TrialFolder,
    settings,
};
use recipe::ImageData;
pub(super) use recipe::Recipe;
pub(super) use report::{table_1, table_3, table_9};
use train::TrialSpec;

/// A table of the paper whose cells are trained classifiers.
pub(super) struct Study {
    /// As on the command line.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What is asked, in one or two sentences.
    pub(super) question: &'static str,
    /// The paper's table, and how it prints the models of its recipe.
    pub(super) table: &'static str,
    pub(super) number: u8,
    pub(super) printed: &'static [(&'static str, &'static str)],
    pub(super) recipe: fn(ScaleName) -> Recipe,
    pub(super) conditions: fn(ScaleName) -> Vec<Condition>,
    pub(super) seeds: fn(ScaleName) -> Vec<u64>,
    /// Whether the kernels are not enlarged, so that conditions without a mask other than base mean nothing.
    pub(super) masks_only: bool,
    /// What of the paper the trials show.
    pub(super) claims: report::Claims,
    pub(super) notes: &'static [&'static str],
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
struct Trial {
    data: ImageData,
    model: String,
    condition: Condition,
    seed: u64,
}

impl Trial {
    fn name(&self) -> String {
        format!("{}-{}-{}-seed{}", self.data.name(), self.model, self.condition, self.seed)
    }
}

/// The recipe and the trials that a request means.
fn plan(study: &Study, request: &Request) -> Outcome<(Recipe, Vec<Trial>)> {
    let usage = |e: String| Failure::Usage(format!("{}: {e}", study.name));
    let recipe = settings::overridden(&(study.recipe)(request.scale), &request.set)?;
    recipe.check(request).map_err(usage)?;
    let conditions: Vec<Condition> = match &request.conditions[..] {
        [] => (study.conditions)(request.scale),
        names => names.iter().map(|c| c.parse()).collect::<Result<_, _>>().map_err(usage)?,
    };
    if let Some(other) = conditions.iter().find(|c| study.masks_only && **c == Condition::Large) {
        return Err(usage(format!("{other}: kernels keep their size here, so it would be base")));
    }
    let seeds = match &request.seeds[..] {
        [] => (study.seeds)(request.scale),
        given => given.to_vec(),
    };
    // Seed by seed: an interrupted run has complete comparisons for the seeds it has finished.
    let mut trials = Vec::new();
    for seed in seeds {
        for data in recipe.datasets().map_err(usage)? {
            for model in recipe.models() {
                for &condition in &conditions {
                    trials.push(Trial { data, model: model.clone(), condition, seed });
                }
            }
        }
    }
    Ok((recipe, trials))
}

/// The names of the trials that a request means.
pub(super) fn trials(study: &Study, request: &Request) -> Outcome<Vec<String>> {
    let (_, trials) = plan(study, request)?;
    Ok(trials.iter().map(Trial::name).collect())
}

/// The images of the data set that was asked for last.
struct Loaded<'a> {
    recipe: &'a Recipe,
    root: Option<&'a Path>,
    images: Option<(ImageData, data::Images)>,
}

impl Loaded<'_> {
    fn of(&mut self, data: ImageData) -> anyhow::Result<&data::Images> {
        if self.images.as_ref().is_none_or(|(loaded, _)| *loaded != data) {
            self.images = Some((data, data::load(data, self.recipe, self.root)?));
        }
        Ok(&self.images.as_ref().expect("loaded above").1)
    }
}

/// Runs the trials that are not done yet.
pub(super) fn run(study: &Study, session: &Session) -> Outcome {
    let (recipe, trials) = plan(study, session.request)?;
    let mut loaded =
        Loaded { recipe: &recipe, root: session.request.data.as_deref(), images: None };
    let spec = |trial: &Trial, recipe: &Recipe, images: &data::Images| TrialSpec {
        dataset: trial.data,
        model: trial.model.clone(),
        condition: trial.condition.to_string(),
        seed: trial.seed,
        train_images: images.train.len(),
        test_images: images.test.len(),
        shortened_from: None,
        recipe: recipe.clone(),
    };
    let mut specs = Vec::new();
    for trial in &trials {
        specs.push((trial, spec(trial, &recipe, loaded.of(trial.data)?)));
    }
    if let Some(minutes) = session.request.max_minutes {
        let all: Vec<TrialSpec> = specs.iter().map(|(_, spec)| spec.clone()).collect();
        let mut images = |data: ImageData| Ok(loaded.of(data)?.clone());
        let epochs = pace::epochs(session, &all, minutes, &mut images)?;
        if epochs < recipe.epochs {
            for (_, spec) in &mut specs {
                spec.shortened_from = Some(recipe.epochs);
                spec.recipe = recipe.shortened(epochs);
            }
        }
    }
    // A finished trial counts only if it is the one that is asked for.
    for (trial, spec) in &specs {
        TrialFolder::new(&session.folder, &trial.name()).check(spec)?;
    }
    for (i, (trial, spec)) in specs.iter().enumerate() {
        let folder = TrialFolder::new(&session.folder, &trial.name());
        if folder.is_done() {
            continue;
        }
        folder.start(spec)?;
        let _lock = match Lock::take(&folder.file("lock"))? {
            Ok(lock) => lock,
            Err(holder) => {
                say!("{}: left to {}", trial.name(), holder.0);
                continue;
            }
        };
        // Another process may have finished it since.
        if folder.is_done() {
            continue;
        }
        let title = format!("{} ({} of {})", trial.name(), i + 1, specs.len());
        train::run(session, &folder, spec, loaded.of(trial.data)?, &title)?;
    }
    Ok(())
}

/// Writes the report of a folder.
pub(super) fn report(study: &Study, folder: &Path, scale: ScaleName) -> anyhow::Result<PathBuf> {
    report::write(study, folder, scale)
}

/// The names of the nets that a request for Table 2 means; `study` is Table 1.
pub(super) fn robustness_trials(study: &Study, request: &Request) -> Outcome<Vec<String>> {
    robustness::trials(study, request)
}

/// Tests the nets of `study` on corrupted images.
pub(super) fn robustness(study: &Study, session: &Session) -> Outcome {
    robustness::run(study, session)
}

/// Writes the report of tested nets.
pub(super) fn robustness_report(
    study: &Study,
    folder: &Path,
    scale: ScaleName,
) -> anyhow::Result<PathBuf> {
    report::robustness(study, folder, scale)
}
