//! What is computed: the similarity of every layer to every area, with intervals.

use anyhow::{Context as _, Result};
use autograd::Var;
use neuro::{
    rsa::{
        Bootstrap, Rsm, RsmOptions, bootstrap_all, bootstrap_difference, capture_rsms, compare_all,
        corrected_ssm, is_convolution, permutation_test,
    },
    stats::{mean, quantile, ranks, standard_deviation},
};
use serde::{Deserialize, Serialize};
use tensor::{Stream, Tensor};

use super::{
    super::{
        ScaleName, Session,
        scenes::{as_input, natural_scenes},
    },
    brain::{AREAS, Area, HOW, PAPER_AREAS},
    models::Spec,
};
use crate::failure::Outcome;

/// Samples of a bootstrap, and of a permutation test.
const SAMPLES: usize = 200;
const PERMUTATIONS: usize = 999;
/// Pixels of the models' input: the paper's, which takes 3.5 GB of memory, and for a demo a third of that.
fn input_size(scale: ScaleName) -> usize {
    if scale == ScaleName::Demo { 128 } else { 224 }
}

/// Everything that the report tells.
#[derive(Serialize, Deserialize)]
pub(super) struct Similarities {
    pub(super) seconds: f64,
    /// Pixels along an edge of the models' input.
    pub(super) input: usize,
    /// Whether halves are drawn from single trials, as in the paper.
    pub(super) single_trials: bool,
    pub(super) areas: Vec<AreaFacts>,
    pub(super) models: Vec<ModelSsm>,
    /// Pixels as a model of no layer, by area.
    pub(super) pixels: Vec<f64>,
    /// Differences of the best layers' similarity to V1.
    pub(super) differences: Vec<Difference>,
    /// RSMs to be shown: name and percentiles, row by row.
    pub(super) shown: Vec<(String, Vec<f32>)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct AreaFacts {
    pub(super) name: String,
    pub(super) units: usize,
    pub(super) trials: usize,
    pub(super) sessions: usize,
    pub(super) ceiling: f64,
    pub(super) across_animals: [f64; 2],
}

#[derive(Serialize, Deserialize)]
pub(super) struct ModelSsm {
    pub(super) group: String,
    pub(super) trained: bool,
    pub(super) p: Option<f64>,
    pub(super) seed: u64,
    pub(super) layers: Vec<LayerSsm>,
}

/// A layer's similarity to each area, in the order of the areas.
#[derive(Serialize, Deserialize)]
pub(super) struct LayerSsm {
    pub(super) path: String,
    /// In units of the ceiling.
    pub(super) ssm: Vec<f64>,
    /// The paper's error bar.
    pub(super) error: Vec<f64>,
    /// V1: standard deviation and 95 % interval of the corrected similarity over bootstrap samples of scenes.
    pub(super) v1_scenes: [f64; 3],
    /// V1: mean over animals without correction, and its standard deviation over samples of scenes and animals.
    pub(super) v1_animals: [f64; 2],
    /// V1: p-value by permutations of the scenes, at the layer that is best there.
    pub(super) v1_permutation: Option<f64>,
}

/// The best layer of one model against that of another.
#[derive(Serialize, Deserialize)]
pub(super) struct Difference {
    pub(super) a: String,
    pub(super) b: String,
    /// Mean, low and high end of the difference of corrected similarities over the same samples of scenes.
    pub(super) interval: [f64; 3],
}

impl ModelSsm {
    /// The best layer for an area: its place and similarity.
    pub(super) fn best(&self, area: usize) -> (usize, f64) {
        let all = self.layers.iter().map(|l| l.ssm[area]).enumerate();
        all.fold((0, f64::NEG_INFINITY), |best, next| if next.1 > best.1 { next } else { best })
    }

    /// The paper's maximum over layers and areas, of its five.
    pub(super) fn maximum(&self) -> f64 {
        (0..PAPER_AREAS).map(|area| self.best(area).1).fold(f64::NEG_INFINITY, f64::max)
    }
}

pub(super) fn compute(session: &Session) -> Outcome<Similarities> {
    let folder = session.request.data.as_deref();
    let areas: Vec<Area> =
        AREAS.iter().map(|(name, _)| Area::read(name, folder)).collect::<Result<_>>()?;
    let scenes = natural_scenes()?;
    let size = input_size(session.request.scale);
    let input = as_input(&scenes, size);
    let pixels = Rsm::new(&input, &RsmOptions::default())?;
    let random = Stream::new(0);
    let (mut models, mut best, mut shown) = (Vec::new(), Vec::new(), Vec::new());
    shown.push(("V1".to_owned(), percentiles(&areas[0].rsm()?)));
    shown.push(("pixels".to_owned(), percentiles(&pixels)));
    for spec in Spec::all() {
        session.check_stop()?;
        let layers = layers(&spec, &input)?;
        let model = model_ssm(&spec, &layers, &areas, &random)?;
        let (place, _) = model.best(0);
        let (path, rsm) = &layers[place];
        if spec.seed == 0 && matches!(spec.p, None | Some(2.0)) {
            shown.push((format!("{}: {path}", spec.group()), percentiles(rsm)));
        }
        best.push((spec, rsm.clone()));
        models.push(model);
    }
    let of = |trained, p| {
        let found = best.iter().find(|(s, _)| *s == Spec { trained, p, seed: 0 });
        found.context("a model of the list is missing")
    };
    let mut differences = Vec::new();
    for (a, b) in [
        (of(true, None)?, of(false, None)?),
        (of(true, Some(2.0))?, of(true, None)?),
        (of(true, Some(2.0))?, of(true, Some(16.0))?),
        (of(false, Some(2.0))?, of(false, None)?),
    ] {
        let found = bootstrap_difference(
            [&a.1, &b.1],
            &areas[0].rsms,
            &of_scenes(),
            HOW,
            &random.derive("differences"),
        )?;
        let ceiling = areas[0].median_ceiling();
        let interval = found.map(|v| v / ceiling);
        differences.push(Difference { a: a.0.group(), b: b.0.group(), interval });
    }
    let facts = |area: &Area| AreaFacts {
        name: area.name.to_owned(),
        units: area.units,
        trials: area.trials,
        sessions: area.sessions,
        ceiling: area.median_ceiling(),
        across_animals: [area.across_animals.lower, area.across_animals.upper],
    };
    let of_pixels = |area: &Area| Ok(corrected_ssm(&pixels, &area.rsms, &area.ceiling, HOW)?.ssm);
    Ok(Similarities {
        seconds: 0.0,
        input: size,
        single_trials: folder.is_some(),
        pixels: areas.iter().map(of_pixels).collect::<Result<_>>()?,
        areas: areas.iter().map(facts).collect(),
        models,
        differences,
        shown,
    })
}

/// Bootstrap over scenes; the halves of the trials all count.
fn of_scenes() -> Bootstrap {
    Bootstrap { images: true, animals: false, samples: SAMPLES }
}

/// The RSMs of all convolutions.
fn layers(spec: &Spec, input: &Tensor) -> Result<Vec<(String, Rsm)>> {
    let model = spec.create()?;
    let input = Var::constant(input.clone());
    let options = RsmOptions::default();
    let found = capture_rsms(&*model, &input, &options, is_convolution);
    found.with_context(|| format!("{} of seed {}", spec.group(), spec.seed))
}

fn model_ssm(
    spec: &Spec,
    layers: &[(String, Rsm)],
    areas: &[Area],
    random: &Stream,
) -> Result<ModelSsm> {
    let v1 = &areas[0];
    // The same few RSMs for every layer: the samples of scenes cost more than the number of halves gains.
    let halves = &v1.rsms[..v1.rsms.len().min(2)];
    let rsms: Vec<Rsm> = layers.iter().map(|(_, rsm)| rsm.clone()).collect();
    let over_scenes = bootstrap_all(&rsms, halves, &of_scenes(), HOW, &random.derive("scenes"))?;
    let of_both = Bootstrap { samples: SAMPLES / 4, ..Bootstrap::default() };
    let over_both = bootstrap_all(&rsms, &v1.animals, &of_both, HOW, &random.derive("animals"))?;
    let to_animals = compare_all(&rsms, &v1.animals, HOW)?;
    let mut found = Vec::new();
    for (i, (path, rsm)) in layers.iter().enumerate() {
        let corrected = areas
            .iter()
            .map(|area| Ok(corrected_ssm(rsm, &area.rsms, &area.ceiling, HOW)?))
            .collect::<Result<Vec<_>>>()?;
        let samples: Vec<f64> = over_scenes[i].iter().map(|s| s / v1.median_ceiling()).collect();
        let [low, high] = [0.025, 0.975].map(|q| quantile(&samples, q));
        found.push(LayerSsm {
            path: path.clone(),
            ssm: corrected.iter().map(|c| c.ssm).collect(),
            error: corrected.iter().map(|c| c.error).collect(),
            v1_scenes: [standard_deviation(&samples), low, high],
            v1_animals: [mean(&to_animals[i]), standard_deviation(&over_both[i])],
            v1_permutation: None,
        });
    }
    let mut model = ModelSsm {
        group: spec.group(),
        trained: spec.trained,
        p: spec.p,
        seed: spec.seed,
        layers: found,
    };
    let (best, _) = model.best(0);
    let test = permutation_test(
        &layers[best].1,
        &v1.rsm()?,
        HOW,
        PERMUTATIONS,
        &random.derive("permutations"),
    )?;
    model.layers[best].v1_permutation = Some(test.p_value);
    Ok(model)
}

/// Each entry's place among all pairs, 0 to 1: what a rank correlation sees. The diagonal is not a pair (NaN).
fn percentiles(rsm: &Rsm) -> Vec<f32> {
    let n = rsm.images();
    let pairs = rsm.pairs();
    let mut places = ranks(&pairs).into_iter().map(|r| (r - 1.0) / (pairs.len() - 1) as f64);
    let mut matrix = vec![f32::NAN; n * n];
    for i in 0..n {
        for j in i + 1..n {
            // Three digits are more than a color can show.
            let place = (places.next().unwrap_or(0.0) * 1e3).round() as f32 / 1e3;
            matrix[i * n + j] = place;
            matrix[j * n + i] = place;
        }
    }
    // JSON has no NaN: images are most similar to themselves.
    (0..n).for_each(|i| matrix[i * n + i] = 1.0);
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_places_among_pairs() {
        let rsm =
            Rsm::from_matrix(vec![1.0, 0.2, 0.9, 0.2, 1.0, -0.5, 0.9, -0.5, 1.0], 3, true).unwrap();
        assert_eq!(percentiles(&rsm), [1.0, 0.5, 1.0, 0.5, 1.0, 0.0, 1.0, 0.0, 1.0]);
    }

    /// Pixels agree with V1 far more than by chance only if scenes and responses are in the same order.
    #[test]
    fn scenes_and_recordings_belong_together() {
        let input = as_input(&natural_scenes().unwrap(), 32);
        let pixels = Rsm::new(&input, &RsmOptions::default()).unwrap();
        let v1 = Area::read("V1", None).unwrap().rsm().unwrap();
        let test = permutation_test(&pixels, &v1, HOW, 99, &Stream::new(1)).unwrap();
        assert!(test.p_value <= 0.01 && test.statistic > 0.05, "{test:?}");
    }
}
