//! A lock on a trial, so that several processes can share one results folder.
//!
//! The operating system holds the lock for the process and lets go of it when the process ends, however it ends: a lock of a
//! dead process is none. The file says who holds it, for people.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Write as _},
    path::Path,
};

use anyhow::Context as _;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who else holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder(pub String);

impl Lock {
    /// The lock of the file at `path`, whose folder has to exist, or who holds it.
    ///
    /// # Errors
    /// If the file cannot be made or locked at all.
    pub fn take(path: &Path) -> anyhow::Result<Result<Lock, Holder>> {
        let named = || path.display().to_string();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(named)?;
        match file.try_lock() {
            Ok(()) => {
                file.set_len(0).with_context(named)?;
                writeln!(file, "process {} on {}", std::process::id(), host())
                    .with_context(named)?;
                Ok(Ok(Lock { file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Some systems do not let others read a locked file; the name is a courtesy.
                let _ = file.read_to_string(&mut text);
                let text = text.trim();
                Ok(Err(Holder(if text.is_empty() { "another process" } else { text }.to_owned())))
            }
            Err(TryLockError::Error(e)) => Err(e).with_context(named),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do it too, only later: children of this process may have the file open.
        let _ = self.file.unlock();
    }
}

/// The name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "this machine".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_holder_who_is_named_and_what_is_left_of_a_dead_one_is_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        std::fs::write(
            &path,
            "process 1 on a machine that is gone, with a longer name than ours\n",
        )
        .unwrap();
        let lock = Lock::take(&path).unwrap().unwrap();
        let holder = Lock::take(&path).unwrap().unwrap_err();
        assert!(holder.0.starts_with(&format!("process {} on ", std::process::id())), "{holder:?}");
        assert!(!holder.0.contains("gone"), "{holder:?}");
        drop(lock);
        assert!(Lock::take(&path).unwrap().is_ok());
        assert!(Lock::take(&dir.path().join("nowhere/lock")).is_err());
    }
}
