//! `cargo xtask verify` as a user runs it: what it prints, and its exit codes.

use std::process::{Command, Output};

fn verify(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("verify").args(args).output().expect("the program starts")
}

/// A failed run: exit code 1 or 2 and one sentence.
#[track_caller]
fn fails(args: &[&str], code: i32, expected: &str) {
    let output = verify(args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(message.contains(expected) && !message.contains("panicked"), "{args:?}: {message}");
}

#[track_caller]
fn prints(args: &[&str]) -> String {
    let output = verify(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn one_family_passes_and_is_counted() {
    let text = prints(&["--filter", "ops/conv2d/"]);
    assert!(text.contains("ops/conv2d  23      0       0"), "{text}");
    let text = prints(&["--filter", "weight_decay_groups"]);
    assert!(text.contains("optim/weight_decay_groups  3       0       0"), "{text}");
}

#[test]
fn json_is_json() {
    let text = prints(&["--filter", "ops/unary/", "--json"]);
    let summary: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(summary["families"][0]["passed"], 27);
    assert_eq!(summary["failures"], serde_json::json!([]));
}

#[test]
fn gradients_are_checked() {
    let text = prints(&["--gradients", "--cases", "3", "--filter", "conv2d"]);
    assert!(text.contains("\n3 ops, 9 cases of first and 9 of second order, 0 failed\n"), "{text}");
}

#[test]
fn wrong_words_and_missing_files_are_told() {
    fails(&["--goldens", "/no/such/folder"], 1, "error: /no/such/folder is not a directory");
    fails(&["--filter", "no such case"], 1, "error: no case's name contains \"no such case\"");
    fails(&["--gradients", "--filter", "no such op"], 1, "error: no op's name contains");
    fails(&["--cases", "3"], 2, "--gradients");
    fails(&["--gradients", "--cases", "0"], 2, "--cases 0: expected at least 1");
    fails(&["--trim", "/tmp"], 2, "--goldens <DIR>");
}

/// A manifest that is off by one number fails, and says where.
#[test]
fn a_wrong_expectation_exits_with_1() {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/goldens");
    let copy = tempfile::tempdir().expect("a temporary folder");
    for file in std::fs::read_dir(source).expect("goldens") {
        let path = file.expect("an entry").path();
        std::fs::copy(&path, copy.path().join(path.file_name().expect("a name"))).expect("a copy");
    }
    let manifest = copy.path().join("manifest.json");
    let text = std::fs::read_to_string(&manifest).expect("the manifest");
    let wrong =
        text.replace(r#""attrs":{"min":-0.7,"max":0.9}"#, r#""attrs":{"min":-0.7,"max":0.8}"#);
    assert_ne!(wrong, text);
    std::fs::write(&manifest, wrong).expect("written");
    let args = ["--goldens", copy.path().to_str().expect("plain"), "--filter", "clamp"];
    fails(&args, 1, "error: 1 of 1 cases failed");
    let text = String::from_utf8(verify(&args).stdout).expect("text");
    assert!(text.contains("ops/unary/clamp (f64) out.y: at ["), "{text}");
}
