//! How well predicted neural activity agrees with what was recorded (specification E12, Table 5).

use tensor::Tensor;

use crate::{
    error::Error,
    stats::{mean, pearson},
};

/// Frames of the moving average of Table 5: 2 s of 48 ms each.
pub const SMOOTHING_FRAMES: usize = 41;

/// The agreement of a prediction with a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionScore {
    /// Pearson's correlation over time of each neuron.
    pub cc: Vec<f64>,
    /// Mean squared difference over all neurons and times.
    pub mse: f64,
}

impl PredictionScore {
    /// The mean correlation over neurons.
    pub fn mean_cc(&self) -> f64 {
        mean(&self.cc)
    }
}

/// Compares `[time, neurons]` of a prediction with the same of a recording, as they are: smooth both before for Table 5.
///
/// # Errors
/// If the shapes differ or are no `[time, neurons]`, a value is not finite, or a neuron's series is constant.
pub fn prediction_score(predicted: &Tensor, recorded: &Tensor) -> Result<PredictionScore, Error> {
    let [times, neurons] = series_shape("the prediction", predicted)?;
    if recorded.dims() != predicted.dims() {
        let (what, expected) = ("the recording".into(), "that of the prediction");
        return Err(Error::Shape { what, expected, found: recorded.dims().to_vec() });
    }
    let (a, b) = (predicted.to_f64_vec(), recorded.to_f64_vec());
    let of_neuron = |x: &[f64], k: usize| x.iter().skip(k).step_by(neurons).copied().collect();
    let cc = (0..neurons)
        .map(|k| {
            let (a, b): (Vec<f64>, Vec<f64>) = (of_neuron(&a, k), of_neuron(&b, k));
            let named = |e| Error::Neuron { neuron: k, source: Box::new(e) };
            Ok(pearson(&a, &b).map_err(named)?.statistic)
        })
        .collect::<Result<_, Error>>()?;
    let squares = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2));
    Ok(PredictionScore { cc, mse: squares.sum::<f64>() / (times * neurons) as f64 })
}

/// The moving average of `[time, neurons]` over `frames`, with zeros beyond the ends: always divided by `frames`.
///
/// Same as `numpy.convolve(x, ones(frames) / frames, mode="same")` of each column if there are at least `frames` times.
///
/// # Errors
/// If the shape is no `[time, neurons]`, or there are fewer times than frames.
///
/// # Panics
/// If `frames` is 0.
#[track_caller]
pub fn moving_average(series: &Tensor, frames: usize) -> Result<Tensor, Error> {
    assert!(frames > 0, "moving_average: of 0 frames");
    let [times, neurons] = series_shape("the series", series)?;
    if times < frames {
        let (what, of) = ("the series".into(), "times");
        return Err(Error::TooFew { what, of, least: frames, found: times });
    }
    let values = series.to_f64_vec();
    let mut smooth = vec![0.0; values.len()];
    for t in 0..times {
        // The window reaches from (frames - 1) / 2 frames after t to the rest before it.
        let last = (t + (frames - 1) / 2 + 1).min(times);
        let first = (t + (frames - 1) / 2 + 1).saturating_sub(frames);
        for row in values[first * neurons..last * neurons].chunks(neurons) {
            for (sum, v) in smooth[t * neurons..(t + 1) * neurons].iter_mut().zip(row) {
                *sum += v / frames as f64;
            }
        }
    }
    Ok(Tensor::new(&smooth, [times, neurons]))
}

fn series_shape(what: &str, series: &Tensor) -> Result<[usize; 2], Error> {
    match *series.dims() {
        [times, neurons] if times > 1 && neurons > 0 => Ok([times, neurons]),
        _ => {
            let expected = "[time, neurons] of two or more times";
            Err(Error::Shape { what: what.into(), expected, found: series.dims().to_vec() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_those_of_numpys_convolve() {
        // numpy.convolve([1, 2, 4, 8, 16], ones(n) / n, "same") for n = 3 and 4, times n.
        let x = Tensor::new(&[1.0, 2.0, 4.0, 8.0, 16.0], [5, 1]);
        for (frames, sums) in [(3, [3.0, 7.0, 14.0, 28.0, 24.0]), (4, [3.0, 7.0, 15.0, 30.0, 28.0])]
        {
            for (found, sum) in moving_average(&x, frames).unwrap().to_f64_vec().iter().zip(sums) {
                assert!((found * frames as f64 - sum).abs() < 1e-12, "{frames}: {found}");
            }
        }
        assert!(moving_average(&x, 6).is_err());
    }

    #[test]
    fn neurons_are_scored_one_by_one() {
        let predicted = Tensor::new(&[1.0, 0.0, 2.0, 1.0, 3.0, 0.0], [3, 2]);
        let recorded = Tensor::new(&[2.0, 1.0, 4.0, 0.0, 6.0, 1.0], [3, 2]);
        let score = prediction_score(&predicted, &recorded).unwrap();
        assert!((score.cc[0] - 1.0).abs() < 1e-12 && (score.cc[1] + 1.0).abs() < 1e-12);
        assert!(score.mean_cc().abs() < 1e-12);
        assert!((score.mse - (1.0 + 1.0 + 4.0 + 1.0 + 9.0 + 1.0) / 6.0).abs() < 1e-12);
        let silent = Tensor::new(&[2.0, 0.0, 4.0, 0.0, 6.0, 0.0], [3, 2]);
        let error = prediction_score(&predicted, &silent).unwrap_err().to_string();
        assert_eq!(error, "neuron 1: b is constant: its correlation with anything is not defined");
    }
}
