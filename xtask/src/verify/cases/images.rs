//! Images: changes of `RandAugment`, resizing, erasing, mixing, corruptions.

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use tensor::{DType, Tensor};
use vision::{
    augment::{
        Crop, Filter, Interpolation, Op, Scratch, Transform, cutmix, erase, mixup, normalize,
        resize, targets,
    },
    corruptions::{Corruption, Severity, corrupt, corrupt_values},
    datasets::Image,
};

use super::{Run, Runner};

pub(super) const RUNNERS: &[Runner] = &[
    Runner { prefix: "data/", op: "Rotate", run: changed },
    Runner { prefix: "data/", op: "ShearX", run: changed },
    Runner { prefix: "data/", op: "ShearY", run: changed },
    Runner { prefix: "data/", op: "TranslateXRel", run: changed },
    Runner { prefix: "data/", op: "TranslateYRel", run: changed },
    Runner { prefix: "data/", op: "AutoContrast", run: changed },
    Runner { prefix: "data/", op: "Equalize", run: changed },
    Runner { prefix: "data/", op: "Invert", run: changed },
    Runner { prefix: "data/", op: "Posterize", run: changed },
    Runner { prefix: "data/", op: "Solarize", run: changed },
    Runner { prefix: "data/", op: "SolarizeAdd", run: changed },
    Runner { prefix: "data/", op: "Color", run: changed },
    Runner { prefix: "data/", op: "Contrast", run: changed },
    Runner { prefix: "data/", op: "Brightness", run: changed },
    Runner { prefix: "data/", op: "Sharpness", run: changed },
    Runner { prefix: "data/", op: "randaugment_levels", run: levels },
    Runner { prefix: "data/", op: "resize", run: resized },
    Runner { prefix: "data/", op: "resize_crop", run: cropped },
    Runner { prefix: "data/", op: "normalise", run: normalized },
    Runner { prefix: "data/", op: "random_erasing", run: erased },
    Runner { prefix: "data/", op: "mixup", run: mixed },
    Runner { prefix: "data/", op: "cutmix", run: mixed },
    Runner { prefix: "data/cifar_c/", op: "brightness", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "contrast", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "saturate", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "pixelate", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "jpeg_compression", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "gaussian_blur", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "defocus_blur", run: corrupted },
    Runner { prefix: "data/cifar_c/", op: "zoom_blur", run: corrupted },
];

/// `in.image`, `[H, W, 3]` bytes.
fn image(run: &Run) -> Result<Image> {
    as_image(&run.stored("in.image")?)
}

fn as_image(bytes: &Tensor) -> Result<Image> {
    let &[h, w, 3] = bytes.dims() else { bail!("{} is no image", bytes.shape()) };
    Ok(Image::new(h, w, bytes.to_vec::<u8>()))
}

fn hand_in(run: &Run, role: &str, image: &Image) {
    run.result(role, Tensor::new(image.pixels(), [image.height(), image.width(), 3]));
}

/// One of [`Op::ALL`], by its name.
fn changed(run: &Run) -> Result<()> {
    let op = Op::ALL.into_iter().find(|op| format!("{op:?}") == run.op());
    let op = op.with_context(|| format!("there is no {}", run.op()))?;
    let how = match run.optional_attr::<String>("resample")?.as_deref() {
        None | Some("bicubic") => Interpolation::Bicubic,
        Some("bilinear") => Interpolation::Bilinear,
        Some("nearest") => Interpolation::Nearest,
        Some(other) => bail!("no interpolation {other:?}"),
    };
    let mut image = image(run)?;
    let argument = run.optional_attr("argument")?.unwrap_or(0.0);
    let fill = run.optional_attr("fill")?.unwrap_or_default();
    op.apply(&mut image, argument, how, fill, &mut Image::default());
    hand_in(run, "out.image", &image);
    Ok(())
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Levels(BTreeMap<String, Option<Vec<f64>>>);

/// Every op's argument at the magnitudes 0 to 10.
fn levels(run: &Run) -> Result<()> {
    let Levels(expected) = run.attr("argument_by_magnitude")?;
    ensure!(expected.len() == Op::ALL.len(), "{} ops, not {}", Op::ALL.len(), expected.len());
    for op in Op::ALL {
        let name = format!("{op:?}");
        let increasing = format!("{name}Increasing");
        let arguments = expected.get(&name).or_else(|| expected.get(&increasing));
        let arguments = arguments.with_context(|| format!("there is no {name}"))?;
        let found: Option<Vec<f64>> = (0..=10).map(|m| op.argument(f64::from(m))).collect();
        let equal = match (arguments, &found) {
            (Some(a), Some(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
            }
            (None, None) => true,
            _ => false,
        };
        ensure!(equal, "{name}: {found:?} instead of {arguments:?}");
    }
    run.result("out.magnitudes", Tensor::new(&(0..=10).collect::<Vec<i64>>(), [11]));
    Ok(())
}

fn filter(run: &Run) -> Result<Filter> {
    Ok(match run.attr::<String>("filter")?.as_str() {
        "nearest" => Filter::Nearest,
        "box" => Filter::Box,
        "bilinear" => Filter::Bilinear,
        "bicubic" => Filter::Bicubic,
        other => bail!("no filter {other:?}"),
    })
}

fn resized(run: &Run) -> Result<()> {
    let [width, height] = run.attr("width_height")?;
    hand_in(run, "out.image", &resize(&image(run)?, height, width, filter(run)?));
    Ok(())
}

/// The transform of evaluation; its normalization is undone.
fn cropped(run: &Run) -> Result<()> {
    ensure!(filter(run)? == Filter::Bicubic, "evaluation is bicubic");
    let (resize, size) = (run.attr("resize")?, run.attr("crop")?);
    let crop = Crop::Center { resize, size };
    let plain = Transform { mean: [0.0; 3], std: [1.0; 3], ..Transform::evaluation(crop) };
    let x = transformed(run, &plain)?;
    let bytes = x.permute(&[1, 2, 0]).mul_scalar(255.0).add_scalar(0.5).to_dtype(DType::U8);
    run.result("out.crop", bytes);
    Ok(())
}

fn normalized(run: &Run) -> Result<()> {
    let (mean, std): ([f64; 3], [f64; 3]) = (run.attr("mean")?, run.attr("std")?);
    if run.dtype() == DType::F64 {
        // Inputs are f32; in f64 there is the formula of their table.
        let bytes = image(run)?.to_tensor();
        let values = bytes.to_vec::<u8>();
        let plane = values.len() / 3;
        let x: Vec<f64> = (0..values.len())
            .map(|i| normalize(values[i], mean[i / plane], std[i / plane]))
            .collect();
        run.result("out.x", Tensor::new(&x, bytes.shape()));
        return Ok(());
    }
    let transform = Transform { mean, std, ..Transform::evaluation(Crop::Whole) };
    run.result("out.x", transformed(run, &transform)?);
    Ok(())
}

/// `in.image` through a transform without anything random.
fn transformed(run: &Run, transform: &Transform) -> Result<Tensor> {
    let mut scratch = Scratch::from(image(run)?);
    let [h, w] = transform.output_size([scratch.image.height(), scratch.image.width()]);
    let mut out = vec![0.0; 3 * h * w];
    transform.apply(&mut scratch, &mut tensor::Stream::new(0), &mut out);
    Ok(Tensor::new(&out, [3, h, w]))
}

fn erased(run: &Run) -> Result<()> {
    run.remarks(&["mode"]);
    let x = run.tensor("in.x")?;
    let size = [x.dims()[1], x.dims()[2]];
    let area = [run.attr("top")?, run.attr("left")?, run.attr("height")?, run.attr("width")?];
    let (mut values, noise) = (x.to_f64_vec(), run.tensor("in.noise")?.to_f64_vec());
    let mut noise = noise.into_iter();
    erase(&mut values, size, area, || noise.next().unwrap_or(f64::NAN));
    run.result("out.x", Tensor::new(&values, x.shape()));
    Ok(())
}

fn f32s(t: &Tensor) -> Vec<f32> {
    t.to_dtype(DType::F32).to_vec()
}

fn mixed(run: &Run) -> Result<()> {
    let x = run.tensor("in.x")?;
    let &[n, _, h, w] = x.dims() else { bail!("{} are no images", x.shape()) };
    let labels: Vec<usize> =
        run.stored("in.labels")?.to_vec::<i64>().iter().map(|&l| l as usize).collect();
    let (classes, smoothing) = (run.attr("classes")?, run.attr("smoothing")?);
    let (mut values, lambda): (_, f64) = (f32s(&x), run.attr("lam")?);
    if run.op() == "mixup" {
        mixup(&mut values, n, lambda as f32);
    } else {
        let found = cutmix(&mut values, n, [h, w], run.attr("box_top_bottom_left_right")?);
        ensure!(found == lambda, "{found} of the area stays, not {lambda}");
    }
    run.result("out.x", Tensor::new(&values, x.shape()));
    run.result(
        "out.target",
        Tensor::new(&targets(&labels, classes, lambda, smoothing), [n, classes]),
    );
    Ok(())
}

/// One of [`Corruption::ALL`] without randomness: its bytes, and the values before where they are not bytes already.
fn corrupted(run: &Run) -> Result<()> {
    let corruption =
        Corruption::of(run.op()).with_context(|| format!("there is no {}", run.op()))?;
    let severity = Severity::new(run.attr("severity")?).context("severity is not 1 to 5")?;
    let image = image(run)?;
    let mut stream = tensor::Stream::new(0);
    hand_in(run, "out.image", &corrupt(&image, corruption, severity, &mut stream, &[])?);
    if run.has("out.float") {
        let values = corrupt_values(&image, corruption, severity, &mut stream, &[])?;
        run.result("out.float", Tensor::new(&values, [image.height(), image.width(), 3]));
    }
    Ok(())
}
