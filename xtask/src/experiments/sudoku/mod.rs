//! E9 and E10, Sudoku (Fig 4, 5, 9, 10): do trainable masks balance the square boxes against the long rows and columns?
//!
//! `recipe` says what a trial is, `data` makes puzzles into tensors, `train` runs a trial, `ablation` takes masks away from
//! a trained net, `report` reads what trials left and writes the page.

mod ablation;
mod data;
mod figures;
mod recipe;
mod report;
mod train;

use std::{fs, path::Path, sync::Arc};

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use super::{Experiment, Request, ScaleName, Session};
use crate::{
    failure::{Failure, Outcome},
    results::TrialFolder,
    settings,
};
use recipe::{CONDITIONS, Condition, Recipe};
use train::TrialSpec;

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "sudoku",
    paper: "Fig 4, 5, 9, 10 (E9, E10): Sudoku, conformation of the masks, ablation",
    data: "20,000 real puzzles are built in; the paper's scale needs the 1M-puzzle CSV (--data)",
    demo: "about 4 minutes",
    trials: |request| {
        let (_, trials) = plan(request)?;
        Ok(trials.iter().map(|t| t.name()).collect())
    },
    has_trials: true,
    can_shorten: false,
    run,
    report: report::write,
};

/// One trial: a condition and a seed.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Trial {
    condition: Condition,
    seed: u64,
}

impl Trial {
    fn name(&self) -> String {
        format!("{}-seed{}", self.condition, self.seed)
    }
}

/// The recipe and the trials that a request means.
fn plan(request: &Request) -> Outcome<(Recipe, Vec<Trial>)> {
    let recipe =
        settings::overridden(&Recipe::of(request.scale, request.data.as_ref()), &request.set)?;
    recipe.check(request).map_err(|e| Failure::Usage(format!("sudoku: {e}")))?;
    let conditions = if request.conditions.is_empty() {
        CONDITIONS.to_vec()
    } else {
        let parsed: Result<Vec<Condition>, String> =
            request.conditions.iter().map(|c| c.parse()).collect();
        parsed.map_err(|e| Failure::Usage(format!("sudoku: {e}")))?
    };
    let seeds = match (&request.seeds[..], request.scale) {
        ([], ScaleName::Paper) => vec![0, 1, 2],
        ([], _) => vec![0],
        (given, _) => given.to_vec(),
    };
    // Seed by seed: an interrupted run has complete comparisons for the seeds it has finished.
    let trials = seeds
        .into_iter()
        .flat_map(|seed| conditions.iter().map(move |&condition| Trial { condition, seed }))
        .collect();
    Ok((recipe, trials))
}

fn run(session: &Session) -> Outcome {
    let (recipe, trials) = plan(session.request)?;
    let file = session.request.data.as_deref();
    let digest = file.map(digest).transpose()?;
    let spec = |trial: &Trial| TrialSpec {
        condition: trial.condition.to_string(),
        seed: trial.seed,
        recipe: recipe.clone(),
        data: digest.clone(),
    };
    let mut pending = Vec::new();
    for trial in &trials {
        let folder = TrialFolder::new(&session.folder, &trial.name());
        // A finished trial counts only if it is the one that is asked for: same recipe, same data.
        folder.check(&spec(trial))?;
        if !folder.is_done() {
            pending.push((trial, folder));
        }
    }
    if pending.is_empty() {
        return Ok(());
    }
    let data = Arc::new(data::load(&recipe, file)?);
    for (i, (trial, folder)) in pending.iter().enumerate() {
        let spec = spec(trial);
        let title = format!("{} ({} of {})", trial.name(), i + 1, pending.len());
        train::run(session, folder, &spec, &data, &title)?;
    }
    Ok(())
}

/// SHA-256 of a file, in hexadecimal.
fn digest(path: &Path) -> anyhow::Result<String> {
    let mut file = fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hasher))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// A hasher that can be written to.
struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
