//! The general form of a recording on disk: a folder of npy files and a description.
//!
//! | file | array | |
//! | --- | --- | --- |
//! | `recording.json` | | `{"name": "m1", "behavior": ["speed", "pupil"], "bin_s": 0.048, "max_gap_s": 0.5}`; the last two may be left out |
//! | `video.npy` | `[frames, height, width]`, any number type | pictures; scaled to 0..1 by their smallest and largest value; read frame by frame |
//! | `video_t.npy` | `[shown]` | when a picture appeared, seconds |
//! | `video_index.npy` | `[shown]`, integers | which picture appeared then; may be left out if all appear once, in order |
//! | `behavior.npy`, `behavior_t.npy` | `[samples, variables]`, `[samples]` | measured behavior, NaN where there is none |
//! | `spike_times.npy`, `spike_units.npy` | `[spikes]` | seconds and number of the unit (from 0); or: |
//! | `dff.npy`, `dff_t.npy` | `[samples, neurons]`, `[samples]` | fluorescence |
//! | `spans.npy` | `[spans, 3]` | start and end in seconds, and 0 (training), 1 (validation) or 2 (test); may be left out |
//!
//! All clocks are one. [`RawRecording::bin`] says how streams meet in bins.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use tensor::{
    DType, Tensor,
    io::{read_npy, write_atomic, write_npy},
};

use super::{
    BinOptions, Error, Frames, RawRecording, RawResponse, Series, Span, Split, video::floats,
};

const DESCRIPTION: &str = "recording.json";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    name: String,
    behavior: Vec<String>,
    #[serde(default = "bin_s")]
    bin_s: f64,
    #[serde(default = "max_gap_s")]
    max_gap_s: f64,
}

fn bin_s() -> f64 {
    BinOptions::default().bin_s
}

fn max_gap_s() -> f64 {
    BinOptions::default().max_gap_s
}

impl RawRecording {
    /// Whether a folder holds a recording in the general form.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(DESCRIPTION).exists()
    }

    /// Reads a folder in the general form (described in the source of this module and in the crate's README), and how it wants
    /// to be put into bins. Video stays on disk.
    ///
    /// # Errors
    /// If a file is missing, damaged, or of another shape than it has to be; [`bin`](Self::bin) checks the rest.
    pub fn open(folder: &Path) -> Result<(Self, BinOptions), Error> {
        let path = folder.join(DESCRIPTION);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let expected =
                    "a recording has a description with its name and the names of its behavior"
                        .into();
                return Err(Error::Missing { path, expected });
            }
            Err(source) => return Err(Error::Io { path, source }),
        };
        let about: Description =
            serde_json::from_str(&text).map_err(|source| Error::Json { path, source })?;
        let frames = Frames::open(&folder.join("video.npy"))?;
        let times = vector(folder, "video_t.npy")?;
        let index = match folder.join("video_index.npy").exists() {
            true => whole_numbers(folder, "video_index.npy")?,
            false => (0..frames.count()).collect(),
        };
        same_length(folder, "video_t.npy", times.len(), index.len(), "pictures shown")?;
        let shown = times.into_iter().zip(index.into_iter().map(|i| i as u32)).collect();
        let response = if folder.join("dff.npy").exists() {
            RawResponse::Fluorescence(read_series(folder, "dff")?)
        } else if folder.join("spike_times.npy").exists() {
            let units = whole_numbers(folder, "spike_units.npy")?;
            let times_s = vector(folder, "spike_times.npy")?;
            let count = units.iter().max().map_or(0, |&u| u + 1);
            RawResponse::Spikes { times_s, units, count }
        } else {
            return Err(Error::Missing {
                path: folder.join("spike_times.npy"),
                expected:
                    "a recording has spike_times.npy and spike_units.npy, or dff.npy and dff_t.npy"
                        .into(),
            });
        };
        let raw = RawRecording {
            name: about.name,
            frames,
            shown,
            behavior: read_series(folder, "behavior")?,
            behavior_names: about.behavior,
            response,
            spans: spans(folder)?,
        };
        Ok((raw, BinOptions { bin_s: about.bin_s, max_gap_s: about.max_gap_s }))
    }

    /// Writes the recording in the general form, so that [`open`](Self::open) gives it back (video scaled to 0..1).
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn save(&self, folder: &Path, options: &BinOptions) -> Result<(), Error> {
        fs::create_dir_all(folder)
            .map_err(|source| Error::Io { path: folder.to_owned(), source })?;
        let save = |name: &str, tensor: Tensor| write_npy(folder.join(name), &tensor);
        let mut values = Vec::new();
        for frame in 0..self.frames.count() {
            self.frames.append(frame, &mut values)?;
        }
        let [h, w] = self.frames.size();
        save("video.npy", Tensor::new(&values, [self.frames.count(), h, w]))?;
        let times: Vec<f64> = self.shown.iter().map(|s| s.0).collect();
        let index: Vec<i64> = self.shown.iter().map(|s| i64::from(s.1)).collect();
        save("video_t.npy", Tensor::new(&times, [times.len()]))?;
        save("video_index.npy", Tensor::new(&index, [index.len()]))?;
        let series = |name: &str, s: &Series| {
            save(&format!("{name}.npy"), Tensor::new(&s.values, [s.times_s.len(), s.columns]))?;
            save(&format!("{name}_t.npy"), Tensor::new(&s.times_s, [s.times_s.len()]))
        };
        series("behavior", &self.behavior)?;
        match &self.response {
            RawResponse::Fluorescence(s) => series("dff", s)?,
            RawResponse::Spikes { times_s, units, .. } => {
                let units: Vec<i64> = units.iter().map(|&u| u as i64).collect();
                save("spike_times.npy", Tensor::new(times_s, [times_s.len()]))?;
                save("spike_units.npy", Tensor::new(&units, [units.len()]))?;
            }
        }
        if !self.spans.is_empty() {
            let code = |split| match split {
                Split::Train => 0.0,
                Split::Validation => 1.0,
                Split::Test => 2.0,
            };
            let rows: Vec<f64> =
                self.spans.iter().flat_map(|s| [s.start_s, s.end_s, code(s.split)]).collect();
            save("spans.npy", Tensor::new(&rows, [self.spans.len(), 3]))?;
        }
        let about = Description {
            name: self.name.clone(),
            behavior: self.behavior_names.clone(),
            bin_s: options.bin_s,
            max_gap_s: options.max_gap_s,
        };
        let path = folder.join(DESCRIPTION);
        let text = serde_json::to_string_pretty(&about)
            .map_err(|source| Error::Json { path: path.clone(), source })?;
        Ok(write_atomic(&path, |file| file.write_all(text.as_bytes()))?)
    }
}

fn array(folder: &Path, name: &str) -> Result<Tensor, Error> {
    let path = folder.join(name);
    if !path.exists() {
        let expected = "see the general form of recordings in the documentation of neuro".into();
        return Err(Error::Missing { path, expected });
    }
    Ok(read_npy(&path)?)
}

fn vector(folder: &Path, name: &str) -> Result<Vec<f64>, Error> {
    let tensor = array(folder, name)?;
    match tensor.dims() {
        [_] => Ok(tensor.to_dtype(DType::F64).to_f64_vec()),
        other => Err(shape(folder, name, "one axis", format!("{other:?}"))),
    }
}

fn whole_numbers(folder: &Path, name: &str) -> Result<Vec<usize>, Error> {
    let numbers = vector(folder, name)?;
    match numbers.iter().find(|v| !(**v >= 0.0 && v.fract() == 0.0 && **v < 2e9)) {
        Some(bad) => Err(Error::Values {
            path: folder.join(name),
            what: format!("holds {bad}; expected whole numbers from 0"),
        }),
        None => Ok(numbers.into_iter().map(|v| v as usize).collect()),
    }
}

fn read_series(folder: &Path, name: &str) -> Result<Series, Error> {
    let (file, clock) = (format!("{name}.npy"), format!("{name}_t.npy"));
    let values = array(folder, &file)?;
    let (rows, columns) = match *values.dims() {
        [rows] => (rows, 1),
        [rows, columns] => (rows, columns),
        ref other => return Err(shape(folder, &file, "[samples, columns]", format!("{other:?}"))),
    };
    let times_s = vector(folder, &clock)?;
    same_length(folder, &clock, times_s.len(), rows, &format!("rows of {file}"))?;
    Ok(Series { times_s, values: floats(&values), columns })
}

fn same_length(
    folder: &Path,
    name: &str,
    found: usize,
    expected: usize,
    of: &str,
) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let expected = format!("{expected} times, as many as {of}");
    Err(shape(folder, name, &expected, found.to_string()))
}

fn shape(folder: &Path, name: &str, expected: &str, found: String) -> Error {
    Error::Shape { path: folder.join(name), expected: expected.into(), found }
}

fn spans(folder: &Path) -> Result<Vec<Span>, Error> {
    const FILE: &str = "spans.npy";
    if !folder.join(FILE).exists() {
        return Ok(Vec::new());
    }
    let tensor = array(folder, FILE)?;
    let &[_, 3] = tensor.dims() else {
        return Err(shape(folder, FILE, "[spans, 3]", format!("{:?}", tensor.dims())));
    };
    let rows = tensor.to_dtype(DType::F64).to_f64_vec();
    let rows = rows.as_chunks::<3>().0.iter();
    rows.map(|&[start_s, end_s, code]| {
        let split = match code {
            0.0 => Split::Train,
            1.0 => Split::Validation,
            2.0 => Split::Test,
            other => {
                return Err(Error::Values {
                    path: folder.join(FILE),
                    what: format!(
                        "holds {other} where 0 (training), 1 (validation) or 2 (test) was expected"
                    ),
                });
            }
        };
        Ok(Span { start_s, end_s, split })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmv1::park;

    #[test]
    fn the_shipped_recording_survives_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let raw = park::session("mrcuts29").unwrap();
        raw.save(folder.path(), &park::BINS).unwrap();
        assert!(RawRecording::is_in(folder.path()));
        let (back, options) = RawRecording::open(folder.path()).unwrap();
        assert_eq!(options, park::BINS);
        let (a, b) = (raw.bin(&park::BINS).unwrap(), back.bin(&options).unwrap());
        assert_eq!(a.segments.len(), b.segments.len());
        for (a, b) in a.segments.iter().zip(&b.segments) {
            assert_eq!((&a.behavior, &a.responses), (&b.behavior, &b.responses));
            assert_eq!((a.split, &a.shown), (b.split, &b.shown));
        }
    }

    #[test]
    fn missing_and_damaged_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        park::session("mrcuts29").unwrap().save(folder.path(), &park::BINS).unwrap();
        let refused = |name: &str, damage: &dyn Fn(&Path), what: &str| {
            let path = folder.path().join(name);
            let before = fs::read(&path).unwrap();
            damage(&path);
            let error = RawRecording::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(what), "{error}");
            fs::write(&path, before).unwrap();
        };
        let remove: &dyn Fn(&Path) = &|p| fs::remove_file(p).unwrap();
        let half: &dyn Fn(&Path) = &|p| {
            let bytes = fs::read(p).unwrap();
            fs::write(p, &bytes[..bytes.len() / 2]).unwrap();
        };
        refused("recording.json", remove, "missing");
        refused("recording.json", half, "recording.json");
        for name in ["video_t.npy", "behavior.npy", "behavior_t.npy", "dff_t.npy", "video.npy"] {
            refused(name, half, name);
        }
        for name in ["video_t.npy", "behavior.npy", "behavior_t.npy", "dff_t.npy"] {
            refused(name, remove, "missing");
        }
        let short: &dyn Fn(&Path) = &|p| write_npy(p, &Tensor::new(&[0.0f64, 1.0], [2])).unwrap();
        refused("behavior_t.npy", short, "as many as rows of behavior.npy, found 2");
        refused("video_t.npy", short, "as many as pictures shown, found 2");
        refused("spans.npy", short, "[spans, 3]");
        let odd: &dyn Fn(&Path) =
            &|p| write_npy(p, &Tensor::new(&[0.0f64, 1.0, 5.0], [1, 3])).unwrap();
        refused("spans.npy", odd, "holds 5");
        fs::remove_file(folder.path().join("dff.npy")).unwrap();
        let error = RawRecording::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("spike_times.npy: missing"), "{error}");
    }
}
