//! The program as a user runs it: its messages and exit codes, and that a killed run ends in the same bits.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    xtask(args).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A failed run: exit code and a message that holds `expected`; never a panic.
#[track_caller]
fn fails(args: &[&str], code: i32, expected: &str) {
    let output = run(args);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(message.contains(expected), "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{args:?}: {message}");
}

#[test]
fn an_instruction_set_that_is_not_there_is_named() {
    let chosen = |set: &str| {
        let command = &mut xtask(&["list"]);
        command.env(tensor::INSTRUCTION_SET_VARIABLE, set).output().expect("the program starts")
    };
    let wrong = chosen("avx9000");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        stderr(&wrong).contains("TENSOR_INSTRUCTION_SET=avx9000: this machine can act as portable")
    );
    assert!(chosen("portable").status.success());
    assert!(chosen("").status.success());
}

/// The options of a run that takes a second or two.
const TINY: &[&str] = &[
    "--set",
    "blocks=2",
    "--set",
    "channels=8",
    "--set",
    "epochs=3",
    "--set",
    "train=600",
    "--set",
    "test=100",
    "--set",
    "ablation_puzzles=20",
    "--set",
    "ablation_step_deg=45",
];

fn tiny<'a>(condition: &'a str, results: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let results = results.to_str().expect("a temporary folder has a plain name");
    let mut args = vec!["reproduce", "sudoku", "--condition", condition, "--results", results];
    args.extend(TINY);
    args.extend(more);
    args
}

/// The only trial's folder below `results/sudoku`.
fn trial(results: &Path) -> std::path::PathBuf {
    let label = fs::read_dir(results.join("sudoku")).unwrap().next().unwrap().unwrap().path();
    fs::read_dir(label).unwrap().flatten().map(|e| e.path()).find(|p| p.is_dir()).unwrap()
}

fn checkpoint(results: &Path) -> Vec<u8> {
    fs::read(trial(results).join("checkpoint.safetensors")).unwrap()
}

#[test]
fn usage_errors_end_with_code_2_and_say_what_is_known() {
    fails(&["reproduce", "sudko"], 2, "did you mean \"sudoku\"?");
    fails(&["reproduce", "sudoku", "--set", "epoch=3"], 2, "did you mean \"epochs\"?");
    fails(&["reproduce", "sudoku", "--set", "epochs=three"], 2, "expected a whole number");
    fails(&["reproduce", "sudoku", "--set", "channels=0"], 2, "channels = 0");
    fails(&["reproduce", "sudoku", "--set", "tap_threshold=1"], 2, "at least 0 and below 1");
    fails(&["reproduce", "sudoku", "--condition", "lp"], 2, "expected base, large, lpP");
    fails(&["reproduce", "sudoku", "--sed", "3"], 2, "unexpected argument '--sed'");
    fails(&["reproduce", "sudoku", "--scale", "paper"], 2, "--data FILE");
    fails(&["reproduce", "shapes", "--seed", "3"], 2, "--seed has no meaning");
    fails(&["reproduce", "--condition", "lp2"], 2, "name it");
    for n in ["0", "-1", "abc"] {
        fails(
            &["reproduce", "sudoku", "--threads", n],
            2,
            "expected a whole number from 1 to 1024",
        );
    }
    fails(&["reproduce", "sudoku", "--dry-run", "--trace-nan"], 2, "cannot be used with");
    fails(&["reproduce", "sudoku", "--dry-run", "--profile", "f"], 2, "cannot be used with");
    fails(
        &["reproduce", "sudoku", "--dry-run", "--data", "no.csv"],
        1,
        "--data no.csv: No such file",
    );
}

#[test]
fn bad_data_and_bad_folders_end_with_code_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let results = path("results");
    let with = |file: &str, code: i32, expected: &str| {
        let file = path(file);
        fails(&["reproduce", "sudoku", "--results", &results, "--data", &file], code, expected);
    };
    with("none.csv", 1, "none.csv");
    fs::write(path("empty.csv"), "").unwrap();
    with("empty.csv", 1, "empty.csv");
    fs::write(path("short.csv"), "quizzes,solutions\n123,456\n").unwrap();
    with("short.csv", 1, "short.csv");
    fs::write(path("cut.csv.gz"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    with("cut.csv.gz", 1, "cut.csv.gz");

    fs::write(path("file"), "").unwrap();
    fails(&["reproduce", "shapes", "--results", &path("file")], 1, "found a file");
    fs::create_dir(path("other")).unwrap();
    fs::write(path("other/format.json"), r#"{"format": 99, "written_by": "9.0.0"}"#).unwrap();
    fails(&["list", "--results", &path("other")], 1, "written by version 9.0.0");
    fails(&["report", "--results", &path("nowhere")], 2, "no results yet");
}

#[test]
fn too_many_puzzles_are_refused_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().to_str().unwrap();
    let args = ["reproduce", "sudoku", "--results", results, "--set", "train=30000"];
    fails(&args, 1, "set has 20000 in all");
}

#[test]
fn a_dry_run_lists_trials_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let results = dir.path().join("results");
    let results = results.to_str().unwrap();
    let output = run(&["reproduce", "sudoku", "--dry-run", "--results", results]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for condition in ["base", "large", "lpf256", "lp2", "lp16"] {
        assert!(text.contains(&format!("{condition}-seed0\tto run")), "{text}");
    }
    assert!(!Path::new(results).exists());
}

/// One whole trial: report, tables, figures; a second call finds it done; another recipe goes to another folder.
#[test]
fn a_trial_leaves_a_report_and_is_not_run_twice() {
    let dir = tempfile::tempdir().unwrap();
    let output = xtask(&tiny("lp2", dir.path(), &[])).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let page = text.trim().rsplit(' ').next().unwrap();
    let html = fs::read_to_string(page).unwrap();
    for part in ["fig4b", "fig5b_lp2", "fig9_lp2", "fig10_lp2", "accuracies.tsv"] {
        assert!(html.contains(part), "{part}");
    }
    let lines = fs::read_to_string(trial(dir.path()).join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 3);
    let before = checkpoint(dir.path());
    let again = xtask(&tiny("lp2", dir.path(), &[])).output().unwrap();
    assert!(again.status.success());
    assert!(!stderr(&again).contains("epoch"), "{}", stderr(&again));
    assert_eq!(before, checkpoint(dir.path()));
    let listed = run(&["list", "--results", dir.path().to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("1 of 1 started trials done"));
}

/// What is not the paper's computation is said: in the trial's recipe, and by the report.
#[test]
fn a_threshold_of_taps_is_recorded_and_reported() {
    const SAID: &str = "Not the paper's computation: taps whose mask is below 0.01 of the layer";
    let page = |more: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let output = xtask(&tiny("lpf2", dir.path(), more)).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let html = fs::read_to_string(text.trim().rsplit(' ').next().unwrap()).unwrap();
        let folder = trial(dir.path());
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        // Seconds follow, which differ always.
        let losses = read("metrics.jsonl")
            .lines()
            .next()
            .unwrap()
            .split("\"seconds\"")
            .next()
            .unwrap()
            .to_owned();
        (html, read("recipe.json"), losses)
    };
    let (html, recipe, losses) = page(&["--set", "tap_threshold=0.01"]);
    assert!(html.contains(SAID) && recipe.contains("\"tap_threshold\": 0.01"), "{recipe}");
    let (exact_html, exact_recipe, exact_losses) = page(&[]);
    assert!(!exact_html.contains(SAID) && exact_recipe.contains("\"tap_threshold\": 0.0"));
    assert!(losses.contains("test_loss") && losses != exact_losses, "{losses}");
}

#[test]
fn one_thread_and_two_and_a_kill_in_between_end_in_the_same_bits() {
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (dir, threads) in dirs.iter().zip(["1", "2"]) {
        let output = xtask(&tiny("lp2", dir.path(), &["--threads", threads])).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    // Killed without warning three times, at moments that fall wherever they fall.
    let mut killed = 0;
    for delay in [150, 400, 700] {
        let mut child = xtask(&tiny("lp2", dirs[2].path(), &["--save-every", "0.05"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(delay));
        child.kill().unwrap();
        let ended = child.wait().unwrap();
        killed += usize::from(!ended.success());
    }
    assert!(killed > 0, "every run was over before it could be killed: make TINY larger");
    let output = xtask(&tiny("lp2", dirs[2].path(), &[])).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let bits: Vec<Vec<u8>> = dirs.iter().map(|d| checkpoint(d.path())).collect();
    assert!(bits[0] == bits[1], "one and two threads differ");
    assert!(bits[0] == bits[2], "a killed and resumed run differs");
}

/// SIGTERM (as job systems send it) and SIGINT (Ctrl-C): the run saves itself, says so, ends with 130, and goes on.
#[test]
#[cfg(unix)]
fn a_signal_saves_the_run() {
    let (interrupted, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for signal in ["TERM", "INT"] {
        // Only the saving on the signal, none in between.
        let child = xtask(&tiny("base", interrupted.path(), &["--save-every", "1000"]))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(300));
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {}", child.id())])
            .status()
            .unwrap();
        let ended = child.wait_with_output().unwrap();
        // A fast machine may have finished before the signal came.
        if sent.success() && !ended.status.success() {
            assert_eq!(ended.status.code(), Some(130), "{}", stderr(&ended));
            assert!(stderr(&ended).contains("the same command goes on"), "{}", stderr(&ended));
        }
    }
    for dir in [&interrupted, &whole] {
        let output = xtask(&tiny("base", dir.path(), &[])).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert!(checkpoint(interrupted.path()) == checkpoint(whole.path()));
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let output = xtask(&tiny("base", dir.path(), &[])).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let folder = trial(dir.path());
    // The same trial under another seed's name, with the first one's checkpoint.
    let label = folder.parent().unwrap();
    let other = label.join("base-seed1");
    fs::create_dir(&other).unwrap();
    fs::copy(folder.join("checkpoint.safetensors"), other.join("checkpoint.safetensors")).unwrap();
    let before = fs::read(other.join("checkpoint.safetensors")).unwrap();
    let output = xtask(&tiny("base", dir.path(), &["--seed", "1"])).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("checkpoint.safetensors"), "{}", stderr(&output));
    assert_eq!(before, fs::read(other.join("checkpoint.safetensors")).unwrap());
    // A damaged one, too.
    fs::write(other.join("checkpoint.safetensors"), &before[..before.len() / 2]).unwrap();
    let output = xtask(&tiny("base", dir.path(), &["--seed", "1"])).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("checkpoint.safetensors"), "{}", stderr(&output));
}
