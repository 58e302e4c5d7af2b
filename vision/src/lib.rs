//! Image models and data sets.

pub mod datasets;
mod error;
pub mod models;

pub use error::Error;
