//! The classification experiments as a user runs them: a table from tiny nets, a kill in the middle of an epoch, several
//! processes in one folder, mistakes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, Instant},
};

/// Everything as small as it gets, with all of the augmentation.
const TINY: [&str; 13] = [
    "classes=2",
    "train_per_class=24",
    "test_per_class=5",
    "epochs=3",
    "warmup_epochs=1",
    "batch=8",
    "models=resnet8",
    "rand_augment=true",
    "erasing=0.25",
    "mixup=0.8",
    "cutmix=1",
    "repeats=3",
    "evaluate_every=1",
];

fn xtask(name: &str, results: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["reproduce", name, "--quiet", "--results"]).arg(results);
    TINY.iter().for_each(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        if !more.iter().any(|m| m.starts_with(&format!("{key}="))) {
            command.args(["--set", pair]);
        }
    });
    command.args(more);
    command
}

fn run(results: &Path, more: &[&str]) -> Output {
    xtask("table1", results, more).output().expect("the program starts")
}

#[track_caller]
fn succeeds(results: &Path, more: &[&str]) -> String {
    let output = run(results, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The folder of the only label.
fn label(results: &Path, name: &str) -> PathBuf {
    fs::read_dir(results.join(name)).unwrap().next().unwrap().unwrap().path()
}

fn bits(results: &Path, trial: &str) -> [Vec<u8>; 3] {
    ["checkpoint.safetensors", "weights.safetensors", "masks.json"]
        .map(|file| fs::read(label(results, "table1").join(trial).join(file)).unwrap())
}

#[test]
fn conditions_become_a_table_beside_the_papers() {
    let root = tempfile::tempdir().unwrap();
    let conditions = ["base", "large", "lpf256", "lp2", "lp16"];
    let mut args: Vec<&str> = conditions.iter().flat_map(|c| ["--condition", c]).collect();
    args.extend(["--seed", "0", "--seed", "1", "--set", "ema=0.9"]);
    succeeds(root.path(), &args);
    let folder = label(root.path(), "table1");
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    for part in [
        "small-scale",
        "The paper&#39;s Table 1",
        "Differences from base",
        "to the last bit",
        "the mask of the taps around it is exactly 0",
        "p and C are not trained",
        "averaged weights",
    ] {
        assert!(page.contains(part) || page.contains(&part.replace("&#39;", "'")), "no {part:?}");
    }
    for name in ["accuracies", "curves", "masks_cifar100_resnet8", "exponents_cifar100_resnet8"] {
        assert!(folder.join(format!("{name}.png")).exists(), "no figure {name}");
    }
    let runs = fs::read_to_string(folder.join("runs.tsv")).unwrap();
    assert_eq!(runs.lines().count(), 1 + 10, "{runs}");
    let frozen = fs::read_to_string(folder.join("frozen.tsv")).unwrap();
    // Two 1x1 convolutions of lp16 and nine masked layers of lpf256, twice; none of them has changed.
    let lines: Vec<&str> = frozen.lines().skip(1).collect();
    assert_eq!(lines.len(), 2 * (2 + 9), "{frozen}");
    assert!(lines.iter().all(|l| l.ends_with("\t0\t0")), "{frozen}");
    let claims = fs::read_to_string(folder.join("claims.tsv")).unwrap();
    let exact: Vec<&str> = claims.lines().filter(|l| l.contains("to the last bit")).collect();
    assert!(exact.len() == 1 && exact[0].contains("\treproduced\t"), "{claims}");
    let control = claims.lines().find(|l| l.contains("are the control")).unwrap();
    assert!(control.contains("\treproduced\t"), "{control}");
}

/// Table 2 from the nets of this folder.
fn table2(results: &Path, nets: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["reproduce", "table2", "--quiet", "--results"]).arg(results);
    command.arg("--set").arg(format!("checkpoints={}", nets.display())).args(more);
    command.output().expect("the program starts")
}

#[test]
fn trained_nets_are_tested_on_corrupted_images() {
    let root = tempfile::tempdir().unwrap();
    succeeds(root.path(), &["--condition", "base", "--condition", "lp2", "--set", "epochs=2"]);
    let nets = label(root.path(), "table1");

    let made = tempfile::tempdir().unwrap();
    let output = table2(made.path(), &nets, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = label(made.path(), "table2");
    let wins = fs::read_to_string(folder.join("wins.tsv")).unwrap();
    let counts: Vec<f64> = wins
        .lines()
        .nth(1)
        .unwrap()
        .split('\t')
        .skip(1)
        .take(2)
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(counts.iter().sum::<f64>(), 18.0, "all but frost: {wins}");
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    for part in ["small-scale", "fewer than nineteen", "not taken from the published"] {
        assert!(page.contains(part), "no {part:?}");
    }

    // A published set of four images a severity, all of them black.
    let data = tempfile::tempdir().unwrap();
    for corruption in vision::corruptions::Corruption::ALL {
        let images = tensor::Tensor::new(&vec![0_u8; 20 * 3072], [20, 32, 32, 3]);
        let file = data.path().join(format!("{}.npy", corruption.name()));
        tensor::io::write_npy(file, &images).unwrap();
    }
    let labels: Vec<u8> = (0..20).map(|i| i % 2).collect();
    let labels = tensor::Tensor::new(&labels, [20]);
    tensor::io::write_npy(data.path().join("labels.npy"), &labels).unwrap();
    let read = tempfile::tempdir().unwrap();
    let output = table2(read.path(), &nets, &["--data", &data.path().display().to_string()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // One class for all black images, which is right for half of them; and all nets are equal then.
    let wins = fs::read_to_string(label(read.path(), "table2").join("wins.tsv")).unwrap();
    assert!(wins.lines().nth(1).is_some_and(|l| l.ends_with("\t19\t0\t19")), "{wins}");

    for (more, expected) in [
        (["--set", "severity=6"], "expected 1 to 5"),
        (["--condition", "lp4"], "no finished trial of CIFAR-100"),
        (["--set", "frost=/nowhere"], "frost=/nowhere"),
    ] {
        let output = table2(made.path(), &nets, &more);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(expected), "{error}");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["reproduce", "table2", "--scale", "paper", "--results"]).arg(made.path());
    let error = command.output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&error).contains("no nets of the paper's scale"));
}

#[test]
fn a_kill_in_the_middle_of_an_epoch_and_threads_change_no_bit() {
    let one = ["--condition", "lp2", "--seed", "3", "--save-every", "0.02", "--set", "ema=0.99"];
    let trial = "cifar100-resnet8-lp2-seed3";
    let whole = tempfile::tempdir().unwrap();
    succeeds(whole.path(), &[&one[..], &["--threads", "1"]].concat());
    let reference = bits(whole.path(), trial);

    let killed = tempfile::tempdir().unwrap();
    let args = [&one[..], &["--threads", "2"]].concat();
    let mut child = xtask("table1", killed.path(), &args).spawn().unwrap();
    let began = Instant::now();
    // As soon as there is a checkpoint, which comes before the first epoch's end.
    let checkpoint = || {
        let labels = fs::read_dir(killed.path().join("table1")).ok()?;
        let found = labels.flatten().map(|l| l.path().join(trial).join("checkpoint.safetensors"));
        found.into_iter().find(|path| path.exists())
    };
    while checkpoint().is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "no checkpoint in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = checkpoint().unwrap().with_file_name("done.json");
    assert!(!done.exists(), "the run was over before it was killed");
    succeeds(killed.path(), &args);
    assert!(bits(killed.path(), trial) == reference, "a killed and resumed run differs");
}

#[test]
fn two_processes_share_a_folder_and_finished_trials_are_not_run_again() {
    let root = tempfile::tempdir().unwrap();
    let args = ["--condition", "base", "--seed", "0", "--seed", "1", "--seed", "2"];
    let mut other = xtask("table1", root.path(), &args).spawn().unwrap();
    succeeds(root.path(), &args);
    assert!(other.wait().unwrap().success());
    // What one of them left to the other is done by now.
    succeeds(root.path(), &args);
    let folder = label(root.path(), "table1");
    let lines = |seed: u32| {
        let log = folder.join(format!("cifar100-resnet8-base-seed{seed}/metrics.jsonl"));
        fs::read_to_string(log).unwrap().lines().count()
    };
    assert_eq!([lines(0), lines(1), lines(2)], [3; 3]);
    let listed = run(root.path(), &[&args[..], &["--dry-run"]].concat());
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(text.matches("\tdone").count(), 3, "{text}");
    let before = fs::metadata(folder.join("cifar100-resnet8-base-seed0/done.json")).unwrap();
    succeeds(root.path(), &args);
    let after = fs::metadata(folder.join("cifar100-resnet8-base-seed0/done.json")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}

#[test]
fn a_run_is_made_to_fit_its_time_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let args = ["--condition", "base", "--seed", "0", "--set", "epochs=100000"];
    let args = [&args[..], &["--set", "warmup_epochs=5", "--max-minutes", "0.05"]].concat();
    let text = succeeds(root.path(), &args);
    assert!(text.contains("of 100000 epochs fit into 0.05 minutes"), "{text}");
    let folder = label(root.path(), "table1");
    assert!(folder.to_string_lossy().contains("max-minutes=0.05"), "{}", folder.display());
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    assert!(page.contains("The schedule was shortened from 100000 epochs"));
    // Again: the same number of epochs, so nothing to do.
    assert!(!succeeds(root.path(), &args).contains("fit into"));
    let too_little = [&args[..6], &["--max-minutes", "0.000001"]].concat();
    let output = run(&root.path().join("other"), &too_little);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("an epoch of all 1 trials takes"), "{message}");
}

#[test]
fn mistakes_are_named_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let results = root.path().join("results");
    let refused = |more: &[&str], what: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["reproduce", "--results"])
            .arg(&results)
            .args(more)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(what), "{message}");
    };
    refused(&["table1", "--scale", "paper"], "cifar-100-binary.tar.gz");
    refused(&["table1", "--set", "models=resnet81"], "small nets: resnet8");
    refused(&["table1", "--set", "batch=7"], "expected an even number");
    refused(&["table1", "--set", "datasets=imagenet"], "expected cifar100 or tinyimagenet");
    refused(&["table1", "--set", "precision=f8"], "expected f32 or bf16");
    refused(&["table1", "--set", "warmup_epochs=12"], "expected fewer than the 12 epochs");
    refused(&["table1", "--condition", "lp"], "expected base, large, lpP");
    refused(&["table1", "--max-minutes", "-1"], "expected a positive number of minutes");
    refused(&["sudoku", "--max-minutes", "5"], "no schedule that could be shortened");
    assert!(!results.exists());
}

#[test]
fn a_dry_run_lists_the_papers_350_runs() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["reproduce", "table1", "--scale", "paper", "--dry-run", "--data"])
        .arg(root.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(text.lines().count(), 350, "{text}");
    assert!(text.contains("tinyimagenet-convnext_tiny-lpf256-seed4\tto run"), "{text}");
}
