//! Pictures: read, cropped and turned at random, put into batches.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nn::data::BoxError;
use tensor::{DType, InterpolateMode, Stream, Tensor};
use vision::{
    datasets::{
        ImageSet, Split, dtd10,
        transfer::{Labeled, TransferSet},
    },
    picture::{self, Preprocess},
};

use super::recipe::Recipe;

/// A picture and its class.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    source: Source,
    pub(super) label: usize,
}

/// Where a picture is.
#[derive(Clone, Debug)]
enum Source {
    Memory(Tensor),
    File(PathBuf),
}

/// A data set.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) classes: usize,
    pub(super) train: Vec<Sample>,
    pub(super) test: Vec<Sample>,
}

/// The set of this name; those that are not built in are in `root`.
pub(super) fn load(set: &str, root: Option<&Path>) -> anyhow::Result<Data> {
    if set == "dtd10" {
        let samples = |set: &ImageSet| -> anyhow::Result<Vec<Sample>> {
            set.iter()
                .map(|item| {
                    let (image, label) = item?;
                    let picture = image.to_tensor().unsqueeze(0).to_dtype(DType::F32);
                    Ok(Sample { source: Source::Memory(picture), label })
                })
                .collect()
        };
        let (train, test) = (dtd10(Split::Train), dtd10(Split::Test));
        return Ok(Data {
            classes: train.classes().len(),
            train: samples(&train)?,
            test: samples(&test)?,
        });
    }
    let Some(set) = TransferSet::of_folder(set) else { bail!("there is no data set {set}") };
    let splits = set.read(root.context("a data set that is not built in needs --data")?)?;
    let samples = |items: Vec<Labeled>| {
        let sample = |item: Labeled| Sample { source: Source::File(item.path), label: item.label };
        items.into_iter().map(sample).collect()
    };
    Ok(Data {
        classes: splits.classes.len(),
        train: samples(splits.train),
        test: samples(splits.test),
    })
}

/// Inputs `[N, 3, image, image]` and classes `[N]`.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) input: Tensor,
    pub(super) target: Tensor,
}

/// How pictures become inputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pictures {
    how: Preprocess,
    area_min: f64,
}

impl Pictures {
    pub(super) fn new(recipe: &Recipe) -> Result<Self, String> {
        let [mean, std] = recipe.normalization()?;
        let (resize, crop, interpolation) = (recipe.image, recipe.image, InterpolateMode::Bicubic);
        let how = Preprocess { resize, crop, interpolation, mean, std };
        Ok(Pictures { how, area_min: recipe.area_min })
    }

    /// A batch; with a stream each picture is cropped and turned at random, without one its middle is taken.
    pub(super) fn batch(
        self,
        samples: &[Sample],
        stream: Option<&Stream>,
    ) -> Result<Batch, BoxError> {
        let mut inputs = Vec::new();
        for (i, sample) in samples.iter().enumerate() {
            let picture = match &sample.source {
                Source::Memory(picture) => picture.clone(),
                Source::File(path) => picture::read(path)?,
            };
            let picture = match stream {
                Some(stream) => self.varied(&picture, &mut stream.derive_index(i as u64)),
                None => picture,
            };
            inputs.push(self.how.apply(&picture));
        }
        let target: Vec<i64> = samples.iter().map(|s| s.label as i64).collect();
        Ok(Batch {
            input: Tensor::cat(&inputs.iter().collect::<Vec<_>>(), 0),
            target: Tensor::new(&target, [samples.len()]),
        })
    }

    /// A random crop at the size of the input, mirrored half of the time.
    fn varied(self, picture: &Tensor, stream: &mut Stream) -> Tensor {
        let [_, _, h, w] = picture.dims_of();
        let [top, left, height, width] = random_crop([h, w], self.area_min, stream);
        let part = picture.narrow(2, top, height).narrow(3, left, width).contiguous();
        let part = picture::resized(&part, [self.how.crop; 2], self.how.interpolation);
        if stream.uniform() < 0.5 { part.flip(&[3]) } else { part }
    }
}

/// Top, left, height and width of a part of an image of `[height, width]`: its area a uniform share of at least `area_min`,
/// its aspect log-uniform in 3/4 to 4/3; after ten that do not fit the largest middle part of such an aspect.
///
/// Same as torchvision's `RandomResizedCrop`.
fn random_crop([h, w]: [usize; 2], area_min: f64, stream: &mut Stream) -> [usize; 4] {
    let aspect_log = (4.0f64 / 3.0).ln();
    for _ in 0..10 {
        let area = (h * w) as f64 * (area_min + (1.0 - area_min) * stream.uniform());
        let aspect = (aspect_log * (2.0 * stream.uniform() - 1.0)).exp();
        let [width, height] = [area * aspect, area / aspect].map(|s| s.sqrt().round() as usize);
        if (1..=w).contains(&width) && (1..=h).contains(&height) {
            let mut corner = |room: usize| stream.below(room as u64 + 1) as usize;
            return [corner(h - height), corner(w - width), height, width];
        }
    }
    let widest = (h as f64 * aspect_log.exp()).round() as usize;
    let highest = (w as f64 * aspect_log.exp()).round() as usize;
    let (height, width) = (h.min(highest).max(1), w.min(widest).max(1));
    [(h - height) / 2, (w - width) / 2, height, width]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::ScaleName;

    #[test]
    fn crops_stay_inside_and_have_the_asked_area_and_aspect() {
        let stream = &mut Stream::new(0);
        for [h, w] in [[64, 64], [300, 500], [1, 400], [7, 5]] {
            for _ in 0..200 {
                let [top, left, height, width] = random_crop([h, w], 0.08, stream);
                assert!(height >= 1 && width >= 1 && top + height <= h && left + width <= w);
                if h >= 64 {
                    let share = (height * width) as f64 / (h * w) as f64;
                    let aspect = width as f64 / height as f64;
                    assert!(share > 0.07 && (0.7..1.43).contains(&aspect), "{share} {aspect}");
                }
            }
        }
    }

    #[test]
    fn batches_are_functions_of_the_stream() {
        let data = load("dtd10", None).unwrap();
        let recipe = Recipe { image: 24, ..Recipe::of(ScaleName::Demo) };
        let pictures = Pictures::new(&recipe).unwrap();
        let batch = |seed: Option<u64>| {
            let stream = seed.map(Stream::new);
            pictures.batch(&data.test[..3], stream.as_ref()).unwrap()
        };
        let values = |seed| batch(seed).input.to_vec::<f32>();
        assert_eq!(batch(None).input.dims(), [3, 3, 24, 24]);
        assert_eq!(values(Some(1)), values(Some(1)));
        assert_ne!(values(Some(1)), values(Some(2)));
        assert_ne!(values(None), values(Some(1)));
        let labels: Vec<i64> = data.test[..3].iter().map(|s| s.label as i64).collect();
        assert_eq!(batch(None).target.to_vec::<i64>(), labels);
    }
}
