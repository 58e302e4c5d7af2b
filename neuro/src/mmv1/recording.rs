//! [`Recording`]: video, behavior and responses in bins of time, and [`Windows`], the samples a model learns from.

use std::{ops::Range, sync::Arc};

use nn::data::{BoxError, Dataset};
use tensor::{Device, Tensor};

use super::{BehaviorSet, Error, Frames};

/// What a segment of a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Learning.
    Train,
    /// Deciding when to stop.
    Validation,
    /// The figures in the end.
    Test,
}

/// What was recorded of the neurons; decides the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// Spikes in each bin: Poisson likelihood.
    Spikes,
    /// Fluorescence (dF/F): squared error.
    Fluorescence,
}

/// Consecutive bins without a gap.
#[derive(Clone, Debug)]
pub struct Segment {
    /// What it is for.
    pub split: Split,
    /// Pictures.
    pub frames: Frames,
    /// Which of them is seen in each bin.
    pub shown: Vec<u32>,
    /// Measured behavior, bin after bin; NaN is not allowed here (readers make it 0).
    pub behavior: Vec<f32>,
    /// Responses, bin after bin.
    pub responses: Vec<f32>,
}

/// A recording in bins of time.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The animal or session.
    pub name: String,
    /// Length of a bin in seconds.
    pub bin_s: f64,
    /// What `responses` are.
    pub response: Response,
    /// Number of each neuron in the source.
    pub units: Vec<usize>,
    /// Names of the columns of `behavior`.
    pub behavior_names: Vec<String>,
    /// The pieces, in order of time.
    pub segments: Vec<Segment>,
    /// Share of the windows at the end of each training segment that is for validation: 0.2 as published, 0 where whole
    /// segments are.
    pub validation_tail: f64,
}

impl Recording {
    /// Checks that all lengths agree and all values can be used.
    ///
    /// # Errors
    /// [`Error::Recording`] with the first thing that is wrong: no neurons, no bins, lengths that differ, values that are
    /// not finite, negative counts, not a single spike, frames of different sizes.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Recording { recording: self.name.clone(), what });
        let (neurons, columns) = (self.units.len(), self.behavior_names.len());
        if neurons == 0 || columns == 0 {
            return wrong(format!("{neurons} neurons and {columns} variables of behavior"));
        }
        if !(self.bin_s > 0.0 && self.bin_s.is_finite()) {
            return wrong(format!("bins of {} seconds", self.bin_s));
        }
        if !(0.0..1.0).contains(&self.validation_tail) {
            return wrong(format!("a validation_tail of {}", self.validation_tail));
        }
        let Some(first) = self.segments.first() else {
            return wrong("no segment; nothing of it can be used".into());
        };
        for (i, s) in self.segments.iter().enumerate() {
            let bins = s.shown.len();
            if s.behavior.len() != bins * columns || s.responses.len() != bins * neurons {
                return wrong(format!(
                    "segment {i} has {bins} bins of video, but {} values of behavior ({columns} a bin) and {} responses \
                     ({neurons} a bin)",
                    s.behavior.len(),
                    s.responses.len()
                ));
            }
            if s.frames.size() != first.frames.size() {
                return wrong(format!("segment {i} has frames of another size than segment 0"));
            }
            if let Some(frame) = s.shown.iter().find(|&&f| f as usize >= s.frames.count()) {
                return wrong(format!("segment {i} shows frame {frame} of {}", s.frames.count()));
            }
            let values = s.behavior.iter().chain(&s.responses);
            if let Some(bad) = values.clone().find(|v| !v.is_finite()) {
                return wrong(format!("segment {i} holds the value {bad}"));
            }
            let spikes = self.response == Response::Spikes;
            if let Some(bad) = s.responses.iter().find(|&&r| spikes && r < 0.0) {
                return wrong(format!("segment {i} holds {bad} spikes"));
            }
        }
        let silent = self.segments.iter().all(|s| s.responses.iter().all(|&r| r == 0.0));
        if silent {
            return wrong(
                "not a single response is other than 0: there is nothing to predict".into(),
            );
        }
        Ok(())
    }

    /// Height and width of a frame.
    pub fn frame(&self) -> [usize; 2] {
        self.segments.first().map_or([0; 2], |s| s.frames.size())
    }

    /// The same with smaller frames ([`Frames::shrunk`]).
    ///
    /// # Errors
    /// If no pixel is left.
    pub fn shrunk(mut self, shrink: usize) -> Result<Self, Error> {
        for segment in &mut self.segments {
            segment.frames = segment.frames.shrunk(shrink)?;
        }
        Ok(self)
    }

    /// The same with each neuron's fluorescence scaled: minus its smallest value, over its standard deviation, both of the
    /// training segments. The model's rates cannot be negative, and squared errors then count in units of variance. Spikes
    /// stay as they are, and so does a neuron that never changes.
    pub fn scaled(mut self) -> Self {
        if self.response == Response::Spikes {
            return self;
        }
        let n = self.units.len();
        for unit in 0..n {
            let train = self.segments.iter().filter(|s| s.split == Split::Train);
            let values = train.flat_map(|s| s.responses.iter().skip(unit).step_by(n));
            let values: Vec<f64> = values.map(|&v| f64::from(v)).collect();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
            let sd = (variance / values.len() as f64).sqrt();
            if !(sd > 0.0 && sd.is_finite()) {
                continue;
            }
            for segment in &mut self.segments {
                for v in segment.responses.iter_mut().skip(unit).step_by(n) {
                    *v = ((f64::from(*v) - low) / sd) as f32;
                }
            }
        }
        self
    }
}

/// The samples of one split: `seq_len` frames with their behavior, and the responses in the bin behind them. No sample
/// reaches over the end of a segment.
#[derive(Clone, Debug)]
pub struct Windows {
    recording: Arc<Recording>,
    seq_len: usize,
    set: BehaviorSet,
    /// Segment, and the first bins of its samples.
    runs: Vec<(usize, Range<usize>)>,
    /// Number of the first sample of each run, and of all samples.
    starts: Vec<usize>,
}

/// One sample.
#[derive(Clone, Debug)]
pub struct Sample {
    images: Vec<f32>,
    behavior: Vec<f32>,
    responses: Vec<f32>,
}

/// Samples side by side, as a model takes them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[N, T, 1, H, W]`.
    pub images: Tensor,
    /// `[N, T, behaviors]`.
    pub behavior: Tensor,
    /// `[N, neurons]`.
    pub responses: Tensor,
}

impl Windows {
    /// The samples of `split`.
    ///
    /// # Errors
    /// [`Error::Recording`] if the recording is not [sound](Recording::check) or gives no sample, [`Error::Config`] for
    /// sequences without frames.
    pub fn new(
        recording: &Arc<Recording>,
        split: Split,
        seq_len: usize,
        set: BehaviorSet,
    ) -> Result<Self, Error> {
        recording.check()?;
        if seq_len == 0 {
            return Err(Error::Config("sequences of 0 frames; at least 1 is needed".into()));
        }
        let tail = recording.validation_tail;
        let (mut runs, mut starts) = (Vec::new(), vec![0]);
        for (i, segment) in recording.segments.iter().enumerate() {
            let samples = segment.shown.len().saturating_sub(seq_len);
            // As published: whole numbers of samples, rounded down.
            let train = ((1.0 - tail) * samples as f64) as usize;
            let run = match (segment.split, split) {
                (Split::Train, Split::Train) => 0..train,
                (Split::Train, Split::Validation) => train..samples,
                (is, wanted) if is == wanted => 0..samples,
                _ => continue,
            };
            if !run.is_empty() {
                starts.push(starts[starts.len() - 1] + run.len());
                runs.push((i, run));
            }
        }
        if runs.is_empty() {
            return Err(Error::Recording {
                recording: recording.name.clone(),
                what: format!(
                    "no {split:?} sample of {seq_len} frames: every segment for it is shorter than {} bins",
                    seq_len + 1
                ),
            });
        }
        Ok(Windows { recording: recording.clone(), seq_len, set, runs, starts })
    }

    /// The recording they are of.
    pub fn recording(&self) -> &Arc<Recording> {
        &self.recording
    }

    /// Variables of behavior in a bin.
    pub fn behaviors(&self) -> usize {
        self.set.len(self.recording.behavior_names.len())
    }

    /// Segment of a sample and the bin it predicts.
    ///
    /// # Panics
    /// If there is no such sample.
    #[track_caller]
    pub fn target(&self, sample: usize) -> (usize, usize) {
        assert!(sample < self.len(), "Windows: sample {sample} of {}", self.len());
        let run = self.starts.partition_point(|&start| start <= sample) - 1;
        let (segment, bins) = &self.runs[run];
        (*segment, bins.start + sample - self.starts[run] + self.seq_len)
    }

    /// The recorded responses `[samples, neurons]`.
    pub fn responses(&self) -> Vec<f32> {
        let n = self.recording.units.len();
        let of = |sample| {
            let (segment, bin) = self.target(sample);
            &self.recording.segments[segment].responses[bin * n..][..n]
        };
        (0..self.len()).flat_map(of).copied().collect()
    }

    /// A measured variable of behavior in the last bin that each sample sees.
    pub fn measured(&self, column: usize) -> Vec<f32> {
        let columns = self.recording.behavior_names.len();
        let of = |sample| {
            let (segment, bin) = self.target(sample);
            self.recording.segments[segment].behavior[(bin - 1) * columns + column]
        };
        (0..self.len()).map(of).collect()
    }

    /// Samples side by side.
    pub fn batch(&self, samples: Vec<Sample>, device: Device) -> Batch {
        let ([h, w], n, t) = (self.recording.frame(), samples.len(), self.seq_len);
        let join = |part: fn(&Sample) -> &Vec<f32>, shape: &[usize]| {
            let all: Vec<f32> = samples.iter().flat_map(part).copied().collect();
            Tensor::new(&all, shape).to_device(device)
        };
        Batch {
            images: join(|s| &s.images, &[n, t, 1, h, w]),
            behavior: join(|s| &s.behavior, &[n, t, self.behaviors()]),
            responses: join(|s| &s.responses, &[n, self.recording.units.len()]),
        }
    }
}

impl Dataset for Windows {
    type Item = Sample;

    fn len(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    fn get(&self, index: usize) -> Result<Sample, BoxError> {
        let (segment, end) = self.target(index);
        let segment = &self.recording.segments[segment];
        let (columns, n) = (self.recording.behavior_names.len(), self.recording.units.len());
        let row = |bin: usize| &segment.behavior[bin * columns..][..columns];
        let (mut images, mut behavior) = (Vec::new(), Vec::new());
        for bin in end - self.seq_len..end {
            segment.frames.append(segment.shown[bin] as usize, &mut images)?;
            self.set.append(row(bin), bin.checked_sub(1).map(row), &mut behavior);
        }
        let responses = segment.responses[end * n..][..n].to_vec();
        Ok(Sample { images, behavior, responses })
    }
}
