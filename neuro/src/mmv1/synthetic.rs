//! A made-up visual cortex whose receptive fields are known: to check that training and field estimation find what is there.
//!
//! Not data: no claim about brains can rest on it.

use std::f64::consts::TAU;

use tensor::Stream;

use super::{Error, Frames, Recording, Response, Segment, Split};

/// A made-up cortex.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyntheticV1 {
    /// Neurons. Default 20.
    pub neurons: usize,
    /// Height and width of a frame. Default 24 and 32.
    pub frame: [usize; 2],
    /// Bins of 48 ms in all. Default 8000: six minutes.
    pub bins: usize,
    /// Seed of fields, video, running and spikes. Default 0.
    pub seed: u64,
}

impl Default for SyntheticV1 {
    fn default() -> Self {
        SyntheticV1 { neurons: 20, frame: [24, 32], bins: 8000, seed: 0 }
    }
}

/// What is known of a made-up neuron.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownNeuron {
    /// Its Gabor field `[H, W]`, of norm 1.
    pub field: Vec<f32>,
    /// By how much running at the largest speed multiplies its rate, minus 1.
    pub gain: f64,
}

/// Spikes a bin at rest for a field that sees nothing.
const BASE_RATE: f64 = 0.3;
/// Spikes a bin for a contrast of one standard deviation in the field's direction.
const SLOPE: f64 = 1.0;
/// Standard deviation of a pixel around gray.
const CONTRAST: f64 = 0.2;

impl SyntheticV1 {
    /// The neurons.
    pub fn neurons(&self) -> Vec<KnownNeuron> {
        let stream = Stream::new(self.seed).derive("neurons");
        (0..self.neurons).map(|i| self.neuron(stream.derive_index(i as u64))).collect()
    }

    fn neuron(&self, mut stream: Stream) -> KnownNeuron {
        let [height, width] = self.frame.map(|n| n as f64);
        let mut between = |low: f64, high: f64| low + (high - low) * stream.uniform();
        let (row, column) = (between(0.25, 0.75) * height, between(0.25, 0.75) * width);
        let (angle, phase) = (between(0.0, TAU), between(0.0, TAU));
        let (period, sigma) = (between(6.0, 10.0), between(2.0, 3.0));
        let gain = between(0.0, 2.0);
        let mut field = Vec::new();
        for r in 0..self.frame[0] {
            for c in 0..self.frame[1] {
                let (dr, dc) = (r as f64 - row, c as f64 - column);
                let envelope = (-(dr * dr + dc * dc) / (2.0 * sigma * sigma)).exp();
                let along = dc * angle.cos() + dr * angle.sin();
                field.push((envelope * (TAU * along / period + phase).cos()) as f32);
            }
        }
        let norm = field.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-12);
        field.iter_mut().for_each(|v| *v /= norm);
        KnownNeuron { field, gain }
    }

    /// A recording: Gaussian noise in pixels, running that comes and goes, and in each bin Poisson spikes with the rate
    /// `(1 + gain · speed) · max(0, 0.3 + contrast in the field)` of the bin before. The first 65 % are for training, then 10 %
    /// for validation and 25 % for testing.
    ///
    /// # Errors
    /// If a size makes no recording.
    pub fn record(&self) -> Result<Recording, Error> {
        let root = Stream::new(self.seed);
        let pixels = self.frame[0] * self.frame[1];
        let mut noise = root.derive("video");
        let values = (0..self.bins * pixels)
            .map(|_| (0.5 + CONTRAST * noise.normal()).clamp(0.0, 1.0) as f32);
        let values: Vec<f32> = values.collect();
        let (mut steps, mut position) = (root.derive("running"), 0.0);
        // A slow wandering between standing and full speed, and a second variable that means nothing.
        let behavior: Vec<f32> = (0..self.bins)
            .flat_map(|_| {
                position = 0.98 * position + 0.2 * steps.normal();
                [1.0 / (1.0 + (-2.0 * position).exp()), steps.normal()]
            })
            .map(|v| v as f32)
            .collect();
        let known = self.neurons();
        let mut spikes = root.derive("spikes");
        let mut responses = vec![0.0; self.neurons];
        for bin in 1..self.bins {
            let frame = &values[(bin - 1) * pixels..][..pixels];
            let speed = f64::from(behavior[(bin - 1) * 2]);
            for neuron in &known {
                let seen: f64 =
                    frame.iter().zip(&neuron.field).map(|(p, f)| f64::from((p - 0.5) * f)).sum();
                let drive = (BASE_RATE + SLOPE * seen / CONTRAST).max(0.0);
                responses.push(poisson((1.0 + neuron.gain * speed) * drive, &mut spikes) as f32);
            }
        }
        let frames = Frames::new(values, self.frame)?;
        let cut = |share: f64| (share * self.bins as f64) as usize;
        let parts = [
            (0, cut(0.65), Split::Train),
            (cut(0.65), cut(0.75), Split::Validation),
            (cut(0.75), self.bins, Split::Test),
        ];
        let segments = parts.map(|(start, end, split)| Segment {
            split,
            frames: frames.clone(),
            shown: (start as u32..end as u32).collect(),
            behavior: behavior[start * 2..end * 2].to_vec(),
            responses: responses[start * self.neurons..end * self.neurons].to_vec(),
        });
        let recording = Recording {
            name: "synthetic".into(),
            bin_s: 0.048,
            response: Response::Spikes,
            units: (0..self.neurons).collect(),
            behavior_names: vec!["speed".into(), "nothing".into()],
            segments: segments.to_vec(),
            validation_tail: 0.0,
        };
        recording.check()?;
        Ok(recording)
    }
}

/// A Poisson number by multiplying uniforms (Knuth); rates here are below 20.
fn poisson(rate: f64, stream: &mut Stream) -> u32 {
    let limit = (-rate).exp();
    let (mut product, mut count) = (stream.uniform(), 0);
    while product > limit {
        product *= stream.uniform();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spikes_follow_the_field_and_the_running() {
        let cortex = SyntheticV1 { neurons: 3, frame: [12, 16], bins: 4000, seed: 1 };
        let (recording, known) = (cortex.record().unwrap(), cortex.neurons());
        assert_eq!(cortex.record().unwrap().segments[0].responses, recording.segments[0].responses);
        let train = &recording.segments[0];
        for (k, neuron) in known.iter().enumerate() {
            // The spike-triggered average is the field, up to noise.
            let mut average = vec![0.0; 12 * 16];
            let mut frame = Vec::new();
            for bin in 1..train.shown.len() {
                frame.clear();
                train.frames.append(train.shown[bin - 1] as usize, &mut frame).unwrap();
                let spikes = train.responses[bin * 3 + k];
                average.iter_mut().zip(&frame).for_each(|(a, p)| *a += spikes * (p - 0.5));
            }
            let f64s = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
            let r = crate::stats::pearson(&f64s(&average), &f64s(&neuron.field)).unwrap().statistic;
            assert!(r > 0.8, "neuron {k}: {r}");
        }
    }

    #[test]
    fn poisson_has_its_mean_and_variance() {
        let mut stream = Stream::new(5);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(poisson(2.5, &mut stream))).collect();
        let mean = crate::stats::mean(&draws);
        let variance = crate::stats::variance(&draws);
        assert!((mean - 2.5).abs() < 0.05 && (variance - 2.5).abs() < 0.15, "{mean} {variance}");
    }
}
