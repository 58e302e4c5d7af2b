//! Noise of every pixel and channel by itself.

use std::sync::OnceLock;

use tensor::Stream;

use super::{Severity, grid::Grid};
use crate::datasets::Image;

/// `x + N(0, c)`.
pub(super) fn gaussian(x: Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let c = severity.of([0.04, 0.06, 0.08, 0.09, 0.10]);
    changed(x, |v| v + c * stream.normal())
}

/// `x + x N(0, c)`.
pub(super) fn speckle(x: Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let c = severity.of([0.06, 0.1, 0.12, 0.16, 0.2]);
    changed(x, |v| v + v * c * stream.normal())
}

/// A share of all values becomes 0 or 1.
pub(super) fn impulse(x: Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let share = severity.of([0.01, 0.02, 0.03, 0.05, 0.07]);
    changed(x, |v| {
        let (hit, salt) = (stream.uniform() < share, stream.uniform() < 0.5);
        if hit { f64::from(u8::from(salt)) } else { v }
    })
}

/// `Poisson(c x) / c`: as many photons as are counted.
pub(super) fn shot(image: &Image, severity: Severity, stream: &mut Stream) -> Grid {
    let c = severity.of([500.0, 250.0, 100.0, 75.0, 50.0]);
    // A byte has 256 values, so there are 256 distributions: their sums are made once.
    static TABLES: [OnceLock<Vec<Vec<f64>>>; 5] = [const { OnceLock::new() }; 5];
    let make = || (0..=255).map(|v| poisson_sums(c * f64::from(v) / 255.0)).collect();
    let tables = TABLES[severity.get() - 1].get_or_init(make);
    let count = |&v: &u8| {
        let u = stream.uniform();
        tables[usize::from(v)].partition_point(|&sum| sum <= u) as f64 / c
    };
    let values = image.pixels().iter().map(count).collect();
    Grid::new(image.height(), image.width(), 3, values)
}

/// `P(count <= k)` for k = 0, 1, … until it is 1.
fn poisson_sums(mean: f64) -> Vec<f64> {
    let (mut p, mut sum) = ((-mean).exp(), 0.0);
    let mut sums = Vec::new();
    for k in 1.. {
        let before = sum;
        sum += p;
        sums.push(sum);
        p *= mean / f64::from(k);
        if sum == before && f64::from(k) > mean {
            break;
        }
    }
    sums
}

fn changed(mut x: Grid, mut f: impl FnMut(f64) -> f64) -> Grid {
    x.values.iter_mut().for_each(|v| *v = f(*v));
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean and variance over a large image of one gray.
    fn moments(make: impl Fn(&Image, &mut Stream) -> Grid, gray: u8) -> (f64, f64) {
        let image = Image::filled(200, 200, [gray; 3]);
        let values = make(&image, &mut Stream::new(5)).values;
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn noise_has_the_moments_of_its_distribution() {
        // 120,000 values: a mean is known to 0.3 % of a standard deviation, a variance to 0.4 %.
        let check = |(mean, variance): (f64, f64), m: f64, sd: f64| {
            assert!((mean - m).abs() < 4.0 * sd / 346.0, "mean {mean}, expected {m}");
            assert!((variance / (sd * sd) - 1.0).abs() < 0.03, "{variance}, expected {}", sd * sd);
        };
        for level in 1..=5 {
            let s = Severity::new(level).unwrap();
            let i = level - 1;
            let x = 100.0 / 255.0;
            let sd = [0.04, 0.06, 0.08, 0.09, 0.10][i];
            check(moments(|image, r| gaussian(Grid::of(image), s, r), 100), x, sd);
            let sd = [0.06, 0.1, 0.12, 0.16, 0.2][i] * x;
            check(moments(|image, r| speckle(Grid::of(image), s, r), 100), x, sd);
            let c = [500.0, 250.0, 100.0, 75.0, 50.0][i];
            check(moments(|image, r| shot(image, s, r), 100), x, (x / c).sqrt());
            let share = [0.01, 0.02, 0.03, 0.05, 0.07][i];
            let (mean, _) = moments(|image, r| impulse(Grid::of(image), s, r), 255);
            assert!((1.0 - mean - share / 2.0).abs() < 0.002, "{mean} at {share}");
        }
    }

    #[test]
    fn what_is_black_has_no_photons() {
        let black =
            shot(&Image::filled(8, 8, [0; 3]), Severity::new(5).unwrap(), &mut Stream::new(1));
        assert!(black.values.iter().all(|&v| v == 0.0));
    }

    #[test]
    fn poisson_sums_end_at_one() {
        for mean in [0.0, 0.2, 10.0, 500.0] {
            let sums = poisson_sums(mean);
            assert!((sums.last().unwrap() - 1.0).abs() < 1e-12);
            assert!((sums[0] - (-mean).exp()).abs() < 1e-15);
        }
        assert!((poisson_sums(2.0)[2] - 5.0 * (-2.0f64).exp()).abs() < 1e-15);
    }
}
