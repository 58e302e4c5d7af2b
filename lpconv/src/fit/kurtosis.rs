//! The method of moments: the `p` whose kurtosis is that of the data.

use super::Samples;
use crate::{error::Error, marginal_kurtosis};

/// The `p` with `marginal_kurtosis(p) = kurtosis`, to about 12 digits for moderate `p`.
///
/// The kurtosis falls from infinity at `p → 0` to 1.8 at `p → ∞`; `None` outside the open range between them, and so
/// close to its ends (above 1e62, or within 1e-11 of 1.8) that `p` would be below 0.01 or above 1e6.
pub fn p_of_kurtosis(kurtosis: f64) -> Option<f64> {
    let (mut low, mut high) = (1e-2f64.ln(), 1e6f64.ln());
    let above = |ln_p: f64| marginal_kurtosis(ln_p.exp()) > kurtosis;
    // Also false for NaN and infinity.
    if !(above(low) && kurtosis > marginal_kurtosis(high.exp())) {
        return None;
    }
    // 60 halvings of an interval of 18 reach the spacing of f64.
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if above(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some((0.5 * (low + high)).exp())
}

/// The `p` that matches the kurtosis of the data, averaged over the axes; `None` if no `p` does ([`p_of_kurtosis`]),
/// as for a uniform lattice, whose kurtosis is just below 1.8.
///
/// Mean and variance of each axis are taken out first.
///
/// # Errors
/// When an axis does not vary.
pub fn fit_kurtosis<const D: usize>(samples: &Samples<D>) -> Result<Option<f64>, Error> {
    Ok(p_of_kurtosis(samples.kurtosis()?.iter().sum::<f64>() / D as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mpnd;
    use tensor::Stream;

    #[test]
    fn inverts_the_kurtosis() {
        for p in [0.1, 0.5, 1.0, 2.0, 3.7, 14.0, 256.0, 5000.0] {
            let found = p_of_kurtosis(marginal_kurtosis(p)).unwrap();
            assert!((found / p - 1.0).abs() < 1e-6, "p = {p}: {found}");
        }
        assert!((p_of_kurtosis(3.0).unwrap() - 2.0).abs() < 1e-11);
    }

    #[test]
    fn there_is_no_p_outside_the_range() {
        for kurtosis in [1.0, 1.79, 1.8, f64::INFINITY, f64::NAN] {
            assert_eq!(p_of_kurtosis(kurtosis), None, "{kurtosis}");
        }
        let lattice = Samples::new((0..11).map(|i| [f64::from(i)]).collect()).unwrap();
        assert_eq!(fit_kurtosis(&lattice).unwrap(), None);
    }

    #[test]
    fn recovers_p_from_samples() {
        let mpnd = Mpnd::new(4.0, [[2.0, 0.0], [0.0, 2.0]], [5.0, -1.0]).unwrap();
        let mut random = Stream::new(21);
        let samples =
            Samples::new((0..40_000).map(|_| mpnd.sample(&mut random)).collect()).unwrap();
        let p = fit_kurtosis(&samples).unwrap().unwrap();
        assert!((p - 4.0).abs() < 0.25, "{p}");
    }
}
