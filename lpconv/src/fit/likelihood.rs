//! Maximum likelihood. The density is a product over axes with one `p` and one `sigma`, so all coordinates of all points
//! can be thrown into one heap of one-dimensional values; only their magnitudes matter.

use statrs::function::gamma::{digamma, ln_gamma};
use std::f64::consts::LN_2;

use super::{FitStatus, Samples};
use crate::error::{Error, check_positive};

/// Bounds of [`fit_likelihood`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LikelihoodConfig {
    /// Smallest `p` tried, default 0.05.
    pub p_min: f64,
    /// Largest `p` tried, default 256, the paper's largest; beyond it a density is a box for every practical purpose.
    pub p_max: f64,
}

impl Default for LikelihoodConfig {
    fn default() -> Self {
        LikelihoodConfig { p_min: 0.05, p_max: 256.0 }
    }
}

/// Standard errors from the observed information, the curvature of the log-likelihood at its maximum.
///
/// Weights are counts: for weights that sum to 1 (a PMF) divide by the square root of the number of observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StandardErrors {
    /// Standard error of `p`.
    pub p: f64,
    /// Standard error of `sigma`.
    pub sigma: f64,
}

/// The result of [`fit_likelihood`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LikelihoodFit {
    /// The exponent; a bound of the search unless `status` is `Converged`.
    pub p: f64,
    /// The scale that is best for this `p`.
    pub sigma: f64,
    /// Mean log-density of a point.
    pub log_likelihood: f64,
    /// Whether `p` is a maximum at all.
    pub status: FitStatus,
    /// Uncertainties, where the fit converged.
    pub standard_errors: Option<StandardErrors>,
}

/// Values of `ln p` at which the likelihood is looked at before it is refined: a factor of 1.07 apart by default.
const GRID: usize = 128;

/// The maximum of the weighted likelihood over `p` and `sigma`, for `C = I / sigma` and center 0.
///
/// For a given `p` the best scale is `sigma = (p ⟨|x|ᵖ⟩)^(1/p)`, which leaves a search over `p` alone: all local maxima
/// between the bounds are bracketed on a grid, refined by safeguarded Newton steps on `ln p`, and the highest is
/// returned. If the likelihood is higher still at `p_max` the status is [`FitStatus::Unbounded`]. Where there is no
/// maximum at all the result is the end that lies uphill from `p = 2`; the lower one never competes with a maximum, since
/// for data with exact zeros its likelihood is high without meaning.
///
/// A histogram's cells count as points at their centers. That is harmless for ten or more cells across; with five, a
/// Gaussian's many zeros leave no maximum at all.
///
/// # Errors
/// When all points are equal, or the bounds are not `0 < p_min < p_max`.
pub fn fit_likelihood<const D: usize>(
    samples: &Samples<D>,
    config: &LikelihoodConfig,
) -> Result<LikelihoodFit, Error> {
    let LikelihoodConfig { p_min, p_max } = *config;
    check_positive("p_min", p_min)?;
    check_positive("p_max", p_max)?;
    if p_min >= p_max {
        return Err(Error::Parameter { name: "p_max", value: p_max, expected: "above p_min" });
    }
    let heap = Magnitudes::new(samples)?;

    let (low, high) = (p_min.ln(), p_max.ln());
    let at = |i: usize| low + (high - low) * i as f64 / (GRID - 1) as f64;
    let slopes: Vec<f64> = (0..GRID).map(|i| heap.profile(at(i)).slope).collect();
    let mut candidates: Vec<(f64, FitStatus)> = (1..GRID)
        .filter(|&i| slopes[i - 1] > 0.0 && slopes[i] <= 0.0)
        .map(|i| (heap.refine(at(i - 1), at(i)), FitStatus::Converged))
        .collect();
    // Without a maximum the likelihood falls, then rises: the end uphill from the paper's start is the answer.
    let start = (0..GRID - 1).find(|&i| at(i) >= LN_2).unwrap_or(GRID - 1);
    if candidates.is_empty() && slopes[start] <= 0.0 {
        candidates.push((low, FitStatus::AtLowerBound));
    } else if slopes[GRID - 1] > 0.0 {
        candidates.push((high, FitStatus::Unbounded));
    }
    let value = |ln_p: f64| heap.profile(ln_p).value;
    let (ln_p, status) = candidates
        .into_iter()
        .max_by(|a, b| value(a.0).total_cmp(&value(b.0)))
        .unwrap_or((low, FitStatus::AtLowerBound));

    let (p, profile) = (ln_p.exp(), heap.profile(ln_p));
    let standard_errors = match status {
        FitStatus::Converged => heap.standard_errors(p, profile.ln_sigma),
        _ => None,
    };
    let (sigma, log_likelihood) = (profile.ln_sigma.exp(), D as f64 * profile.value);
    Ok(LikelihoodFit { p, sigma, log_likelihood, status, standard_errors })
}

/// The logarithms of all coordinates' magnitudes, with weights; zeros are counted in `total` only.
pub(super) struct Magnitudes {
    ln_abs: Vec<f64>,
    weights: Vec<f64>,
    ln_largest: f64,
    total: f64,
}

/// The log-likelihood per coordinate as a function of `u = ln p`, maximized over `sigma`.
struct Profile {
    value: f64,
    /// Derivative by `u`.
    slope: f64,
    /// Second derivative by `u`.
    curvature: f64,
    /// The best `ln sigma`.
    ln_sigma: f64,
}

impl Magnitudes {
    pub(super) fn new<const D: usize>(samples: &Samples<D>) -> Result<Self, Error> {
        if let Some(point) = samples.common_point() {
            return Err(Error::AllEqual { point: point.to_vec() });
        }
        let (mut ln_abs, mut weights) = (Vec::new(), Vec::new());
        for (point, &w) in samples.points().iter().zip(samples.weights()) {
            for x in point.iter().filter(|x| **x != 0.0 && w > 0.0) {
                ln_abs.push(x.abs().ln());
                weights.push(w);
            }
        }
        let ln_largest = ln_abs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total = samples.total_weight() * D as f64;
        Ok(Magnitudes { ln_abs, weights, ln_largest, total })
    }

    /// `⟨yᵖ⟩`, `⟨yᵖ ln y⟩` and `⟨yᵖ ln² y⟩` of `y = |x| / sigma`, where `y = 0` contributes 0.
    fn power_moments(&self, p: f64, ln_sigma: f64) -> [f64; 3] {
        let mut sums = [0.0; 3];
        for (ln_abs, w) in self.ln_abs.iter().zip(&self.weights) {
            let ln_y = ln_abs - ln_sigma;
            let power = w * (p * ln_y).exp();
            sums = [sums[0] + power, sums[1] + power * ln_y, sums[2] + power * ln_y * ln_y];
        }
        sums.map(|s| s / self.total)
    }

    /// The log-likelihood per coordinate and its derivatives by `p` and `sigma`.
    pub(super) fn likelihood(&self, p: f64, sigma: f64) -> (f64, [f64; 2]) {
        let [power, power_ln, _] = self.power_moments(p, sigma.ln());
        let value = -LN_2 - sigma.ln() - ln_gamma(1.0 + 1.0 / p) - power;
        (value, [digamma(1.0 + 1.0 / p) / (p * p) - power_ln, (p * power - 1.0) / sigma])
    }

    /// With `S(p) = ⟨|x|ᵖ⟩`: `L(p) = −ln 2 − ln Γ(1 + 1/p) − (1 + ln p + ln S) / p`.
    fn profile(&self, u: f64) -> Profile {
        let p = u.exp();
        // Measured in units of the largest value nothing overflows, whatever p.
        let [s, s1, s2] = self.power_moments(p, self.ln_largest);
        let (mean_ln, mean_ln2) = (s1 / s, s2 / s);
        let level = digamma(1.0 + 1.0 / p) + p.ln() + s.ln();
        let level_slope = 1.0 / p + mean_ln - trigamma(1.0 + 1.0 / p) / (p * p);
        let first = level / (p * p) - mean_ln / p;
        let second =
            level_slope / (p * p) - 2.0 * level / p.powi(3) - (mean_ln2 - mean_ln * mean_ln) / p
                + mean_ln / (p * p);
        let ln_sigma = (p.ln() + s.ln()) / p + self.ln_largest;
        Profile {
            value: -LN_2 - ln_gamma(1.0 + 1.0 / p) - ln_sigma - 1.0 / p,
            slope: p * first,
            curvature: p * first + p * p * second,
            ln_sigma,
        }
    }

    /// The maximum between `low` (rising) and `high` (falling): Newton steps, halving where one leaves the bracket.
    fn refine(&self, mut low: f64, mut high: f64) -> f64 {
        let mut u = 0.5 * (low + high);
        // 60 halvings alone reach the spacing of f64; Newton needs about five.
        for _ in 0..60 {
            let Profile { slope, curvature, .. } = self.profile(u);
            if slope > 0.0 {
                low = u;
            } else {
                high = u;
            }
            let newton = u - slope / curvature;
            let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
            if (next - u).abs() <= 1e-14 * u.abs().max(1.0) {
                return next;
            }
            u = next;
        }
        u
    }

    /// Inverse of the negative matrix of second derivatives, `None` where that is not positive definite.
    fn standard_errors(&self, p: f64, ln_sigma: f64) -> Option<StandardErrors> {
        let [power, power_ln, power_ln2] = self.power_moments(p, ln_sigma);
        let (x, sigma) = (1.0 + 1.0 / p, ln_sigma.exp());
        let pp = 2.0 * digamma(x) / p.powi(3) + trigamma(x) / p.powi(4) + power_ln2;
        let ss = (p * (p + 1.0) * power - 1.0) / (sigma * sigma);
        let ps = -(power + p * power_ln) / sigma;
        let det = pp * ss - ps * ps;
        (pp > 0.0 && det > 0.0).then(|| StandardErrors {
            p: (ss / det / self.total).sqrt(),
            sigma: (pp / det / self.total).sqrt(),
        })
    }
}

/// The second derivative of `ln Γ` for `x >= 1`: recurrence up to 8, then the asymptotic series (error below 1e-12).
fn trigamma(mut x: f64) -> f64 {
    let mut sum = 0.0;
    while x < 8.0 {
        sum += 1.0 / (x * x);
        x += 1.0;
    }
    let r = 1.0 / (x * x);
    let series =
        1.0 / 6.0 - r * (1.0 / 30.0 - r * (1.0 / 42.0 - r * (1.0 / 30.0 - r * 5.0 / 66.0)));
    sum + 1.0 / x + r / 2.0 + series * r / x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Histogram, Mpnd};
    use tensor::Stream;

    fn draw<const D: usize>(p: f64, sigma: f64, n: usize, seed: u64) -> Samples<D> {
        let mpnd = Mpnd::<D>::isotropic(p, sigma).unwrap();
        let mut random = Stream::new(seed);
        Samples::new((0..n).map(|_| mpnd.sample(&mut random)).collect()).unwrap()
    }

    fn lattice(n: usize) -> Samples<2> {
        let centers: Vec<f64> = (0..n).map(|i| i as f64 - (n as f64 - 1.0) / 2.0).collect();
        let cells = Histogram::new([centers.clone(), centers], vec![1.0; n * n]).unwrap();
        cells.standardized().unwrap().samples()
    }

    fn recovers<const D: usize>(p: f64, seed: u64) {
        let samples = draw::<D>(p, 1.3, 6000, seed);
        let fit = fit_likelihood(&samples, &LikelihoodConfig::default()).unwrap();
        let errors = fit.standard_errors.expect("converged");
        assert_eq!(fit.status, FitStatus::Converged);
        assert!((fit.p - p).abs() < 4.0 * errors.p, "D = {D}, p = {p}: {fit:?}");
        assert!((fit.sigma - 1.3).abs() < 4.0 * errors.sigma, "D = {D}, p = {p}: {fit:?}");
        assert!(errors.p < 0.06 * p, "D = {D}, p = {p}: {fit:?}");
    }

    #[test]
    fn p_is_recovered_from_samples() {
        for (i, p) in [1.0, 2.0, 4.0].into_iter().enumerate() {
            recovers::<1>(p, 100 + i as u64);
            recovers::<2>(p, 200 + i as u64);
            recovers::<3>(p, 300 + i as u64);
        }
    }

    #[test]
    fn the_optimum_is_stationary_and_agrees_with_the_density() {
        let samples = draw::<2>(2.5, 0.8, 500, 4);
        let fit = fit_likelihood(&samples, &LikelihoodConfig::default()).unwrap();
        let (value, [by_p, by_sigma]) =
            Magnitudes::new(&samples).unwrap().likelihood(fit.p, fit.sigma);
        assert!(by_p.abs() < 1e-12 && by_sigma.abs() < 1e-12, "{by_p:e} {by_sigma:e}");
        assert!((2.0 * value - fit.log_likelihood).abs() < 1e-12);
        let mpnd = Mpnd::<2>::isotropic(fit.p, fit.sigma).unwrap();
        let mean = samples.points().iter().map(|&x| mpnd.log_density(x)).sum::<f64>() / 500.0;
        assert!((mean - fit.log_likelihood).abs() < 1e-12);
    }

    #[test]
    fn standard_errors_are_the_spread_over_repetitions() {
        let fits: Vec<LikelihoodFit> = (0..200)
            .map(|seed| {
                fit_likelihood(&draw::<1>(2.0, 1.0, 500, 1000 + seed), &LikelihoodConfig::default())
            })
            .collect::<Result<_, _>>()
            .unwrap();
        let spread = |value: fn(&LikelihoodFit) -> f64| {
            let mean = fits.iter().map(value).sum::<f64>() / 200.0;
            (fits.iter().map(|f| (value(f) - mean).powi(2)).sum::<f64>() / 199.0).sqrt()
        };
        let stated = |value: fn(StandardErrors) -> f64| {
            fits.iter().filter_map(|f| f.standard_errors).map(value).sum::<f64>() / 200.0
        };
        for ratio in [spread(|f| f.p) / stated(|e| e.p), spread(|f| f.sigma) / stated(|e| e.sigma)]
        {
            assert!((0.8..1.25).contains(&ratio), "ratio {ratio}");
        }
    }

    #[test]
    fn a_uniform_lattice_has_no_finite_p() {
        for p_max in [256.0, 4096.0] {
            let config = LikelihoodConfig { p_max, ..LikelihoodConfig::default() };
            let fit = fit_likelihood(&lattice(11), &config).unwrap();
            assert_eq!(fit.status, FitStatus::Unbounded, "{fit:?}");
            assert!((fit.p / p_max - 1.0).abs() < 1e-12 && fit.standard_errors.is_none());
        }
    }

    #[test]
    fn the_spike_of_exact_zeros_is_not_taken_for_a_maximum() {
        let bins = |n: i32, deviation: f64| {
            let centers: Vec<f64> = (-n..=n).map(f64::from).collect();
            let mass = centers.iter().map(|x| (-0.5 * (x / deviation).powi(2)).exp()).collect();
            let samples = Histogram::new([centers], mass).unwrap().samples();
            (fit_likelihood(&samples, &LikelihoodConfig::default()).unwrap(), samples)
        };
        // 13 bins: a fifth of all values is exactly 0, and as p → 0 their density goes to infinity.
        let (fit, samples) = bins(6, 2.0);
        assert_eq!(fit.status, FitStatus::Converged);
        assert!((fit.p - 2.0).abs() < 0.1, "{fit:?}");
        let heap = Magnitudes::new(&samples).unwrap();
        assert!(heap.profile(0.05f64.ln()).value > fit.log_likelihood, "the spike is higher");
        // 5 bins: two fifths, and no maximum is left.
        let (fit, _) = bins(2, 1.0);
        assert_eq!((fit.status, fit.p), (FitStatus::AtLowerBound, 0.05f64.ln().exp()));
    }

    #[test]
    fn units_do_not_change_p() {
        let samples = draw::<2>(3.0, 1.0, 300, 9);
        let fit = fit_likelihood(&samples, &LikelihoodConfig::default()).unwrap();
        for unit in [1e-150, 1e-3, 1e150] {
            let points = samples.points().iter().map(|x| x.map(|v| v * unit)).collect();
            let scaled = Samples::new(points).unwrap();
            let other = fit_likelihood(&scaled, &LikelihoodConfig::default()).unwrap();
            assert!((other.p / fit.p - 1.0).abs() < 1e-9, "{other:?}");
            assert!((other.sigma / unit / fit.sigma - 1.0).abs() < 1e-9, "{other:?}");
        }
    }

    #[test]
    fn profile_derivatives_match_differences() {
        let heap = Magnitudes::new(&draw::<1>(1.7, 2.0, 50, 3)).unwrap();
        for u in [-2.0, 0.0, 1.0, 3.0] {
            let (h, here) = (1e-5, heap.profile(u));
            let (after, before) = (heap.profile(u + h), heap.profile(u - h));
            let slope = (after.value - before.value) / (2.0 * h);
            let curvature = (after.slope - before.slope) / (2.0 * h);
            assert!((here.slope - slope).abs() < 1e-7 * slope.abs().max(0.1), "{u}");
            assert!((here.curvature - curvature).abs() < 1e-7 * curvature.abs().max(0.1), "{u}");
        }
        assert!((trigamma(1.0) - std::f64::consts::PI.powi(2) / 6.0).abs() < 1e-12);
    }

    #[test]
    fn equal_points_and_crossed_bounds_are_errors() {
        let equal = Samples::weighted(vec![[1.0, 2.0]; 3], vec![1.0; 3]).unwrap();
        let error = fit_likelihood(&equal, &LikelihoodConfig::default()).unwrap_err();
        assert_eq!(error, Error::AllEqual { point: vec![1.0, 2.0] });
        let config = LikelihoodConfig { p_min: 3.0, p_max: 2.0 };
        assert!(fit_likelihood(&lattice(3), &config).is_err());
    }
}
