//! Small parts of real data sets that come with the program, for demonstrations and tests. `vision/data/*/README.md` says where
//! each is from and what was left out.

use std::{borrow::Cow, path::Path};

use super::{Image, ImageSet, set::Source};

/// Training or test images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What a model learns from.
    Train,
    /// What it is judged by: `test` of CIFAR, `val` of TinyImageNet, whose test classes are not public.
    Test,
}

impl Split {
    fn pick<T>(self, train: T, test: T) -> T {
        match self {
            Split::Train => train,
            Split::Test => test,
        }
    }
}

/// A file of `vision/data`.
macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../../data/", $name))
    };
}

/// CIFAR-100, 32 x 32: 10,000 of the training images, 100 a class, and 2,000 of the test images, 20 a class.
///
/// Any prefix of `100 k` images has k of each class. The pixels went through JPEG of quality 85 (PSNR about 34 dB).
pub fn cifar100_part(split: Split) -> ImageSet {
    let mosaic = split.pick(&data!("cifar100/train.jpg")[..], data!("cifar100/test.jpg"));
    let labels =
        split.pick(&data!("cifar100/train_labels.bin")[..], data!("cifar100/test_labels.bin"));
    tiles(mosaic, 32, labels, include_str!("../../data/cifar100/classes.txt"))
}

/// Ten classes of the Describable Textures Dataset, 64 x 64: 40 training and 20 test images of each.
pub fn dtd10(split: Split) -> ImageSet {
    let mosaic = split.pick(&data!("dtd10/train.jpg")[..], data!("dtd10/test.jpg"));
    let labels = split.pick(&data!("dtd10/train_labels.bin")[..], data!("dtd10/test_labels.bin"));
    tiles(mosaic, 64, labels, include_str!("../../data/dtd10/classes.txt"))
}

/// Twenty classes of TinyImageNet, 64 x 64, as the original JPEG files: 80 training and 20 validation images of each.
pub fn tiny_imagenet_part(split: Split) -> ImageSet {
    let files =
        split.pick(&data!("tiny_imagenet/train.jpegs")[..], data!("tiny_imagenet/val.jpegs"));
    let lengths = split.pick(
        &data!("tiny_imagenet/train_lengths.bin")[..],
        data!("tiny_imagenet/val_lengths.bin"),
    );
    let labels = split
        .pick(&data!("tiny_imagenet/train_labels.bin")[..], data!("tiny_imagenet/val_labels.bin"));
    let ends = lengths.chunks_exact(2).scan(0, |end, length| {
        *end += usize::from(u16::from_le_bytes([length[0], length[1]]));
        Some(*end)
    });
    let source = Source::Encoded {
        origin: Path::new("tiny_imagenet/*.jpegs").to_owned(),
        bytes: Cow::Borrowed(files),
        ends: ends.collect(),
    };
    // `wnid TAB words`
    let classes = include_str!("../../data/tiny_imagenet/classes.txt").lines();
    let classes = classes.filter_map(|l| l.split('\t').nth(1)).map(str::to_owned).collect();
    ImageSet::new(source, &as_labels(labels), classes)
}

fn as_labels(bytes: &[u8]) -> Vec<u32> {
    bytes.iter().map(|&b| b.into()).collect()
}

/// The tiles of a mosaic of square images, row by row, as many as there are labels.
fn tiles(jpeg: &[u8], size: usize, labels: &[u8], classes: &str) -> ImageSet {
    let mosaic = Image::decode(jpeg, Path::new("mosaic")).expect("a file of this crate");
    let columns = mosaic.width() / size;
    let mut bytes = Vec::with_capacity(labels.len() * size * size * 3);
    for tile in 0..labels.len() {
        let (top, left) = (tile / columns * size, tile % columns * size);
        for y in top..top + size {
            let start = (y * mosaic.width() + left) * 3;
            bytes.extend_from_slice(&mosaic.pixels()[start..start + size * 3]);
        }
    }
    let source = Source::Pixels { height: size, width: size, bytes };
    ImageSet::new(source, &as_labels(labels), classes.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_as_many_images_of_every_class() {
        for (name, read, counts) in [
            ("cifar100", cifar100_part as fn(Split) -> ImageSet, [100, 20]),
            ("dtd10", dtd10, [40, 20]),
            ("tiny_imagenet", tiny_imagenet_part, [80, 20]),
        ] {
            for (split, count) in [Split::Train, Split::Test].into_iter().zip(counts) {
                let set = read(split);
                assert_eq!(set.len(), count * set.classes().len(), "{name}");
                for class in 0..set.classes().len() {
                    let found = (0..set.len()).filter(|&i| set.label(i) == class).count();
                    assert_eq!(found, count, "{name}, {}", set.classes()[class]);
                }
                let (image, _) = set.get(set.len() - 1).unwrap();
                let size = if name == "cifar100" { 32 } else { 64 };
                assert_eq!((image.height(), image.width()), (size, size));
            }
        }
    }

    /// Tiles that were cut one off would mix neighbors, and their mean color would not tell classes apart.
    #[test]
    fn pixels_belong_to_their_labels() {
        let set = cifar100_part(Split::Train);
        assert_eq!(set.classes()[0], "apple");
        let blue = |class: &str| {
            let of_class = (0..set.len()).filter(|&i| set.classes()[set.label(i)] == class);
            let bytes: Vec<u8> = of_class
                .flat_map(|i| set.get(i).unwrap().0.pixels().to_vec())
                .skip(2)
                .step_by(3)
                .collect();
            bytes.iter().map(|&b| f64::from(b)).sum::<f64>() / bytes.len() as f64
        };
        assert!(blue("sea") > blue("orange") + 60.0, "{} {}", blue("sea"), blue("orange"));
        let tiny = tiny_imagenet_part(Split::Test);
        assert_eq!(tiny.classes()[2], "jellyfish");
        assert!(tiny.iter().all(|item| item.is_ok()));
    }

    #[test]
    fn parts_share_pixels_and_count_labels_from_their_first_class() {
        let set = dtd10(Split::Train);
        let half = set.with_classes(5..10);
        assert_eq!((half.len(), &half.classes()[0]), (200, &set.classes()[5]));
        assert!((0..half.len()).all(|i| half.label(i) < 5));
        let few = half.first_of_each_class(2);
        assert_eq!(few.len(), 10);
        let again = few.select(&[3, 3]);
        assert_eq!(again.get(0).unwrap(), again.get(1).unwrap());
        assert_eq!(again.get(0).unwrap(), few.get(3).unwrap());
        let tiny = tiny_imagenet_part(Split::Train).select(&[7, 9]);
        let decoded = tiny.decoded().unwrap();
        assert_eq!(decoded.get(1).unwrap(), tiny.get(1).unwrap());
    }
}
