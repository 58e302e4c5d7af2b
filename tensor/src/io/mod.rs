//! Tensors in files: safetensors, npy and npz, PyTorch's own format, and files written whole or not at all.
//!
//! What a file says is not believed: sizes are compared with the file's length before memory is taken, and whatever
//! does not fit is an [`Error`](crate::Error) that names the file. Elements are read straight into the tensor, so a
//! file is never in memory twice.

mod archive;
mod atomic;
mod npy;
mod npy_file;
mod npz;
mod safetensors;
mod stored;
mod torch;

pub use atomic::write_atomic;
pub use npy::{read_npy, read_npy_from, write_npy};
pub use npy_file::NpyFile;
pub use npz::read_npz;
pub use safetensors::{SafetensorsFile, write_safetensors};
pub use torch::{Pickled, read_pickled_dict, read_pth};

// Both formats are little-endian, and elements are copied between file and memory as they are.
const _: () = assert!(cfg!(target_endian = "little"), "tensor::io needs a little-endian machine");
