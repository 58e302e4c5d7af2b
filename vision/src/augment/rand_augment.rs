//! [`RandAugment`]: two random changes of an image, of random strength (Cubuk et al. 2020, as timm has it).

use tensor::Stream;

use super::affine::{Interpolation, affine, rotate};
use super::color;
use crate::datasets::Image;

/// A change of an image; the names are timm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Stretches each channel to the whole range.
    AutoContrast,
    /// Makes values about equally frequent.
    Equalize,
    /// `255 - v`.
    Invert,
    /// Turns by an angle in degrees, counterclockwise.
    Rotate,
    /// Keeps so many upper bits.
    Posterize,
    /// Inverts values from a threshold on.
    Solarize,
    /// Adds to values below 128.
    SolarizeAdd,
    /// Saturation by a factor.
    Color,
    /// Contrast by a factor.
    Contrast,
    /// Brightness by a factor.
    Brightness,
    /// Sharpness by a factor.
    Sharpness,
    /// Moves rows by so many pixels a row.
    ShearX,
    /// Moves columns by so many pixels a column.
    ShearY,
    /// Moves to the left by a part of the width.
    TranslateXRel,
    /// Moves up by a part of the height.
    TranslateYRel,
}

impl Op {
    /// All of them, in timm's order: those `RandAugment` draws from.
    pub const ALL: [Op; 15] = [
        Op::AutoContrast,
        Op::Equalize,
        Op::Invert,
        Op::Rotate,
        Op::Posterize,
        Op::Solarize,
        Op::SolarizeAdd,
        Op::Color,
        Op::Contrast,
        Op::Brightness,
        Op::Sharpness,
        Op::ShearX,
        Op::ShearY,
        Op::TranslateXRel,
        Op::TranslateYRel,
    ];

    /// The argument at a magnitude of 0 to 10, the more the stronger (timm's `increasing` variants); where the sign is
    /// random, that of a positive one. `None` for ops without an argument.
    pub fn argument(self, magnitude: f64) -> Option<f64> {
        let part = magnitude / 10.0;
        Some(match self {
            Op::AutoContrast | Op::Equalize | Op::Invert => return None,
            Op::Rotate => part * 30.0,
            Op::Posterize => 4.0 - (part * 4.0).trunc(),
            Op::Solarize => 256.0 - (part * 256.0).trunc(),
            Op::SolarizeAdd => (part * 110.0).trunc(),
            Op::Color | Op::Contrast | Op::Brightness | Op::Sharpness => 1.0 + part * 0.9,
            Op::ShearX | Op::ShearY => part * 0.3,
            Op::TranslateXRel | Op::TranslateYRel => part * 0.45,
        })
    }

    /// The argument of the opposite sign; the same where there is none.
    fn flipped(self, argument: f64) -> f64 {
        match self {
            Op::Color | Op::Contrast | Op::Brightness | Op::Sharpness => 2.0 - argument,
            Op::Rotate | Op::ShearX | Op::ShearY | Op::TranslateXRel | Op::TranslateYRel => {
                -argument
            }
            _ => argument,
        }
    }

    /// Changes an image as Pillow does, by an argument as [`argument`](Self::argument) gives it (not looked at where the op has
    /// none). `scratch` is memory for a second image; `fill` is the color of places that were outside.
    pub fn apply(
        self,
        image: &mut Image,
        argument: f64,
        how: Interpolation,
        fill: [u8; 3],
        scratch: &mut Image,
    ) {
        let width = image.width() as f64;
        let map = match self {
            Op::AutoContrast => return color::auto_contrast(image),
            Op::Equalize => return color::equalize(image),
            Op::Invert => return color::invert(image),
            Op::Posterize => return color::posterize(image, argument as u32),
            Op::Solarize => return color::solarize(image, argument as u32),
            Op::SolarizeAdd => return color::solarize_add(image, argument as u8),
            Op::Color => return color::saturate(image, argument),
            Op::Contrast => return color::contrast(image, argument),
            Op::Brightness => return color::brightness(image, argument),
            Op::Sharpness => {
                color::sharpness(image, scratch, argument);
                return std::mem::swap(image, scratch);
            }
            Op::Rotate => {
                rotate(image, scratch, argument, how, fill);
                return std::mem::swap(image, scratch);
            }
            Op::ShearX => [1.0, argument, 0.0, 0.0, 1.0, 0.0],
            Op::ShearY => [1.0, 0.0, 0.0, argument, 1.0, 0.0],
            Op::TranslateXRel => [1.0, 0.0, argument * width, 0.0, 1.0, 0.0],
            Op::TranslateYRel => [1.0, 0.0, 0.0, 0.0, 1.0, argument * image.height() as f64],
        };
        affine(image, scratch, map, how, fill);
        std::mem::swap(image, scratch);
    }
}

/// Random changes: `rand-m9-mstd0.5-inc1` of timm by default.
#[derive(Clone, Debug, PartialEq)]
pub struct RandAugment {
    /// Ops drawn for an image, with replacement. Default 2.
    pub count: usize,
    /// Probability that an op that was drawn is applied. Default 0.5.
    pub probability: f64,
    /// Mean of the magnitude, of 0 to 10. Default 9.
    pub magnitude: f64,
    /// Standard deviation of the magnitude, which is clipped to 0..=10. Default 0.5.
    pub magnitude_std: f64,
    /// Default bicubic.
    pub interpolation: Interpolation,
    /// The color of places that were outside. Default `[124, 116, 104]`, the mean of ImageNet.
    pub fill: [u8; 3],
}

impl Default for RandAugment {
    fn default() -> Self {
        RandAugment {
            count: 2,
            probability: 0.5,
            magnitude: 9.0,
            magnitude_std: 0.5,
            interpolation: Interpolation::Bicubic,
            fill: [124, 116, 104],
        }
    }
}

impl RandAugment {
    /// Changes an image; `scratch` is memory for a second one.
    pub fn apply(&self, image: &mut Image, scratch: &mut Image, stream: &mut Stream) {
        for _ in 0..self.count {
            let op = Op::ALL[stream.below(Op::ALL.len() as u64) as usize];
            if stream.uniform() >= self.probability {
                continue;
            }
            let magnitude =
                (self.magnitude + self.magnitude_std * stream.normal()).clamp(0.0, 10.0);
            let argument = op.argument(magnitude).unwrap_or(0.0);
            let argument = if stream.uniform() < 0.5 { op.flipped(argument) } else { argument };
            op.apply(image, argument, self.interpolation, self.fill, scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Image {
        Image::new(6, 8, (0..6 * 8 * 3).map(|i| (i * 37 % 251) as u8).collect())
    }

    /// Half of the draws are skipped, signs come both ways, all ops occur, and none of them changes the size.
    #[test]
    fn ops_are_drawn_as_often_as_they_should() {
        let augment = RandAugment { count: 1, ..RandAugment::default() };
        let (mut scratch, mut unchanged) = (Image::default(), 0);
        let mut stream = Stream::new(3);
        for _ in 0..2000 {
            let mut image = ramp();
            augment.apply(&mut image, &mut scratch, &mut stream);
            assert_eq!((image.height(), image.width()), (6, 8));
            unchanged += usize::from(image == ramp());
        }
        // 1000 that are not applied, and few that change nothing.
        assert!((950..1200).contains(&unchanged), "{unchanged}");
    }

    #[test]
    fn the_opposite_of_an_argument_is_on_the_other_side_of_no_change() {
        assert_eq!(Op::Rotate.flipped(27.0), -27.0);
        assert!((Op::Color.flipped(1.81) - 0.19).abs() < 1e-12);
        assert_eq!(Op::Solarize.flipped(26.0), 26.0);
        assert_eq!(Op::Posterize.argument(9.0), Some(1.0));
    }

    /// The goldens have square images only.
    #[test]
    fn translations_are_parts_of_their_own_axis_and_turns_of_oblong_images_are_filled() {
        let mut scratch = Image::default();
        let mut image = ramp();
        Op::TranslateXRel.apply(&mut image, 0.25, Interpolation::Nearest, [1, 2, 3], &mut scratch);
        assert_eq!((image.pixel(2, 0), image.pixel(2, 6)), (ramp().pixel(2, 2), [1, 2, 3]));
        let mut image = ramp();
        Op::TranslateYRel.apply(&mut image, -0.5, Interpolation::Nearest, [1, 2, 3], &mut scratch);
        assert_eq!((image.pixel(2, 1), image.pixel(3, 1)), ([1, 2, 3], ramp().pixel(0, 1)));
        let mut image = ramp();
        Op::Rotate.apply(&mut image, 90.0, Interpolation::Nearest, [1, 2, 3], &mut scratch);
        assert_eq!((image.pixel(0, 0), image.pixel(0, 1)), ([1, 2, 3], ramp().pixel(0, 6)));
    }
}
