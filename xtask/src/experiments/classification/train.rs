//! One trial: make a net, convert it, train it on images, test it.

use std::time::Instant;

use anyhow::Context as _;
use autograd::Var;
use lpconv::{ConvertConfig, convert};
use nn::{
    Context, Ema, Forward, Module, ModuleExt,
    data::{BoxError, DataLoader, LoaderOptions, Order},
    loss::{Reduction, cross_entropy, soft_cross_entropy},
    optim::{AdamOptions, AdamW, Groups},
    save_model,
    train::{Outcome as Trained, StepOutput, Trainer},
};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Tensor};
use vision::augment::{Batch, Indices, loader};

use super::{
    data::Images,
    masks::{self, Decay, Start},
    nets,
    recipe::{ImageData, Recipe},
};
use crate::{
    experiments::{Session, condition::Condition, epochs::epochs},
    failure::{Failure, Outcome},
    model::paper_conversion,
    results::{TrialFolder, write_json},
};

/// What defines a trial, written to its `recipe.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TrialSpec {
    pub(super) dataset: ImageData,
    pub(super) model: String,
    pub(super) condition: String,
    pub(super) seed: u64,
    pub(super) train_images: usize,
    pub(super) test_images: usize,
    /// The epochs of the scale, if there was time for fewer only.
    pub(super) shortened_from: Option<usize>,
    pub(super) recipe: Recipe,
}

/// Right answers to test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Right {
    /// The likeliest class is the right one.
    pub(super) top1: u64,
    /// It is among the five likeliest.
    pub(super) top5: u64,
}

/// What a finished trial leaves for the report, beside `masks.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Done {
    /// Seconds of the last sitting; a resumed trial took longer in all.
    pub(super) seconds: f64,
    pub(super) parameters: usize,
    pub(super) test_images: u64,
    /// After the last epoch.
    pub(super) last: Right,
    /// The same of the averaged weights, if there are any.
    pub(super) average: Option<Right>,
    /// The best share of right answers after any epoch that was tested, and that epoch, counted from 1.
    pub(super) best: (f64, usize),
    /// Training loss of the last epoch.
    pub(super) loss: f64,
}

/// File of a trial's masks.
pub(super) const MASKS: &str = "masks.json";
/// File of a trial's weights, as a state dict of the converted model.
pub(super) const WEIGHTS: &str = "weights.safetensors";

/// Threads that make batches ahead of training.
const LOADER_WORKERS: usize = 2;
/// Images tested at once.
const EVALUATION_BATCH: usize = 250;

/// Any architecture, as the trainer takes it, and the average of its weights where one is kept.
#[derive(Module)]
pub(super) struct Net {
    #[module(flatten)]
    pub(super) model: Box<dyn Forward>,
    average: Option<Ema>,
}

impl Net {
    fn device(&self) -> Device {
        self.named_parameters().first().map_or(Device::Cpu, |(_, p)| p.value().device())
    }
}

/// How a model is converted under a condition; `None` for base.
fn conversion(spec: &TrialSpec, condition: Condition) -> Option<ConvertConfig> {
    let config = condition.conversion(spec.seed, spec.recipe.surround(), 0.0)?;
    // RepLKNet's kernels are large already and start afresh.
    let paper = paper_conversion(&spec.model, 2.0);
    Some(ConvertConfig { size: paper.size, transfer: paper.transfer, ..config })
}

/// The net of a trial before training, with its masks as they start.
pub(super) fn net(spec: &TrialSpec, classes: usize) -> Outcome<(Box<dyn Forward>, Vec<Start>)> {
    let condition: Condition = spec.condition.parse().map_err(Failure::Usage)?;
    let mut model = nets::create(&spec.model, &spec.recipe.wanted(spec.dataset, classes))
        .map_err(Failure::Usage)?;
    model.initialize(spec.seed, DType::F32, Device::Cpu);
    let converted = match conversion(spec, condition) {
        Some(config) => convert(&mut *model, &config).map_err(anyhow::Error::from)?,
        None => Vec::new(),
    };
    let starts = masks::start(&*model, &converted);
    Ok((model, starts))
}

/// The learning batches of a trial.
pub(super) fn training_loader(spec: &TrialSpec, images: &Images) -> DataLoader<Indices, Batch> {
    let recipe = &spec.recipe;
    let order = match recipe.repeats {
        1 => Order::Shuffle,
        repeats => Order::Repeated { repeats },
    };
    let options = LoaderOptions {
        batch_size: recipe.batch,
        order,
        seed: spec.seed,
        drop_last: true,
        workers: LOADER_WORKERS,
        ..Default::default()
    };
    loader(images.train.clone(), options, recipe.training(spec.dataset), recipe.mix())
}

fn testing_loader(spec: &TrialSpec, images: &Images) -> DataLoader<Indices, Batch> {
    let options = LoaderOptions {
        batch_size: EVALUATION_BATCH,
        workers: LOADER_WORKERS,
        ..Default::default()
    };
    loader(images.test.clone(), options, spec.recipe.evaluation(spec.dataset), None)
}

/// How many images of a loader get their class.
pub(super) fn right(
    model: &dyn Forward,
    device: Device,
    autocast: Option<DType>,
    batches: &DataLoader<Indices, Batch>,
) -> Result<Right, BoxError> {
    let mut right = Right { top1: 0, top5: 0 };
    for batch in batches.epoch(0) {
        let Batch { images, labels, .. } = batch?;
        let mut cx = Context::eval();
        cx.set_autocast(autocast);
        let logits = model.call(&Var::constant(images.to_device(device)), &mut cx);
        let classes = logits.dims()[1];
        let values = logits.value().to_device(Device::Cpu).to_f64_vec();
        for (row, label) in values.chunks_exact(classes).zip(labels.to_vec::<i64>()) {
            let label = label as usize;
            // Of equal logits the first counts as the larger, as argmax has it.
            let ahead = |i: usize| row[i] > row[label] || (row[i] == row[label] && i < label);
            let rank = (0..classes).filter(|&i| ahead(i)).count();
            right.top1 += u64::from(rank == 0);
            right.top5 += u64::from(rank < 5);
        }
    }
    Ok(right)
}

/// The loss of a batch.
pub(super) fn loss(
    recipe: &Recipe,
    batch: &Batch,
    model: &dyn Forward,
    device: Device,
    cx: &mut Context,
) -> Var {
    cx.set_autocast(recipe.autocast());
    let logits = model.call(&Var::constant(batch.images.to_device(device)), cx);
    match &batch.targets {
        Some(targets) => soft_cross_entropy(&logits, &targets.to_device(device), Reduction::Mean),
        None => {
            let labels: Tensor = batch.labels.to_device(device);
            cross_entropy(&logits, &labels, recipe.smoothing, Reduction::Mean)
        }
    }
}

/// The optimizer of a recipe.
pub(super) fn optimizer(recipe: &Recipe) -> AdamW {
    AdamW::new(AdamOptions::default(), Groups::timm(recipe.weight_decay))
}

/// Trains a trial that is started, or goes on training, and writes weights, masks and `done.json`.
pub(super) fn run(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    images: &Images,
    title: &str,
) -> Outcome {
    let began = Instant::now();
    let recipe = &spec.recipe;
    let (model, starts) = net(spec, images.classes())?;
    let average = (recipe.ema > 0.0).then(|| Ema::new(&*model, recipe.ema));
    let mut net = Net { model, average };
    net.to(DType::F32, session.request.device);
    let batches = training_loader(spec, images);
    let tests = testing_loader(spec, images);
    train(session, folder, spec, &mut net, &batches, &tests, title)?;
    session.check_stop()?;

    let (device, autocast) = (net.device(), recipe.autocast());
    let boxed = |e: BoxError| anyhow::anyhow!(e);
    let last = right(&*net.model, device, autocast, &tests).map_err(boxed)?;
    save_model(folder.file(WEIGHTS), &*net.model).map_err(anyhow::Error::from)?;
    let schedule = recipe.schedule();
    let decay = Decay {
        schedule: &schedule,
        weight_decay: recipe.weight_decay,
        epochs: recipe.epochs,
        steps_per_epoch: batches.len(),
    };
    let masks = masks::masks_of(&*net.model, recipe.image(spec.dataset), &starts, &decay);
    write_json(&folder.file(MASKS), &masks)?;
    let parameters = net.model.num_parameters();
    let average = match &mut net.average {
        Some(average) => {
            // The values after the last step.
            average.update(&*net.model);
            net.model.load_state_dict(average.state_dict()).map_err(anyhow::Error::from)?;
            Some(right(&*net.model, device, autocast, &tests).map_err(boxed)?)
        }
        None => None,
    };
    let epochs = epochs(&folder.file("metrics.jsonl"))?;
    let best = epochs
        .iter()
        .map(|e| (e.get("test_top1"), e.passes() as usize))
        .filter(|(share, _)| share.is_finite())
        .fold((0.0, 0), |best, epoch| if epoch.0 > best.0 { epoch } else { best });
    folder.finish(&Done {
        seconds: began.elapsed().as_secs_f64(),
        parameters,
        test_images: images.test.len() as u64,
        last,
        average,
        best,
        loss: epochs.last().map_or(f64::NAN, |e| e.get("loss")),
    })?;
    Ok(())
}

fn train(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    net: &mut Net,
    batches: &DataLoader<Indices, Batch>,
    tests: &DataLoader<Indices, Batch>,
    title: &str,
) -> Outcome {
    let recipe = &spec.recipe;
    let device = net.device();
    let options = session.train_options(folder, spec, spec.seed, recipe.epochs)?;
    let count = nn::data::Dataset::len(tests.dataset()) as f64;
    let evaluate = |net: &Net, epoch: usize| {
        let passes = epoch + 1;
        if !passes.is_multiple_of(recipe.evaluate_every) && passes != recipe.epochs {
            return Ok(Vec::new());
        }
        let right = right(&*net.model, device, recipe.autocast(), tests)?;
        let [top1, top5] = [right.top1, right.top5].map(|n| n as f64 / count);
        Ok(vec![("test_top1", top1), ("test_top5", top5)])
    };
    let mut trainer = Trainer::new(options).progress(session.progress(title)).evaluate(evaluate);
    if recipe.ema > 0.0 {
        trainer = trainer.before_step(|net: &mut Net| {
            if let Some(average) = &mut net.average {
                average.update(&*net.model);
            }
        });
    }
    let step = |batch: &Batch, net: &Net, cx: &mut Context| {
        let loss = loss(recipe, batch, &*net.model, device, cx);
        StepOutput::new(loss, batch.images.dims()[0])
    };
    let mut optimizer = optimizer(recipe);
    let schedule = recipe.schedule();
    match trainer.run(net, &mut optimizer, &schedule, batches, step).context("training")? {
        Trained::Finished { .. } => Ok(()),
        Trained::Interrupted { .. } => session.check_stop(),
    }
}
