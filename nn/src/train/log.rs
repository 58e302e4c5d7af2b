//! The metrics log: one JSON object a line, each line once, whatever happens between.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{Error, Result};

/// A log that is appended to.
///
/// A checkpoint remembers how many lines it has seen; opening the log again cuts it there, and the run writes the
/// lines after it a second time (with the same values, but for the seconds).
pub(super) struct MetricsLog {
    path: PathBuf,
    file: File,
    lines: usize,
}

impl MetricsLog {
    /// Opens the log for writing after its first `keep` lines; the rest is cut off. `checkpoint` is for the error.
    pub(super) fn open(path: &Path, keep: usize, checkpoint: Option<&Path>) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io)?;
        let (found, bytes) = first_lines(&file, keep).map_err(io)?;
        if found < keep {
            return Err(Error::LogTooShort {
                path: path.to_owned(),
                checkpoint: checkpoint.map(Path::to_owned).unwrap_or_default(),
                expected: keep,
                found,
            });
        }
        file.set_len(bytes).map_err(io)?;
        Ok(MetricsLog { path: path.to_owned(), file, lines: keep })
    }

    /// Lines so far.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }

    /// Appends a line.
    pub(super) fn append(&mut self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(value).expect("strings and numbers become JSON");
        line.push('\n');
        // In one call, so that a reader who follows the file sees whole lines.
        self.file.write_all(line.as_bytes()).map_err(|source| self.error(source))?;
        self.lines += 1;
        Ok(())
    }

    /// Waits until all lines are on the disk: before a checkpoint says that they are.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

/// How many of the first `n` whole lines there are, and how many bytes they have.
fn first_lines(file: &File, n: usize) -> io::Result<(usize, u64)> {
    let mut reader = BufReader::new(file);
    let (mut found, mut bytes, mut line) = (0, 0, Vec::new());
    while found < n {
        line.clear();
        let read = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        found += 1;
        bytes += read as u64;
    }
    Ok((found, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reopening_cuts_what_the_checkpoint_has_not_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        std::fs::write(&path, "1\n2\n3\n{\"half a li").unwrap();
        let mut log = MetricsLog::open(&path, 2, None).unwrap();
        log.append(&30).unwrap();
        log.sync().unwrap();
        assert_eq!(log.lines(), 3);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1\n2\n30\n");
        MetricsLog::open(&path, 0, None).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_log_without_the_lines_of_the_checkpoint_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        std::fs::write(&path, "1\n2\nhalf").unwrap();
        let error = MetricsLog::open(&path, 3, Some(Path::new("run.safetensors"))).err().unwrap();
        let message = error.to_string();
        assert!(
            message.contains(
                "metrics.jsonl: 2 lines, but the checkpoint run.safetensors was written after 3;"
            ),
            "{message}"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_that_names_the_log() {
        let mut log = MetricsLog {
            path: "metrics.jsonl".into(),
            file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
            lines: 0,
        };
        let message = log.append(&1).unwrap_err().to_string();
        assert!(message.starts_with("metrics.jsonl: No space left on device"), "{message}");
        assert_eq!(log.lines(), 0);
    }
}
