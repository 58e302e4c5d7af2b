//! CIFAR-10 and CIFAR-100 (Krizhevsky 2009) as their authors publish them: the "binary version" and the "python version",
//! unpacked or as the archive.

use std::path::Path;

use tensor::io::{Pickled, read_pickled_dict};

use super::{ImageSet, Split, members, set::Source};
use crate::Error;

/// Pixels along an edge.
const SIZE: usize = 32;
const PIXELS: usize = SIZE * SIZE;

/// Which of the two: what its files are called, and what stands before the pixels of a record.
struct Layout {
    name: &'static str,
    train: &'static [&'static str],
    test: &'static [&'static str],
    classes: &'static str,
    /// Bytes of labels in a record; the last is the class.
    labels: usize,
    count: usize,
}

const CIFAR10: Layout = Layout {
    name: "CIFAR-10",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
    classes: "batches.meta.txt",
    labels: 1,
    count: 10,
};

const CIFAR100: Layout = Layout {
    name: "CIFAR-100",
    train: &["train.bin"],
    test: &["test.bin"],
    classes: "fine_label_names.txt",
    labels: 2,
    count: 100,
};

/// CIFAR-10, 32 x 32: 50,000 or 10,000 images of 10 classes.
///
/// `path` is `cifar-10-binary.tar.gz`, `cifar-10-python.tar.gz`, or a folder that they were unpacked into.
///
/// # Errors
/// If files are missing, incomplete or of another format.
pub fn cifar10(path: impl AsRef<Path>, split: Split) -> Result<ImageSet, Error> {
    read(path.as_ref(), split, &CIFAR10)
}

/// CIFAR-100 with its fine labels, 32 x 32: 50,000 or 10,000 images of 100 classes.
///
/// `path` is `cifar-100-binary.tar.gz`, `cifar-100-python.tar.gz`, or a folder that they were unpacked into.
///
/// # Errors
/// As [`cifar10`].
pub fn cifar100(path: impl AsRef<Path>, split: Split) -> Result<ImageSet, Error> {
    read(path.as_ref(), split, &CIFAR100)
}

fn read(path: &Path, split: Split, layout: &Layout) -> Result<ImageSet, Error> {
    let files = if split == Split::Train { layout.train } else { layout.test };
    // The Python version has the same names without their ending, and "meta" for the classes.
    let python: Vec<&str> = files.iter().map(|f| f.trim_end_matches(".bin")).collect();
    let meta = if layout.count == 10 { "batches.meta" } else { "meta" };
    let names = [files, &[layout.classes], &python, &[meta]].concat();
    let mut found = members::read(path, &names)?;
    let pickled = found.split_off(files.len() + 1);
    let complete = |files: &[Option<Vec<u8>>]| files.iter().all(Option::is_some);
    let mut set = Planes { path, layout, bytes: Vec::new(), labels: Vec::new() };
    if complete(&found) {
        let names = found.pop().flatten().unwrap_or_default();
        for (file, bytes) in files.iter().zip(found.iter().flatten()) {
            set.add_records(file, bytes)?;
        }
        let names = String::from_utf8_lossy(&names).into_owned();
        return set.finish(names.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect());
    }
    if complete(&pickled) {
        let mut pickled: Vec<Vec<u8>> = pickled.into_iter().flatten().collect();
        let classes = pickled.pop().unwrap_or_default();
        for (file, bytes) in python.iter().zip(&pickled) {
            set.add_pickle(file, bytes)?;
        }
        let classes = set.pickled_classes(meta, &classes)?;
        return set.finish(classes);
    }
    let missing = names.iter().zip(found.iter().chain(&pickled)).filter(|(_, f)| f.is_none());
    let missing: Vec<&str> = missing.map(|(name, _)| *name).take(files.len() + 1).collect();
    Err(Error::Malformed {
        path: path.to_owned(),
        expected: format!("the binary or the python version of {}", layout.name),
        found: format!("no {}", missing.join(", ")),
    })
}

/// Images as they come: planes of red, green and blue.
struct Planes<'a> {
    path: &'a Path,
    layout: &'a Layout,
    /// Interleaved.
    bytes: Vec<u8>,
    labels: Vec<u32>,
}

impl Planes<'_> {
    fn malformed(&self, file: &str, expected: String, found: String) -> Error {
        Error::Malformed { path: self.path.join(file), expected, found }
    }

    fn add_image(&mut self, planes: &[u8], label: u32) {
        for i in 0..PIXELS {
            self.bytes.extend([planes[i], planes[PIXELS + i], planes[2 * PIXELS + i]]);
        }
        self.labels.push(label);
    }

    /// Records of labels and pixels.
    fn add_records(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let labels = self.layout.labels;
        let record = labels + 3 * PIXELS;
        if bytes.is_empty() || !bytes.len().is_multiple_of(record) {
            let expected = format!("records of {record} bytes");
            return Err(self.malformed(file, expected, format!("{} bytes", bytes.len())));
        }
        for record in bytes.chunks_exact(record) {
            self.add_image(&record[labels..], record[labels - 1].into());
        }
        Ok(())
    }

    /// A dictionary of `data`, `[n, 3072]`, and `labels` or `fine_labels`.
    fn add_pickle(&mut self, file: &str, bytes: &[u8]) -> Result<(), Error> {
        let entries = self.entries(file, bytes)?;
        let key = if self.layout.count == 10 { "labels" } else { "fine_labels" };
        let (mut data, mut labels) = (None, None);
        for (name, value) in entries {
            match (name.as_str(), value) {
                ("data", Pickled::Bytes(bytes)) => data = Some(bytes),
                (name, Pickled::Numbers(numbers)) if name == key => labels = Some(numbers),
                _ => {}
            }
        }
        let expected = || format!("\"data\" of n x 3072 bytes and n numbers in \"{key}\"");
        let (Some(data), Some(labels)) = (data, labels) else {
            return Err(self.malformed(file, expected(), "a pickle without them".into()));
        };
        if labels.is_empty() || data.len() != labels.len() * 3 * PIXELS {
            let found = format!("{} bytes and {} numbers", data.len(), labels.len());
            return Err(self.malformed(file, expected(), found));
        }
        for (image, label) in data.chunks_exact(3 * PIXELS).zip(labels) {
            // What is no class is found below.
            self.add_image(image, u32::try_from(label).unwrap_or(u32::MAX));
        }
        Ok(())
    }

    fn pickled_classes(&self, file: &str, bytes: &[u8]) -> Result<Vec<String>, Error> {
        let key = if self.layout.count == 10 { "label_names" } else { "fine_label_names" };
        for (name, value) in self.entries(file, bytes)? {
            if let Pickled::Texts(names) = value
                && name == key
            {
                return Ok(names);
            }
        }
        Err(self.malformed(file, format!("names in \"{key}\""), "a pickle without them".into()))
    }

    fn entries(&self, file: &str, bytes: &[u8]) -> Result<Vec<(String, Pickled)>, Error> {
        read_pickled_dict(bytes)
            .map_err(|reason| self.malformed(file, "a pickled dictionary".into(), reason))
    }

    fn finish(self, classes: Vec<String>) -> Result<ImageSet, Error> {
        let Layout { name, count, .. } = *self.layout;
        if classes.len() != count {
            let found = format!("{} names", classes.len());
            return Err(self.malformed("", format!("the {count} classes of {name}"), found));
        }
        if let Some(wrong) = self.labels.iter().find(|&&l| l as usize >= count) {
            let expected = format!("labels below {count}, as {name} has");
            return Err(self.malformed("", expected, format!("label {wrong}")));
        }
        let source = Source::Pixels { height: SIZE, width: SIZE, bytes: self.bytes };
        Ok(ImageSet::new(source, &self.labels, classes))
    }
}
