//! How large a difference of two groups is, in units that do not depend on the number of values.

use super::{mean, ranks, variance};
use crate::error::{Error, check_values};

/// Cohen's d: the difference of means over the pooled standard deviation.
///
/// # Errors
/// If a group has fewer than two values, one is not finite, or both groups are constant.
pub fn cohen_d(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    check_values("a", a, 2)?;
    check_values("b", b, 2)?;
    let [n, m] = [a, b].map(|x| x.len() as f64 - 1.0);
    let pooled = (n * variance(a) + m * variance(b)) / (n + m);
    if pooled <= 0.0 {
        let consequence = "an effect size divides by a spread of zero";
        return Err(Error::Constant { what: "each group".into(), consequence });
    }
    Ok((mean(a) - mean(b)) / pooled.sqrt())
}

/// Hedges' g: [`cohen_d`] without its bias in small groups, times `1 − 3 / (4 (n₁ + n₂) − 9)`.
///
/// # Errors
/// As [`cohen_d`].
pub fn hedges_g(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    let n = (a.len() + b.len()) as f64;
    Ok(cohen_d(a, b)? * (1.0 - 3.0 / (4.0 * n - 9.0)))
}

/// Cliff's delta: how much more often a value of `a` is larger than one of `b` than smaller, from −1 to 1.
///
/// It is also the rank-biserial correlation, `2 U / (n₁ n₂) − 1`. `O(n log n)`.
///
/// # Errors
/// If a group is empty or a value is not finite.
pub fn cliff_delta(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    check_values("a", a, 1)?;
    check_values("b", b, 1)?;
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let of_a: f64 = ranks(&all)[..a.len()].iter().sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    Ok(2.0 * (of_a - n * (n + 1.0) / 2.0) / (n * m) - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_those_of_their_definitions() {
        let (a, b) = ([2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]);
        // Pooled variance (2·4 + 3·20/3) / 5 = 5.6.
        assert!((cohen_d(&a, &b).unwrap() - 0.0).abs() < 1e-15);
        let shifted = b.map(|v| v - 2.0);
        let d = cohen_d(&a, &shifted).unwrap();
        assert!((d - 2.0 / 5.6f64.sqrt()).abs() < 1e-12);
        assert!((hedges_g(&a, &shifted).unwrap() - d * (1.0 - 3.0 / 19.0)).abs() < 1e-12);
        assert_eq!(cliff_delta(&a, &b).unwrap(), 0.0);
        assert_eq!(cliff_delta(&[9.0], &b).unwrap(), 1.0);
        let with_ties = cliff_delta(&[1.0, 2.0], &[2.0, 2.0]).unwrap();
        assert_eq!(with_ties, -0.5);
        assert!(cohen_d(&[1.0; 2], &[1.0; 2]).is_err());
    }
}
