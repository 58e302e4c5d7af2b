//! Neuroscience: statistics, representational similarity, receptive fields, and a model of visual cortex.
//!
//! | module | what for |
//! |---|---|
//! | [`stats`] | two-sample tests, rank correlations, corrections for many tests, effect sizes: SciPy's results |
//! | [`rsa`] | representational similarity of layers and recordings: RSMs, their comparison, noise ceilings, resampling |
//! | [`receptive_field`] | which `p` the inputs of a neuron, or of a convolution, are distributed with |
//! | [`recording`] | positions and responses from files: CSV, npy, npz |
//! | [`prediction`] | how well predicted activity agrees with what was recorded |
//! | [`mmv1`] | a predictor of the spikes of mouse V1 |
//!
//! Data come from outside: what is wrong with them is an [`Error`] that says where. Whatever draws at random takes a
//! [`tensor::Stream`], and gives the same bits for any number of threads.

mod error;
pub mod mmv1;
pub mod prediction;
pub mod receptive_field;
pub mod recording;
pub mod rsa;
pub mod stats;

pub use error::Error;
