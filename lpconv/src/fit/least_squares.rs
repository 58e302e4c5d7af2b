//! Least squares between the density and a histogram, cell by cell.

use statrs::function::gamma::{digamma, ln_gamma};
use std::f64::consts::LN_2;

use super::{FitStatus, Histogram};
use crate::error::Error;

/// The result of [`fit_least_squares`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeastSquaresFit {
    /// The exponent, in `[0.05, 256]`.
    pub p: f64,
    /// The scale.
    pub sigma: f64,
    /// `Σ (density · cell volume − mass)²`.
    pub squared_error: f64,
    /// How the search ended.
    pub status: FitStatus,
}

/// Bounds of `ln p`: those of the likelihood fit.
const LN_P: [f64; 2] = [-2.995_732_273_553_991, 5.545_177_444_479_562];

/// The minimum over `p` and `sigma` of `Σ (density · cell volume − mass)²`, for `C = I / sigma` and center 0.
///
/// Levenberg-Marquardt on `(ln p, ln sigma)` from `p = 2` and `sigma` half the root mean square of the coordinates: the
/// paper's start of 0.5 for standardized data. The minimum found is the one downhill from there. The histogram should be a PMF: its mass is taken as it is, and mass beyond its edges is no concern of the fit.
///
/// # Errors
/// When all mass is in one cell.
pub fn fit_least_squares<const D: usize>(
    histogram: &Histogram<D>,
) -> Result<LeastSquaresFit, Error> {
    let samples = histogram.samples();
    if let Some(point) = samples.common_point() {
        return Err(Error::AllEqual { point: point.to_vec() });
    }
    // Far from the data the residuals are flat and no search would start: the paper's sigma is in units of their size.
    let mean_square = samples.average(|x, _| x * x).iter().sum::<f64>() / D as f64;
    let start = [2.0f64.ln(), (0.5 * mean_square.sqrt()).ln()];
    let (free, converged) = search(histogram, start, LN_P);
    // Box-like data leave a valley so flat that the search may stop anywhere in it: ask whether its far end is as good.
    let (boxed, _) = search(histogram, [LN_P[1], free.x[1]], [LN_P[1]; 2]);
    let rounding = 1e-20 * histogram.mass().iter().map(|m| m * m).sum::<f64>();
    let (best, status) = if boxed.squared_error <= free.squared_error + rounding {
        (boxed, FitStatus::Unbounded)
    } else if free.x[0] <= LN_P[0] {
        (free, FitStatus::AtLowerBound)
    } else {
        (free, if converged { FitStatus::Converged } else { FitStatus::NotConverged })
    };
    let ([p, sigma], squared_error) = (best.x.map(f64::exp), best.squared_error);
    Ok(LeastSquaresFit { p, sigma, squared_error, status })
}

/// Levenberg-Marquardt from `x`, with `ln p` kept in `bounds`; also says whether the steps died out.
fn search<const D: usize>(
    histogram: &Histogram<D>,
    x: [f64; 2],
    bounds: [f64; 2],
) -> (NormalEquations, bool) {
    let mut here = NormalEquations::new(histogram, x);
    let mut damping = 1e-3;
    // A few dozen steps are usual.
    for _ in 0..2000 {
        let [ln_p, ln_sigma] = here.x;
        let step = here.step(damping, bounds);
        let next = [(ln_p + step[0]).clamp(bounds[0], bounds[1]), ln_sigma + step[1]];
        let moved = (next[0] - ln_p).abs().max((next[1] - ln_sigma).abs());
        let there = NormalEquations::new(histogram, next);
        if there.squared_error < here.squared_error {
            (here, damping) = (there, f64::max(damping / 5.0, 1e-15));
        } else {
            damping *= 4.0;
        }
        if moved < 1e-13 {
            return (here, true);
        }
    }
    (here, false)
}

/// `JᵀJ`, `Jᵀr` and `rᵀr` of the residuals `r` and their derivatives `J` at `x = (ln p, ln sigma)`.
struct NormalEquations {
    x: [f64; 2],
    matrix: [[f64; 2]; 2],
    gradient: [f64; 2],
    squared_error: f64,
}

impl NormalEquations {
    fn new<const D: usize>(histogram: &Histogram<D>, x: [f64; 2]) -> Self {
        let [ln_p, ln_sigma] = x;
        let axes: [Vec<[f64; 3]>; D] = std::array::from_fn(|axis| {
            histogram.centers()[axis].iter().map(|&x| log_density(x, ln_p, ln_sigma)).collect()
        });
        let volume = histogram.cell_volume();
        let mut sums =
            NormalEquations { x, matrix: [[0.0; 2]; 2], gradient: [0.0; 2], squared_error: 0.0 };
        for (cell, mass) in histogram.mass().iter().enumerate() {
            let index = histogram.index(cell);
            let mut total = [0.0; 3];
            for axis in 0..D {
                let terms = axes[axis][index[axis]];
                total = std::array::from_fn(|k| total[k] + terms[k]);
            }
            let model = volume * total[0].exp();
            let residual = model - mass;
            // Where the density is 0 its logarithm's derivative may be infinite; the product is 0.
            let jacobian =
                if model > 0.0 { [model * total[1], model * total[2]] } else { [0.0, 0.0] };
            for i in 0..2 {
                for j in 0..2 {
                    sums.matrix[i][j] += jacobian[i] * jacobian[j];
                }
                sums.gradient[i] += jacobian[i] * residual;
            }
            sums.squared_error += residual * residual;
        }
        sums
    }

    /// `−(JᵀJ + damping · diag(JᵀJ))⁻¹ Jᵀr`; along `ln sigma` alone where downhill leads out of the `bounds` of `ln p`.
    fn step(&self, damping: f64, bounds: [f64; 2]) -> [f64; 2] {
        let [[a, b], [_, d]] = self.matrix;
        // The floor keeps a direction without any effect on the residuals from dividing 0 by 0.
        let floor = f64::MIN_POSITIVE.sqrt();
        let (a, d) = (a * (1.0 + damping) + floor, d * (1.0 + damping) + floor);
        let det = a * d - b * b;
        let [g, h] = self.gradient;
        let pinned = (self.x[0] <= bounds[0] && g >= 0.0) || (self.x[0] >= bounds[1] && g <= 0.0);
        let step = if pinned || bounds[0] == bounds[1] {
            [0.0, -h / d]
        } else {
            [(b * h - d * g) / det, (b * g - a * h) / det]
        };
        // Never more than a factor of e at once: far from the data the residuals are flat.
        step.map(|s| if s.is_finite() { s.clamp(-1.0, 1.0) } else { 0.0 })
    }
}

/// The logarithm of the one-dimensional density at `x`, and its derivatives by `ln p` and `ln sigma`.
fn log_density(x: f64, ln_p: f64, ln_sigma: f64) -> [f64; 3] {
    let p = ln_p.exp();
    let ln_y = x.abs().ln() - ln_sigma;
    let power = (p * ln_y).exp();
    let power_ln = if power > 0.0 { power * ln_y } else { 0.0 };
    let value = -LN_2 - ln_sigma - ln_gamma(1.0 + 1.0 / p) - power;
    [value, digamma(1.0 + 1.0 / p) / p - p * power_ln, p * power - 1.0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mpnd;

    fn pmf<const D: usize>(p: f64, sigma: f64, axes: [Vec<f64>; D]) -> Histogram<D> {
        let cells: usize = axes.iter().map(Vec::len).product();
        let empty = Histogram::new(axes, vec![1.0; cells]).unwrap();
        let mpnd = Mpnd::<D>::isotropic(p, sigma).unwrap();
        let samples = empty.samples();
        let mass =
            samples.points().iter().map(|&x| mpnd.density(x) * empty.cell_volume()).collect();
        Histogram::new(empty.centers().clone(), mass).unwrap()
    }

    #[test]
    fn an_exact_histogram_gives_back_its_parameters() {
        let axis = |n: i32| (-n..=n).map(|i| 3.0 * f64::from(i) / f64::from(n)).collect::<Vec<_>>();
        for (p, sigma) in [(1.0, 0.7), (2.0, 1.4), (6.0, 1.8), (0.8, 1.0)] {
            let found = [
                fit_least_squares(&pmf(p, sigma, [axis(20)])).unwrap(),
                fit_least_squares(&pmf(p, sigma, [axis(10), axis(12)])).unwrap(),
                fit_least_squares(&pmf(p, sigma, [axis(7), axis(6), axis(5)])).unwrap(),
            ];
            for fit in found {
                assert_eq!(fit.status, FitStatus::Converged, "{fit:?}");
                assert!(
                    (fit.p / p - 1.0).abs() < 1e-6 && (fit.sigma / sigma - 1.0).abs() < 1e-6,
                    "{fit:?}"
                );
                assert!(fit.squared_error < 1e-20, "{fit:?}");
            }
        }
    }

    #[test]
    fn units_do_not_matter() {
        for unit in [1e-6, 1.0, 250.0] {
            let axis: Vec<f64> = (-9..=9).map(|i| f64::from(i) * 0.4 * unit).collect();
            let fit = fit_least_squares(&pmf(3.0, 1.5 * unit, [axis.clone(), axis])).unwrap();
            assert_eq!(fit.status, FitStatus::Converged, "{fit:?}");
            assert!((fit.p - 3.0).abs() < 1e-6 && (fit.sigma / unit - 1.5).abs() < 1e-6, "{fit:?}");
        }
    }

    #[test]
    fn a_uniform_histogram_runs_to_the_bound() {
        let axis: Vec<f64> = (-5..=5).map(f64::from).collect();
        let uniform = Histogram::new([axis.clone(), axis], vec![1.0 / 121.0; 121]).unwrap();
        let fit = fit_least_squares(&uniform.standardized().unwrap()).unwrap();
        assert_eq!(fit.status, FitStatus::Unbounded, "{fit:?}");
    }

    #[test]
    fn derivatives_match_differences() {
        let h = 1e-6;
        for x in [0.0, 0.3, -1.7] {
            let [_, by_p, by_sigma] = log_density(x, 0.9, 0.2);
            let difference = |a: [f64; 3], b: [f64; 3]| (a[0] - b[0]) / (2.0 * h);
            let p = difference(log_density(x, 0.9 + h, 0.2), log_density(x, 0.9 - h, 0.2));
            let sigma = difference(log_density(x, 0.9, 0.2 + h), log_density(x, 0.9, 0.2 - h));
            assert!((by_p - p).abs() < 1e-8 && (by_sigma - sigma).abs() < 1e-8, "x = {x}");
        }
    }

    #[test]
    fn one_full_cell_is_an_error() {
        let spike = Histogram::new([vec![-1.0, 0.0, 1.0]], vec![0.0, 1.0, 0.0]).unwrap();
        assert_eq!(fit_least_squares(&spike), Err(Error::AllEqual { point: vec![0.0] }));
    }
}
