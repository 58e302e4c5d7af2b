//! E6: trained nets of Table 1 on corrupted test images.
//!
//! Nothing is trained here: weights come from the results of `table1`, which is run first where the program can do so by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use nn::{ModuleExt, data::LoaderOptions, load_model};
use serde::{Deserialize, Serialize};
use tensor::DType;
use vision::{
    augment::loader,
    corruptions::{Corruption, Severity, corrupted},
    datasets::{Image, ImageSet, Split, cifar100_c, cifar100_part},
};

use super::{
    Study, plan,
    recipe::ImageData,
    report,
    train::{self, Done, TrialSpec, WEIGHTS},
};
use crate::{
    experiments::{Request, RunRecord, ScaleName, Session, machine},
    failure::{Failure, Outcome, say},
    results::{TrialFolder, write_json},
    settings,
};

/// Images tested at once.
const BATCH: usize = 250;

/// What can be chosen with `--set`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How strongly images are corrupted, 1 to 5.
    severity: usize,
    /// Folder with the trials of `table1`; empty: that of this scale among the results.
    checkpoints: String,
    /// Folder with photos of frost; empty: frost is left out.
    frost: String,
    /// Of what is random in corruptions.
    corruption_seed: u64,
}

impl Settings {
    fn of(request: &Request) -> Outcome<(Self, Severity)> {
        let default = Settings {
            severity: 1,
            checkpoints: String::new(),
            frost: String::new(),
            corruption_seed: 0,
        };
        let settings: Settings = settings::overridden(&default, &request.set)?;
        let severity = Severity::new(settings.severity).ok_or_else(|| {
            Failure::Usage(format!("table2: severity = {}: expected 1 to 5", settings.severity))
        })?;
        if request.data.is_some() && !settings.frost.is_empty() {
            return Err(Failure::Usage(
                "table2: CIFAR-100-C has its own frost: give either --data or --set frost".into(),
            ));
        }
        Ok((settings, severity))
    }
}

/// What defines a trial: a net and the images it is to read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RobustSpec {
    pub(super) net: TrialSpec,
    pub(super) severity: usize,
    /// From the published set, not made here.
    pub(super) published: bool,
    /// Photos of frost, by name.
    pub(super) photos: Vec<String>,
    pub(super) corruption_seed: u64,
}

/// What a finished trial has left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RobustDone {
    /// Percent right on the clean test images, as training left it.
    pub(super) clean: f64,
    /// Percent right by the name of the corruption.
    pub(super) corrupted: Vec<(String, f64)>,
    pub(super) test_images: usize,
    pub(super) seconds: f64,
}

/// Where the nets are.
struct Source {
    folder: PathBuf,
    names: Vec<String>,
    /// The request for `table1` that makes them.
    made_by: Option<Request>,
}

/// The conditions of Table 2; the frozen mask is not one of them.
fn is_asked(request: &Request, condition: &str, seed: u64) -> bool {
    let named = &request.conditions;
    condition != "lpf256"
        && (named.is_empty() || named.iter().any(|c| c == condition))
        && (request.seeds.is_empty() || request.seeds.contains(&seed))
}

fn source(study: &Study, request: &Request, settings: &Settings) -> Outcome<Source> {
    if request.scale != ScaleName::Paper && settings.checkpoints.is_empty() {
        let made_by = Request { data: None, set: Vec::new(), ..request.clone() };
        let (_, trials) = plan(study, &made_by)?;
        let asked = trials.iter().filter(|t| {
            t.data == ImageData::Cifar100 && is_asked(request, &t.condition.to_string(), t.seed)
        });
        let names = asked.map(super::Trial::name).collect();
        let folder = request.results.join(study.name).join(made_by.label());
        return Ok(Source { folder, names, made_by: Some(made_by) });
    }
    let folder = if settings.checkpoints.is_empty() {
        only_label(study, request)?
    } else {
        PathBuf::from(&settings.checkpoints)
    };
    let mut names = Vec::new();
    for (name, trial) in TrialFolder::all(&folder) {
        let spec: TrialSpec = trial.recipe()?;
        if trial.is_done()
            && spec.dataset == ImageData::Cifar100
            && is_asked(request, &spec.condition, spec.seed)
        {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(Failure::Usage(format!(
            "table2: {} has no finished trial of CIFAR-100 that was asked for; expected a folder of table1's results \
             (results/table1/...)",
            folder.display()
        )));
    }
    Ok(Source { folder, names, made_by: None })
}

/// The results of `table1` at the paper's scale, whatever its data are called.
fn only_label(study: &Study, request: &Request) -> Outcome<PathBuf> {
    let folder = request.results.join(study.name);
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|e| ScaleName::of_label(&e.file_name().to_string_lossy()) == ScaleName::Paper)
        .map(|e| e.path())
        .collect();
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::Usage(format!(
            "table2: {} has no nets of the paper's scale; train them with cargo xtask reproduce {} --scale paper --data FOLDER, \
             or name a folder with --set checkpoints=FOLDER",
            folder.display(),
            study.name
        ))),
        several => {
            let names: Vec<String> = several.iter().map(|p| p.display().to_string()).collect();
            Err(Failure::Usage(format!(
                "table2: there are several sets of nets; choose one of them with --set checkpoints=FOLDER: {}",
                names.join(", ")
            )))
        }
    }
}

/// The names of the trials that a request means.
pub(super) fn trials(study: &Study, request: &Request) -> Outcome<Vec<String>> {
    let (settings, _) = Settings::of(request)?;
    Ok(source(study, request, &settings)?.names)
}

/// Photos of a folder, by name.
fn photos(folder: &str) -> anyhow::Result<Vec<(String, Image)>> {
    if folder.is_empty() {
        return Ok(Vec::new());
    }
    let context = || format!("--set frost={folder}");
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        if ending.is_some_and(|e| ["png", "jpg", "jpeg"].contains(&e.as_str())) {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(anyhow!("--set frost={folder}: expected PNG or JPEG photos, found none"));
    }
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, Image::read(&path)?))
    };
    paths.into_iter().map(read).collect()
}

/// A set for each corruption.
type Sets = Vec<(Corruption, ImageSet)>;

/// The test images of a net's classes under all corruptions.
struct Images<'a> {
    published: Option<&'a Path>,
    severity: Severity,
    seed: u64,
    photos: Vec<Image>,
    /// Those made last time, by the classes and images of each that they were made of.
    made: Option<((usize, usize), Sets)>,
}

impl Images<'_> {
    fn of(&mut self, net: &TrialSpec) -> anyhow::Result<&[(Corruption, ImageSet)]> {
        let key = (net.recipe.classes, net.recipe.test_per_class);
        if self.made.as_ref().is_none_or(|(made, _)| *made != key) {
            let some = |set: ImageSet| {
                let set = if key.0 == 0 { set } else { set.with_classes(0..key.0) };
                if key.1 == 0 { set } else { set.first_of_each_class(key.1) }
            };
            let mut sets = Vec::new();
            for corruption in Corruption::ALL {
                let set = match self.published {
                    Some(folder) => some(cifar100_c(folder, corruption, self.severity)?),
                    None if corruption.needs_photos() && self.photos.is_empty() => continue,
                    None => {
                        let clean = some(cifar100_part(Split::Test));
                        corrupted(&clean, corruption, self.severity, self.seed, &self.photos)?
                    }
                };
                sets.push((corruption, set));
            }
            self.made = Some((key, sets));
        }
        Ok(&self.made.as_ref().expect("made above").1)
    }
}

/// Tests the nets that are not tested yet, after training those that are not there.
pub(super) fn run(study: &Study, session: &Session) -> Outcome {
    let request = session.request;
    let (settings, severity) = Settings::of(request)?;
    let source = source(study, request, &settings)?;
    if let Some(made_by) = &source.made_by {
        train_nets(study, session, &source, made_by)?;
    }
    let (names, photos) = photos(&settings.frost)?.into_iter().unzip();
    let mut images = Images {
        published: request.data.as_deref(),
        severity,
        seed: settings.corruption_seed,
        photos,
        made: None,
    };
    let names: Vec<String> = names;
    for name in &source.names {
        session.check_stop()?;
        let net = TrialFolder::new(&source.folder, name);
        let spec = RobustSpec {
            net: net.recipe()?,
            severity: severity.get(),
            published: request.data.is_some(),
            photos: names.clone(),
            corruption_seed: settings.corruption_seed,
        };
        let trial = TrialFolder::new(&session.folder, name);
        trial.start(&spec)?;
        if !trial.is_done() {
            trial.finish(&test(session, &net, &spec, images.of(&spec.net)?)?)?;
            if !request.quiet {
                say!("{name}: tested on corrupted images");
            }
        }
    }
    Ok(())
}

/// `table1` for the nets that are asked for, with its report; another process may train some of them at the same time.
fn train_nets(study: &Study, session: &Session, source: &Source, made_by: &Request) -> Outcome {
    let missing = |name: &&String| !TrialFolder::new(&source.folder, name).is_done();
    if source.names.iter().any(|name| missing(&name)) {
        let folder = source.folder.clone();
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("creating {}", folder.display()))?;
        let record = RunRecord { command: made_by.command(study.name), machine: machine() };
        write_json(&folder.join("run.json"), &record)?;
        let training = Session { request: made_by, folder, stop: session.stop.clone() };
        super::run(study, &training)?;
        report::write(study, &source.folder, made_by.scale)?;
    }
    match source.names.iter().find(missing) {
        Some(name) => Err(anyhow!(
            "{}: {name} is still being trained by another process; run this again when it is done",
            source.folder.display()
        )
        .into()),
        None => Ok(()),
    }
}

/// One net on every corruption.
fn test(
    session: &Session,
    folder: &TrialFolder,
    spec: &RobustSpec,
    sets: &[(Corruption, ImageSet)],
) -> Outcome<RobustDone> {
    let began = std::time::Instant::now();
    let classes = sets.first().map_or(0, |(_, set)| set.classes().len());
    let (mut model, _) = train::net(&spec.net, classes)?;
    load_model(folder.file(WEIGHTS), &mut *model).map_err(anyhow::Error::from)?;
    model.to(DType::F32, session.request.device);
    let recipe = &spec.net.recipe;
    let mut corrupted = Vec::new();
    for (corruption, set) in sets {
        session.check_stop()?;
        let options = LoaderOptions { batch_size: BATCH, workers: 1, ..Default::default() };
        let batches = loader(set.clone(), options, recipe.evaluation(ImageData::Cifar100), None);
        let right = train::right(&*model, session.request.device, recipe.autocast(), &batches)
            .map_err(|e| anyhow!(e))?;
        let share = report::percent(right.top1, set.len() as u64);
        corrupted.push((corruption.name().to_owned(), share));
    }
    let done: Done = folder.done()?;
    Ok(RobustDone {
        clean: report::percent(done.last.top1, done.test_images),
        corrupted,
        test_images: sets.first().map_or(0, |(_, set)| set.len()),
        seconds: began.elapsed().as_secs_f64(),
    })
}
