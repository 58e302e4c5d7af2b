//! Fitting a run into the time there is: by a schedule of fewer epochs, not by cutting it off (section 4 of the specification).

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use nn::{Context, ModuleExt, optim::Optimizer};
use serde::{Deserialize, Serialize};
use tensor::{DType, Stream};

use super::{
    data::Images,
    recipe::ImageData,
    train::{self, TrialSpec},
};
use crate::{
    experiments::Session,
    failure::{Failure, Outcome, say},
    lock::Lock,
    results::{read_json, write_json},
};

/// What was decided, kept in the folder: everyone who works there has to decide alike, and so has a run that goes on.
#[derive(Serialize, Deserialize)]
struct Pace {
    minutes: f64,
    epochs: usize,
    /// Seconds that an epoch took, by data set, model and condition, tests included.
    seconds_per_epoch: BTreeMap<String, f64>,
}

/// Steps of a kind of trial that are timed, after one that is not.
const TIMED_STEPS: usize = 4;

/// The epochs for which there is time: at most those of the recipe, at least two.
pub(super) fn epochs(
    session: &Session,
    specs: &[TrialSpec],
    minutes: f64,
    images: &mut dyn FnMut(ImageData) -> Outcome<Images>,
) -> Outcome<usize> {
    let file = session.folder.join("pace.json");
    // Two processes that start together must not decide twice.
    let _lock = wait_for(&session.folder.join("pace.lock"))?;
    if !file.exists() {
        write_json(&file, &measured(session, specs, minutes, images)?)?;
    }
    let pace: Pace = read_json(&file)?;
    Ok(pace.epochs)
}

fn wait_for(path: &Path) -> Outcome<Lock> {
    loop {
        match Lock::take(path)? {
            Ok(lock) => return Ok(lock),
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    }
}

fn measured(
    session: &Session,
    specs: &[TrialSpec],
    minutes: f64,
    images: &mut dyn FnMut(ImageData) -> Outcome<Images>,
) -> Outcome<Pace> {
    let mut seconds_per_epoch = BTreeMap::new();
    let mut total = 0.0;
    for spec in specs {
        let kind = format!("{}-{}-{}", spec.dataset.name(), spec.model, spec.condition);
        if !seconds_per_epoch.contains_key(&kind) {
            session.check_stop()?;
            let seconds = seconds(session, spec, &images(spec.dataset)?)?;
            seconds_per_epoch.insert(kind.clone(), seconds);
        }
        total += seconds_per_epoch[&kind];
    }
    let wanted = specs.first().map_or(1, |spec| spec.recipe.epochs);
    let fitting = (60.0 * minutes / total).floor() as usize;
    let epochs = fitting.min(wanted);
    if epochs < 2 {
        return Err(Failure::Usage(format!(
            "--max-minutes {minutes}: an epoch of all {} trials takes {:.1} minutes here; allow at least twice that, or ask \
             for fewer conditions, models or seeds",
            specs.len(),
            total / 60.0
        )));
    }
    say!(
        "{epochs} of {wanted} epochs fit into {minutes} minutes ({} trials, {:.1} s for an epoch of all)",
        specs.len(),
        total
    );
    Ok(Pace { minutes, epochs, seconds_per_epoch })
}

/// Seconds of an epoch: some steps of training and the test, extrapolated.
fn seconds(session: &Session, spec: &TrialSpec, images: &Images) -> Outcome<f64> {
    let (mut model, _) = train::net(spec, images.classes())?;
    let device = session.request.device;
    model.to(DType::F32, device);
    let batches = train::training_loader(spec, images);
    let mut optimizer = train::optimizer(&spec.recipe);
    let mut began = Instant::now();
    let mut steps = 0;
    for (i, batch) in batches.epoch(0).take(1 + TIMED_STEPS).enumerate() {
        let batch = batch.map_err(anyhow::Error::from)?;
        let loss = {
            let mut cx = Context::train(Stream::new(0));
            train::loss(&spec.recipe, &batch, &*model, device, &mut cx)
        };
        let gradients = loss.backward();
        // A learning rate of nothing: the time is that of any other.
        optimizer.step(&mut *model, &gradients, 0.0);
        // Reading the loss waits for a GPU.
        let _ = loss.value().item();
        match i {
            0 => began = Instant::now(),
            i => steps = i,
        }
    }
    let step = began.elapsed().as_secs_f64() / steps.max(1) as f64;
    // A forward is about a third of a step.
    let per_image = step / spec.recipe.batch as f64 / 3.0;
    let tests = images.test.len() as f64 * per_image / spec.recipe.evaluate_every as f64;
    Ok(step * batches.len() as f64 + tests)
}

/// What is known of a folder's pace, in words for its report.
pub(super) fn said(folder: &Path) -> anyhow::Result<Option<String>> {
    let file = folder.join("pace.json");
    if !fs::exists(&file)? {
        return Ok(None);
    }
    let Pace { minutes, epochs, .. } = read_json(&file)?;
    Ok(Some(format!(
        "The schedule was made to fit {minutes} minutes: {epochs} epochs, with the shape of the whole one."
    )))
}
