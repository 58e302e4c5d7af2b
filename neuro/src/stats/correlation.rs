//! Pearson's and Spearman's correlation.

use super::{mean, two_sided_t};
use crate::error::{Error, check_pairs};

/// A correlation with its test against 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// From −1 to 1.
    pub statistic: f64,
    /// Two-sided p-value of no association.
    pub p_value: f64,
}

/// Pearson's correlation, its p-value by Student's t with `n − 2` degrees of freedom. Same as `scipy.stats.pearsonr`.
///
/// # Errors
/// If the lists differ in length, have fewer than two values, one is not finite, or a list is constant.
pub fn pearson(a: &[f64], b: &[f64]) -> Result<Correlation, Error> {
    check_pairs(a, b, 2)?;
    let statistic = product_moment(a, b)?;
    Ok(Correlation { statistic, p_value: p_of_r(statistic, a.len()) })
}

/// Spearman's correlation, Pearson's of the [`ranks`]. Same as `scipy.stats.spearmanr`.
///
/// # Errors
/// As [`pearson`].
pub fn spearman(a: &[f64], b: &[f64]) -> Result<Correlation, Error> {
    check_pairs(a, b, 2)?;
    let statistic = product_moment(&ranks(a), &ranks(b))?;
    Ok(Correlation { statistic, p_value: p_of_r(statistic, a.len()) })
}

fn product_moment(a: &[f64], b: &[f64]) -> Result<f64, Error> {
    let centered = |what: &str, x: &[f64]| -> Result<(Vec<f64>, f64), Error> {
        let m = mean(x);
        let x: Vec<f64> = x.iter().map(|v| v - m).collect();
        let norm = x.iter().map(|v| v * v).sum::<f64>().sqrt();
        // The mean of equal values may differ from them by its rounding.
        if norm <= 4.0 * f64::EPSILON * m.abs() * (x.len() as f64).sqrt() {
            let consequence = "its correlation with anything is not defined";
            return Err(Error::Constant { what: what.into(), consequence });
        }
        Ok((x, norm))
    };
    let ((a, norm_a), (b, norm_b)) = (centered("a", a)?, centered("b", b)?);
    let r: f64 = a.iter().zip(&b).map(|(a, b)| (a / norm_a) * (b / norm_b)).sum();
    Ok(r.clamp(-1.0, 1.0))
}

fn p_of_r(r: f64, n: usize) -> f64 {
    if n == 2 {
        return 1.0;
    }
    let df = n as f64 - 2.0;
    two_sided_t(r * (df / ((1.0 - r) * (1.0 + r))).sqrt(), df)
}

/// Ranks from 1, equal values sharing the mean of theirs. Same as `scipy.stats.rankdata`.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by(|&i, &j| values[i as usize].total_cmp(&values[j as usize]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    while first < order.len() {
        let value = values[order[first] as usize];
        let tied = order[first..].iter().take_while(|&&i| values[i as usize] == value).count();
        let shared = first as f64 + (tied.max(1) as f64 + 1.0) / 2.0;
        for &i in &order[first..first + tied.max(1)] {
            ranks[i as usize] = shared;
        }
        first += tied.max(1);
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 7] = [2.0, 4.0, 4.0, 1.0, 7.5, 3.0, 9.0];
    const B: [f64; 7] = [1.0, 3.0, 2.0, 2.0, 6.0, 5.0, 4.0];

    fn about(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{found} is not {expected}");
    }

    /// scipy 1.17: `pearsonr(A, B)`, `spearmanr(A, B)`.
    #[test]
    fn correlations_and_p_values_are_scipys() {
        let r = pearson(&A, &B).unwrap();
        about(r.statistic, 0.6325585911972543);
        about(r.p_value, 0.1273827079666186);
        let rho = spearman(&A, &B).unwrap();
        about(rho.statistic, 0.6090909090909091);
        about(rho.p_value, 0.14657668536668259);
        assert_eq!(pearson(&[1.0, 2.0], &[5.0, 3.0]).unwrap().p_value, 1.0);
        assert_eq!(spearman(&A, &A).unwrap(), Correlation { statistic: 1.0, p_value: 0.0 });
    }

    #[test]
    fn ties_share_their_mean_rank_and_zeros_of_both_signs_are_equal() {
        assert_eq!(ranks(&A), [2.0, 4.5, 4.5, 1.0, 6.0, 3.0, 7.0]);
        assert_eq!(ranks(&[0.0, -0.0, -1.0]), [2.5, 2.5, 1.0]);
    }

    #[test]
    fn constant_lists_are_errors() {
        let error = pearson(&A, &[0.1; 7]).unwrap_err().to_string();
        assert_eq!(error, "b is constant: its correlation with anything is not defined");
        assert!(spearman(&[3.0; 7], &A).is_err() && pearson(&[1.0], &[2.0]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn scale_and_shift_do_not_matter(
            pairs in proptest::collection::vec((-9.0..9.0f64, -9.0..9.0f64), 3..40),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            if let Ok(r) = pearson(&a, &b) {
                let moved: Vec<f64> = b.iter().map(|v| 5.0 - 2.0 * v).collect();
                let other = pearson(&a, &moved).unwrap();
                proptest::prop_assert!((r.statistic + other.statistic).abs() < 1e-10);
                proptest::prop_assert!((0.0..=1.0).contains(&r.p_value));
            }
        }
    }
}
