//! [`RawRecording`]: anyone's recording as it was made, each stream with its own clock, and how it is put into bins.

use std::path::Path;

use super::{Error, Frames, Recording, Response, Segment, Split};

/// Numbers sampled at increasing times, a row of so many columns each.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Seconds, increasing.
    pub times_s: Vec<f64>,
    /// A row for each time.
    pub values: Vec<f32>,
    /// Columns of a row.
    pub columns: usize,
}

/// What the neurons did.
#[derive(Clone, Debug, PartialEq)]
pub enum RawResponse {
    /// When which unit fired, in any order.
    Spikes {
        /// Seconds.
        times_s: Vec<f64>,
        /// The unit of each spike.
        units: Vec<usize>,
        /// Number of units; some may be silent.
        count: usize,
    },
    /// dF/F, a column a neuron.
    Fluorescence(Series),
}

/// A stretch of time and what it is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Its first bin begins here, seconds.
    pub start_s: f64,
    /// No bin reaches beyond, seconds.
    pub end_s: f64,
    /// What it is for.
    pub split: Split,
}

/// A recording before it is put into bins. All clocks are one clock: seconds from any zero.
#[derive(Clone, Debug)]
pub struct RawRecording {
    /// The animal or session.
    pub name: String,
    /// The pictures.
    pub frames: Frames,
    /// When a picture appeared and which: seconds, increasing, and its number in `frames`.
    pub shown: Vec<(f64, u32)>,
    /// Measured behavior; NaN where it was not measured.
    pub behavior: Series,
    /// Names of its columns.
    pub behavior_names: Vec<String>,
    /// What the neurons did.
    pub response: RawResponse,
    /// What each time is for. If empty, the time that all streams share is cut into ten equal parts, of which the first 56 %
    /// are for training, the next 14 % for validation and the last 30 % for testing: the proportions of the published set.
    pub spans: Vec<Span>,
}

/// How a recording is put into bins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BinOptions {
    /// Length of a bin in seconds. Default 0.048, as published.
    pub bin_s: f64,
    /// Bins whose last picture, or whose nearest sample of fluorescence, is further away than this are left out. Default
    /// 0.5.
    pub max_gap_s: f64,
}

impl Default for BinOptions {
    fn default() -> Self {
        BinOptions { bin_s: 0.048, max_gap_s: 0.5 }
    }
}

impl RawRecording {
    /// In bins. Bin `i` of a span covers the times from `start + i · bin_s` up to, but without, `start + (i + 1) · bin_s`.
    ///
    /// - Video: the picture that is seen in the middle of the bin.
    /// - Behavior: the mean of the bin's samples that are numbers; in a bin without any, the line between the nearest samples
    ///   on both sides if neither is further away than `max_gap_s`, else 0 (as NaN in the published set).
    /// - Spikes: how many there are in the bin. Fluorescence: as behavior, but a bin with no value is left out.
    ///
    /// Where a bin is left out, or has no picture, a segment ends, and another begins behind it, so that no sequence reaches
    /// over a gap.
    ///
    /// # Errors
    /// [`Error::Shape`] for lengths that differ, [`Error::Values`] for clocks that do not run forward, pictures and units that
    /// are not there, [`Error::Recording`] if no bin is left or the result is not [sound](Recording::check).
    pub fn bin(&self, options: &BinOptions) -> Result<Recording, Error> {
        let BinOptions { bin_s, max_gap_s } = *options;
        if !(bin_s > 0.0 && bin_s.is_finite() && max_gap_s >= 0.0) {
            return Err(Error::Config(format!(
                "bins of {bin_s} s with gaps of up to {max_gap_s} s"
            )));
        }
        self.check()?;
        let units = match &self.response {
            RawResponse::Spikes { count, .. } => *count,
            RawResponse::Fluorescence(series) => series.columns,
        };
        let mut segments = Vec::new();
        for span in self.spans()? {
            let bins = ((span.end_s - span.start_s) / bin_s + 1e-6) as usize;
            let edges = Edges { start_s: span.start_s, bin_s, bins, max_gap_s };
            let shown = self.seen(&edges);
            let behavior = resampled(&self.behavior, &edges);
            let responses = match &self.response {
                RawResponse::Spikes { times_s, units, count } => {
                    counts(times_s, units, *count, &edges)
                }
                RawResponse::Fluorescence(series) => resampled(series, &edges),
            };
            let row = |bin: usize| &responses[bin * units..][..units];
            let whole = |bin: usize| shown[bin].is_some() && row(bin).iter().all(|v| !v.is_nan());
            let columns = self.behavior.columns;
            let mut bin = 0;
            while bin < bins {
                let end = (bin..bins).find(|&b| !whole(b)).unwrap_or(bins);
                if end > bin {
                    let behavior = &behavior[bin * columns..end * columns];
                    segments.push(Segment {
                        split: span.split,
                        frames: self.frames.clone(),
                        shown: shown[bin..end].iter().map(|s| s.unwrap_or(0)).collect(),
                        behavior: behavior
                            .iter()
                            .map(|v| if v.is_nan() { 0.0 } else { *v })
                            .collect(),
                        responses: responses[bin * units..end * units].to_vec(),
                    });
                }
                bin = end + 1;
            }
        }
        let recording = Recording {
            name: self.name.clone(),
            bin_s,
            response: match self.response {
                RawResponse::Spikes { .. } => Response::Spikes,
                RawResponse::Fluorescence(_) => Response::Fluorescence,
            },
            units: (0..units).collect(),
            behavior_names: self.behavior_names.clone(),
            segments,
            validation_tail: 0.0,
        };
        recording.check()?;
        Ok(recording)
    }

    fn check(&self) -> Result<(), Error> {
        let values = |name: &str, what: String| Err(Error::Values { path: name.into(), what });
        let times: Vec<f64> = self.shown.iter().map(|s| s.0).collect();
        forward("video_t", &times)?;
        if let Some(&(_, frame)) = self.shown.iter().find(|s| s.1 as usize >= self.frames.count()) {
            return values(
                "video_index",
                format!("shows picture {frame} of {}", self.frames.count()),
            );
        }
        series("behavior", &self.behavior)?;
        if self.behavior_names.len() != self.behavior.columns {
            return Err(Error::Shape {
                path: "behavior".into(),
                expected: format!("a column for each name in {:?}", self.behavior_names),
                found: format!("{} columns", self.behavior.columns),
            });
        }
        if let Some(bad) = self.behavior.values.iter().find(|v| v.is_infinite()) {
            return values(
                "behavior",
                format!("holds the value {bad}; write NaN where there is none"),
            );
        }
        match &self.response {
            RawResponse::Spikes { times_s, units, count } => {
                if times_s.len() != units.len() {
                    return Err(Error::Shape {
                        path: "spike_units".into(),
                        expected: format!("{} units, one a spike", times_s.len()),
                        found: units.len().to_string(),
                    });
                }
                if let Some(bad) = times_s.iter().find(|t| !t.is_finite()) {
                    return values("spike_times", format!("holds the time {bad}"));
                }
                match units.iter().find(|u| *u >= count) {
                    Some(unit) => values("spike_units", format!("names unit {unit} of {count}")),
                    None => Ok(()),
                }
            }
            RawResponse::Fluorescence(fluorescence) => {
                if let Some(bad) = fluorescence.values.iter().find(|v| v.is_infinite()) {
                    let what = format!("holds the value {bad}; write NaN where there is none");
                    return values("dff", what);
                }
                series("dff", fluorescence)
            }
        }
    }

    /// The spans, or those that are made where none are given.
    fn spans(&self) -> Result<Vec<Span>, Error> {
        let wrong = |what: String| Err(Error::Recording { recording: self.name.clone(), what });
        if let Some(s) = self.spans.iter().find(|s| !(s.end_s > s.start_s && s.end_s.is_finite())) {
            return wrong(format!("a span from {} to {} s", s.start_s, s.end_s));
        }
        if !self.spans.is_empty() {
            return Ok(self.spans.clone());
        }
        let mut clocks =
            vec![self.shown.iter().map(|s| s.0).collect(), self.behavior.times_s.clone()];
        if let RawResponse::Fluorescence(series) = &self.response {
            clocks.push(series.times_s.clone());
        }
        let ends = |clock: &Vec<f64>| Some((*clock.first()?, *clock.last()?));
        let mut shared = (f64::NEG_INFINITY, f64::INFINITY);
        for clock in &clocks {
            let Some((first, last)) = ends(clock) else { return wrong("an empty stream".into()) };
            shared = (shared.0.max(first), shared.1.min(last));
        }
        if shared.1 <= shared.0 {
            return wrong("its streams share no time: are all clocks the same?".into());
        }
        const PARTS: usize = 10;
        let part = (shared.1 - shared.0) / PARTS as f64;
        let cuts =
            [(0.0, 0.56, Split::Train), (0.56, 0.7, Split::Validation), (0.7, 1.0, Split::Test)];
        let spans = (0..PARTS).flat_map(|i| {
            let start = shared.0 + i as f64 * part;
            cuts.map(|(a, b, split)| Span {
                start_s: start + a * part,
                end_s: start + b * part,
                split,
            })
        });
        Ok(spans.collect())
    }

    /// The picture in the middle of each bin, if one appeared before and not too long ago.
    fn seen(&self, edges: &Edges) -> Vec<Option<u32>> {
        let middle = |bin: usize| edges.start_s + (bin as f64 + 0.5) * edges.bin_s;
        let seen = |bin: usize| {
            let after = self.shown.partition_point(|s| s.0 <= middle(bin));
            let &(since, frame) = self.shown.get(after.checked_sub(1)?)?;
            (middle(bin) - since <= edges.max_gap_s).then_some(frame)
        };
        (0..edges.bins).map(seen).collect()
    }
}

/// The bins of a span.
struct Edges {
    start_s: f64,
    bin_s: f64,
    bins: usize,
    max_gap_s: f64,
}

impl Edges {
    /// The bin of a time; times on an edge up to rounding belong to the bin behind it.
    fn bin(&self, time_s: f64) -> Option<usize> {
        let bin = (time_s - self.start_s) / self.bin_s + 1e-9;
        (bin >= 0.0 && bin < self.bins as f64).then_some(bin as usize)
    }
}

/// Spikes in each bin, `[bins, count]`.
fn counts(times_s: &[f64], units: &[usize], count: usize, edges: &Edges) -> Vec<f32> {
    let mut out = vec![0.0; edges.bins * count];
    for (&time, &unit) in times_s.iter().zip(units) {
        if let Some(bin) = edges.bin(time) {
            out[bin * count + unit] += 1.0;
        }
    }
    out
}

/// The mean of the samples in each bin, `[bins, columns]`; without any, what lies on the line between the nearest samples;
/// NaN if those are too far away.
fn resampled(series: &Series, edges: &Edges) -> Vec<f32> {
    let columns = series.columns;
    let mut out = vec![f32::NAN; edges.bins * columns];
    for column in 0..columns {
        let value = |i: usize| f64::from(series.values[i * columns + column]);
        let mut sums = vec![(0.0, 0usize); edges.bins];
        let known: Vec<usize> =
            (0..series.times_s.len()).filter(|&i| value(i).is_finite()).collect();
        for &i in &known {
            if let Some(bin) = edges.bin(series.times_s[i]) {
                sums[bin].0 += value(i);
                sums[bin].1 += 1;
            }
        }
        for (bin, &(sum, n)) in sums.iter().enumerate() {
            let mean = if n > 0 {
                sum / n as f64
            } else {
                let middle = edges.start_s + (bin as f64 + 0.5) * edges.bin_s;
                let after = known.partition_point(|&i| series.times_s[i] <= middle);
                let around =
                    after.checked_sub(1).and_then(|b| Some((known[b], *known.get(after)?)));
                let Some((a, b)) = around else { continue };
                let (ta, tb) = (series.times_s[a], series.times_s[b]);
                if middle - ta > edges.max_gap_s || tb - middle > edges.max_gap_s {
                    continue;
                }
                value(a) + (value(b) - value(a)) * (middle - ta) / (tb - ta)
            };
            out[bin * columns + column] = mean as f32;
        }
    }
    out
}

/// That a clock runs forward.
fn forward(name: &str, times_s: &[f64]) -> Result<(), Error> {
    let path = || Path::new(name).to_owned();
    if times_s.is_empty() {
        return Err(Error::Values { path: path(), what: "holds no times".into() });
    }
    let bad = times_s.windows(2).position(|w| w[1] <= w[0] || !w[1].is_finite());
    let bad = bad.map(|i| i + 1).or((!times_s[0].is_finite()).then_some(0));
    match bad {
        Some(i) => Err(Error::Values {
            path: path(),
            what: format!("time {i} is {}: times have to be finite and to increase", times_s[i]),
        }),
        None => Ok(()),
    }
}

fn series(name: &str, series: &Series) -> Result<(), Error> {
    let (times, columns) = (series.times_s.len(), series.columns);
    if columns == 0 || series.values.len() != times * columns {
        return Err(Error::Shape {
            path: name.into(),
            expected: format!("[{times}, columns], one row for each of its times"),
            found: format!("{} values in {columns} columns", series.values.len()),
        });
    }
    forward(&format!("{name}_t"), &series.times_s)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two pictures at 20 Hz, speed at 40 Hz, one spike of unit 0 every 50 ms, for so many seconds.
    fn raw(seconds: usize) -> RawRecording {
        let times = |hz: usize| (0..seconds * hz).map(move |i| i as f64 / hz as f64);
        RawRecording {
            name: "made".into(),
            frames: Frames::new([[0.0; 4], [1.0; 4]].concat(), [2, 2]).unwrap(),
            shown: times(20).enumerate().map(|(i, t)| (t, i as u32 % 2)).collect(),
            behavior: Series {
                times_s: times(40).collect(),
                values: times(40).map(|t| t as f32).collect(),
                columns: 1,
            },
            behavior_names: vec!["speed".into()],
            response: RawResponse::Spikes {
                times_s: times(20).map(|t| t + 0.01).collect(),
                units: vec![0; seconds * 20],
                count: 2,
            },
            spans: vec![Span { start_s: 0.0, end_s: seconds as f64, split: Split::Train }],
        }
    }

    const BIN: BinOptions = BinOptions { bin_s: 0.05, max_gap_s: 0.2 };

    #[test]
    fn streams_meet_in_bins() {
        let recording = raw(2).bin(&BIN).unwrap();
        let [segment] = &recording.segments[..] else { panic!("no gap") };
        assert_eq!(segment.shown[..4], [0, 1, 0, 1]);
        // Samples at 0 and 25 ms: the mean is 12.5 ms.
        assert!((segment.behavior[1] - 0.0625).abs() < 1e-6, "{}", segment.behavior[1]);
        assert_eq!(segment.responses[..4], [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(segment.shown.len(), 40);
        // Without spans ten parts of each kind.
        let cut = RawRecording { spans: Vec::new(), ..raw(20) }.bin(&BIN).unwrap();
        let of = |split| cut.segments.iter().filter(|s| s.split == split).count();
        assert_eq!([Split::Train, Split::Validation, Split::Test].map(of), [10; 3]);
    }

    #[test]
    fn gaps_end_segments_and_missing_behavior_is_filled_or_zero() {
        let mut gap = raw(2);
        gap.shown.retain(|s| !(0.5..1.0).contains(&s.0));
        let recording = gap.bin(&BIN).unwrap();
        // The last picture before the gap is seen for another 0.2 s.
        let lengths: Vec<usize> = recording.segments.iter().map(|s| s.shown.len()).collect();
        assert_eq!(lengths, [13, 20]);

        let mut blind = raw(2);
        for (t, v) in blind.behavior.times_s.clone().iter().zip(&mut blind.behavior.values) {
            if (0.5..0.6).contains(t) || (1.0..2.0).contains(t) {
                *v = f32::NAN;
            }
        }
        let segment = &blind.bin(&BIN).unwrap().segments[0];
        assert!((segment.behavior[11] - 0.575).abs() < 1e-6, "{}", segment.behavior[11]);
        assert_eq!(segment.behavior[30], 0.0);
    }

    #[test]
    fn fluorescence_is_averaged_and_its_gaps_end_segments() {
        let mut raw = raw(2);
        let mut values: Vec<f32> = (0..80).map(|i| i as f32).collect();
        values[40..60].fill(f32::NAN);
        let times_s = (0..80).map(|i| f64::from(i) / 40.0).collect();
        raw.response = RawResponse::Fluorescence(Series { times_s, values, columns: 1 });
        let recording = raw.bin(&BIN).unwrap();
        assert_eq!(recording.response, Response::Fluorescence);
        assert_eq!(recording.segments[0].responses[..2], [0.5, 2.5]);
        assert_eq!(recording.segments.len(), 2);
        let lengths: usize = recording.segments.iter().map(|s| s.shown.len()).sum();
        assert!((30..40).contains(&lengths), "{lengths}");
    }

    #[test]
    fn hostile_recordings_are_refused_with_a_sentence() {
        let refused = |change: &dyn Fn(&mut RawRecording), what: &str| {
            let mut recording = raw(2);
            change(&mut recording);
            let error = recording.bin(&BIN).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused(&|r| r.shown[3].0 = 0.0, "video_t: time 3 is 0");
        refused(&|r| r.shown[3].1 = 2, "picture 2 of 2");
        refused(&|r| r.shown.clear(), "video_t: holds no times");
        refused(&|r| r.behavior.times_s[0] = f64::NAN, "behavior_t: time 0 is NaN");
        refused(&|r| r.behavior.times_s[5] = f64::NAN, "behavior_t: time 5 is NaN");
        refused(&|r| r.behavior.values.truncate(3), "behavior: expected [80, columns]");
        refused(&|r| r.behavior.values[3] = f32::INFINITY, "behavior: holds the value inf");
        refused(&|r| r.behavior_names.clear(), "behavior: expected a column for each name");
        refused(&|r| r.spans[0].end_s = -1.0, "a span from 0 to -1");
        refused(&|r| r.spans[0] = Span { start_s: 50.0, end_s: 60.0, ..r.spans[0] }, "no segment");
        let spikes = |change: fn(&mut Vec<f64>, &mut Vec<usize>)| {
            move |r: &mut RawRecording| {
                if let RawResponse::Spikes { times_s, units, .. } = &mut r.response {
                    change(times_s, units);
                }
            }
        };
        refused(&spikes(|t, _| t[0] = f64::NAN), "spike_times: holds the time NaN");
        refused(&spikes(|_, u| u[0] = 7), "spike_units: names unit 7 of 2");
        refused(&spikes(|_, u| u.truncate(1)), "spike_units: expected 40 units");
        refused(
            &spikes(|t, u| {
                t.clear();
                u.clear();
            }),
            "not a single response",
        );
        assert!(raw(2).bin(&BinOptions { bin_s: 0.0, ..BIN }).is_err());
    }
}
