//! `cargo xtask predict`: what a model sees in pictures.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use autograd::Var;
use clap::{Args, ValueEnum};
use nn::{
    Context, ModuleExt,
    data::{DataLoader, LoaderOptions},
};
use tensor::{DType, Device, InterpolateMode, Stream, Tensor, io::write_atomic};
use vision::{
    imagenet,
    models::fold,
    picture::{self, Preprocess},
    weights::{self, Mode},
};

use crate::{
    failure::{Failure, Outcome, say},
    model::ModelArgs,
    report::figure::{Photo, SIDE, photos_png},
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
    /// How pictures are resized
    #[arg(long, value_enum, default_value_t)]
    interpolation: Interpolation,
    /// Write the pictures with their likeliest classes to a PNG
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,
    /// How many of the likeliest classes to name
    #[arg(long, value_name = "K", default_value_t = 5)]
    top: usize,
    /// PNG and JPEG files, or folders of them
    #[arg(required = true)]
    images: Vec<PathBuf>,
}

/// How pictures are resized.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Interpolation {
    /// As most of torchvision's models take them
    #[default]
    Bilinear,
    /// As most of timm's do
    Bicubic,
}

/// Pictures that are computed at once.
const BATCH: usize = 8;

/// A few pictures, ready for the model.
struct Batch {
    paths: Vec<PathBuf>,
    input: Tensor,
    /// Small copies `[1, 3, H, W]`, if they are wanted for a picture of all.
    copies: Vec<Tensor>,
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
    fold(&mut *model);
    let interpolation = match args.interpolation {
        Interpolation::Bilinear => InterpolateMode::Bilinear,
        Interpolation::Bicubic => InterpolateMode::Bicubic,
    };
    let how = Preprocess { resize, crop, interpolation, ..Preprocess::default() };
    let mut photos = Vec::new();
    for batch in loader(pictures(&args.images)?, how, args.picture.is_some()).epoch(0) {
        let Batch { paths, input, copies } = batch?;
        let logits = model.call(&Var::constant(input), &mut Context::eval());
        let likeliest = likeliest(logits.value(), args.top);
        for (i, (path, classes)) in paths.iter().zip(likeliest).enumerate() {
            let named = classes.into_iter().map(|(c, p)| (class_name(c, config.classes), p));
            let classes: Vec<(String, f64)> = named.collect();
            say!("{}", path.display());
            for (name, probability) in &classes {
                say!("  {:5.1} %  {name}", 100.0 * probability);
            }
            if let Some(copy) = copies.get(i) {
                photos.push(photo(path, copy, classes));
            }
        }
    }
    if let Some(file) = &args.picture {
        let png = photos_png(&format!("What {} sees", info.name), &photos)
            .map_err(anyhow::Error::from)?;
        write_atomic(file, |out| out.write_all(&png)).map_err(anyhow::Error::from)?;
    }
    Ok(())
}

/// Decodes and prepares pictures in threads of their own while the model computes: a folder takes as long as the slower of both.
fn loader(paths: Vec<PathBuf>, how: Preprocess, copies: bool) -> DataLoader<Vec<PathBuf>, Batch> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let options = LoaderOptions { batch_size: BATCH, workers, ..Default::default() };
    DataLoader::new(paths, options, move |paths: Vec<PathBuf>, _: &mut Stream| {
        let (mut inputs, mut small) = (Vec::new(), Vec::new());
        for path in &paths {
            let picture = picture::read(path)?;
            inputs.push(how.apply(&picture));
            if copies {
                small.push(thumbnail(&picture));
            }
        }
        let input = Tensor::cat(&inputs.iter().collect::<Vec<_>>(), 0);
        Ok(Batch { paths, input, copies: small })
    })
}

/// The picture in the size in which it is shown, two pixels a unit.
fn thumbnail(picture: &Tensor) -> Tensor {
    let [_, _, h, w] = picture.dims_of();
    let longer = h.max(w).max(1);
    let size = [h, w].map(|edge| (2 * SIDE * edge / longer).max(1));
    picture::resized(picture, size, InterpolateMode::Bilinear)
}

fn photo(path: &Path, copy: &Tensor, classes: Vec<(String, f64)>) -> Photo {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Photo {
        title: name.to_string_lossy().into_owned(),
        rgb: copy.permute(&[0, 2, 3, 1]).contiguous().to_dtype(DType::U8).to_vec(),
        width: copy.dims()[3],
        classes,
    }
}

/// Of each picture the `top` likeliest classes with their probabilities, the likeliest first.
fn likeliest(logits: &Tensor, top: usize) -> Vec<Vec<(usize, f64)>> {
    let probabilities = logits.softmax(1).to_f64_vec();
    let of_picture = |row: &[f64]| {
        let mut classes: Vec<(usize, f64)> = row.iter().copied().enumerate().collect();
        classes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        classes.truncate(top);
        classes
    };
    probabilities.chunks(logits.dims()[1]).map(of_picture).collect()
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
