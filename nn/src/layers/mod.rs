//! Layers: one file each, names and defaults as in `torch.nn`.

mod sequential;

pub use sequential::Sequential;
