//! The safetensors format: named tensors behind a JSON header.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use safetensors::{
    Dtype,
    tensor::{Metadata, TensorInfo},
};

use super::{stored::Stored, write_atomic};
use crate::{DType, Device, Error, MAX_RANK, Shape, Tensor};

const FORMAT: &str = "safetensors";

/// An opened safetensors file: names, dtypes and shapes are known, elements are read when asked for.
///
/// F64, F32, F16, BF16, I64 and U8 are read as they are, BOOL as U8 (0 and 1), the other integers but U64 as I64.
///
/// ```
/// use std::collections::BTreeMap;
/// use tensor::{Tensor, io};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("model.safetensors");
/// let weight = Tensor::new(&[1.0f32, 2.0], [2]);
/// io::write_safetensors(&path, [("weight", &weight)], &BTreeMap::new())?;
/// let file = io::SafetensorsFile::open(&path)?;
/// assert_eq!(file.tensor("weight")?.to_vec::<f32>(), [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    data_start: u64,
    /// By position in the file.
    keys: Vec<String>,
    entries: BTreeMap<String, TensorInfo>,
    metadata: BTreeMap<String, String>,
}

impl SafetensorsFile {
    /// Reads the header.
    ///
    /// # Errors
    /// If the file cannot be read, its header is not one, or the file is not as long as its header says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io_error = |source| Error::Io { path: path.to_owned(), source };
        let format_error = |reason| Error::Format { path: path.to_owned(), format: FORMAT, reason };
        let mut file = File::open(path).map_err(io_error)?;
        let file_len = file.metadata().map_err(io_error)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| format_error("it is shorter than the length of a header".into()))?;
        let header_len = u64::from_le_bytes(length);
        if header_len > file_len.saturating_sub(8) {
            return Err(format_error(format!(
                "a header of {header_len} bytes in a file of {file_len}"
            )));
        }
        let mut header = vec![0; header_len as usize];
        file.read_exact(&mut header).map_err(io_error)?;
        let header: Metadata =
            serde_json::from_slice(&header).map_err(|e| format_error(e.to_string()))?;
        let (expected, found) = (header.data_len() as u64, file_len - 8 - header_len);
        if expected != found {
            return Err(Error::Length { path: path.to_owned(), expected, found });
        }
        if let Some((key, info)) = header.tensors().iter().find(|(_, i)| too_long(&i.shape)) {
            return Err(format_error(format!("{key:?} has shape {:?}", info.shape)));
        }
        let entries =
            header.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(SafetensorsFile {
            path: path.to_owned(),
            data_start: 8 + header_len,
            keys: header.offset_keys(),
            entries,
            metadata,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names in the order of their data.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The texts that were stored beside the tensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    fn entry(&self, key: &str) -> Result<&TensorInfo, Error> {
        let common = |name: &str| {
            name.bytes().rev().zip(key.bytes().rev()).take_while(|(a, b)| a == b).count()
        };
        self.entries.get(key).ok_or_else(|| Error::MissingKey {
            path: self.path.clone(),
            key: key.to_owned(),
            count: self.keys.len(),
            similar: self.keys.iter().max_by_key(|name| common(name)).cloned(),
        })
    }

    /// The dtype and shape that [`tensor`](Self::tensor) will have, without reading it.
    ///
    /// # Errors
    /// If there is no such tensor, or none of that kind in this crate.
    pub fn info(&self, key: &str) -> Result<(DType, Shape), Error> {
        let info = self.entry(key)?;
        Ok((self.stored(key, info)?.dtype(), Shape::new(&info.shape)))
    }

    fn stored(&self, key: &str, info: &TensorInfo) -> Result<Stored, Error> {
        let unsupported =
            |found| Error::Unsupported { path: self.path.clone(), key: key.to_owned(), found };
        if info.shape.len() > MAX_RANK {
            return Err(unsupported(format!("a tensor of {} axes", info.shape.len())));
        }
        Ok(match info.dtype {
            Dtype::F64 => Stored::F64,
            Dtype::F32 => Stored::F32,
            Dtype::F16 => Stored::F16,
            Dtype::BF16 => Stored::BF16,
            Dtype::I64 => Stored::I64,
            Dtype::I32 => Stored::I32,
            Dtype::U32 => Stored::U32,
            Dtype::I16 => Stored::I16,
            Dtype::U16 => Stored::U16,
            Dtype::I8 => Stored::I8,
            Dtype::U8 => Stored::U8,
            Dtype::BOOL => Stored::Bool,
            other => return Err(unsupported(format!("of dtype {other}"))),
        })
    }

    /// Reads one tensor, on the CPU.
    ///
    /// # Errors
    /// If there is no such tensor, none of that kind in this crate, or reading fails.
    pub fn tensor(&self, key: &str) -> Result<Tensor, Error> {
        let info = self.entry(key)?;
        let stored = self.stored(key, info)?;
        let io_error = |source| Error::Io { path: self.path.clone(), source };
        let mut file = File::open(&self.path).map_err(io_error)?;
        let start = self.data_start + info.data_offsets.0 as u64;
        // The file may have changed since its header was read.
        let found = file.seek(SeekFrom::End(0)).map_err(io_error)?.saturating_sub(start);
        let expected = (info.data_offsets.1 - info.data_offsets.0) as u64;
        if found < expected {
            return Err(Error::Length { path: self.path.clone(), expected, found });
        }
        file.seek(SeekFrom::Start(start)).map_err(io_error)?;
        stored.read(&mut BufReader::new(file), Shape::new(&info.shape)).map_err(io_error)
    }

    /// Reads one tensor that must have this dtype and shape.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor), and if dtype or shape differ.
    pub fn tensor_of(
        &self,
        key: &str,
        dtype: DType,
        shape: impl Into<Shape>,
    ) -> Result<Tensor, Error> {
        let (found_dtype, found_shape) = self.info(key)?;
        let (path, key_name, expected) = (self.path.clone(), key.to_owned(), shape.into());
        if found_shape != expected {
            let (expected, found) = (expected.to_vec(), found_shape.to_vec());
            return Err(Error::Shape { path, key: key_name, expected, found });
        }
        if found_dtype != dtype {
            return Err(Error::DType { path, key: key_name, expected: dtype, found: found_dtype });
        }
        self.tensor(key)
    }

    /// Reads all tensors, in the order of [`keys`](Self::keys).
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>, Error> {
        self.keys.iter().map(|key| Ok((key.clone(), self.tensor(key)?))).collect()
    }
}

/// Whether the product of the lengths (zeros aside) overflows, which an empty tensor's number of bytes does not show.
fn too_long(shape: &[usize]) -> bool {
    Stored::U8.bytes(shape).is_none()
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

/// Writes named tensors and texts beside them; equal contents give equal bytes.
///
/// The order given is not kept: as the format's own writer does, wide elements come first, then names in
/// alphabetical order, so that all elements lie aligned. Tensors go to the file from where they are, whole or not at
/// all (see [`write_atomic`]).
///
/// # Errors
/// If the file cannot be written.
///
/// # Panics
/// If a name is given twice, or is `__metadata__`.
#[track_caller]
pub fn write_safetensors<'a, K: AsRef<str>>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (K, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let mut tensors: Vec<(K, &Tensor)> = tensors.into_iter().collect();
    tensors
        .sort_by(|(a, s), (b, t)| dtype(t).cmp(&dtype(s)).then_with(|| a.as_ref().cmp(b.as_ref())));
    let mut names = BTreeSet::from(["__metadata__"]);
    for (name, _) in &tensors {
        let name = name.as_ref();
        assert!(names.insert(name), "write_safetensors: name {name:?} is taken already");
    }
    // Names in the order of their data, as the format's own writer has them; texts in alphabetical order.
    let mut entries = Vec::new();
    if !metadata.is_empty() {
        entries.push(json("__metadata__", metadata));
    }
    let mut end = 0;
    for (name, tensor) in &tensors {
        let start = end;
        end += tensor.numel() * tensor.dtype().size();
        let info = TensorInfo {
            dtype: dtype(tensor),
            shape: tensor.dims().to_vec(),
            data_offsets: (start, end),
        };
        entries.push(json(name.as_ref(), info));
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    write_atomic(path, |file| -> io::Result<()> {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        tensors.iter().try_for_each(|(_, t)| {
            file.write_all(t.contiguous().to_device(Device::Cpu).dense_bytes())
        })
    })
}

/// `"name":value` in JSON.
fn json(name: &str, value: impl serde::Serialize) -> String {
    let text = |r: serde_json::Result<String>| r.expect("strings and numbers become JSON");
    format!("{}:{}", text(serde_json::to_string(name)), text(serde_json::to_string(&value)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::{Device, Stream};

    fn bytes(t: &Tensor) -> Vec<u8> {
        t.contiguous().to_device(Device::Cpu).dense_bytes().to_vec()
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
    }

    /// A file of a few tensors, and its bytes.
    fn sample(path: &Path) -> Vec<u8> {
        let x = Tensor::randn([3, 4], DType::F64, Device::Cpu, &mut Stream::new(1));
        let (half, mask) = (x.to_dtype(DType::F16), x.to_dtype(DType::U8));
        let all = [("x", &x), ("half", &half), ("mask", &mask)];
        write_safetensors(path, all, &texts(&[("note", "text"), ("a", "b")])).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn every_dtype_and_view_comes_back_with_its_bits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("all.safetensors");
        let x = Tensor::new(&[0.1f64, -0.0, f64::NAN, f64::INFINITY, 1e-310, 7.0], [2, 3]);
        let dtypes = [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I64, DType::U8];
        let mut tensors: Vec<_> = dtypes.iter().map(|d| (d.to_string(), x.to_dtype(*d))).collect();
        tensors.push(("transposed".into(), x.transpose(0, 1)));
        tensors.push(("scalar".into(), Tensor::scalar(3i64)));
        tensors.push(("empty".into(), Tensor::new::<u8>(&[], [0, 4])));
        let metadata = texts(&[("note", "text")]);
        write_safetensors(&path, tensors.iter().map(|(k, t)| (k, t)), &metadata).unwrap();
        let file = SafetensorsFile::open(&path).unwrap();
        assert_eq!(file.metadata(), &metadata);
        assert_eq!(file.keys().len(), tensors.len());
        for (name, tensor) in &tensors {
            let back = file.tensor_of(name, tensor.dtype(), tensor.shape()).unwrap();
            assert_eq!(bytes(&back), bytes(tensor), "{name}");
        }
        // The format's own writer gives the same bytes.
        let contents: Vec<_> =
            tensors.iter().map(|(k, t)| (k, dtype(t), t.dims().to_vec(), bytes(t))).collect();
        let views = contents.iter().map(|(k, dtype, dims, bytes)| {
            (k, safetensors::tensor::TensorView::new(*dtype, dims.clone(), bytes).unwrap())
        });
        let theirs = safetensors::serialize(views, Some(metadata.into_iter().collect())).unwrap();
        assert!(fs::read(&path).unwrap() == theirs, "not as safetensors writes it");
    }

    #[test]
    fn small_integers_become_i64_and_truth_values_0_and_1() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("small.safetensors");
        let header = r#"{"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BOOL","shape":[2],"data_offsets":[8,10]},"c":{"dtype":"U64","shape":[0],"data_offsets":[10,10]}}"#;
        let mut raw = (header.len() as u64).to_le_bytes().to_vec();
        raw.extend(header.as_bytes());
        raw.extend([255, 255, 255, 255, 7, 0, 0, 0, 2, 0]);
        fs::write(&path, raw).unwrap();
        let file = SafetensorsFile::open(&path).unwrap();
        assert_eq!(file.tensor("a").unwrap().to_vec::<i64>(), [-1, 7]);
        assert_eq!(file.tensor("b").unwrap().to_vec::<u8>(), [1, 0]);
        let message = file.tensor("c").unwrap_err().to_string();
        assert!(message.ends_with("c is of dtype U64, which is not supported"), "{message}");
    }

    #[test]
    fn errors_name_file_key_expected_and_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m.safetensors");
        sample(&path);
        let file = SafetensorsFile::open(&path).unwrap();
        let check =
            |e: Error, want: &str| assert_eq!(e.to_string(), format!("{}: {want}", path.display()));
        check(
            file.tensor("module.x").unwrap_err(),
            r#"no tensor "module.x" among 3 (names are like "x")"#,
        );
        let shape = file.tensor_of("x", DType::F64, [4, 3]).unwrap_err();
        check(shape, r#""x" has shape [3, 4], expected [4, 3]"#);
        let dtype = file.tensor_of("x", DType::F32, [3, 4]).unwrap_err();
        check(dtype, r#""x" is f64, expected f32"#);
        let raw = fs::read(&path).unwrap();
        fs::write(&path, &raw[..raw.len() - 5]).unwrap();
        let found = 3 * 4 * (8 + 2 + 1);
        check(
            SafetensorsFile::open(&path).unwrap_err(),
            &format!(
                "{} bytes of data, its header announces {found}; fetch or write it again",
                found - 5
            ),
        );
        assert!(matches!(file.tensor("mask"), Err(Error::Length { .. })));
    }

    #[test]
    fn an_empty_tensor_of_impossible_shape_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("huge.safetensors");
        let n = 1u64 << 40;
        let header =
            format!(r#"{{"a":{{"dtype":"F32","shape":[0,{n},{n}],"data_offsets":[0,0]}}}}"#);
        let raw = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        fs::write(&path, raw).unwrap();
        assert!(matches!(SafetensorsFile::open(&path), Err(Error::Format { .. })));
    }

    #[test]
    fn equal_contents_give_equal_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| sample(&directory.path().join(name)));
        assert_eq!(a, b);
    }

    #[test]
    #[should_panic(expected = "write_safetensors: name \"x\" is taken already")]
    fn a_name_given_twice_panics() {
        let t = Tensor::scalar(1.0f32);
        let _ = write_safetensors("nowhere", [("x", &t), ("x", &t)], &BTreeMap::new());
    }

    proptest! {
        #[test]
        fn broken_files_give_errors(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            keep in any::<prop::sample::Index>(),
            cut: bool,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("broken");
            // Once for all cases: syncing to the disk takes most of the time.
            static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut raw = WHOLE.get_or_init(|| sample(&path)).clone();
            for (at, byte) in changes {
                // Most changes hit the header, which is where harm can be done.
                let at = at.index(raw.len().min(300));
                raw[at] = byte;
            }
            if cut {
                raw.truncate(keep.index(raw.len()));
            }
            fs::write(&path, &raw).unwrap();
            if let Ok(file) = SafetensorsFile::open(&path) {
                for key in file.keys() {
                    let _ = file.tensor(key);
                }
            }
        }
    }
}
