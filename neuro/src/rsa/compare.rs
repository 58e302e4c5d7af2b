//! Comparing RSMs.

use rayon::prelude::*;
use tensor::Tensor;

use super::{Rsm, RsmOptions, Similarity};
use crate::{
    error::{Error, check_length},
    stats::{Ordered, mean, ranks},
};

/// How two RSMs are compared, always over the pairs of images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comparison {
    /// Kendall's tau-b of the similarities. The paper's SSM, and the default.
    #[default]
    KendallTauB,
    /// Kendall's tau-a, for models that predict ties.
    KendallTauA,
    /// Spearman's correlation.
    Spearman,
    /// Pearson's correlation.
    Pearson,
    /// The cosine of the angle between the dissimilarities.
    Cosine,
    /// The cosine after dissimilarities are weighted by the inverse of their covariance if responses are independent noise
    /// (Diedrichsen et al. 2020). It equals linear CKA of responses if the RSMs are Euclidean.
    WhitenedCosine,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Comparison; 6] = [
        Comparison::KendallTauB,
        Comparison::KendallTauA,
        Comparison::Spearman,
        Comparison::Pearson,
        Comparison::Cosine,
        Comparison::WhitenedCosine,
    ];

    /// `rsatoolbox`'s name of it.
    pub fn name(self) -> &'static str {
        match self {
            Comparison::KendallTauB => "tau-b",
            Comparison::KendallTauA => "tau-a",
            Comparison::Spearman => "spearman",
            Comparison::Pearson => "corr",
            Comparison::Cosine => "cosine",
            Comparison::WhitenedCosine => "cosine_cov",
        }
    }

    /// Brings an RSM into the form in which it is compared, for one that is compared with many.
    ///
    /// # Errors
    /// If all pairs are equally alike, of which no comparison but tau-a and the cosines is defined, or all dissimilarities
    /// are zero.
    pub fn prepare(self, rsm: &Rsm) -> Result<Prepared, Error> {
        self.prepare_pairs(rsm, rsm.dissimilarities())
    }

    /// The same for `images`, each as often as it occurs there, without pairs of twice the same image.
    pub(super) fn prepare_selected(self, rsm: &Rsm, images: &[usize]) -> Result<Prepared, Error> {
        let selected = rsm.select(images);
        let pairs = (0..images.len()).flat_map(|i| (i + 1..images.len()).map(move |j| (i, j)));
        let different = pairs.zip(selected.dissimilarities());
        let different = different.filter(|((i, j), _)| images[*i] != images[*j]).map(|(_, d)| d);
        self.prepare_pairs(&selected, different.collect())
    }

    /// `pairs` are the dissimilarities that count; the whitened cosine needs all of them, for which equal images are at
    /// distance 0.
    fn prepare_pairs(self, rsm: &Rsm, pairs: Vec<f64>) -> Result<Prepared, Error> {
        let size = pairs.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let vector = match self {
            Comparison::KendallTauB | Comparison::KendallTauA => {
                let ordered = Ordered::new(&pairs)?;
                return Ok(Prepared { comparison: self, form: Form::Ordered(ordered) });
            }
            Comparison::Spearman => centered(ranks(&pairs)),
            Comparison::Pearson => centered(pairs),
            Comparison::Cosine => pairs,
            Comparison::WhitenedCosine => double_centered(rsm),
        };
        let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt();
        // Equal values may differ from their mean by its rounding.
        if norm <= 8.0 * f64::EPSILON * size * (vector.len() as f64).sqrt() {
            let consequence = "its similarity to another RSM is not defined";
            return Err(Error::Constant { what: "the RSM".into(), consequence });
        }
        let vector = vector.into_iter().map(|v| v / norm).collect();
        Ok(Prepared { comparison: self, form: Form::Vector(vector) })
    }

    /// The RSMs' pairs as they are averaged when several animals are pooled (`rsatoolbox`'s `pool_rdm`): for rank measures
    /// their ranks, else brought to a common scale.
    pub(super) fn poolable(self, dissimilarities: Vec<f64>) -> Vec<f64> {
        let scaled = |v: Vec<f64>| {
            let rms = (v.iter().map(|v| v * v).sum::<f64>() / v.len() as f64).sqrt();
            v.into_iter().map(|v| v / rms).collect()
        };
        match self {
            Comparison::KendallTauB | Comparison::KendallTauA | Comparison::Spearman => {
                ranks(&dissimilarities)
            }
            Comparison::Pearson => scaled(centered(dissimilarities)),
            Comparison::Cosine | Comparison::WhitenedCosine => scaled(dissimilarities),
        }
    }
}

/// An RSM in the form in which it is compared; see [`Comparison::prepare`].
#[derive(Clone, Debug)]
pub struct Prepared {
    comparison: Comparison,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Ordered(Ordered),
    /// Of length 1.
    Vector(Vec<f64>),
}

impl Prepared {
    /// The similarity of both.
    ///
    /// # Errors
    /// If the numbers of images differ, or all pairs of one are equally alike.
    ///
    /// # Panics
    /// If they were prepared for different comparisons.
    #[track_caller]
    pub fn compare(&self, other: &Prepared) -> Result<f64, Error> {
        match (&self.form, &other.form) {
            (Form::Ordered(a), Form::Ordered(b)) if self.comparison == other.comparison => {
                match self.comparison {
                    Comparison::KendallTauA => a.tau_a(b),
                    _ => a.tau_b(b),
                }
            }
            (Form::Vector(a), Form::Vector(b)) if self.comparison == other.comparison => {
                check_length("the second RSM", "pairs", b.len(), "the first", a.len())?;
                Ok(a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>().clamp(-1.0, 1.0))
            }
            _ => panic!("compare: {:?} and {:?} differ", self.comparison, other.comparison),
        }
    }
}

/// The similarity of two RSMs, from −1 to 1.
///
/// # Errors
/// If the numbers of images differ, or all pairs of one are equally alike.
pub fn compare(a: &Rsm, b: &Rsm, comparison: Comparison) -> Result<f64, Error> {
    comparison.prepare(a)?.compare(&comparison.prepare(b)?)
}

/// The similarities of each of `models` (rows) to each of `brains` (columns).
///
/// # Errors
/// As [`compare`].
pub fn compare_all(
    models: &[Rsm],
    brains: &[Rsm],
    comparison: Comparison,
) -> Result<Vec<Vec<f64>>, Error> {
    let prepare = |rsms: &[Rsm]| -> Result<Vec<Prepared>, Error> {
        rsms.par_iter().map(|rsm| comparison.prepare(rsm)).collect()
    };
    let (models, brains) = (prepare(models)?, prepare(brains)?);
    models
        .par_iter()
        .map(|model| brains.par_iter().map(|brain| model.compare(brain)).collect())
        .collect()
}

/// Linear centered kernel alignment of responses `[images, units…]` to the same images.
///
/// `‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖)` in Frobenius norms, of responses without the mean image: Kornblith et al. 2019, eq. 5. Computed
/// from the images' distances, so that neither number of units matters.
///
/// # Errors
/// If there are fewer than three images or they are not the same number, a response is not finite, or responses to all
/// images are equal.
///
/// # Panics
/// As [`Rsm::new`].
#[track_caller]
pub fn cka(x: &Tensor, y: &Tensor) -> Result<f64, Error> {
    let options = RsmOptions::plain(Similarity::Euclidean);
    compare(&Rsm::new(x, &options)?, &Rsm::new(y, &options)?, Comparison::WhitenedCosine)
}

fn centered(values: Vec<f64>) -> Vec<f64> {
    let mean = mean(&values);
    values.into_iter().map(|v| v - mean).collect()
}

/// `−½ H D H` with `H = I − 1/n`: products of responses around their mean, from squared distances. In whitened coordinates
/// of the dissimilarities, their cosine is that of these matrices.
fn double_centered(rsm: &Rsm) -> Vec<f64> {
    let n = rsm.images();
    let mut distances = vec![0.0; n * n];
    let mut pairs = rsm.dissimilarities().into_iter();
    for i in 0..n {
        for j in i + 1..n {
            let d = pairs.next().expect("a dissimilarity for each pair");
            distances[i * n + j] = d;
            distances[j * n + i] = d;
        }
    }
    let rows: Vec<f64> = distances.chunks(n).map(mean).collect();
    let all = mean(&rows);
    let entry = |(k, d): (usize, &f64)| -0.5 * (d - rows[k / n] - rows[k % n] + all);
    distances.iter().enumerate().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::{DType, Device, Stream};

    fn rsm(images: usize, units: usize, seed: u64, similarity: Similarity) -> Rsm {
        let x = Tensor::randn([images, units], DType::F64, Device::Cpu, &mut Stream::new(seed));
        Rsm::new(&x, &RsmOptions::plain(similarity)).unwrap()
    }

    /// rsatoolbox 0.3.2: `compare(RDMs(a), RDMs(b), method)` of these dissimilarities of four images.
    #[test]
    fn every_comparison_is_rsatoolboxes() {
        let of = |pairs: [f64; 6]| {
            let mut matrix = vec![0.0; 16];
            let places = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
            for ((i, j), d) in places.into_iter().zip(pairs) {
                matrix[i * 4 + j] = -d;
                matrix[j * 4 + i] = -d;
            }
            Rsm::from_matrix(matrix, 4, false).unwrap()
        };
        let a = of([0.2, 0.9, 0.4, 0.4, 1.3, 0.7]);
        let b = of([0.5, 0.6, 0.6, 0.1, 1.1, 0.9]);
        for (comparison, expected) in [
            (Comparison::KendallTauB, 0.6428571428571429),
            (Comparison::KendallTauA, 0.6),
            (Comparison::Spearman, 0.7794117647058824),
            (Comparison::Pearson, 0.7334018446014786),
            (Comparison::Cosine, 0.9400116438360024),
            (Comparison::WhitenedCosine, 0.8725701661553499),
        ] {
            let found = compare(&a, &b, comparison).unwrap();
            assert!((found - expected).abs() < 1e-12, "{}: {found}", comparison.name());
        }
    }

    #[test]
    fn an_rsm_is_most_like_itself() {
        for similarity in
            [Similarity::Pearson, Similarity::Spearman, Similarity::Cosine, Similarity::Euclidean]
        {
            let (a, b) = (rsm(9, 20, 1, similarity), rsm(9, 30, 2, similarity));
            for comparison in Comparison::ALL {
                let own = compare(&a, &a, comparison).unwrap();
                let other = compare(&a, &b, comparison).unwrap();
                // Correlations of few ranks have ties, which tau-a does not forgive.
                let whole = comparison == Comparison::KendallTauA || (own - 1.0).abs() < 1e-12;
                assert!(whole && other < own, "{comparison:?}");
                assert_eq!(other, compare(&b, &a, comparison).unwrap());
            }
        }
    }

    #[test]
    fn cka_is_that_of_its_formula() {
        let x = Tensor::randn([7, 4], DType::F64, Device::Cpu, &mut Stream::new(3));
        let y = Tensor::randn([7, 9], DType::F64, Device::Cpu, &mut Stream::new(4));
        let (cx, cy) = (&x - &x.mean(&[0], true), &y - &y.mean(&[0], true));
        let norm = |a: &Tensor, b: &Tensor| {
            a.transpose(0, 1).matmul(b).to_f64_vec().iter().map(|v| v * v).sum::<f64>()
        };
        let expected = norm(&cy, &cx) / (norm(&cx, &cx) * norm(&cy, &cy)).sqrt();
        assert!((cka(&x, &y).unwrap() - expected).abs() < 1e-12);
        assert!((cka(&x, &x.mul_scalar(-3.0)).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_comparisons_are_the_same_as_one() {
        let models: Vec<Rsm> = (0..3).map(|i| rsm(8, 15, i, Similarity::Pearson)).collect();
        let brains: Vec<Rsm> = (3..5).map(|i| rsm(8, 15, i, Similarity::Pearson)).collect();
        for comparison in Comparison::ALL {
            let all = compare_all(&models, &brains, comparison).unwrap();
            assert_eq!(all[2][1], compare(&models[2], &brains[1], comparison).unwrap());
        }
    }

    #[test]
    fn constant_and_unequal_rsms_are_errors() {
        let constant = Rsm::from_matrix(vec![0.3; 25], 5, true).unwrap();
        let other = rsm(5, 9, 5, Similarity::Pearson);
        for comparison in [Comparison::KendallTauB, Comparison::Spearman, Comparison::Pearson] {
            let error = compare(&constant, &other, comparison).unwrap_err();
            assert!(matches!(error, Error::Constant { .. }), "{comparison:?}: {error}");
        }
        for comparison in Comparison::ALL {
            assert!(compare(&other, &rsm(6, 9, 6, Similarity::Pearson), comparison).is_err());
        }
    }
}
