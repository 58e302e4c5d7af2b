//! CIFAR-100-C (Hendrycks and Dietterich 2019) as it is published: a file of 50,000 images for each corruption, and their labels.

use std::path::Path;

use tensor::{DType, Tensor, io::read_npy};

use super::{ImageSet, Split, cifar100_part, set::Source};
use crate::{
    Error,
    corruptions::{Corruption, Severity},
};

/// The images of one corruption and severity, 32 x 32: 10,000 in the published set.
///
/// `folder` is what `CIFAR-100-C.tar` (record 3555552 of zenodo.org) unpacks to: `<corruption>.npy`, in which the severities
/// follow each other, and `labels.npy`.
///
/// # Errors
/// If a file is missing or of another form.
pub fn cifar100_c(
    folder: impl AsRef<Path>,
    corruption: Corruption,
    severity: Severity,
) -> Result<ImageSet, Error> {
    let folder = folder.as_ref();
    let path = folder.join(format!("{}.npy", corruption.name()));
    let malformed = |path: &Path, expected: String, found: String| Error::Malformed {
        path: path.to_owned(),
        expected,
        found,
    };
    let read = |path: &Path| -> Result<Tensor, Error> {
        if !path.exists() {
            let expected =
                "a file of CIFAR-100-C (CIFAR-100-C.tar of zenodo.org/record/3555552, unpacked)";
            return Err(malformed(path, expected.into(), "none".into()));
        }
        let unreadable = |e: tensor::Error| malformed(path, "an array".into(), e.to_string());
        read_npy(path).map_err(unreadable)
    };
    let images = read(&path)?;
    let n = match *images.dims() {
        [n, 32, 32, 3] if images.dtype() == DType::U8 && n > 0 && n % 5 == 0 => n / 5,
        _ => {
            let found = format!("{} of {}", images.shape(), images.dtype());
            let expected = "[n, 32, 32, 3] bytes of five severities one after another";
            return Err(malformed(&path, expected.into(), found));
        }
    };
    // The severities lie one after another, so one is contiguous.
    let images = images.narrow(0, (severity.get() - 1) * n, n).contiguous();
    let path = folder.join("labels.npy");
    let labels = read(&path)?;
    if labels.dims() != [5 * n] {
        let found = labels.shape().to_string();
        return Err(malformed(&path, format!("[{}] labels, one for each image", 5 * n), found));
    }
    let classes = cifar100_part(Split::Test).classes().to_vec();
    let labels = labels.narrow(0, (severity.get() - 1) * n, n).to_f64_vec();
    let whole = |l: &f64| l.fract() == 0.0 && (0.0..classes.len() as f64).contains(l);
    if let Some(label) = labels.iter().find(|l| !whole(l)) {
        let expected = format!("labels below {}", classes.len());
        return Err(malformed(&path, expected, format!("label {label}")));
    }
    let labels: Vec<u32> = labels.into_iter().map(|l| l as u32).collect();
    let source = Source::Pixels { height: 32, width: 32, bytes: images.to_vec() };
    Ok(ImageSet::new(source, &labels, classes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::io::write_npy;

    /// Two images of each severity; every byte of an image is its number.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..10).flat_map(|i| vec![i; 3072]).collect();
        write_npy(dir.path().join("fog.npy"), &Tensor::new(&bytes, [10, 32, 32, 3])).unwrap();
        let labels: Vec<u8> = (0..10).map(|i| 90 + i % 2).collect();
        write_npy(dir.path().join("labels.npy"), &Tensor::new(&labels, [10])).unwrap();
        dir
    }

    #[test]
    fn a_severity_is_a_fifth_of_the_file() {
        let dir = folder();
        for level in 1..=5 {
            let severity = Severity::new(level).unwrap();
            let set = cifar100_c(dir.path(), Corruption::Fog, severity).unwrap();
            assert_eq!((set.len(), set.classes().len()), (2, 100));
            for i in 0..2 {
                let (image, label) = set.get(i).unwrap();
                assert_eq!(image.pixel(31, 0), [(2 * (level - 1) + i) as u8; 3]);
                assert_eq!(label, 90 + i);
            }
        }
    }

    #[test]
    fn what_is_missing_or_of_another_form_is_named() {
        let dir = folder();
        let severity = Severity::new(1).unwrap();
        let error =
            |corruption| cifar100_c(dir.path(), corruption, severity).unwrap_err().to_string();
        assert!(error(Corruption::Snow).contains("snow.npy"));
        let bytes = |n: usize| Tensor::new(&vec![0u8; n * 3072], [n, 32, 32, 3]);
        write_npy(dir.path().join("snow.npy"), &bytes(11)).unwrap();
        assert!(error(Corruption::Snow).contains("five severities"));
        write_npy(dir.path().join("snow.npy"), &bytes(15)).unwrap();
        assert!(error(Corruption::Snow).contains("[15] labels"));
        let labels = Tensor::new(&[100u8; 10], [10]);
        write_npy(dir.path().join("labels.npy"), &labels).unwrap();
        assert!(error(Corruption::Fog).contains("label 100"));
        std::fs::write(dir.path().join("fog.npy"), "no array").unwrap();
        assert!(error(Corruption::Fog).contains("fog.npy"));
    }
}
