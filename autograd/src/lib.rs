//! Reverse-mode automatic differentiation over [`tensor`].
//!
//! A [`Var`] is a tensor plus the op that made it; [`Var::backward`] walks back and returns [`Gradients`]. Every
//! differentiable operation stands in `ops/`, one file a family, its forward and its derivative side by side, and
//! in the list [`OPS`], from which the gradient checks are run. [`gradcheck`] does the same for any function of
//! yours:
//!
//! ```
//! use autograd::{Var, gradcheck::gradcheck};
//! use tensor::Tensor;
//!
//! let x = Tensor::new(&[0.5f64, -1.5], [2]);
//! gradcheck(|v| &v[0] * &v[0], &[x]).unwrap();
//! ```

mod checkpoint;
mod draw;
pub mod gradcheck;
mod gradients;
mod graph;
mod op;
mod ops;
pub mod profile;
#[cfg(any(test, feature = "proptest"))]
pub mod strategies;
pub mod trace;
mod var;

pub use checkpoint::checkpoint;
pub use gradients::Gradients;
pub use op::{Op, Saved, Saver};
pub use ops::{Attention, BatchStats, OPS, OpInfo, Reduction};
pub use var::Var;
