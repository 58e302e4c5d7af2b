//! `cargo xtask ci`: rules of the repository that a program can check.

use std::process::Command;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use crate::failure::{Outcome, say};

/// The crates from bottom to top, and what each may use. Dev-dependencies count too: a test may not turn the house around.
const LAYERS: &[(&str, &[&str])] = &[
    ("cuda-stand-in", &[]),
    ("tensor", &["cuda-stand-in"]),
    ("autograd", &["tensor"]),
    ("nn-derive", &[]),
    ("nn", &["tensor", "autograd", "nn-derive"]),
    ("lpconv", &["cuda-stand-in", "tensor", "autograd", "nn"]),
    ("vision", &["tensor", "autograd", "nn", "lpconv"]),
    ("neuro", &["tensor", "autograd", "nn", "lpconv", "vision"]),
    ("xtask", &["cuda-stand-in", "tensor", "autograd", "nn", "lpconv", "vision", "neuro"]),
];

/// Runs all checks.
///
/// # Errors
/// A sentence for every rule that is broken.
pub fn run() -> Outcome {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .context("running cargo metadata")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(anyhow!("cargo metadata: {message}").into());
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("reading what cargo metadata printed")?;
    let broken = layer_violations(&metadata);
    if broken.is_empty() {
        let crates = metadata["packages"].as_array().map_or(0, Vec::len);
        say!("layers: {crates} crates use only what is below them");
        Ok(())
    } else {
        Err(anyhow!("{}", broken.join("\n")).into())
    }
}

/// Every use of a crate by one that may not use it, from the output of `cargo metadata`.
fn layer_violations(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
    let members: Vec<String> = packages.iter().map(name).collect();
    let mut broken = Vec::new();
    for package in packages {
        let user = name(package);
        let Some((_, allowed)) = LAYERS.iter().find(|(crate_name, _)| *crate_name == user) else {
            broken
                .push(format!("layers: crate {user} has no place in the house (xtask/src/ci.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().map_or(&[][..], Vec::as_slice) {
            let used = name(dependency);
            // A crate may name itself in dev-dependencies, to switch a feature on for its tests.
            if members.contains(&used) && used != user && !allowed.contains(&used.as_str()) {
                broken.push(format!("layers: {user} uses {used}, which is not below it"));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_looks_up_is_found() {
        let metadata: Value = serde_json::json!({"packages": [
            {"name": "tensor", "dependencies": [{"name": "rayon"}, {"name": "nn"}]},
            {"name": "nn", "dependencies": [{"name": "tensor"}]},
            {"name": "attic", "dependencies": []},
        ]});
        assert_eq!(
            layer_violations(&metadata),
            [
                "layers: tensor uses nn, which is not below it",
                "layers: crate attic has no place in the house (xtask/src/ci.rs)"
            ]
        );
    }

    #[test]
    fn this_repository_keeps_its_layers() {
        run().unwrap();
    }
}
