//! The Mann-Whitney U test.

use libm::erfc;

use super::ranks;
use crate::error::{Error, check_values};

/// The outcome of a Mann-Whitney test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MannWhitney {
    /// `U` of the first group: pairs of which its value is larger, a tie counting one half.
    pub statistic: f64,
    /// Two-sided p-value.
    pub p_value: f64,
    /// Whether the p-value was counted rather than approximated.
    pub exact: bool,
}

/// Up to how many values of the smaller group SciPy counts arrangements.
const EXACT: usize = 8;

/// Whether values of `a` tend to be larger or smaller than those of `b`.
///
/// Exact if a group has at most 8 values and there are no ties, else by a normal distribution with corrections for ties and
/// for continuity. Same as `scipy.stats.mannwhitneyu(a, b)`.
///
/// # Errors
/// If a group is empty, a value is not finite, or all values are equal.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Result<MannWhitney, Error> {
    check_values("a", a, 1)?;
    check_values("b", b, 1)?;
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let ranks = ranks(&all);
    let [n, m] = [a, b].map(|x| x.len() as f64);
    let statistic = ranks[..a.len()].iter().sum::<f64>() - n * (n + 1.0) / 2.0;
    let larger = statistic.max(n * m - statistic);

    let mut sorted = ranks;
    sorted.sort_by(f64::total_cmp);
    let ties: f64 =
        sorted.chunk_by(|a, b| a == b).map(|run| run.len() as f64).map(|t| t * t * t - t).sum();
    let exact = ties == 0.0 && a.len().min(b.len()) <= EXACT;
    let p_value = if exact {
        2.0 * share_at_least(larger as usize, a.len(), b.len())
    } else {
        let total = n + m;
        let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
        if variance <= 0.0 {
            let consequence = "no value is larger than another";
            return Err(Error::Constant { what: "a and b together".into(), consequence });
        }
        let z = (larger - n * m / 2.0 - 0.5) / variance.sqrt();
        erfc(z / std::f64::consts::SQRT_2)
    };
    Ok(MannWhitney { statistic, p_value: p_value.clamp(0.0, 1.0), exact })
}

/// The share of all arrangements of `n` and `m` values with `U ≥ u`.
///
/// `U` is the sum of `n` of the first `n + m` ranks: its generating function is a Gaussian binomial coefficient, the product
/// of `(1 − qⁱ⁺ᵐ) / (1 − qⁱ)`. Multiplying by `(m + i) / i` less keeps shares instead of counts.
fn share_at_least(u: usize, n: usize, m: usize) -> f64 {
    let (n, m) = (n.min(m), n.max(m));
    let top = n * m;
    let mut shares = vec![0.0; top + 1];
    shares[0] = 1.0;
    for i in 1..=n {
        for k in (i + m..=top).rev() {
            shares[k] -= shares[k - i - m];
        }
        for k in i..=top {
            shares[k] += shares[k - i];
        }
        let scale = i as f64 / (m + i) as f64;
        shares.iter_mut().for_each(|s| *s *= scale);
    }
    // By symmetry the upper tail is the lower one, whose terms have lost no digits.
    shares[..=top - u].iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17: `mannwhitneyu`, exact, with ties, and asymptotic for large groups.
    #[test]
    fn u_and_p_are_scipys() {
        let about = |found: f64, expected: f64| {
            assert!((found - expected).abs() <= 1e-11 * expected, "{found} is not {expected}");
        };
        let (a, b) = ([5.1, 4.9, 5.6, 5.8, 6.0], [4.0, 4.4, 5.2]);
        let exact = mann_whitney(&a, &b).unwrap();
        assert_eq!((exact.statistic, exact.exact), (13.0, true));
        about(exact.p_value, 0.14285714285714285);
        let tied = mann_whitney(&[1.0, 2.0, 2.0, 3.0], &[2.0, 4.0, 5.0]).unwrap();
        assert_eq!((tied.statistic, tied.exact), (2.0, false));
        about(tied.p_value, 0.19908985214820463);
        let (x, y): (Vec<f64>, Vec<f64>) =
            (0..20).map(|i| (f64::from(i * i % 37), f64::from(i * i % 41) + 5.5)).unzip();
        about(mann_whitney(&x, &y).unwrap().p_value, 0.1555505435968249);
        // Groups that are the same by halves: the continuity correction may not take p above 1.
        assert_eq!(mann_whitney(&[1.0, 1.0], &[1.0, 2.0, 0.0]).unwrap().p_value, 1.0);
    }

    #[test]
    fn all_arrangements_are_counted() {
        // 2 of 4 ranks: U = 0, 1, 2, 2, 3, 4.
        let tails: Vec<f64> = (0..=4).map(|u| share_at_least(u, 2, 2)).collect();
        for (found, sixths) in tails.iter().zip([6.0, 5.0, 4.0, 2.0, 1.0]) {
            assert!((found - sixths / 6.0).abs() < 1e-15);
        }
        assert!((share_at_least(0, 8, 60) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn hostile_groups_are_errors() {
        assert!(mann_whitney(&[], &[1.0]).is_err());
        assert!(mann_whitney(&[f64::INFINITY], &[1.0]).is_err());
        let error = mann_whitney(&[1.0; 3], &[1.0; 2]).unwrap_err().to_string();
        assert_eq!(error, "a and b together is constant: no value is larger than another");
    }
}
