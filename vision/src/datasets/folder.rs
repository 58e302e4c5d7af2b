//! Folders of picture files: one folder a class, and TinyImageNet, unpacked or as its zip archive.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use super::{ImageSet, Split, members, set::Source};
use crate::Error;

/// Endings of picture files, in small letters.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// A folder of one folder a class with its JPEG and PNG files (sorted by name), as torchvision's `ImageFolder`.
///
/// Files are read when an image is asked for.
///
/// # Errors
/// If the folder cannot be listed, or has no picture in any folder.
pub fn image_folder(path: impl AsRef<Path>) -> Result<ImageSet, Error> {
    let path = path.as_ref();
    let (mut files, mut labels, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for folder in members::subfolders(path)? {
        let pictures = pictures(&folder)?;
        if pictures.is_empty() {
            continue;
        }
        labels.extend(pictures.iter().map(|_| classes.len() as u32));
        files.extend(pictures);
        classes.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
    }
    if files.is_empty() {
        return Err(Error::Malformed {
            path: path.to_owned(),
            expected: "folders, one a class, with .jpg, .jpeg or .png files".into(),
            found: "none".into(),
        });
    }
    Ok(ImageSet::new(Source::Files(files), &labels, classes))
}

/// The picture files of a folder, by name.
fn pictures(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_picture = |path: &PathBuf| {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        ending.is_some_and(|e| ENDINGS.contains(&e.as_str())) && path.is_file()
    };
    let mut files: Vec<PathBuf> =
        members::entries(folder)?.into_iter().filter(is_picture).collect();
    files.sort();
    Ok(files)
}

/// TinyImageNet, 64 x 64: 100,000 training or 10,000 validation images of 200 classes, named as in `words.txt`.
///
/// `path` is `tiny-imagenet-200.zip`, which is then kept in memory, or the folder it was unpacked into. A class's index is its
/// place among the sorted names of the folders below `train`, for validation too.
///
/// # Errors
/// If something is missing, damaged, or of another layout.
pub fn tiny_imagenet(path: impl AsRef<Path>, split: Split) -> Result<ImageSet, Error> {
    let path = path.as_ref();
    if path.is_dir() { unpacked(path, split) } else { zipped(path, split) }
}

/// What is expected where something is missing.
const TINY: &str = "train/<wnid>/images, val/images and val/val_annotations.txt of TinyImageNet";

fn malformed(path: &Path, found: impl Into<String>) -> Error {
    Error::Malformed { path: path.to_owned(), expected: TINY.into(), found: found.into() }
}

fn unpacked(path: &Path, split: Split) -> Result<ImageSet, Error> {
    let nested = path.join("tiny-imagenet-200");
    let root = if nested.is_dir() { nested } else { path.to_owned() };
    if !root.join("train").is_dir() {
        return Err(malformed(path, "no folder train"));
    }
    let folders = members::subfolders(&root.join("train"))?;
    let name = |p: &PathBuf| p.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let classes = Classes::new(folders.iter().map(name).collect());
    let (mut files, mut labels) = (Vec::new(), Vec::new());
    match split {
        Split::Train => {
            for (folder, label) in folders.iter().zip(0..) {
                let pictures = pictures(&folder.join("images"))?;
                labels.extend(pictures.iter().map(|_| label));
                files.extend(pictures);
            }
        }
        Split::Test => {
            let annotations = root.join("val/val_annotations.txt");
            let text = fs::read_to_string(&annotations);
            let text = text.map_err(|e| members::unreadable(&annotations, e))?;
            let mut annotated = classes.annotated(&annotations, &text)?;
            // As in the archive, whose entries are sorted.
            annotated.sort();
            for (file, label) in annotated {
                files.push(root.join("val/images").join(file));
                labels.push(label);
            }
        }
    }
    if files.is_empty() {
        return Err(malformed(path, "no pictures"));
    }
    let words = fs::read_to_string(root.join("words.txt")).unwrap_or_default();
    Ok(ImageSet::new(Source::Files(files), &labels, classes.named(&words)))
}

fn zipped(path: &Path, split: Split) -> Result<ImageSet, Error> {
    let file = File::open(path).map_err(|e| members::unreadable(path, e))?;
    let damaged = |e: zip::result::ZipError| malformed(path, format!("a damaged archive ({e})"));
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(damaged)?;
    let names = archive.file_names().map(|name| Ok(name?.into_owned()));
    let names: Vec<String> = names.collect::<Result<_, _>>().map_err(damaged)?;
    // `tiny-imagenet-200/train/n01443537/images/n01443537_0.JPEG`
    let parts = |name: &str| -> Vec<String> { name.split('/').map(str::to_owned).collect() };
    let in_folder = |name: &str, folder: &str| {
        parts(name).iter().rev().skip(1).any(|p| p == folder) && !name.ends_with('/')
    };
    let wnid = |name: &str| {
        let parts = parts(name);
        let at = parts.iter().position(|p| p == "train")?;
        parts.get(at + 1).cloned().filter(|_| parts.len() > at + 2)
    };
    let classes = Classes::new(names.iter().filter_map(|n| wnid(n)).collect());
    let mut text = |ending: &str| {
        let name = names.iter().find(|n| n.ends_with(ending));
        let name = name.ok_or_else(|| malformed(path, format!("no {ending}")))?;
        let mut text = String::new();
        let mut entry = archive.by_name(name).map_err(damaged)?;
        let read = entry.read_to_string(&mut text);
        read.map_err(|e| malformed(path, format!("{name} cannot be read ({e})")))?;
        Ok::<String, Error>(text)
    };
    let words = text("words.txt").unwrap_or_default();
    let is_picture = |name: &&String| name.to_lowercase().ends_with(".jpeg");
    let mut wanted: Vec<(String, u32)> = match split {
        Split::Train => names
            .iter()
            .filter(is_picture)
            .filter_map(|n| Some((n.clone(), *classes.index.get(&wnid(n)?)?)))
            .collect(),
        Split::Test => {
            let annotations = text("val_annotations.txt")?;
            let labels: HashMap<String, u32> =
                classes.annotated(path, &annotations)?.into_iter().collect();
            let of = |n: &String| {
                let label = *labels.get(n.rsplit('/').next()?)?;
                in_folder(n, "val").then(|| (n.clone(), label))
            };
            names.iter().filter(is_picture).filter_map(of).collect()
        }
    };
    wanted.sort();
    let (mut bytes, mut ends, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (name, label) in wanted {
        let mut entry = archive.by_name(&name).map_err(damaged)?;
        let read = entry.read_to_end(&mut bytes);
        read.map_err(|e| malformed(path, format!("{name} cannot be read ({e})")))?;
        ends.push(bytes.len());
        labels.push(label);
    }
    if labels.is_empty() {
        return Err(malformed(path, "no pictures"));
    }
    let source = Source::Encoded { origin: path.to_owned(), bytes: Cow::Owned(bytes), ends };
    Ok(ImageSet::new(source, &labels, classes.named(&words)))
}

/// The identifiers of classes, sorted.
struct Classes {
    wnids: Vec<String>,
    index: HashMap<String, u32>,
}

impl Classes {
    fn new(wnids: BTreeSet<String>) -> Self {
        let wnids: Vec<String> = wnids.into_iter().collect();
        let index = wnids.iter().cloned().zip(0..).collect();
        Classes { wnids, index }
    }

    /// File names and labels of `val_annotations.txt`: file, wnid and box, between tabs.
    fn annotated(&self, path: &Path, text: &str) -> Result<Vec<(String, u32)>, Error> {
        let mut found = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let mut fields = line.split('\t');
            let (Some(file), Some(wnid)) = (fields.next(), fields.next()) else {
                return Err(malformed(path, format!("{line:?} in line {}", i + 1)));
            };
            // A name that leads elsewhere is no name of this set.
            let label = self.index.get(wnid).filter(|_| !file.contains(['/', '\\']));
            let label = label.ok_or_else(|| malformed(path, format!("{line:?} in line {}", i + 1)));
            found.push((file.to_owned(), *label?));
        }
        Ok(found)
    }

    /// Names from `words.txt` (wnid, tab, words), the identifier where there is none.
    fn named(self, words: &str) -> Vec<String> {
        let words: HashMap<&str, &str> = words.lines().filter_map(|l| l.split_once('\t')).collect();
        let name = |wnid: String| words.get(wnid.as_str()).map_or(wnid.clone(), |w| w.to_string());
        self.wnids.into_iter().map(name).collect()
    }
}
