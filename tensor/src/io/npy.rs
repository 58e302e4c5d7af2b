//! NumPy's npy format, versions 1 to 3: one array behind a header in Python's syntax.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use super::{stored::Stored, write_atomic};
use crate::{DType, Device, Error, MAX_RANK, Shape, Tensor};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// A real header takes about 100 bytes, one of a table with named columns a few thousand.
const MAX_HEADER: u64 = 1 << 20;

/// Reads an npy file, on the CPU.
///
/// `f8`, `f4`, `f2`, `i8`, `u1` are read as they are, `b1` as U8 (0 and 1), the other integers but `u8` as I64; all
/// little-endian, in C or Fortran order (the latter gives a transposed view). Bytes after the array are ignored, as
/// NumPy does.
///
/// # Errors
/// If the file cannot be read, is no npy file, is shorter than its header says, or holds an array this crate has no
/// tensor for.
pub fn read_npy(path: impl AsRef<Path>) -> Result<Tensor, Error> {
    let path = path.as_ref();
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let length = file.metadata().map_err(io_error)?.len();
    read_npy_from(path, &mut BufReader::new(file), length)
}

/// Reads an array in npy format from `reader`, which holds `length` bytes; `path` is for messages.
///
/// For arrays inside other files: an npz archive, a download.
///
/// # Errors
/// As [`read_npy`].
pub fn read_npy_from(path: &Path, reader: &mut dyn Read, length: u64) -> Result<Tensor, Error> {
    let array = Array::open(path, reader, length)?;
    let Array { stored, shape, .. } = &array;
    // What is long enough on paper may still end early inside an archive.
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::UnexpectedEof => format_error(path, "its data end early"),
        _ => Error::Io { path: path.to_owned(), source },
    };
    if !array.fortran_order {
        return stored.read(reader, Shape::new(shape)).map_err(io_error);
    }
    let reversed: Vec<usize> = shape.iter().rev().copied().collect();
    let axes: Vec<usize> = (0..reversed.len()).rev().collect();
    let tensor = stored.read(reader, Shape::new(&reversed)).map_err(io_error)?;
    Ok(tensor.permute(&axes))
}

fn format_error(path: &Path, reason: &str) -> Error {
    Error::Format { path: path.to_owned(), format: "npy", reason: reason.into() }
}

/// What a header says, checked against the length of its file.
#[derive(Debug)]
pub(super) struct Array {
    pub(super) stored: Stored,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
    /// Bytes before the first element.
    pub(super) start: u64,
}

impl Array {
    /// Reads the header; `reader` then stands before the first element.
    pub(super) fn open(path: &Path, reader: &mut dyn Read, length: u64) -> Result<Self, Error> {
        let format_error = |reason: &str| format_error(path, reason);
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(|_| format_error("it is shorter than 8 bytes"))?;
        if &start[..6] != MAGIC {
            return Err(format_error("it does not begin with NumPy's signature"));
        }
        let mut size = [0; 4];
        let size_len = match start[6] {
            1 => 2,
            2 | 3 => 4,
            other => return Err(format_error(&format!("version {other} is unknown"))),
        };
        reader
            .read_exact(&mut size[..size_len])
            .map_err(|_| format_error("it ends in the length of its header"))?;
        let header_len = u64::from(u32::from_le_bytes(size));
        let start = 8 + size_len as u64 + header_len;
        if header_len > MAX_HEADER || start > length {
            let reason = format!("a header of {header_len} bytes in a file of {length}");
            return Err(format_error(&reason));
        }
        let mut header = vec![0; header_len as usize];
        reader
            .read_exact(&mut header)
            .map_err(|source| Error::Io { path: path.to_owned(), source })?;
        let header =
            std::str::from_utf8(&header).map_err(|_| format_error("its header is no text"))?;
        let Header { descr, fortran_order, shape } = Header::parse(header)
            .ok_or_else(|| format_error(&format!("its header is {header:?}")))?;
        let unsupported =
            |found| Error::Unsupported { path: path.to_owned(), key: "array".into(), found };
        let stored = stored(&descr).ok_or_else(|| unsupported(format!("of dtype {descr}")))?;
        if shape.len() > MAX_RANK {
            return Err(unsupported(format!("of {} axes", shape.len())));
        }
        let expected = stored
            .bytes(&shape)
            .ok_or_else(|| format_error(&format!("shape {shape:?} is impossible")))?;
        let found = length - start;
        if found < expected {
            return Err(Error::Length { path: path.to_owned(), expected, found });
        }
        Ok(Array { stored, fortran_order, shape, start })
    }
}

/// The element type of a `descr`: byte order, kind, size.
fn stored(descr: &str) -> Option<Stored> {
    Some(match descr {
        "<f8" => Stored::F64,
        "<f4" => Stored::F32,
        "<f2" => Stored::F16,
        "<i8" => Stored::I64,
        "<i4" => Stored::I32,
        "<u4" => Stored::U32,
        "<i2" => Stored::I16,
        "<u2" => Stored::U16,
        "|i1" | "<i1" => Stored::I8,
        "|u1" | "<u1" => Stored::U8,
        "|b1" | "<b1" | "|?" => Stored::Bool,
        _ => return None,
    })
}

/// What stands in the header's dictionary.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }` in any order, `None` if it is not that.
    fn parse(text: &str) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" if value.starts_with('[') => {
                    // A table with named columns: its description as a whole, for the message.
                    let (columns, after) = value.split_at(value.rfind(']')? + 1);
                    descr = Some(columns.to_owned());
                    after
                }
                "descr" => {
                    let (name, after) = quoted(value)?;
                    descr = Some(name.to_owned());
                    after
                }
                "fortran_order" => {
                    let (flag, after) = match value.strip_prefix("True") {
                        Some(after) => (true, after),
                        None => (false, value.strip_prefix("False")?),
                    };
                    fortran_order = Some(flag);
                    after
                }
                "shape" => {
                    let (list, after) = value.strip_prefix('(')?.split_once(')')?;
                    let lengths = list.split(',').map(str::trim).filter(|s| !s.is_empty());
                    shape = Some(lengths.map(|s| s.parse().ok()).collect::<Option<Vec<usize>>>()?);
                    after
                }
                _ => return None,
            };
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(after) => after.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A string in single or double quotes, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// Writes an npy file of version 1 in C order, whole or not at all (see [`write_atomic`]).
///
/// # Errors
/// If the file cannot be written, or the dtype is BF16, which NumPy does not have.
pub fn write_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), Error> {
    let path = path.as_ref();
    let descr = match tensor.dtype() {
        DType::F64 => "<f8",
        DType::F32 => "<f4",
        DType::F16 => "<f2",
        DType::I64 => "<i8",
        DType::U8 => "|u1",
        DType::BF16 => {
            let (key, found) = ("array".into(), "of dtype bf16".into());
            return Err(Error::Unsupported { path: path.to_owned(), key, found });
        }
    };
    let lengths: Vec<String> = tensor.dims().iter().map(|n| format!("{n},")).collect();
    let shape = lengths.join(" ");
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Spaces and a newline make data begin at a multiple of 64, as in NumPy's own files.
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.push_str(&" ".repeat(unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    write_atomic(path, |file| -> io::Result<()> {
        file.write_all(MAGIC)?;
        file.write_all(&[1, 0])?;
        // 8 axes of 20 digits fit into 16 bits many times.
        file.write_all(&(header.len() as u16).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        file.write_all(tensor.contiguous().to_device(Device::Cpu).dense_bytes())
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::{Device, Stream};

    fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut raw = MAGIC.to_vec();
        raw.extend([version, 0]);
        let len = (header.len() as u32).to_le_bytes();
        raw.extend(&len[..if version == 1 { 2 } else { 4 }]);
        raw.extend(header.as_bytes());
        raw.extend(data);
        raw
    }

    fn read(raw: &[u8]) -> Result<Tensor, Error> {
        read_npy_from(Path::new("x.npy"), &mut &raw[..], raw.len() as u64)
    }

    #[test]
    fn arrays_of_numpy_in_both_orders_and_all_types() {
        // numpy.save of numpy.array([[1, 2, 3], [4, 5, 6]], dtype), C order and numpy.asfortranarray.
        let header = |descr: &str, fortran: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': (2, 3), }}\n")
        };
        let data = |values: [u8; 6], size: usize| -> Vec<u8> {
            values.iter().flat_map(|&v| [vec![v], vec![0; size - 1]].concat()).collect()
        };
        for (descr, size) in
            [("<i8", 8), ("<i4", 4), ("<u4", 4), ("<i2", 2), ("<u2", 2), ("|i1", 1), ("|u1", 1)]
        {
            let c = npy(1, &header(descr, "False"), &data([1, 2, 3, 4, 5, 6], size));
            let f = npy(2, &header(descr, "True"), &data([1, 4, 2, 5, 3, 6], size));
            for raw in [c, f] {
                let t = read(&raw).unwrap();
                assert_eq!(t.dims(), [2, 3]);
                assert_eq!(t.to_f64_vec(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "{descr}");
            }
        }
        let negative = npy(1, &header("|i1", "False"), &[255; 6]);
        assert_eq!(read(&negative).unwrap().to_vec::<i64>(), [-1; 6]);
        let truth = npy(1, &header("|b1", "False"), &[0, 1, 1, 0, 7, 0]);
        assert_eq!(read(&truth).unwrap().to_vec::<u8>(), [0, 1, 1, 0, 1, 0]);
        let halves: Vec<u8> = [0x3c00u16; 6].iter().flat_map(|h| h.to_le_bytes()).collect();
        assert_eq!(read(&npy(3, &header("<f2", "False"), &halves)).unwrap().to_f64_vec(), [1.0; 6]);
    }

    #[test]
    fn scalars_and_vectors_have_python_s_tuples() {
        let parse = |shape: &str| {
            Header::parse(&format!(
                "{{\"shape\": {shape}, 'fortran_order': False, 'descr': '<f4'}}  \n"
            ))
        };
        let shape = |s: &str| parse(s).map(|h| h.shape);
        assert_eq!(shape("()"), Some(vec![]));
        assert_eq!(shape("(3,)"), Some(vec![3]));
        assert_eq!(shape("(3, 4)"), Some(vec![3, 4]));
        assert_eq!(shape("(-1,)"), None);
        assert_eq!(shape("(99999999999999999999999,)"), None);
        assert_eq!(shape("3"), None);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let check = |raw: &[u8], want: &str| {
            assert_eq!(read(raw).unwrap_err().to_string(), format!("x.npy: {want}"));
        };
        let with = |descr: &str, shape: &str| {
            let header =
                format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}");
            npy(1, &header, &[0; 16])
        };
        check(
            &with("'<f4'", "(2, 3)"),
            "16 bytes of data, its header announces 24; fetch or write it again",
        );
        // Ten exabytes: refused before any memory is taken.
        check(
            &with("'<f8'", "(1234567890123456789,)"),
            "16 bytes of data, its header announces 9876543120987654312; fetch or write it again",
        );
        check(
            &with("'<f4'", "(0, 4294967296, 4294967296, 4294967296)"),
            "not a valid npy file: shape [0, 4294967296, 4294967296, 4294967296] is impossible",
        );
        check(&with("'>f4'", "(2,)"), "array is of dtype >f4, which is not supported");
        check(
            &with("[('a', '<f4'), ('b', '<i4')]", "(2,)"),
            "array is of dtype [('a', '<f4'), ('b', '<i4')], which is not supported",
        );
        check(
            &with("'<f4'", "(1, 1, 1, 1, 1, 1, 1, 1, 1)"),
            "array is of 9 axes, which is not supported",
        );
        check(
            b"PK\x03\x04 an npz",
            "not a valid npy file: it does not begin with NumPy's signature",
        );
        check(b"", "not a valid npy file: it is shorter than 8 bytes");
    }

    #[test]
    fn files_come_back_with_their_bits() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.npy");
        let x = Tensor::randn([3, 4, 5], DType::F64, Device::Cpu, &mut Stream::new(1));
        for dtype in [DType::F64, DType::F32, DType::F16, DType::I64, DType::U8] {
            for t in [
                x.to_dtype(dtype),
                x.to_dtype(dtype).transpose(0, 2),
                Tensor::full(2.0, [], dtype, Device::Cpu),
            ] {
                write_npy(&path, &t).unwrap();
                let back = read_npy(&path).unwrap();
                assert_eq!((back.shape(), back.dtype()), (t.shape(), dtype));
                assert_eq!(back.contiguous().dense_bytes(), t.contiguous().dense_bytes());
                assert_eq!((fs::read(&path).unwrap().len() - t.numel() * dtype.size()) % 64, 0);
            }
        }
        assert!(write_npy(&path, &x.to_dtype(DType::BF16)).is_err());
    }

    proptest! {
        #[test]
        fn broken_arrays_give_errors(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            keep in any::<prop::sample::Index>(),
            cut: bool,
        ) {
            let header = "{'descr': '<i2', 'fortran_order': True, 'shape': (3, 4), }\n";
            let mut raw = npy(1, header, &[7; 24]);
            for (at, byte) in changes {
                let at = at.index(raw.len());
                raw[at] = byte;
            }
            if cut {
                raw.truncate(keep.index(raw.len()));
            }
            if let Ok(t) = read(&raw) {
                prop_assert!(t.numel() <= 24);
            }
        }

        #[test]
        fn any_header_text_is_parsed_or_refused(text in "[{}()'\",: a-z0-9<|]{0,60}") {
            let _ = Header::parse(&text);
            let _ = read(&npy(1, &text, &[0; 8]));
        }
    }
}
