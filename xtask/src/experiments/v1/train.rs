//! One trial: train a predictor of one mouse under one condition, score it on the test part, look into it.

use std::{sync::Arc, time::Instant};

use lpconv::{ConvertConfig, Surround, convert, for_each_mask};
use neuro::mmv1::{Activity, KnownNeuron, Mmv1, Mmv1Config, Sample, Score, Windows, loss, predict};
use nn::{
    Context, ModuleExt,
    data::{DataLoader, Dataset, LoaderOptions, Order},
    load_model,
    optim::{Adam, AdamOptions, Groups},
    schedule::Constant,
    train::{Best, Outcome as Trained, StepOutput, TrainOptions, Trainer},
};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Stream};

use super::{
    look::{self, Insight},
    recipe::Recipe,
};
use crate::{
    experiments::{Session, condition::Condition},
    failure::Outcome,
    results::TrialFolder,
};

/// What defines a trial, written to its `recipe.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrialSpec {
    pub(super) mouse: String,
    pub(super) condition: String,
    pub(super) seed: u64,
    pub(super) recipe: Recipe,
    /// Digest of the mouse's folder, if one was given: another recording is another trial.
    pub(super) data: Option<String>,
}

/// The samples of a mouse.
pub(super) struct Data {
    pub(super) train: Windows,
    pub(super) validation: Windows,
    pub(super) test: Windows,
    /// The neurons of the made-up cortex.
    pub(super) known: Option<Vec<KnownNeuron>>,
}

/// The masks of one convolution of a trained net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LayerMasks {
    /// Taps along an edge of the kernel.
    pub(super) kernel: usize,
    /// Exponent of every channel.
    pub(super) p: Vec<f64>,
    /// Matrix C of every channel, row by row.
    pub(super) c: Vec<[f64; 4]>,
}

/// What a finished trial leaves for the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Seconds of the last sitting; a resumed trial took longer in all.
    pub(super) seconds: f64,
    pub(super) parameters: usize,
    /// Samples to train on.
    pub(super) samples: usize,
    pub(super) best_epoch: Option<usize>,
    /// Correlation of each neuron; none where its activity never changes.
    pub(super) cc: Vec<Option<f64>>,
    /// Mean squared error of each neuron.
    pub(super) mse: Vec<f64>,
    pub(super) mean_cc: Option<f64>,
    pub(super) mean_mse: f64,
    pub(super) masks: Vec<LayerMasks>,
    pub(super) insight: Insight,
}

/// Samples of a batch in evaluation.
const EVALUATION_BATCH: usize = 256;

/// The size of the predictor of a mouse.
fn config(recipe: &Recipe, data: &Data) -> anyhow::Result<Mmv1Config> {
    let recording = data.train.recording();
    let frame = recording.frame();
    let column = |name: &str| recording.behavior_names.iter().position(|n| n == name);
    let gaze: Option<Vec<usize>> = ["th", "phi", "pitch", "roll"].map(column).into_iter().collect();
    let published = Mmv1Config::default();
    let config = Mmv1Config {
        neurons: recording.units.len(),
        behaviors: data.train.behaviors(),
        frame,
        layers: recipe.layers().map_err(anyhow::Error::msg)?,
        hidden: recipe.hidden,
        recurrent_layers: recipe.recurrent_layers,
        shifter: recipe.shifter && gaze.is_some(),
        gaze: gaze.unwrap_or(published.gaze),
        // As published: half the height and half the width, in this order.
        pivot: frame.map(|pixels| pixels as f64 / 2.0),
        dropout: recipe.dropout,
    };
    // The made-up cortex has small frames: as many convolutions as fit.
    let mut config = config;
    while data.known.is_some() && config.layers.len() > 1 && config.check().is_err() {
        config.layers.pop();
    }
    config.check()?;
    Ok(config)
}

/// The net of a condition at its start.
fn model(
    recipe: &Recipe,
    data: &Data,
    condition: Condition,
    seed: u64,
    device: Device,
) -> anyhow::Result<Mmv1> {
    let mut model = Mmv1::new(&config(recipe, data)?);
    model.initialize(seed, DType::F32, device);
    let conversion: Option<ConvertConfig> = condition.conversion(seed, Surround::Random, 0.0);
    if let Some(conversion) = conversion {
        convert(&mut model, &conversion)?;
    }
    Ok(model)
}

/// Trains, or goes on training, and writes `done.json`.
pub(super) fn run(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    condition: Condition,
    data: &Data,
    title: &str,
) -> Outcome {
    // Before anything is written: what does not fit together leaves no trial behind.
    let device = session.request.device;
    let recipe = &spec.recipe;
    let mut net = model(recipe, data, condition, spec.seed, device)?;
    folder.start(spec)?;
    let began = Instant::now();
    let best_epoch = train(session, folder, spec, data, &mut net, title)?;
    session.check_stop()?;
    load_model(folder.file("best.safetensors"), &mut net)?;
    let test = &data.test;
    let predicted =
        predict(&net, test, EVALUATION_BATCH, device).map_err(anyhow::Error::from_boxed)?;
    let recorded = Activity::new(test.responses(), predicted.neurons());
    let score = Score::new(&predicted, &recorded, recipe.smoothing)?;
    let mean_cc = score.mean_cc();
    folder.finish(&Done {
        seconds: began.elapsed().as_secs_f64(),
        parameters: net.num_parameters(),
        samples: data.train.len(),
        best_epoch,
        cc: score.cc.iter().map(|&c| Some(c).filter(|c| c.is_finite())).collect(),
        mean_cc: Some(mean_cc).filter(|c| c.is_finite()),
        mean_mse: score.mean_mse(),
        masks: masks_of(&net),
        insight: look::into(&net, data, &predicted, &recorded, &score, recipe, device)?,
        mse: score.mse,
    })?;
    Ok(())
}

/// Trains until validation does not get better; returns the best epoch, whose weights are in `best.safetensors`.
fn train(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    data: &Data,
    net: &mut Mmv1,
    title: &str,
) -> Outcome<Option<usize>> {
    let (recipe, device) = (&spec.recipe, session.request.device);
    let windows = Arc::new(data.train.clone());
    let (response, collate) = (data.train.recording().response, windows.clone());
    let options = LoaderOptions {
        batch_size: recipe.batch,
        order: Order::Shuffle,
        seed: spec.seed,
        // Batch norm has no statistics of a single sample.
        drop_last: windows.len() % recipe.batch == 1,
        workers: 1,
        ..Default::default()
    };
    let loader = DataLoader::new(windows, options, move |samples: Vec<Sample>, _: &mut Stream| {
        Ok(collate.batch(samples, device))
    });
    let mut optimizer = Adam::new(AdamOptions::default(), Groups::uniform(0.0));
    let validation = &data.validation;
    let recorded = Activity::new(validation.responses(), validation.recording().units.len());
    let epochs = if data.known.is_some() { recipe.synthetic_epochs } else { recipe.epochs };
    let options = TrainOptions {
        best: Some(Best::Smallest("validation_loss".into())),
        patience: Some(recipe.patience),
        best_weights: Some(folder.file("best.safetensors")),
        ..session.train_options(folder, spec, spec.seed, epochs)?
    };
    let trainer =
        Trainer::new(options).progress(session.progress(title)).evaluate(|net: &Mmv1, _| {
            let predicted = predict(net, validation, EVALUATION_BATCH, device)?;
            Ok(vec![("validation_loss", predicted.loss(&recorded, response))])
        });
    let step = |batch: &neuro::mmv1::Batch, net: &Mmv1, cx: &mut Context| {
        let loss = loss(net, batch, response, recipe.penalty, cx);
        StepOutput::new(loss, batch.responses.dims()[0])
    };
    match trainer.run(net, &mut optimizer, &Constant(recipe.lr), &loader, step)? {
        Trained::Finished { best, .. } => Ok(best.map(|b| b.0)),
        Trained::Interrupted { .. } => session.check_stop().map(|()| None),
    }
}

/// The masks of all layers, in order of definition.
fn masks_of(net: &Mmv1) -> Vec<LayerMasks> {
    let mut layers = Vec::new();
    for_each_mask(net, &mut |_, mask| {
        let c = mask.matrix(&Context::eval()).value().to_f64_vec();
        layers.push(LayerMasks {
            kernel: 0,
            p: mask.log2p.value().to_f64_vec().iter().map(|l| l.exp2()).collect(),
            c: c.chunks(4).map(|c| [c[0], c[1], c[2], c[3]]).collect(),
        });
    });
    // Weights [O, I, l, l] of the masked convolutions stand in the same order.
    let weights = net.named_parameters().into_iter().map(|(_, p)| p.shape());
    let kernels = weights.filter(|s| s.rank() == 4).map(|s| s[3]);
    layers.iter_mut().zip(kernels).for_each(|(layer, kernel)| layer.kernel = kernel);
    layers
}
