//! Loading: images through the whole recipe of training into mixed batches, by as many threads as there are to compute with.

use std::hint::black_box;

use nn::data::{LoaderOptions, Order};
use vision::{
    augment::{Crop, Mix, Transform, loader},
    datasets::{ImageSet, Split, cifar100_part, tiny_imagenet_part},
};

use super::{Prepared, Workload};

/// Images of a batch.
const BATCH: usize = 100;

pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload::new(
            "loader_cifar_2000",
            "an epoch of 2,000 images of 32 pixels in memory: crop, flip, RandAugment, erasing, Mixup or CutMix (always on the CPU)",
            |_| {
                epochs(
                    cifar100_part(Split::Train).select(&first(2000)),
                    Crop::Padded { size: 32, padding: 4 },
                )
            },
        ),
        Workload::new(
            "loader_tiny_400",
            "an epoch of 400 JPEG files of 64 pixels to 224: random part, flip, RandAugment, erasing, Mixup or CutMix (always on the \
             CPU)",
            |_| {
                epochs(
                    tiny_imagenet_part(Split::Train).select(&first(400)),
                    Crop::RandomResized { size: 224 },
                )
            },
        ),
    ]
}

fn first(n: usize) -> Vec<usize> {
    (0..n).collect()
}

/// An epoch after the other, threads started anew for each.
fn epochs(set: ImageSet, crop: Crop) -> Prepared {
    let options = LoaderOptions {
        batch_size: BATCH,
        order: Order::Shuffle,
        workers: rayon::current_num_threads(),
        ..Default::default()
    };
    let batches = loader(set, options, Transform::training(crop), Some(Mix::default()));
    let mut epoch = 0;
    let step = move || {
        for batch in batches.epoch(epoch) {
            black_box(batch.expect("images that come with the program"));
        }
        epoch += 1;
    };
    Prepared { step: Box::new(step), flop: None, bytes: None }
}
