//! Responses of neurons to images.

use std::path::Path;

use tensor::{
    DType, Tensor,
    io::{read_npy, read_npz},
};

use crate::error::{Error, check_length};

/// Responses to images, trial by trial.
#[derive(Clone, Debug)]
pub struct Recording {
    /// `[trials, images, units]`, f32 or f64.
    pub responses: Tensor,
    /// The animal (or session) of each unit.
    pub animals: Vec<u64>,
}

impl Recording {
    /// The animals, each once, ascending.
    pub fn distinct_animals(&self) -> Vec<u64> {
        let mut animals = self.animals.clone();
        animals.sort_unstable();
        animals.dedup();
        animals
    }

    /// The recording of one animal's units.
    ///
    /// # Panics
    /// If it has none.
    #[track_caller]
    pub fn of_animal(&self, animal: u64) -> Recording {
        self.of_animals("of_animal", |a| a == animal)
    }

    /// The recording without one animal's units, if it has any.
    ///
    /// # Panics
    /// If there are no others.
    #[track_caller]
    pub fn without_animal(&self, animal: u64) -> Recording {
        self.of_animals("without_animal", |a| a != animal)
    }

    #[track_caller]
    fn of_animals(&self, name: &str, which: impl Fn(u64) -> bool) -> Recording {
        let units = (0i64..).zip(&self.animals).filter(|(_, a)| which(**a));
        let (units, animals): (Vec<i64>, Vec<u64>) = units.unzip();
        assert!(
            !units.is_empty(),
            "{name}: no unit is left of those of {:?}",
            self.distinct_animals()
        );
        let index = Tensor::new(&units, [units.len()]);
        Recording { responses: self.responses.index_select(2, &index), animals }
    }

    /// The number of trials, images and units.
    pub fn size(&self) -> [usize; 3] {
        self.responses.dims_of::<3>()
    }

    /// The mean over trials, `[images, units]`.
    pub fn mean(&self) -> Tensor {
        self.responses.mean(&[0], false)
    }
}

/// Reads responses from an npy or npz file; see the [module](super).
///
/// # Errors
/// If the file cannot be read, lacks an array, or holds one of another shape.
pub fn read_responses(path: impl AsRef<Path>) -> Result<Recording, Error> {
    let path = path.as_ref();
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if ending != "npz" {
        let responses = by_trial(path, &read_npy(path)?)?;
        let animals = vec![0; responses.dims()[2]];
        return Ok(Recording { responses, animals });
    }
    let arrays = read_npz(path)?;
    let find = |name: &str| arrays.iter().find(|(n, _)| n == name).map(|(_, t)| t);
    let responses = match (find("responses"), find("half_counts"), find("counts")) {
        (Some(responses), ..) => by_trial(path, responses)?,
        // Spike counts of odd and even trials, and what makes them rates: `[2, images, units]`, `[2, units]`.
        (_, Some(counts), _) => {
            let (counts, scale) =
                (by_trial(path, counts)?, needed(path, find("hz_scale"), "hz_scale")?);
            let [halves, _, units] = counts.dims_of::<3>();
            if scale.dims() != [halves, units] {
                let expected = "[halves, units] as half_counts has";
                return Err(shape(path, "hz_scale", expected, scale));
            }
            &counts * &scale.to_dtype(counts.dtype()).unsqueeze(1)
        }
        (.., Some(counts)) => {
            let scale = needed(path, find("hz_per_count"), "hz_per_count")?;
            if scale.numel() != 1 {
                return Err(shape(path, "hz_per_count", "of one number", scale));
            }
            by_trial(path, counts)?.mul_scalar(scale.to_f64_vec()[0])
        }
        _ => {
            let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
            let reason = format!(
                "no array \"responses\" ([images, units] or [trials, images, units]) among: {}",
                names.join(", ")
            );
            return Err(Error::File { path: path.to_owned(), line: None, reason });
        }
    };
    let units = responses.dims()[2];
    let animals = match find("animal").or_else(|| find("session")) {
        None => vec![0; units],
        Some(animals) => {
            check_length("the list of animals", "units", animals.numel(), "responses", units)?;
            animals.to_f64_vec().into_iter().map(|a| a as u64).collect()
        }
    };
    Ok(Recording { responses, animals })
}

fn needed<'a>(path: &Path, array: Option<&'a Tensor>, name: &str) -> Result<&'a Tensor, Error> {
    array.ok_or_else(|| {
        let reason = format!("no array {name:?}, which turns counts into rates");
        Error::File { path: path.to_owned(), line: None, reason }
    })
}

fn shape(path: &Path, name: &str, expected: &'static str, found: &Tensor) -> Error {
    let what = format!("{}: {name}", path.display());
    Error::Shape { what, expected, found: found.dims().to_vec() }
}

/// `[trials, images, units]` in a float dtype.
fn by_trial(path: &Path, array: &Tensor) -> Result<Tensor, Error> {
    let array = match array.dtype() {
        DType::F64 => array.clone(),
        _ => array.to_dtype(DType::F32),
    };
    let empty = array.numel() == 0;
    match array.rank() {
        2 if !empty => Ok(array.unsqueeze(0)),
        3 if !empty => Ok(array),
        _ => {
            let expected = "[images, units] or [trials, images, units], none of them 0";
            Err(shape(path, "responses", expected, &array))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::io::write_npy;

    fn allen(area: &str) -> std::path::PathBuf {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/allen_natural_scenes");
        data.join(format!("neuropixels_{area}.npz"))
    }

    #[test]
    fn the_shipped_recordings_are_read() {
        let v1 = read_responses(allen("V1")).unwrap();
        assert_eq!(v1.size(), [2, 118, 1139]);
        let animals = v1.distinct_animals();
        let units: usize = animals.iter().map(|&a| v1.of_animal(a).size()[2]).sum();
        assert_eq!(units, 1139);
        let first = v1.of_animal(animals[0]).size()[2];
        assert_eq!(v1.without_animal(animals[0]).size()[2], 1139 - first);
        assert!(animals.len() > 5);
        let rates = v1.mean().to_f64_vec();
        assert!(rates.iter().all(|r| (0.0..400.0).contains(r)), "rates in Hz");
    }

    #[test]
    fn arrays_of_two_and_three_axes_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.npy");
        write_npy(&path, &Tensor::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2])).unwrap();
        let recording = read_responses(&path).unwrap();
        assert_eq!((recording.size(), recording.distinct_animals()), ([1, 3, 2], vec![0]));
        write_npy(&path, &Tensor::new(&[1.0, 3.0], [2, 1, 1])).unwrap();
        assert_eq!(read_responses(&path).unwrap().mean().to_f64_vec(), [2.0]);
        write_npy(&path, &Tensor::new(&[1.0, 3.0], [2])).unwrap();
        let error = read_responses(&path).unwrap_err().to_string();
        assert!(error.contains("responses has shape [2], expected [images, units]"), "{error}");
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let whole = std::fs::read(allen("LM")).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.npz");
        for length in [0, 100, whole.len() / 2, whole.len() - 10] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = read_responses(&path).unwrap_err().to_string();
            assert!(error.contains("cut.npz"), "{error}");
        }
        assert!(read_responses("no/such.npz").is_err() && read_responses("no/such.npy").is_err());
    }
}
