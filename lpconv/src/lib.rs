//! Lp-convolution: convolutions whose kernels are multiplied by a learned, smooth window of any shape between a diamond,
//! an ellipse and a box (Kwon et al., *Brain-inspired Lp-convolution benefits large kernels and aligns better with visual
//! cortex*, ICLR 2025).
//!
//! # A short tour
//!
//! **The density.** The multivariate p-generalized normal distribution of a point `s` about `s₀`,
//!
//! ```text
//! f(s) = |det C| / (2 Γ(1 + 1/p))ᵈ · exp(−Σᵢ |(C (s − s₀))ᵢ|ᵖ)
//! ```
//!
//! has one exponent `p` for its shape and a matrix `C` for its size, stretch and direction: [`Mpnd`].
//!
//! **The mask.** Scaled to a peak of 1 and read at the taps of a kernel it is the Lp-mask, [`lp_mask`]. Offsets are in
//! pixels, rows first, from the middle of the kernel. `p = 2` is a Gaussian window, `p → ∞` the hard box of an ordinary
//! small kernel inside a large one.
//!
//! ```
//! let c = [[0.5, 0.0], [0.0, 0.25]]; // 2 pixels high, 4 pixels wide, to each side
//! let soft = lpconv::lp_mask(2.0, &c, 7, 7);
//! let hard = lpconv::lp_mask(f64::INFINITY, &c, 7, 7);
//! let middle = 3 * 7 + 3;
//! assert_eq!((soft[middle], hard[middle]), (1.0, 1.0));
//! assert_eq!(hard[middle + 3], 1.0); // 3 pixels to the right: inside the box
//! assert_eq!(hard[middle + 3 * 7], 0.0); // 3 pixels down: outside
//! ```
//!
//! **The layer.** [`LpConv2d`] is a convolution with a trained mask for each output channel; [`convert`] gives every
//! convolution of a model one. The border of a kernel that is zero in all masks of a layer is not computed, which changes no bit
//! of the result (of the direct sum: transforms, where asked for, depend on the kernel's size).
//! [`MaskConfig::tap_threshold`] drops tiny ones, too: faster, and off unless asked for, since it does.
//!
//! **The conformation.** A singular value decomposition turns the four numbers of `C` into three that can be read: scale,
//! distortion and rotation of the mask, [`Conformation`].
//!
//! ```
//! # use lpconv::Conformation;
//! let shape = Conformation::new([[0.5, 0.0], [0.0, 0.25]])?;
//! assert!((shape.distortion - 2.0).abs() < 1e-12);
//! assert!(shape.rotation_deg.abs() < 1e-9); // long along the width
//! # Ok::<(), lpconv::Error>(())
//! ```
//!
//! **The fit.** The other way round: which `p` does a set of synapses, or a histogram of them, have? [`fit`] has four
//! answers, and says when there is none.
//!
//! ```
//! # use lpconv::{FitStatus, Histogram, LikelihoodConfig, fit_likelihood};
//! // How many synapses lie in each 20 µm bin of the distance from the soma, along one axis.
//! let centers_um: Vec<f64> = (0..12).map(|i| -110.0 + 20.0 * f64::from(i)).collect();
//! let counts = vec![2.0, 9.0, 28.0, 66.0, 121.0, 174.0, 174.0, 121.0, 66.0, 28.0, 9.0, 2.0];
//! let synapses = Histogram::new([centers_um], counts)?.standardized()?.samples();
//! let fit = fit_likelihood(&synapses, &LikelihoodConfig::default())?;
//! assert_eq!(fit.status, FitStatus::Converged);
//! let error = fit.standard_errors.expect("a converged fit has them").p;
//! assert!((fit.p - 2.0).abs() < error, "p = {} ± {error}: a Gaussian", fit.p);
//! # Ok::<(), lpconv::Error>(())
//! ```

mod conformation;
mod conv;
mod convert;
mod error;
pub mod fit;
pub mod mask;
mod mpnd;

pub use conformation::{Conformation, Svd2};
pub use conv::LpConv2d;
pub use convert::{
    ConvertConfig, Converted, KernelSize, Surround, clamp_p, convert, convert_where, for_each_mask,
    for_each_mask_mut,
};
pub use error::Error;
pub use fit::{
    AdamConfig, AdamFit, AdamStep, FitStatus, Histogram, LeastSquaresFit, LikelihoodConfig,
    LikelihoodFit, Samples, StandardErrors, fit_adam, fit_kurtosis, fit_least_squares,
    fit_likelihood, p_of_kurtosis,
};
pub use mask::{LpMask, MaskConfig, Offset};
pub use mpnd::{
    Mpnd, lp_mask, lp_mask_area, lp_mask_value, marginal_kurtosis, marginal_variance,
    unit_variance_sigma,
};
