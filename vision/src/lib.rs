//! Image models and data sets.

pub mod datasets;
mod error;

pub use error::Error;
