//! The `results/` folder: one folder a trial, written as the trial goes; reports only read it.
//!
//! ```text
//! results/
//!   format.json                      which version of the layout this is
//!   <experiment>/<label>/            label: the scale, and what was overridden
//!     <trial>/recipe.json            what the trial was asked to do
//!             metrics.jsonl          one line an epoch
//!             checkpoint.safetensors everything needed to go on
//!             done.json              the results; there once the trial is finished
//!     index.html, *.svg, *.png, *.tsv, *.md
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tensor::io::write_atomic;

/// Version of the folder's layout and of the files in it; a change that older programs cannot read raises it.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Format {
    format: u32,
    written_by: String,
}

/// An opened `results/` folder.
#[derive(Clone, Debug)]
pub struct Results {
    root: PathBuf,
}

impl Results {
    /// Opens the folder, creating it if it is not there.
    ///
    /// # Errors
    /// If it belongs to another version of the program, is something else than a results folder, or cannot be written.
    pub fn open(root: impl Into<PathBuf>) -> anyhow::Result<Self> {
        let root = root.into();
        let marker = root.join("format.json");
        if root.exists() && !root.is_dir() {
            bail!("{}: expected a folder for results, found a file", root.display());
        }
        if marker.exists() {
            let text = fs::read_to_string(&marker).with_context(|| marker.display().to_string())?;
            let found: Format = serde_json::from_str(&text).map_err(|e| {
                anyhow!("{}: not a results folder of this program ({e})", marker.display())
            })?;
            if found.format != FORMAT {
                bail!(
                    "{}: written by version {} in format {}, this program reads format {FORMAT}; \
                     choose another folder with --results or move this one away",
                    root.display(),
                    found.written_by,
                    found.format
                );
            }
        } else {
            // A process killed while it wrote the marker leaves its temporary file behind.
            let foreign =
                |e: fs::DirEntry| !e.file_name().to_string_lossy().starts_with("format.json");
            let occupied = root.is_dir()
                && fs::read_dir(&root)
                    .with_context(|| root.display().to_string())?
                    .flatten()
                    .any(foreign);
            // Another process may have begun with the folder at the same time.
            if occupied && !marker.exists() {
                bail!(
                    "{}: holds files but no format.json, so it is not a results folder; choose an empty \
                     one with --results",
                    root.display()
                );
            }
            fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
            let format = Format { format: FORMAT, written_by: env!("CARGO_PKG_VERSION").into() };
            write_json(&marker, &format)?;
        }
        Ok(Results { root })
    }

    /// The folder of an experiment's runs under one label.
    pub fn folder(&self, experiment: &str, label: &str) -> PathBuf {
        self.root.join(experiment).join(label)
    }

    /// The labels under which an experiment has been run, sorted.
    pub fn labels(&self, experiment: &str) -> Vec<String> {
        subfolders(&self.root.join(experiment))
    }
}

/// Names of the folders in `path`, sorted; none if it does not exist.
fn subfolders(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// The folder of one trial.
#[derive(Clone, Debug)]
pub struct TrialFolder {
    path: PathBuf,
}

impl TrialFolder {
    /// The trial `name` in an experiment's folder; nothing is created.
    pub fn new(folder: &Path, name: &str) -> Self {
        TrialFolder { path: folder.join(name) }
    }

    /// All trials that have been started in an experiment's folder, by name.
    pub fn all(folder: &Path) -> Vec<(String, TrialFolder)> {
        subfolders(folder)
            .into_iter()
            .map(|name| (name.clone(), TrialFolder::new(folder, &name)))
            .filter(|(_, t)| t.file("recipe.json").exists())
            .collect()
    }

    /// A file of the trial.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether the trial is finished.
    pub fn is_done(&self) -> bool {
        self.file("done.json").exists()
    }

    /// Checks that the trial, if it was started at all, was started with this recipe.
    ///
    /// # Errors
    /// If it was started with another recipe, or the file is damaged.
    pub fn check<R: DeserializeOwned + PartialEq>(&self, recipe: &R) -> anyhow::Result<()> {
        let file = self.file("recipe.json");
        if file.exists() && read_json::<R>(&file)? != *recipe {
            bail!(
                "{}: was started with another recipe or other data; move the folder away or choose another \
                 one with --results",
                self.path.display()
            );
        }
        Ok(())
    }

    /// Creates the folder and writes the recipe, or checks that it was started with the same one.
    ///
    /// # Errors
    /// If the folder holds a trial of another recipe, or cannot be written.
    pub fn start<R: Serialize + DeserializeOwned + PartialEq>(
        &self,
        recipe: &R,
    ) -> anyhow::Result<()> {
        let file = self.file("recipe.json");
        if file.exists() {
            return self.check(recipe);
        }
        fs::create_dir_all(&self.path)
            .with_context(|| format!("creating {}", self.path.display()))?;
        write_json(&file, recipe)
    }

    /// Marks the trial as finished with its results.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish<D: Serialize>(&self, done: &D) -> anyhow::Result<()> {
        write_json(&self.file("done.json"), done)
    }

    /// The results of a finished trial.
    ///
    /// # Errors
    /// If the trial is not finished or the file is damaged.
    pub fn done<D: DeserializeOwned>(&self) -> anyhow::Result<D> {
        read_json(&self.file("done.json"))
    }

    /// The recipe the trial was started with.
    ///
    /// # Errors
    /// If the file is missing or damaged.
    pub fn recipe<R: DeserializeOwned>(&self) -> anyhow::Result<R> {
        read_json(&self.file("recipe.json"))
    }
}

/// Writes `value` as indented JSON, atomically.
///
/// # Errors
/// If the file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .with_context(|| format!("{}: cannot be written as JSON", path.display()))?;
    text.push('\n');
    Ok(write_atomic(path, |file| file.write_all(text.as_bytes()))?)
}

/// Reads a JSON file.
///
/// # Errors
/// If the file is missing or is not what was expected, naming the file, line and column.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).map_err(|e| {
        anyhow!(
            "{}: damaged or written by another version ({e}); delete its folder to run the trial again",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_another_version_or_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("results");
        Results::open(&root).unwrap();
        Results::open(&root).unwrap();
        fs::write(root.join("format.json"), r#"{"format": 7, "written_by": "9.9.9"}"#).unwrap();
        let error = Results::open(&root).unwrap_err().to_string();
        assert!(error.contains("written by version 9.9.9 in format 7"), "{error}");
        fs::write(root.join("format.json"), "no json").unwrap();
        assert!(Results::open(&root).unwrap_err().to_string().contains("not a results folder"));
        let error = Results::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no format.json"), "{error}");
    }

    #[test]
    fn a_trial_starts_once_and_only_with_its_own_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let trial = TrialFolder::new(dir.path(), "lp2-seed0");
        trial.start(&5u32).unwrap();
        trial.start(&5u32).unwrap();
        assert!(trial.start(&6u32).unwrap_err().to_string().contains("another recipe"));
        assert!(!trial.is_done());
        trial.finish(&1.5f64).unwrap();
        assert!(trial.is_done());
        assert_eq!(trial.done::<f64>().unwrap(), 1.5);
        assert_eq!(TrialFolder::all(dir.path()).len(), 1);
    }

    #[test]
    fn damaged_results_are_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("done.json"), "{\"a\": ").unwrap();
        let error = read_json::<u32>(&dir.path().join("done.json")).unwrap_err().to_string();
        assert!(error.contains("done.json: damaged"), "{error}");
    }
}
