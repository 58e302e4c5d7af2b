//! Sessions of the Allen Brain Observatory's two-photon set: NWB files (HDF5) and files of events.
//!
//! `hdf5-pure` reads HDF5 without a C library. What is taken from it stands in this file alone, so that another reader could
//! take its place.

use std::path::Path;

use hdf5_pure::File;
use tensor::{DType, Tensor, io::read_npz};

use super::Recording;
use crate::error::Error;

/// Frames after the start of a scene over which activity is summed: half a second at 30 Hz (specification E11).
pub const RESPONSE_FRAMES: usize = 15;

/// Where the files have the table of scenes.
const SCENES: [&str; 2] =
    ["stimulus/presentation/natural_scenes_stimulus", "stimulus/presentation/natural_scenes"];
/// Where they have fluorescence, `[cells, frames]`.
const FLUORESCENCE: &str = "processing/brain_observatory_pipeline/DfOverF/imaging_plane_1/data";

/// Reads the responses of a session to the natural scenes: activity summed over the [`RESPONSE_FRAMES`] from the start of
/// each presentation.
///
/// Activity is the array `ev` `[cells, frames]` of `events` (the observatory's `…_events.npz`), or without it the
/// session's own ΔF/F. Blanks (scene −1) are left out; where some scenes were shown more often than others the last of their
/// presentations are.
///
/// # Errors
/// If a file cannot be read, or has not what such a file has.
pub fn read_ophys(session: impl AsRef<Path>, events: Option<&Path>) -> Result<Recording, Error> {
    let session = session.as_ref();
    let file = File::open(session).map_err(|e| wrong(session, e.to_string()))?;
    let scenes = SCENES.iter().find_map(|place| {
        let ids = file.dataset(&format!("{place}/data")).ok()?;
        Some((ids, file.dataset(&format!("{place}/frame_duration")).ok()?))
    });
    let Some((ids, frames)) = scenes else {
        let reason = format!(
            "no data and frame_duration in {}: was natural_scenes shown in this session?",
            SCENES[0]
        );
        return Err(wrong(session, reason));
    };
    let numbers = |name: &str, data: &hdf5_pure::Dataset| {
        data.read_f64().map_err(|e| wrong(session, format!("{name}: {e}")))
    };
    let (ids, frames) = (numbers("data", &ids)?, numbers("frame_duration", &frames)?);
    if frames.len() != 2 * ids.len() {
        let reason = format!(
            "frame_duration has {} numbers for {} presentations, expected a start and an end each",
            frames.len(),
            ids.len()
        );
        return Err(wrong(session, reason));
    }
    let activity = match events {
        Some(path) => events_of(path)?,
        None => fluorescence(session, &file)?,
    };
    let presentations: Vec<(f64, f64)> =
        ids.iter().zip(frames.chunks(2)).map(|(&id, frame)| (id, frame[0])).collect();
    responses(session, &presentations, &activity)
}

/// `[cells, frames]`.
struct Activity {
    frames: usize,
    values: Vec<f32>,
}

fn events_of(path: &Path) -> Result<Activity, Error> {
    let arrays = read_npz(path)?;
    let found = arrays.iter().find(|(name, _)| name == "ev");
    let Some((_, events)) = found else {
        let names: Vec<&str> = arrays.iter().map(|(name, _)| name.as_str()).collect();
        return Err(wrong(path, format!("no array \"ev\" among: {}", names.join(", "))));
    };
    let &[cells, frames] = events.dims() else {
        let (what, expected) = (format!("{}: ev", path.display()), "[cells, frames]");
        return Err(Error::Shape { what, expected, found: events.dims().to_vec() });
    };
    if cells == 0 {
        return Err(wrong(path, "ev has no cell".into()));
    }
    let values = events.to_dtype(DType::F32).to_vec::<f32>();
    Ok(Activity { frames, values })
}

fn fluorescence(session: &Path, file: &File) -> Result<Activity, Error> {
    let failed = |e: hdf5_pure::Error| wrong(session, format!("{FLUORESCENCE}: {e}"));
    let data = file.dataset(FLUORESCENCE).map_err(failed)?;
    let shape = data.shape().map_err(failed)?;
    let values = data.read_f32().map_err(failed)?;
    match shape[..] {
        [cells, frames] if cells > 0 && values.len() as u64 == cells.saturating_mul(frames) => {
            Ok(Activity { frames: frames as usize, values })
        }
        _ => {
            let (what, expected) = (FLUORESCENCE.to_owned(), "[cells, frames]");
            let found = shape.iter().map(|&n| n as usize).collect();
            Err(Error::Shape { what, expected, found })
        }
    }
}

fn responses(
    path: &Path,
    presentations: &[(f64, f64)],
    activity: &Activity,
) -> Result<Recording, Error> {
    let scenes = presentations.iter().map(|(id, _)| *id).fold(-1.0, f64::max) + 1.0;
    if !(3.0..=1e6).contains(&scenes) {
        return Err(wrong(path, format!("{scenes} scenes, expected 3 or more")));
    }
    let mut starts = vec![Vec::new(); scenes as usize];
    for &(id, start) in presentations {
        if id.fract() != 0.0 {
            return Err(wrong(path, format!("scene {id} is shown, expected whole numbers")));
        }
        let end = start + RESPONSE_FRAMES as f64;
        if start < 0.0 || end > activity.frames as f64 || start.fract() != 0.0 {
            let reason = format!(
                "a scene is shown at frame {start} of {} frames of activity",
                activity.frames
            );
            return Err(wrong(path, reason));
        }
        if id >= 0.0 {
            starts[id as usize].push(start as usize);
        }
    }
    let trials = starts.iter().map(Vec::len).min().unwrap_or(0);
    if trials == 0 {
        let missing = starts.iter().position(Vec::is_empty).unwrap_or(0);
        return Err(wrong(path, format!("scene {missing} is never shown")));
    }
    let cells = activity.values.len() / activity.frames;
    let mut values = Vec::with_capacity(trials * starts.len() * cells);
    for trial in 0..trials {
        for scene in &starts {
            for cell in activity.values.chunks(activity.frames) {
                values.push(cell[scene[trial]..][..RESPONSE_FRAMES].iter().sum::<f32>());
            }
        }
    }
    let responses = Tensor::new(&values, [trials, starts.len(), cells]);
    Ok(Recording { responses, animals: vec![0; cells] })
}

fn wrong(path: &Path, reason: String) -> Error {
    Error::File { path: path.to_owned(), line: None, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenes 0, 1, 2, shown twice (the first once more) and a blank, 40 frames apart.
    const SHOWN: [f64; 8] = [0.0, 1.0, -1.0, 2.0, 1.0, 2.0, 0.0, 0.0];

    fn shown(ids: &[f64]) -> Vec<(f64, f64)> {
        ids.iter().enumerate().map(|(i, &id)| (id, 40.0 * i as f64)).collect()
    }

    /// Cell 0 counts frames, cell 1 is 1 throughout.
    fn activity(frames: usize) -> Activity {
        let count = (0..frames).map(|i| i as f32);
        Activity { frames, values: count.chain(vec![1.0; frames]).collect() }
    }

    #[test]
    fn activity_is_summed_from_the_start_of_each_scene() {
        let recording = responses(Path::new("x"), &shown(&SHOWN), &activity(400)).unwrap();
        assert_eq!(recording.size(), [2, 3, 2]);
        let sum = |start: usize| (start..start + 15).sum::<usize>() as f64;
        let expected: Vec<f64> =
            [0, 40, 120, 240, 160, 200].iter().flat_map(|&start| [sum(start), 15.0]).collect();
        assert_eq!(recording.responses.to_f64_vec(), expected);
    }

    #[test]
    fn tables_that_do_not_fit_are_errors() {
        let message = |ids: &[f64], frames: usize| {
            let found = responses(Path::new("x.nwb"), &shown(ids), &activity(frames));
            found.unwrap_err().to_string()
        };
        let mut gap = SHOWN;
        gap[3] = 9.0;
        assert_eq!(message(&gap, 400), "x.nwb: scene 3 is never shown");
        gap[3] = 1.5;
        assert_eq!(message(&gap, 400), "x.nwb: scene 1.5 is shown, expected whole numbers");
        assert!(message(&SHOWN, 290).contains("at frame 280 of 290"));
        assert!(message(&[-1.0; 4], 400).contains("0 scenes"));
        assert!(message(&[f64::NAN, 1e300, 0.0], 400).contains("expected 3 or more"));
    }

    fn data(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    /// make_ophys.py wrote these as the observatory's files are: HDF5's old format, chunks, gzip.
    #[test]
    fn files_of_h5py_are_read() {
        let session = data("ophys.nwb");
        let recording = read_ophys(&session, Some(&data("ophys_events.npz"))).unwrap();
        assert_eq!(recording.size(), [2, 4, 3]);
        // Cell c has 1 + c events in the first frame of every scene, and no others.
        assert_eq!(recording.responses.to_f64_vec(), [1.0, 2.0, 3.0].repeat(8));
        let own = read_ophys(&session, None).unwrap();
        assert_eq!(own.responses.to_f64_vec(), vec![15.0 * 0.5; 24]);
    }

    #[test]
    fn damaged_files_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cut.nwb");
        let whole = std::fs::read(data("ophys.nwb")).unwrap();
        for length in [0, 7, 60, 500, whole.len() / 3, whole.len() / 2] {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = read_ophys(&path, None).unwrap_err().to_string();
            assert!(error.contains("cut.nwb"), "{length}: {error}");
        }
        let events = data("ophys.nwb");
        assert!(read_ophys(data("ophys.nwb"), Some(&events)).is_err());
        assert!(
            read_ophys("no/such.nwb", None).unwrap_err().to_string().starts_with("no/such.nwb")
        );
    }
}
