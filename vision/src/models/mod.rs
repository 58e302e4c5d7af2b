//! Architectures, one file each, with the state-dict names of their published definitions.

mod alexnet;
mod convnext;
mod resnet;
mod stem;
mod sudoku;

pub use alexnet::{AlexNet, AlexNetConfig};
pub use convnext::{ConvNeXt, ConvNeXtBlock, ConvNeXtConfig};
pub use resnet::{ResNet, ResNetConfig};
pub use stem::Stem;
pub use sudoku::{SudokuNet, SudokuNetConfig};
