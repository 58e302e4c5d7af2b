//! A small run with everything that has state: dropout, a running mean, moments, accumulation, clipping, a schedule,
//! two workers.

use std::path::Path;

use autograd::Var;
use nn::{
    Buffer, Context, Forward, Init, Module, ModuleExt, Param, Result,
    data::{DataLoader, LoaderOptions, Order},
    optim::{AdamOptions, AdamW, Groups},
    schedule::Cosine,
    train::{Best, Clock, Outcome, StepOutput, TrainOptions, Trainer},
};
use serde_json::json;
use tensor::{DType, Device, Shape, Stream, Tensor};

/// Inputs and hidden units.
const I: usize = 24;
const H: usize = 40;
/// Samples and batch size: 7 batches an epoch, the last one short.
const SAMPLES: usize = 52;
const BATCH: usize = 8;
/// 7 batches make 3 steps, the last of a single batch.
pub(crate) const STEPS_PER_EPOCH: usize = 3;

/// A matrix product of `x` by `weight`, as a broadcast product and a sum over `axis`.
#[derive(Module)]
pub(crate) struct Product {
    weight: Param,
    #[module(skip)]
    axis: usize,
}

impl Product {
    fn new(shape: [usize; 2], axis: usize) -> Self {
        Product { weight: Param::new(shape, Init::fan_in_uniform(shape[axis - 1])), axis }
    }
}

impl Forward for Product {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = x * &cx.var(&self.weight);
        let shape: Shape = y.shape().with_axis(self.axis, 1);
        y.sum_to(shape)
    }
}

/// Two layers; between them a square, a running mean taken off, and dropout.
#[derive(Module)]
pub(crate) struct Net {
    hidden: Product,
    mean: Buffer,
    output: Product,
}

impl Net {
    pub(crate) fn new() -> Self {
        let mut net = Net {
            hidden: Product::new([I, H], 1),
            mean: Buffer::new(Tensor::zeros([1, 1, H], DType::F32, Device::Cpu)),
            output: Product::new([1, H], 2),
        };
        net.initialize(5, DType::F32, Device::Cpu);
        net
    }
}

impl Forward for Net {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let h = self.hidden.call(x, cx);
        let mut h = &h * &h;
        if cx.is_training() {
            let n = h.dims()[0];
            let batch_mean = h.value().sum_to([1, 1, H]).mul_scalar(1.0 / n as f64);
            self.mean.set(&self.mean.get().mul_scalar(0.9) + &batch_mean.mul_scalar(0.1));
            let kept = Tensor::bernoulli_mask(
                0.8,
                h.shape(),
                DType::F32,
                Device::Cpu,
                &mut cx.next_stream(),
            );
            h = &h * &Var::constant(kept.mul_scalar(1.25));
        }
        h = &h + &Var::constant(self.mean.get().mul_scalar(-1.0));
        self.output.call(&h, cx)
    }
}

/// Inputs `[N, I, 1]` and targets `[N, 1, 1]`.
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
            let x: Vec<f32> = (0..I).map(|_| stream.normal() as f32).collect();
            ys.push(x[0] * x[1] + 0.5 * x[2]);
            xs.extend(x);
        }
        Ok(Batch { x: Tensor::new(&xs, [n, I, 1]), y: Tensor::new(&ys, [n, 1, 1]) })
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
