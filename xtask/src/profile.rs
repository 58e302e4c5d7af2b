//! `--profile FILE` and `--trace-nan`: watch the ops of whatever a command runs.

use std::path::Path;

use anyhow::anyhow;
use autograd::{
    profile::profile,
    trace::{NanTrace, watched},
};
use tensor::io::write_atomic;

use crate::failure::say;

/// Runs `f`, writes a Chrome trace of the ops it ran to `file` (see <https://ui.perfetto.dev>) and prints what each op cost.
///
/// # Errors
/// If the file cannot be written; this is tried before `f` runs.
pub fn profiled<T>(file: &Path, f: impl FnOnce() -> T) -> anyhow::Result<T> {
    // The error names the file, and its text the system's reason: not as its source once more.
    let write = |text: &str| {
        let written = write_atomic(file, |w| w.write_all(text.as_bytes()));
        written.map_err(|error| match error {
            tensor::Error::Write { path, source } => {
                anyhow!("--profile {}: {source}", path.display())
            }
            other => other.into(),
        })
    };
    // Not after hours of work.
    write("")?;
    let (result, profile) = profile(f);
    write(&profile.chrome_trace())?;
    say!("{}profile written to {}", profile.table(), file.display());
    Ok(result)
}

/// Runs `f` and prints which op made the first NaN or infinity, forward or backward, and in which layer.
pub fn nan_traced<T>(f: impl FnOnce() -> T) -> T {
    let (result, trace) = watched(NanTrace::default(), f);
    match trace.found() {
        Some(bad) => say!("{bad}"),
        None => say!("no op made a NaN or an infinity of finite numbers"),
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use autograd::Var;
    use tensor::Tensor;

    #[test]
    fn a_profile_is_written_and_a_bad_place_found_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("trace.json");
        let x = Var::leaf(Tensor::new(&[1.0f32, 2.0], [2]));
        let y = profiled(&file, || x.exp().sum()).unwrap();
        assert_eq!(y.dims(), [0usize; 0]);
        let text = std::fs::read_to_string(&file).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["traceEvents"][0]["name"], "exp");
        let nowhere = folder.path().join("no such folder").join("trace.json");
        let error = profiled(&nowhere, || panic!("must not run")).unwrap_err();
        let message = format!("{error:#}");
        assert_eq!(message.matches("No such file").count(), 1, "{message}");
    }
}
