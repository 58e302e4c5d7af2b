//! [`Trainer`]: the loop.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Instant,
};

use autograd::{Gradients, Var, trace};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Clock, Progress, TrainOptions,
    finite::{bad_parameter, locate},
    log::MetricsLog,
    progress::{Display, short},
    state::State,
};
use crate::{
    Context, Error, Module, Result,
    checkpoint::{Checkpoint, in_file, save_model},
    data::{BoxError, DataLoader, Dataset},
    optim::{Optimizer, clip_grad_norm},
    schedule::Schedule,
};

/// Values by name, as an evaluation returns them.
pub type Metrics = Vec<(&'static str, f64)>;

/// What a step's closure returns.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// The loss to be minimized, one element, a mean over the samples. Logged as `loss`.
    pub loss: Var,
    /// Samples in the batch: what an epoch's mean weighs the batch by.
    pub samples: usize,
    /// More to log (an accuracy), means over the samples.
    pub metrics: Metrics,
}

impl StepOutput {
    /// A loss and no other metrics.
    pub fn new(loss: Var, samples: usize) -> Self {
        StepOutput { loss, samples, metrics: Metrics::new() }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All epochs are done.
    Finished {
        /// The last epoch's metrics: means over training, and what the evaluation returned.
        metrics: BTreeMap<String, f64>,
        /// The best epoch and its value of [`TrainOptions::best`].
        best: Option<(usize, f64)>,
    },
    /// The stop flag was set; the same call goes on from the checkpoint.
    Interrupted {
        /// Where everything done so far is kept.
        checkpoint: Option<PathBuf>,
    },
}

type Evaluate<'a, M> = dyn FnMut(&M, usize) -> Result<Metrics, BoxError> + 'a;
type BeforeStep<'a, M> = dyn FnMut(&mut M) + 'a;

/// Trains a model: see the [module](crate::train) for an example.
pub struct Trainer<'a, M> {
    options: TrainOptions,
    progress: Progress,
    evaluate: Option<Box<Evaluate<'a, M>>>,
    before_step: Option<Box<BeforeStep<'a, M>>>,
}

impl<'a, M: Module> Trainer<'a, M> {
    /// A trainer that shows nothing and evaluates nothing.
    pub fn new(options: TrainOptions) -> Self {
        Trainer { options, progress: Progress::hidden(), evaluate: None, before_step: None }
    }

    /// Shows where the run is.
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = progress;
        self
    }

    /// Called with the model and the epoch's number after each epoch; what it returns is logged with the epoch. It has
    /// to be a function of the two, or a resumed run differs from one that was never stopped.
    pub fn evaluate(
        mut self,
        evaluate: impl FnMut(&M, usize) -> Result<Metrics, BoxError> + 'a,
    ) -> Self {
        self.evaluate = Some(Box::new(evaluate));
        self
    }

    /// Called after each backward, before the optimizer's step (for projecting parameters into a range).
    pub fn before_step(mut self, before_step: impl FnMut(&mut M) + 'a) -> Self {
        self.before_step = Some(Box::new(before_step));
        self
    }

    /// Trains until all epochs are done, [`TrainOptions::patience`] is at its end, or the stop flag is set.
    ///
    /// Goes on from [`TrainOptions::checkpoint`] if that file is there. With the same arguments the result, and the
    /// checkpoint's bytes, are the same for any number of threads and interruptions. `model` has to have values.
    ///
    /// `step` computes the loss of a batch. It may be called a second time on the same batch to find where a bad
    /// number comes from, so it has to be a function of its arguments.
    ///
    /// # Errors
    /// A checkpoint that cannot be read or belongs to another run (then `model` and `optimizer` are as before), files
    /// that cannot be written, batches that cannot be loaded, a failed evaluation, and [`Error::NotFinite`] for a loss,
    /// a norm of gradients or a parameter that is NaN or infinite.
    ///
    /// # Panics
    /// If a parameter has no values yet, `accumulate` is 0, or the loss has more than one element.
    #[track_caller]
    pub fn run<D, B>(
        mut self,
        model: &mut M,
        optimizer: &mut dyn Optimizer,
        schedule: &dyn Schedule,
        loader: &DataLoader<D, B>,
        mut step: impl FnMut(&B, &M, &mut Context) -> StepOutput,
    ) -> Result<Outcome>
    where
        D: Dataset + 'static,
        B: Send + 'static,
    {
        assert!(self.options.accumulate > 0, "train: accumulate must be at least 1");
        let recipe = recipe(&self.options, loader);
        let state = match &self.options.checkpoint {
            Some(path) if path.exists() => resume(path, model, optimizer, &recipe)?,
            Some(path) => {
                // Not after the first hours of work.
                Checkpoint::probe(path)?;
                State::new(self.options.seed)
            }
            None => State::new(self.options.seed),
        };
        let options = &self.options;
        let log = options.metrics.as_ref().map(|path| {
            MetricsLog::open(path, state.counters.log_lines, options.checkpoint.as_deref())
        });
        let batches = loader.len();
        let done = state.counters.epoch * batches + state.counters.batch;
        let mut run = Run {
            options,
            recipe,
            log: log.transpose()?,
            display: self.progress.start(options.epochs * batches, done, options.epochs),
            state,
            saved: Instant::now(),
            epoch: EpochClock::start(),
            model,
            optimizer,
            schedule,
            before_step: self.before_step.as_deref_mut(),
        };
        while run.state.counters.epoch < options.epochs && !run.is_stale() {
            if !run.train_epoch(loader, &mut step)? {
                run.save()?;
                return Ok(Outcome::Interrupted { checkpoint: options.checkpoint.clone() });
            }
            run.end_epoch(self.evaluate.as_deref_mut())?;
        }
        let best = run.state.counters.best_epoch.zip(run.state.best.as_ref().map(|b| b.1));
        Ok(Outcome::Finished { metrics: run.state.last.clone(), best })
    }
}

/// Everything that makes a run this run, for the checkpoint.
fn recipe<D: Dataset + 'static, B: Send + 'static>(
    options: &TrainOptions,
    loader: &DataLoader<D, B>,
) -> Value {
    let data = loader.options();
    json!({
        "run": options.recipe,
        "trainer": options.identity(),
        "loader": {
            "samples": loader.dataset().len(),
            "batch_size": data.batch_size,
            "order": format!("{:?}", data.order),
            "seed": data.seed,
            "drop_last": data.drop_last,
        },
    })
}

/// Puts back what a checkpoint holds; on error `model` and `optimizer` are as before.
fn resume(
    path: &Path,
    model: &mut dyn Module,
    optimizer: &mut dyn Optimizer,
    recipe: &Value,
) -> Result<State> {
    let checkpoint = Checkpoint::read(path)?;
    checkpoint.check(path, model, recipe)?;
    let state = State::load(path, &checkpoint)?;
    // The optimizer first: after the check above, loading the model cannot fail.
    let saved = checkpoint.section("optimizer");
    optimizer.load_state_dict(model, saved).map_err(|source| in_file(path, source))?;
    checkpoint.restore(path, model)?;
    Ok(state)
}

/// One line of the metrics log.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'static str,
    epoch: usize,
    /// Optimizer steps so far.
    step: usize,
    /// That of the last of them.
    lr: f64,
    metrics: &'a BTreeMap<String, f64>,
    /// Only in lines of epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
}

/// How long an epoch takes and how many samples it saw, in this process.
struct EpochClock {
    started: Instant,
    samples: usize,
}

impl EpochClock {
    fn start() -> Self {
        EpochClock { started: Instant::now(), samples: 0 }
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    fn samples_per_s(&self) -> f64 {
        self.samples as f64 / self.seconds().max(1e-9)
    }
}

/// A run under way.
struct Run<'r, 'a, M> {
    options: &'r TrainOptions,
    recipe: Value,
    state: State,
    log: Option<MetricsLog>,
    display: Display,
    /// When the checkpoint was last written.
    saved: Instant,
    epoch: EpochClock,
    model: &'r mut M,
    optimizer: &'r mut dyn Optimizer,
    schedule: &'r dyn Schedule,
    before_step: Option<&'r mut BeforeStep<'a, M>>,
}

impl<M: Module> Run<'_, '_, M> {
    /// Learns the rest of the epoch; false if the stop flag came between.
    fn train_epoch<D: Dataset + 'static, B: Send + 'static>(
        &mut self,
        loader: &DataLoader<D, B>,
        step: &mut dyn FnMut(&B, &M, &mut Context) -> StepOutput,
    ) -> Result<bool> {
        self.epoch = EpochClock::start();
        let counters = &self.state.counters;
        let mut batches = loader.epoch(counters.epoch).skip(counters.batch);
        while self.state.counters.batch < loader.len() {
            if self.options.stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let left = loader.len() - self.state.counters.batch;
            let now = batches.by_ref().take(left.min(self.options.accumulate));
            self.step(now, left.min(self.options.accumulate), step)?;
            if self.is_time_to_save() {
                self.save()?;
            }
        }
        Ok(true)
    }

    /// One optimizer step: the mean of the gradients of `count` batches.
    fn step<B>(
        &mut self,
        batches: impl Iterator<Item = Result<B>>,
        count: usize,
        step: &mut dyn FnMut(&B, &M, &mut Context) -> StepOutput,
    ) -> Result<()> {
        let mut gradients: Option<Gradients> = None;
        let mut means = BTreeMap::new();
        for batch in batches {
            let output = self.forward(&batch?, step)?;
            let value = output.loss.value().item();
            for (name, value) in output.metrics.iter().copied().chain([("loss", value)]) {
                self.state.add(name, value, output.samples);
                *means.entry(name.to_owned()).or_insert(0.0) += value / count as f64;
            }
            let loss = match count {
                1 => output.loss,
                n => {
                    let share = output.loss.value().full_like(1.0 / n as f64);
                    &output.loss * &Var::constant(share)
                }
            };
            let new = loss.backward();
            match &mut gradients {
                None => gradients = Some(new),
                Some(sum) => sum.accumulate(new),
            }
            self.epoch.samples += output.samples;
            self.state.counters.batch += 1;
            let counters = &self.state.counters;
            let rate = self.epoch.samples_per_s();
            self.display.batch(counters.epoch, counters.step, value, rate);
        }
        let mut gradients = gradients.unwrap_or_default();
        if let Some(max_norm) = self.options.clip_norm {
            let norm = clip_grad_norm(&mut gradients, self.model, max_norm);
            if !norm.is_finite() {
                let what = format!("the norm of the gradients ({norm})");
                return Err(self.not_finite(what, "the loss was".to_owned()));
            }
        }
        if let Some(before_step) = &mut self.before_step {
            before_step(self.model);
        }
        let lr = self.lr(self.state.counters.step);
        self.optimizer.step(self.model, &gradients, lr);
        self.state.counters.step += 1;
        match self.options.log_steps {
            Some(n) if self.state.counters.step.is_multiple_of(n) => self.log("step", &means, None),
            _ => Ok(()),
        }
    }

    /// The loss of a batch, which is finite.
    fn forward<B>(
        &mut self,
        batch: &B,
        step: &mut dyn FnMut(&B, &M, &mut Context) -> StepOutput,
    ) -> Result<StepOutput> {
        let stream = self.state.stream();
        let mut cx = Context::train(stream.clone());
        if trace::is_on() {
            cx = cx.with_names(self.model);
        }
        let output = step(batch, self.model, &mut cx);
        drop(cx);
        let value = output.loss.value().item();
        if value.is_finite() {
            return Ok(output);
        }
        let first = locate(self.model, stream, |cx| step(batch, self.model, cx).loss);
        Err(self.not_finite(format!("the loss ({value})"), first))
    }

    fn not_finite(&self, what: String, first: String) -> Error {
        let counters = &self.state.counters;
        Error::NotFinite {
            step: counters.step,
            epoch: counters.epoch,
            batch: counters.batch,
            what,
            first,
            checkpoint: self.options.checkpoint.clone().filter(|path| path.exists()),
        }
    }

    /// The learning rate of a step of this epoch, steps counted over the whole run.
    fn lr(&self, step: usize) -> f64 {
        self.schedule.lr(match self.options.clock {
            Clock::Epochs => self.state.counters.epoch,
            Clock::Steps => step,
        })
    }

    /// The learning rate of the step that was made last.
    fn last_lr(&self) -> f64 {
        self.lr(self.state.counters.step.saturating_sub(1))
    }

    /// Evaluates, logs, and goes to the next epoch.
    fn end_epoch(&mut self, evaluate: Option<&mut Evaluate<M>>) -> Result<()> {
        let epoch = self.state.counters.epoch;
        let rate = self.epoch.samples_per_s();
        let mut metrics = self.state.means();
        if let Some(evaluate) = evaluate {
            let evaluated = evaluate(self.model, epoch);
            let evaluated = evaluated.map_err(|source| Error::Evaluation { epoch, source })?;
            metrics.extend(evaluated.into_iter().map(|(name, value)| (name.to_owned(), value)));
        }
        self.keep_best(epoch, &metrics)?;
        let seconds = self.epoch.seconds();
        self.log("epoch", &metrics, Some(seconds))?;
        let mut text: String =
            metrics.iter().map(|(n, v)| format!("{n} {}, ", short(*v))).collect();
        text += &format!("lr {:.3e}, {seconds:.1} s, {rate:.0} samples/s", self.last_lr());
        self.display.epoch(epoch, &text);
        self.state.last = metrics;
        self.state.running.clear();
        self.state.counters.epoch += 1;
        self.state.counters.batch = 0;
        self.save()
    }

    /// Whether the best epoch is longer ago than there is patience.
    fn is_stale(&self) -> bool {
        let counters = &self.state.counters;
        let best = counters.best_epoch.map_or(0, |best| best + 1);
        self.options.patience.is_some_and(|patience| counters.epoch >= best + patience)
    }

    fn keep_best(&mut self, epoch: usize, metrics: &BTreeMap<String, f64>) -> Result<()> {
        let Some(rule) = &self.options.best else { return Ok(()) };
        let Some(&value) = metrics.get(rule.metric()) else { return Ok(()) };
        let better = match &self.state.best {
            None => !value.is_nan(),
            Some((_, best)) => rule.is_better(value, *best),
        };
        if better {
            self.state.best = Some((rule.metric().to_owned(), value));
            self.state.counters.best_epoch = Some(epoch);
            // Before the checkpoint that knows of it: a run killed between the two makes the same epoch and file again.
            if let Some(path) = &self.options.best_weights {
                save_model(path, self.model)?;
            }
        }
        Ok(())
    }

    fn log(
        &mut self,
        kind: &'static str,
        metrics: &BTreeMap<String, f64>,
        seconds: Option<f64>,
    ) -> Result<()> {
        let lr = self.last_lr();
        let Some(log) = &mut self.log else { return Ok(()) };
        let counters = &mut self.state.counters;
        let (epoch, step) = (counters.epoch, counters.step);
        log.append(&Line { kind, epoch, step, lr, metrics, seconds })?;
        counters.log_lines = log.lines();
        Ok(())
    }

    fn is_time_to_save(&self) -> bool {
        let every = |n: usize| self.state.counters.step.is_multiple_of(n);
        let due = |s: f64| self.saved.elapsed().as_secs_f64() >= s;
        self.options.checkpoint.is_some()
            && (self.options.checkpoint_steps.is_some_and(every)
                || self.options.checkpoint_seconds.is_some_and(due))
    }

    /// Writes the checkpoint, if one is wanted.
    fn save(&mut self) -> Result<()> {
        let Some(path) = &self.options.checkpoint else { return Ok(()) };
        // Or the next run would start from where this one cannot go on.
        if let Some(name) = bad_parameter(self.model) {
            let first = "the step before this made it so".to_owned();
            return Err(self.not_finite(format!("the parameter \"{name}\""), first));
        }
        if let Some(log) = &self.log {
            log.sync()?;
        }
        let mut checkpoint = Checkpoint::new(self.model, self.recipe.clone(), self.state.to_json());
        checkpoint.insert("optimizer", self.optimizer.state_dict());
        self.state.store(&mut checkpoint);
        checkpoint.write(path)?;
        self.saved = Instant::now();
        Ok(())
    }
}
