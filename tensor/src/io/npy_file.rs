//! [`NpyFile`]: an npy file of which parts are read when they are needed.

use std::{
    fs::File,
    io::{BufReader, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::npy::Array;
use crate::{Error, Shape, Tensor};

/// An npy file too large for memory (hours of video), read by rows: slices of its first axis.
///
/// The operating system keeps what was read lately in its page cache, as it would for a memory mapping; but no `unsafe` is
/// needed, and a file cut short while it is used gives an error where a mapping ends the program with a signal. Several
/// threads may read.
#[derive(Debug)]
pub struct NpyFile {
    path: PathBuf,
    array: Array,
    file: Mutex<File>,
}

impl NpyFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// As [`read_npy`](super::read_npy), and if the array is in Fortran order, in which a row is not in one place, or has no
    /// axes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        let io_error = |source| Error::Io { path: path.clone(), source };
        let mut file = File::open(&path).map_err(io_error)?;
        let length = file.metadata().map_err(io_error)?.len();
        let array = Array::open(&path, &mut BufReader::new(&mut file), length)?;
        let found = match (&array.shape[..], array.fortran_order) {
            ([], _) => "without axes, so it has no rows".to_owned(),
            ([_], _) | (_, false) => return Ok(NpyFile { path, array, file: Mutex::new(file) }),
            _ => "in Fortran order; save numpy.ascontiguousarray(array)".to_owned(),
        };
        Err(Error::Unsupported { path, key: "array".into(), found })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lengths of all axes.
    pub fn dims(&self) -> &[usize] {
        &self.array.shape
    }

    /// Rows `[rows.len(), …]`, on the CPU, in the dtype that [`read_npy`](super::read_npy) would give.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter.
    ///
    /// # Panics
    /// If there are not so many rows.
    #[track_caller]
    pub fn rows(&self, rows: Range<usize>) -> Result<Tensor, Error> {
        let dims = self.dims();
        assert!(
            rows.start <= rows.end && rows.end <= dims[0],
            "NpyFile: rows {rows:?} of an array of shape {dims:?}"
        );
        let row: usize = dims[1..].iter().product::<usize>() * self.array.stored.size();
        let mut shape = dims.to_vec();
        shape[0] = rows.len();
        let start = self.array.start + (rows.start * row) as u64;
        // A thread that panicked while it held the file has left nothing behind: every read seeks first.
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))
            .and_then(|_| self.array.stored.read(&mut *file, Shape::new(&shape)))
            .map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, io::write_npy};

    #[test]
    fn rows_are_those_of_the_whole_array() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.npy");
        let values: Vec<f64> = (0..60).map(f64::from).collect();
        let whole = Tensor::new(&values, [5, 3, 4]);
        for dtype in [DType::F32, DType::F16, DType::U8, DType::I64] {
            write_npy(&path, &whole.to_dtype(dtype)).unwrap();
            let file = NpyFile::open(&path).unwrap();
            assert_eq!(file.dims(), [5, 3, 4]);
            let rows = file.rows(1..3).unwrap();
            assert_eq!((rows.dims(), rows.dtype()), (&[2, 3, 4][..], dtype));
            assert_eq!(rows.to_f64_vec(), values[12..36]);
            assert_eq!(file.rows(4..4).unwrap().numel(), 0);
        }
    }

    #[test]
    fn a_file_cut_short_while_it_is_open_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.npy");
        write_npy(&path, &Tensor::new(&[1.0f32; 20], [5, 4])).unwrap();
        let file = NpyFile::open(&path).unwrap();
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 8).unwrap();
        file.rows(0..4).unwrap();
        let message = file.rows(4..5).unwrap_err().to_string();
        assert!(message.contains("video.npy"), "{message}");
        let message = NpyFile::open(&path).unwrap_err().to_string();
        assert!(message.contains("video.npy"), "{message}");
    }

    #[test]
    fn columns_first_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f.npy");
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }\n";
        let mut raw = b"\x93NUMPY\x01\x00".to_vec();
        raw.extend((header.len() as u16).to_le_bytes());
        raw.extend(header.as_bytes());
        raw.extend([0; 6]);
        std::fs::write(&path, raw).unwrap();
        let message = NpyFile::open(&path).unwrap_err().to_string();
        assert!(message.contains("ascontiguousarray"), "{message}");
    }
}
