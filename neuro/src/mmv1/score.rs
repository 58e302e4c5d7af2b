//! How well predicted responses agree with recorded ones.

use tensor::Tensor;

use super::Response;
use crate::{Error, prediction::moving_average, stats::pearson};

/// Predicted or recorded responses, `[samples, neurons]`, one sample after the other in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Activity {
    values: Vec<f32>,
    neurons: usize,
}

/// How well a prediction agrees: the paper's two measures.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Pearson correlation over time of each neuron; NaN for one that never changes.
    pub cc: Vec<f64>,
    /// Mean squared error of each neuron.
    pub mse: Vec<f64>,
}

impl Activity {
    /// Responses of so many neurons.
    ///
    /// # Panics
    /// If the values do not fill whole samples.
    #[track_caller]
    pub fn new(values: Vec<f32>, neurons: usize) -> Self {
        assert!(
            neurons > 0 && values.len().is_multiple_of(neurons),
            "Activity: {} values are not whole samples of {neurons} neurons",
            values.len()
        );
        Activity { values, neurons }
    }

    /// Number of samples.
    pub fn samples(&self) -> usize {
        self.values.len() / self.neurons
    }

    /// Number of neurons.
    pub fn neurons(&self) -> usize {
        self.neurons
    }

    /// The course of one neuron.
    pub fn neuron(&self, neuron: usize) -> Vec<f64> {
        let values = self.values.iter().skip(neuron).step_by(self.neurons);
        values.map(|&v| f64::from(v)).collect()
    }

    /// The same as `[samples, neurons]` in f64, under a moving average over so many samples (1 changes nothing).
    ///
    /// # Errors
    /// As [`moving_average`].
    pub fn smoothed(&self, window: usize) -> Result<Tensor, Error> {
        moving_average(&Tensor::new(&self.values, [self.samples(), self.neurons]), window)
    }

    /// Mean Poisson negative log-likelihood `p - r ln(p + 1e-8)` (spikes) or squared error of a prediction: what decides when
    /// training stops.
    ///
    /// # Panics
    /// If the two have not the same shape.
    #[track_caller]
    pub fn loss(&self, recorded: &Activity, response: Response) -> f64 {
        let pairs = self.values.iter().zip(&recorded.values);
        let pairs = pairs.map(|(&p, &r)| (f64::from(p), f64::from(r)));
        assert!(self.values.len() == recorded.values.len(), "Activity: other shapes");
        let sum: f64 = match response {
            Response::Spikes => pairs.map(|(p, r)| p - r * (p + 1e-8).ln()).sum(),
            Response::Fluorescence => pairs.map(|(p, r)| (p - r).powi(2)).sum(),
        };
        sum / self.values.len() as f64
    }
}

impl Score {
    /// Of a prediction, both smoothed by a moving average over `window` samples (41 in the paper: 2 s).
    ///
    /// # Errors
    /// If the shapes differ, or there are fewer samples than the window has.
    pub fn new(predicted: &Activity, recorded: &Activity, window: usize) -> Result<Self, Error> {
        let (p, r) = (predicted.smoothed(window)?, recorded.smoothed(window)?);
        if p.dims() != r.dims() {
            return Err(Error::Shape {
                what: "the recording".into(),
                expected: "that of the prediction",
                found: r.dims().to_vec(),
            });
        }
        let n = recorded.neurons;
        let (p, r) = (p.to_f64_vec(), r.to_f64_vec());
        let course =
            |x: &[f64], k: usize| -> Vec<f64> { x.iter().skip(k).step_by(n).copied().collect() };
        let (mut cc, mut mse) = (Vec::new(), Vec::new());
        for neuron in 0..n {
            let (p, r) = (course(&p, neuron), course(&r, neuron));
            cc.push(match pearson(&p, &r) {
                Ok(correlation) => correlation.statistic,
                Err(Error::Constant { .. }) => f64::NAN,
                Err(other) => return Err(other),
            });
            let squares: f64 = p.iter().zip(&r).map(|(p, r)| (p - r).powi(2)).sum();
            mse.push(squares / p.len() as f64);
        }
        Ok(Score { cc, mse })
    }

    /// Mean correlation over the neurons that have one.
    pub fn mean_cc(&self) -> f64 {
        let known: Vec<f64> = self.cc.iter().copied().filter(|c| !c.is_nan()).collect();
        known.iter().sum::<f64>() / known.len() as f64
    }

    /// Neurons without a correlation: recorded or predicted activity never changes.
    pub fn without_cc(&self) -> usize {
        self.cc.iter().filter(|c| c.is_nan()).count()
    }

    /// Mean squared error over all entries.
    pub fn mean_mse(&self) -> f64 {
        self.mse.iter().sum::<f64>() / self.mse.len() as f64
    }
}

/// The mean of `responses` in at most `bins` groups of about equally many samples, from the smallest to the largest `variable`:
/// pairs of the group's mean variable and mean response. How a neuron is tuned to a variable of behavior.
///
/// Equal values are never put into different groups (an animal that stands half of the time makes one large group), so there
/// may be fewer groups.
///
/// # Panics
/// If the lengths differ or there are fewer samples than bins.
#[track_caller]
pub fn tuning(variable: &[f64], responses: &[f64], bins: usize) -> Vec<(f64, f64)> {
    let n = variable.len();
    assert!(
        n == responses.len() && bins > 0 && n >= bins,
        "tuning: {n} values, {} responses, {bins} bins",
        responses.len()
    );
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| variable[a].total_cmp(&variable[b]).then(a.cmp(&b)));
    let (mut groups, mut start) = (Vec::new(), 0);
    for bin in 1..=bins {
        let mut end = bin * n / bins;
        if end <= start {
            continue;
        }
        while end < n && variable[order[end]] == variable[order[end - 1]] {
            end += 1;
        }
        let group = &order[start..end];
        let mean = |x: &[f64]| group.iter().map(|&i| x[i]).sum::<f64>() / group.len() as f64;
        groups.push((mean(variable), mean(responses)));
        start = end;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neuron_that_never_changes_has_no_cc_and_does_not_spoil_the_mean() {
        let recorded = Activity::new(vec![0.0, 1.0, 0.0, 2.0, 0.0, 4.0], 2);
        let predicted = Activity::new(vec![0.1, 2.0, 0.2, 4.0, 0.3, 8.0], 2);
        let score = Score::new(&predicted, &recorded, 1).unwrap();
        assert!(score.cc[0].is_nan() && (score.cc[1] - 1.0).abs() < 1e-12);
        assert_eq!((score.mean_cc(), score.without_cc()), (score.cc[1], 1));
        assert!((score.mse[1] - (1.0 + 4.0 + 16.0) / 3.0).abs() < 1e-12);
        assert!((score.mean_mse() - (score.mse[0] + score.mse[1]) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn tuning_goes_from_small_to_large() {
        let curve = tuning(&[3.0, 1.0, 2.0, 4.0], &[30.0, 10.0, 20.0, 40.0], 2);
        assert_eq!(curve, [(1.5, 15.0), (3.5, 35.0)]);
        // Standing is one group, however long.
        let curve = tuning(&[0.0, 0.0, 0.0, 0.0, 1.0, 2.0], &[1.0, 2.0, 3.0, 4.0, 9.0, 7.0], 3);
        assert_eq!(curve, [(0.0, 2.5), (1.5, 8.0)]);
    }
}
