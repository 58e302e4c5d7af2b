//! Models and training runs as files.
//!
//! Both are [safetensors](https://huggingface.co/docs/safetensors) files. [`save_model`] writes a plain state dict, to
//! and from which PyTorch and everything else that reads safetensors converts nothing.
//!
//! A checkpoint of the [`Trainer`](crate::train::Trainer) holds all there is to continue a run bit for bit, and
//! nothing that depends on the clock: a run that was killed and resumed ends with the same bytes as one that was not.
//!
//! | key | what |
//! |---|---|
//! | `NAME` | the model's state dict, under the model's own names |
//! | `optimizer/KEY` | the optimizer's state |
//! | `training/running/NAME` | sum and weight (f64) of a metric over the epoch so far |
//! | `training/last/NAME`, `training/best/NAME` | the last epoch's metrics, the best value of the chosen one (f64) |
//! | metadata `checkpoint` | JSON: format version, checksum, recipe, and the trainer's counters (epoch, batch, step, …) |
//!
//! A name of the model never has a slash, every other key has one. In Python:
//!
//! ```python
//! state = safetensors.torch.load_file("run.safetensors")
//! model.load_state_dict({k: v for k, v in state.items() if "/" not in k})
//! ```
//!
//! Files are written beside their place and renamed into it, so a full disk or a kill leaves the old one whole.

mod file;

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tensor::Tensor;

use crate::{Error, Module, ModuleExt, Result};

/// Raised whenever an older program would misread the file.
const FORMAT_VERSION: u64 = 1;
/// The metadata key of a checkpoint. One key only: the order of several is random in a safetensors header.
const METADATA_KEY: &str = "checkpoint";

/// Writes the state dict of `model`, as `safetensors.torch.save_model` would: PyTorch reads it with
/// `model.load_state_dict(safetensors.torch.load_file(path))`.
///
/// # Errors
/// [`Error::Io`] naming the path; what stood there before is unchanged.
///
/// # Panics
/// If a parameter has no values yet.
pub fn save_model(path: impl AsRef<Path>, model: &(impl Module + ?Sized)) -> Result<()> {
    let state = model.state_dict();
    file::write(path.as_ref(), state.iter().map(|(name, t)| (name, t)), ("format", "pt"))
}

/// Loads a state dict into `model`: a file of [`save_model`], of PyTorch, or the model in a checkpoint.
///
/// Values are converted to the dtype and device the model has. Nothing is changed on error.
///
/// # Errors
/// [`Error::File`] naming the path and everything missing, unexpected or of another shape; [`Error::Damaged`];
/// [`Error::Io`].
pub fn load_model(path: impl AsRef<Path>, model: &mut (impl Module + ?Sized)) -> Result<()> {
    let path = path.as_ref();
    let file::Contents { tensors, mut metadata } = file::read(path)?;
    match metadata.remove(METADATA_KEY) {
        Some(text) => Header::parse(path, &text)?.verify(path, &tensors)?,
        None if tensors.keys().any(|key| key.contains('/')) => {
            return Err(damaged(path, "it has a checkpoint's keys, but not its metadata"));
        }
        None => {}
    }
    let state = tensors.into_iter().filter(|(key, _)| !key.contains('/')).collect();
    model.load_state_dict(state).map_err(|source| in_file(path, source))
}

/// The error with the file it happened in.
pub(crate) fn in_file(path: &Path, source: Error) -> Error {
    Error::File { path: path.to_owned(), source: Box::new(source) }
}

/// Everything in a checkpoint that is no tensor. Integers and text only: JSON does not keep the bits of floats.
#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u64,
    sha256: String,
    recipe: Value,
    state: Value,
}

impl Header {
    fn parse(path: &Path, text: &str) -> Result<Self> {
        let damaged = |e: serde_json::Error| damaged(path, format!("metadata: {e}"));
        let value: Value = serde_json::from_str(text).map_err(damaged)?;
        // Looked at first: another version may have another header.
        if value["format_version"] != FORMAT_VERSION {
            return Err(mismatch(path, "format_version", FORMAT_VERSION, &value["format_version"]));
        }
        serde_json::from_value(value).map_err(damaged)
    }

    /// SHA-256 over this header (its own field empty) and all tensors by name.
    fn checksum(&self, tensors: &BTreeMap<String, Tensor>) -> String {
        let unsigned = Header {
            sha256: String::new(),
            recipe: self.recipe.clone(),
            state: self.state.clone(),
            ..*self
        };
        let text = serde_json::to_string(&unsigned).expect("strings and numbers become JSON");
        let mut sha = Sha256::new();
        sha.update(text);
        for (name, tensor) in tensors {
            sha.update(format!("\n{name} {}\n", described(tensor)));
            file::with_bytes(tensor, |bytes| sha.update(bytes));
        }
        sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn verify(&self, path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let found = self.checksum(tensors);
        if found == self.sha256 {
            return Ok(());
        }
        Err(damaged(path, format!("its contents have checksum {found}, not {}", self.sha256)))
    }
}

/// A checkpoint in memory.
pub(crate) struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    recipe: Value,
    state: Value,
}

impl Checkpoint {
    /// Of a model's state; `recipe` is what another run would differ in, `state` the trainer's counters.
    ///
    /// # Panics
    /// If a name of the model holds a slash.
    pub(crate) fn new(model: &dyn Module, recipe: Value, state: Value) -> Self {
        let tensors: BTreeMap<_, _> = model.state_dict().into_iter().collect();
        for name in tensors.keys() {
            assert!(!name.contains('/'), "checkpoint: the name \"{name}\" must not have a slash");
        }
        Checkpoint { tensors, recipe, state }
    }

    /// Adds tensors under `section/`.
    pub(crate) fn insert(&mut self, section: &str, tensors: Vec<(String, Tensor)>) {
        self.tensors.extend(tensors.into_iter().map(|(key, t)| (format!("{section}/{key}"), t)));
    }

    /// The tensors under `section/`, sorted by name.
    pub(crate) fn section(&self, section: &str) -> Vec<(String, Tensor)> {
        let named = self.tensors.iter().filter_map(|(key, tensor)| {
            let name = key.strip_prefix(section)?.strip_prefix('/')?;
            Some((name.to_owned(), tensor.clone()))
        });
        named.collect()
    }

    pub(crate) fn state(&self) -> &Value {
        &self.state
    }

    /// Writes the file; the same contents give the same bytes.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut header = Header {
            format_version: FORMAT_VERSION,
            sha256: String::new(),
            recipe: self.recipe.clone(),
            state: self.state.clone(),
        };
        header.sha256 = header.checksum(&self.tensors);
        let text = serde_json::to_string(&header).expect("strings and numbers become JSON");
        file::write(path, &self.tensors, (METADATA_KEY, &text))
    }

    /// Finds out whether a checkpoint could be written at `path`.
    pub(crate) fn probe(path: &Path) -> Result<()> {
        file::probe(path)
    }

    /// Reads a file of this format version whose contents are those that were written.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file::Contents { tensors, mut metadata } = file::read(path)?;
        let Some(text) = metadata.remove(METADATA_KEY) else {
            return Err(mismatch(path, "metadata", "a checkpoint's", "none: a plain state dict"));
        };
        let header = Header::parse(path, &text)?;
        header.verify(path, &tensors)?;
        Ok(Checkpoint { tensors, recipe: header.recipe, state: header.state })
    }

    /// Checks that the run that wrote this had the same recipe and a model of the same names, shapes and dtypes.
    pub(crate) fn check(&self, path: &Path, model: &dyn Module, recipe: &Value) -> Result<()> {
        // Through text and back, as the recipe in the file has gone: parsing may move a float by one bit.
        let text = recipe.to_string();
        let recipe = serde_json::from_str(&text).expect("what was just written is JSON");
        if let Some((key, expected, found)) = difference("recipe", &recipe, &self.recipe) {
            return Err(mismatch(path, &key, expected, found));
        }
        let expected = model.state_dict();
        for (name, tensor) in &expected {
            let expected = described(tensor);
            let found = self.tensors.get(name).map_or("nothing".to_owned(), described);
            if expected != found {
                return Err(mismatch(path, name, expected, found));
            }
        }
        let known = |name: &String| expected.iter().any(|(n, _)| n == name);
        match self.tensors.iter().find(|(key, _)| !key.contains('/') && !known(key)) {
            Some((name, tensor)) => Err(mismatch(path, name, "nothing", described(tensor))),
            None => Ok(()),
        }
    }

    /// Puts the model's values back; [`check`](Self::check) has been called.
    pub(crate) fn restore(&self, path: &Path, model: &mut dyn Module) -> Result<()> {
        let state = self.tensors.iter().filter(|(key, _)| !key.contains('/'));
        let state = state.map(|(key, tensor)| (key.clone(), tensor.clone())).collect();
        model.load_state_dict(state).map_err(|source| in_file(path, source))
    }
}

fn described(tensor: &Tensor) -> String {
    format!("{} {}", tensor.dtype(), tensor.shape())
}

pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Error {
    Error::Damaged { path: path.to_owned(), reason: reason.into() }
}

fn mismatch(path: &Path, key: &str, expected: impl ToString, found: impl ToString) -> Error {
    Error::OtherRun {
        path: path.to_owned(),
        key: key.to_owned(),
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

/// The first place where two JSON values differ: its path, and what stands there in each.
fn difference(path: &str, expected: &Value, found: &Value) -> Option<(String, String, String)> {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|k| !a.contains_key(*k)));
            keys.into_iter().find_map(|key| {
                let path = format!("{path}.{key}");
                match (a.get(key), b.get(key)) {
                    (Some(a), Some(b)) => difference(&path, a, b),
                    (a, b) => {
                        let text = |v: Option<&Value>| v.map_or("nothing".into(), Value::to_string);
                        Some((path, text(a), text(b)))
                    }
                }
            })
        }
        _ if expected == found => None,
        _ => Some((path.to_owned(), expected.to_string(), found.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;
    use tensor::{DType, Device};

    use super::*;
    use crate::{Buffer, Init, Param};

    #[derive(Module)]
    struct Net {
        weight: Param,
        mean: Buffer,
    }

    fn net(n: usize, seed: u64) -> Net {
        let weight = Param::new([n, 2], Init::Normal { mean: 0.0, std: 1.0 });
        let mut net = Net { weight, mean: Buffer::new(Tensor::new(&[0.25f32], [1])) };
        net.initialize(seed, DType::F32, Device::Cpu);
        net
    }

    fn values(net: &Net) -> Vec<Vec<f64>> {
        net.state_dict().iter().map(|(_, t)| t.to_f64_vec()).collect()
    }

    fn recipe() -> Value {
        json!({"lr": 0.1, "epochs": 3, "betas": [0.9, 0.999]})
    }

    /// A checkpoint of `net(3, 1)` in a new directory.
    fn written() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.safetensors");
        let mut checkpoint = Checkpoint::new(&net(3, 1), recipe(), json!({"epoch": 2}));
        checkpoint.insert("optimizer", vec![("exp_avg/weight".into(), Tensor::scalar(0.1f64))]);
        checkpoint.write(&path).unwrap();
        (directory, path)
    }

    #[test]
    fn everything_comes_back() {
        let (_directory, path) = written();
        let checkpoint = Checkpoint::read(&path).unwrap();
        let mut other = net(3, 2);
        checkpoint.check(&path, &other, &recipe()).unwrap();
        checkpoint.restore(&path, &mut other).unwrap();
        assert_eq!(values(&other), values(&net(3, 1)));
        assert_eq!(checkpoint.state()["epoch"], 2);
        let [(name, tensor)] = &checkpoint.section("optimizer")[..] else { panic!("one tensor") };
        assert_eq!((name.as_str(), tensor.item().to_bits()), ("exp_avg/weight", 0.1f64.to_bits()));
    }

    #[test]
    fn equal_contents_give_equal_bytes() {
        let ((_d, a), (_e, b)) = (written(), written());
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    }

    #[test]
    fn a_model_loads_from_its_own_file_and_from_a_checkpoint() {
        let (directory, checkpoint) = written();
        let plain = directory.path().join("model.safetensors");
        save_model(&plain, &net(3, 1)).unwrap();
        for path in [&plain, &checkpoint] {
            let mut other = net(3, 2);
            load_model(path, &mut other).unwrap();
            assert_eq!(values(&other), values(&net(3, 1)));
        }
        let mut other = net(4, 2);
        let message = load_model(&plain, &mut other).unwrap_err().to_string();
        assert!(
            message.ends_with(
                "model.safetensors: state dict does not fit the model: \
                 other shape: \"weight\" (expected [4, 2], found [3, 2])"
            ),
            "{message}"
        );
        assert_eq!(values(&other), values(&net(4, 2)));
    }

    #[test]
    fn a_plain_state_dict_is_what_pytorch_writes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        save_model(&path, &net(1, 1)).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let header = String::from_utf8_lossy(&bytes[8..]);
        let expected = r#"{"__metadata__":{"format":"pt"},"mean":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"weight":{"dtype":"F32","shape":[1,2],"data_offsets":[4,12]}}"#;
        assert!(header.starts_with(expected), "{header}");
    }

    /// The error of checking the written checkpoint against a model and a recipe.
    fn refusal(model: &Net, recipe: &Value) -> String {
        let (_directory, path) = written();
        let error = Checkpoint::read(&path).unwrap().check(&path, model, recipe).unwrap_err();
        error.to_string()
    }

    #[test]
    fn another_recipe_or_model_is_refused_by_name() {
        let message = refusal(&net(3, 1), &json!({"lr": 0.2, "epochs": 3, "betas": [0.9, 0.999]}));
        assert!(
            message.contains("run.safetensors: recipe.lr: expected 0.2, found 0.1;"),
            "{message}"
        );
        let message = refusal(&net(3, 1), &json!({"lr": 0.1, "epochs": 3}));
        assert!(
            message.contains("recipe.betas: expected nothing, found [0.9,0.999];"),
            "{message}"
        );
        let message = refusal(&net(4, 1), &recipe());
        assert!(message.contains("weight: expected f32 [4, 2], found f32 [3, 2];"), "{message}");
        let mut model = net(3, 1);
        model.to(DType::F64, Device::Cpu);
        let message = refusal(&model, &recipe());
        assert!(message.contains("weight: expected f64 [3, 2], found f32 [3, 2];"), "{message}");
    }

    #[test]
    fn a_file_that_is_no_checkpoint_or_of_another_version_is_refused() {
        let (directory, path) = written();
        let plain = directory.path().join("model.safetensors");
        save_model(&plain, &net(3, 1)).unwrap();
        let message = Checkpoint::read(&plain).err().unwrap().to_string();
        assert!(message.contains("metadata: expected a checkpoint's, found none"), "{message}");
        let text = json!({"format_version": 2}).to_string();
        file::write(&path, &BTreeMap::new(), (METADATA_KEY, &text)).unwrap();
        let message = Checkpoint::read(&path).err().unwrap().to_string();
        assert!(message.contains("format_version: expected 1, found 2;"), "{message}");
    }

    #[test]
    fn no_cut_and_no_flipped_bit_goes_unnoticed() {
        let (_directory, path) = written();
        let good = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: String| {
            std::fs::write(&path, bytes).unwrap();
            let mut other = net(3, 2);
            let error = load_model(&path, &mut other).expect_err(&what).to_string();
            assert!(error.contains("run.safetensors: "), "{what}: {error}");
            assert_eq!(values(&other), values(&net(3, 2)), "{what}: the model was changed");
        };
        for len in 0..good.len() {
            refused(&good[..len], format!("cut to {len} bytes"));
        }
        for at in 0..good.len() {
            for bit in [0, 5] {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                refused(&bad, format!("bit {bit} of byte {at}"));
            }
        }
    }

    #[test]
    #[should_panic(expected = "the name \"a/b\" must not have a slash")]
    fn names_with_a_slash_are_a_programming_error() {
        #[derive(Module)]
        struct Odd {
            #[module(rename = "a/b")]
            weight: Param,
        }
        let odd = Odd { weight: Param::from_tensor(Tensor::scalar(1f32)) };
        Checkpoint::new(&odd, Value::Null, Value::Null);
    }
}
