//! Image models and data sets.

pub mod augment;
pub mod corruptions;
pub mod datasets;
mod error;
pub mod imagenet;
pub mod models;
pub mod picture;
pub mod weights;

pub use error::Error;
