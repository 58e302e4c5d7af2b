//! Neuroscience: receptive fields, representational similarity, statistics.
