//! What checkpoints need of [`tensor::io`], with this crate's errors.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    path::Path,
};

use half::{bf16, f16};
use tensor::{
    DType, Device, Tensor,
    io::{SafetensorsFile, write_safetensors},
};

use super::damaged;
use crate::{Error, Result};

/// Calls `f` with the elements in row-major order as they stand in a file (little-endian).
pub(super) fn with_bytes<R>(tensor: &Tensor, f: impl FnOnce(&[u8]) -> R) -> R {
    let tensor = tensor.to_device(Device::Cpu).contiguous();
    match tensor.dtype() {
        DType::F32 => f(bytemuck::cast_slice(tensor.as_slice::<f32>())),
        DType::F64 => f(bytemuck::cast_slice(tensor.as_slice::<f64>())),
        DType::BF16 => f(bytemuck::cast_slice(tensor.as_slice::<bf16>())),
        DType::F16 => f(bytemuck::cast_slice(tensor.as_slice::<f16>())),
        DType::I64 => f(bytemuck::cast_slice(tensor.as_slice::<i64>())),
        DType::U8 => f(tensor.as_slice::<u8>()),
    }
}

/// Writes named tensors and one metadata entry; equal contents give equal bytes.
pub(super) fn write<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>,
    (key, text): (&str, &str),
) -> Result<()> {
    let metadata = BTreeMap::from([(key.to_owned(), text.to_owned())]);
    write_safetensors(path, tensors, &metadata).map_err(|e| error(path, e))
}

/// Finds out whether a file could be written at `path`, before there is something to lose.
pub(super) fn probe(path: &Path) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".probe");
    let temporary = path.with_file_name(name);
    let made = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary);
    made.and_then(|_| fs::remove_file(&temporary))
        .map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// What a file holds.
pub(super) struct Contents {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) metadata: BTreeMap<String, String>,
}

/// Reads everything.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let read = || {
        let file = SafetensorsFile::open(path)?;
        let tensors = file.tensors()?.into_iter().collect();
        Ok(Contents { tensors, metadata: file.metadata().clone() })
    };
    read().map_err(|e| error(path, e))
}

fn error(path: &Path, e: tensor::Error) -> Error {
    let path_buf = path.to_owned();
    match e {
        tensor::Error::Io { source, .. } | tensor::Error::Write { source, .. } => {
            Error::Io { path: path_buf, source }
        }
        tensor::Error::Unsupported { key, found, .. } => {
            Error::Unsupported { path: path_buf, key, found }
        }
        tensor::Error::Format { reason, .. } => damaged(path, reason),
        tensor::Error::Length { expected, found, .. } => damaged(
            path,
            format!("{found} bytes of data instead of the {expected} its header announces"),
        ),
        other => damaged(path, other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::{Dtype, tensor::TensorView};

    use super::*;

    #[test]
    fn a_missing_directory_is_found_before_training() {
        let directory = tempfile::tempdir().unwrap();
        let message =
            probe(&directory.path().join("none/run.safetensors")).unwrap_err().to_string();
        assert!(message.contains("none/run.safetensors: "), "{message}");
        probe(&directory.path().join("run.safetensors")).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn tensors_that_have_no_type_here_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("foreign.safetensors");
        let save = |dtype, shape: &[usize], data: &[u8]| {
            let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
            fs::write(&path, safetensors::serialize([("w", view)], None).unwrap()).unwrap();
            read(&path).err().unwrap().to_string()
        };
        let message = save(Dtype::U64, &[1], &[0; 8]);
        assert!(
            message.contains(r#"foreign.safetensors: "w" is of dtype U64; supported"#),
            "{message}"
        );
        let message = save(Dtype::U8, &[1; 12], &[0]);
        assert!(message.contains("is a tensor of 12 axes; supported"), "{message}");
    }
}
