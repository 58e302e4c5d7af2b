//! A training loop: [`Trainer`].
//!
//! The loop owns what every run needs and is easy to get wrong: continuing after a kill with the same bits, stopping
//! when asked, noticing a loss that is no number, one line of metrics an epoch, never twice and never lost. What is
//! learned is up to a closure that turns a batch into a loss.
//!
//! The log has a line for each epoch, and for every so-many-th step if asked (values of that step alone, no seconds):
//!
//! ```json
//! {"kind":"epoch","epoch":0,"step":391,"lr":0.1,"metrics":{"loss":2.31,"top1":0.43},"seconds":61.2}
//! ```
//!
//! `epoch` counts from 0, `step` the optimizer steps so far; `loss` and the other metrics of training are means over the
//! epoch's samples (also of a resumed epoch), `seconds` what the last process spent on it. A metric that is not finite
//! is null.
//!
//! ```
//! use autograd::Var;
//! use nn::{Context, Init, Module, ModuleExt, Param};
//! use nn::data::{DataLoader, LoaderOptions, Order};
//! use nn::optim::{Groups, Sgd, SgdOptions};
//! use nn::schedule::Constant;
//! use nn::train::{Outcome, StepOutput, TrainOptions, Trainer};
//! use tensor::{DType, Device, Tensor};
//!
//! #[derive(Module)]
//! struct Line { slope: Param }
//!
//! // Points (x, 3 x), and the model y = slope · x.
//! let points: Vec<f64> = (0..64).map(|i| i as f64 / 64.0).collect();
//! let options = LoaderOptions { batch_size: 8, order: Order::Shuffle, ..Default::default() };
//! let loader = DataLoader::new(points, options, |x, _| Ok(Tensor::new(&x, [x.len()])));
//! let mut model = Line { slope: Param::new([1], Init::Constant(0.0)) };
//! model.initialize(0, DType::F64, Device::Cpu);
//! let mut optimizer = Sgd::new(SgdOptions::default(), Groups::default());
//!
//! let outcome = Trainer::new(TrainOptions { epochs: 20, ..Default::default() }).run(
//!     &mut model, &mut optimizer, &Constant(0.1), &loader,
//!     |x: &Tensor, model: &Line, cx: &mut Context| {
//!         let error = &(&Var::constant(x.clone()) * &cx.var(&model.slope))
//!             + &Var::constant(x.mul_scalar(-3.0));
//!         StepOutput::new((&error * &error).sum(), x.numel())
//!     },
//! )?;
//! let Outcome::Finished { metrics, .. } = outcome else { unreachable!("nobody has set the stop flag") };
//! assert!(metrics["loss"] < 1e-6 && (model.slope.value().item() - 3.0).abs() < 1e-3);
//! # Ok::<(), nn::Error>(())
//! ```

mod finite;
mod log;
mod options;
mod progress;
mod state;
mod trainer;

pub use options::{Best, Clock, TrainOptions};
pub use progress::Progress;
pub use trainer::{Metrics, Outcome, StepOutput, Trainer};
