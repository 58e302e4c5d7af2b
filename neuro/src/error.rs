//! What can be wrong with data that come from outside.

use std::path::PathBuf;

/// Why a statistic, a similarity or a fit cannot be computed, or a file not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too few values for what was asked.
    #[error("{what} has {found} {of}, expected at least {least}")]
    TooFew {
        /// What they are values of.
        what: String,
        /// What is counted.
        of: &'static str,
        /// The least number with which it is defined.
        least: usize,
        /// How many there are.
        found: usize,
    },

    /// A NaN or an infinity among the data.
    #[error(
        "{what}{index:?} is {value}: every value must be finite; leave such neurons or images out first"
    )]
    NonFinite {
        /// Which data.
        what: String,
        /// Position in it, one number an axis.
        index: Vec<usize>,
        /// The value found.
        value: f64,
    },

    /// Two lists that belong together differ in length.
    #[error("{what} has {found} {of}, expected {expected} as {other} has")]
    Length {
        /// The list that does not fit.
        what: String,
        /// What is counted.
        of: &'static str,
        /// The list it belongs to.
        other: String,
        /// Its length.
        expected: usize,
        /// The length found.
        found: usize,
    },

    /// All values are equal where a difference is needed.
    #[error("{what} is constant: {consequence}")]
    Constant {
        /// What does not vary.
        what: String,
        /// What therefore is not defined.
        consequence: &'static str,
    },

    /// An array has another number of axes, or axes of other lengths, than its use asks for.
    #[error("{what} has shape {found:?}, expected {expected}")]
    Shape {
        /// Which array.
        what: String,
        /// The shapes allowed, in words.
        expected: &'static str,
        /// The shape found.
        found: Vec<usize>,
    },

    /// A number lies outside its domain.
    #[error("{name} = {value}: expected {expected}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The values allowed, in words.
        expected: &'static str,
    },

    /// A density or a fit could not be made of the data.
    #[error("{what}: {source}")]
    Fit {
        /// What was to be fitted.
        what: String,
        /// Why not.
        source: lpconv::Error,
    },

    /// The activations of a layer have no RSM.
    #[error("layer {layer}: {source}")]
    Layer {
        /// The layer's path in the model.
        layer: String,
        /// Why not.
        source: Box<Error>,
    },

    /// The activity of a neuron cannot be judged.
    #[error("neuron {neuron}: {source}")]
    Neuron {
        /// Its place among the neurons, from 0.
        neuron: usize,
        /// Why not.
        source: Box<Error>,
    },

    /// A file does not hold what it should.
    #[error("{}{}: {reason}", path.display(), line.map_or(String::new(), |l| format!(":{l}")))]
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1, in a text file.
        line: Option<u64>,
        /// What is wrong, and what to do.
        reason: String,
    },

    /// An array file could not be read.
    #[error(transparent)]
    Array(#[from] tensor::Error),
}

/// Checks that a list is long enough and finite.
pub(crate) fn check_values(what: &str, values: &[f64], least: usize) -> Result<(), Error> {
    if values.len() < least {
        return Err(Error::TooFew { what: what.into(), of: "values", least, found: values.len() });
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(Error::NonFinite { what: what.into(), index: vec![i], value: values[i] }),
        None => Ok(()),
    }
}

/// Checks two lists whose entries belong together.
pub(crate) fn check_pairs(a: &[f64], b: &[f64], least: usize) -> Result<(), Error> {
    check_values("a", a, least)?;
    check_values("b", b, least)?;
    check_length("b", "values", b.len(), "a", a.len())
}

/// Checks that `what` is as long as `other`.
pub(crate) fn check_length(
    what: &str,
    of: &'static str,
    found: usize,
    other: &str,
    expected: usize,
) -> Result<(), Error> {
    match found == expected {
        true => Ok(()),
        false => Err(Error::Length { what: what.into(), of, other: other.into(), expected, found }),
    }
}
