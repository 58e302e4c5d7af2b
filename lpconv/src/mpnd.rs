//! The multivariate p-generalized normal distribution (MPND) and the Lp-mask that it becomes when its peak is set to 1.
//!
//! Everything here is plain `f64` arithmetic: the reference for the differentiable mask and the source of the
//! galleries (Fig. 1e, 14) and of samples for the fits.

use std::f64::consts::LN_2;

use statrs::function::gamma::ln_gamma;
use tensor::Stream;

use crate::error::{Error, check_finite, check_positive};

/// The multivariate p-generalized normal density in `D` dimensions.
///
/// `f(s) = |det C| / (2 Γ(1 + 1/p))ᴰ · exp(−Σᵢ |(C (s − center))ᵢ|ᵖ)`
///
/// `p = 2` is a Gaussian with `Cᵀ C = Σ⁻¹ / 2`, `p = 1` a Laplacian diamond, `p < 1` a cross; `p = ∞` is allowed and is
/// the uniform density on the parallelepiped `max |C ds| < 1`. Terms that overflow make the density exactly 0.
///
/// Source: paper, eq. 1 and 2. The paper divides by `det C`; that normalizes only if `C` stands for its inverse, so
/// here it multiplies.
///
/// ```
/// # use lpconv::Mpnd;
/// let gaussian = Mpnd::new(2.0, [[0.5f64.sqrt()]], [0.0])?;
/// assert!((gaussian.density([0.0]) - 0.398_942_280_401).abs() < 1e-12);
/// # Ok::<(), lpconv::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Mpnd<const D: usize> {
    p: f64,
    c: [[f64; D]; D],
    center: [f64; D],
    inverse: [[f64; D]; D],
    log_integral: f64,
}

impl<const D: usize> Mpnd<D> {
    /// A density with exponent `p > 0`, matrix `c` (row-major) and center `center`.
    ///
    /// # Errors
    /// When `p` is not above 0 (or so small that `Γ(1 + 1/p)` cannot be represented, below about 1e-304), when a value
    /// of `c` or `center` is not finite, and when `c` is singular to working precision.
    pub fn new(p: f64, c: [[f64; D]; D], center: [f64; D]) -> Result<Self, Error> {
        check_finite("C", c.as_flattened().iter().copied())?;
        check_finite("center", center)?;
        let unit_log_integral = D as f64 * (LN_2 + ln_gamma(1.0 + 1.0 / p));
        if p.is_nan() || p <= 0.0 || !unit_log_integral.is_finite() {
            return Err(Error::Parameter { name: "p", value: p, expected: "greater than 0" });
        }
        let (inverse, log_abs_det) =
            invert(c).ok_or_else(|| Error::Singular { c: c.map(|row| row.to_vec()).to_vec() })?;
        Ok(Mpnd { p, c, center, inverse, log_integral: unit_log_integral - log_abs_det })
    }

    /// The density with `C = I / sigma` and center 0: `D` independent generalized normals of scale `sigma`.
    ///
    /// # Errors
    /// As [`Mpnd::new`], and when `sigma` is not finite and positive.
    pub fn isotropic(p: f64, sigma: f64) -> Result<Self, Error> {
        check_positive("sigma", sigma)?;
        let mut c = [[0.0; D]; D];
        for (i, row) in c.iter_mut().enumerate() {
            row[i] = 1.0 / sigma;
        }
        Mpnd::new(p, c, [0.0; D])
    }

    /// The exponent `p`.
    pub fn p(&self) -> f64 {
        self.p
    }

    /// The matrix `C`, row-major.
    pub fn c(&self) -> [[f64; D]; D] {
        self.c
    }

    /// The center, which is mean, median and mode.
    pub fn center(&self) -> [f64; D] {
        self.center
    }

    /// `ln ∫ exp(−Σ |C ds|ᵖ) ds = D ln(2 Γ(1 + 1/p)) − ln |det C|`.
    pub fn log_normalizer(&self) -> f64 {
        self.log_integral
    }

    /// `∫ exp(−Σ |C ds|ᵖ) ds = (2 Γ(1 + 1/p))ᴰ / |det C|`: the volume under the mask, and one over the peak density.
    pub fn integral(&self) -> f64 {
        self.log_integral.exp()
    }

    /// The natural logarithm of the density at `point`; `−∞` where the exponent overflows.
    pub fn log_density(&self, point: [f64; D]) -> f64 {
        let offset = std::array::from_fn(|i| point[i] - self.center[i]);
        -exponent(self.p, &self.c, &offset) - self.log_integral
    }

    /// The density at `point`.
    pub fn density(&self, point: [f64; D]) -> f64 {
        self.log_density(point).exp()
    }

    /// One sample.
    ///
    /// In the frame of `C` the coordinates are independent, `±G^(1/p)` with `G ~ Gamma(1/p, 1)`. How much of `random` a
    /// sample uses varies (rejection). Exact for every `p`, `∞` included.
    pub fn sample(&self, random: &mut Stream) -> [f64; D] {
        let z: [f64; D] = std::array::from_fn(|_| generalized_normal(self.p, random));
        std::array::from_fn(|i| {
            self.center[i] + self.inverse[i].iter().zip(z).map(|(a, b)| a * b).sum::<f64>()
        })
    }
}

/// Variance of one coordinate for `C = I / sigma`: `sigma² Γ(3/p) / Γ(1/p)`; `sigma²/3` at `p = ∞`.
///
/// NaN unless `p > 0`.
pub fn marginal_variance(p: f64, sigma: f64) -> f64 {
    // Γ(x) = Γ(1 + x) / x keeps the ratio finite when p is large.
    sigma * sigma / 3.0 * (ln_gamma(1.0 + 3.0 / p) - ln_gamma(1.0 + 1.0 / p)).exp()
}

/// Kurtosis (not excess) of one coordinate: `Γ(5/p) Γ(1/p) / Γ(3/p)²`, falling from `∞` to 1.8 at `p = ∞`.
///
/// NaN unless `p > 0`.
pub fn marginal_kurtosis(p: f64) -> f64 {
    let [g1, g3, g5] = [1.0, 3.0, 5.0].map(|k| ln_gamma(1.0 + k / p));
    1.8 * (g5 + g1 - 2.0 * g3).exp()
}

/// The `sigma` at which a coordinate has variance 1: `√(Γ(1/p) / Γ(3/p))`; `√3` at `p = ∞`.
///
/// NaN unless `p > 0`.
pub fn unit_variance_sigma(p: f64) -> f64 {
    marginal_variance(p, 1.0).sqrt().recip()
}

/// The Lp-mask at one `offset` from the center: `exp(−Σᵢ |(C d)ᵢ|ᵖ)`, in `[0, 1]`.
///
/// `offset` is `(row, column)`. `p = ∞` gives the box: 1 where `max |C d| < 1`, 0 where it is above 1, and the pointwise
/// limit `e⁻¹` (`e⁻²` at a corner) on the edge.
pub fn lp_mask_value(p: f64, c: &[[f64; 2]; 2], offset: [f64; 2]) -> f64 {
    (-exponent(p, c, &offset)).exp()
}

/// The Lp-mask of a `kh × kw` kernel, row-major, with offsets in pixels from the center `((kh−1)/2, (kw−1)/2)`.
///
/// Paper, eq. 3, in the pixel units of the authors' code.
///
/// ```
/// // A 3×3 kernel enlarged to 7×7 starts with C = diag(1 / (3/2 + 1e-4)).
/// let c = [[1.0 / 1.5001, 0.0], [0.0, 1.0 / 1.5001]];
/// let mask = lpconv::lp_mask(2.0, &c, 7, 7);
/// assert!((mask[3 * 7 + 4] - 0.6412).abs() < 1e-4);
/// ```
pub fn lp_mask(p: f64, c: &[[f64; 2]; 2], kh: usize, kw: usize) -> Vec<f64> {
    let middle = |k: usize| (k as f64 - 1.0) / 2.0;
    (0..kh * kw)
        .map(|i| {
            let (row, column) = ((i / kw) as f64, (i % kw) as f64);
            lp_mask_value(p, c, [row - middle(kh), column - middle(kw)])
        })
        .collect()
}

/// The area where the mask is above `1/e`, the Lp ball: `4 Γ(1 + 1/p)² / Γ(1 + 2/p) / |det C|`.
///
/// Infinite for a singular `C`.
pub fn lp_mask_area(p: f64, c: &[[f64; 2]; 2]) -> f64 {
    let det = c[0][0] * c[1][1] - c[0][1] * c[1][0];
    4.0 * (2.0 * ln_gamma(1.0 + 1.0 / p) - ln_gamma(1.0 + 2.0 / p)).exp() / det.abs()
}

/// `Σᵢ |(C d)ᵢ|ᵖ`.
fn exponent<const D: usize>(p: f64, c: &[[f64; D]; D], offset: &[f64; D]) -> f64 {
    c.iter().map(|row| row.iter().zip(offset).map(|(a, b)| a * b).sum::<f64>().abs().powf(p)).sum()
}

/// A number with density `∝ exp(−|z|ᵖ)`.
///
/// `|z| = G(1/p)^(1/p)`. A gamma variate of shape `a < 1` is `G(a + 1) · U^(1/a)`, and with `a = 1/p` the outer power
/// cancels the inner one: `|z| = U · G(1 + 1/p)^(1/p)`. So the shape is always above 1 and nothing can underflow.
fn generalized_normal(p: f64, random: &mut Stream) -> f64 {
    let magnitude = random.uniform() * gamma_variate(1.0 + 1.0 / p, random).powf(1.0 / p);
    if random.uniform() < 0.5 { -magnitude } else { magnitude }
}

/// A gamma variate of unit scale and `shape >= 1`, by Marsaglia and Tsang, ACM Trans. Math. Softw. 26 (2000).
fn gamma_variate(shape: f64, random: &mut Stream) -> f64 {
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = random.normal();
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && random.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// Inverse and `ln |det|` of a matrix, or `None` if it is singular to working precision.
///
/// Gauss-Jordan with partial pivoting, after scaling every row to a largest entry of 1 so that units do not matter.
fn invert<const D: usize>(c: [[f64; D]; D]) -> Option<([[f64; D]; D], f64)> {
    let (mut a, mut inverse, mut log_abs_det) = (c, [[0.0; D]; D], 0.0);
    for i in 0..D {
        let largest = a[i].iter().fold(0.0f64, |m, v| m.max(v.abs()));
        if largest == 0.0 {
            return None;
        }
        a[i] = a[i].map(|v| v / largest);
        inverse[i][i] = 1.0 / largest;
        log_abs_det += largest.ln();
    }
    for i in 0..D {
        let pivot = (i..D).max_by(|&r, &s| a[r][i].abs().total_cmp(&a[s][i].abs()))?;
        if a[pivot][i].abs() <= 2.0 * D as f64 * f64::EPSILON {
            return None;
        }
        a.swap(i, pivot);
        inverse.swap(i, pivot);
        let value = a[i][i];
        log_abs_det += value.abs().ln();
        a[i] = a[i].map(|v| v / value);
        inverse[i] = inverse[i].map(|v| v / value);
        let (row_a, row_inverse) = (a[i], inverse[i]);
        for r in (0..D).filter(|&r| r != i) {
            let factor = a[r][i];
            for k in 0..D {
                a[r][k] -= factor * row_a[k];
                inverse[r][k] -= factor * row_inverse[k];
            }
        }
    }
    let finite = inverse.as_flattened().iter().all(|v| v.is_finite());
    finite.then_some((inverse, log_abs_det))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::{E, PI};

    const SKEWED: [[f64; 2]; 2] = [[1.2, 0.3], [-0.2, 0.7]];

    fn assert_near(found: f64, expected: f64, relative: f64) {
        assert!(
            (found - expected).abs() <= relative * expected.abs(),
            "found {found}, expected {expected} within {relative:e} relative"
        );
    }

    /// Midpoint rule on `[-reach, reach]²`; `steps` per axis.
    fn integrate(mpnd: &Mpnd<2>, reach: f64, steps: usize) -> f64 {
        let h = 2.0 * reach / steps as f64;
        let at = |i: usize| -reach + h * (i as f64 + 0.5);
        let cells = (0..steps * steps).map(|i| mpnd.density([at(i / steps), at(i % steps)]));
        cells.sum::<f64>() * h * h
    }

    #[test]
    fn the_paper_example_has_the_integral_of_the_corrected_formula() {
        assert_near(Mpnd::new(3.0, SKEWED, [0.0; 2]).unwrap().integral(), 3.54404, 1e-5);
    }

    #[test]
    fn density_integrates_to_one() {
        for (p, reach, tolerance) in [
            (1.0, 40.0, 1e-3),
            (1.5, 16.0, 1e-4),
            (2.0, 10.0, 1e-6),
            (3.0, 6.0, 1e-6),
            (64.0, 3.0, 1e-2),
        ] {
            for c in [[[1.0, 0.0], [0.0, 1.0]], SKEWED, [[0.0, 2.0], [-0.6, 0.1]]] {
                let mpnd = Mpnd::new(p, c, [0.1, -0.2]).unwrap();
                assert_near(integrate(&mpnd, reach, 1200), 1.0, tolerance);
            }
        }
    }

    #[test]
    #[expect(clippy::approx_constant, reason = "the published table has four digits")]
    fn moments_match_the_table() {
        for (p, sigma, kurtosis) in [
            (1.0, 0.7071, 6.0),
            (1.5, 1.1637, 3.762),
            (2.0, 1.4142, 3.0),
            (3.0, 1.6367, 2.418),
            (3.7, 1.7023, 2.241),
            (3.8, 1.7087, 2.222),
            (4.0, 1.7201, 2.188),
            (8.0, 1.7828, 1.923),
            (11.0, 1.7823, 1.871),
            (14.0, 1.7779, 1.847),
            (16.0, 1.7747, 1.837),
            (256.0, 1.7359, 1.8),
            (f64::INFINITY, 1.7321, 1.8),
        ] {
            assert!((unit_variance_sigma(p) - sigma).abs() < 5.1e-5, "sigma at p = {p}");
            assert!((marginal_kurtosis(p) - kurtosis).abs() < 5.1e-4, "kurtosis at p = {p}");
            assert_near(marginal_variance(p, unit_variance_sigma(p)), 1.0, 1e-12);
        }
    }

    #[test]
    fn extreme_exponents_stay_finite_and_tend_to_the_box() {
        for p in [0.25, 0.5, 100.0, 1e3, 1e6, f64::INFINITY] {
            let mpnd = Mpnd::new(p, SKEWED, [0.0; 2]).unwrap();
            assert!(mpnd.log_density([0.0; 2]).is_finite(), "p = {p}");
            assert!((0.0..1e-4).contains(&mpnd.density([40.0, -9.0])), "p = {p}");
        }
        let det = 1.2 * 0.7 + 0.3 * 0.2;
        let almost_box = Mpnd::new(1e6, SKEWED, [0.0; 2]).unwrap();
        assert_near(almost_box.density([0.3, 0.2]), det / 4.0, 1e-5);
        assert_eq!(almost_box.density([3.0, 0.0]), 0.0);
        assert_near(
            Mpnd::new(f64::INFINITY, SKEWED, [0.0; 2]).unwrap().integral(),
            4.0 / det,
            1e-12,
        );
    }

    #[test]
    fn samples_have_the_moments_of_the_density() {
        let mut random = Stream::new(7);
        for p in [0.7, 1.0, 2.0, 4.0, 30.0, f64::INFINITY] {
            let mpnd = Mpnd::<1>::isotropic(p, 1.5).unwrap();
            let n = 100_000;
            let x: Vec<f64> = (0..n).map(|_| mpnd.sample(&mut random)[0]).collect();
            let moment = |k| x.iter().map(|v| v.powi(k)).sum::<f64>() / n as f64;
            let variance = marginal_variance(p, 1.5);
            assert!(moment(1).abs() < 5.0 * (variance / n as f64).sqrt(), "mean at p = {p}");
            assert_near(moment(2), variance, 0.05);
            assert_near(moment(4) / moment(2).powi(2), marginal_kurtosis(p), 0.15);
        }
    }

    #[test]
    fn samples_follow_the_matrix_and_the_center() {
        // For p = 2 the covariance is (CᵀC)⁻¹ / 2.
        let mpnd = Mpnd::new(2.0, SKEWED, [3.0, -1.0]).unwrap();
        let mut random = Stream::new(11);
        let n = 100_000;
        let mut second = [0.0; 3];
        for _ in 0..n {
            let [x, y] = mpnd.sample(&mut random);
            let (x, y) = (x - 3.0, y + 1.0);
            second = [second[0] + x * x, second[1] + x * y, second[2] + y * y];
        }
        let (a, b, d) = (1.2 * 1.2 + 0.04, 1.2 * 0.3 - 0.2 * 0.7, 0.09 + 0.49);
        let det = a * d - b * b;
        for (found, expected) in second.iter().zip([d, -b, a]) {
            assert!((found / n as f64 - expected / det / 2.0).abs() < 0.02);
        }
    }

    #[test]
    fn mask_has_the_values_of_the_specification() {
        let c = [[1.0 / 1.5001, 0.0], [0.0, 1.0 / 1.5001]];
        for (p, along_axis) in [
            (2.0, [1.0, 0.6412, 0.1691, 0.0183]),
            (4.0, [1.0, 0.8208, 0.0424, 0.0]),
            (8.0, [1.0, 0.9618, 0.0, 0.0]),
            (16.0, [1.0, 0.9985, 0.0, 0.0]),
        ] {
            let mask = lp_mask(p, &c, 7, 7);
            for (distance, expected) in along_axis.into_iter().enumerate() {
                assert!((mask[3 * 7 + 3 + distance] - expected).abs() < 6e-5, "p = {p}");
                assert_eq!(mask[3 * 7 + 3 + distance], mask[(3 + distance) * 7 + 3]);
            }
        }
        let sum = |p| lp_mask(p, &c, 7, 7).iter().sum::<f64>();
        assert!((sum(2.0) - 7.0607).abs() < 1e-4 && (sum(16.0) - 8.9818).abs() < 1e-4);
        assert_near(lp_mask(2.0, &c, 7, 7)[0], 3.358e-4, 1e-3);
    }

    #[test]
    fn mask_offsets_are_rows_first() {
        // C shortens rows only: the mask falls off along the height and not along the width.
        let mask = lp_mask(2.0, &[[1.0, 0.0], [0.0, 0.1]], 2, 3);
        assert_near(mask[0], (-0.25f64 - 0.01).exp(), 1e-12);
        assert_near(mask[1], (-0.25f64).exp(), 1e-12);
    }

    #[test]
    fn infinite_exponent_is_a_box() {
        let c = [[0.5, 0.0], [0.0, 0.4]];
        let limit = lp_mask(f64::INFINITY, &c, 7, 7);
        let near = lp_mask(1e5, &c, 7, 7);
        for (a, b) in limit.iter().zip(near) {
            assert!((a - b).abs() < 1e-9);
        }
        let edge = lp_mask_value(f64::INFINITY, &c, [2.0, 0.0]);
        assert_near(edge, 1.0 / E, 1e-12);
    }

    #[test]
    fn area_above_one_over_e_matches_a_count_of_cells() {
        for p in [0.5, 1.0, 2.0, 5.0, f64::INFINITY] {
            for c in [[[1.0, 0.0], [0.0, 1.0]], SKEWED] {
                let (reach, steps) = (3.0, 1500);
                let h = 2.0 * reach / steps as f64;
                let at = |i: usize| -reach + h * (i as f64 + 0.5);
                let inside = (0..steps * steps)
                    .filter(|i| lp_mask_value(p, &c, [at(i / steps), at(i % steps)]) > 1.0 / E)
                    .count();
                assert_near(inside as f64 * h * h, lp_mask_area(p, &c), 5e-3);
            }
        }
        assert_near(lp_mask_area(2.0, &SKEWED), PI / 0.9, 1e-12);
    }

    #[test]
    fn impossible_parameters_are_errors() {
        for p in [0.0, -1.0, f64::NAN, 1e-306] {
            let error = Mpnd::<2>::isotropic(p, 1.0).unwrap_err();
            assert!(matches!(error, Error::Parameter { name: "p", .. }), "{error}");
        }
        let singular = Mpnd::new(2.0, [[0.1, 0.2], [0.3, 0.6]], [0.0; 2]).unwrap_err();
        assert!(matches!(singular, Error::Singular { .. }), "{singular}");
        let nan = Mpnd::new(2.0, [[1.0, 0.0], [f64::NAN, 1.0]], [0.0; 2]).unwrap_err();
        assert!(matches!(nan, Error::NonFinite { what: "C", index: 2, .. }), "{nan}");
        assert!(Mpnd::<1>::isotropic(2.0, 0.0).is_err());
        // Small units are not singular.
        assert!(Mpnd::new(2.0, [[1e-30, 0.0], [0.0, 1.0]], [0.0; 2]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn masks_are_symmetric_and_in_the_unit_interval(
            p in 0.25..20.0f64, a in -2.0..2.0f64, b in -2.0..2.0f64, c in -2.0..2.0f64, d in -2.0..2.0f64,
            kh in 1usize..9, kw in 1usize..9,
        ) {
            let mask = lp_mask(p, &[[a, b], [c, d]], kh, kw);
            proptest::prop_assert_eq!(mask.len(), kh * kw);
            for (m, opposite) in mask.iter().zip(mask.iter().rev()) {
                proptest::prop_assert!((0.0..=1.0).contains(m));
                proptest::prop_assert_eq!(m, opposite);
            }
        }
    }
}
