//! Statistics of small samples: tests of two groups, correlations, corrections for many tests, effect sizes.
//!
//! Definitions, tie rules and exact distributions are SciPy's, and so are the results: `cargo xtask verify --filter stats`.
//!
//! | question | function |
//! |---|---|
//! | do two groups have the same mean? | [`welch`], [`student`], for pairs [`paired`] |
//! | is one group larger? | [`mann_whitney`] |
//! | do two lists go together? | [`pearson`], [`spearman`], [`kendall_tau_b`], [`kendall_tau_a`] |
//! | which of many tests remain? | [`holm`], [`benjamini_hochberg`] |
//! | how large is a difference? | [`cohen_d`], [`hedges_g`], [`cliff_delta`] |
//!
//! ```
//! use neuro::stats::{holm, welch};
//!
//! let (a, b) = ([5.1, 4.9, 5.6, 5.8, 6.0], [4.0, 4.4, 5.2]);
//! let test = welch(&a, &b)?;
//! assert!((test.statistic - 2.3107).abs() < 1e-4 && (test.p_value - 0.0929).abs() < 1e-4);
//! assert_eq!(holm(&[0.01, 0.04, 0.03])?, [0.03, 0.06, 0.06]);
//! # Ok::<(), neuro::Error>(())
//! ```

mod correlation;
mod effect;
mod kendall;
mod mann_whitney;
mod many;
mod summary;
mod t_test;

pub use correlation::{Correlation, pearson, ranks, spearman};
pub use effect::{cliff_delta, cohen_d, hedges_g};
pub use kendall::{Ordered, kendall_tau_a, kendall_tau_b};
pub use mann_whitney::{MannWhitney, mann_whitney};
pub use many::{benjamini_hochberg, holm, stars};
pub use summary::{mean, median, quantile, standard_deviation, variance};
pub use t_test::{TTest, paired, student, t_quantile, welch};

use libm::erfc;
use statrs::function::beta::beta_reg;

/// Two-sided p-value of a value `t` of Student's distribution: `I_{df/(df + t²)}(df/2, 1/2)`.
fn two_sided_t(t: f64, df: f64) -> f64 {
    if t.is_infinite() { 0.0 } else { beta_reg(df / 2.0, 0.5, df / (df + t * t)) }
}

/// Two-sided p-value of a standard normal value.
fn two_sided_normal(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2).min(1.0)
}
