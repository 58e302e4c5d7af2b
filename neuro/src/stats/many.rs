//! Corrections for many tests, and how p-values are printed.

use crate::error::Error;

/// Checks that all are probabilities, and gives the order from the smallest to the largest.
fn sorted_order(p: &[f64]) -> Result<Vec<usize>, Error> {
    if let Some(i) = p.iter().position(|p| !(0.0..=1.0).contains(p)) {
        let (name, value) = ("p", p[i]);
        return Err(Error::Parameter { name, value, expected: "a probability, 0 to 1" });
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    Ok(order)
}

/// Holm's step-down correction: the chance that any true null hypothesis is rejected stays below the level.
///
/// Sorted, `adjusted(i) = max_{j ≤ i} min(1, (m − j + 1) p(j))`; returned in the order given. Specification 1.8.
/// Same as `statsmodels.stats.multitest.multipletests(p, method="holm")`.
///
/// # Errors
/// If one is no probability.
pub fn holm(p: &[f64]) -> Result<Vec<f64>, Error> {
    let (mut adjusted, mut largest) = (vec![0.0; p.len()], 0.0f64);
    for (j, i) in sorted_order(p)?.into_iter().enumerate() {
        largest = largest.max(((p.len() - j) as f64 * p[i]).min(1.0));
        adjusted[i] = largest;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's step-up correction: the expected share of false discoveries stays below the level.
///
/// Sorted, `adjusted(i) = min_{j ≥ i} min(1, m p(j) / j)`; returned in the order given. Same as
/// `scipy.stats.false_discovery_control`.
///
/// # Errors
/// If one is no probability.
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>, Error> {
    let (mut adjusted, mut smallest) = (vec![0.0; p.len()], 1.0f64);
    for (j, i) in sorted_order(p)?.into_iter().enumerate().rev() {
        smallest = smallest.min(p.len() as f64 / (j + 1) as f64 * p[i]);
        adjusted[i] = smallest;
    }
    Ok(adjusted)
}

/// The paper's marker of a p-value: `***` below 0.001, `**` below 0.01, `*` below 0.05, else `ns`.
pub fn stars(p: f64) -> &'static str {
    match p {
        p if p < 0.001 => "***",
        p if p < 0.01 => "**",
        p if p < 0.05 => "*",
        _ => "ns",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_monotone_and_capped() {
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.8]).unwrap(), [0.04, 0.09, 0.09, 0.8]);
        assert_eq!(holm(&[0.6, 0.7]).unwrap(), [1.0, 1.0]);
        // scipy.stats.false_discovery_control([0.01, 0.04, 0.03, 0.8])
        let expected = [0.04, 0.16 / 3.0, 0.16 / 3.0, 0.8];
        for (found, expected) in
            benjamini_hochberg(&[0.01, 0.04, 0.03, 0.8]).unwrap().iter().zip(expected)
        {
            assert!((found - expected).abs() < 1e-15, "{found} {expected}");
        }
        assert!(holm(&[]).unwrap().is_empty());
        assert!(holm(&[0.5, f64::NAN]).is_err() && benjamini_hochberg(&[1.5]).is_err());
    }

    #[test]
    fn stars_have_the_papers_limits() {
        assert_eq!(
            [0.0009, 0.001, 0.01, 0.05, f64::NAN].map(stars),
            ["***", "**", "*", "ns", "ns"]
        );
    }
}
