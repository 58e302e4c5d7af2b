//! One trial: train a net under one condition, then look at its masks and ablate them.

use std::{sync::Arc, time::Instant};

use anyhow::Context as _;
use autograd::Var;
use lpconv::{clamp_p, convert, for_each_mask};
use nn::{
    Context, Forward, ModuleExt,
    data::{DataLoader, LoaderOptions, Order},
    layers::set_conv_algorithm,
    loss::{Reduction, cross_entropy},
    optim::{Adam, AdamOptions, Groups},
    schedule::Constant,
    train::{Outcome as Trained, StepOutput, Trainer},
};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Stream};
use vision::{
    datasets::sudoku::{BoardCounts, BoardMetrics, Puzzle, SudokuSet},
    models::{SudokuNet, SudokuNetConfig},
};

use super::{
    ablation::{self, Ablation},
    data::{Batch, Data, boards},
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
    pub(super) condition: String,
    pub(super) seed: u64,
    pub(super) recipe: Recipe,
    /// Digest of the puzzle file, if one was given: another file is another trial.
    pub(super) data: Option<String>,
}

/// The masks of one convolution of a trained net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LayerMasks {
    /// The layer's name in the state dict.
    pub(super) layer: String,
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
    pub(super) test_puzzles: u64,
    /// Test boards whose 27 units are all valid.
    pub(super) sudoku_valid: u64,
    /// Mean scores on the test puzzles.
    pub(super) test: Scores,
    /// For frozen masks: the largest difference of a logit from those of the unconverted net, before training.
    pub(super) initial_difference_from_base: Option<f64>,
    pub(super) masks: Vec<LayerMasks>,
    pub(super) ablation: Option<Ablation>,
}

/// The paper's five accuracies and the share solved, each 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Scores {
    pub(super) number: f64,
    pub(super) row: f64,
    pub(super) column: f64,
    #[serde(rename = "box")]
    pub(super) box_: f64,
    pub(super) sudoku: f64,
    pub(super) solved: f64,
}

impl From<BoardMetrics> for Scores {
    fn from(m: BoardMetrics) -> Self {
        let BoardMetrics { number, row, column, box_, sudoku, solved } = m;
        Scores { number, row, column, box_, sudoku, solved }
    }
}

/// Batches are made by the training thread: a batch of puzzles takes microseconds.
const LOADER_WORKERS: usize = 0;
/// Puzzles evaluated at once.
const EVALUATION_BATCH: usize = 250;

/// The net of a condition at its start.
pub(super) fn model(
    recipe: &Recipe,
    condition: Condition,
    seed: u64,
    device: Device,
) -> anyhow::Result<SudokuNet> {
    let config = SudokuNetConfig { blocks: recipe.blocks, channels: recipe.channels };
    let mut model = SudokuNet::new(&config);
    model.initialize(seed, DType::F32, device);
    let surround = recipe.surround().map_err(anyhow::Error::msg)?;
    if let Some(conversion) = condition.conversion(seed, surround, recipe.tap_threshold) {
        convert(&mut model, &conversion)?;
    }
    set_conv_algorithm(&mut model, recipe.algorithm().map_err(anyhow::Error::msg)?);
    Ok(model)
}

/// Where a net computes.
fn device_of(net: &SudokuNet) -> Device {
    net.named_parameters().first().map_or(Device::Cpu, |(_, p)| p.value().device())
}

/// The largest absolute difference of the logits of both nets on these puzzles, in evaluation mode.
pub(super) fn largest_difference(a: &SudokuNet, b: &SudokuNet, puzzles: &SudokuSet) -> f64 {
    let x = Var::constant(Batch::new(puzzles.iter()).on(device_of(a)).input);
    let logits = |net: &SudokuNet| net.call(&x, &mut Context::eval()).value().clone();
    (&logits(a) - &logits(b)).abs().to_f64_vec().into_iter().fold(0.0, f64::max)
}

/// Scores and mean cross entropy of a net on puzzles.
pub(super) fn evaluate(net: &SudokuNet, puzzles: &SudokuSet) -> (BoardCounts, f64) {
    let (mut counts, mut loss) = (BoardCounts::default(), 0.0);
    let all: Vec<&Puzzle> = puzzles.iter().collect();
    for part in all.chunks(EVALUATION_BATCH) {
        let batch = Batch::new(part.iter().copied()).on(device_of(net));
        let logits = net.call(&Var::constant(batch.input), &mut Context::eval());
        let mean = cross_entropy(&logits, &batch.target, 0.0, Reduction::Mean);
        loss += mean.value().item() * part.len() as f64;
        for (board, puzzle) in boards(logits.value()).iter().zip(part) {
            counts.record(board, puzzle.solution());
        }
    }
    (counts, loss / all.len() as f64)
}

/// Trains, or goes on training, and writes `done.json`.
pub(super) fn run(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    data: &Arc<Data>,
    title: &str,
) -> Outcome {
    let condition: Condition = spec.condition.parse().map_err(Failure::Usage)?;
    folder.start(spec)?;
    let began = Instant::now();
    let recipe = &spec.recipe;
    let device = session.request.device;
    let mut net = model(recipe, condition, spec.seed, device)?;
    let initial_difference_from_base = match condition {
        Condition::LpFrozen(_) => {
            let base = model(recipe, Condition::Base, spec.seed, device)?;
            Some(largest_difference(&net, &base, &data.test.clone().take(EVALUATION_BATCH)))
        }
        _ => None,
    };
    train(session, folder, spec, condition, data, &mut net, title)?;
    session.check_stop()?;
    let (counts, _) = evaluate(&net, &data.test);
    let masks = masks_of(&net);
    let ablation = match condition.trains_p() {
        true => Some(ablation::run(&mut net, recipe, &data.test, session)?),
        false => None,
    };
    folder.finish(&Done {
        seconds: began.elapsed().as_secs_f64(),
        parameters: net.num_parameters(),
        test_puzzles: counts.boards,
        sudoku_valid: counts.sudokus,
        test: counts.mean().context("there are no test puzzles")?.into(),
        initial_difference_from_base,
        masks,
        ablation,
    })?;
    Ok(())
}

fn train(
    session: &Session,
    folder: &TrialFolder,
    spec: &TrialSpec,
    condition: Condition,
    data: &Arc<Data>,
    net: &mut SudokuNet,
    title: &str,
) -> Outcome {
    let (recipe, device) = (&spec.recipe, session.request.device);
    let puzzles: Vec<Puzzle> = data.train.iter().cloned().collect();
    let loader = DataLoader::new(
        puzzles,
        LoaderOptions {
            batch_size: recipe.batch,
            order: Order::Shuffle,
            seed: spec.seed,
            drop_last: false,
            workers: LOADER_WORKERS,
            ..Default::default()
        },
        move |puzzles: Vec<Puzzle>, _: &mut Stream| Ok(Batch::new(&puzzles).on(device)),
    );
    let mut optimizer = Adam::new(AdamOptions::default(), Groups::uniform(0.0));
    let options = session.train_options(folder, spec, spec.seed, recipe.epochs)?;
    let mut trainer =
        Trainer::new(options).progress(session.progress(title)).evaluate(|net: &SudokuNet, _| {
            let (counts, loss) = evaluate(net, &data.test);
            let m = counts.mean().ok_or("there are no test puzzles")?;
            Ok(vec![
                ("test_loss", loss),
                ("test_number", m.number),
                ("test_row", m.row),
                ("test_column", m.column),
                ("test_box", m.box_),
                ("test_sudoku", m.sudoku),
                ("test_solved", m.solved),
            ])
        });
    if condition.trains_p() {
        // Where the authors clamp: on the parameter, after backward and before the step (specification 1.5).
        trainer = trainer.before_step(|net: &mut SudokuNet| clamp_p(net, recipe.p_min));
    }
    let autocast = recipe.autocast().map_err(Failure::Usage)?;
    let step = |batch: &Batch, net: &SudokuNet, cx: &mut Context| {
        cx.set_autocast(autocast);
        let logits = net.call(&Var::constant(batch.input.clone()), cx);
        let loss = cross_entropy(&logits, &batch.target, 0.0, Reduction::Mean);
        StepOutput::new(loss, batch.input.dims()[0])
    };
    match trainer.run(net, &mut optimizer, &Constant(recipe.lr), &loader, step)? {
        Trained::Finished { .. } => Ok(()),
        Trained::Interrupted { .. } => session.check_stop(),
    }
}

/// The masks of all layers, in order of definition.
fn masks_of(net: &SudokuNet) -> Vec<LayerMasks> {
    let mut layers = Vec::new();
    for_each_mask(net, &mut |layer, mask| {
        let c = mask.matrix(&Context::eval()).value().to_f64_vec();
        layers.push(LayerMasks {
            layer: layer.to_owned(),
            p: mask.log2p.value().to_f64_vec().iter().map(|l| l.exp2()).collect(),
            c: c.chunks(4).map(|c| [c[0], c[1], c[2], c[3]]).collect(),
        });
    });
    layers
}
