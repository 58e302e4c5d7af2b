//! The program with CUDA: devices, and training on a stand-in for a GPU.

use std::process::{Command, Output, Stdio};

/// The program on a machine whose CUDA is the stand-in; `None`, with a printed reason, where it cannot be built.
fn on_stand_in(args: &[&str]) -> Option<Command> {
    let built = match cuda_stand_in::build() {
        Ok(built) => built,
        Err(reason) => {
            println!("skipped: {reason}");
            return None;
        }
    };
    let folder = built.driver.parent().expect("a file lies in a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(args).stdin(Stdio::null());
    command
        .env("LD_LIBRARY_PATH", folder)
        .env("CUDA_HOME", folder)
        .env_remove("CUDA_VISIBLE_DEVICES");
    Some(command)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn devices_are_listed() {
    let Some(mut command) = on_stand_in(&["devices"]) else { return };
    let listed = succeeds(command.output().expect("the program starts"));
    assert!(listed.starts_with("cpu "), "{listed}");
    assert!(listed.contains("cuda:3  stand-in without a GPU, threads shuffled"), "{listed}");
    assert!(listed.contains("driver for CUDA 13.0, kernels compiled by NVRTC"), "{listed}");
}

#[test]
fn a_missing_gpu_is_an_error_with_a_reason() {
    let run = |device: &str| {
        let args = ["reproduce", "sudoku", "--dry-run", "--device", device];
        let output = on_stand_in(&args)?.env("CUDA_VISIBLE_DEVICES", "").output();
        Some(output.expect("the program starts"))
    };
    for (device, reason) in [("cuda", "shows no GPU"), ("gpu", "expected cpu, cuda or cuda:N")] {
        let Some(output) = run(device) else { return };
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.starts_with(&format!("error: --device {device}: ")), "{message}");
        assert!(message.contains(reason), "{message}");
    }
    let mut devices = on_stand_in(&["devices"]).expect("it was built above");
    let devices = devices.env("CUDA_VISIBLE_DEVICES", "").output().expect("the program starts");
    assert!(
        succeeds(devices)
            .contains("cuda    not available: the NVIDIA driver is there but shows no GPU")
    );
}

/// A net is trained, evaluated and reported; its results lie beside those of the CPU.
#[test]
fn an_experiment_runs_on_a_gpu() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let results = folder.path().to_str().expect("an ordinary path");
    let sizes = ["blocks=1", "channels=8", "epochs=2", "train=100", "test=20"];
    let mut args =
        vec!["reproduce", "sudoku", "--quiet", "--results", results, "--condition", "lp2"];
    args.extend(sizes.iter().flat_map(|s| ["--set", s]));
    args.extend(["--device", "cuda:1"]);
    let Some(mut command) = on_stand_in(&args) else { return };
    let printed = succeeds(command.output().expect("the program starts"));
    assert!(printed.contains("report written to"), "{printed}");
    assert!(printed.contains("device=cuda:1"), "{printed}");
}
