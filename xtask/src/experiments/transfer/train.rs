//! One trial: load pretrained weights, enlarge, learn from a few pictures of each class, test.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use autograd::Var;
use lpconv::convert_where;
use nn::{
    Context, Forward, Module, ModuleExt,
    data::{BoxError, DataLoader, LoaderOptions, Order},
    loss::{Reduction, cross_entropy},
    optim::{AdamOptions, AdamW, Groups},
    train::{Outcome as Trained, StepOutput, Trainer},
};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Stream, Tensor};
use vision::{
    datasets::transfer::few_shot,
    models::create,
    weights::{self, Mode},
};

use super::{
    data::{Batch, Data, Pictures, Sample},
    recipe::{Condition, Recipe},
};
use crate::{
    experiments::Session,
    failure::{Failure, Outcome},
    results::TrialFolder,
};

/// What defines a trial, written to its `recipe.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrialSpec {
    pub(super) set: String,
    pub(super) condition: String,
    pub(super) seed: u64,
    pub(super) recipe: Recipe,
}

/// What a finished trial leaves for the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Seconds of the last sitting; a resumed trial took longer in all.
    pub(super) seconds: f64,
    pub(super) parameters: usize,
    pub(super) train_pictures: usize,
    pub(super) test_pictures: u64,
    /// Test pictures whose class is the likeliest.
    pub(super) correct: u64,
    /// How far enlarging alone moved the logits of some test pictures: the largest difference from the base model's as a
    /// share of the largest logit.
    pub(super) moved_by_enlarging: f64,
}

/// Threads that read and vary pictures ahead of training.
const LOADER_WORKERS: usize = 2;
/// Pictures evaluated at once.
const EVALUATION_BATCH: usize = 50;
/// The head of SqueezeNet is a convolution: it is new, like the linear heads of other nets, and not enlarged either.
const CONVOLUTIONAL_HEAD: &str = "classifier.1";

/// Any architecture, as the trainer takes it.
#[derive(Module)]
pub(super) struct Net {
    #[module(flatten)]
    model: Box<dyn Forward>,
}

impl Net {
    fn logits(&self, input: &Tensor, cx: &mut Context) -> Var {
        let device =
            self.named_parameters().first().map_or(Device::Cpu, |(_, p)| p.value().device());
        self.model.call(&Var::constant(input.to_device(device)), cx)
    }
}

/// The pretrained net with a new head, enlarged as the condition says.
pub(super) fn net(
    recipe: &Recipe,
    condition: Condition,
    classes: usize,
    seed: u64,
    weights: &Path,
) -> anyhow::Result<Net> {
    let mut model = create(&recipe.model, &recipe.model_config(classes))?;
    model.initialize(seed, DType::F32, Device::Cpu);
    let loaded = weights::load(&mut *model, weights, Mode::Lenient)?;
    // Weight and bias of the head have as many rows as there are classes, and nothing else may differ.
    let other: Vec<&str> = loaded.mismatched.iter().map(|(name, ..)| name.as_str()).collect();
    ensure!(
        loaded.missing.is_empty() && loaded.unexpected.is_empty() && other.len() <= 2,
        "{}: these are not the weights of {}: missing {:?}, unexpected {:?}, of another shape {other:?}",
        weights.display(),
        recipe.model,
        loaded.missing,
        loaded.unexpected
    );
    if let Some(conversion) = condition.conversion(seed) {
        convert_where(&mut *model, |path, _| {
            (path != CONVOLUTIONAL_HEAD).then(|| conversion.clone())
        })?;
    }
    Ok(Net { model })
}

/// The file of pretrained weights.
fn weights_file(recipe: &Recipe, root: Option<&Path>) -> PathBuf {
    match (recipe.weights.as_str(), root) {
        ("embedded", _) => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../vision/weights/squeezenet1_0/weights.npz"),
        (file, Some(root)) => root.join(file),
        (file, None) => file.into(),
    }
}

/// How many pictures get their class.
pub(super) fn correct(net: &Net, samples: &[Sample], pictures: Pictures) -> Result<u64, BoxError> {
    let mut correct = 0;
    for part in samples.chunks(EVALUATION_BATCH) {
        let Batch { input, target } = pictures.batch(part, None)?;
        let logits = net.logits(&input, &mut Context::eval());
        let classes = logits.value().argmax(1, false).to_vec::<i64>();
        correct += classes.iter().zip(target.to_vec::<i64>()).filter(|(a, b)| *a == b).count();
    }
    Ok(correct as u64)
}

/// See [`Done::moved_by_enlarging`].
fn moved(net: &Net, base: &Net, samples: &[Sample], pictures: Pictures) -> Result<f64, BoxError> {
    let some = &samples[..samples.len().min(EVALUATION_BATCH)];
    let input = pictures.batch(some, None)?.input;
    let logits = |net: &Net| net.logits(&input, &mut Context::eval()).value().clone();
    let largest = |t: &Tensor| t.to_f64_vec().iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    let base = logits(base);
    Ok(largest(&(&logits(net) - &base)) / largest(&base))
}

/// Trains, or goes on training, and writes `done.json`.
pub(super) fn run(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    data: &Data,
    title: &str,
) -> Outcome {
    let condition: Condition = spec.condition.parse().map_err(Failure::Usage)?;
    folder.start(spec)?;
    let began = Instant::now();
    let recipe = &spec.recipe;
    let weights = weights_file(recipe, session.request.data.as_deref());
    let pictures = Pictures::new(recipe).map_err(Failure::Usage)?;
    let make = |condition| net(recipe, condition, data.classes, spec.seed, &weights);
    let mut net = make(condition)?;
    let moved_by_enlarging = moved(&net, &make(Condition::Base)?, &data.test, pictures)
        .map_err(|e| anyhow::anyhow!(e))?;
    net.to(DType::F32, session.request.device);
    // The same pictures for every condition of a seed.
    let stream = Stream::new(spec.seed).derive("shots");
    let shots = few_shot(&data.train, |s| s.label, recipe.shots, &stream);
    let train_pictures = shots.len();
    train(session, folder, spec, shots, &data.test, &mut net, title)?;
    session.check_stop()?;
    let correct = correct(&net, &data.test, pictures).map_err(|e| anyhow::anyhow!(e))?;
    folder.finish(&Done {
        seconds: began.elapsed().as_secs_f64(),
        parameters: net.num_parameters(),
        train_pictures,
        test_pictures: data.test.len() as u64,
        correct,
        moved_by_enlarging,
    })?;
    Ok(())
}

fn train(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    shots: Vec<Sample>,
    test: &[Sample],
    net: &mut Net,
    title: &str,
) -> Outcome {
    let recipe = &spec.recipe;
    let pictures = Pictures::new(recipe).map_err(Failure::Usage)?;
    if shots.len() < recipe.batch {
        return Err(Failure::Usage(format!(
            "batch = {}: {} has {} training pictures with shots = {}, and incomplete batches are left out",
            recipe.batch,
            spec.set,
            shots.len(),
            recipe.shots
        )));
    }
    let loader = DataLoader::new(
        shots,
        LoaderOptions {
            batch_size: recipe.batch,
            order: Order::Shuffle,
            seed: spec.seed,
            drop_last: true,
            workers: LOADER_WORKERS,
            ..Default::default()
        },
        move |samples: Vec<Sample>, stream: &mut Stream| pictures.batch(&samples, Some(stream)),
    );
    // On every parameter: the published recipe spares none.
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::uniform(recipe.weight_decay));
    let options = session.train_options(folder, spec, spec.seed, recipe.epochs)?;
    let trainer =
        Trainer::new(options).progress(session.progress(title)).evaluate(|net: &Net, epoch| {
            let passes = epoch + 1;
            if !passes.is_multiple_of(recipe.evaluate_every) && passes != recipe.epochs {
                return Ok(Vec::new());
            }
            let share = correct(net, test, pictures)? as f64 / test.len() as f64;
            Ok(vec![("test_top1", share)])
        });
    let step = |batch: &Batch, net: &Net, cx: &mut Context| {
        let logits = net.logits(&batch.input, cx);
        let target = batch.target.to_device(logits.value().device());
        let loss = cross_entropy(&logits, &target, 0.0, Reduction::Mean);
        StepOutput::new(loss, batch.input.dims()[0])
    };
    let schedule = |epoch: usize| recipe.lr(epoch);
    match trainer.run(net, &mut optimizer, &schedule, &loader, step).context("training")? {
        Trained::Finished { .. } => Ok(()),
        Trained::Interrupted { .. } => session.check_stop(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::{ScaleName, transfer::data::load};

    /// The demo's net: what a condition does before training.
    #[test]
    fn zeros_around_old_kernels_keep_the_pretrained_function_and_random_weights_do_not() {
        let recipe = Recipe { image: 32, ..Recipe::of(ScaleName::Demo) };
        let data = load("dtd10", None).unwrap();
        let pictures = Pictures::new(&recipe).unwrap();
        let file = weights_file(&recipe, None);
        let make = |name: &str| net(&recipe, name.parse().unwrap(), 10, 0, &file).unwrap();
        let base = make("base");
        let moved = |name: &str| moved(&make(name), &base, &data.test[..4], pictures).unwrap();
        assert!(moved("large_zero") < 1e-4, "{}", moved("large_zero"));
        assert!(moved("lp16") < 0.1, "{}", moved("lp16"));
        assert!(moved("large") > 0.3, "{}", moved("large"));
    }

    #[test]
    fn weights_of_another_net_are_refused() {
        let recipe = Recipe { model: "resnet18".into(), ..Recipe::of(ScaleName::Demo) };
        let file = weights_file(&recipe, None);
        let error = net(&recipe, Condition::Base, 10, 0, &file).err().unwrap().to_string();
        assert!(error.contains("these are not the weights of resnet18"), "{error}");
    }
}
