//! The Gaussian of a cloud of points, with its own axes (Fig 7 of the paper).

use lpconv::Samples;

use crate::error::Error;

/// A Gaussian density in `D` dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian<const D: usize> {
    /// Its center.
    pub mean: [f64; D],
    /// Its covariance, row by row.
    pub covariance: [[f64; D]; D],
    /// Inverse of the lower Cholesky factor of the covariance.
    whitening: [[f64; D]; D],
    /// `ln √((2π)ᴰ |Σ|)`.
    log_integral: f64,
}

impl<const D: usize> Gaussian<D> {
    /// The Gaussian of the largest likelihood: the mean and covariance of the points, dividing by the total weight.
    ///
    /// # Errors
    /// If the points do not fill the space: fewer than `D + 1`, or all on a line or plane.
    pub fn fit(what: &str, samples: &Samples<D>) -> Result<Self, Error> {
        let mean = samples.mean();
        let mut covariance = [[0.0; D]; D];
        for (point, w) in samples.points().iter().zip(samples.weights()) {
            for i in 0..D {
                for j in 0..D {
                    covariance[i][j] += w * (point[i] - mean[i]) * (point[j] - mean[j]);
                }
            }
        }
        let covariance = covariance.map(|row| row.map(|v| v / samples.total_weight()));
        let Some(factor) = cholesky(&covariance) else {
            let consequence =
                "the points lie on a line or a plane, where a Gaussian has no density";
            return Err(Error::Constant { what: format!("{what}: a direction"), consequence });
        };
        let log_det = 2.0 * (0..D).map(|i| factor[i][i].ln()).sum::<f64>();
        let log_integral = 0.5 * (D as f64 * std::f64::consts::TAU.ln() + log_det);
        Ok(Gaussian { mean, covariance, whitening: inverse_of_lower(&factor), log_integral })
    }

    /// The natural logarithm of the density at a point.
    pub fn log_density(&self, point: [f64; D]) -> f64 {
        let squares = self.whitening.iter().map(|row| {
            let z: f64 = (0..D).map(|i| row[i] * (point[i] - self.mean[i])).sum();
            z * z
        });
        -0.5 * squares.sum::<f64>() - self.log_integral
    }

    /// The density at a point.
    pub fn density(&self, point: [f64; D]) -> f64 {
        self.log_density(point).exp()
    }
}

/// The lower factor `L` of `A = L Lᵀ`, `None` if `A` is not positive definite to working precision.
fn cholesky<const D: usize>(a: &[[f64; D]; D]) -> Option<[[f64; D]; D]> {
    let mut l = [[0.0; D]; D];
    for i in 0..D {
        for j in 0..=i {
            let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            if i == j {
                if rest.is_nan() || rest <= 1e-12 * a[i][i] {
                    return None;
                }
                l[i][i] = rest.sqrt();
            } else {
                l[i][j] = rest / l[j][j];
            }
        }
    }
    Some(l)
}

#[expect(clippy::needless_range_loop, reason = "the indices are those of the formula")]
fn inverse_of_lower<const D: usize>(l: &[[f64; D]; D]) -> [[f64; D]; D] {
    let mut inverse = [[0.0; D]; D];
    for column in 0..D {
        for i in column..D {
            let unit = if i == column { 1.0 } else { 0.0 };
            let known = (column..i).map(|k| l[i][k] * inverse[k][column]).sum::<f64>();
            inverse[i][column] = (unit - known) / l[i][i];
        }
    }
    inverse
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpconv::Mpnd;
    use tensor::Stream;

    #[test]
    fn a_tilted_cloud_is_recovered() {
        // For p = 2 the covariance is (CᵀC)⁻¹ / 2.
        let c = [[1.2, 0.3, 0.0], [-0.2, 0.7, 0.1], [0.0, 0.4, 0.9]];
        let truth = Mpnd::new(2.0, c, [3.0, -1.0, 2.0]).unwrap();
        let mut random = Stream::new(1);
        let samples =
            Samples::new((0..40_000).map(|_| truth.sample(&mut random)).collect()).unwrap();
        let fit = Gaussian::fit("a", &samples).unwrap();
        for point in [[3.0, -1.0, 2.0], [3.5, -0.2, 1.4]] {
            assert!((fit.log_density(point) - truth.log_density(point)).abs() < 0.03);
        }
        assert_eq!(fit.density(fit.mean), fit.log_density(fit.mean).exp());
    }

    #[test]
    fn points_on_a_line_have_no_density() {
        let line = Samples::new((0..9).map(|i| [f64::from(i), 2.0 * f64::from(i)]).collect());
        let error = Gaussian::fit("neuron 2", &line.unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("neuron 2: a direction is constant"), "{error}");
    }
}
