//! PyTorch's own format, as `torch.save` writes state dicts: `.pth`, `.pt`, `.bin`.
//!
//! Since PyTorch 1.6 a zip archive of a pickle and one entry for each storage; before, five pickles and the storages one
//! after another. Pickles are programs: see [`pickle`] for why none of them is run here.

mod pickle;

pub use pickle::{Pickled, read_pickled_dict};

use std::{
    collections::{HashMap, hash_map::Entry},
    fs::File,
    io::{BufReader, Read, Seek},
    path::Path,
};

use pickle::{Id, Input, Object, Pickle, Storage, View};

use super::archive::Archive;
use crate::{DType, Device, Error, MAX_RANK, Shape, Tensor};

const FORMAT: &str = "PyTorch";

/// Pickles of real state dicts are a few hundred bytes for each tensor.
const MOST_PICKLED: u64 = 64 << 20;

/// What a file of the old format begins with: a pickle of a number that stands for PyTorch.
const MAGIC: &[u8; 15] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Under which keys training scripts keep the state dict, the likeliest first.
const NESTED: [&str; 7] =
    ["state_dict", "model", "model_state_dict", "model_state", "net", "network", "module"];

/// Reads the tensors of a state dict that `torch.save` wrote, on the CPU, in the order of the dict. No code in the file
/// is run: names are looked up in a list of what state dicts consist of, all others are an error.
///
/// A checkpoint that holds the state dict under `state_dict`, `model` or another usual key gives that one. Values that are no
/// tensors are left out. Tensors that share memory in the file share it here. Dtypes as in
/// [`SafetensorsFile`](super::SafetensorsFile).
///
/// # Errors
/// If the file cannot be read, is neither of PyTorch's formats, is damaged, asks for code, or holds no state dict.
pub fn read_pth(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, Error> {
    let path = path.as_ref();
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let mut start = [0; MAGIC.len()];
    let mut file = File::open(path).map_err(io_error)?;
    let is_long = file.read_exact(&mut start).is_ok();
    match is_long && &start == MAGIC {
        true => read_old(path, file),
        false if start.starts_with(b"PK") => read_zip(path),
        false => {
            let reason = "it begins like neither of the formats of torch.save".into();
            Err(Error::Format { path: path.to_owned(), format: FORMAT, reason })
        }
    }
}

fn read_zip(path: &Path) -> Result<Vec<(String, Tensor)>, Error> {
    let mut archive = Archive::open(path, FORMAT)?;
    let names = archive.names();
    let Some(pickle_name) = names.iter().find(|n| n.ends_with("/data.pkl") || *n == "data.pkl")
    else {
        return Err(archive.wrong("the archive has no entry data.pkl"));
    };
    let folder = pickle_name.trim_end_matches("data.pkl");
    let order = format!("{folder}byteorder");
    if names.contains(&order) {
        let mut text = String::new();
        // What cannot be read is not "little".
        let _ = archive.entry(&order)?.reader.take(16).read_to_string(&mut text);
        if text.trim() != "little" {
            return Err(archive.wrong(format!("its bytes are in {text:?} order, not little")));
        }
    }
    let pickle = {
        let mut entry = archive.entry(pickle_name)?;
        let left = entry.length.min(MOST_PICKLED);
        pickle::read(&mut Input { reader: &mut entry.reader, left })
    };
    let pickle = pickle.map_err(|reason| archive.wrong(reason))?;
    let mut copies = Copies::new(archive.file_len());
    let mut storages: HashMap<String, Tensor> = HashMap::new();
    let mut tensors = Vec::new();
    for (name, view) in views(&pickle).map_err(|reason| archive.wrong(reason))? {
        let key = view.storage.key.clone();
        let storage = match storages.entry(key) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                let storage = read_storage(&mut archive, folder, &view.storage)?;
                place.insert(storage).clone()
            }
        };
        let tensor = tensor(&storage, view, &mut copies)
            .map_err(|reason| archive.wrong(format!("{name:?} {reason}")))?;
        tensors.push((name, tensor));
    }
    Ok(tensors)
}

fn read_storage(archive: &mut Archive, folder: &str, storage: &Storage) -> Result<Tensor, Error> {
    let path = archive.path().to_owned();
    let mut entry = archive.entry(&format!("{folder}data/{}", storage.key))?;
    let expected = storage.elements.saturating_mul(storage.stored.size() as u64);
    if entry.length != expected {
        return Err(Error::Length { path, expected, found: entry.length });
    }
    let shape = Shape::new(&[storage.elements as usize]);
    let read = storage.stored.read(&mut entry.reader, shape);
    read.map_err(|source| Error::Io { path, source })
}

/// The format before PyTorch 1.6: pickles of a magic number, a version, the machine, the object and the storages' keys, then
/// each storage's number of elements and elements.
fn read_old(path: &Path, file: File) -> Result<Vec<(String, Tensor)>, Error> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let wrong = |reason| Error::Format { path: path.to_owned(), format: FORMAT, reason };
    let file_len = file.metadata().map_err(io_error)?.len();
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(io_error)?;
    let mut input = Input { reader: &mut reader, left: file_len.min(MOST_PICKLED) };
    let mut next = || pickle::read(&mut input).map_err(wrong);
    let [_magic, _version, _machine] = [next()?, next()?, next()?];
    let (object, keys) = (next()?, next()?);
    let mut declared: HashMap<&str, &Storage> = HashMap::new();
    for object in &object.objects {
        if let Object::Storage(storage) = object {
            declared.insert(&storage.key, storage);
        }
    }
    let mut left = file_len - reader.stream_position().map_err(io_error)?;
    let mut storages: HashMap<&str, Tensor> = HashMap::new();
    for key in texts(&keys).map_err(wrong)? {
        let storage = declared
            .get(key)
            .ok_or_else(|| wrong(format!("it has a storage {key:?} that nobody uses")))?;
        let mut elements = [0; 8];
        reader.read_exact(&mut elements).map_err(|_| wrong("its storages are cut off".into()))?;
        let elements = u64::from_le_bytes(elements);
        if elements != storage.elements {
            let (n, m) = (storage.elements, elements);
            return Err(wrong(format!("storage {key:?} should have {n} elements and has {m}")));
        }
        let expected = elements.saturating_mul(storage.stored.size() as u64);
        left = left.saturating_sub(8);
        if expected > left {
            return Err(Error::Length { path: path.to_owned(), expected, found: left });
        }
        left -= expected;
        let shape = Shape::new(&[elements as usize]);
        storages.insert(key, storage.stored.read(&mut reader, shape).map_err(io_error)?);
    }
    let mut copies = Copies::new(file_len);
    let named = views(&object).map_err(wrong)?.into_iter().map(|(name, view)| {
        let storage = storages
            .get(view.storage.key.as_str())
            .ok_or_else(|| wrong(format!("there is no storage {:?}", view.storage.key)))?;
        let tensor = tensor(storage, view, &mut copies)
            .map_err(|reason| wrong(format!("{name:?} {reason}")))?;
        Ok((name, tensor))
    });
    named.collect()
}

fn texts(pickle: &Pickle) -> Result<Vec<&str>, String> {
    let Object::List(items) = &pickle.objects[pickle.root] else {
        return Err("the list of its storages is missing".into());
    };
    let text = |&id: &Id| match &pickle.objects[id] {
        Object::Text(text) => Ok(text.as_str()),
        _ => Err("the list of its storages holds other things".into()),
    };
    items.iter().map(text).collect()
}

/// The tensors of the state dict, by name.
fn views(pickle: &Pickle) -> Result<Vec<(String, &View)>, String> {
    let root = dict(pickle, pickle.root).ok_or("it holds no dictionary of tensors")?;
    let nested = NESTED.iter().filter_map(|key| {
        let (_, value) = root.iter().find(|(name, _)| name == key)?;
        Some(tensors(pickle, &dict(pickle, *value)?))
    });
    let mut candidates = nested.chain([tensors(pickle, &root)]);
    candidates.find(|tensors| !tensors.is_empty()).ok_or_else(|| {
        let keys: Vec<&str> = root.iter().map(|(name, _)| name.as_str()).take(8).collect();
        format!("it holds no state dict, only {keys:?}; save model.state_dict()")
    })
}

/// The entries of a dictionary whose keys are texts or numbers.
fn dict(pickle: &Pickle, id: Id) -> Option<Vec<(String, Id)>> {
    let Object::Dict(pairs) = &pickle.objects[id] else { return None };
    let named = pairs.iter().filter_map(|&(key, value)| match &pickle.objects[key] {
        Object::Text(text) => Some((text.clone(), value)),
        Object::Int(n) => Some((n.to_string(), value)),
        _ => None,
    });
    Some(named.collect())
}

fn tensors<'a>(pickle: &'a Pickle, entries: &[(String, Id)]) -> Vec<(String, &'a View)> {
    let view = |(name, id): &(String, Id)| match &pickle.objects[*id] {
        Object::Tensor(view) => Some((name.clone(), view)),
        _ => None,
    };
    entries.iter().filter_map(view).collect()
}

/// How much memory tensors may take that cannot be views of their storages.
struct Copies {
    left: u64,
}

impl Copies {
    /// Twice the file: enough for slices saved with their whole storages, too little for harm.
    fn new(file_len: u64) -> Self {
        Copies { left: file_len.saturating_mul(2) }
    }
}

/// The tensor a view of its storage describes, or what is wrong with it.
fn tensor(storage: &Tensor, view: &View, copies: &mut Copies) -> Result<Tensor, String> {
    let View { offset, size, stride, .. } = view;
    if size.len() != stride.len() {
        return Err(format!("has {} axes and {} strides", size.len(), stride.len()));
    }
    if size.len() > MAX_RANK {
        return Err(format!("has {} axes, supported are {MAX_RANK}", size.len()));
    }
    let elements = size.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    let elements = elements.ok_or_else(|| format!("of shape {size:?} is impossible"))?;
    if elements == 0 {
        let filled = size.iter().filter(|&&d| d != 0).try_fold(1usize, |n, &d| n.checked_mul(d));
        filled.ok_or_else(|| format!("of shape {size:?} is impossible"))?;
        return Ok(Tensor::zeros(Shape::new(size), storage.dtype(), Device::Cpu));
    }
    // The last element's position.
    let last = size
        .iter()
        .zip(stride)
        .try_fold(*offset, |at, (&n, &s)| at.checked_add((n - 1).checked_mul(s)?));
    let length = storage.numel();
    if last.is_none_or(|last| last >= length) {
        return Err(format!(
            "of shape {size:?} and strides {stride:?} from {offset} leaves its storage of {length}"
        ));
    }
    // From the outermost axis in memory to the innermost; an axis of one element has no say.
    let mut axes: Vec<usize> = (0..size.len()).collect();
    axes.sort_by_key(|&axis| (std::cmp::Reverse(stride[axis]), size[axis] != 1));
    let mut dense = 1;
    let is_dense = axes.iter().rev().filter(|&&axis| size[axis] != 1).all(|&axis| {
        let fits = stride[axis] == dense;
        dense *= size[axis];
        fits
    });
    if is_dense {
        let sorted: Vec<usize> = axes.iter().map(|&axis| size[axis]).collect();
        let mut back = vec![0; axes.len()];
        for (place, &axis) in axes.iter().enumerate() {
            back[axis] = place;
        }
        let dense = storage.narrow(0, *offset, elements).reshape(Shape::new(&sorted));
        return Ok(dense.permute(&back));
    }
    // An index and an element each.
    let cost = (elements as u64).saturating_mul(8 + storage.dtype().size() as u64);
    if elements > length || cost > copies.left {
        return Err(format!(
            "of shape {size:?} and strides {stride:?} repeats its elements; save a contiguous copy"
        ));
    }
    copies.left -= cost;
    let mut index = vec![*offset as i64];
    for (&n, &s) in size.iter().zip(stride) {
        index = index.iter().flat_map(|&at| (0..n).map(move |i| at + (i * s) as i64)).collect();
    }
    let index = Tensor::new(&index, [elements]);
    debug_assert_eq!(index.dtype(), DType::I64);
    Ok(storage.index_select(0, &index).reshape(Shape::new(size)))
}

#[cfg(test)]
mod tests;
