//! Mean, spread and quantiles of a list.

/// The mean; NaN of an empty list.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample variance, dividing by `n − 1`; NaN for fewer than two values.
pub fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    let mean = mean(values);
    values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64
}

/// The sample standard deviation, dividing by `n − 1`; NaN for fewer than two values.
pub fn standard_deviation(values: &[f64]) -> f64 {
    variance(values).sqrt()
}

/// The `q`-quantile with linear interpolation between order statistics, as `numpy.quantile`; NaN of an empty list.
///
/// # Panics
/// If `q` is not between 0 and 1.
#[track_caller]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    assert!((0.0..=1.0).contains(&q), "quantile: q = {q} is not between 0 and 1");
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = q * (sorted.len() - 1) as f64;
    let (low, share) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + share * (sorted[high] - sorted[low])
}

/// The median; NaN of an empty list.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate_as_numpy_does() {
        let values = [3.0, 1.0, 2.0, 10.0];
        assert_eq!(median(&values), 2.5);
        assert!((quantile(&values, 0.9) - 7.9).abs() < 1e-12);
        assert_eq!((quantile(&values, 0.0), quantile(&values, 1.0)), (1.0, 10.0));
        assert!(median(&[]).is_nan() && variance(&[1.0]).is_nan());
        assert!((variance(&values) - 50.0 / 3.0).abs() < 1e-12);
    }
}
