//! Noise ceilings: how similar the truth itself would be to what was recorded.

use rayon::prelude::*;
use tensor::{Stream, Tensor};

use super::{Comparison, Rsm, RsmOptions, compare};
use crate::{
    error::Error,
    stats::{mean, median, standard_deviation},
};

/// The RSMs of the means over random halves of the trials, `count` of them, of responses `[trials, images, units]`.
///
/// The paper takes 100 of them as the brain's RSMs (specification 1.7).
///
/// # Errors
/// If the shape is another, there are fewer than two trials, or as [`Rsm::new`].
///
/// # Panics
/// As [`Rsm::new`].
pub fn half_split_rsms(
    trials: &Tensor,
    count: usize,
    options: &RsmOptions,
    random: &Stream,
) -> Result<Vec<Rsm>, Error> {
    let halves = random_halves(trials, count, random)?;
    let rsm = |[half, _]: &[Vec<usize>; 2]| Rsm::new(&mean_of(trials, half), options);
    halves.par_iter().map(rsm).collect()
}

/// The similarities of the RSMs of two halves of the trials, for `count` random splits of `[trials, images, units]`.
///
/// The paper's ceiling is the median over 50 splits, of RSMs without centering ([`RsmOptions::center`]); with an odd number
/// of trials one is left out of each split.
///
/// # Errors
/// As [`half_split_rsms`] and [`compare`].
///
/// # Panics
/// As [`Rsm::new`].
pub fn split_half_ceiling(
    trials: &Tensor,
    count: usize,
    options: &RsmOptions,
    comparison: Comparison,
    random: &Stream,
) -> Result<Vec<f64>, Error> {
    let halves = random_halves(trials, count, random)?;
    let similarity = |[a, b]: &[Vec<usize>; 2]| {
        let rsm = |half: &[usize]| Rsm::new(&mean_of(trials, half), options);
        compare(&rsm(a)?, &rsm(b)?, comparison)
    };
    halves.par_iter().map(similarity).collect()
}

/// Pairs of disjoint random halves of the trials.
fn random_halves(
    trials: &Tensor,
    count: usize,
    random: &Stream,
) -> Result<Vec<[Vec<usize>; 2]>, Error> {
    let &[n, _, _] = trials.dims() else {
        let (what, expected) = ("responses by trial".into(), "[trials, images, units]");
        return Err(Error::Shape { what, expected, found: trials.dims().to_vec() });
    };
    if n < 2 {
        let (what, of) = ("responses by trial".into(), "trials");
        return Err(Error::TooFew { what, of, least: 2, found: n });
    }
    Ok((0..count)
        .map(|i| {
            let order = random.derive_index(i as u64).permutation(n);
            [order[..n / 2].to_vec(), order[n / 2..2 * (n / 2)].to_vec()]
        })
        .collect())
}

/// The mean over some trials.
fn mean_of(trials: &Tensor, which: &[usize]) -> Tensor {
    let mut sum = trials.select(0, which[0]);
    for &trial in &which[1..] {
        sum = &sum + &trials.select(0, trial);
    }
    sum.mul_scalar(1.0 / which.len() as f64)
}

/// Bounds of the best similarity that any model can have to the animals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ceiling {
    /// Mean similarity of an animal to all the others: what the others know of it.
    pub lower: f64,
    /// Mean similarity of an animal to all, itself included: too good by what it knows of itself.
    pub upper: f64,
}

/// The noise ceiling across animals, of which `rsms` has one each.
///
/// Animals are pooled as the comparison needs it: ranks for rank correlations, else RSMs of a common scale. Same as
/// `rsatoolbox.inference.boot_noise_ceiling`. Source: Nili et al. 2014.
///
/// # Errors
/// If there are fewer than two, their sizes differ, or as [`compare`].
pub fn across_animals(rsms: &[Rsm], comparison: Comparison) -> Result<Ceiling, Error> {
    if rsms.len() < 2 {
        let (what, of) = ("the recording".into(), "animals");
        return Err(Error::TooFew { what, of, least: 2, found: rsms.len() });
    }
    let pooled = |but: Option<usize>| -> Result<Rsm, Error> {
        let animals = rsms.iter().enumerate().filter(|(i, _)| Some(*i) != but);
        let pooled: Vec<Rsm> = animals.map(|(_, rsm)| poolable(rsm, comparison)).collect();
        Rsm::mean(&pooled)
    };
    let all = comparison.prepare(&pooled(None)?)?;
    let (mut lower, mut upper) = (Vec::new(), Vec::new());
    for (i, rsm) in rsms.iter().enumerate() {
        let animal = comparison.prepare(rsm)?;
        lower.push(comparison.prepare(&pooled(Some(i))?)?.compare(&animal)?);
        upper.push(all.compare(&animal)?);
    }
    Ok(Ceiling { lower: mean(&lower), upper: mean(&upper) })
}

/// An RSM of what is averaged over animals, as minus dissimilarities.
fn poolable(rsm: &Rsm, comparison: Comparison) -> Rsm {
    let n = rsm.images();
    let mut matrix = vec![0.0; n * n];
    let mut pairs = comparison.poolable(rsm.dissimilarities()).into_iter();
    for i in 0..n {
        for j in i + 1..n {
            let d = pairs.next().expect("a dissimilarity for each pair");
            matrix[i * n + j] = -d;
            matrix[j * n + i] = -d;
        }
    }
    Rsm::from_matrix(matrix, n, false).expect("finite and symmetric as the RSM it comes from")
}

/// A model's similarity to a brain area, in units of the area's noise ceiling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectedSsm {
    /// Median similarity to the area's RSMs over the median ceiling.
    pub ssm: f64,
    /// The paper's error bar: the standard deviation over the area's RSMs, over twice the ceiling.
    pub error: f64,
}

/// The paper's corrected SSM: `median(similarity(layer, brains)) / median(ceiling)` (specification 1.7).
///
/// # Errors
/// If a list is empty, the ceiling is not above 0, or as [`compare`].
pub fn corrected_ssm(
    layer: &Rsm,
    brains: &[Rsm],
    ceiling: &[f64],
    comparison: Comparison,
) -> Result<CorrectedSsm, Error> {
    if brains.is_empty() {
        let (what, of) = ("the brain area".into(), "RSMs");
        return Err(Error::TooFew { what, of, least: 1, found: 0 });
    }
    let ceiling = median(ceiling);
    if ceiling.is_nan() || ceiling <= 0.0 {
        let expected =
            "above 0: halves of the trials that have nothing in common leave nothing to explain";
        return Err(Error::Parameter { name: "the noise ceiling", value: ceiling, expected });
    }
    let layer = comparison.prepare(layer)?;
    let similarities: Vec<f64> = brains
        .par_iter()
        .map(|brain| comparison.prepare(brain)?.compare(&layer))
        .collect::<Result<_, _>>()?;
    let spread = if brains.len() > 1 { standard_deviation(&similarities) } else { 0.0 };
    Ok(CorrectedSsm { ssm: median(&similarities) / ceiling, error: spread / ceiling / 2.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::{DType, Device};

    fn noise(shape: &[usize], seed: u64) -> Tensor {
        Tensor::randn(tensor::Shape::new(shape), DType::F64, Device::Cpu, &mut Stream::new(seed))
    }

    /// 20 trials of the same 12 images, with noise of this size.
    fn recording(size: f64) -> Tensor {
        let signal = noise(&[1, 12, 30], 1);
        &signal + &noise(&[20, 12, 30], 2).mul_scalar(size)
    }

    #[test]
    fn the_ceiling_falls_with_noise() {
        let at = |size: f64| {
            let options = RsmOptions { center: false, ..RsmOptions::default() };
            let (how, random) = (Comparison::KendallTauB, Stream::new(3));
            median(&split_half_ceiling(&recording(size), 15, &options, how, &random).unwrap())
        };
        let (clean, noisy, lost) = (at(0.1), at(2.0), at(50.0));
        assert!(clean > 0.9 && noisy < clean && noisy > lost, "{clean} {noisy} {lost}");
        assert!(lost.abs() < 0.2);
    }

    #[test]
    fn the_truth_reaches_the_corrected_ceiling() {
        let truth = Rsm::new(&noise(&[1, 12, 30], 1).squeeze(0), &RsmOptions::default()).unwrap();
        let (trials, random) = (recording(2.0), Stream::new(4));
        let (how, options) = (Comparison::KendallTauB, RsmOptions::default());
        let brains = half_split_rsms(&trials, 20, &options, &random).unwrap();
        let ceiling = split_half_ceiling(&trials, 20, &options, how, &random).unwrap();
        let ssm = corrected_ssm(&truth, &brains, &ceiling, how).unwrap();
        // A half is more like the truth than like another half.
        assert!(ssm.ssm > 0.95 && ssm.error > 0.0, "{ssm:?}");
        assert!(corrected_ssm(&truth, &brains, &[-0.1], how).is_err());
        assert!(corrected_ssm(&truth, &[], &ceiling, how).is_err());
    }

    /// rsatoolbox 0.3.2: `boot_noise_ceiling(RDMs(...), method)` of these three animals.
    #[test]
    fn the_ceiling_across_animals_is_rsatoolboxes() {
        let animals: Vec<Rsm> = [
            [0.2, 0.9, 0.4, 0.4, 1.3, 0.7],
            [0.5, 0.6, 0.6, 0.1, 1.1, 0.9],
            [0.3, 1.2, 0.2, 0.8, 0.9, 0.5],
        ]
        .iter()
        .map(|pairs| {
            let places = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)];
            let mut matrix = vec![0.0; 16];
            for ((i, j), d) in places.into_iter().zip(pairs) {
                matrix[i * 4 + j] = -d;
                matrix[j * 4 + i] = -d;
            }
            Rsm::from_matrix(matrix, 4, false).unwrap()
        })
        .collect();
        for (comparison, lower, upper) in [
            (Comparison::KendallTauB, 0.599808372137543, 0.7060480768510597),
            (Comparison::KendallTauA, 0.5777777777777777, 0.688888888888889),
            (Comparison::Spearman, 0.7012259958333061, 0.8366358106545096),
            (Comparison::Pearson, 0.5998407293770969, 0.8127178818288416),
            (Comparison::Cosine, 0.9153768200043091, 0.9621655874239731),
            (Comparison::WhitenedCosine, 0.8572464166053426, 0.9348459498118556),
        ] {
            let found = across_animals(&animals, comparison).unwrap();
            let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
            assert!(
                close(found.lower, lower) && close(found.upper, upper),
                "{}: {found:?}",
                comparison.name()
            );
        }
        assert!(across_animals(&animals[..1], Comparison::Cosine).is_err());
    }

    #[test]
    fn results_do_not_depend_on_threads() {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let options = RsmOptions::default();
                let (how, random) = (Comparison::Pearson, Stream::new(9));
                split_half_ceiling(&recording(1.0), 7, &options, how, &random).unwrap()
            })
        };
        assert_eq!(run(1), run(3));
    }
}
