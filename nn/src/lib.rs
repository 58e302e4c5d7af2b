//! Modules, layers, losses, optimizers, schedules, data loading, training and checkpoints.
//!
//! A model is plain data with `#[derive(Module)]`; the derive gives the tree of named children from which the state
//! dict (names as in PyTorch), initialization, freezing, counting and conversion of layers follow. [`Forward`] is
//! how it computes. What varies between calls (train or eval, randomness, who watches) travels in a [`Context`].
//!
//! ```
//! use autograd::Var;
//! use nn::{Context, Forward, Module, ModuleExt, layers::{Conv2d, Linear}};
//! use tensor::{DType, Device, Tensor};
//!
//! #[derive(Module)]
//! struct Net {
//!     conv: Conv2d,
//!     fc: Linear,
//! }
//!
//! impl Forward for Net {
//!     fn forward(&self, x: &Var, cx: &mut Context) -> Var {
//!         let y = self.conv.call(x, cx).relu();
//!         self.fc.call(&y.flatten(1), cx)
//!     }
//! }
//!
//! let mut net = Net { conv: Conv2d::new(3, 8, 3), fc: Linear::new(8 * 30 * 30, 10) };
//! net.initialize(0, DType::F32, Device::Cpu);
//! let x = Var::constant(Tensor::zeros([2, 3, 32, 32], DType::F32, Device::Cpu));
//! assert_eq!(net.call(&x, &mut Context::eval()).dims(), [2, 10]);
//! let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
//! assert_eq!(names, ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]);
//! ```

// The derive macro writes `::nn::…`; inside this crate that has to mean this crate.
extern crate self as nn;

mod activations;
pub mod checkpoint;
mod context;
pub mod data;
mod ema;
mod error;
pub mod init;
pub mod layers;
pub mod loss;
pub mod module;
pub mod optim;
mod param;
pub mod schedule;
pub mod summary;
pub mod train;

pub use activations::activations;
pub use checkpoint::{load_model, save_model};
pub use context::{Context, Event};
pub use ema::Ema;
pub use error::{Error, Result};
pub use init::Init;
pub use module::{Forward, Loaded, Module, ModuleExt};
pub use nn_derive::Module;
pub use param::{Buffer, Param};
pub use summary::{Summary, summary};
