//! Files that are either the old or the new one, never half of each.
//!
//! A job may die at any byte, and two jobs may write beside each other; whoever reads `results/` must not care.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file could not be written; what stood at `path` before is untouched.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot write {bytes} bytes ({step}): {source}; the file that was there before, if any, is unchanged", path.display())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// How many bytes it was to hold.
    pub bytes: usize,
    /// What was being done: creating, writing, syncing or renaming the temporary file.
    pub step: &'static str,
    /// The operating system's answer.
    pub source: io::Error,
}

/// Writes `bytes` to `path` so that a reader sees the old file or the new one, never a part.
///
/// The bytes go to a temporary file in the same directory, which is synced to the disk and then renamed over `path`.
/// The directory must exist.
///
/// # Errors
///
/// [`WriteError`] when any step fails (a full disk, a missing directory, no permission); the temporary file is removed.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    replace(path, |file| file.write_all(bytes)).map_err(|(step, source)| WriteError {
        path: path.to_owned(),
        bytes: bytes.len(),
        step,
        source,
    })
}

/// Lets `fill` write a temporary file and renames it over `path`; on an error names the step that failed.
fn replace(
    path: &Path,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), (&'static str, io::Error)> {
    let (mut file, temporary) =
        create_beside(path).map_err(|error| ("creating a temporary file beside it", error))?;
    let written = fill(&mut file)
        .map_err(|error| ("writing the temporary file", error))
        .and_then(|()| file.sync_all().map_err(|error| ("syncing the temporary file", error)));
    drop(file); // Windows cannot rename an open file
    let renamed = written.and_then(|()| {
        std::fs::rename(&temporary, path)
            .map_err(|error| ("renaming the temporary file over it", error))
    });
    if renamed.is_err() {
        // The first error is the one to report; a temporary file that cannot be removed changes nothing about it.
        let _ = std::fs::remove_file(&temporary);
        return renamed;
    }
    // The name itself is safe only once the directory is on the disk. Not every file system can sync a directory,
    // and the data is already where it belongs, so this is a best effort.
    #[cfg(unix)]
    if let Ok(directory) = File::open(directory_of(path)) {
        let _ = directory.sync_all();
    }
    Ok(())
}

/// A new, empty file in the directory of `path` whose name no other process or thread has taken.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let mut attempt = 0u32;
    loop {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temporary = directory_of(path).join(hidden);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            // Left behind by a killed process with our id, or in use by another thread of ours.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 10_000 => {
                attempt += 1
            }
            Err(error) => return Err(error),
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_the_old_file_and_leaves_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table.tsv");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new and longer").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new and longer");
        assert_eq!(names_in(directory.path()), ["table.tsv"]);
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_no_temporary_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("table.tsv");
        write_atomic(&path, b"old").unwrap();
        let (step, error) = replace(&path, |file| {
            file.write_all(b"half of the n")?;
            Err(io::ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(step, "writing the temporary file");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names_in(directory.path()), ["table.tsv"]);
    }

    #[test]
    fn a_directory_in_the_way_is_an_error_and_cleans_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        let error = write_atomic(&path, b"1234").unwrap_err();
        assert_eq!((error.bytes, error.step), (4, "renaming the temporary file over it"));
        assert_eq!(names_in(directory.path()), ["taken"]);
    }

    #[test]
    fn errors_name_path_and_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let message = write_atomic(&directory.path().join("missing/figure.svg"), b"12345")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("missing/figure.svg: cannot write 5 bytes (creating"),
            "{message}"
        );
    }

    #[test]
    fn many_threads_may_write_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shared");
        std::thread::scope(|scope| {
            for i in 0..8u8 {
                let path = &path;
                scope.spawn(move || write_atomic(path, &[i; 1000]).unwrap());
            }
        });
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes.len() == 1000 && bytes.iter().all(|b| *b == bytes[0]));
        assert_eq!(names_in(directory.path()), ["shared"]);
    }
}
