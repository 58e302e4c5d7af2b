//! Representational similarity analysis: do two systems find the same images alike?
//!
//! A system's answer is its representational similarity matrix ([`Rsm`]): how alike its responses to each two images are. Two
//! RSMs are compared whatever their units are, neurons or channels ([`compare`]). How much a model can be expected to
//! explain of noisy recordings is their noise ceiling ([`split_half_ceiling`], [`across_animals`]); how sure a similarity is
//! tell [`bootstrap`] and [`permutation_test`]. The defaults are the paper's (specification 1.7): Pearson's correlation of
//! responses without the mean image, compared by Kendall's tau-b.
//!
//! | here | `rsatoolbox` |
//! |---|---|
//! | [`Rsm::new`], [`Rsm::dissimilarities`] | `calc_rdm(data, method="correlation" \| "euclidean")` |
//! | [`compare`] by [`Comparison`] | `compare(rdm1, rdm2, method="tau-b" \| "tau-a" \| "spearman" \| "corr" \| "cosine" \| "cosine_cov")` |
//! | [`across_animals`] | `boot_noise_ceiling` |
//! | [`bootstrap`] | `bootstrap_sample`, `bootstrap_sample_pattern`, `bootstrap_sample_rdm` |
//!
//! ```
//! use neuro::rsa::{Comparison, Rsm, RsmOptions, compare};
//! use tensor::{DType, Device, Stream, Tensor};
//!
//! // 30 images, 50 neurons; a layer of 80 units that mixes the neurons.
//! let neurons = Tensor::randn([30, 50], DType::F64, Device::Cpu, &mut Stream::new(1));
//! let mix = Tensor::randn([50, 80], DType::F64, Device::Cpu, &mut Stream::new(2));
//! let brain = Rsm::new(&neurons, &RsmOptions::default())?;
//! let layer = Rsm::new(&neurons.matmul(&mix), &RsmOptions::default())?;
//! assert!(compare(&layer, &brain, Comparison::KendallTauB)? > 0.5);
//! # Ok::<(), neuro::Error>(())
//! ```

mod capture;
mod ceiling;
mod compare;
mod resample;
mod rsm;

pub use capture::{capture_rsms, is_convolution};
pub use ceiling::{
    Ceiling, CorrectedSsm, across_animals, corrected_ssm, half_split_rsms, split_half_ceiling,
};
pub use compare::{Comparison, Prepared, cka, compare, compare_all};
pub use resample::{
    Bootstrap, PermutationTest, bootstrap, bootstrap_all, bootstrap_difference, permutation_test,
};
pub use rsm::{Rsm, RsmOptions, Similarity};
