//! The trainer as a program uses it: stopped, resumed, misled.

mod tiny;

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use autograd::Var;
use nn::{
    Error, Module, ModuleExt, Param,
    data::{DataLoader, LoaderOptions, Order},
    load_model,
    optim::{Groups, Sgd, SgdOptions},
    train::{Best, Clock, Outcome, StepOutput, TrainOptions, Trainer},
};
use proptest::prelude::*;
use serde_json::json;
use tensor::Tensor;
use tiny::{Net, STEPS_PER_EPOCH, log_without_seconds, options, train};

const EPOCHS: usize = 4;

/// Runs until `steps` more optimizer steps are done, or to the end.
fn run_for(directory: &Path, steps: usize) -> Outcome {
    let options = options(directory, EPOCHS);
    let stop = options.stop.clone();
    let mut left = steps;
    let outcome = train(options, &mut Net::new(), move |_| {
        left = left.saturating_sub(1);
        stop.store(left == 0, Ordering::Relaxed);
    });
    outcome.expect("nothing is wrong")
}

/// The bytes of the final checkpoint and the log of a run that nobody stopped.
fn reference() -> (Vec<u8>, Vec<serde_json::Value>) {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(run_for(directory.path(), usize::MAX), Outcome::Finished { .. }));
    let bytes = std::fs::read(directory.path().join("run.safetensors")).unwrap();
    (bytes, log_without_seconds(directory.path()))
}

#[test]
fn an_epoch_is_a_line_and_a_step_line_is_its_own() {
    let (_, log) = reference();
    // 12 steps, every second one logged, and 4 epochs.
    assert_eq!(log.len(), 6 + EPOCHS);
    let of = |kind: &'static str| log.iter().filter(move |l| l["kind"] == kind);
    let epochs: Vec<_> = of("epoch").map(|l| l["epoch"].as_u64().unwrap()).collect();
    assert_eq!(epochs, [0, 1, 2, 3]);
    let steps: Vec<_> = of("step").map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [2, 4, 6, 8, 10, 12]);
    let loss = |i: usize| of("epoch").nth(i).unwrap()["metrics"]["test_loss"].as_f64().unwrap();
    assert!(loss(3) < 0.7 * loss(0), "the net must learn something: {} then {}", loss(0), loss(3));
}

#[test]
fn a_finished_run_tells_its_metrics_and_is_not_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let outcome = run_for(directory.path(), usize::MAX);
    let Outcome::Finished { metrics, best } = &outcome else { panic!("{outcome:?}") };
    assert_eq!(metrics.keys().collect::<Vec<_>>(), ["loss", "rms", "test_loss"]);
    let (epoch, value) = best.expect("test_loss is there");
    let log = log_without_seconds(directory.path());
    let line = log.iter().find(|l| l["kind"] == "epoch" && l["epoch"] == epoch).unwrap();
    assert!((line["metrics"]["test_loss"].as_f64().unwrap() - value).abs() < 1e-12);
    let before = std::fs::read(directory.path().join("run.safetensors")).unwrap();
    let mut steps = 0;
    let again = train(options(directory.path(), EPOCHS), &mut Net::new(), |_| steps += 1).unwrap();
    assert_eq!((again, steps), (outcome, 0));
    assert_eq!(std::fs::read(directory.path().join("run.safetensors")).unwrap(), before);
    assert_eq!(log_without_seconds(directory.path()), log);
}

#[test]
fn two_threads_give_the_bits_of_one() {
    // Wide enough for the kernels to share the work: activations of 8 · 128 · 7 · 7 elements.
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path(), 2);
        let mut net = Net::with_channels(128);
        pool.install(|| train(options, &mut net, |_| ())).unwrap();
        let bytes = std::fs::read(directory.path().join("run.safetensors")).unwrap();
        (bytes, log_without_seconds(directory.path()))
    };
    assert!(with(1) == with(2), "bytes or log differ");
}

/// `y = slope · x`, learned in f64 from `y = 3 x` at 24 points.
#[derive(Module)]
struct Line {
    slope: Param,
}

/// The slope after two epochs, and the learning rates and epochs of each step.
fn slope(batch_size: usize, accumulate: usize, clock: Clock) -> (f64, Vec<(f64, u64)>) {
    let directory = tempfile::tempdir().unwrap();
    let points: Vec<f64> = (0..24).map(|i| f64::from(i) / 24.0).collect();
    let loader = DataLoader::new(
        points,
        LoaderOptions { batch_size, order: Order::Shuffle, ..Default::default() },
        |x, _| Ok(Tensor::new(&x, [x.len()])),
    );
    let mut line = Line { slope: Param::from_tensor(Tensor::scalar(0.5f64)) };
    let options = TrainOptions {
        epochs: 2,
        accumulate,
        clock,
        log_steps: Some(1),
        metrics: Some(directory.path().join("metrics.jsonl")),
        ..Default::default()
    };
    let mut sgd = Sgd::new(SgdOptions::default(), Groups::default());
    let schedule = |t: usize| 0.5 / (1 + t) as f64;
    Trainer::new(options)
        .run(&mut line, &mut sgd, &schedule, &loader, |x: &Tensor, line: &Line, cx| {
            let y = &Var::constant(x.clone()) * &cx.var(&line.slope);
            let error = &y + &Var::constant(x.mul_scalar(-3.0));
            let share = Var::constant(Tensor::scalar(1.0 / x.numel() as f64));
            StepOutput::new(&(&error * &error).sum() * &share, x.numel())
        })
        .unwrap();
    let log = log_without_seconds(directory.path());
    let steps = log.iter().filter(|line| line["kind"] == "step");
    let rates = steps.map(|l| (l["lr"].as_f64().unwrap(), l["epoch"].as_u64().unwrap()));
    (line.slope.value().item(), rates.collect())
}

#[test]
fn accumulated_batches_are_one_large_batch() {
    let (whole, _) = slope(8, 1, Clock::Steps);
    let (parts, _) = slope(4, 2, Clock::Steps);
    let (other, _) = slope(4, 1, Clock::Steps);
    assert!((whole - parts).abs() < 1e-12, "{whole} and {parts}");
    assert!((whole - other).abs() > 1e-3, "{whole} and {other}");
}

#[test]
fn a_schedule_counts_epochs_or_steps() {
    let (_, epochs) = slope(8, 1, Clock::Epochs);
    assert_eq!(epochs, [(0.5, 0), (0.5, 0), (0.5, 0), (0.25, 1), (0.25, 1), (0.25, 1)]);
    let (_, steps) = slope(12, 1, Clock::Steps);
    assert_eq!(steps, [(0.5, 0), (0.25, 0), (0.5 / 3.0, 1), (0.125, 1)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    /// Stopped after any number of steps, several times: the bytes and lines of a run that was not.
    #[test]
    fn stopping_changes_nothing(stops in prop::collection::vec(0..EPOCHS * STEPS_PER_EPOCH, 1..4)) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.safetensors");
        let mut done = 0;
        for steps in stops {
            let outcome = run_for(directory.path(), steps.max(1));
            done += steps.max(1);
            if done < EPOCHS * STEPS_PER_EPOCH {
                prop_assert_eq!(outcome, Outcome::Interrupted { checkpoint: Some(path.clone()) });
            }
        }
        run_for(directory.path(), usize::MAX);
        let (bytes, log) = reference();
        prop_assert!(std::fs::read(&path).unwrap() == bytes, "the checkpoints differ");
        prop_assert_eq!(log_without_seconds(directory.path()), log);
    }
}

/// The message of a run that goes on from an interrupted one with changed options; the net must stay as it was.
fn refused(change: impl FnOnce(&mut TrainOptions, &Path)) -> String {
    let directory = tempfile::tempdir().unwrap();
    run_for(directory.path(), 5);
    let mut options = options(directory.path(), EPOCHS);
    change(&mut options, directory.path());
    let mut net = Net::new();
    let error = train(options, &mut net, |_| panic!("no step may be made")).unwrap_err();
    for ((name, a), (_, b)) in net.state_dict().into_iter().zip(Net::new().state_dict()) {
        assert_eq!(a.to_f64_vec(), b.to_f64_vec(), "{name} was changed");
    }
    error.to_string()
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let message = refused(|options, _| options.recipe["lr"] = json!(0.1));
    assert!(
        message.contains("run.safetensors: recipe.run.lr: expected 0.1, found 0.01;"),
        "{message}"
    );
    let message = refused(|options, _| options.accumulate = 2);
    assert!(message.contains("recipe.trainer.accumulate: expected 2, found 3;"), "{message}");
    let message = refused(|options, _| options.seed = 12);
    assert!(message.contains("recipe.trainer.seed: expected 12, found 11;"), "{message}");
}

#[test]
fn a_damaged_checkpoint_and_a_shorter_log_are_refused() {
    let message = refused(|_, directory| {
        let path = directory.join("run.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    });
    assert!(message.contains("run.safetensors: the file is damaged: "), "{message}");
    let message = refused(|_, directory| {
        let path = directory.join("run.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
    });
    assert!(message.contains("its contents have checksum"), "{message}");
}

#[test]
fn a_log_that_lost_lines_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    run_for(directory.path(), 5);
    std::fs::write(directory.path().join("metrics.jsonl"), "{}\n").unwrap();
    let error = train(options(directory.path(), EPOCHS), &mut Net::new(), |_| ()).unwrap_err();
    let Error::LogTooShort { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((*expected, *found), (3, 1)); // steps 2 and 4, and the first epoch
}

#[test]
fn the_model_of_a_checkpoint_can_be_loaded_alone() {
    let directory = tempfile::tempdir().unwrap();
    run_for(directory.path(), 5);
    let mut net = Net::new();
    load_model(directory.path().join("run.safetensors"), &mut net).unwrap();
    assert_ne!(net.state_dict()[0].1.to_f64_vec(), Net::new().state_dict()[0].1.to_f64_vec());
}

#[test]
fn a_bad_number_stops_the_run_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run.safetensors");
    let break_at = |step: usize, name: &'static str, value: f64| {
        let mut left = step;
        let options =
            TrainOptions { checkpoint_steps: Some(1), ..options(directory.path(), EPOCHS) };
        let outcome = train(options, &mut Net::new(), move |net| {
            if left == 0 {
                for (n, param) in net.named_parameters_mut() {
                    if n == name {
                        let bad = param.value().full_like(value);
                        *param.value_mut() = bad;
                    }
                }
            }
            left = left.wrapping_sub(1);
        });
        outcome.unwrap_err()
    };
    // Found before it gets into a checkpoint.
    let error = break_at(4, "head.weight", f64::NAN);
    let Error::NotFinite { what, checkpoint, .. } = &error else { panic!("{error}") };
    assert_eq!(what, "the parameter \"head.weight\"");
    assert_eq!(checkpoint.as_ref(), Some(&path));
    let before = std::fs::read(&path).unwrap();
    // Finite, but its products are not: the forward is run again to find where.
    let error = break_at(0, "stem.weight", 3e38);
    let message = error.to_string();
    assert!(
        message.starts_with(
            "step 5 (epoch 1, batch 6): the loss (NaN) is not finite; the first output that is not \
             finite is that of module \"stem\" (Conv2d); the last good checkpoint is "
        ),
        "{message}"
    );
    assert!(message.ends_with("run.safetensors"), "{message}");
    assert_ne!(std::fs::read(&path).unwrap(), before, "step 4 was repeated and saved");
    // Only the square between the modules is not.
    std::fs::remove_file(&path).unwrap();
    let message = break_at(0, "stem.weight", 1e30).to_string();
    assert!(
        message.contains("is the input of module \"norm\" (BatchNorm2d): look at the data"),
        "{message}"
    );
}

#[test]
fn a_directory_that_is_gone_is_an_error_that_names_the_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let mut once = Some(inner.clone());
    let options = TrainOptions { metrics: None, ..options(&inner, EPOCHS) };
    let error = train(options, &mut Net::new(), |_| {
        if let Some(inner) = once.take() {
            std::fs::remove_dir_all(inner).unwrap();
        }
    })
    .unwrap_err();
    assert!(error.to_string().contains("inner/run.safetensors: No such file"), "{error}");
    // It is still gone: this time known before there is anything to lose.
    let options = TrainOptions { metrics: None, ..tiny::options(&inner, EPOCHS) };
    let error = train(options, &mut Net::new(), |_| panic!("no step may be made")).unwrap_err();
    assert!(error.to_string().contains("inner/run.safetensors: No such file"), "{error}");
}

#[test]
fn stopped_before_the_first_step_a_run_still_leaves_a_checkpoint() {
    let directory = tempfile::tempdir().unwrap();
    let options = options(directory.path(), EPOCHS);
    options.stop.store(true, Ordering::Relaxed);
    let stop = Arc::clone(&options.stop);
    let outcome = train(options, &mut Net::new(), |_| panic!("no step may be made")).unwrap();
    assert!(stop.load(Ordering::Relaxed));
    let path = directory.path().join("run.safetensors");
    assert_eq!(outcome, Outcome::Interrupted { checkpoint: Some(path) });
    run_for(directory.path(), usize::MAX);
    assert!(std::fs::read(directory.path().join("run.safetensors")).unwrap() == reference().0);
}

/// What a run leaves that compares epochs by `rule`, with patience and the best weights kept; stopped after `steps`.
fn patient(directory: &Path, rule: Best, steps: usize) -> Outcome {
    let options = TrainOptions {
        best: Some(rule),
        patience: Some(1),
        best_weights: Some(directory.join("best.safetensors")),
        ..options(directory, EPOCHS)
    };
    let stop = options.stop.clone();
    let mut left = steps;
    let outcome = train(options, &mut Net::new(), move |_| {
        left = left.saturating_sub(1);
        stop.store(left == 0, Ordering::Relaxed);
    });
    outcome.expect("nothing is wrong")
}

#[test]
fn patience_ends_a_run_and_the_best_weights_are_those_of_the_best_epoch() {
    // The loss falls, so that by this rule the first epoch is the best, and the second the last.
    let worst_first = || Best::Largest("test_loss".into());
    let directory = tempfile::tempdir().unwrap();
    let Outcome::Finished { best, .. } = patient(directory.path(), worst_first(), usize::MAX)
    else {
        panic!("nobody stops it")
    };
    assert_eq!(best.map(|b| b.0), Some(0));
    let log = log_without_seconds(directory.path());
    assert_eq!(log.iter().filter(|l| l["kind"] == "epoch").count(), 2);
    // Stopped in the second epoch and resumed it ends at the same place with the same bits.
    let stopped = tempfile::tempdir().unwrap();
    let interrupted = patient(stopped.path(), worst_first(), STEPS_PER_EPOCH + 1);
    assert!(matches!(interrupted, Outcome::Interrupted { .. }));
    patient(stopped.path(), worst_first(), usize::MAX);
    for file in ["best.safetensors", "run.safetensors"] {
        let [a, b] = [&directory, &stopped].map(|d| std::fs::read(d.path().join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
    // Finished is finished.
    assert!(matches!(patient(stopped.path(), worst_first(), 1), Outcome::Finished { .. }));
    // With the right rule all epochs are made, and the last is the best.
    let whole = tempfile::tempdir().unwrap();
    patient(whole.path(), Best::Smallest("test_loss".into()), usize::MAX);
    let (mut last, mut best) = (Net::new(), Net::new());
    load_model(whole.path().join("best.safetensors"), &mut best).unwrap();
    let log = log_without_seconds(whole.path());
    assert_eq!(log.iter().filter(|l| l["kind"] == "epoch").count(), EPOCHS);
    let reference = options(tempfile::tempdir().unwrap().path(), EPOCHS);
    train(TrainOptions { checkpoint: None, metrics: None, ..reference }, &mut last, |_| {})
        .unwrap();
    for ((name, a), (_, b)) in last.state_dict().iter().zip(best.state_dict()) {
        assert_eq!(a.to_f64_vec(), b.to_f64_vec(), "{name}");
    }
}
