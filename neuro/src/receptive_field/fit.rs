//! The exponent of a receptive field, and the densities it is compared with.

use lpconv::{
    AdamConfig, AdamStep, LikelihoodConfig, LikelihoodFit, Samples, fit_adam, fit_kurtosis,
    fit_likelihood, marginal_variance,
};
use rayon::prelude::*;
use tensor::Stream;

use crate::error::Error;

/// A family of densities with a place and a width of its own on each axis, which standardizing fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// MPND with a free `p`.
    Mpnd,
    /// `p = 2`.
    Gaussian,
    /// Uniform on a box, `p = ∞`.
    Uniform,
}

/// How well a family can describe the data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ModelScore {
    /// The family.
    pub family: Family,
    /// Its free parameters: place and width on each axis, and `p`.
    pub parameters: usize,
    /// Largest log-likelihood of all points, weights counting points.
    pub log_likelihood: f64,
}

/// The shape of a receptive field in `D` dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct ShapeFit<const D: usize> {
    /// The number of points, weights counting points.
    pub observations: f64,
    /// Their mean, in the units of the data.
    pub mean: [f64; D],
    /// Their standard deviation on each axis, in the units of the data.
    pub deviation: [f64; D],
    /// The maximum of the likelihood of the standardized points, with whether it converged.
    pub likelihood: LikelihoodFit,
    /// Where the paper's optimizer stands after its 1,500 steps.
    pub adam: AdamStep,
    /// The `p` of the same kurtosis, if any has it.
    pub kurtosis_p: Option<f64>,
    /// What the families achieve, in the order of [`Family`].
    pub models: [ModelScore; 3],
}

impl<const D: usize> ShapeFit<D> {
    fn score(&self, family: Family) -> ModelScore {
        self.models[family as usize]
    }

    /// Akaike's information criterion of a family, `2 k − 2 ln L`: smaller is better.
    pub fn aic(&self, family: Family) -> f64 {
        let score = self.score(family);
        2.0 * (score.parameters as f64 - score.log_likelihood)
    }

    /// Schwarz's information criterion of a family, `k ln n − 2 ln L`: smaller is better.
    pub fn bic(&self, family: Family) -> f64 {
        let score = self.score(family);
        score.parameters as f64 * self.observations.ln() - 2.0 * score.log_likelihood
    }

    /// The family of the smallest AIC.
    pub fn best(&self) -> Family {
        let families = [Family::Mpnd, Family::Gaussian, Family::Uniform];
        let better = |a: &Family, b: &Family| self.aic(*a).total_cmp(&self.aic(*b));
        families.into_iter().min_by(better).expect("there are three")
    }

    /// The p-value of `p = 2` against a free `p`, by the likelihood ratio (χ² of one degree of freedom).
    pub fn gaussian_p_value(&self) -> f64 {
        let gain =
            self.score(Family::Mpnd).log_likelihood - self.score(Family::Gaussian).log_likelihood;
        libm::erfc(gain.max(0.0).sqrt())
    }
}

/// Fits a receptive field; its points are standardized first, so that any units do. `what` names it in errors.
///
/// # Errors
/// If there are fewer than three points, or an axis does not vary.
pub fn fit_shape<const D: usize>(what: &str, samples: &Samples<D>) -> Result<ShapeFit<D>, Error> {
    let failed = |source| Error::Fit { what: what.to_owned(), source };
    let points = samples.weights().iter().filter(|w| **w > 0.0).count();
    if points < 3 {
        let (what, of) = (what.to_owned(), "points");
        return Err(Error::TooFew { what, of, least: 3, found: points });
    }
    let standardized = samples.standardized().map_err(failed)?;
    let likelihood = fit_likelihood(&standardized, &LikelihoodConfig::default()).map_err(failed)?;
    let adam = fit_adam(&standardized, &AdamConfig::default()).map_err(failed)?;
    let observations = samples.total_weight();
    // The variance is 1, so that p = 2 has its maximum at σ = √2.
    let sigma = marginal_variance(2.0, 1.0).sqrt().recip();
    let gaussian = lpconv::Mpnd::<D>::isotropic(2.0, sigma).map_err(failed)?;
    let log_likelihood = standardized
        .points()
        .iter()
        .zip(standardized.weights())
        .map(|(point, w)| w * gaussian.log_density(*point))
        .sum::<f64>();
    let volume: f64 = (0..D)
        .map(|axis| {
            let counted = standardized.points().iter().zip(standardized.weights());
            let along = counted.filter(|(_, w)| **w > 0.0).map(|(point, _)| point[axis]);
            let (low, high) =
                along.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
            (high - low).ln()
        })
        .sum();
    let score =
        |family, parameters, log_likelihood| ModelScore { family, parameters, log_likelihood };
    Ok(ShapeFit {
        observations,
        mean: samples.mean(),
        deviation: samples.variance().map(f64::sqrt),
        likelihood,
        adam: adam.end,
        kurtosis_p: fit_kurtosis(samples).map_err(failed)?,
        models: [
            score(Family::Mpnd, 2 * D + 1, observations * likelihood.log_likelihood),
            score(Family::Gaussian, 2 * D, log_likelihood),
            score(Family::Uniform, 2 * D, -observations * volume),
        ],
    })
}

/// The maximum-likelihood `p` of `count` samples of the points, drawn with replacement and standardized anew.
///
/// An interval is made of its quantiles. A `p` without a maximum counts as the bound it ran into, 256 or 0.05. Points keep their
/// weights. Sample `i` is a function of `random` and `i` alone.
///
/// # Errors
/// If a sample cannot be standardized, as one of a single point drawn again and again: with a handful of points.
pub fn bootstrap_p<const D: usize>(
    what: &str,
    samples: &Samples<D>,
    count: usize,
    random: &Stream,
) -> Result<Vec<f64>, Error> {
    let n = samples.points().len();
    let sample = |i: usize| -> Result<f64, lpconv::Error> {
        let mut random = random.derive_index(i as u64);
        let drawn: Vec<usize> = (0..n).map(|_| random.below(n as u64) as usize).collect();
        let points = drawn.iter().map(|&k| samples.points()[k]).collect();
        let weights = drawn.iter().map(|&k| samples.weights()[k]).collect();
        let drawn = Samples::weighted(points, weights)?.standardized()?;
        Ok(fit_likelihood(&drawn, &LikelihoodConfig::default())?.p)
    };
    let failed = |source| Error::Fit { what: format!("{what}, bootstrap"), source };
    (0..count).into_par_iter().map(sample).collect::<Result<_, _>>().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::quantile;
    use lpconv::{FitStatus, Histogram, Mpnd};

    fn draw<const D: usize>(p: f64, n: usize, seed: u64) -> Samples<D> {
        let mpnd = Mpnd::<D>::isotropic(p, 30.0).unwrap();
        let mut random = Stream::new(seed);
        Samples::new((0..n).map(|_| mpnd.sample(&mut random)).collect()).unwrap()
    }

    #[test]
    fn the_right_family_is_found_in_two_and_three_dimensions() {
        let gaussian = fit_shape("a", &draw::<3>(2.0, 800, 1)).unwrap();
        assert_eq!(gaussian.best(), Family::Gaussian);
        assert!(gaussian.gaussian_p_value() > 0.05, "{gaussian:?}");
        let diamond = fit_shape("b", &draw::<2>(1.0, 400, 2)).unwrap();
        assert_eq!(diamond.best(), Family::Mpnd);
        assert!(diamond.gaussian_p_value() < 1e-6 && (diamond.likelihood.p - 1.0).abs() < 0.25);
        let boxed = fit_shape("c", &draw::<2>(f64::INFINITY, 600, 3)).unwrap();
        assert_eq!(boxed.best(), Family::Uniform);
        assert!(boxed.bic(Family::Gaussian) > boxed.bic(Family::Uniform));
    }

    #[test]
    fn where_there_is_a_maximum_all_estimates_agree() {
        let fit = fit_shape("a", &draw::<2>(2.0, 2000, 4)).unwrap();
        assert_eq!(fit.likelihood.status, FitStatus::Converged);
        assert!((fit.adam.p - fit.likelihood.p).abs() < 1e-3);
        assert!((fit.kurtosis_p.unwrap() - fit.likelihood.p).abs() < 0.3);
        let mpnd = fit.models[0].log_likelihood;
        assert!((mpnd - fit.models[1].log_likelihood).abs() < 3.0, "p = 2 is nearly as good");
    }

    #[test]
    fn a_uniform_kernel_has_no_finite_p() {
        let centers: Vec<f64> = (0..7).map(f64::from).collect();
        let lattice = Histogram::new([centers.clone(), centers], vec![5.0; 49]).unwrap();
        let fit = fit_shape("untrained", &lattice.samples()).unwrap();
        assert_eq!((fit.likelihood.status, fit.kurtosis_p), (FitStatus::Unbounded, None));
        assert!(fit.adam.p > 8.0 && fit.adam.p < 20.0, "{fit:?}");
        assert_eq!((fit.observations, fit.mean), (245.0, [3.0, 3.0]));
    }

    #[test]
    fn the_bootstrap_holds_the_truth_and_repeats() {
        let samples = draw::<2>(2.0, 150, 5);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap_p("a", &samples, 60, &Stream::new(1)).unwrap())
        };
        let p = run(1);
        assert_eq!(p, run(3));
        assert!(quantile(&p, 0.025) < 2.0 && quantile(&p, 0.975) > 2.0);
    }

    #[test]
    fn unusable_points_are_errors() {
        let two = Samples::new(vec![[0.0, 1.0], [1.0, 0.0]]).unwrap();
        let error = fit_shape("neuron 4", &two).unwrap_err().to_string();
        assert_eq!(error, "neuron 4 has 2 points, expected at least 3");
        let flat = Samples::new(vec![[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]).unwrap();
        let error = fit_shape("neuron 5", &flat).unwrap_err().to_string();
        assert!(error.starts_with("neuron 5: all points have the coordinate 1"), "{error}");
    }
}
