//! 600 photographs of textures: ten classes of the Describable Textures Dataset at 64x64, which come with this crate.
//!
//! Provenance and packing: `vision/data/dtd10/README.md`.

use tensor::Tensor;

use crate::picture::decoded;

const TRAIN: &[u8] = include_bytes!("../../data/dtd10/train.jpg");
const TEST: &[u8] = include_bytes!("../../data/dtd10/test.jpg");
const TRAIN_LABELS: &[u8] = include_bytes!("../../data/dtd10/train_labels.npy");
const TEST_LABELS: &[u8] = include_bytes!("../../data/dtd10/test_labels.npy");
const CLASSES: &str = include_str!("../../data/dtd10/classes.txt");

/// Side of a picture in pixels.
const SIDE: usize = 64;
/// Pictures of a row of the mosaics.
const COLUMNS: usize = 30;

/// A picture `[1, 3, 64, 64]`, f32 of 0 to 255, and its class.
pub type Texture = (Tensor, usize);

/// The ten classes: `banded`, `blotchy`, ….
pub fn classes() -> Vec<&'static str> {
    CLASSES.lines().collect()
}

/// 40 pictures of each class to learn from, in a mixed order.
pub fn train() -> Vec<Texture> {
    tiles(TRAIN, TRAIN_LABELS)
}

/// 20 other pictures of each class. The split is random and not the official one.
///
/// ```
/// let test = vision::datasets::dtd10::test();
/// let (picture, class) = &test[0];
/// assert_eq!((test.len(), picture.dims()), (200, &[1, 3, 64, 64][..]));
/// assert_eq!(vision::datasets::dtd10::classes()[*class], "cobwebbed");
/// ```
pub fn test() -> Vec<Texture> {
    tiles(TEST, TEST_LABELS)
}

fn tiles(mosaic: &[u8], labels: &[u8]) -> Vec<Texture> {
    let mosaic = decoded(mosaic).expect("the embedded pictures are whole");
    let labels =
        tensor::io::read_npy_from("labels.npy".as_ref(), &mut &labels[..], labels.len() as u64)
            .expect("the embedded labels are whole");
    let tile = |(i, label): (usize, u8)| {
        let (row, column) = (i / COLUMNS, i % COLUMNS);
        let picture = mosaic.narrow(2, row * SIDE, SIDE).narrow(3, column * SIDE, SIDE);
        (picture.contiguous(), usize::from(label))
    };
    labels.to_vec::<u8>().into_iter().enumerate().map(tile).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_as_many_pictures() {
        for (set, each) in [(train(), 40), (test(), 20)] {
            for class in 0..classes().len() {
                assert_eq!(set.iter().filter(|(_, c)| *c == class).count(), each);
            }
            // None is blank, as a tile beyond the last would be.
            for (picture, _) in &set {
                let values = picture.to_f64_vec();
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                assert!(values.iter().any(|v| (v - mean).abs() > 5.0));
            }
        }
    }
}
