//! Zip archives whose numbers are not believed.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use zip::{CompressionMethod, ZipArchive, result::ZipError};

use crate::Error;

/// More than deflate can make of a byte (1032).
const MOST_INFLATED: u64 = 1100;

/// A zip archive on disk.
pub(super) struct Archive {
    path: PathBuf,
    format: &'static str,
    zip: ZipArchive<BufReader<File>>,
    file_len: u64,
    /// Bytes of the file that entries were read from: overlapping ones would make a small file large.
    used: u64,
}

/// An entry of an [`Archive`] that can be as long as it says.
pub(super) struct Entry<'a> {
    pub(super) reader: Box<dyn Read + 'a>,
    pub(super) length: u64,
}

impl Archive {
    /// Opens an archive; `format` is what the file should be, for messages.
    pub(super) fn open(path: &Path, format: &'static str) -> Result<Self, Error> {
        let io_error = |source| Error::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io_error)?;
        let file_len = file.metadata().map_err(io_error)?.len();
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|e| error(path, format, e))?;
        Ok(Archive { path: path.to_owned(), format, zip, file_len, used: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the whole file.
    pub(super) fn file_len(&self) -> u64 {
        self.file_len
    }

    /// The names of all entries that are text, in the order of the archive.
    pub(super) fn names(&self) -> Vec<String> {
        self.zip.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect()
    }

    /// An error that says what is wrong with the file.
    pub(super) fn wrong(&self, reason: impl Into<String>) -> Error {
        Error::Format { path: self.path.clone(), format: self.format, reason: reason.into() }
    }

    /// The entry of this name.
    ///
    /// # Errors
    /// If there is none, or its length is impossible.
    pub(super) fn entry(&mut self, name: &str) -> Result<Entry<'_>, Error> {
        let (path, format) = (self.path.clone(), self.format);
        let wrong = |reason| Error::Format { path: path.clone(), format, reason };
        let entry = self.zip.by_name(name).map_err(|e| match e {
            ZipError::FileNotFound => wrong(format!("it has no entry {name:?}")),
            other => error(&path, format, other),
        })?;
        let (length, packed) = (entry.size(), entry.compressed_size());
        self.used = self.used.saturating_add(packed);
        if self.used > self.file_len {
            return Err(wrong(format!("its entries overlap: {name:?} begins inside another one")));
        }
        let possible = match entry.compression() {
            CompressionMethod::Stored => length == packed,
            _ => length <= packed.saturating_mul(MOST_INFLATED),
        };
        if !possible {
            return Err(wrong(format!("{name:?} cannot have {length} bytes: {packed} are stored")));
        }
        Ok(Entry { reader: Box::new(entry), length })
    }
}

fn error(path: &Path, format: &'static str, source: ZipError) -> Error {
    let path = path.to_owned();
    match source {
        ZipError::Io(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            Error::Io { path, source }
        }
        ZipError::Io(_) => Error::Format { path, format, reason: "it is cut off".into() },
        other => {
            let text = other.to_string();
            let text = text.trim_start_matches("invalid Zip archive: ");
            Error::Format { path, format, reason: format!("as a zip archive: {text}") }
        }
    }
}
