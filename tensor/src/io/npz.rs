//! NumPy's npz format: a zip archive of npy files.

use std::path::Path;

use super::{archive::Archive, npy::read_npy_from};
use crate::{Error, Tensor};

/// Reads all arrays of an npz file, compressed or not, on the CPU, under their names (without `.npy`).
///
/// Dtypes as in [`read_npy`](super::read_npy).
///
/// # Errors
/// If the file cannot be read, is no zip archive of npy files, or an array is damaged or of a kind this crate has no tensor for
/// (the path in the message then ends in the array's name).
pub fn read_npz(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, Error> {
    let mut archive = Archive::open(path.as_ref(), "npz")?;
    let mut arrays = Vec::new();
    for entry_name in archive.names() {
        let Some(name) = entry_name.strip_suffix(".npy") else {
            return Err(archive.wrong(format!("its entry {entry_name:?} is no npy file")));
        };
        let inside = archive.path().join(&entry_name);
        let mut entry = archive.entry(&entry_name)?;
        let array = read_npy_from(&inside, &mut entry.reader, entry.length)?;
        arrays.push((name.to_owned(), array));
    }
    if arrays.is_empty() {
        return Err(archive.wrong("it holds no array"));
    }
    Ok(arrays)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// Files that NumPy wrote; see `make.py` beside them.
    fn data(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    #[test]
    fn stored_and_compressed_arrays_are_read() {
        let arrays = read_npz(data("arrays.npz")).unwrap();
        let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["plain", "scalar", "fortran"]);
        assert_eq!(arrays[0].1.to_vec::<f32>(), [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25]);
        assert_eq!(arrays[1].1.item(), -7.0);
        let compressed = read_npz(data("arrays_compressed.npz")).unwrap();
        for ((name, a), (_, b)) in arrays.iter().zip(&compressed) {
            assert_eq!((a.dims(), a.to_f64_vec()), (b.dims(), b.to_f64_vec()), "{name}");
        }
        assert_eq!(compressed[3].1.dims(), [64, 64]);
    }

    #[test]
    fn other_archives_are_errors() {
        let message = read_npz(data("state.pth")).unwrap_err().to_string();
        assert!(message.contains("state.pth: not a valid npz file: its entry "), "{message}");
        let message = read_npz(data("make.py")).unwrap_err().to_string();
        assert!(message.contains("make.py: not a valid npz file: as a zip archive: "), "{message}");
    }
}
