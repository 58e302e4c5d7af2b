//! Fitting `p` and `sigma` of an isotropic MPND (`C = I / sigma`, center 0) to points or to a histogram.
//!
//! Four answers to "which `p` is this receptive field?", because the paper gives neither loss nor stopping rule and the
//! choice matters: a receptive field that is uniform over its kernel has *no* best `p`, the likelihood rises for ever.
//!
//! | function | what it finds |
//! |---|---|
//! | [`fit_likelihood`] | the maximum of the likelihood, with standard errors, or the news that there is none |
//! | [`fit_adam`] | where the paper's optimizer stands after its 1,500 steps, maximum or not |
//! | [`fit_kurtosis`] | the `p` whose kurtosis is that of the data |
//! | [`fit_least_squares`] | the density nearest to a histogram, cell by cell |
//!
//! Data are [`Samples`] (weighted points) or a [`Histogram`]; both can be standardized to zero mean and unit variance per
//! axis first, as the paper does. Nothing here subtracts a mean by itself: 0 is the soma, or the center of the kernel.

mod adam;
mod kurtosis;
mod least_squares;
mod likelihood;
mod samples;

pub use adam::{AdamConfig, AdamFit, AdamStep, fit_adam};
pub use kurtosis::{fit_kurtosis, p_of_kurtosis};
pub use least_squares::{LeastSquaresFit, fit_least_squares};
pub use likelihood::{LikelihoodConfig, LikelihoodFit, StandardErrors, fit_likelihood};
pub use samples::{Histogram, Samples};

/// How a fit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FitStatus {
    /// At a stationary point, between the bounds of `p`.
    Converged,
    /// At the largest `p` allowed, and still improving: the data are at least as box-like as that, `p` is not a finite
    /// number. Uniform data end here.
    Unbounded,
    /// At the smallest `p` allowed, and still improving. Data with many values of exactly 0 can end here, because the
    /// density's peak there grows without limit as `p → 0`.
    AtLowerBound,
    /// Out of iterations.
    NotConverged,
}
