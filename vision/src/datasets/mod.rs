//! Data sets: readers that check what they read, small parts of real sets that come with the program, and generators for where
//! no file is at hand.
//!
//! Sets of images are an [`ImageSet`]: [`len`](ImageSet::len), [`get`](ImageSet::get), [`classes`](ImageSet::classes).
//!
//! ```
//! use vision::datasets::{Split, cifar100_part};
//!
//! let set = cifar100_part(Split::Test);
//! let (image, label) = set.get(0)?;
//! assert_eq!((set.len(), image.height(), image.width()), (2000, 32, 32));
//! assert!(label < set.classes().len());
//! # Ok::<(), vision::Error>(())
//! ```

mod cifar;
mod cifar_c;
mod folder;
mod image;
mod members;
mod set;
mod shipped;
pub mod sudoku;
pub mod transfer;

pub use cifar::{cifar10, cifar100};
pub use cifar_c::cifar100_c;
pub use folder::{image_folder, tiny_imagenet};
pub use image::Image;
pub use set::ImageSet;
pub use shipped::{Split, cifar100_part, dtd10, tiny_imagenet_part};
