//! [`Transform`]: from an image of a data set to the input of a model.

use tensor::Stream;

use super::{Filter, RandAugment, RandomErasing, resize::resize_part};
use crate::{datasets::Image, imagenet};

/// How the pixels of an input are chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Crop {
    /// As they are.
    Whole,
    /// A random square of `size` of the image with `padding` pixels of black around it.
    Padded {
        /// Edge of the square.
        size: usize,
        /// Pixels added on each side.
        padding: usize,
    },
    /// A random part of 8 to 100 % of the area and 3/4 to 4/3 of aspect, resized to a square (bicubic).
    ///
    /// As torchvision's and timm's `RandomResizedCrop`.
    RandomResized {
        /// Edge of the square.
        size: usize,
    },
    /// Resized (bicubic) to a shorter edge of `resize`, then the square in the middle.
    Center {
        /// Shorter edge before the crop.
        resize: usize,
        /// Edge of the square, at most `resize`.
        size: usize,
    },
}

/// What is done to every image, in this order: crop, flip, RandAugment, normalization, erasing.
#[derive(Clone, Debug, PartialEq)]
pub struct Transform {
    /// The pixels.
    pub crop: Crop,
    /// Probability that left and right are exchanged.
    pub flip: f64,
    /// Random changes.
    pub rand_augment: Option<RandAugment>,
    /// Mean of red, green and blue, of 0 to 1.
    pub mean: [f64; 3],
    /// Standard deviation of the same.
    pub std: [f64; 3],
    /// A box of noise.
    pub erasing: Option<RandomErasing>,
}

/// Memory for one image on its way; reused from image to image.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The image, for a reader to fill.
    pub image: Image,
    other: Image,
    rows: Vec<u8>,
}

impl From<Image> for Scratch {
    fn from(image: Image) -> Self {
        Scratch { image, ..Scratch::default() }
    }
}

impl Transform {
    /// What is not random: the pixels of `crop`, normalized as ImageNet's.
    pub fn evaluation(crop: Crop) -> Self {
        Transform {
            crop,
            flip: 0.0,
            rand_augment: None,
            mean: imagenet::MEAN,
            std: imagenet::STD,
            erasing: None,
        }
    }

    /// The paper's training recipe (section 2.2 of the specification): flips, RandAugment, random erasing.
    pub fn training(crop: Crop) -> Self {
        Transform {
            flip: 0.5,
            rand_augment: Some(RandAugment::default()),
            erasing: Some(RandomErasing::default()),
            ..Self::evaluation(crop)
        }
    }

    /// Height and width of what becomes of an image of `[height, width]`.
    pub fn output_size(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self.crop {
            Crop::Whole => [height, width],
            Crop::Padded { size, .. }
            | Crop::RandomResized { size }
            | Crop::Center { size, .. } => [size; 2],
        }
    }

    /// Makes `scratch.image` into `out`, `[3, height, width]`; what is random comes from `stream`.
    ///
    /// # Panics
    /// If the image is empty, a crop is larger than it can be, or `out` has another length than
    /// [`output_size`](Self::output_size) says.
    #[track_caller]
    pub fn apply(&self, scratch: &mut Scratch, stream: &mut Stream, out: &mut [f32]) {
        self.crop(scratch, stream);
        let Scratch { image, other, .. } = scratch;
        if self.flip > 0.0 && stream.uniform() < self.flip {
            flip(image);
        }
        if let Some(augment) = &self.rand_augment {
            augment.apply(image, other, stream);
        }
        self.normalize(image, out);
        if let Some(erasing) = &self.erasing {
            erasing.apply(out, [image.height(), image.width()], stream);
        }
    }

    fn crop(&self, scratch: &mut Scratch, stream: &mut Stream) {
        let Scratch { image, other, rows } = scratch;
        let [height, width] = [image.height(), image.width()];
        match self.crop {
            Crop::Whole => return,
            Crop::Padded { size, padding } => {
                let [top, left] = [height, width].map(|len| {
                    assert!(size <= len + 2 * padding, "Crop: {size} of {height} x {width}");
                    stream.below((len + 2 * padding - size + 1) as u64) as usize
                });
                padded(image, [top, left], padding, size, other);
            }
            Crop::RandomResized { size } => {
                let part = random_part([height, width], stream);
                resize_part(image, part, [size; 2], Filter::Bicubic, rows, other);
            }
            Crop::Center { resize, size } => {
                assert!(size <= resize, "Crop: {size} of {resize} pixels");
                center(image, resize, size, rows, other);
            }
        }
        std::mem::swap(image, other);
    }

    /// `(v / 255 - mean) / std`, channel by channel.
    fn normalize(&self, image: &Image, out: &mut [f32]) {
        let count = image.height() * image.width();
        assert!(out.len() == 3 * count, "Transform: {} numbers for {count} pixels", out.len());
        for (channel, out) in out.chunks_exact_mut(count.max(1)).enumerate() {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            let table: [f32; 256] = std::array::from_fn(|v| normalize(v as u8, mean, std) as f32);
            for (out, pixel) in out.iter_mut().zip(image.pixels().chunks_exact(3)) {
                *out = table[usize::from(pixel[channel])];
            }
        }
    }
}

/// A byte as the input of a model: `(v / 255 - mean) / std`.
pub fn normalize(v: u8, mean: f64, std: f64) -> f64 {
    (f64::from(v) / 255.0 - mean) / std
}

/// Left and right exchanged.
fn flip(image: &mut Image) {
    let row = image.width() * 3;
    for row in image.pixels_mut().chunks_exact_mut(row.max(1)) {
        let (mut left, mut right) = (0, row.len() - 3);
        while left < right {
            for c in 0..3 {
                row.swap(left + c, right + c);
            }
            (left, right) = (left + 3, right - 3);
        }
    }
}

/// The square at `[top, left]` of the image with black around it.
fn padded(from: &Image, [top, left]: [usize; 2], padding: usize, size: usize, into: &mut Image) {
    into.reshape(size, size);
    let (height, width) = (from.height(), from.width());
    for (y, row) in into.pixels_mut().chunks_exact_mut(size * 3).enumerate() {
        row.fill(0);
        let Some(y) = (top + y).checked_sub(padding).filter(|&y| y < height) else { continue };
        // The columns of the square that lie inside of the image.
        let first = padding.saturating_sub(left).min(size);
        let last = (padding + width).saturating_sub(left).min(size);
        let start = (y * width + (left + first).saturating_sub(padding)) * 3;
        let len = last.saturating_sub(first) * 3;
        row[first * 3..][..len].copy_from_slice(&from.pixels()[start..start + len]);
    }
}

/// `[top, left, height, width]` of a random part; the largest in the middle whose aspect is allowed, if none fits.
fn random_part([height, width]: [usize; 2], stream: &mut Stream) -> [usize; 4] {
    const TRIES: usize = 10;
    const LEAST_AREA: f64 = 0.08;
    const LEAST_ASPECT: f64 = 3.0 / 4.0;
    let area = (height * width) as f64;
    for _ in 0..TRIES {
        let target = area * (LEAST_AREA + (1.0 - LEAST_AREA) * stream.uniform());
        let aspect = (LEAST_ASPECT.ln() * (1.0 - 2.0 * stream.uniform())).exp();
        let w = (target * aspect).sqrt().round_ties_even() as usize;
        let h = (target / aspect).sqrt().round_ties_even() as usize;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = stream.below((height - h + 1) as u64) as usize;
            let left = stream.below((width - w + 1) as u64) as usize;
            return [top, left, h, w];
        }
    }
    let aspect = width as f64 / height as f64;
    let h =
        if aspect < LEAST_ASPECT { (width as f64 / LEAST_ASPECT).round() as usize } else { height };
    let w = if aspect > 1.0 / LEAST_ASPECT {
        (height as f64 / LEAST_ASPECT).round() as usize
    } else {
        width
    };
    [(height - h) / 2, (width - w) / 2, h, w]
}

fn center(from: &Image, resize: usize, size: usize, rows: &mut Vec<u8>, into: &mut Image) {
    let (height, width) = (from.height(), from.width());
    let longer = |edge: usize, shorter: usize| resize * edge / shorter.max(1);
    let [h, w] = match height <= width {
        true => [resize, longer(width, height)],
        false => [longer(height, width), resize],
    };
    let mut resized = Image::default();
    resize_part(from, [0, 0, height, width], [h, w], Filter::Bicubic, rows, &mut resized);
    // The corner to the nearest even, as torchvision rounds it.
    let [top, left] = [h, w].map(|n| ((n - size) as f64 / 2.0).round_ties_even() as usize);
    padded(&resized, [top, left], 0, size, into);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(height: usize, width: usize) -> Image {
        let pixel = |i: usize| [(i / width) as u8 + 1, (i % width) as u8 + 1, 9];
        Image::new(height, width, (0..height * width).flat_map(pixel).collect())
    }

    #[test]
    fn padded_crops_are_windows_of_the_image_in_black() {
        for (top, left) in [(0, 0), (2, 5), (8, 8), (4, 4)] {
            let mut out = Image::default();
            padded(&numbered(8, 8), [top, left], 4, 8, &mut out);
            for (y, x) in (0..8).flat_map(|y| (0..8).map(move |x| (y, x))) {
                let inside = (4..12).contains(&(y + top)) && (4..12).contains(&(x + left));
                let expected =
                    if inside { numbered(8, 8).pixel(y + top - 4, x + left - 4) } else { [0; 3] };
                assert_eq!(out.pixel(y, x), expected, "({top}, {left}) at ({y}, {x})");
            }
        }
    }

    #[test]
    fn a_flip_exchanges_left_and_right() {
        for width in [4, 5] {
            let (mut image, old) = (numbered(3, width), numbered(3, width));
            flip(&mut image);
            assert_eq!(image.pixel(2, 0), old.pixel(2, width - 1));
            flip(&mut image);
            assert_eq!(image, old);
        }
    }

    #[test]
    fn random_parts_cover_what_they_may() {
        let (mut stream, mut areas) = (Stream::new(5), Vec::new());
        for _ in 0..3000 {
            let [top, left, h, w] = random_part([64, 48], &mut stream);
            assert!(top + h <= 64 && left + w <= 48);
            areas.push((h * w) as f64 / (64.0 * 48.0));
            let aspect = w as f64 / h as f64;
            assert!((0.68..1.48).contains(&aspect), "{aspect}");
        }
        let least = areas.iter().fold(1.0f64, |a, &b| a.min(b));
        assert!((0.07..0.1).contains(&least), "{least}");
        // Nothing of this shape can be three quarters wide.
        assert_eq!(random_part([400, 3], &mut stream), [198, 0, 4, 3]);
    }

    #[test]
    fn evaluation_is_the_same_for_every_stream_and_training_is_not() {
        let run = |transform: &Transform, seed| {
            let mut scratch = Scratch { image: numbered(40, 32), ..Scratch::default() };
            let [h, w] = transform.output_size([40, 32]);
            let mut out = vec![0.0; 3 * h * w];
            transform.apply(&mut scratch, &mut Stream::new(seed), &mut out);
            out
        };
        let evaluation = Transform::evaluation(Crop::Center { resize: 36, size: 30 });
        assert_eq!(run(&evaluation, 1), run(&evaluation, 2));
        assert_eq!(run(&evaluation, 1).len(), 3 * 30 * 30);
        for crop in
            [Crop::Whole, Crop::Padded { size: 32, padding: 4 }, Crop::RandomResized { size: 24 }]
        {
            let training = Transform::training(crop);
            assert_eq!(run(&training, 1), run(&training, 1));
            assert_ne!(run(&training, 1), run(&training, 2));
        }
    }
}
