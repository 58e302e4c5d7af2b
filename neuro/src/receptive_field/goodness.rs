//! Whether an MPND fits a set of points at all.

use lpconv::{LikelihoodConfig, Mpnd, Samples, fit_likelihood};
use rayon::prelude::*;
use statrs::function::gamma::gamma_lr;
use tensor::Stream;

use crate::error::Error;

/// The distance of points to their fitted MPND.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goodness {
    /// Kolmogorov and Smirnov's: the largest difference of the shares of magnitudes below a value, all axes together.
    pub distance: f64,
    /// The share of samples of the fitted MPND (these points counted as one) that are at least so far from their own fit:
    /// small if the points are no MPND.
    pub p_value: f64,
}

/// Compares standardized points with the MPND fitted to them, and with `count` samples of it that are standardized and
/// fitted in the same way: the test knows that `p` was chosen to fit.
///
/// # Errors
/// As [`fit_shape`](super::fit_shape); and if the fitted `p` is below 0.01.
pub fn goodness_of_fit<const D: usize>(
    what: &str,
    samples: &Samples<D>,
    count: usize,
    random: &Stream,
) -> Result<Goodness, Error> {
    let failed = |source| Error::Fit { what: what.to_owned(), source };
    let (distance, p, sigma) = distance_to_fit(samples).map_err(failed)?;
    let fitted = Mpnd::<D>::isotropic(p, sigma).map_err(failed)?;
    let n = samples.points().len();
    let distances: Vec<f64> = (0..count)
        .into_par_iter()
        .map(|i| {
            let mut random = random.derive_index(i as u64);
            let drawn = Samples::new((0..n).map(|_| fitted.sample(&mut random)).collect())?;
            Ok(distance_to_fit(&drawn)?.0)
        })
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let as_far = distances.iter().filter(|&&d| d >= distance).count();
    Ok(Goodness { distance, p_value: (as_far + 1) as f64 / (count + 1) as f64 })
}

/// The distance, and the `p` and `sigma` fitted.
fn distance_to_fit<const D: usize>(samples: &Samples<D>) -> Result<(f64, f64, f64), lpconv::Error> {
    let standardized = samples.standardized()?;
    let fit = fit_likelihood(&standardized, &LikelihoodConfig::default())?;
    let mut magnitudes: Vec<(f64, f64)> = standardized
        .points()
        .iter()
        .zip(standardized.weights())
        .flat_map(|(point, &w)| point.map(|x| (x.abs(), w)))
        .collect();
    magnitudes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = standardized.total_weight() * D as f64;
    let (mut below, mut largest) = (0.0, 0.0f64);
    for (x, w) in magnitudes {
        // |x| is below with probability P(1/p, (|x|/σ)ᵖ), the incomplete gamma function.
        let expected = gamma_lr(1.0 / fit.p, (x / fit.sigma).powf(fit.p).max(f64::MIN_POSITIVE));
        largest = largest.max((expected - below / total).abs());
        below += w;
        largest = largest.max((expected - below / total).abs());
    }
    Ok((largest, fit.p, fit.sigma))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_mpnd_passes_and_what_is_none_does_not() {
        let mut random = Stream::new(8);
        let mpnd = Mpnd::<2>::isotropic(3.0, 2.0).unwrap();
        let good = Samples::new((0..200).map(|_| mpnd.sample(&mut random)).collect()).unwrap();
        let found = goodness_of_fit("a", &good, 49, &Stream::new(1)).unwrap();
        assert!(found.p_value > 0.05, "{found:?}");
        // Two clouds side by side.
        let two = (0..200).map(|i| {
            let [x, y] = mpnd.sample(&mut random);
            if i % 2 == 0 { [x + 6.0, y + 6.0] } else { [x - 6.0, y - 6.0] }
        });
        let found =
            goodness_of_fit("b", &Samples::new(two.collect()).unwrap(), 49, &Stream::new(1));
        assert_eq!(found.unwrap().p_value, 0.02);
    }
}
