//! The shipped recordings: three sessions of two-photon imaging in mouse visual cortex (Park et al. 2024), with running
//! speed and pupil size, while gratings drifted in one of eight directions.
//!
//! They are a worked example of the general form of recordings and a real, if small, test of the predictor; they are not the
//! freely moving mice of the paper. **Made up here**, because the source does not tell: the gratings' spatial and temporal
//! frequency, contrast and position (only the direction of each trial is known), and the time between trials.

use std::path::Path;

use tensor::{Tensor, io::read_npy_from};

use super::{
    BinOptions, Error, Frames, RawRecording, RawResponse, Series, Span, Split, video::floats,
};

/// Names of the sessions; the first has the best tuned neurons.
pub const SESSIONS: [&str; 3] = ["mrcuts28", "mrcuts29", "mrcuts24"];

/// The source's bins of 62.5 ms.
pub const BINS: BinOptions = BinOptions { bin_s: BIN_S, max_gap_s: 0.5 };

const BIN_S: f64 = 0.0625;
const TRIALS: usize = 128;
/// Bins of a trial, of which the first 16 (a second) come before the grating.
const BINS_OF_TRIAL: usize = 49;
const ONSET_BIN: usize = 16;
/// Seconds from trial to trial (made up; trials are separate segments, so that it changes nothing).
const TRIAL_S: f64 = 4.0;
const DIRECTIONS: usize = 8;
/// Height and width of a rendered picture.
const FRAME: [usize; 2] = [30, 40];
/// Periods across the width of a picture (made up).
const PERIODS: f64 = 4.0;
/// Pictures of one period of the drift: with one a bin, 2 periods a second (made up).
const PHASES: usize = 8;

/// Activity, behavior and direction of a session.
type Files = [&'static [u8]; 3];

macro_rules! files {
    ($name:literal) => {
        [
            include_bytes!(concat!("../../data/park2024_v1/", $name, "_activity.npy")),
            include_bytes!(concat!("../../data/park2024_v1/", $name, "_behavior.npy")),
            include_bytes!(concat!("../../data/park2024_v1/", $name, "_direction.npy")),
        ]
    };
}

/// A session in the general form.
///
/// Of each direction's 16 trials, every fourth is for testing, one of each eight for validation, the other ten for training.
///
/// # Errors
/// [`Error::Missing`] for a name that is not in [`SESSIONS`].
pub fn session(name: &str) -> Result<RawRecording, Error> {
    let files: Files = match name {
        "mrcuts28" => files!("mrcuts28"),
        "mrcuts29" => files!("mrcuts29"),
        "mrcuts24" => files!("mrcuts24"),
        _ => {
            let expected = format!("the shipped sessions are {}", SESSIONS.join(", "));
            return Err(Error::Missing { path: name.into(), expected });
        }
    };
    let read = |i: usize| -> Result<Tensor, Error> {
        let mut bytes = files[i];
        Ok(read_npy_from(Path::new(name), &mut bytes, files[i].len() as u64)?)
    };
    let (activity, behavior, direction) = (read(0)?, read(1)?, read(2)?.to_vec::<i64>());
    let neurons = activity.dims()[2];
    let times_s: Vec<f64> = (0..TRIALS)
        .flat_map(|trial| {
            (0..BINS_OF_TRIAL).map(move |bin| trial as f64 * TRIAL_S + bin as f64 * BIN_S)
        })
        .collect();
    let series = |values: &Tensor, columns| Series {
        times_s: times_s.clone(),
        values: floats(values),
        columns,
    };
    let directions: Vec<usize> = direction.iter().map(|&d| d as usize * DIRECTIONS / 360).collect();
    let shown = times_s.iter().enumerate().map(|(i, &t)| {
        let (trial, bin) = (i / BINS_OF_TRIAL, i % BINS_OF_TRIAL);
        let frame = match bin.checked_sub(ONSET_BIN) {
            Some(since) => directions[trial] * PHASES + since % PHASES,
            None => DIRECTIONS * PHASES,
        };
        (t, frame as u32)
    });
    Ok(RawRecording {
        name: name.to_owned(),
        frames: gratings()?,
        shown: shown.collect(),
        behavior: series(&behavior, 2),
        behavior_names: vec!["speed".into(), "pupil".into()],
        response: RawResponse::Fluorescence(series(&activity, neurons)),
        spans: spans(&directions),
    })
}

/// Every trial as a span, sampled times in the middle of its bins.
fn spans(directions: &[usize]) -> Vec<Span> {
    let mut repeats = [0; DIRECTIONS];
    let mut span = |(trial, &direction): (usize, &usize)| {
        let repeat = repeats[direction];
        repeats[direction] += 1;
        let split = match (repeat % 4, repeat % 8) {
            (3, _) => Split::Test,
            (_, 1) => Split::Validation,
            _ => Split::Train,
        };
        let start_s = trial as f64 * TRIAL_S - BIN_S / 2.0;
        Span { start_s, end_s: start_s + BINS_OF_TRIAL as f64 * BIN_S, split }
    };
    directions.iter().enumerate().map(&mut span).collect()
}

/// Eight phases of a full-contrast grating drifting in each of the eight directions, then gray.
fn gratings() -> Result<Frames, Error> {
    let [height, width] = FRAME;
    let mut values = Vec::new();
    for direction in 0..DIRECTIONS {
        let angle = std::f64::consts::TAU * direction as f64 / DIRECTIONS as f64;
        for phase in 0..PHASES {
            for row in 0..height {
                for column in 0..width {
                    // Counterclockwise from rightwards; rows run down.
                    let along = column as f64 * angle.cos() - row as f64 * angle.sin();
                    let turns = PERIODS * along / width as f64 - phase as f64 / PHASES as f64;
                    values.push((0.5 + 0.5 * (std::f64::consts::TAU * turns).cos()) as f32);
                }
            }
        }
    }
    values.resize(values.len() + height * width, 0.5);
    Frames::new(values, FRAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_its_trials_and_splits() {
        for (name, neurons) in SESSIONS.into_iter().zip([56, 18, 28]) {
            let recording = session(name).unwrap().bin(&BINS).unwrap();
            assert_eq!(recording.units.len(), neurons);
            let of = |split| recording.segments.iter().filter(|s| s.split == split).count();
            assert_eq!([Split::Train, Split::Validation, Split::Test].map(of), [80, 16, 32]);
            assert!(recording.segments.iter().all(|s| s.shown.len() == BINS_OF_TRIAL));
            // Gray for a second, then a grating of one direction.
            for s in &recording.segments {
                assert!(s.shown[..ONSET_BIN].iter().all(|&f| f == 64), "{:?}", s.shown);
                assert!(s.shown[ONSET_BIN..].iter().all(|&f| f / 8 == s.shown[20] / 8 && f < 64));
            }
            let scaled = recording.scaled();
            let lowest = scaled.segments.iter().flat_map(|s| &s.responses).copied();
            assert!(lowest.fold(f32::INFINITY, f32::min) > -5.0);
        }
        assert!(session("mrcuts1").unwrap_err().to_string().contains("mrcuts28, mrcuts29"));
    }

    #[test]
    fn gratings_drift_where_they_say() {
        let frames = gratings().unwrap();
        let row = |frame: usize| {
            let mut out = Vec::new();
            frames.append(frame, &mut out).unwrap();
            out[..FRAME[1]].to_vec()
        };
        // A period is 10 pixels: a phase of 1/8 is 1.25 pixels, four of them 5 pixels to the right.
        let (before, after) = (row(0), row(4));
        assert!((0..30).all(|x| (after[x + 5] - before[x]).abs() < 1e-5));
    }
}
