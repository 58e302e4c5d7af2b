//! Functions of one `f32` without branches or calls, so that a loop over them becomes vector code.
//!
//! The coefficients are minimax fits of relative error; the tests state the errors of the results. `f64`, which is there to
//! check gradients with, stays with the exact functions of `std` and `libm`.

/// A polynomial by Horner's rule, constant term first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = sum * x + coefficients[i];
    }
    sum
}

/// `e^x`, at most 2 units in the last place off; 0 and infinity where `f32` ends.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding this number rounds to an integer, which is then in its low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Comparisons, not `clamp`: NaN passes.
    let x = if x < -104.0 { -104.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let power = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let n = rounded - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let q = polynomial(
        r,
        [0.5, 0.166_666_67, 0.041_666_467, 0.008_333_361, 0.001_393_36, 0.000_198_578],
    );
    // In two steps: one power of two has no room for the smallest and largest results.
    let first = power >> 1;
    let second = power.wrapping_sub(first);
    let two_to = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    (r * r * q + r + 1.0) * two_to(first) * two_to(second)
}

/// The hyperbolic tangent, at most 3 units in the last place off.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let z = x * x;
    let near = x * polynomial(
        z,
        [1.0, -0.333_332_84, 0.133_316_9, -0.053_768_706, 0.020_753_628, -0.005_852_168],
    );
    let e = exp(-2.0 * x.abs());
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if x.abs() < 0.6 { near } else { far }
}

/// `erfc(a) / e^(-a²)` for `a` from 0 to where `e^(-a²)` is 0.
#[inline(always)]
fn scaled_erfc(a: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * a);
    polynomial(
        t,
        [
            -6.011_265_7e-6,
            0.282_221_38,
            0.281_098_46,
            0.249_793_44,
            0.181_250_1,
            0.017_077_193,
            0.221_191_61,
            -0.441_478_16,
            0.263_903_35,
            -0.055_051_34,
        ],
    )
}

/// The error function, at most 4 units in the last place off.
#[inline(always)]
pub(crate) fn erf(x: f32) -> f32 {
    let z = x * x;
    let near = x * polynomial(
        z,
        [
            std::f32::consts::FRAC_2_SQRT_PI,
            -0.376_126_26,
            0.112_835_854,
            -0.026_853_811,
            0.005_188_327_7,
            -0.000_801_019_4,
            7.853_861e-5,
        ],
    );
    let far = (1.0 - exp(-z) * scaled_erfc(x.abs())).copysign(x);
    if x.abs() < 1.0 { near } else { far }
}

/// Distribution function and density of the standard normal distribution. The distribution function keeps its relative
/// precision (4e-6 for values down to 1e-10) in the left tail.
#[inline(always)]
pub(crate) fn normal(x: f32) -> (f32, f32) {
    let a = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let e = exp(-0.5 * x * x);
    let tail = 0.5 * e * scaled_erfc(a);
    let cdf = if x > 0.0 { 1.0 - tail } else { tail };
    (cdf, e * 0.398_942_3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of every size and sign, and the special ones.
    fn arguments() -> impl Iterator<Item = f32> {
        let dense = (-120_000..=120_000).map(|i| i as f32 / 1000.0);
        let small = (1..=2000).flat_map(|i| [1.0, -1.0].map(|s| s * (-0.05 * i as f32).exp2()));
        dense.chain(small).chain([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN])
    }

    /// The largest error, relative to the true value where that is not smaller than `floor`.
    fn largest_error(f: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64, floor: f64) -> f64 {
        let error = |x: f32| {
            let (y, expected) = (f64::from(f(x)), truth(f64::from(x)));
            if y == expected || expected > f64::from(f32::MAX) && y == f64::INFINITY {
                return 0.0;
            }
            (y - expected).abs() / expected.abs().max(floor)
        };
        arguments().map(error).fold(0.0, f64::max)
    }

    #[test]
    fn errors_are_as_stated() {
        const UNIT: f64 = f32::EPSILON as f64;
        let normal_min = f64::from(f32::MIN_POSITIVE);
        assert!(largest_error(exp, f64::exp, normal_min) < 2.0 * UNIT);
        assert!(largest_error(tanh, f64::tanh, normal_min) < 3.0 * UNIT);
        assert!(largest_error(erf, libm::erf, normal_min) < 4.0 * UNIT);
        let cdf = |x: f64| 0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2);
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        assert!(largest_error(|x| normal(x).0, cdf, 1e-10) < 4e-6);
        assert!(largest_error(|x| normal(x).1, density, 1e-10) < 4e-6);
    }

    #[test]
    fn special_values() {
        for f in [exp, tanh, erf, |x| normal(x).0] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!(
            [exp(0.0), exp(f32::INFINITY), exp(f32::NEG_INFINITY)],
            [1.0, f32::INFINITY, 0.0]
        );
        assert_eq!([tanh(f32::INFINITY), erf(f32::NEG_INFINITY)], [1.0, -1.0]);
        assert!((normal(0.0).0 - 0.5).abs() <= f32::EPSILON / 4.0);
        assert!(tanh(-0.0).is_sign_negative() && erf(-0.0).is_sign_negative());
    }
}
