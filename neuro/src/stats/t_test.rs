//! t-tests: Welch's, Student's and the paired one.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::{mean, two_sided_t, variance};
use crate::error::{Error, check_pairs, check_values};

/// The outcome of a t-test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TTest {
    /// The statistic `t`, positive if the first group has the larger mean.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p_value: f64,
    /// Degrees of freedom; a fraction for Welch's test.
    pub df: f64,
    /// Mean of the first group minus that of the second.
    pub difference: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
}

impl TTest {
    fn new(difference: f64, variance: f64, df: f64) -> Result<Self, Error> {
        let standard_error = variance.sqrt();
        if standard_error.is_nan() || standard_error <= 0.0 {
            let consequence =
                "t divides by a spread of zero; no test is needed to compare constants";
            return Err(Error::Constant { what: "each group".into(), consequence });
        }
        let statistic = difference / standard_error;
        let p_value = two_sided_t(statistic, df);
        Ok(TTest { statistic, p_value, df, difference, standard_error })
    }

    /// The interval that holds the difference of means with this confidence (0.95).
    ///
    /// # Panics
    /// If `level` is not between 0 and 1.
    #[track_caller]
    pub fn confidence_interval(&self, level: f64) -> [f64; 2] {
        assert!(
            level > 0.0 && level < 1.0,
            "confidence_interval: level = {level}, expected 0 to 1"
        );
        let half = t_quantile(0.5 + level / 2.0, self.df) * self.standard_error;
        [self.difference - half, self.difference + half]
    }
}

/// The `q`-quantile of Student's distribution with `df` degrees of freedom.
///
/// # Panics
/// If `df` is not above 0.
#[track_caller]
pub fn t_quantile(q: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df)
        .unwrap_or_else(|_| panic!("t_quantile: df = {df}, expected above 0"))
        .inverse_cdf(q)
}

/// Welch's test: two groups with variances of their own.
///
/// `t = (m₁ − m₂) / √(v₁ + v₂)`, `v = s²/n`, with `df = (v₁ + v₂)² / (v₁²/(n₁ − 1) + v₂²/(n₂ − 1))`; specification 1.8.
/// Same as `scipy.stats.ttest_ind(a, b, equal_var=False)`.
///
/// # Errors
/// If a group has fewer than two values, one is not finite, or both groups are constant.
pub fn welch(a: &[f64], b: &[f64]) -> Result<TTest, Error> {
    check_values("a", a, 2)?;
    check_values("b", b, 2)?;
    let [n, m] = [a, b].map(|x| x.len() as f64);
    let (v, w) = (variance(a) / n, variance(b) / m);
    let df = (v + w).powi(2) / (v * v / (n - 1.0) + w * w / (m - 1.0));
    TTest::new(mean(a) - mean(b), v + w, df)
}

/// Student's test: two groups with a common variance. Same as `scipy.stats.ttest_ind(a, b)`.
///
/// # Errors
/// As [`welch`]; one of the groups may have a single value.
pub fn student(a: &[f64], b: &[f64]) -> Result<TTest, Error> {
    let least = |other: &[f64]| if other.len() > 1 { 1 } else { 2 };
    check_values("a", a, least(b))?;
    check_values("b", b, 1)?;
    let [n, m] = [a, b].map(|x| x.len() as f64);
    let squares = |x: &[f64]| if x.len() > 1 { variance(x) * (x.len() - 1) as f64 } else { 0.0 };
    let df = n + m - 2.0;
    let pooled = (squares(a) + squares(b)) / df;
    TTest::new(mean(a) - mean(b), pooled * (1.0 / n + 1.0 / m), df)
}

/// Student's test of the differences of pairs. Same as `scipy.stats.ttest_rel`.
///
/// # Errors
/// If the lists differ in length, there are fewer than two pairs, a value is not finite, or all differences are equal.
pub fn paired(a: &[f64], b: &[f64]) -> Result<TTest, Error> {
    check_pairs(a, b, 2)?;
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let n = differences.len() as f64;
    TTest::new(mean(&differences), variance(&differences) / n, n - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 5] = [5.1, 4.9, 5.6, 5.8, 6.0];
    const B: [f64; 3] = [4.0, 4.4, 5.2];

    fn about(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{found} is not {expected}");
    }

    /// scipy 1.17: `ttest_ind(A, B, equal_var=False)`, `.confidence_interval(0.95)`, `ttest_ind(A, B)`, `ttest_rel`.
    #[test]
    fn tests_and_intervals_are_scipys() {
        let test = welch(&A, &B).unwrap();
        let [low, high] = test.confidence_interval(0.95);
        assert!((low + 0.269_434_896).abs() < 1e-6 && (high - 2.162_768_230).abs() < 1e-6);
        let turned = welch(&B, &A).unwrap();
        assert_eq!((turned.statistic, turned.p_value), (-test.statistic, test.p_value));
        let single = student(&A, &[4.0]).unwrap();
        about(single.statistic, 2.900_288_666_177_595_5);
        about(single.p_value, 0.044_105_182_175_764_986);
        let pairs = paired(&A[..3], &B).unwrap();
        about(pairs.statistic, 3.049_971_406_652_092_7);
        about(pairs.p_value, 0.092_781_576_746_971_11);
    }

    #[test]
    fn what_cannot_be_tested_is_said() {
        let message = |r: Result<TTest, Error>| r.unwrap_err().to_string();
        assert_eq!(message(welch(&[1.0], &B)), "a has 1 values, expected at least 2");
        assert_eq!(message(student(&[1.0], &[2.0])), "a has 1 values, expected at least 2");
        assert!(message(welch(&A, &[1.0, f64::NAN])).starts_with("b[1] is NaN"));
        assert!(message(welch(&[1.0; 3], &[2.0; 3])).contains("constant"));
        assert_eq!(message(paired(&A, &B)), "b has 3 values, expected 5 as a has");
    }
}
