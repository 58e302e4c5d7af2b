//! `cargo xtask rsa`: the layers of any model against anyone's recordings.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use autograd::Var;
use clap::{Args, ValueEnum};
use neuro::{
    recording::{Recording, read_ophys, read_responses},
    rsa::{
        Bootstrap, Comparison, Rsm, RsmOptions, Similarity, across_animals, bootstrap_all,
        capture_rsms, is_convolution, permutation_test, split_half_ceiling,
    },
    stats::{median, quantile},
};
use nn::ModuleExt as _;
use tensor::{DType, Device, Interpolate, InterpolateMode, Stream, Tensor, io::read_npy};
use vision::weights::{self, Mode};

use crate::{
    failure::{Failure, Outcome, say},
    model::ModelArgs,
};

/// Recordings, images and a model.
#[derive(Args, Debug)]
pub struct RsaArgs {
    /// Responses: npy [images, units] or [trials, images, units]; npz with "responses" and perhaps "animal"; or a session
    /// of the Allen Brain Observatory (.nwb), of which those to the natural scenes are taken
    #[arg(long, value_name = "FILE")]
    responses: PathBuf,
    /// The session's events (npz with "ev") in place of its fluorescence; for .nwb only
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// The images, in the order of the responses: npy [images, H, W], [images, 1, H, W] or [images, 3, H, W], in any
    /// range
    #[arg(long, value_name = "FILE")]
    images: PathBuf,
    /// The architecture (see cargo xtask model list)
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Trained weights (as of cargo xtask predict) [default: untrained, of the seed]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Convert every convolution to an Lp-convolution of this exponent
    #[arg(long, value_name = "P")]
    lp: Option<f64>,
    /// Height and width of the model's input
    #[arg(long, value_name = "N")]
    input: Option<usize>,
    /// Number of classes of the model
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// A layer by its path; may be given several times [default: all convolutions]
    #[arg(long = "layer", value_name = "PATH")]
    layers: Vec<String>,
    /// What makes two responses alike
    #[arg(long, value_enum, default_value_t = RsmKind::Pearson)]
    rsm: RsmKind,
    /// How RSMs are compared: tau-b, tau-a, spearman, corr, cosine or cosine_cov
    #[arg(long, value_name = "NAME", default_value = "tau-b", value_parser = comparison)]
    compare: Comparison,
    /// Samples of the bootstrap over images and animals
    #[arg(long, value_name = "N", default_value_t = 500)]
    samples: usize,
    /// Permutations of the images
    #[arg(long, value_name = "N", default_value_t = 999)]
    permutations: usize,
    /// Seed of untrained weights and of what is drawn at random
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// [`Similarity`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RsmKind {
    Pearson,
    Spearman,
    Cosine,
    Euclidean,
}

fn comparison(name: &str) -> Result<Comparison, String> {
    let found = Comparison::ALL.into_iter().find(|c| c.name() == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = Comparison::ALL.iter().map(|c| c.name()).collect();
        format!("expected one of {}", known.join(", "))
    })
}

/// Runs it.
///
/// # Errors
/// If a file cannot be read or does not fit, or the model cannot be made.
pub fn run(args: &RsaArgs) -> Outcome {
    if args.samples < 2 {
        return Err(Failure::Usage(format!("--samples {}: expected 2 or more", args.samples)));
    }
    let similarity = match args.rsm {
        RsmKind::Pearson => Similarity::Pearson,
        RsmKind::Spearman => Similarity::Spearman,
        RsmKind::Cosine => Similarity::Cosine,
        RsmKind::Euclidean => Similarity::Euclidean,
    };
    let options = RsmOptions { similarity, ..RsmOptions::default() };
    let is_session = args.responses.extension().is_some_and(|e| e.eq_ignore_ascii_case("nwb"));
    if args.events.is_some() && !is_session {
        return Err(Failure::Usage("--events belong to a session: --responses FILE.nwb".into()));
    }
    let recording = match is_session {
        true => read_ophys(&args.responses, args.events.as_deref())?,
        false => read_responses(&args.responses)?,
    };
    let [trials, images, units] = recording.size();
    let (info, config, mut model) = ModelArgs {
        name: args.model.clone(),
        lp: args.lp,
        input: args.input,
        classes: args.classes,
        cifar: false,
    }
    .create()?;
    let [_, channels, size, _] = info.input(&config);
    let input = read_images(&args.images, images, channels, size)?;
    match &args.weights {
        Some(file) => {
            weights::load(&mut *model, file, Mode::Strict)?;
            model.to(DType::F32, Device::Cpu);
        }
        None => model.initialize(args.seed, DType::F32, Device::Cpu),
    }
    let animals = rsms_by_animal(&recording, &options)?;
    let named = |e: neuro::Error| anyhow::anyhow!("{}: {e}", args.responses.display());
    let pooled = Rsm::new(&recording.mean(), &options).map_err(named)?;
    say!("{images} images, {units} units, {trials} trials, {} animals", animals.len());
    let random = Stream::new(args.seed);
    if trials > 1 {
        let random = random.derive("halves");
        let halves = split_half_ceiling(&recording.responses, 50, &options, args.compare, &random)?;
        say!("noise ceiling by halves of the trials: {:.3}", median(&halves));
    }
    if animals.len() > 1 {
        let ceiling = across_animals(&animals, args.compare)?;
        say!("noise ceiling across animals: {:.3} to {:.3}", ceiling.lower, ceiling.upper);
    }
    let layers = capture_rsms(&*model, &Var::constant(input), &options, |event| {
        match args.layers.is_empty() {
            true => is_convolution(event),
            false => args.layers.iter().any(|path| path == event.path),
        }
    })?;
    if let Some(missing) = args.layers.iter().find(|&l| !layers.iter().any(|(path, _)| path == l)) {
        let hint = "cargo xtask model show names the layers";
        return Err(Failure::Usage(format!("--layer {missing}: the model has none; {hint}")));
    }
    let width = layers.iter().map(|(path, _)| path.len()).max().unwrap_or(0).max(5);
    say!(
        "{:<width$}  {:>7}  {:>16}  {:>7}",
        "layer",
        args.compare.name(),
        "95 % interval",
        "p-value"
    );
    let how = Bootstrap { samples: args.samples, ..Bootstrap::default() };
    let compared = if animals.len() > 1 { &animals[..] } else { std::slice::from_ref(&pooled) };
    let rsms: Vec<Rsm> = layers.iter().map(|(_, rsm)| rsm.clone()).collect();
    let samples = bootstrap_all(&rsms, compared, &how, args.compare, &random.derive("bootstrap"))?;
    for ((path, rsm), samples) in layers.iter().zip(samples) {
        let test = permutation_test(
            rsm,
            &pooled,
            args.compare,
            args.permutations,
            &random.derive("permutations"),
        )?;
        let [low, high] = [0.025, 0.975].map(|q| quantile(&samples, q));
        say!(
            "{path:<width$}  {:>7.3}  {:>16}  {:>7.3}",
            test.statistic,
            format!("{low:.3} to {high:.3}"),
            test.p_value
        );
    }
    say!(
        "{}: with all units together; interval: bootstrap over images{}; p-value: images permuted, one-sided",
        args.compare.name(),
        if animals.len() > 1 { " and animals, of the mean over animals" } else { "" }
    );
    Ok(())
}

fn rsms_by_animal(recording: &Recording, options: &RsmOptions) -> Result<Vec<Rsm>> {
    let rsm = |animal: u64| {
        let found = Rsm::new(&recording.of_animal(animal).mean(), options);
        found.with_context(|| format!("animal {animal}"))
    };
    recording.distinct_animals().into_iter().map(rsm).collect()
}

/// Images as a model takes them: three colors (or one), `size` pixels, each minus its mean and over its deviation.
fn read_images(path: &Path, count: usize, channels: usize, size: usize) -> Result<Tensor> {
    let array = read_npy(path)?.to_dtype(DType::F32);
    let array = if array.rank() == 3 { array.unsqueeze(1) } else { array };
    let shape = array.dims().to_vec();
    ensure!(
        matches!(shape[..], [_, 1 | 3, h, w] if h > 0 && w > 0),
        "{}: images have shape {shape:?}, expected [images, H, W], [images, 1, H, W] or [images, 3, H, W]",
        path.display()
    );
    ensure!(shape[0] == count, "{}: {} images, but responses to {count}", path.display(), shape[0]);
    ensure!(array.all_finite(), "{}: a pixel is not finite", path.display());
    let how =
        Interpolate { mode: InterpolateMode::Bilinear, align_corners: false, antialias: true };
    let resized = array.interpolate([size, size], &how);
    let centered = &resized - &resized.mean(&[1, 2, 3], true);
    let deviation = centered.var(&[1, 2, 3], 0, true).sqrt();
    let flat = deviation.to_f64_vec().iter().position(|d| *d <= 0.0);
    if let Some(image) = flat {
        anyhow::bail!("{}: image {image} has the same value everywhere", path.display());
    }
    let scaled = &centered / &deviation;
    ensure!(
        shape[1] == 1 || shape[1] == channels,
        "{}: images have {} colors, the model takes {channels}",
        path.display(),
        shape[1]
    );
    Ok(scaled.broadcast_to([count, channels, size, size]).contiguous())
}
