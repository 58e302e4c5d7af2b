//! Neuroscience: statistics, representational similarity, receptive fields, and a model of visual cortex.
//!
//! | module | what for |
//! |---|---|
//! | [`stats`] | two-sample tests, rank correlations, corrections for many tests, effect sizes: SciPy's results |
//! | [`rsa`] | representational similarity of layers and recordings: RSMs, their comparison, noise ceilings, resampling |
//! | [`prediction`] | how well predicted activity agrees with what was recorded |
//! | [`mmv1`] | a predictor of the spikes of mouse V1 |
//!
//! Data come from outside: what is wrong with them is an [`Error`] that says where. Whatever draws at random takes a
//! [`tensor::Stream`], and gives the same bits for any number of threads.

mod error;
pub mod mmv1;
pub mod prediction;
pub mod rsa;
pub mod stats;

pub use error::Error;
