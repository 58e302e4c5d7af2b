//! Neuroscience: receptive fields, representational similarity, statistics, and a model of visual cortex.

pub mod mmv1;
