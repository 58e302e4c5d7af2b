//! Receptive fields: with which `p` the inputs of a neuron, or of a convolution, are distributed around its center.
//!
//! A biological receptive field is a set of positions of presynaptic neurons. An artificial one is a histogram over the taps
//! of a kernel: how often a weighted input there was strong, [`functional_synapses`]. Both are shifted and scaled to zero
//! mean and unit variance on each axis (paper, appendix A.2), and then [`fit_shape`] finds the exponent of the MPND that
//! fits best, how sure it is ([`bootstrap_p`]), whether a Gaussian or a box would do as well ([`ShapeFit::models`]), and
//! whether the MPND fits at all ([`goodness_of_fit`]).
//!
//! ```
//! use lpconv::{Mpnd, Samples};
//! use neuro::receptive_field::{Family, fit_shape};
//! use tensor::Stream;
//!
//! // 300 presynaptic neurons in a Gaussian cloud of 120 µm.
//! let gaussian = Mpnd::<2>::isotropic(2.0, 120.0 * 2f64.sqrt())?;
//! let mut random = Stream::new(0);
//! let positions = Samples::new((0..300).map(|_| gaussian.sample(&mut random)).collect())?;
//! let fit = fit_shape("neuron 1", &positions)?;
//! assert!((fit.deviation[0] - 120.0).abs() < 15.0);
//! assert!((fit.likelihood.p - 2.0).abs() < 0.5);
//! assert!(fit.aic(Family::Uniform) > fit.aic(Family::Gaussian));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod artificial;
mod fit;
mod gaussian;
mod goodness;
mod histogram;

pub use artificial::{FunctionalSynapses, functional_synapses};
pub use fit::{Family, ModelScore, ShapeFit, bootstrap_p, fit_shape};
pub use gaussian::Gaussian;
pub use goodness::{Goodness, goodness_of_fit};
pub use histogram::{CellFit, cell_fit, histogram, mpnd_pmf};
