//! Layers: one file a family, names and defaults as in `torch.nn`.

mod activation;
mod attention;
mod checkpoint;
mod conv;
mod dropout;
mod linear;
mod norm;
mod pad;
mod pool;
mod recurrent;
mod sequential;
mod shape;
mod upsample;

pub use activation::{ELU, GELU, ReLU, Sigmoid, Softplus, Tanh};
pub use attention::MultiheadAttention;
pub use checkpoint::Checkpoint;
pub use conv::{Conv2d, Conv2dOptions, Effective, Parametrization, set_conv_algorithm};
pub use dropout::{DropPath, Dropout};
pub use linear::Linear;
pub use norm::{BatchNorm2d, BatchNormOptions, Grn, LayerNorm, LayerNorm2d};
pub use pad::{ConstantPad2d, ReflectionPad2d, ZeroPad2d};
pub use pool::{AdaptiveAvgPool2d, AvgPool2d, MaxPool2d};
pub use recurrent::{Gru, GruCell, Lstm, LstmCell, RecurrentOptions};
pub use sequential::Sequential;
pub use shape::{Flatten, Identity};
pub use upsample::Upsample;
