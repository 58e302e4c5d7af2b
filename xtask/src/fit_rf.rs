//! `cargo xtask fit-rf`: the exponent of anyone's receptive fields.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lpconv::Samples;
use neuro::{
    receptive_field::{Family, bootstrap_p, fit_shape, goodness_of_fit},
    recording::{Neuron, read_positions},
    stats::quantile,
};
use tensor::Stream;

use crate::failure::{Failure, Outcome, say};

/// Which positions.
#[derive(Args, Debug)]
pub struct FitRfArgs {
    /// Offsets of inputs from their neuron: CSV or TSV with columns dx, dy and perhaps dz (neuron and type if there are
    /// several), or an npy array [n, 2] or [n, 3]
    #[arg(long, value_name = "FILE")]
    positions: PathBuf,
    /// Only inputs of this type
    #[arg(long = "type", value_name = "NAME")]
    kind: Option<String>,
    /// Axes to fit: 2 (dx, dy) or 3 [default: all there are]
    #[arg(long, value_name = "N")]
    axes: Option<usize>,
    /// Samples of the bootstrap and of the test of fit
    #[arg(long, value_name = "N", default_value_t = 500)]
    samples: usize,
    /// Seed of what is drawn at random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Runs it.
///
/// # Errors
/// If the file cannot be read, or no neuron can be fitted.
pub fn run(args: &FitRfArgs) -> Outcome {
    if args.samples < 2 {
        return Err(Failure::Usage(format!("--samples {}: expected 2 or more", args.samples)));
    }
    let positions = read_positions(&args.positions)?;
    let axes = args.axes.unwrap_or(positions.axes);
    if !(2..=positions.axes).contains(&axes) {
        return Err(Failure::Usage(format!(
            "--axes {axes}: the positions have {}; expected 2 to that",
            positions.axes
        )));
    }
    say!(
        "{:<12} {:>6}  {:>6}  {:>16}  {:>10}  {:>9}  {:>8}  {:>8}  {:<9} {:>6}",
        "neuron",
        "inputs",
        "p",
        "95 % interval",
        "status",
        "kurtosis",
        "sd x",
        "sd y",
        "best",
        "fit"
    );
    let mut fitted = 0;
    for neuron in &positions.neurons {
        let line = match axes {
            3 => line::<3>(neuron, args),
            _ => line::<2>(neuron, args),
        };
        match line {
            Ok(line) => {
                say!("{line}");
                fitted += 1;
            }
            Err(error) => say!("{:<12} {error:#}", neuron.name),
        }
    }
    if fitted == 0 {
        return Err(
            anyhow::anyhow!("no neuron of {} could be fitted", args.positions.display()).into()
        );
    }
    say!(
        "p: maximum of the likelihood; kurtosis: the p of the same kurtosis; sd: in the units of the file; best: family of \
         the lowest AIC; fit: p-value of goodness of fit"
    );
    Ok(())
}

fn line<const D: usize>(neuron: &Neuron, args: &FitRfArgs) -> Result<String> {
    let name = if neuron.name.is_empty() { "all" } else { &neuron.name };
    let samples: Samples<D> = neuron.samples(args.kind.as_deref())?;
    let fit = fit_shape(name, &samples)?;
    let random = Stream::new(args.seed).derive(name);
    let drawn = bootstrap_p(name, &samples, args.samples, &random.derive("bootstrap"))?;
    let goodness = goodness_of_fit(name, &samples, args.samples, &random.derive("goodness"))?;
    let [low, high] = [0.025, 0.975].map(|q| quantile(&drawn, q));
    let best = match fit.best() {
        Family::Mpnd => "free p",
        Family::Gaussian => "p = 2",
        Family::Uniform => "box",
    };
    let kurtosis = fit.kurtosis_p.map_or("none".to_owned(), |p| format!("{p:.2}"));
    Ok(format!(
        "{name:<12} {:>6}  {:>6.2}  {:>16}  {:>10}  {kurtosis:>9}  {:>8.1}  {:>8.1}  {best:<9} {:>6.3}",
        samples.points().len(),
        fit.likelihood.p,
        format!("{low:.2} to {high:.2}"),
        format!("{:?}", fit.likelihood.status).to_lowercase(),
        fit.deviation[0],
        fit.deviation[1],
        goodness.p_value
    ))
}
