//! [`read_published`]: the recordings of freely moving mice that the model was published with.

use std::path::{Path, PathBuf};

use tensor::io::read_npy;

use super::{Error, Frames, Recording, Response, Segment, Split, video::floats};

/// A mouse of the published set, and which of its units fire less than 3 times a second.
#[derive(Clone, Copy, Debug)]
pub struct PublishedMouse {
    /// The name of its folder.
    pub name: &'static str,
    /// The units that are left out.
    pub excluded: &'static [usize],
    /// The units that are left.
    pub neurons: usize,
}

/// The three mice, in the order of their dates of recording as the folders give them.
pub const PUBLISHED_MICE: [PublishedMouse; 3] = [
    PublishedMouse {
        name: "070921_J553RT",
        excluded: &[
            1, 20, 21, 25, 27, 30, 31, 35, 39, 45, 46, 49, 50, 51, 52, 53, 54, 55, 57, 58, 59, 64,
            65, 68, 75, 77, 79, 81, 83, 84, 87, 88, 90, 91, 94, 95, 97, 104, 105, 107,
        ],
        neurons: 68,
    },
    PublishedMouse {
        name: "110421_J569LT",
        excluded: &[0, 1, 2, 5, 6, 8, 11, 12, 13, 16, 18, 22, 24, 26, 28, 30, 41, 44, 47, 49],
        neurons: 32,
    },
    PublishedMouse {
        name: "101521_J559NC",
        excluded: &[1, 4, 9, 22, 25, 27, 28, 29, 43, 45, 46, 47, 51, 53],
        neurons: 49,
    },
];

/// The behavior's file names and what they are.
const BEHAVIOR: [&str; 6] = ["speed", "pitch", "roll", "phi", "th", "eyerad"];
const SEGMENTS: usize = 10;
const BIN_S: f64 = 0.048;
/// Units of mice that are not in [`PUBLISHED_MICE`] have to fire this often in the training segments.
const MIN_RATE_HZ: f64 = 3.0;

/// Whether a folder holds files like those of the published mice.
pub fn is_published(folder: &Path) -> bool {
    folder.join("train_nsp_seg_0.npy").exists()
}

/// Reads the folder of one mouse: `{train,test}_{nsp,vid_mean,speed,pitch,roll,phi,th,eyerad}_seg_{0..9}.npy`, bins of 48 ms.
///
/// Spikes `[bins, units]`, video `[bins, 60, 80]` (other sizes are read too), behavior `[bins]`. Video stays on disk, each
/// file scaled to 0..1 by itself; NaN behavior becomes 0; units of a known mouse are left out as published, those of another
/// where they fire less than 3 times a second in training; the last fifth of each training segment's samples is for
/// validation. Source: osf.io/msp3a, `mouse-data-10-segment-split-70-30-48ms.zip`.
///
/// # Errors
/// If a file is missing, damaged or of another length than the others of its segment, or the recording is not
/// [sound](Recording::check).
pub fn read_published(folder: &Path) -> Result<Recording, Error> {
    let name = folder.file_name().map_or("mouse".into(), |n| n.to_string_lossy().into_owned());
    let mut segments = Vec::new();
    let mut units_in_file = None;
    for (prefix, split) in [("train", Split::Train), ("test", Split::Test)] {
        for i in 0..SEGMENTS {
            let file = |kind: &str| folder.join(format!("{prefix}_{kind}_seg_{i}.npy"));
            segments.push(segment(&file, split, &mut units_in_file)?);
        }
    }
    let all = units_in_file.unwrap_or(0);
    let units = kept(folder, &name, all, &segments)?;
    for segment in &mut segments {
        let rows = segment.responses.chunks(all.max(1));
        segment.responses = rows.flat_map(|row| units.iter().map(|&u| row[u])).collect();
    }
    let recording = Recording {
        name,
        bin_s: BIN_S,
        response: Response::Spikes,
        units,
        behavior_names: BEHAVIOR.map(str::to_owned).to_vec(),
        segments,
        validation_tail: 0.2,
    };
    recording.check()?;
    Ok(recording)
}

fn segment(
    file: &dyn Fn(&str) -> PathBuf,
    split: Split,
    units: &mut Option<usize>,
) -> Result<Segment, Error> {
    let spikes_file = present(file("nsp"))?;
    let spikes = read_npy(&spikes_file)?;
    let &[bins, n] = spikes.dims() else {
        return Err(shape(spikes_file, "[bins, units]".into(), spikes.dims()));
    };
    if *units.get_or_insert(n) != n {
        let expected = format!("[bins, {}] as in the first segment", units.unwrap_or(n));
        return Err(shape(spikes_file, expected, spikes.dims()));
    }
    let video_file = present(file("vid_mean"))?;
    let frames = Frames::open(&video_file)?;
    if frames.count() != bins {
        let expected = format!("{bins} frames, one a bin of {}", spikes_file.display());
        return Err(shape(video_file, expected, &[frames.count()]));
    }
    let mut behavior = vec![0.0; bins * BEHAVIOR.len()];
    for (column, kind) in BEHAVIOR.into_iter().enumerate() {
        let path = present(file(kind))?;
        let values = read_npy(&path)?;
        if values.numel() != bins {
            let expected = format!("{bins} values, one a bin of {}", spikes_file.display());
            return Err(shape(path, expected, values.dims()));
        }
        for (bin, v) in floats(&values).into_iter().enumerate() {
            behavior[bin * BEHAVIOR.len() + column] = if v.is_nan() { 0.0 } else { v };
        }
    }
    let shown = (0..bins as u32).collect();
    Ok(Segment { split, frames, shown, behavior, responses: floats(&spikes) })
}

/// The units that are kept.
fn kept(folder: &Path, name: &str, all: usize, segments: &[Segment]) -> Result<Vec<usize>, Error> {
    let units = 0..all;
    let Some(mouse) = PUBLISHED_MICE.iter().find(|m| m.name == name) else {
        let train: Vec<&Segment> = segments.iter().filter(|s| s.split == Split::Train).collect();
        let bins: usize = train.iter().map(|s| s.shown.len()).sum();
        let rate_hz = |unit: usize| {
            let spikes = train.iter().flat_map(|s| s.responses.iter().skip(unit).step_by(all));
            spikes.map(|&v| f64::from(v)).sum::<f64>() / (bins as f64 * BIN_S)
        };
        let units: Vec<usize> = units.filter(|&u| rate_hz(u) >= MIN_RATE_HZ).collect();
        if units.is_empty() {
            return Err(Error::Recording {
                recording: name.to_owned(),
                what: format!("none of {all} units fires {MIN_RATE_HZ} times a second or more"),
            });
        }
        return Ok(units);
    };
    let units: Vec<usize> = units.filter(|u| !mouse.excluded.contains(u)).collect();
    if units.len() != mouse.neurons {
        return Err(Error::Shape {
            path: folder.to_owned(),
            expected: format!(
                "{} units, of which {} are kept",
                mouse.neurons + mouse.excluded.len(),
                mouse.neurons
            ),
            found: format!("{all} units, of which {} would be kept", units.len()),
        });
    }
    Ok(units)
}

fn present(path: PathBuf) -> Result<PathBuf, Error> {
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Missing {
        path,
        expected: "a mouse has {train,test}_{nsp,vid_mean,speed,pitch,roll,phi,th,eyerad}_seg_{0..9}.npy (osf.io/msp3a)"
            .into(),
    })
}

fn shape(path: PathBuf, expected: String, found: &[usize]) -> Error {
    Error::Shape { path, expected, found: format!("{found:?}") }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use nn::data::Dataset;
    use tensor::{Tensor, io::write_npy};

    use super::*;
    use crate::mmv1::{BehaviorSet, Windows};

    /// A folder as published, with frames of 2x2 pixels.
    fn mouse(root: &Path, name: &str, bins: usize, units: usize) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir(&folder).unwrap();
        for prefix in ["train", "test"] {
            for i in 0..SEGMENTS {
                let save = |kind: &str, values: Vec<f32>, shape: &[usize]| {
                    let path = folder.join(format!("{prefix}_{kind}_seg_{i}.npy"));
                    write_npy(path, &Tensor::new(&values, shape)).unwrap();
                };
                let spikes = (0..bins * units).map(|k| (k % 3) as f32).collect();
                save("nsp", spikes, &[bins, units]);
                let video = (0..bins * 4).map(|k| k as f32).collect();
                save("vid_mean", video, &[bins, 2, 2]);
                for kind in BEHAVIOR {
                    let values = (0..bins).map(|k| if k == 1 { f32::NAN } else { k as f32 });
                    save(kind, values.collect(), &[bins]);
                }
            }
        }
        folder
    }

    #[test]
    fn units_splits_and_samples_are_the_published_ones() {
        let root = tempfile::tempdir().unwrap();
        // The length of each segment, and the samples in training and validation at four frames (specification E12).
        let expected = [(3767, 30_100, 7_530), (4119, 32_920, 8_230), (5303, 42_390, 10_600)];
        for (mouse_is, (bins, train, validation)) in PUBLISHED_MICE.iter().zip(expected) {
            let units = mouse_is.neurons + mouse_is.excluded.len();
            let folder = mouse(root.path(), mouse_is.name, bins, units);
            let recording = Arc::new(read_published(&folder).unwrap());
            assert_eq!(recording.units.len(), mouse_is.neurons);
            assert!(recording.units.iter().all(|u| !mouse_is.excluded.contains(u)));
            let windows = |split| Windows::new(&recording, split, 4, BehaviorSet::AllProd).unwrap();
            assert_eq!(windows(Split::Train).len(), train);
            assert_eq!(windows(Split::Validation).len(), validation);
            assert_eq!(windows(Split::Test).len(), 10 * (bins - 4));
            let batch = windows(Split::Train);
            let batch = batch.batch(vec![batch.get(0).unwrap()], tensor::Device::Cpu);
            assert_eq!(batch.behavior.dims(), [1, 4, 66]);
            // The spikes of the bin behind the four frames.
            let first = recording.units[0];
            let spikes = batch.responses.to_vec::<f32>();
            assert_eq!(spikes[0], ((4 * units + first) % 3) as f32);
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn nan_behavior_becomes_zero_and_silent_units_of_other_mice_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let folder = mouse(root.path(), "my_mouse", 12, 3);
        // Unit 1 never fires.
        for prefix in ["train", "test"] {
            for i in 0..SEGMENTS {
                let spikes: Vec<f32> =
                    (0..36).map(|k| if k % 3 == 1 { 0.0 } else { 1.0 }).collect();
                let path = folder.join(format!("{prefix}_nsp_seg_{i}.npy"));
                write_npy(path, &Tensor::new(&spikes, [12, 3])).unwrap();
            }
        }
        let recording = read_published(&folder).unwrap();
        assert_eq!(recording.units, [0, 2]);
        assert_eq!(recording.segments[0].behavior[6..12], [0.0; 6]);
    }

    #[test]
    fn damage_is_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = mouse(root.path(), "damaged", 12, 3);
        let refused = |what: &[&str]| {
            let error = read_published(&folder).unwrap_err().to_string();
            assert!(what.iter().all(|w| error.contains(w)), "{error}");
        };
        let (speed, video) =
            (folder.join("test_speed_seg_3.npy"), folder.join("train_vid_mean_seg_0.npy"));
        let whole = fs::read(&speed).unwrap();
        write_npy(&speed, &Tensor::new(&[0.0f32; 11], [11])).unwrap();
        refused(&["test_speed_seg_3.npy", "expected 12 values", "found [11]"]);
        fs::remove_file(&speed).unwrap();
        refused(&["test_speed_seg_3.npy: missing"]);
        fs::write(&speed, &whole[..whole.len() - 5]).unwrap();
        refused(&["test_speed_seg_3.npy"]);
        fs::write(&speed, whole).unwrap();
        write_npy(&video, &Tensor::new(&[0.0f32; 40], [10, 2, 2])).unwrap();
        refused(&["train_vid_mean_seg_0.npy", "expected 12 frames", "found [10]"]);
        fs::rename(&folder, root.path().join("070921_J553RT")).unwrap();
        let renamed = root.path().join("070921_J553RT");
        write_npy(
            renamed.join("train_vid_mean_seg_0.npy"),
            &Tensor::new(&[0.5f32; 48], [12, 2, 2]),
        )
        .unwrap();
        let error = read_published(&renamed).unwrap_err().to_string();
        assert!(
            error.contains("expected 108 units, of which 68 are kept, found 3 units"),
            "{error}"
        );
    }

    #[test]
    fn a_recording_without_a_spike_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let folder = mouse(root.path(), "silent", 12, 2);
        for prefix in ["train", "test"] {
            for i in 0..SEGMENTS {
                let path = folder.join(format!("{prefix}_nsp_seg_{i}.npy"));
                write_npy(path, &Tensor::new(&[0.0f32; 24], [12, 2])).unwrap();
            }
        }
        let error = read_published(&folder).unwrap_err().to_string();
        assert!(error.contains("none of 2 units fires"), "{error}");
    }
}
