//! Picture files as inputs of models.

use std::path::Path;

use tensor::{DType, Interpolate, InterpolateMode, Tensor};

use crate::{Error, datasets::Image, imagenet};

/// Decodes a PNG or JPEG file to `[1, 3, H, W]`, f32 of 0 to 255. Gray is repeated, transparency ignored.
///
/// # Errors
/// [`Error::Image`] if the file cannot be read or decoded.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor, Error> {
    let pixels = Image::read(path)?.to_tensor().unsqueeze(0);
    Ok(pixels.to_dtype(DType::F32))
}

/// How a picture becomes an input, as torchvision's `ImageClassification` does; the default is that of most of its models.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    /// What the shorter edge is resized to. Default 256.
    pub resize: usize,
    /// How it is resized. Default bilinear; timm's newer models and the transfer experiment take bicubic.
    pub interpolation: InterpolateMode,
    /// Height and width of the middle that is kept; at most `resize`. Default 224.
    pub crop: usize,
    /// Mean of red, green and blue, of 0 to 1. Default [`imagenet::MEAN`].
    pub mean: [f64; 3],
    /// Standard deviation of the same. Default [`imagenet::STD`].
    pub std: [f64; 3],
}

impl Default for Preprocess {
    fn default() -> Self {
        Preprocess {
            resize: 256,
            interpolation: InterpolateMode::Bilinear,
            crop: 224,
            mean: imagenet::MEAN,
            std: imagenet::STD,
        }
    }
}

impl Preprocess {
    /// Resizes (antialiased, rounded to whole values as pictures have), crops the middle and normalizes:
    /// `[1, 3, H, W]` of 0 to 255 to `[1, 3, crop, crop]`.
    ///
    /// The longer edge is rounded down and the crop's corner to the nearest even, as torchvision does.
    ///
    /// # Panics
    /// If `crop` is larger than `resize`, or the picture is empty.
    #[track_caller]
    pub fn apply(&self, picture: &Tensor) -> Tensor {
        let &[_, _, h, w] = picture.dims() else {
            panic!("Preprocess: {} is not [1, 3, H, W]", picture.shape())
        };
        assert!(
            self.crop <= self.resize && h > 0 && w > 0,
            "Preprocess: {} is not [1, 3, H, W] or a crop of {} is more than {} pixels",
            picture.shape(),
            self.crop,
            self.resize
        );
        let longer = |edge: usize, shorter: usize| self.resize * edge / shorter;
        let size = match h <= w {
            true => [self.resize, longer(w, h)],
            false => [longer(h, w), self.resize],
        };
        let resized = resized(picture, size, self.interpolation);
        let [top, left] = size.map(|n| ((n - self.crop) as f64 / 2.0).round_ties_even() as usize);
        let middle = resized.narrow(2, top, self.crop).narrow(3, left, self.crop);
        let row = |values: [f64; 3]| Tensor::new(&values, [1, 3, 1, 1]).to_dtype(DType::F32);
        let scaled = middle.mul_scalar(1.0 / 255.0);
        &(&scaled - &row(self.mean)) / &row(self.std)
    }
}

/// A picture `[N, 3, H, W]` of 0 to 255 at another size `[height, width]`: antialiased, whole values.
///
/// As Pillow's `resize`: first the width, then the height, each rounded and limited to 0 to 255.
///
/// # Panics
/// If the picture or the size is empty.
#[track_caller]
pub fn resized(picture: &Tensor, [height, width]: [usize; 2], mode: InterpolateMode) -> Tensor {
    let how = Interpolate { mode, align_corners: false, antialias: true };
    // A half is rounded up.
    let whole = |t: Tensor| t.add_scalar(0.5).clamp(0.0, 255.0).to_dtype(DType::U8);
    let wide = whole(picture.interpolate([picture.dims()[2], width], &how)).to_dtype(DType::F32);
    whole(wide.interpolate([height, width], &how)).to_dtype(DType::F32)
}

#[cfg(test)]
mod tests {
    use tensor::Device;

    use super::*;

    #[test]
    fn the_middle_of_the_resized_picture_is_normalized() {
        // Left half 0, right half 255, 40 x 80: the shorter edge becomes 20, of 20 x 40 the middle 10 x 10 is kept.
        let columns: Vec<f32> = (0..80).map(|x| if x < 40 { 0.0 } else { 255.0 }).collect();
        let picture = Tensor::new(&columns, [1, 1, 1, 80]).broadcast_to([1, 3, 40, 80]);
        let how = Preprocess {
            resize: 20,
            crop: 10,
            mean: [0.5; 3],
            std: [0.25, 0.5, 1.0],
            ..Preprocess::default()
        };
        let input = how.apply(&picture);
        assert_eq!(input.dims(), [1, 3, 10, 10]);
        let row = |channel: usize| input.narrow(1, channel, 1).narrow(2, 4, 1).to_f64_vec();
        assert_eq!((row(0)[0], row(0)[9]), (-2.0, 2.0));
        assert_eq!((row(2)[0], row(2)[9]), (-0.5, 0.5));
        assert!(row(1)[4] < 0.0 && row(1)[5] > 0.0);
    }

    #[test]
    fn what_is_no_picture_is_an_error() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("Cargo.toml: "), "{message}");
        let small = Tensor::zeros([1, 3, 5, 7], DType::F32, Device::Cpu);
        let how = Preprocess { resize: 8, crop: 8, ..Preprocess::default() };
        assert_eq!(how.apply(&small).dims(), [1, 3, 8, 8]);
    }
}
