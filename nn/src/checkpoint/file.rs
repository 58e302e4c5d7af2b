//! Safetensors files, written whole or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use half::{bf16, f16};
use safetensors::{
    Dtype, SafeTensors,
    tensor::{Metadata, TensorInfo, TensorView},
};
use tensor::{DType, Device, Element, MAX_RANK, Tensor};

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

fn to_tensor(path: &Path, name: &str, view: &TensorView) -> Result<Tensor> {
    fn of<T: Element>(view: &TensorView) -> Tensor {
        // The header has any length, so elements may start at any address.
        let elements = view.data().chunks_exact(size_of::<T>());
        let elements: Vec<T> = elements.map(bytemuck::pod_read_unaligned).collect();
        Tensor::new(&elements, view.shape())
    }
    let unsupported = |found| Error::Unsupported { path: path.to_owned(), key: name.into(), found };
    if view.shape().len() > MAX_RANK {
        return Err(unsupported(format!("of shape {:?}", view.shape())));
    }
    Ok(match view.dtype() {
        Dtype::F32 => of::<f32>(view),
        Dtype::F64 => of::<f64>(view),
        Dtype::BF16 => of::<bf16>(view),
        Dtype::F16 => of::<f16>(view),
        Dtype::I64 => of::<i64>(view),
        Dtype::U8 | Dtype::BOOL => of::<u8>(view),
        other => return Err(unsupported(format!("of dtype {other}"))),
    })
}

fn dtype(tensor: &Tensor) -> Dtype {
    match tensor.dtype() {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::BF16 => Dtype::BF16,
        DType::F16 => Dtype::F16,
        DType::I64 => Dtype::I64,
        DType::U8 => Dtype::U8,
    }
}

/// Writes named tensors and one metadata entry; equal contents give equal bytes.
///
/// Tensors go straight from where they are to the file: a checkpoint may be as large as what memory is left.
pub(super) fn write<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>,
    (key, text): (&str, &str),
) -> Result<()> {
    let mut tensors: Vec<_> = tensors.into_iter().collect();
    // The order of safetensors' own writer: wide elements first, so that all lie aligned.
    tensors.sort_by(|(a, s), (b, t)| dtype(t).cmp(&dtype(s)).then(a.cmp(b)));
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += tensor.numel() * tensor.dtype().size();
        let (dtype, shape) = (dtype(tensor), tensor.dims().to_vec());
        ((*name).clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
    });
    let metadata = HashMap::from([(key.to_owned(), text.to_owned())]);
    let header = Metadata::new(Some(metadata), infos.collect()).expect("offsets follow each other");
    let mut header = serde_json::to_vec(&header).expect("strings and numbers become JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    replace(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, tensor)| with_bytes(tensor, |bytes| file.write_all(bytes)))
    })
}

/// Finds out whether a file could be written at `path`, before there is something to lose.
pub(super) fn probe(path: &Path) -> Result<()> {
    let temporary = temporary(path);
    let made = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary);
    made.and_then(|_| fs::remove_file(&temporary)).map_err(|source| io_error(path, source))
}

/// What a file holds.
pub(super) struct Contents {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) metadata: HashMap<String, String>,
}

/// Reads everything.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let bytes = fs::read(path).map_err(|source| io_error(path, source))?;
    let broken = |e: safetensors::SafeTensorError| damaged(path, e.to_string());
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let tensors = file.iter().map(|(name, view)| {
        let tensor = to_tensor(path, name, &view)?;
        Ok((name.to_owned(), tensor))
    });
    let metadata = header.metadata().clone().unwrap_or_default();
    Ok(Contents { tensors: tensors.collect::<Result<_>>()?, metadata })
}

fn io_error(path: &Path, source: io::Error) -> Error {
    Error::Io { path: path.to_owned(), source }
}

/// Lets `fill` write a temporary file beside `path`, syncs it and renames it over `path`.
fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let temporary = temporary(path);
    let result = write_synced(&temporary, fill).and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
    }
    result.map_err(|source| io_error(path, source))?;
    sync_directory(path);
    Ok(())
}

/// A fixed name: one trainer writes one checkpoint, and what a kill leaves behind is overwritten, not piled up.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    path.with_file_name(name)
}

fn write_synced(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut writer = BufWriter::new(&file);
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    file.sync_all()
}

/// The new name is on the disk only when the directory is; not every file system can do that, hence no error.
fn sync_directory(path: &Path) {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    if let Ok(directory) = File::open(parent.unwrap_or(Path::new("."))) {
        let _ = directory.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names_in(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn every_dtype_and_layout_comes_back_with_its_bits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.safetensors");
        let x = Tensor::new(&[0.1f64, -0.0, f64::NAN, f64::INFINITY, 1e-310, 7.0], [2, 3]);
        let dtypes = [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I64, DType::U8];
        let mut tensors: Vec<_> = dtypes.iter().map(|d| (d.to_string(), x.to_dtype(*d))).collect();
        tensors.push(("transposed".into(), x.transpose(0, 1)));
        tensors.push(("scalar".into(), Tensor::scalar(3i64)));
        tensors.push(("empty".into(), Tensor::new::<u8>(&[], [0, 4])));
        write(&path, tensors.iter().map(|(n, t)| (n, t)), ("note", "text")).unwrap();
        let found = read(&path).unwrap();
        assert_eq!(found.metadata["note"], "text");
        assert_eq!(found.tensors.len(), tensors.len());
        for (name, tensor) in &tensors {
            let back = &found.tensors[name];
            assert_eq!((back.shape(), back.dtype()), (tensor.shape(), tensor.dtype()), "{name}");
            let bytes = |t| with_bytes(t, <[u8]>::to_vec);
            assert_eq!(bytes(back), bytes(tensor), "{name}");
        }
        let views = found.tensors.iter().map(|(name, t)| {
            let bytes = with_bytes(t, <[u8]>::to_vec);
            (name, (dtype(t), t.dims().to_vec(), bytes))
        });
        let views: Vec<_> = views.collect();
        let views = views.iter().map(|(name, (d, dims, bytes))| {
            (name, TensorView::new(*d, dims.clone(), bytes).unwrap())
        });
        let metadata = HashMap::from([("note".to_owned(), "text".to_owned())]);
        let reference = safetensors::serialize(views, Some(metadata)).unwrap();
        assert!(fs::read(&path).unwrap() == reference, "not as safetensors writes it");
    }

    #[test]
    fn a_full_disk_keeps_the_old_file_and_names_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.safetensors");
        replace(&path, |f| f.write_all(b"old")).unwrap();
        let error = replace(&path, |f| {
            f.write_all(b"half of the n")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        let message = error.unwrap_err().to_string();
        assert!(message.contains("run.safetensors: no storage space"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names_in(directory.path()), ["run.safetensors"]);
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
        let message = save(Dtype::I32, &[2], &[0; 8]);
        assert!(
            message.contains(r#"foreign.safetensors: "w" is of dtype I32; supported"#),
            "{message}"
        );
        let message = save(Dtype::U8, &[1; 12], &[0]);
        assert!(message.contains("of shape [1, 1, 1"), "{message}");
    }
}
