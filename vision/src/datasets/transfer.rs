//! The five data sets of the paper's transfer experiment (Table 4), as the CoOp project lays them out and splits them.
//!
//! ```text
//! ROOT/oxford_flowers/  jpg/                  split_zhou_OxfordFlowers.json
//!      dtd/             images/               split_zhou_DescribableTextures.json
//!      oxford_pets/     images/               split_zhou_OxfordPets.json
//!      fgvc_aircraft/   images/               images_variant_{train,val,test}.txt, variants.txt
//!      ucf101/          UCF-101-midframes/    split_zhou_UCF101.json
//! ```
//!
//! The pictures are those of the published archives (`102flowers.tgz`, `dtd-r1.0.1.tar.gz`, `images.tar.gz`,
//! `fgvc-aircraft-2013b.tar.gz`, whose folder `data` becomes `fgvc_aircraft`, and CoOp's `UCF-101-midframes.zip`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tensor::Stream;

use crate::Error;

/// One of the five.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferSet {
    /// Oxford Flowers 102 (Nilsback & Zisserman 2008).
    Flowers,
    /// Describable Textures Dataset (Cimpoi et al. 2014).
    Dtd,
    /// Oxford-IIIT Pets (Parkhi et al. 2012).
    Pets,
    /// FGVC Aircraft, at the level of variants (Maji et al. 2013).
    Aircraft,
    /// UCF101 (Soomro et al. 2012), the middle frame of each video.
    Ucf101,
}

/// A picture's file and class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labeled {
    /// The file.
    pub path: PathBuf,
    /// Index into [`Splits::classes`].
    pub label: usize,
}

/// What a set consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Pictures to learn from.
    pub train: Vec<Labeled>,
    /// Pictures to choose by.
    pub val: Vec<Labeled>,
    /// Pictures to test on.
    pub test: Vec<Labeled>,
}

/// No set has nearly as many classes: a larger label is a damaged file.
const MOST_CLASSES: usize = 10_000;

impl TransferSet {
    /// All five, in the order of Table 4.
    pub const ALL: [Self; 5] = [Self::Flowers, Self::Dtd, Self::Pets, Self::Aircraft, Self::Ucf101];

    /// The name in Table 4.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flowers => "Oxford Flowers",
            Self::Dtd => "DTD",
            Self::Pets => "Oxford Pets",
            Self::Aircraft => "FGVC Aircraft",
            Self::Ucf101 => "UCF101",
        }
    }

    /// The folder in `ROOT`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Flowers => "oxford_flowers",
            Self::Dtd => "dtd",
            Self::Pets => "oxford_pets",
            Self::Aircraft => "fgvc_aircraft",
            Self::Ucf101 => "ucf101",
        }
    }

    /// The set of this [`folder`](Self::folder) name.
    pub fn of_folder(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.folder() == name)
    }

    /// The folder of pictures and the split file, where there is one for all three parts.
    fn files(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Flowers => ("jpg", Some("split_zhou_OxfordFlowers.json")),
            Self::Dtd => ("images", Some("split_zhou_DescribableTextures.json")),
            Self::Pets => ("images", Some("split_zhou_OxfordPets.json")),
            Self::Aircraft => ("images", None),
            Self::Ucf101 => ("UCF-101-midframes", Some("split_zhou_UCF101.json")),
        }
    }

    /// Reads the splits of the set in `root`; pictures are not opened.
    ///
    /// # Errors
    /// [`Error::Open`] if a file cannot be read, [`Error::Splits`] if it does not say what it should, or a part is empty.
    pub fn read(self, root: &Path) -> Result<Splits, Error> {
        let folder = root.join(self.folder());
        let (pictures, split) = self.files();
        let pictures = folder.join(pictures);
        let splits = match split {
            Some(file) => from_json(&folder.join(file), &pictures)?,
            None => aircraft(&folder, &pictures)?,
        };
        for (part, items) in [("train", &splits.train), ("test", &splits.test)] {
            if items.is_empty() {
                return Err(wrong(
                    &folder,
                    format!("expected pictures in the part {part}, found none"),
                ));
            }
        }
        Ok(splits)
    }
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::Splits { path: path.to_owned(), reason }
}

fn text_of(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Open { path: path.to_owned(), source })
}

/// `{"train": [[picture, label, class name], …], "val": …, "test": …}`.
fn from_json(path: &Path, pictures: &Path) -> Result<Splits, Error> {
    let json: Value = serde_json::from_str(&text_of(path)?)
        .map_err(|e| wrong(path, format!("expected JSON, but {e}")))?;
    let mut classes: Vec<Option<String>> = Vec::new();
    let mut part = |name: &str| -> Result<Vec<Labeled>, Error> {
        let items = json.get(name).and_then(Value::as_array);
        let items =
            items.ok_or_else(|| wrong(path, format!("expected a list {name:?}, found none")))?;
        let item = |(i, item): (usize, &Value)| {
            let parsed = (|| {
                let [file, label, class] = item.as_array()?.as_slice() else { return None };
                let label = usize::try_from(label.as_u64()?).ok().filter(|l| *l < MOST_CLASSES)?;
                Some((inside(pictures, file.as_str()?)?, label, class.as_str()?))
            })();
            let (file, label, class) = parsed.ok_or_else(|| {
                let expected = "expected [picture, label, class name]";
                wrong(path, format!("{name}[{i}]: {expected}, found {}", beginning(item)))
            })?;
            if classes.len() <= label {
                classes.resize(label + 1, None);
            }
            classes[label].get_or_insert_with(|| class.to_owned());
            Ok(Labeled { path: file, label })
        };
        items.iter().enumerate().map(item).collect()
    };
    let (train, val, test) = (part("train")?, part("val")?, part("test")?);
    let named = classes.into_iter().enumerate().map(|(label, name)| {
        name.ok_or_else(|| {
            wrong(path, format!("no picture has label {label}, but one has a larger"))
        })
    });
    Ok(Splits { classes: named.collect::<Result<_, _>>()?, train, val, test })
}

/// `variants.txt`: a class a line; `images_variant_train.txt`: `1025794 707-320`.
fn aircraft(folder: &Path, pictures: &Path) -> Result<Splits, Error> {
    let names = folder.join("variants.txt");
    let classes: Vec<String> = text_of(&names)?
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(str::to_owned)
        .collect();
    let part = |name: &str| -> Result<Vec<Labeled>, Error> {
        let path = folder.join(format!("images_variant_{name}.txt"));
        let text = text_of(&path)?;
        let item = |(i, line): (usize, &str)| {
            let parsed = line.trim().split_once(' ').and_then(|(number, class)| {
                let label = classes.iter().position(|c| c == class.trim())?;
                let path = inside(pictures, &format!("{number}.jpg"))?;
                Some(Labeled { path, label })
            });
            parsed.ok_or_else(|| {
                let expected = "expected a picture's number and a class of variants.txt";
                wrong(&path, format!("line {}: {expected}, found {:.80?}", i + 1, line))
            })
        };
        text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()).map(item).collect()
    };
    let (train, val, test) = (part("train")?, part("val")?, part("test")?);
    Ok(Splits { classes, train, val, test })
}

/// The file in the folder, unless its name leads out of it.
fn inside(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = |c| matches!(c, std::path::Component::Normal(_));
    (!name.is_empty() && Path::new(name).components().all(plain)).then(|| folder.join(name))
}

fn beginning(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// `shots` items of every class at random, in the order in which they were; all of a class that has fewer.
///
/// What few-shot learning learns from: 16 of each class in the paper. `label` gives an item's class.
pub fn few_shot<T: Clone>(
    items: &[T],
    label: impl Fn(&T) -> usize,
    shots: usize,
    stream: &Stream,
) -> Vec<T> {
    let classes = items.iter().map(|i| label(i) + 1).max().unwrap_or(0);
    let mut chosen: Vec<usize> = Vec::new();
    for class in 0..classes {
        let mut of_class: Vec<usize> =
            (0..items.len()).filter(|&i| label(&items[i]) == class).collect();
        stream.derive_index(class as u64).shuffle(&mut of_class);
        chosen.extend(of_class.into_iter().take(shots));
    }
    chosen.sort_unstable();
    chosen.into_iter().map(|i| items[i].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn split_files_give_pictures_and_classes() {
        let root = tempfile::tempdir().unwrap();
        let json = r#"{"train": [["a/1.jpg", 1, "b"], ["a/2.jpg", 0, "a"]], "val": [], "test": [["3.jpg", 1, "b"]]}"#;
        write(root.path().join("dtd/split_zhou_DescribableTextures.json"), json);
        let dtd = TransferSet::Dtd.read(root.path()).unwrap();
        assert_eq!((dtd.classes, dtd.val.len()), (vec!["a".into(), "b".into()], 0));
        let first = Labeled { path: root.path().join("dtd/images/a/1.jpg"), label: 1 };
        assert_eq!((dtd.train.len(), &dtd.train[0]), (2, &first));
        let aircraft = root.path().join("fgvc_aircraft");
        write(aircraft.join("variants.txt"), "707-320\nA340 500\n");
        write(aircraft.join("images_variant_train.txt"), "12 A340 500\n");
        write(aircraft.join("images_variant_val.txt"), "");
        write(aircraft.join("images_variant_test.txt"), "13 707-320\n");
        let read = TransferSet::Aircraft.read(root.path()).unwrap();
        let file = aircraft.join("images/12.jpg");
        assert_eq!((read.classes.len(), &read.train[0]), (2, &Labeled { path: file, label: 1 }));
    }

    #[test]
    fn damaged_split_files_are_errors_with_a_place() {
        let root = tempfile::tempdir().unwrap();
        let error = TransferSet::Pets.read(root.path()).unwrap_err().to_string();
        assert!(error.contains("split_zhou_OxfordPets.json"), "{error}");
        for (json, part) in [
            ("{", "expected JSON"),
            ("{}", "expected a list \"train\""),
            (r#"{"train": [["../../etc/passwd", 0, "a"]]}"#, "train[0]: expected [picture, label"),
            (r#"{"train": [["/etc/passwd", 0, "a"]]}"#, "train[0]"),
            (r#"{"train": [["a.jpg", 99999999999, "a"]]}"#, "train[0]"),
            (r#"{"train": [["a.jpg", -1, "a"]]}"#, "train[0]"),
            (r#"{"train": [["a.jpg", 2, "a"]], "val": [], "test": []}"#, "no picture has label 0"),
            (r#"{"train": [["a.jpg", 0, "a"]], "val": [], "test": []}"#, "in the part test"),
        ] {
            write(root.path().join("oxford_pets/split_zhou_OxfordPets.json"), json);
            let error = TransferSet::Pets.read(root.path()).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        write(root.path().join("fgvc_aircraft/variants.txt"), "A\n");
        write(root.path().join("fgvc_aircraft/images_variant_train.txt"), "1 A\n2 B\n");
        let error = TransferSet::Aircraft.read(root.path()).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("\"2 B\""), "{error}");
    }

    #[test]
    fn shots_are_of_every_class_and_depend_on_the_seed() {
        let items: Vec<(usize, usize)> = (0..100).map(|i| (i, i % 4)).collect();
        let draw = |seed, shots| few_shot(&items, |i| i.1, shots, &Stream::new(seed));
        let a = draw(0, 5);
        assert!((0..4).all(|class| a.iter().filter(|i| i.1 == class).count() == 5));
        assert_eq!(a, draw(0, 5));
        assert_ne!(a, draw(1, 5));
        assert_eq!(draw(0, 1000), items);
    }
}
