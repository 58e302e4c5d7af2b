//! How sure a similarity is: bootstrap over images and animals, permutations of images.

use rayon::prelude::*;
use tensor::Stream;

use super::{Comparison, Prepared, Rsm};
use crate::{
    error::{Error, check_length},
    stats::{mean, quantile, standard_deviation},
};

/// What a bootstrap draws anew, with replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Whether images are drawn: the result holds for images like these. Default true.
    pub images: bool,
    /// Whether animals are drawn: the result holds for animals like these. Default true; of one animal there is nothing
    /// to draw.
    pub animals: bool,
    /// How many samples. Default 1,000.
    pub samples: usize,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { images: true, animals: true, samples: 1000 }
    }
}

/// The mean similarity of a model to the animals, for each sample of images and animals.
///
/// A pair of twice the same image says nothing and is left out, as by `rsatoolbox`. Sample `i` is a function of
/// `random` and `i` alone: two models are compared on the same samples. A percentile interval is
/// [`quantile`](crate::stats::quantile) of the result.
///
/// # Errors
/// If there is no animal, the numbers of images differ, or as [`compare`](super::compare).
pub fn bootstrap(
    model: &Rsm,
    animals: &[Rsm],
    options: &Bootstrap,
    comparison: Comparison,
    random: &Stream,
) -> Result<Vec<f64>, Error> {
    let mut all = bootstrap_all(std::slice::from_ref(model), animals, options, comparison, random)?;
    Ok(all.remove(0))
}

/// The [`bootstrap`] of several models, the layers of a net, in the time of little more than one: the animals' samples are
/// prepared once for all. A row for each model.
///
/// # Errors
/// As [`bootstrap`].
pub fn bootstrap_all(
    models: &[Rsm],
    animals: &[Rsm],
    options: &Bootstrap,
    comparison: Comparison,
    random: &Stream,
) -> Result<Vec<Vec<f64>>, Error> {
    for model in models {
        check_sizes(model, animals)?;
    }
    let Some(first) = models.first() else { return Ok(Vec::new()) };
    let sample = |i: usize| -> Result<Vec<f64>, Error> {
        let mut random = random.derive_index(i as u64);
        let images = draw_images(first.images(), options.images, &mut random);
        let chosen = draw(animals.len(), options.animals, &mut random);
        let mut prepared: Vec<Option<Prepared>> = vec![None; animals.len()];
        for &animal in &chosen {
            if prepared[animal].is_none() {
                prepared[animal] = Some(comparison.prepare_selected(&animals[animal], &images)?);
            }
        }
        let similarity = |model: &Rsm| -> Result<f64, Error> {
            let model = comparison.prepare_selected(model, &images)?;
            let mut by_animal: Vec<Option<f64>> = vec![None; animals.len()];
            for (known, animal) in by_animal.iter_mut().zip(&prepared) {
                *known = animal.as_ref().map(|a| model.compare(a)).transpose()?;
            }
            let similarities: Vec<f64> = chosen.iter().filter_map(|&a| by_animal[a]).collect();
            Ok(mean(&similarities))
        };
        models.iter().map(similarity).collect()
    };
    let samples: Vec<Vec<f64>> =
        (0..options.samples).into_par_iter().map(sample).collect::<Result<_, _>>()?;
    Ok((0..models.len()).map(|m| samples.iter().map(|s| s[m]).collect()).collect())
}

/// `n` of `0..n` with replacement, or each once.
fn draw(n: usize, again: bool, random: &mut Stream) -> Vec<usize> {
    (0..n).map(|k| if again { random.below(n as u64) as usize } else { k }).collect()
}

/// Images, of which at least three differ: of fewer there are hardly pairs. Only a handful of images must be drawn again.
fn draw_images(n: usize, again: bool, random: &mut Stream) -> Vec<usize> {
    loop {
        let images = draw(n, again, random);
        let mut different = images.clone();
        different.sort_unstable();
        different.dedup();
        if different.len() >= 3 {
            return images;
        }
    }
}

/// The difference of two models' [`bootstrap`]s on the same samples: `[mean, low, high]`, a 95 % percentile interval.
///
/// # Errors
/// As [`bootstrap`].
pub fn bootstrap_difference(
    models: [&Rsm; 2],
    animals: &[Rsm],
    options: &Bootstrap,
    comparison: Comparison,
    random: &Stream,
) -> Result<[f64; 3], Error> {
    let a = bootstrap(models[0], animals, options, comparison, random)?;
    let b = bootstrap(models[1], animals, options, comparison, random)?;
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
    Ok([mean(&differences), quantile(&differences, 0.025), quantile(&differences, 0.975)])
}

/// The outcome of a permutation test.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PermutationTest {
    /// The similarity as it is.
    pub statistic: f64,
    /// The share of permutations, this one counted, with at least this similarity: one-sided.
    pub p_value: f64,
    /// Standard deviation of the similarity over permutations.
    pub null_deviation: f64,
}

/// Whether a model is more similar to a brain than it would be if its images had other names.
///
/// # Errors
/// If the numbers of images differ, or as [`compare`](super::compare).
pub fn permutation_test(
    model: &Rsm,
    brain: &Rsm,
    comparison: Comparison,
    permutations: usize,
    random: &Stream,
) -> Result<PermutationTest, Error> {
    check_sizes(model, std::slice::from_ref(brain))?;
    let prepared = comparison.prepare(brain)?;
    let statistic = comparison.prepare(model)?.compare(&prepared)?;
    let similarities: Vec<f64> = (0..permutations)
        .into_par_iter()
        .map(|i| {
            let order = random.derive_index(i as u64).permutation(model.images());
            comparison.prepare(&model.select(&order))?.compare(&prepared)
        })
        .collect::<Result<_, _>>()?;
    let as_good = similarities.iter().filter(|&&s| s >= statistic).count();
    let p_value = (as_good + 1) as f64 / (permutations + 1) as f64;
    Ok(PermutationTest { statistic, p_value, null_deviation: standard_deviation(&similarities) })
}

fn check_sizes(model: &Rsm, animals: &[Rsm]) -> Result<(), Error> {
    if animals.is_empty() {
        let (what, of) = ("the recording".into(), "animals");
        return Err(Error::TooFew { what, of, least: 1, found: 0 });
    }
    for animal in animals {
        check_length("the model's RSM", "images", model.images(), "the brain's", animal.images())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa::{RsmOptions, compare};
    use tensor::{DType, Device, Tensor};

    fn related(images: usize) -> (Rsm, Vec<Rsm>) {
        let randn = |units, seed| {
            Tensor::randn([images, units], DType::F64, Device::Cpu, &mut Stream::new(seed))
        };
        let signal = randn(20, 1);
        let rsm = |x: &Tensor| Rsm::new(x, &RsmOptions::default()).unwrap();
        let animals = (2..6).map(|seed| rsm(&(&signal + &randn(20, seed)))).collect();
        (rsm(&(&signal + &randn(20, 9).mul_scalar(0.5))), animals)
    }

    #[test]
    fn samples_lie_around_the_similarity_and_repeat() {
        let (model, animals) = related(40);
        let options = Bootstrap { samples: 200, ..Bootstrap::default() };
        let (how, random) = (Comparison::KendallTauB, Stream::new(5));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap(&model, &animals, &options, how, &random).unwrap())
        };
        let samples = run(1);
        assert_eq!(samples, run(3));
        let found =
            mean(&animals.iter().map(|a| compare(&model, a, how).unwrap()).collect::<Vec<_>>());
        let [low, high] = [0.025, 0.975].map(|q| quantile(&samples, q));
        assert!(low < found && found < high && high - low < 0.3, "{low} {found} {high}");
        let neither = Bootstrap { images: false, animals: false, samples: 2 };
        for sample in bootstrap(&model, &animals, &neither, how, &random).unwrap() {
            assert!((sample - found).abs() < 1e-12);
        }
    }

    #[test]
    fn the_interval_of_the_mean_has_about_its_level() {
        // The similarity of RSMs that have nothing in common is 0: an interval that leaves it out is wrong.
        let mut wrong = 0;
        for seed in 0..60 {
            let rsm = |seed| {
                let x = Tensor::randn([30, 15], DType::F64, Device::Cpu, &mut Stream::new(seed));
                Rsm::new(&x, &RsmOptions::plain(crate::rsa::Similarity::Euclidean)).unwrap()
            };
            let (model, animal) = (rsm(1000 + seed), rsm(2000 + seed));
            let options = Bootstrap { samples: 100, ..Bootstrap::default() };
            let (how, random) = (Comparison::Pearson, Stream::new(seed));
            let samples = bootstrap(&model, &[animal], &options, how, &random).unwrap();
            let outside = quantile(&samples, 0.025) > 0.0 || quantile(&samples, 0.975) < 0.0;
            wrong += usize::from(outside);
        }
        assert!(wrong <= 9, "{wrong} of 60 intervals of 95 % are wrong");
    }

    #[test]
    fn permutations_find_what_is_related() {
        let (model, animals) = related(25);
        let (how, random) = (Comparison::Spearman, Stream::new(6));
        let test = permutation_test(&model, &animals[0], how, 99, &random).unwrap();
        assert_eq!(test.p_value, 0.01);
        assert!(test.statistic > 3.0 * test.null_deviation);
        let (other, _) = related(24);
        assert!(permutation_test(&other, &animals[0], how, 9, &random).is_err());
        assert!(bootstrap(&model, &[], &Bootstrap::default(), how, &random).is_err());
    }

    #[test]
    fn the_same_model_does_not_differ_from_itself() {
        let (model, animals) = related(20);
        let options = Bootstrap { samples: 20, ..Bootstrap::default() };
        let (how, random) = (Comparison::KendallTauB, Stream::new(7));
        let same = bootstrap_difference([&model, &model], &animals, &options, how, &random);
        assert_eq!(same.unwrap(), [0.0; 3]);
        let better =
            bootstrap_difference([&model, &animals[3]], &animals[..3], &options, how, &random);
        assert!(better.unwrap()[0] > 0.0);
    }
}
