//! The V1 experiment as a user runs it: on what comes with the program, on a folder of one's own, killed in between.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use neuro::mmv1::park;

/// Everything as small as it gets.
const TINY: [&str; 10] = [
    "seq_len=1",
    "channels=2,2",
    "hidden=4",
    "epochs=2",
    "behavior=orig",
    "synthetic_bins=300",
    "synthetic_neurons=3",
    "synthetic_epochs=1",
    "batch=256",
    "smoothing=3",
];

fn xtask(results: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["reproduce", "v1", "--quiet", "--results"]).arg(results).args(more);
    TINY.iter().for_each(|pair| {
        command.args(["--set", pair]);
    });
    command
}

fn run(results: &Path, more: &[&str]) -> Output {
    xtask(results, more).output().expect("the program starts")
}

fn succeeds(results: &Path, more: &[&str]) {
    let output = run(results, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The file of that name in the only label's trial.
fn file(results: &Path, trial: &str, name: &str) -> Vec<u8> {
    let label = fs::read_dir(results.join("v1")).unwrap().next().unwrap().unwrap().path();
    fs::read(label.join(trial).join(name)).unwrap()
}

#[test]
fn two_conditions_make_a_report_with_paired_figures() {
    let root = tempfile::tempdir().unwrap();
    let conditions = ["--condition", "base", "--condition", "lp2", "--seed", "1"];
    succeeds(root.path(), &conditions);
    let label = fs::read_dir(root.path().join("v1")).unwrap().next().unwrap().unwrap().path();
    let page = fs::read_to_string(label.join("index.html")).unwrap();
    for part in ["Made-up cortex", "not the paper", "paired by mouse", "rendered from"] {
        assert!(page.contains(part), "the page lacks {part:?}");
    }
    for name in ["conditions", "neurons", "traces", "masks", "fields", "tuning", "known_fields"] {
        assert!(label.join(format!("{name}.png")).exists(), "no figure {name}");
    }
    let table = fs::read_to_string(label.join("table5.tsv")).unwrap();
    assert!(table.contains("lp2") && table.contains("base"), "{table}");
    let done: serde_json::Value =
        serde_json::from_slice(&file(root.path(), "mrcuts28-lp2-seed1", "done.json")).unwrap();
    assert_eq!(done["cc"].as_array().unwrap().len(), 56);
    assert_eq!(done["masks"].as_array().unwrap().len(), 2);
    assert_eq!(done["masks"][0]["kernel"], 11);
}

#[test]
fn threads_and_a_kill_in_between_change_no_bit() {
    let one = ["--condition", "lp2", "--seed", "0", "--save-every", "0.05"];
    let bits = |threads: &str, kill: bool| {
        let root = tempfile::tempdir().unwrap();
        let args = [&one[..], &["--threads", threads]].concat();
        if kill {
            let mut child = xtask(root.path(), &args).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(700));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        succeeds(root.path(), &args);
        ["best.safetensors", "checkpoint.safetensors"]
            .map(|name| file(root.path(), "mrcuts29-lp2-seed0", name))
    };
    let reference = bits("1", false);
    assert!(bits("2", false) == reference, "two threads differ from one");
    assert!(bits("2", true) == reference, "a killed and resumed run differs");
}

#[test]
fn a_folder_of_ones_own_is_read_and_a_damaged_one_named() {
    let root = tempfile::tempdir().unwrap();
    let (mice, results) = (root.path().join("mice"), root.path().join("results"));
    let raw = park::session("mrcuts29").unwrap();
    raw.save(&mice.join("mine"), &park::BINS).unwrap();
    let data = mice.to_str().unwrap();
    let args = ["--data", data, "--condition", "base", "--seed", "0", "--set", "shrink=1"];
    succeeds(&results, &args);
    let done: serde_json::Value =
        serde_json::from_slice(&file(&results, "mine-base-seed0", "done.json")).unwrap();
    assert_eq!(done["cc"].as_array().unwrap().len(), 18);

    fs::remove_file(mice.join("mine/behavior_t.npy")).unwrap();
    let output = run(&root.path().join("other"), &args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("behavior_t.npy: missing"), "{message}");
    fs::remove_dir_all(mice.join("mine")).unwrap();
    let output = run(&root.path().join("other"), &args);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("expected recording.json"), "{message}");
}

#[test]
fn mistakes_are_named_before_anything_is_written() {
    let root = tempfile::tempdir().unwrap();
    let results = root.path().join("results");
    let refused = |more: &[&str], what: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["reproduce", "v1", "--results"])
            .arg(&results)
            .args(more)
            .output()
            .unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && message.contains(what), "{message}");
    };
    refused(&["--scale", "paper"], "osf.io/msp3a");
    refused(&["--set", "channels=8,x"], "expected numbers from 1 to 4096");
    refused(&["--set", "behavior=most"], "expected orig, all");
    refused(&["--set", "smoothing=2"], "odd");
    refused(&["--condition", "lp"], "expected base, large, lpP");
    // Kernels that do not fit are found before a trial begins.
    refused(&["--set", "kernel=29"], "convolution 2 has a kernel of 29x29");
    assert!(!results.join("v1/demo-kernel=29/mrcuts28-base-seed0").exists());
}
