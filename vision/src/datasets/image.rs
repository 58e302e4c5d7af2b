//! [`Image`]: the pixels that data sets hand out and augmentation works on.

use std::{
    fs::File,
    io::{BufRead, BufReader, Cursor, Seek},
    path::Path,
};

use image::{ImageReader, Limits};
use tensor::Tensor;

use crate::Error;

/// More pixels along an edge than cameras have: a decoder is not to take memory for more.
const MOST_PIXELS: u32 = 32_768;

/// Red, green and blue of 8 bits, row by row: `[height, width, 3]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    height: usize,
    width: usize,
    pixels: Vec<u8>,
}

impl Image {
    /// An image of these bytes, `[height, width, 3]`.
    ///
    /// # Panics
    /// If there are not `height * width * 3` of them.
    #[track_caller]
    pub fn new(height: usize, width: usize, pixels: Vec<u8>) -> Self {
        assert!(
            pixels.len() == height * width * 3,
            "Image: {} bytes are not [{height}, {width}, 3]",
            pixels.len()
        );
        Image { height, width, pixels }
    }

    /// One color everywhere.
    pub fn filled(height: usize, width: usize, color: [u8; 3]) -> Self {
        Image { height, width, pixels: color.repeat(height * width) }
    }

    /// Decodes a PNG or JPEG file. Gray is repeated, transparency ignored.
    ///
    /// # Errors
    /// [`Error::Image`] if the file cannot be read or decoded.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| e.to_string());
        file.and_then(|file| decode(BufReader::new(file)))
            .map_err(|reason| Error::Image { path: path.to_owned(), reason })
    }

    /// Decodes the bytes of a PNG or JPEG file; `path` is where they are from, for the message.
    ///
    /// # Errors
    /// [`Error::Image`] if they are neither.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        decode(Cursor::new(bytes)).map_err(|reason| Error::Image { path: path.to_owned(), reason })
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, to change them in place.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The color at row `y` and column `x`.
    ///
    /// # Panics
    /// If there is no such pixel.
    #[track_caller]
    pub fn pixel(&self, y: usize, x: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }

    /// Makes it `[height, width, 3]`, keeping its memory; the pixels are whatever was there.
    pub(crate) fn reshape(&mut self, height: usize, width: usize) {
        self.pixels.resize(height * width * 3, 0);
        (self.height, self.width) = (height, width);
    }

    /// Becomes a copy of `other`, in its own memory.
    pub(crate) fn copy_from(&mut self, other: &Image) {
        self.pixels.clone_from(&other.pixels);
        (self.height, self.width) = (other.height, other.width);
    }

    /// `[3, height, width]`, U8.
    pub fn to_tensor(&self) -> Tensor {
        let pixels = Tensor::new(self.pixels.as_slice(), [self.height, self.width, 3]);
        pixels.permute(&[2, 0, 1]).contiguous()
    }
}

fn decode(bytes: impl BufRead + Seek) -> Result<Image, String> {
    let mut reader = ImageReader::new(bytes).with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(MOST_PIXELS), Some(MOST_PIXELS));
    reader.limits(limits);
    let picture = reader.decode().map_err(|e| e.to_string())?.into_rgb8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Image::new(height, width, picture.into_raw()))
}
