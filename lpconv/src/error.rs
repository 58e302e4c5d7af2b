//! What can be wrong with values that come from outside: parameters, matrices and data to fit.

use thiserror::Error;

/// Why a density, a shape or a fit could not be made from the given values.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A scalar parameter lies outside its domain.
    #[error("{name} = {value}: must be {expected}")]
    Parameter {
        /// Name of the parameter, as in its function's signature.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed, in words.
        expected: &'static str,
    },

    /// A layer to be converted has a mask already.
    #[error(
        "layer \"{layer}\" has an Lp-mask already; set `again` to enlarge and mask it once more"
    )]
    AlreadyConverted {
        /// The layer's place in the model.
        layer: String,
    },

    /// A matrix `C` has no inverse to working precision.
    #[error("C = {c:?} is singular: its mask would be infinitely long")]
    Singular {
        /// The matrix, row by row.
        c: Vec<Vec<f64>>,
    },

    /// A NaN or an infinity among the input values.
    #[error("{what}[{index}] is {value}: every value must be finite")]
    NonFinite {
        /// Which input.
        what: &'static str,
        /// Flat (row-major) position in it.
        index: usize,
        /// The value found.
        value: f64,
    },

    /// A weight, count or probability below zero.
    #[error("weight[{index}] = {value}: weights must not be negative")]
    NegativeWeight {
        /// Position of the weight.
        index: usize,
        /// The value found.
        value: f64,
    },

    /// Nothing to work on.
    #[error("{what} is empty")]
    Empty {
        /// Which input.
        what: &'static str,
    },

    /// Two inputs that belong together differ in length.
    #[error("{what} has {found} values, expected {expected}")]
    Length {
        /// Which input.
        what: &'static str,
        /// The length that would match.
        expected: usize,
        /// The length found.
        found: usize,
    },

    /// All weights are zero.
    #[error("all {points} weights are zero: there is nothing to fit")]
    ZeroWeight {
        /// Number of points.
        points: usize,
    },

    /// One axis of the data does not vary.
    #[error("all points have the coordinate {value} on axis {axis}: cannot scale to unit variance")]
    NoSpread {
        /// The axis without variance.
        axis: usize,
        /// The common coordinate.
        value: f64,
    },

    /// All points with a weight coincide.
    #[error("all points are equal to {point:?}: a width cannot be fitted")]
    AllEqual {
        /// The common point.
        point: Vec<f64>,
    },

    /// An optimizer left the range where the likelihood is finite.
    #[error(
        "fit diverged before step {step} at p = {p}, sigma = {sigma}: standardize the data, or start from a larger sigma"
    )]
    Diverged {
        /// The step that could not be made, from 1.
        step: usize,
        /// The exponent reached.
        p: f64,
        /// The scale reached.
        sigma: f64,
    },

    /// The centers of a histogram are not evenly spaced in ascending order.
    #[error(
        "centers of axis {axis}: step {found} after center {index}, expected {expected} throughout"
    )]
    UnevenGrid {
        /// The axis concerned.
        axis: usize,
        /// The center before the odd step.
        index: usize,
        /// The first step of the axis.
        expected: f64,
        /// The step found.
        found: f64,
    },
}

/// Checks that all `values` are finite.
pub(crate) fn check_finite(
    what: &'static str,
    values: impl IntoIterator<Item = f64>,
) -> Result<(), Error> {
    match values.into_iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((index, value)) => Err(Error::NonFinite { what, index, value }),
        None => Ok(()),
    }
}

/// Checks that the parameter `name` is finite and above zero.
pub(crate) fn check_positive(name: &'static str, value: f64) -> Result<(), Error> {
    if value.is_finite() && value > 0.0 {
        Ok(())
    } else {
        Err(Error::Parameter { name, value, expected: "finite and greater than 0" })
    }
}
