//! A small run with everything that has state: dropout, batch norm, moments, accumulation, clipping, a schedule,
//! two workers.

use std::path::Path;

use autograd::Var;
use nn::{
    Context, Forward, Module, ModuleExt, Result,
    data::{DataLoader, LoaderOptions, Order},
    layers::{AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Dropout, MaxPool2d},
    optim::{AdamOptions, AdamW, Groups},
    schedule::Cosine,
    train::{Best, Clock, Outcome, StepOutput, TrainOptions, Trainer},
};
use serde_json::json;
use tensor::{DType, Device, Stream, Tensor};

/// Side of the images.
const SIDE: usize = 9;
/// Samples and batch size: 7 batches an epoch, the last one short.
const SAMPLES: usize = 52;
const BATCH: usize = 8;
/// 7 batches make 3 steps, the last of a single batch.
pub(crate) const STEPS_PER_EPOCH: usize = 3;

/// A convolution, a square, batch norm, pooling, dropout, and the mean of another convolution.
#[derive(Module)]
pub(crate) struct Net {
    stem: Conv2d,
    norm: BatchNorm2d,
    pool: MaxPool2d,
    dropout: Dropout,
    head: Conv2d,
    mean: AdaptiveAvgPool2d,
}

impl Net {
    pub(crate) fn new() -> Self {
        Self::with_channels(8)
    }

    pub(crate) fn with_channels(channels: usize) -> Self {
        let mut net = Net {
            stem: Conv2d::new(2, channels, 3),
            norm: BatchNorm2d::new(channels),
            pool: MaxPool2d::new(2, 2),
            dropout: Dropout::new(0.2),
            head: Conv2d::new(channels, 1, 1),
            mean: AdaptiveAvgPool2d::new([1, 1]),
        };
        net.initialize(5, DType::F32, Device::Cpu);
        net
    }
}

impl Forward for Net {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.stem.call(x, cx);
        let y = self.norm.call(&(&y * &y), cx);
        let y = self.dropout.call(&self.pool.call(&y, cx), cx);
        self.mean.call(&self.head.call(&y, cx), cx)
    }
}

/// Images `[N, 2, SIDE, SIDE]` of noise and its strength `[N, 1, 1, 1]`.
pub(crate) struct Batch {
    x: Tensor,
    y: Tensor,
}

fn loader(order: Order) -> DataLoader<Vec<u64>, Batch> {
    let options =
        LoaderOptions { batch_size: BATCH, order, seed: 3, workers: 2, ..Default::default() };
    DataLoader::new((0..SAMPLES as u64).collect(), options, |samples, _| {
        let n = samples.len();
        let (mut xs, mut ys) = (Vec::new(), Vec::new());
        for sample in samples {
            let mut stream = Stream::new(1).derive_index(sample);
            let strength = 0.5 + stream.uniform();
            xs.extend((0..2 * SIDE * SIDE).map(|_| (strength * stream.normal()) as f32));
            ys.push(strength as f32);
        }
        Ok(Batch { x: Tensor::new(&xs, [n, 2, SIDE, SIDE]), y: Tensor::new(&ys, [n, 1, 1, 1]) })
    })
}

fn squared_error(batch: &Batch, net: &Net, cx: &mut Context) -> (Var, usize) {
    let y = net.call(&Var::constant(batch.x.clone()), cx);
    let error = &y + &Var::constant(batch.y.mul_scalar(-1.0));
    let n = batch.y.numel();
    let share = Var::constant(Tensor::scalar(1.0 / n as f32));
    (&(&error * &error).sum() * &share, n)
}

/// Options that write `run.safetensors` and `metrics.jsonl` into `directory`.
pub(crate) fn options(directory: &Path, epochs: usize) -> TrainOptions {
    TrainOptions {
        epochs,
        seed: 11,
        recipe: json!({"model": "tiny", "lr": 0.01}),
        clock: Clock::Steps,
        accumulate: 3,
        clip_norm: Some(1.0),
        best: Some(Best::Smallest("test_loss".into())),
        checkpoint: Some(directory.join("run.safetensors")),
        metrics: Some(directory.join("metrics.jsonl")),
        log_steps: Some(2),
        ..Default::default()
    }
}

/// Trains a new net; `each_step` is called before each optimizer step.
pub(crate) fn train(
    options: TrainOptions,
    net: &mut Net,
    each_step: impl FnMut(&mut Net),
) -> Result<Outcome> {
    let steps = options.epochs * STEPS_PER_EPOCH;
    let schedule =
        Cosine { lr: 0.01, min_lr: 1e-4, epochs: steps, warmup_epochs: 4, warmup_lr: 1e-3 };
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::timm(0.05));
    let test = loader(Order::Sequential);
    Trainer::new(options)
        .evaluate(|net: &Net, _| {
            let (mut sum, mut n) = (0.0, 0);
            for batch in test.epoch(0) {
                let (loss, samples) = squared_error(&batch?, net, &mut Context::eval());
                sum += loss.value().item() * samples as f64;
                n += samples;
            }
            Ok(vec![("test_loss", sum / n as f64)])
        })
        .before_step(each_step)
        .run(net, &mut optimizer, &schedule, &loader(Order::Shuffle), |batch, net, cx| {
            let (loss, n) = squared_error(batch, net, cx);
            let absolute = loss.value().item().sqrt();
            StepOutput { metrics: vec![("rms", absolute)], ..StepOutput::new(loss, n) }
        })
}

/// The log without what depends on the clock.
pub(crate) fn log_without_seconds(directory: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(directory.join("metrics.jsonl")).expect("a log");
    let lines = text.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).expect(line);
        line.as_object_mut().expect("an object").remove("seconds");
        line
    });
    lines.collect()
}
