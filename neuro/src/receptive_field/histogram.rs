//! Receptive fields as probability mass on a grid.

use lpconv::{Histogram, Mpnd, Samples};

use crate::error::{Error, check_length};

/// Counts points in `bins` cells along each axis from `−reach` to `reach`. Returns the histogram as probabilities, and
/// the share of the points that lie outside.
///
/// # Errors
/// If there are fewer than two bins, `reach` is not above 0, or no point lies inside.
pub fn histogram<const D: usize>(
    samples: &Samples<D>,
    bins: usize,
    reach: f64,
) -> Result<(Histogram<D>, f64), Error> {
    if reach.is_nan() || reach <= 0.0 {
        return Err(Error::Parameter { name: "reach", value: reach, expected: "above 0" });
    }
    let width = 2.0 * reach / bins as f64;
    let centers: Vec<f64> = (0..bins).map(|i| -reach + (i as f64 + 0.5) * width).collect();
    let (mut mass, mut inside) = (vec![0.0; bins.pow(D as u32)], 0.0);
    for (point, w) in samples.points().iter().zip(samples.weights()) {
        let cell = point.iter().try_fold(0, |cell, x| {
            let place = (x + reach) / width;
            // The upper edge belongs to the last cell, as numpy.histogram has it.
            let i = if *x == reach { bins.saturating_sub(1) } else { place.floor() as usize };
            (place >= 0.0 && i < bins).then_some(cell * bins + i)
        });
        if let Some(cell) = cell {
            mass[cell] += w;
            inside += w;
        }
    }
    let total = samples.total_weight();
    let mass = mass.into_iter().map(|m| m / total).collect();
    let failed = |source| Error::Fit { what: "histogram".into(), source };
    let histogram =
        Histogram::new(std::array::from_fn(|_| centers.clone()), mass).map_err(failed)?;
    Ok((histogram, (1.0 - inside / total).max(0.0)))
}

/// The probability of each cell of a grid under an MPND with `C = I / sigma`, by the density at its center times its volume.
///
/// # Errors
/// If `p` or `sigma` are no parameters of an MPND.
pub fn mpnd_pmf<const D: usize>(
    grid: &Histogram<D>,
    p: f64,
    sigma: f64,
) -> Result<Vec<f64>, Error> {
    let failed = |source| Error::Fit { what: format!("MPND of p = {p}, sigma = {sigma}"), source };
    let mpnd = Mpnd::<D>::isotropic(p, sigma).map_err(failed)?;
    let volume = grid.cell_volume();
    Ok(grid.samples().points().iter().map(|x| mpnd.density(*x) * volume).collect())
}

/// How near a fitted PMF is to a histogram's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CellFit {
    /// The share of the variance over cells that the fit explains; 1 is perfect, and a PMF of one value everywhere has none
    /// to explain (NaN).
    pub r_squared: f64,
    /// `Σ m ln(m / f)`, the Kullback-Leibler divergence in nats, of both brought to a sum of 1; infinite where the fit has no
    /// mass and the histogram has.
    pub divergence: f64,
}

/// Compares a histogram's mass with that of a fit, cell by cell; both are divided by their sums.
///
/// # Errors
/// If `fitted` has another number of cells, or no mass.
pub fn cell_fit<const D: usize>(
    histogram: &Histogram<D>,
    fitted: &[f64],
) -> Result<CellFit, Error> {
    let mass = histogram.mass();
    check_length("the fitted PMF", "cells", fitted.len(), "the histogram", mass.len())?;
    let sums = [mass, fitted].map(|m| m.iter().sum::<f64>());
    if sums[1].is_nan() || sums[1] <= 0.0 {
        let (name, expected) = ("the sum of the fitted PMF", "above 0");
        return Err(Error::Parameter { name, value: sums[1], expected });
    }
    let pairs = || mass.iter().zip(fitted).map(|(m, f)| (m / sums[0], f / sums[1]));
    let mean = 1.0 / mass.len() as f64;
    let all: f64 = pairs().map(|(m, _)| (m - mean).powi(2)).sum();
    let left: f64 = pairs().map(|(m, f)| (m - f).powi(2)).sum();
    let r_squared = if all > 1e-24 { 1.0 - left / all } else { f64::NAN };
    let divergence = pairs().filter(|(m, _)| *m > 0.0).map(|(m, f)| m * (m / f).ln()).sum();
    Ok(CellFit { r_squared, divergence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_fall_into_cells() {
        let samples = Samples::weighted(
            vec![[-1.0, 0.9], [1.0, 1.0], [0.1, -0.1], [5.0, 0.0]],
            vec![1.0, 2.0, 1.0, 4.0],
        );
        let (histogram, outside) = histogram(&samples.unwrap(), 2, 1.0).unwrap();
        assert_eq!(histogram.mass(), [0.0, 0.125, 0.125, 0.25]);
        assert_eq!(outside, 0.5);
        assert_eq!(histogram.centers()[0], [-0.5, 0.5]);
    }

    #[test]
    fn the_density_fits_itself_and_a_flat_one_does_not() {
        let centers: Vec<f64> = (-20..=20).map(|i| f64::from(i) * 0.2).collect();
        let flat = Histogram::new([centers.clone(), centers.clone()], vec![1.0; 41 * 41]).unwrap();
        let pmf = mpnd_pmf(&flat, 2.0, 1.4).unwrap();
        assert!((pmf.iter().sum::<f64>() - 1.0).abs() < 1e-3);
        let own = Histogram::new([centers.clone(), centers], pmf.clone()).unwrap();
        let perfect = cell_fit(&own, &pmf).unwrap();
        assert!((perfect.r_squared - 1.0).abs() < 1e-12 && perfect.divergence.abs() < 1e-12);
        let other = cell_fit(&own, flat.mass()).unwrap();
        assert!(other.r_squared.abs() < 1e-9 && other.divergence > 1.0);
        assert!(cell_fit(&flat, &pmf).unwrap().r_squared.is_nan());
        assert!(cell_fit(&own, &[1.0]).is_err() && mpnd_pmf(&own, 0.0, 1.0).is_err());
    }

    #[test]
    fn impossible_grids_are_errors() {
        let samples = Samples::new(vec![[0.0], [1.0]]).unwrap();
        assert!(histogram(&samples, 4, 0.0).is_err() && histogram(&samples, 1, 1.0).is_err());
        let far = Samples::new(vec![[9.0], [8.0]]).unwrap();
        assert!(histogram(&far, 4, 1.0).is_err());
    }
}
