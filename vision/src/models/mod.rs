//! Architectures, one file each, with the state-dict names of their published definitions; [`create`] makes one by name.

mod alexnet;
mod convnext;
mod convnextv2;
mod densenet;
mod fold;
mod registry;
mod replknet;
mod resnet;
mod squeezenet;
mod stem;
mod sudoku;
mod vgg;
mod vit;

pub use alexnet::{AlexNet, AlexNetConfig};
pub use convnext::{ConvNeXt, ConvNeXtBlock, ConvNeXtConfig};
pub use convnextv2::{ConvNeXtV2, ConvNeXtV2Config};
pub use densenet::{DenseNet, DenseNetConfig};
pub use fold::fold;
pub use registry::{MODELS, ModelConfig, ModelInfo, create, find};
pub use replknet::{RepLKNet, RepLKNetConfig};
pub use resnet::{ResNet, ResNetBlock, ResNetConfig};
pub use squeezenet::{SqueezeNet, SqueezeNetConfig, SqueezeNetVersion};
pub use stem::Stem;
pub use sudoku::{SudokuNet, SudokuNetConfig};
pub use vgg::{Vgg, VggConfig};
pub use vit::{Vit, VitConfig};
