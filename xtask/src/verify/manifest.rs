//! The reference vectors: `manifest.json` beside safetensors files, in a directory or inside the program.
//!
//! Everything a case names is looked up when the files are opened, so that a missing file or key is one clear
//! sentence before anything runs, and nothing can be missing afterwards.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use tensor::Tensor;

/// The only version of the format there is.
const FORMAT: u32 = 1;

/// The head of a manifest and its cases.
#[derive(Clone, Debug, Deserialize)]
pub struct Manifest {
    /// Version of the format.
    pub format: u32,
    /// Salt of the hashed weights (see [`hashed`](super::hashed)).
    pub salt: String,
    /// Check values of the hash.
    pub hash_check: HashCheck,
    /// What there is to check.
    pub cases: Vec<Case>,
}

/// Check values of the hash that makes model weights.
#[derive(Clone, Debug, Deserialize)]
pub struct HashCheck {
    /// A parameter's name.
    pub name: String,
    /// The hash of salt and name, in hexadecimal.
    pub fnv1a: String,
    /// The first numbers of its stream.
    pub uniform01: Vec<f64>,
}

/// One case: an operation with inputs, attributes and what comes out.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// `family/…/name`.
    pub name: String,
    /// The operation.
    pub op: String,
    /// The safetensors file that holds the tensors.
    pub file: String,
    /// Everything the operation needs to know beside its inputs.
    pub attrs: BTreeMap<String, serde_json::Value>,
    /// How near is near enough.
    pub tol: Tolerance,
    /// The tensors by role: `in.*`, `out.*`, `up.*`, `grad.*`.
    pub tensors: BTreeMap<String, Entry>,
}

/// How near to the expected values a result must be; the README of the vectors defines each rule.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tolerance {
    /// Relative tolerance for computing in f64.
    pub f64: Option<f64>,
    /// Relative tolerance for computing in f32 from inputs rounded to f32.
    pub f32: Option<f64>,
    /// Relative to each element instead of to the largest one.
    #[serde(default)]
    pub elementwise: bool,
    /// Equal.
    #[serde(default)]
    pub exact: bool,
    /// Largest difference of a byte.
    pub max_abs: Option<f64>,
    /// Largest fraction of bytes that may differ at all.
    pub max_fraction_different: Option<f64>,
}

/// Where a tensor is and what it is.
#[derive(Clone, Debug, Deserialize)]
pub struct Entry {
    /// Key in the safetensors file.
    pub key: String,
    /// NumPy's name of the element type.
    pub dtype: String,
    /// Axis lengths.
    pub shape: Vec<usize>,
}

/// A manifest and the files it names.
#[derive(Debug)]
pub struct Goldens {
    manifest: Manifest,
    files: BTreeMap<String, Cow<'static, [u8]>>,
    /// What [`check_entries`] found; parsing a file's header for each tensor would take longer than most cases.
    places: BTreeMap<(String, String), Place>,
}

/// Where in its file a tensor is.
#[derive(Clone, Debug)]
struct Place {
    dtype: Dtype,
    bytes: Range<usize>,
}

impl Goldens {
    /// Opens a directory with `manifest.json` and the files it names.
    ///
    /// # Errors
    /// If the directory, a file or a key is missing, or a file is malformed or does not fit the manifest.
    pub fn open(directory: &Path) -> Result<Self> {
        let path = directory.join("manifest.json");
        ensure!(
            directory.is_dir(),
            "{} is not a directory: --goldens wants the folder that holds manifest.json",
            directory.display()
        );
        let manifest = read(&path)?;
        Self::assemble(&path, &manifest, |name| {
            ensure!(
                Path::new(name).file_name().is_some_and(|n| n == name),
                "{}: file {name:?} is not a plain file name",
                path.display()
            );
            read(&directory.join(name)).map(Cow::Owned)
        })
    }

    /// The trimmed copy that is part of the program (`xtask/goldens`).
    ///
    /// # Errors
    /// If it does not fit itself: somebody edited it by hand.
    pub fn embedded() -> Result<Self> {
        let find = |name: &str| EMBEDDED.iter().find(|(n, _)| *n == name).map(|(_, bytes)| *bytes);
        let manifest = find("manifest.json").expect("the list begins with it");
        Self::assemble(Path::new("xtask/goldens/manifest.json"), manifest, |name| {
            find(name).map(Cow::Borrowed).with_context(|| format!("{name} is not embedded"))
        })
    }

    fn assemble(
        path: &Path,
        manifest: &[u8],
        load: impl Fn(&str) -> Result<Cow<'static, [u8]>>,
    ) -> Result<Self> {
        let manifest: Manifest = serde_json::from_slice(manifest).with_context(|| {
            format!("{} is not a manifest of reference vectors", path.display())
        })?;
        ensure!(
            manifest.format == FORMAT,
            "{}: format {} is unknown; this program reads format {FORMAT}",
            path.display(),
            manifest.format
        );
        let names: BTreeSet<&String> = manifest.cases.iter().map(|c| &c.file).collect();
        let files = names
            .into_iter()
            .map(|name| Ok((name.clone(), load(name)?)))
            .collect::<Result<BTreeMap<_, _>>>()?;
        let places = check_entries(&manifest, &files, path)?;
        Ok(Goldens { manifest, files, places })
    }

    /// The head and the cases.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A tensor of a case; booleans come as `U8`.
    pub(super) fn tensor(&self, case: &Case, entry: &Entry) -> Tensor {
        let place = self.place(case, entry);
        values(place.dtype, &self.files[&case.file][place.bytes.clone()], &entry.shape)
    }

    fn place(&self, case: &Case, entry: &Entry) -> &Place {
        &self.places[&(case.file.clone(), entry.key.clone())]
    }

    /// Inverts the last byte of a tensor's first element (a float's sign and exponent); twice restores it.
    #[cfg(test)]
    pub(super) fn spoil(&mut self, case: &Case, role: &str) {
        let Place { dtype, bytes } = self.place(case, &case.tensors[role]).clone();
        let file = self.files.get_mut(&case.file).expect("every case's file is there");
        file.to_mut()[bytes.start + dtype.bitsize() / 8 - 1] ^= 0xff;
    }

    /// The raw bytes of a file, for copies.
    pub(super) fn file(&self, name: &str) -> &[u8] {
        &self.files[name]
    }
}

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        /// The trimmed copy of the vectors.
        const EMBEDDED: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../goldens/", $name)))),*];
    };
}

embedded!(
    "manifest.json",
    "ops.safetensors",
    "lpconv.safetensors",
    "optim.safetensors",
    "models.safetensors",
    "mmv1.safetensors",
    "stats.safetensors",
    "data.safetensors",
);

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Finds every key of every case in its file, with the shape and dtype the manifest says.
fn check_entries(
    manifest: &Manifest,
    files: &BTreeMap<String, Cow<'static, [u8]>>,
    path: &Path,
) -> Result<BTreeMap<(String, String), Place>> {
    let parsed = files
        .iter()
        .map(|(name, bytes)| {
            let file = SafeTensors::deserialize(bytes).with_context(|| {
                format!("{} is not a safetensors file", path.with_file_name(name).display())
            })?;
            Ok((name.as_str(), file))
        })
        .collect::<Result<BTreeMap<_, _>>>()?;
    let (mut names, mut places) = (BTreeSet::new(), BTreeMap::new());
    for case in &manifest.cases {
        ensure!(names.insert(&case.name), "{}: case {} occurs twice", path.display(), case.name);
        for (role, entry) in &case.tensors {
            let what =
                || format!("case {}, {role}: key {:?} of {}", case.name, entry.key, case.file);
            let view = parsed[case.file.as_str()]
                .tensor(&entry.key)
                .with_context(|| format!("{} is missing", what()))?;
            let dtype = view.dtype();
            let found = numpy_name(dtype)
                .with_context(|| format!("{} is {dtype:?}, which is not readable", what()))?;
            let expected = &entry.dtype;
            ensure!(found == expected, "{} is {found}, the manifest says {expected}", what());
            ensure!(
                view.shape() == entry.shape,
                "{} has shape {:?}, the manifest says {:?}",
                what(),
                view.shape(),
                entry.shape
            );
            let start = view.data().as_ptr() as usize - files[&case.file].as_ptr() as usize;
            let place = Place { dtype, bytes: start..start + view.data().len() };
            places.insert((case.file.clone(), entry.key.clone()), place);
        }
    }
    Ok(places)
}

/// NumPy's name of a dtype that the vectors have.
fn numpy_name(dtype: Dtype) -> Option<&'static str> {
    Some(match dtype {
        Dtype::F64 => "float64",
        Dtype::F32 => "float32",
        Dtype::I64 => "int64",
        Dtype::U8 => "uint8",
        Dtype::BOOL => "bool",
        _ => return None,
    })
}

fn values(dtype: Dtype, data: &[u8], shape: &[usize]) -> Tensor {
    macro_rules! elements {
        ($t:ty) => {{
            let chunks = data.as_chunks::<{ size_of::<$t>() }>().0;
            let values: Vec<$t> = chunks.iter().map(|b| <$t>::from_le_bytes(*b)).collect();
            Tensor::new(&values, shape)
        }};
    }
    match dtype {
        Dtype::F64 => elements!(f64),
        Dtype::F32 => elements!(f32),
        Dtype::I64 => elements!(i64),
        // U8 and BOOL: nothing else got through check_entries.
        _ => Tensor::new(data, shape),
    }
}
