//! `cargo xtask predict`: what a model sees in pictures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use autograd::Var;
use clap::Args;
use nn::{Context, Forward, ModuleExt};
use tensor::{DType, Device};
use vision::{
    imagenet,
    picture::{self, Preprocess},
    weights::{self, Mode},
};

use crate::{
    failure::{Failure, Outcome, say},
    model::ModelArgs,
};

/// Which pictures, and by which model.
#[derive(Args, Debug)]
pub struct PredictArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Weights: .safetensors, .npz, or a state dict that torch.save wrote (.pth, .pt, .bin, .ckpt)
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// What the shorter edge is resized to before the middle is cropped [default: 8/7 of the input]
    #[arg(long, value_name = "N")]
    resize: Option<usize>,
    /// How many of the likeliest classes to name
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// PNG and JPEG files, or folders of them
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// If the model cannot be made, or a file cannot be read or does not fit.
pub fn run(args: &PredictArgs) -> Outcome {
    let (info, config, mut model) = args.model.create()?;
    let [_, channels, crop, _] = info.input(&config);
    if channels != 3 {
        return Err(Failure::Usage(format!("{} does not take pictures", info.name)));
    }
    let resize = args.resize.unwrap_or(crop * 8 / 7);
    if resize < crop {
        return Err(Failure::Usage(format!(
            "--resize {resize}: expected at least the {crop} pixels of the input"
        )));
    }
    weights::load(&mut *model, &args.weights, Mode::Strict)?;
    model.to(DType::F32, Device::Cpu);
    let how = Preprocess { resize, crop, ..Preprocess::default() };
    for path in pictures(&args.images)? {
        let likeliest = predict(&*model, &path, &how, args.top)?;
        say!("{}", path.display());
        for (class, probability) in likeliest {
            say!("  {:5.1} %  {}", 100.0 * probability, class_name(class, config.classes));
        }
    }
    Ok(())
}

/// The `top` likeliest classes of a picture with their probabilities, the likeliest first.
fn predict(
    model: &dyn Forward,
    path: &Path,
    how: &Preprocess,
    top: usize,
) -> anyhow::Result<Vec<(usize, f64)>> {
    let input = how.apply(&picture::read(path)?);
    let logits = model.call(&Var::constant(input), &mut Context::eval());
    let probabilities = logits.value().softmax(1).to_f64_vec();
    let mut classes: Vec<(usize, f64)> = probabilities.into_iter().enumerate().collect();
    classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    classes.truncate(top);
    Ok(classes)
}

/// ImageNet's name where there are as many classes as it has.
fn class_name(class: usize, classes: usize) -> String {
    let names = imagenet::classes();
    match names.get(class) {
        Some((_, name)) if names.len() == classes => (*name).to_owned(),
        _ => format!("class {class}"),
    }
}

/// The files, and the pictures of the folders by name.
fn pictures(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let entries = fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        let mut files = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(|| format!("reading {}", path.display()))?;
        files.retain(|file| {
            let ending = file.extension().map(|e| e.to_string_lossy().to_lowercase());
            matches!(ending.as_deref(), Some("png" | "jpg" | "jpeg"))
        });
        files.sort();
        found.extend(files);
    }
    Ok(found)
}
