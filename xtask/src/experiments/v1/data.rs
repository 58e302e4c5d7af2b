//! Where recordings come from.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use neuro::mmv1::{
    BehaviorSet, KnownNeuron, RawRecording, Recording, Split, SyntheticV1, Windows, is_published,
    park, read_published,
};
use sha2::{Digest, Sha256};

use super::{recipe::Recipe, train::Data};
use crate::{
    experiments::ScaleName,
    failure::{Failure, Outcome},
};

/// The name of the made-up cortex among the mice.
pub(super) const SYNTHETIC: &str = "synthetic";

/// Whose recording it is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mouse {
    /// A session that comes with the program.
    Shipped(&'static str),
    /// A folder in the published or the general form.
    Folder(PathBuf),
    /// The made-up cortex.
    Synthetic,
}

impl Mouse {
    pub(super) fn name(&self) -> String {
        match self {
            Mouse::Shipped(name) => (*name).to_owned(),
            Mouse::Folder(path) => {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
                // It becomes the name of a folder of results.
                let plain =
                    |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
                name.map_or("mouse".into(), |n| n.chars().map(plain).collect())
            }
            Mouse::Synthetic => SYNTHETIC.to_owned(),
        }
    }
}

/// The mice that a request means; nothing is read yet but names.
pub(super) fn mice(recipe: &Recipe, data: Option<&Path>, scale: ScaleName) -> Outcome<Vec<Mouse>> {
    let Some(folder) = data else {
        if scale == ScaleName::Paper {
            return Err(Failure::Usage(
                "v1: the paper's scale trains on freely moving mice: get \
                 mouse-data-10-segment-split-70-30-48ms.zip from osf.io/msp3a, unpack it and give the folder with \
                 --data FOLDER"
                    .into(),
            ));
        }
        let shipped = park::SESSIONS.map(Mouse::Shipped);
        // The first has the best tuned neurons; at the small scale one mouse is enough work.
        let count = if scale == ScaleName::Small { 1 } else { shipped.len() };
        return Ok(shipped.into_iter().take(count).collect());
    };
    let is_recording = |path: &Path| RawRecording::is_in(path) || is_published(path);
    let mut found = Vec::new();
    if is_recording(folder) {
        found.push(Mouse::Folder(folder.to_owned()));
    } else {
        let entries = fs::read_dir(folder)
            .map_err(|e| Failure::Usage(format!("v1: --data {}: {e}", folder.display())))?;
        let mut folders: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        folders.sort();
        found.extend(folders.into_iter().filter(|p| is_recording(p)).map(Mouse::Folder));
    }
    if found.is_empty() {
        return Err(Failure::Usage(format!(
            "v1: --data {}: neither it nor a folder in it holds a recording: expected recording.json (the general form, \
             see neuro::mmv1::folder) or train_nsp_seg_0.npy (the published form)",
            folder.display()
        )));
    }
    let mut names: Vec<String> = found.iter().map(Mouse::name).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|w| w[0] == w[1]) {
        return Err(Failure::Usage(format!(
            "v1: --data {}: two folders are called {}; rename one",
            folder.display(),
            twice[0]
        )));
    }
    if names.iter().any(|n| n == SYNTHETIC) && recipe.synthetic_bins > 0 {
        return Err(Failure::Usage(format!(
            "v1: a folder called {SYNTHETIC} would be mixed up with the made-up cortex; rename it"
        )));
    }
    Ok(found)
}

/// SHA-256 over names, sizes and the first megabyte of each file of a mouse's folder; `None` for what comes with the
/// program.
///
/// Hours of video are not read as a whole for this.
pub(super) fn digest(mouse: &Mouse) -> anyhow::Result<Option<String>> {
    use std::io::Read;
    const PREFIX: u64 = 1 << 20;
    let Mouse::Folder(folder) = mouse else { return Ok(None) };
    let reading = || format!("reading {}", folder.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).with_context(reading)?.flatten().map(|e| e.path()).collect();
    files.retain(|p| p.is_file());
    files.sort();
    let mut hasher = Sha256::new();
    for path in files {
        let file = fs::File::open(&path).with_context(|| format!("reading {}", path.display()))?;
        let size = file.metadata().with_context(reading)?.len();
        hasher.update(path.file_name().unwrap_or_default().to_string_lossy().as_bytes());
        hasher.update(size.to_le_bytes());
        let mut start = Vec::new();
        file.take(PREFIX).read_to_end(&mut start).with_context(reading)?;
        hasher.update(&start);
    }
    Ok(Some(hasher.finalize().iter().map(|b| format!("{b:02x}")).collect()))
}

/// Reads a mouse's recording and cuts it into samples.
pub(super) fn load(recipe: &Recipe, mouse: &Mouse) -> anyhow::Result<Data> {
    let mut known: Option<Vec<KnownNeuron>> = None;
    let recording: Recording = match mouse {
        Mouse::Shipped(name) => park::session(name)?.bin(&park::BINS)?,
        Mouse::Folder(folder) if RawRecording::is_in(folder) => {
            let (raw, options) = RawRecording::open(folder)?;
            raw.bin(&options)?
        }
        Mouse::Folder(folder) => read_published(folder)?,
        Mouse::Synthetic => {
            let cortex = SyntheticV1 {
                bins: recipe.synthetic_bins,
                neurons: recipe.synthetic_neurons,
                ..SyntheticV1::default()
            };
            known = Some(cortex.neurons());
            cortex.record()?
        }
    };
    let recording = match mouse {
        Mouse::Synthetic => recording,
        _ => recording.shrunk(recipe.shrink)?,
    };
    let recording = Arc::new(recording.scaled());
    let set: BehaviorSet = recipe.behavior().map_err(anyhow::Error::msg)?;
    let seq_len = if known.is_some() { 1 } else { recipe.seq_len };
    let windows = |split| Windows::new(&recording, split, seq_len, set);
    Ok(Data {
        train: windows(Split::Train)?,
        validation: windows(Split::Validation)?,
        test: windows(Split::Test)?,
        known,
    })
}
