//! When a result counts as equal to the expected tensor, and where it does not.

use std::fmt;

use serde::Serialize;
use tensor::{DType, Shape, Tensor};

use super::manifest::Tolerance;

/// One of the rules of comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Every element equal.
    Exact,
    /// `|a - b| <= tol * max|b|`, with 1 in place of `max|b|` where all of `b` is zero.
    Relative(f64),
    /// `|a - b| <= tol * |b|` for each element: p values.
    Elementwise(f64),
    /// A table of gradients: each row relative to its first column (the L2 norm of a parameter's gradient), but at least
    /// to the largest times `floor`. Some gradients are zero up to rounding (a bias before a batch norm).
    Rows {
        /// Relative tolerance.
        tol: f64,
        /// Smallest scale of a row, relative to the largest.
        floor: f64,
    },
    /// Bytes of an image: none differs by more than `max_abs`, and at most `max_fraction` of them differ at all.
    Bytes {
        /// Largest difference.
        max_abs: f64,
        /// Largest fraction that may differ.
        max_fraction: f64,
    },
}

/// [`Rule::Rows`] in f64, where with a tolerance of 1e-8 it allows 45 units in the last place of the largest gradient.
const ROW_FLOOR: f64 = 1e-6;

/// The floor of [`Rule::Rows`]: in f32 it allows as many units in the last place, since what is zero up to rounding is
/// zero up to the rounding of the precision it is computed in.
fn row_floor(tol: &Tolerance, dtype: DType) -> f64 {
    match (dtype, tol.f64, tol.f32) {
        (DType::F32, Some(f64), Some(f32)) => {
            ROW_FLOOR * (f64 * f64::from(f32::EPSILON)) / (f32 * f64::EPSILON)
        }
        _ => ROW_FLOOR,
    }
}

impl Rule {
    /// The rule for the expected tensor of `role`, when computing in `dtype`; `None` if the tolerance has none.
    pub fn of(tol: &Tolerance, role: &str, expected: DType, dtype: DType) -> Option<Self> {
        if tol.exact {
            return Some(Rule::Exact);
        }
        if let (Some(max_abs), DType::U8) = (tol.max_abs, expected) {
            let max_fraction = tol.max_fraction_different.unwrap_or(1.0);
            return Some(Rule::Bytes { max_abs, max_fraction });
        }
        let relative = match dtype {
            DType::F64 => tol.f64,
            DType::F32 => tol.f32,
            _ => None,
        }?;
        Some(match role {
            "out.train_grads" | "out.grads" => {
                Rule::Rows { tol: relative, floor: row_floor(tol, dtype) }
            }
            _ if tol.elementwise => Rule::Elementwise(relative),
            _ => Rule::Relative(relative),
        })
    }

    /// The same with a relative tolerance that is larger by a factor; what is not relative stays.
    pub fn loosened(self, factor: f64) -> Self {
        match self {
            Rule::Relative(tol) => Rule::Relative(tol * factor),
            Rule::Elementwise(tol) => Rule::Elementwise(tol * factor),
            Rule::Rows { tol, floor } => Rule::Rows { tol: tol * factor, floor: floor / factor },
            Rule::Exact | Rule::Bytes { .. } => self,
        }
    }
}

/// Where a result is not what was expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Difference {
    /// Another shape.
    Shape {
        /// That of the result.
        found: String,
        /// That of the expected tensor.
        expected: String,
    },
    /// An element that is too far off: the one that exceeds what is allowed by the largest factor.
    Value {
        /// Its index.
        index: Vec<usize>,
        /// The result.
        found: f64,
        /// What was expected.
        expected: f64,
        /// The difference that would have passed.
        allowed: f64,
        /// How many elements are too far off.
        wrong: usize,
        /// How many elements there are.
        of: usize,
    },
    /// Too many bytes differ, if none by too much.
    Fraction {
        /// The fraction that differs.
        found: f64,
        /// The fraction that would have passed.
        allowed: f64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Shape { found, expected } => {
                write!(f, "shape {found} instead of {expected}")
            }
            Difference::Value { index, found, expected, allowed, wrong, of } => write!(
                f,
                "at {index:?}: {found:e} instead of {expected:e} (off by {:.3e}, allowed {allowed:.3e}); \
                 {wrong} of {of} elements are wrong",
                (found - expected).abs()
            ),
            Difference::Fraction { found, allowed } => {
                write!(f, "a fraction {found:.4} of all bytes differs, allowed {allowed}")
            }
        }
    }
}

/// Compares a result with the expected tensor. NaN never passes, on either side.
///
/// # Errors
/// The worst difference.
pub fn compare(rule: Rule, found: &Tensor, expected: &Tensor) -> Result<(), Difference> {
    compare_with_slack(rule, found, expected, &vec![0.0; expected.numel()])
}

/// As [`compare`], with so much more allowed for each element.
///
/// # Errors
/// The worst difference.
///
/// # Panics
/// If there is not one number for each expected element.
pub fn compare_with_slack(
    rule: Rule,
    found: &Tensor,
    expected: &Tensor,
    slack: &[f64],
) -> Result<(), Difference> {
    assert!(slack.len() == expected.numel(), "compare: {} numbers of slack", slack.len());
    if found.shape() != expected.shape() {
        let (found, expected) = (found.shape().to_string(), expected.shape().to_string());
        return Err(Difference::Shape { found, expected });
    }
    let (a, b) = (found.to_f64_vec(), expected.to_f64_vec());
    let mut allowed = allowances(rule, &b, &expected.shape());
    allowed.iter_mut().zip(slack).for_each(|(allowed, slack)| *allowed += slack);
    let excess = |i: usize| {
        let off = (a[i] - b[i]).abs();
        if !allowed[i].is_finite() {
            f64::INFINITY
        } else if off <= allowed[i] {
            0.0
        } else if off.is_nan() || allowed[i] == 0.0 {
            f64::INFINITY
        } else {
            off / allowed[i]
        }
    };
    let wrong = (0..a.len()).filter(|&i| excess(i) > 0.0).count();
    if wrong > 0 {
        let worst = (0..a.len()).max_by(|&i, &j| excess(i).total_cmp(&excess(j)).then(j.cmp(&i)));
        let i = worst.expect("there is a wrong one");
        return Err(Difference::Value {
            index: unravel(i, &expected.shape()),
            found: a[i],
            expected: b[i],
            allowed: allowed[i],
            wrong,
            of: a.len(),
        });
    }
    if let Rule::Bytes { max_fraction, .. } = rule {
        let differing = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        let fraction = differing as f64 / a.len().max(1) as f64;
        if fraction > max_fraction {
            return Err(Difference::Fraction { found: fraction, allowed: max_fraction });
        }
    }
    Ok(())
}

/// The allowed difference of each element.
fn allowances(rule: Rule, b: &[f64], shape: &Shape) -> Vec<f64> {
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    match rule {
        Rule::Exact => vec![0.0; b.len()],
        Rule::Relative(tol) => {
            let scale = match largest(b) {
                0.0 => 1.0,
                scale => scale,
            };
            vec![tol * scale; b.len()]
        }
        Rule::Elementwise(tol) => b.iter().map(|b| tol * b.abs()).collect(),
        Rule::Rows { tol, floor } => {
            let columns = shape.last().copied().unwrap_or(1).max(1);
            let norms: Vec<f64> = b.iter().step_by(columns).copied().collect();
            let floor = floor * largest(&norms);
            (0..b.len()).map(|i| tol * norms[i / columns].max(floor)).collect()
        }
        Rule::Bytes { max_abs, .. } => vec![max_abs; b.len()],
    }
}

fn unravel(mut flat: usize, shape: &Shape) -> Vec<usize> {
    let mut index = vec![0; shape.rank()];
    for axis in (0..shape.rank()).rev() {
        index[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    fn t(values: &[f64]) -> Tensor {
        Tensor::new(values, [values.len()])
    }

    fn passes(rule: Rule, found: &[f64], expected: &[f64]) -> bool {
        compare(rule, &t(found), &t(expected)).is_ok()
    }

    #[test]
    fn each_rule_has_its_own_scale() {
        let b = [100.0, 0.01];
        assert!(passes(Rule::Relative(1e-4), &[100.0, 0.0199], &b));
        assert!(!passes(Rule::Relative(1e-4), &[100.0, 0.0201], &b));
        assert!(passes(Rule::Relative(1e-4), &[0.9e-4, 0.0], &[0.0, 0.0]));
        assert!(!passes(Rule::Relative(1e-4), &[1.1e-4, 0.0], &[0.0, 0.0]));
        assert!(passes(Rule::Elementwise(1e-2), &[100.9, 0.01009], &b));
        assert!(!passes(Rule::Elementwise(1e-2), &[100.0, 0.0102], &b));
        assert!(!passes(Rule::Elementwise(1e-2), &[1e-300], &[0.0]));
        assert!(passes(Rule::Exact, &b, &b));
        assert!(!passes(Rule::Exact, &[100.0, 0.01 + f64::EPSILON], &b));
    }

    #[test]
    fn rows_of_gradients_are_relative_to_their_norm() {
        let b = Tensor::new(&[10.0, 1.0, 1e-3, 1e-4, 1e-9, 1e-9], [3, 2]);
        let rule = Rule::Rows { tol: 1e-3, floor: 1e-6 };
        let moved = |d: [f64; 6]| compare(rule, &(&b + &Tensor::new(&d, [3, 2])), &b);
        assert!(moved([0.0, 9e-3, 0.0, 0.9e-6, 0.0, 0.9e-8]).is_ok());
        // The second column counts from its row's norm, the third row from the floor of 1e-6 * 10.
        assert!(moved([0.0, 1.1e-2, 0.0, 0.0, 0.0, 0.0]).is_err());
        assert!(moved([0.0, 0.0, 0.0, 1.1e-6, 0.0, 0.0]).is_err());
        assert!(moved([0.0, 0.0, 0.0, 0.0, 0.0, 1.1e-8]).is_err());
    }

    #[test]
    fn bytes_may_differ_a_little_in_a_few_places() {
        let b = Tensor::new(&[7u8; 100], [10, 10]);
        let with = |n: usize, by: u8| {
            let values: Vec<u8> = (0..100).map(|i| if i < n { 7 + by } else { 7 }).collect();
            let rule = Rule::Bytes { max_abs: 1.0, max_fraction: 0.02 };
            compare(rule, &Tensor::new(&values, [10, 10]), &b)
        };
        assert!(with(2, 1).is_ok());
        assert_eq!(with(3, 1), Err(Difference::Fraction { found: 0.03, allowed: 0.02 }));
        assert!(matches!(with(1, 2), Err(Difference::Value { wrong: 1, .. })));
    }

    #[test]
    fn nan_never_passes() {
        let rules = [
            Rule::Exact,
            Rule::Relative(1.0),
            Rule::Elementwise(1.0),
            Rule::Rows { tol: 1.0, floor: 1.0 },
            Rule::Bytes { max_abs: 255.0, max_fraction: 1.0 },
        ];
        for rule in rules {
            assert!(!passes(rule, &[1.0, f64::NAN], &[1.0, 1.0]), "{rule:?}");
            assert!(!passes(rule, &[1.0, 1.0], &[1.0, f64::NAN]), "{rule:?}");
        }
        // Nor do infinities that were not expected.
        assert!(!passes(Rule::Relative(1.0), &[f64::INFINITY], &[1.0]));
    }

    #[test]
    fn slack_is_for_each_element() {
        let (a, b) = (t(&[1.3, 2.3]), t(&[1.0, 2.0]));
        let with = |slack: [f64; 2]| compare_with_slack(Rule::Exact, &a, &b, &slack);
        assert!(with([0.31, 0.31]).is_ok());
        assert!(matches!(with([0.31, 0.0]), Err(Difference::Value { index, .. }) if index == [1]));
        for nonsense in [f64::NAN, f64::INFINITY] {
            assert!(with([nonsense, 0.31]).is_err());
        }
    }

    #[test]
    fn the_worst_element_is_named() {
        let b = Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
        let a = Tensor::new(&[1.0, 2.5, 3.9, 4.0], [2, 2]);
        let e = compare(Rule::Relative(0.1), &a, &b).unwrap_err();
        assert_eq!(
            e.to_string(),
            "at [1, 0]: 3.9e0 instead of 3e0 (off by 9.000e-1, allowed 4.000e-1); 2 of 4 elements are wrong"
        );
        let e = compare(Rule::Exact, &a.reshape([4]), &b).unwrap_err();
        assert_eq!(e.to_string(), "shape [4] instead of [2, 2]");
    }

    #[test]
    fn the_rule_follows_from_tolerance_role_and_precision() {
        let tol = Tolerance { f64: Some(1e-10), f32: Some(1e-4), ..Default::default() };
        let of = |tol: &Tolerance, role, dtype| Rule::of(tol, role, DType::F64, dtype);
        assert_eq!(of(&tol, "out.y", DType::F32), Some(Rule::Relative(1e-4)));
        let rows = Rule::Rows { tol: 1e-10, floor: 1e-6 };
        assert_eq!(of(&tol, "out.train_grads", DType::F64), Some(rows));
        let Some(Rule::Rows { tol: 1e-4, floor }) = of(&tol, "out.grads", DType::F32) else {
            panic!("not rows")
        };
        // Units in the last place: 1e-10 * 1e-6 / 2^-52 = 1e-4 * floor / 2^-23.
        assert!((floor / (1e-12 * 2f64.powi(29)) - 1.0).abs() < 1e-12, "{floor:e}");
        let p_values = Tolerance { elementwise: true, f32: None, ..tol };
        assert_eq!(of(&p_values, "out.p", DType::F64), Some(Rule::Elementwise(1e-10)));
        assert_eq!(of(&p_values, "out.p", DType::F32), None);
        let exact = Tolerance { exact: true, ..Default::default() };
        assert_eq!(of(&exact, "out.y", DType::F32), Some(Rule::Exact));
        let image = Tolerance { max_abs: Some(1.0), max_fraction_different: Some(0.5), ..tol };
        let bytes = Rule::Bytes { max_abs: 1.0, max_fraction: 0.5 };
        assert_eq!(Rule::of(&image, "out.image", DType::U8, DType::F64), Some(bytes));
        assert_eq!(of(&image, "out.float", DType::F64), Some(Rule::Relative(1e-10)));
    }
}
