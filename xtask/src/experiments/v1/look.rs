//! What a trained predictor shows: traces, fields, tuning to running, and, for the made-up cortex, whether its fields were
//! found.

use neuro::{
    mmv1::{Activity, Ascent, Mmv1, Score, Windows, preferred, saliency, tuning},
    stats::pearson,
};
use nn::data::Dataset;
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Stream, Tensor};

use super::{recipe::Recipe, train::Data};

/// What was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Insight {
    /// The course of the best predicted neurons over the first test samples.
    pub(super) traces: Vec<Trace>,
    /// Height and width of a frame.
    pub(super) frame: [usize; 2],
    /// Fields of the best predicted neurons.
    pub(super) fields: Vec<Field>,
    /// For each neuron, how much running changes its recorded and its predicted responses: (fast - slow) / (fast + slow) over
    /// the fifths of samples with the most and the least running.
    pub(super) modulation: Vec<[f64; 2]>,
    /// The same as curves over fifths of running, of the neuron that running changes most: running, recorded, predicted.
    pub(super) tuning: Vec<[f64; 3]>,
    /// For the made-up cortex: correlation of each neuron's known field with its saliency and with its preferred picture.
    pub(super) recovered: Vec<[f64; 2]>,
}

/// Predicted and recorded responses of one neuron, smoothed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trace {
    pub(super) neuron: usize,
    pub(super) cc: f64,
    pub(super) predicted: Vec<f32>,
    pub(super) recorded: Vec<f32>,
}

/// What a neuron looks for, each picture over the last frame before the predicted bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Field {
    pub(super) neuron: usize,
    pub(super) saliency: Vec<f32>,
    /// The picture it likes best, minus the one from which that was climbed to.
    pub(super) preferred: Vec<f32>,
    /// What is known, for the made-up cortex.
    pub(super) known: Option<Vec<f32>>,
}

/// Neurons whose traces are kept, and samples of each.
const TRACES: usize = 3;
const TRACE_SAMPLES: usize = 400;
/// Neurons whose fields are kept.
const FIELDS: usize = 8;
/// Test samples over which gradients are averaged.
const FIELD_SAMPLES: usize = 256;
/// Standard deviation of the pixels from which preferred pictures are climbed to.
const START_CONTRAST: f64 = 0.1;
/// Groups of samples in a tuning curve, at most.
const FIFTHS: usize = 5;

/// Looks into a trained predictor.
pub(super) fn into(
    net: &Mmv1,
    data: &Data,
    predicted: &Activity,
    recorded: &Activity,
    score: &Score,
    recipe: &Recipe,
    device: Device,
) -> anyhow::Result<Insight> {
    let mut best: Vec<usize> = (0..score.cc.len()).filter(|&n| !score.cc[n].is_nan()).collect();
    best.sort_by(|&a, &b| score.cc[b].total_cmp(&score.cc[a]).then(a.cmp(&b)));
    let (salient, liked) = fields(net, &data.test, device)?;
    let field = |neuron: usize| Field {
        neuron,
        saliency: salient[neuron].clone(),
        preferred: liked[neuron].clone(),
        known: data.known.as_ref().map(|known| known[neuron].field.clone()),
    };
    let recovered = match &data.known {
        None => Vec::new(),
        Some(known) => known
            .iter()
            .enumerate()
            .map(|(k, neuron)| {
                [&salient[k], &liked[k]].map(|field| similarity(field, &neuron.field))
            })
            .collect(),
    };
    let (tuning, modulation) = running(&data.test, predicted, recorded);
    Ok(Insight {
        traces: traces(predicted, recorded, score, &best, recipe.smoothing)?,
        frame: data.test.recording().frame(),
        fields: best.iter().take(FIELDS).map(|&n| field(n)).collect(),
        modulation,
        tuning,
        recovered,
    })
}

/// Correlation of two fields; 0 if one is flat.
fn similarity(a: &[f32], b: &[f32]) -> f64 {
    let [a, b] = [a, b].map(|x| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>());
    pearson(&a, &b).map_or(0.0, |r| r.statistic)
}

fn traces(
    predicted: &Activity,
    recorded: &Activity,
    score: &Score,
    best: &[usize],
    smoothing: usize,
) -> anyhow::Result<Vec<Trace>> {
    let [predicted, recorded] = [predicted.smoothed(smoothing)?, recorded.smoothed(smoothing)?];
    let course = |x: &Tensor, neuron: usize| -> Vec<f32> {
        let all = x.select(1, neuron).to_f64_vec();
        all.iter().take(TRACE_SAMPLES).map(|&v| v as f32).collect()
    };
    Ok(best
        .iter()
        .take(TRACES)
        .map(|&neuron| Trace {
            neuron,
            cc: score.cc[neuron],
            predicted: course(&predicted, neuron),
            recorded: course(&recorded, neuron),
        })
        .collect())
}

/// A picture for each neuron.
type Pictures = Vec<Vec<f32>>;

/// Saliency and preferred picture of each neuron, of the last frame of a sequence.
fn fields(net: &Mmv1, windows: &Windows, device: Device) -> anyhow::Result<(Pictures, Pictures)> {
    // Spread over the whole test part.
    let count = windows.len().min(FIELD_SAMPLES);
    let samples = (0..count).map(|i| windows.get(i * windows.len() / count));
    let samples = samples.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::from_boxed)?;
    let batch = windows.batch(samples, device);
    let last = batch.images.dims()[1] - 1;
    let pictures = |fields: &Tensor| -> Pictures {
        let neurons = fields.dims()[0];
        let one = |n: usize| fields.select(0, n).to_device(Device::Cpu).to_f64_vec();
        (0..neurons).map(|n| one(n).iter().map(|&v| v as f32).collect()).collect()
    };
    let salient = pictures(&saliency(net, &batch).select(1, last));
    // From faint noise, while the animal behaves as it does on average: on plain gray all rectifiers of a layer may be off,
    // and then there is nothing to climb.
    let shape = &batch.images.dims()[1..];
    let noise = Tensor::randn(shape, DType::F32, Device::Cpu, &mut Stream::new(0));
    let start = noise.mul_scalar(START_CONTRAST).add_scalar(0.5).clamp(0.0, 1.0).to_device(device);
    let behavior = batch.behavior.mean(&[0], false);
    let liked = preferred(net, &start, &behavior, &Ascent::default()).sub(&start);
    Ok((salient, pictures(&liked.select(1, last))))
}

/// Tuning to the first variable of behavior (running speed): the curve of the neuron it changes most, and every neuron's
/// modulation.
fn running(
    windows: &Windows,
    predicted: &Activity,
    recorded: &Activity,
) -> (Vec<[f64; 3]>, Vec<[f64; 2]>) {
    if windows.len() < FIFTHS {
        return (Vec::new(), Vec::new());
    }
    let speed: Vec<f64> = windows.measured(0).iter().map(|&v| f64::from(v)).collect();
    let curve = |x: &Activity, n: usize| tuning(&speed, &x.neuron(n), FIFTHS);
    let modulation: Vec<[f64; 2]> = (0..recorded.neurons())
        .map(|n| {
            [recorded, predicted].map(|x| {
                let curve = curve(x, n);
                let (slow, fast) = (curve[0].1, curve[curve.len() - 1].1);
                if fast + slow > 0.0 { (fast - slow) / (fast + slow) } else { 0.0 }
            })
        })
        .collect();
    let most = (0..modulation.len())
        .max_by(|&a, &b| modulation[a][0].abs().total_cmp(&modulation[b][0].abs()))
        .unwrap_or(0);
    let (r, p) = (curve(recorded, most), curve(predicted, most));
    let curve = r.iter().zip(&p).map(|(r, p)| [r.0, r.1, p.1]).collect();
    (curve, modulation)
}
