//! From a data set to batches: [`Dataset`], [`DataLoader`], and the [`Order`] in which samples are seen.
//!
//! Everything random is a pure function of the loader's seed, the epoch and the batch, so the batches are the same for
//! any number of workers, and a run that was stopped goes on with exactly the batches it has not seen.
//!
//! ```
//! use nn::data::{DataLoader, LoaderOptions, Order};
//!
//! let numbers: Vec<i64> = (0..10).collect();
//! let options = LoaderOptions { batch_size: 4, order: Order::Shuffle, workers: 2, ..Default::default() };
//! let loader = DataLoader::new(numbers, options, |items, _| Ok(items));
//!
//! let all: Vec<Vec<i64>> = loader.epoch(3).collect::<Result<_, _>>()?;
//! assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
//! let resumed: Vec<Vec<i64>> = loader.epoch(3).skip(2).collect::<Result<_, _>>()?;
//! assert_eq!(resumed, all[2..]);
//! # Ok::<(), nn::Error>(())
//! ```

mod dataset;
mod loader;
mod order;
mod workers;

pub use dataset::{BoxError, Dataset};
pub use loader::{DataLoader, Epoch, LoaderOptions};
pub use order::Order;
