//! Modules, layers, losses, optimizers, schedules, data loading, training and checkpoints.
//!
//! A model is plain data with `#[derive(Module)]`; the derive gives the tree of named children from which the state
//! dict (names as in PyTorch), initialization, freezing, counting and conversion of layers follow. [`Forward`] is
//! how it computes. What varies between calls (train or eval, randomness, who watches) travels in a [`Context`].

// The derive macro writes `::nn::…`; inside this crate that has to mean this crate.
extern crate self as nn;

pub mod checkpoint;
mod context;
pub mod data;
mod ema;
mod error;
pub mod init;
pub mod layers;
pub mod module;
pub mod optim;
mod param;
pub mod schedule;
pub mod summary;
pub mod train;

pub use checkpoint::{load_model, save_model};
pub use context::{Context, Event};
pub use ema::Ema;
pub use error::{Error, Result};
pub use init::Init;
pub use module::{Forward, Module, ModuleExt};
pub use nn_derive::Module;
pub use param::{Buffer, Param};
pub use summary::{Summary, summary};
