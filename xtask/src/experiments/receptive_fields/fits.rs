//! What is computed: the shape of every receptive field.

use anyhow::{Context as _, Result};
use lpconv::{FitStatus, Histogram, Samples, fit_least_squares};
use neuro::{
    receptive_field::{
        Family, ShapeFit, bootstrap_p, cell_fit, fit_shape, functional_synapses, goodness_of_fit,
        histogram, mpnd_pmf,
    },
    recording::{Positions, rossi2020},
    stats::quantile,
};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Stream, Tensor};

use super::super::{
    Session,
    scenes::{as_input, first_layer, natural_scenes, shipped, trained, untrained},
};
use crate::failure::Outcome;

/// As many images as the paper has neurons.
pub(super) const IMAGES: usize = 17;
/// Samples of a bootstrap interval.
const BOOTSTRAP: usize = 500;
/// Samples of a test of goodness of fit.
const GOODNESS: usize = 199;

/// Everything that the report tells.
#[derive(Serialize, Deserialize)]
pub(super) struct Fits {
    /// The network of the artificial receptive fields.
    pub(super) network: String,
    /// Whether it is the paper's AlexNet.
    pub(super) papers_network: bool,
    pub(super) seconds: f64,
    pub(super) groups: Vec<Group>,
    /// Of all neurons together: offsets in units of each neuron's standard deviation, fitted once.
    pub(super) pooled: Vec<Member>,
}

/// Receptive fields that are compared as a group.
#[derive(Serialize, Deserialize)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) members: Vec<Member>,
    /// Mean PMF over the members on the kernel's taps; of neurons none.
    pub(super) field: Option<Field>,
}

/// A PMF on a square lattice.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) side: usize,
    pub(super) mass: Vec<f64>,
}

/// One receptive field. What is not a finite number in it is `None`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Member {
    pub(super) name: String,
    /// Inputs of a neuron; taps of a kernel.
    pub(super) points: usize,
    /// Where the paper's optimizer stands after 1,500 steps.
    pub(super) p: f64,
    pub(super) sigma: f64,
    pub(super) loss: f64,
    /// The maximum of the likelihood.
    pub(super) likelihood_p: f64,
    pub(super) status: String,
    /// 95 % bootstrap interval of `likelihood_p`.
    pub(super) interval: Option<[f64; 2]>,
    pub(super) kurtosis_p: Option<f64>,
    /// The `p` of the density nearest to the PMF, cell by cell: over taps, or over 11 cells a side of positions; none if it
    /// has no minimum.
    pub(super) least_squares_p: Option<f64>,
    /// p-value of `p = 2` against a free `p`; of neurons only.
    pub(super) gaussian_p_value: Option<f64>,
    /// AIC of a free `p`, of `p = 2` and of a box, above the best of them; of neurons only.
    pub(super) aic: Option<[f64; 3]>,
    /// Whether the MPND fits, by parametric bootstrap; of neurons only.
    pub(super) goodness: Option<f64>,
    /// Share of the PMF's variance over taps that the paper's fit explains; of kernels only.
    pub(super) r_squared: Option<f64>,
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn status(status: FitStatus) -> &'static str {
    match status {
        FitStatus::Converged => "converged",
        FitStatus::Unbounded => "unbounded",
        FitStatus::AtLowerBound => "at the lower bound",
        FitStatus::NotConverged => "not converged",
    }
}

impl Member {
    fn new<const D: usize>(name: &str, points: usize, fit: &ShapeFit<D>) -> Member {
        Member {
            name: name.to_owned(),
            points,
            p: fit.adam.p,
            sigma: fit.adam.sigma,
            loss: -fit.adam.log_likelihood,
            likelihood_p: fit.likelihood.p,
            status: status(fit.likelihood.status).to_owned(),
            interval: None,
            kurtosis_p: fit.kurtosis_p.and_then(finite),
            least_squares_p: None,
            gaussian_p_value: None,
            aic: None,
            goodness: None,
            r_squared: None,
        }
    }

    /// Of positions: with intervals and tests, for which points must be independent.
    pub(super) fn of_points<const D: usize>(
        name: &str,
        samples: &Samples<D>,
        random: &Stream,
    ) -> Result<Member> {
        let fit = fit_shape(name, samples)?;
        let bootstrap = bootstrap_p(name, samples, BOOTSTRAP, &random.derive("bootstrap"))?;
        let goodness = goodness_of_fit(name, samples, GOODNESS, &random.derive("goodness"))?;
        let families = [Family::Mpnd, Family::Gaussian, Family::Uniform].map(|f| fit.aic(f));
        let best = families.iter().copied().fold(f64::INFINITY, f64::min);
        let (cells, _) = histogram(&samples.standardized()?, CELLS, REACH)?;
        Ok(Member {
            least_squares_p: least_squares(&cells)?,
            interval: Some([0.025, 0.975].map(|q| quantile(&bootstrap, q))),
            gaussian_p_value: finite(fit.gaussian_p_value()),
            aic: Some(families.map(|aic| aic - best)),
            goodness: Some(goodness.p_value),
            ..Member::new(name, samples.points().len(), &fit)
        })
    }

    fn of_field(name: &str, histogram: &Histogram<2>) -> Result<Member> {
        let fit = fit_shape(name, &histogram.samples())?;
        let standardized = histogram.standardized()?;
        let fitted = mpnd_pmf(&standardized, fit.adam.p, fit.adam.sigma)?;
        let r_squared = finite(cell_fit(&standardized, &fitted)?.r_squared);
        let least_squares_p = least_squares(&standardized)?;
        let member = Member::new(name, histogram.mass().len(), &fit);
        Ok(Member { r_squared, least_squares_p, ..member })
    }
}

/// Cells along an axis, and half the width in standard deviations, of the histogram of positions that least squares fits.
const CELLS: usize = 11;
const REACH: f64 = 3.0;

/// The `p` of a standardized PMF by least squares, if the error has a minimum.
fn least_squares<const D: usize>(pmf: &Histogram<D>) -> Result<Option<f64>> {
    let fit = fit_least_squares(pmf)?;
    Ok((fit.status == FitStatus::Converged).then_some(fit.p))
}

/// The inputs of neurons that are enough for a shape: fewer say nothing.
const LEAST_INPUTS: usize = 10;

/// The neurons' shapes, of inputs of one kind or of all.
fn neurons<const D: usize>(
    name: &str,
    positions: &Positions,
    kind: Option<&str>,
    random: &Stream,
) -> Result<Group> {
    let mut members = Vec::new();
    for neuron in &positions.neurons {
        let Ok(samples) = neuron.samples::<D>(kind) else { continue };
        if samples.points().len() < LEAST_INPUTS {
            continue;
        }
        let random = random.derive(&format!("{name} {}", neuron.name));
        members.push(Member::of_points(&neuron.name, &samples, &random)?);
    }
    Ok(Group { name: name.to_owned(), members, field: None })
}

/// All neurons' inputs together, each neuron's in units of its own standard deviation.
pub(super) fn pooled<const D: usize>(
    positions: &Positions,
    kind: Option<&str>,
) -> Result<Samples<D>> {
    let mut points = Vec::new();
    for neuron in &positions.neurons {
        let Ok(samples) = neuron.samples::<D>(kind) else { continue };
        if samples.points().len() >= LEAST_INPUTS {
            points.extend_from_slice(samples.standardized()?.points());
        }
    }
    Ok(Samples::new(points)?)
}

/// The names of the groups that Table 8 compares, in its order, as it has them.
pub(super) const TABLE_8: [&str; 5] =
    ["Mouse V1 L2/3", "Trained+Image", "Trained+Noise", "Untrained+Noise", "Untrained+Image"];

pub(super) fn compute(session: &Session) -> Outcome<Fits> {
    let random = Stream::new(0);
    let positions = rossi2020();
    let mut groups = vec![
        neurons::<2>(TABLE_8[0], &positions, None, &random)?,
        neurons::<2>("V1, excitatory inputs", &positions, Some("EX"), &random)?,
        neurons::<2>("V1, inhibitory inputs", &positions, Some("IN"), &random)?,
        neurons::<3>("V1, in three dimensions", &positions, None, &random)?,
    ];
    session.check_stop()?;
    let mut together = Vec::new();
    for (name, kind) in [("all", None), ("excitatory", Some("EX")), ("inhibitory", Some("IN"))] {
        let samples = pooled::<2>(&positions, kind)?;
        together.push(Member::of_points(name, &samples, &random.derive(name))?);
    }
    let mut common = Vec::new();
    for neuron in &positions.neurons {
        common.extend_from_slice(neuron.samples::<2>(None)?.points());
    }
    let name = "all, on a common scale";
    together.push(Member::of_points(name, &Samples::new(common)?, &random.derive(name))?);
    let samples = pooled::<3>(&positions, None)?;
    together.push(Member::of_points("all, 3-D", &samples, &random.derive("all, 3-D"))?);

    let (architecture, file) = match &session.request.data {
        Some(file) => ("alexnet", file.clone()),
        None => ("squeezenet1_0_caffe", shipped("vision/weights/squeezenet1_0/weights.npz")),
    };
    let weight = first_layer(&*trained(architecture, &file)?)?;
    let scenes = as_input(&natural_scenes()?.narrow(0, 0, IMAGES), 224);
    let noise = {
        let mut random = random.derive("noise");
        Tensor::randn([IMAGES, 3, 224, 224], DType::F32, Device::Cpu, &mut random)
    };
    for name in &TABLE_8[1..] {
        session.check_stop()?;
        let images = if name.ends_with("Image") { &scenes } else { &noise };
        let fresh = name.starts_with("Untrained");
        groups.push(kernels(name, images, |seed| match fresh {
            true => first_layer(&*untrained(architecture, seed)?),
            false => Ok(weight.clone()),
        })?);
    }
    Ok(Fits {
        network: if session.request.data.is_some() { "AlexNet" } else { "SqueezeNet 1.0" }.into(),
        papers_network: session.request.data.is_some(),
        seconds: 0.0,
        groups,
        pooled: together,
    })
}

/// One receptive field an image, of the kernels that `weight` gives for the image's number.
fn kernels(name: &str, images: &Tensor, weight: impl Fn(u64) -> Result<Tensor>) -> Result<Group> {
    let mut members = Vec::new();
    let mut mean: Option<Field> = None;
    for i in 0..IMAGES {
        let synapses = functional_synapses(&weight(i as u64)?, &images.select(0, i), 1)
            .with_context(|| format!("{name}, image {i}"))?;
        let histogram = synapses.histogram()?;
        members.push(Member::of_field(&format!("image {i}"), &histogram)?);
        let side = synapses.kernel[0];
        let field = mean.get_or_insert_with(|| Field { side, mass: vec![0.0; side * side] });
        for (sum, m) in field.mass.iter_mut().zip(histogram.mass()) {
            *sum += m / IMAGES as f64;
        }
    }
    Ok(Group { name: name.to_owned(), members, field: mean })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_neuron_of_the_paper_has_a_shape() {
        let fit = |neuron: &neuro::recording::Neuron| {
            fit_shape::<2>(&neuron.name, &neuron.samples(None).unwrap()).unwrap()
        };
        let p: Vec<f64> = rossi2020().neurons.iter().map(|n| fit(n).adam.p).collect();
        assert_eq!(p.len(), 17);
        let pooled = fit_shape("all", &pooled::<2>(&rossi2020(), None).unwrap()).unwrap();
        assert!((1.5..2.6).contains(&pooled.likelihood.p), "{}", pooled.likelihood.p);
        assert!((pooled.kurtosis_p.unwrap() - pooled.likelihood.p).abs() < 0.5);
    }

    #[test]
    fn untrained_kernels_are_uniform() {
        let images = as_input(&natural_scenes().unwrap().narrow(0, 0, IMAGES), 40);
        let group = kernels("Untrained+Image", &images, |seed| {
            let mut random = Stream::new(seed);
            Ok(Tensor::randn([16, 3, 7, 7], DType::F32, Device::Cpu, &mut random))
        })
        .unwrap();
        assert_eq!(group.members.len(), IMAGES);
        assert!(group.members.iter().all(|m| m.p > 6.0), "a box, as far as the optimizer came");
        let field = group.field.unwrap();
        assert!((field.mass.iter().sum::<f64>() - 1.0).abs() < 1e-9 && field.side == 7);
    }
}
