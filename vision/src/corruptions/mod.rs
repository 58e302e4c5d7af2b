//! The corruptions of CIFAR-10-C and CIFAR-100-C: nineteen ways to spoil an image, each in five severities.
//!
//! For images of 32 x 32 pixels, with the parameters that the published sets were made with; where those depend on the size of
//! an image they are scaled here. What is not random gives the values of the published sets, within the rounding of the
//! libraries they were made with; what is random has the same distribution, from a stream that is handed in.
//!
//! Source: Hendrycks and Dietterich 2019, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations".
//!
//! ```
//! use tensor::Stream;
//! use vision::{corruptions::{Corruption, Severity, corrupt}, datasets::{Split, cifar100_part}};
//!
//! let (image, _) = cifar100_part(Split::Test).get(0)?;
//! let severity = Severity::new(3).unwrap();
//! let foggy = corrupt(&image, Corruption::Fog, severity, &mut Stream::new(0), &[])?;
//! assert_ne!(foggy, image);
//! # Ok::<(), vision::Error>(())
//! ```

mod blur;
mod digital;
mod grid;
mod jpeg;
mod noise;
mod splash;
mod weather;

use tensor::Stream;

use crate::{
    Error,
    datasets::{Image, ImageSet},
};
use grid::Grid;

/// A way to spoil an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Corruption {
    /// Normal noise.
    GaussianNoise,
    /// Noise of counted photons.
    ShotNoise,
    /// Values that are lost: black or full.
    ImpulseNoise,
    /// Noise that grows with brightness.
    SpeckleNoise,
    /// A Gaussian blur.
    GaussianBlur,
    /// Pixels that change places.
    GlassBlur,
    /// A disk.
    DefocusBlur,
    /// Movement in a random direction.
    MotionBlur,
    /// Movement towards the scene.
    ZoomBlur,
    /// Falling snow.
    Snow,
    /// Frost on the lens: the only one that needs photos.
    Frost,
    /// Fog.
    Fog,
    /// More light.
    Brightness,
    /// Less contrast.
    Contrast,
    /// Weaker or stronger colors.
    Saturate,
    /// A JPEG file.
    JpegCompression,
    /// Coarser pixels.
    Pixelate,
    /// Bending.
    ElasticTransform,
    /// Water or mud on the lens.
    Spatter,
}

/// How strongly an image is spoilt: 1 to 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Severity(usize);

impl Severity {
    /// `None` if it is not 1 to 5.
    pub fn new(severity: usize) -> Option<Self> {
        (1..=5).contains(&severity).then_some(Severity(severity))
    }

    /// 1 to 5.
    pub fn get(self) -> usize {
        self.0
    }

    /// The parameter for it.
    fn of<T: Copy>(self, parameters: [T; 5]) -> T {
        parameters[self.0 - 1]
    }
}

/// Fewer pixels along an edge leave nothing to make coarser.
const LEAST_PIXELS: usize = 8;

impl Corruption {
    /// All of them.
    pub const ALL: [Corruption; 19] = [
        Corruption::GaussianNoise,
        Corruption::ShotNoise,
        Corruption::ImpulseNoise,
        Corruption::SpeckleNoise,
        Corruption::GaussianBlur,
        Corruption::GlassBlur,
        Corruption::DefocusBlur,
        Corruption::MotionBlur,
        Corruption::ZoomBlur,
        Corruption::Snow,
        Corruption::Frost,
        Corruption::Fog,
        Corruption::Brightness,
        Corruption::Contrast,
        Corruption::Saturate,
        Corruption::JpegCompression,
        Corruption::Pixelate,
        Corruption::ElasticTransform,
        Corruption::Spatter,
    ];

    /// As the files of the published sets are called.
    pub fn name(self) -> &'static str {
        match self {
            Corruption::GaussianNoise => "gaussian_noise",
            Corruption::ShotNoise => "shot_noise",
            Corruption::ImpulseNoise => "impulse_noise",
            Corruption::SpeckleNoise => "speckle_noise",
            Corruption::GaussianBlur => "gaussian_blur",
            Corruption::GlassBlur => "glass_blur",
            Corruption::DefocusBlur => "defocus_blur",
            Corruption::MotionBlur => "motion_blur",
            Corruption::ZoomBlur => "zoom_blur",
            Corruption::Snow => "snow",
            Corruption::Frost => "frost",
            Corruption::Fog => "fog",
            Corruption::Brightness => "brightness",
            Corruption::Contrast => "contrast",
            Corruption::Saturate => "saturate",
            Corruption::JpegCompression => "jpeg_compression",
            Corruption::Pixelate => "pixelate",
            Corruption::ElasticTransform => "elastic_transform",
            Corruption::Spatter => "spatter",
        }
    }

    /// The one of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Whether it lays photos over images, which must be given.
    pub fn needs_photos(self) -> bool {
        self == Corruption::Frost
    }
}

/// The corrupted image's values, `[height, width, 3]`, 0 to 255, as they are before they become bytes.
///
/// # Errors
/// As [`corrupt`].
pub fn corrupt_values(
    image: &Image,
    corruption: Corruption,
    severity: Severity,
    stream: &mut Stream,
    photos: &[Image],
) -> Result<Vec<f64>, Error> {
    if image.height().min(image.width()) < LEAST_PIXELS {
        return Err(Error::Corruption(format!(
            "{}: expected images of at least {LEAST_PIXELS} x {LEAST_PIXELS} pixels, found {} x {}; enlarge them before",
            corruption.name(),
            image.height(),
            image.width()
        )));
    }
    let of_bytes = |image: Image| image.pixels().iter().map(|&v| f64::from(v)).collect();
    let x = || Grid::of(image);
    let changed = match corruption {
        Corruption::GaussianNoise => noise::gaussian(x(), severity, stream),
        Corruption::ShotNoise => noise::shot(image, severity, stream),
        Corruption::ImpulseNoise => noise::impulse(x(), severity, stream),
        Corruption::SpeckleNoise => noise::speckle(x(), severity, stream),
        Corruption::GaussianBlur => blur::gaussian(&x(), severity),
        Corruption::GlassBlur => blur::glass(&x(), severity, stream),
        Corruption::DefocusBlur => blur::defocus(&x(), severity),
        Corruption::MotionBlur => blur::motion(&x(), severity, stream),
        Corruption::ZoomBlur => blur::zoom(&x(), severity),
        Corruption::Snow => weather::snow(&x(), severity, stream),
        Corruption::Frost => weather::frost(&x(), severity, stream, photos)?,
        Corruption::Fog => weather::fog(&x(), severity, stream),
        Corruption::Brightness => digital::brightness(x(), severity),
        Corruption::Contrast => digital::contrast(x(), severity),
        Corruption::Saturate => digital::saturate(x(), severity),
        Corruption::ElasticTransform => digital::elastic(&x(), severity, stream),
        Corruption::Spatter => weather::spatter(&x(), severity, stream),
        // These two are pictures already.
        Corruption::JpegCompression => return Ok(of_bytes(jpeg::compressed(image, severity))),
        Corruption::Pixelate => return Ok(of_bytes(digital::pixelate(image, severity))),
    };
    Ok(changed.map(|v| v.clamp(0.0, 1.0) * 255.0).values)
}

/// The corrupted image; what is between two bytes becomes the lower one, as in the published sets.
///
/// What is random is taken from `stream`; `photos` are those of frost, which nothing else needs.
///
/// # Errors
/// [`Error::Corruption`] if the image has fewer than eight pixels along an edge, or if frost has no photos or too small ones.
pub fn corrupt(
    image: &Image,
    corruption: Corruption,
    severity: Severity,
    stream: &mut Stream,
    photos: &[Image],
) -> Result<Image, Error> {
    let values = corrupt_values(image, corruption, severity, stream, photos)?;
    let grid = Grid::new(image.height(), image.width(), 3, values);
    Ok(Image::new(image.height(), image.width(), bytes(&grid)))
}

/// All images of a set, corrupted and in memory: a set in the place of [CIFAR-100-C](crate::datasets::cifar100_c) where it is
/// not at hand.
///
/// Every image has a stream of its own, a function of the seed, the corruption, the severity and the image's place in the set.
///
/// # Errors
/// As [`corrupt`]; and if an image cannot be read or is of another size than the first.
pub fn corrupted(
    set: &ImageSet,
    corruption: Corruption,
    severity: Severity,
    seed: u64,
    photos: &[Image],
) -> Result<ImageSet, Error> {
    let root = Stream::new(seed).derive(corruption.name()).derive_index(severity.get() as u64);
    set.mapped(|index, image| {
        let mut own = root.derive_index(index as u64);
        corrupt(image, corruption, severity, &mut own, photos)
    })
}

/// 0 to 255, without what is behind the point.
fn bytes(grid: &Grid) -> Vec<u8> {
    grid.values.iter().map(|&v| v as u8).collect()
}

#[cfg(test)]
mod tests;
