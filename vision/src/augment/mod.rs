//! Augmentation: what makes an image of a data set into an input, at random where that helps to learn.
//!
//! [`Transform`] is the whole of it for one image, [`Mix`] for a batch, [`loader`] puts both behind threads that work ahead.
//! Images are changed as 8-bit pixels, to the last bit as Pillow does it, with the random choices of timm; what is random
//! comes from a stream that is handed in.

mod affine;
mod color;
mod erase;
mod loader;
mod mix;
mod rand_augment;
mod resize;
mod transform;

pub use affine::Interpolation;
pub use erase::{RandomErasing, erase};
pub use loader::{Batch, Indices, loader};
pub use mix::{Mix, cutmix, mixup, targets};
pub use rand_augment::{Op, RandAugment};
pub use resize::{Filter, resize};
pub use transform::{Crop, Scratch, Transform, normalize};
