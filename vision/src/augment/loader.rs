//! [`loader`]: batches of augmented images, made ahead by threads.

use std::sync::Arc;

use nn::data::{BoxError, DataLoader, Dataset, LoaderOptions};
use tensor::{Stream, Tensor};

use super::{Mix, Scratch, Transform};
use crate::datasets::ImageSet;

/// Images and what a model is to say of them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// `[N, 3, height, width]`, F32.
    pub images: Tensor,
    /// `[N]`, I64.
    pub labels: Tensor,
    /// `[N, classes]`, F32, where images are mixed.
    pub targets: Option<Tensor>,
}

/// The images of a set by their indices: pixels are read where they are needed, into memory that is there.
#[derive(Clone, Debug)]
pub struct Indices(Arc<ImageSet>);

impl Dataset for Indices {
    type Item = usize;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<usize, BoxError> {
        Ok(index)
    }
}

/// A loader of `set`: every image goes through `transform`, every batch through `mix`.
///
/// What is random in an image comes from a stream of its own, a function of seed, epoch, batch and the place in it: batches do
/// not depend on the number of workers. A batch of an odd number of images (the last one) is not mixed, as its middle
/// image has no partner; its targets are there all the same. Beside the batch's own tensors memory is taken once a batch, none
/// for each image (apart from what decoders take where the set is not [`decoded`](ImageSet::decoded)).
///
/// The images of a batch must be of one size after the transform: an error of the loader if not.
///
/// # Panics
/// If the batch size is 0.
#[track_caller]
pub fn loader(
    set: ImageSet,
    options: LoaderOptions,
    transform: Transform,
    mix: Option<Mix>,
) -> DataLoader<Indices, Batch> {
    let set = Arc::new(set);
    let images = set.clone();
    DataLoader::new(Indices(set), options, move |indices, stream| {
        batch(&images, &indices, &transform, mix.as_ref(), stream)
    })
}

fn batch(
    set: &ImageSet,
    indices: &[usize],
    transform: &Transform,
    mix: Option<&Mix>,
    stream: &mut Stream,
) -> Result<Batch, BoxError> {
    let (mut scratch, mut pixels, mut size) = (Scratch::default(), Vec::new(), None);
    for (i, &index) in indices.iter().enumerate() {
        set.read_into(index, &mut scratch.image)?;
        let found = transform.output_size([scratch.image.height(), scratch.image.width()]);
        let [height, width] = *size.get_or_insert(found);
        if found != [height, width] {
            let (expected, found) = ((height, width), (found[0], found[1]));
            return Err(crate::Error::ImageSize { index, expected, found }.into());
        }
        let len = 3 * height * width;
        if i == 0 {
            pixels.resize(indices.len() * len, 0.0);
        }
        let mut own = stream.derive_index(i as u64);
        transform.apply(&mut scratch, &mut own, &mut pixels[i * len..][..len]);
    }
    let [height, width] = size.unwrap_or_default();
    let labels: Vec<usize> = indices.iter().map(|&i| set.label(i)).collect();
    let (n, classes) = (labels.len(), set.classes().len());
    let targets = mix.map(|mix| {
        let targets = if n % 2 == 0 {
            let mut own = stream.derive("mix");
            mix.apply(&mut pixels, [height, width], &labels, classes, &mut own)
        } else {
            super::mix::targets(&labels, classes, 1.0, mix.smoothing)
        };
        Tensor::new(&targets, [n, classes])
    });
    let labels: Vec<i64> = labels.iter().map(|&l| l as i64).collect();
    Ok(Batch {
        images: Tensor::new(&pixels, [n, 3, height, width]),
        labels: Tensor::new(&labels, [n]),
        targets,
    })
}

#[cfg(test)]
mod tests {
    use nn::data::Order;

    use super::*;
    use crate::{
        augment::Crop,
        datasets::{Split, dtd10},
    };

    fn bits(workers: usize) -> Vec<u32> {
        let options = LoaderOptions {
            batch_size: 6,
            order: Order::Shuffle,
            seed: 3,
            workers,
            ..LoaderOptions::default()
        };
        let set = dtd10(Split::Test).first_of_each_class(2);
        let transform = Transform::training(Crop::RandomResized { size: 20 });
        let loader = loader(set, options, transform, Some(Mix::default()));
        let batches: Vec<Batch> = loader.epoch(1).collect::<Result<_, _>>().unwrap();
        assert_eq!(batches.len(), 4);
        assert_eq!(batches[3].images.dims(), [2, 3, 20, 20]);
        let numbers = batches.iter().flat_map(|b| {
            let targets = b.targets.as_ref().unwrap().to_vec::<f32>();
            [b.images.to_vec::<f32>(), targets].concat()
        });
        numbers.map(f32::to_bits).collect()
    }

    #[test]
    fn batches_do_not_depend_on_the_number_of_workers() {
        let alone = bits(0);
        assert_eq!(alone, bits(1));
        assert_eq!(alone, bits(3));
    }

    #[test]
    fn without_anything_random_a_batch_is_the_set() {
        let set = dtd10(Split::Test).select(&[4, 11, 3]);
        let options = LoaderOptions { batch_size: 3, ..LoaderOptions::default() };
        let plain =
            Transform { mean: [0.0; 3], std: [1.0; 3], ..Transform::evaluation(Crop::Whole) };
        let mix = Mix { smoothing: 0.0, ..Mix::default() };
        let loader = loader(set.clone(), options, plain, Some(mix));
        let batch = loader.epoch(0).next().unwrap().unwrap();
        for i in 0..3 {
            let (image, label) = set.get(i).unwrap();
            assert_eq!(batch.labels.to_vec::<i64>()[i], label as i64);
            let expected: Vec<f32> = image
                .to_tensor()
                .to_vec::<u8>()
                .iter()
                .map(|&v| (f64::from(v) / 255.0) as f32)
                .collect();
            let found = batch.images.to_vec::<f32>();
            assert_eq!(found[i * expected.len()..][..expected.len()], expected);
            // Three images: nothing is mixed.
            assert_eq!(batch.targets.as_ref().unwrap().to_vec::<f32>()[i * 10 + label], 1.0);
        }
    }
}
