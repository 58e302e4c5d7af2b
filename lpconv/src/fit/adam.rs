//! The paper's fit: Adam from a fixed start, for a fixed number of steps. What it returns is a stopping point.

use super::{Samples, likelihood::Magnitudes};
use crate::error::{Error, check_positive};

/// Settings of [`fit_adam`]. The paper gives the start; the rest is inferred from the `p = 11..14` that it reports for
/// untrained kernels, whose likelihood has no maximum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// Start of `p`, default 2.
    pub p: f64,
    /// Start of `sigma`, default 0.5.
    pub sigma: f64,
    /// Learning rate, default 0.1.
    pub lr: f64,
    /// Number of steps, default 1,500.
    pub steps: usize,
    /// Smallest `p`, default 0.5.
    pub p_min: f64,
    /// Largest `p`, default 256.
    pub p_max: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        AdamConfig { p: 2.0, sigma: 0.5, lr: 0.1, steps: 1500, p_min: 0.5, p_max: 256.0 }
    }
}

/// One point of the optimizer's way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// The exponent.
    pub p: f64,
    /// The scale.
    pub sigma: f64,
    /// Mean log-density of a point.
    pub log_likelihood: f64,
}

/// The result of [`fit_adam`].
#[derive(Clone, Debug, PartialEq)]
pub struct AdamFit {
    /// Where the optimizer stopped.
    pub end: AdamStep,
    /// The whole way: the start, then the state after each step (`steps + 1` entries).
    pub trajectory: Vec<AdamStep>,
}

/// `sigma` is kept above this: data are meant to be standardized, where the best `sigma` is above 0.7 for `p >= 1`.
const SIGMA_MIN: f64 = 1e-3;

/// Adam on `(p, sigma)` for the mean log-density, with `p` clamped after each step; `β = (0.9, 0.999)`, `ε = 1e-8`.
///
/// `C = I / sigma` and center 0; give it standardized data. See [`fit_likelihood`](super::fit_likelihood) for the
/// converged answer. Source: paper, appendix A.2; the update is that of `torch.optim.Adam`.
///
/// # Errors
/// When all points are equal, a setting is out of range, or the gradient overflows
/// ([`Error::Diverged`]: a start far below the scale of the data with a large `p`).
pub fn fit_adam<const D: usize>(
    samples: &Samples<D>,
    config: &AdamConfig,
) -> Result<AdamFit, Error> {
    let AdamConfig { p, sigma, lr, steps, p_min, p_max } = *config;
    for (name, value) in
        [("p", p), ("sigma", sigma), ("lr", lr), ("p_min", p_min), ("p_max", p_max)]
    {
        check_positive(name, value)?;
    }
    if !(p_min..=p_max).contains(&p) {
        return Err(Error::Parameter { name: "p", value: p, expected: "between p_min and p_max" });
    }
    let heap = Magnitudes::new(samples)?;
    let evaluate = |p, sigma| {
        let (value, gradient) = heap.likelihood(p, sigma);
        (AdamStep { p, sigma, log_likelihood: D as f64 * value }, gradient.map(|g| -g * D as f64))
    };

    let (mut state, mut gradient) = evaluate(p, sigma);
    let mut trajectory = vec![state];
    let (mut mean, mut square) = ([0.0; 2], [0.0; 2]);
    for step in 1..=steps {
        if gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::Diverged { step, p: state.p, sigma: state.sigma });
        }
        let t = i32::try_from(step).unwrap_or(i32::MAX);
        let update: [f64; 2] = std::array::from_fn(|i| {
            mean[i] = 0.9 * mean[i] + 0.1 * gradient[i];
            square[i] = 0.999 * square[i] + 0.001 * gradient[i] * gradient[i];
            let (mean, square) =
                (mean[i] / (1.0 - 0.9f64.powi(t)), square[i] / (1.0 - 0.999f64.powi(t)));
            lr * mean / (square.sqrt() + 1e-8)
        });
        let p = (state.p - update[0]).clamp(p_min, p_max);
        (state, gradient) = evaluate(p, (state.sigma - update[1]).max(SIGMA_MIN));
        trajectory.push(state);
    }
    Ok(AdamFit { end: state, trajectory })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Histogram, LikelihoodConfig, Mpnd, fit_likelihood};
    use tensor::Stream;

    #[test]
    fn on_a_uniform_lattice_p_is_where_it_was_stopped() {
        let centers: Vec<f64> = (-5..=5).map(f64::from).collect();
        let lattice = Histogram::new([centers.clone(), centers], vec![1.0; 121]).unwrap();
        let samples = lattice.standardized().unwrap().samples();
        let config = AdamConfig { steps: 5000, ..AdamConfig::default() };
        let fit = fit_adam(&samples, &config).unwrap();
        assert_eq!(fit.trajectory.len(), 5001);
        for (step, p) in
            [(0, 2.0), (500, 5.951), (1000, 9.0), (1500, 11.765), (2000, 14.521), (5000, 35.546)]
        {
            let found = fit.trajectory[step].p;
            assert!((found - p).abs() < 1e-3, "after {step} steps: {found}, expected {p}");
        }
        assert_eq!(fit.end, fit.trajectory[5000]);
        let default = fit_adam(&samples, &AdamConfig::default()).unwrap();
        assert_eq!(default.end, fit.trajectory[1500]);
        let slow = AdamConfig { lr: 0.01, steps: 2000, ..AdamConfig::default() };
        assert!((fit_adam(&samples, &slow).unwrap().end.p - 4.2).abs() < 0.05);
    }

    #[test]
    fn where_there_is_a_maximum_adam_finds_it() {
        let mpnd = Mpnd::<2>::isotropic(2.0, 1.0).unwrap();
        let mut random = Stream::new(5);
        let samples = Samples::new((0..2000).map(|_| mpnd.sample(&mut random)).collect());
        let samples = samples.unwrap().standardized().unwrap();
        let adam = fit_adam(&samples, &AdamConfig::default()).unwrap().end;
        let best = fit_likelihood(&samples, &LikelihoodConfig::default()).unwrap();
        assert!((adam.p - best.p).abs() < 1e-3 && (adam.sigma - best.sigma).abs() < 1e-3);
        assert!(adam.log_likelihood <= best.log_likelihood + 1e-12);
    }

    #[test]
    fn p_stays_between_its_bounds() {
        let samples = Samples::new(vec![[-1.0], [1.0], [0.9]]).unwrap();
        let config = AdamConfig { p_max: 3.0, ..AdamConfig::default() };
        assert_eq!(fit_adam(&samples, &config).unwrap().end.p, 3.0);
        let peaked = Samples::weighted(vec![[1e-6], [-1e-6], [5.0]], vec![5.0, 5.0, 1.0]).unwrap();
        let fit = fit_adam(&peaked, &AdamConfig::default()).unwrap();
        assert!(fit.trajectory.iter().all(|s| (0.5..=256.0).contains(&s.p) && s.sigma > 0.0));
    }

    #[test]
    fn impossible_settings_and_overflow_are_errors() {
        let samples = Samples::new(vec![[-30.0], [10.0]]).unwrap();
        let outside = AdamConfig { p: 0.1, ..AdamConfig::default() };
        assert!(matches!(fit_adam(&samples, &outside), Err(Error::Parameter { name: "p", .. })));
        let overflow = AdamConfig { p: 256.0, sigma: 0.1, ..AdamConfig::default() };
        assert!(matches!(fit_adam(&samples, &overflow), Err(Error::Diverged { step: 1, .. })));
    }
}
