//! [`DataLoader`]: batches of a data set, in order, loaded ahead by threads.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tensor::Stream;

use super::{BoxError, Dataset, Order, workers::Workers};
use crate::{Error, Result};

/// How a [`DataLoader`] makes batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Samples of a batch. Default 1.
    pub batch_size: usize,
    /// In which order samples are seen. Default [`Order::Sequential`].
    pub order: Order,
    /// Key of the order and of the collate function's random streams. Default 0.
    pub seed: u64,
    /// Whether a last batch of fewer samples is left out. Default false.
    pub drop_last: bool,
    /// Threads that load ahead; 0 loads in the caller's thread. Changes no batch. Default 0.
    pub workers: usize,
    /// Finished batches each thread may have waiting. Default 2, as PyTorch's `prefetch_factor`.
    pub prefetch: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            batch_size: 1,
            order: Order::Sequential,
            seed: 0,
            drop_last: false,
            workers: 0,
            prefetch: 2,
        }
    }
}

type Collate<I, B> = dyn Fn(Vec<I>, &mut Stream) -> Result<B, BoxError> + Send + Sync;
/// Loads a batch by its number; `None` if it was stopped midway.
pub(super) type Load<B> = Arc<dyn Fn(usize, &AtomicBool) -> Option<Result<B>> + Send + Sync>;

/// Batches of type `B` made of the samples of `D`.
///
/// The collate function turns samples into a batch; it runs in the workers, and whatever is random in it (augmentation,
/// mixing) comes from the stream it is given, which is a function of seed, epoch and batch. Streams for single samples
/// are derived from it: `stream.derive_index(i)`.
pub struct DataLoader<D: Dataset, B> {
    dataset: Arc<D>,
    collate: Arc<Collate<D::Item, B>>,
    options: LoaderOptions,
}

impl<D: Dataset + 'static, B: Send + 'static> DataLoader<D, B> {
    /// A loader of `dataset`.
    ///
    /// # Panics
    /// If the batch size is 0.
    #[track_caller]
    pub fn new(
        dataset: D,
        options: LoaderOptions,
        collate: impl Fn(Vec<D::Item>, &mut Stream) -> Result<B, BoxError> + Send + Sync + 'static,
    ) -> Self {
        assert!(options.batch_size > 0, "DataLoader: batch_size must be at least 1");
        DataLoader { dataset: Arc::new(dataset), collate: Arc::new(collate), options }
    }

    /// The data set.
    pub fn dataset(&self) -> &D {
        &self.dataset
    }

    /// How batches are made.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Number of batches of an epoch.
    pub fn len(&self) -> usize {
        let (n, size) = (self.dataset.len(), self.options.batch_size);
        if self.options.drop_last { n / size } else { n.div_ceil(size) }
    }

    /// Whether an epoch has no batch.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of an epoch; nothing is loaded before the first is asked for.
    pub fn epoch(&self, epoch: usize) -> Epoch<B> {
        let (dataset, collate) = (self.dataset.clone(), self.collate.clone());
        let LoaderOptions { batch_size, order, seed, workers, prefetch, .. } = self.options;
        let indices = order.indices(dataset.len(), seed, epoch);
        let root = Stream::new(seed).derive("collate").derive_index(epoch as u64);
        let load = move |batch: usize, stop: &AtomicBool| {
            let start = batch * batch_size;
            let indices = &indices[start..indices.len().min(start + batch_size)];
            let mut stream = root.derive_index(batch as u64);
            let make = || load_batch(&*dataset, indices, &*collate, &mut stream, stop);
            // What a panic may have left inconsistent is not used again: an error ends the epoch.
            catch_unwind(AssertUnwindSafe(make))
                .unwrap_or_else(|payload| Some(Err(Failure::Panic(message(&*payload)))))
                .map(|result| result.map_err(|f| f.at(epoch, batch)))
        };
        Epoch {
            load: Arc::new(load),
            epoch,
            next: 0,
            len: self.len(),
            workers,
            prefetch,
            running: None,
        }
    }
}

impl<D: Dataset, B> fmt::Debug for DataLoader<D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataLoader")
            .field("samples", &self.dataset.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What went wrong in a batch that does not yet know its number.
enum Failure {
    Sample(usize, BoxError),
    Collate(BoxError),
    Panic(String),
}

impl Failure {
    fn at(self, epoch: usize, batch: usize) -> Error {
        match self {
            Failure::Sample(index, source) => Error::Sample { epoch, batch, index, source },
            Failure::Collate(source) => Error::Collate { epoch, batch, source },
            Failure::Panic(message) => Error::WorkerPanic { epoch, batch, message },
        }
    }
}

fn load_batch<D: Dataset, B>(
    dataset: &D,
    indices: &[usize],
    collate: &Collate<D::Item, B>,
    stream: &mut Stream,
    stop: &AtomicBool,
) -> Option<Result<B, Failure>> {
    let mut items = Vec::with_capacity(indices.len());
    for &index in indices {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        match dataset.get(index) {
            Ok(item) => items.push(item),
            Err(source) => return Some(Err(Failure::Sample(index, source))),
        }
    }
    Some(collate(items, stream).map_err(Failure::Collate))
}

/// What `panic!` was given.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

/// The batches of one epoch, in order: an iterator of `Result<B>`.
///
/// An error (of the data set, the collate function, or a panic in them) ends the epoch. Dropping it midway stops the
/// threads at their next sample.
pub struct Epoch<B> {
    load: Load<B>,
    epoch: usize,
    next: usize,
    len: usize,
    workers: usize,
    prefetch: usize,
    running: Option<Workers<B>>,
}

impl<B: Send + 'static> Epoch<B> {
    /// The same without the next `n` batches, which are not loaded: how a stopped run goes on.
    ///
    /// (In the place of [`Iterator::skip`], which would load them.)
    pub fn skip(mut self, n: usize) -> Self {
        self.running = None;
        self.next = self.len.min(self.next.saturating_add(n));
        self
    }

    /// Epoch and number of the next batch: what to save, and to give to [`DataLoader::epoch`] and
    /// [`skip`](Self::skip).
    pub fn position(&self) -> (usize, usize) {
        (self.epoch, self.next)
    }

    fn load_next(&mut self) -> Result<B> {
        let gone = |epoch, batch| Error::WorkerPanic {
            epoch,
            batch,
            message: "the thread ended without a result".into(),
        };
        let (epoch, batch) = (self.epoch, self.next);
        if self.workers == 0 {
            let never = AtomicBool::new(false);
            return (self.load)(batch, &never).unwrap_or_else(|| Err(gone(epoch, batch)));
        }
        if self.running.is_none() {
            let batches = batch..self.len;
            self.running = Some(Workers::start(&self.load, batches, self.workers, self.prefetch)?);
        }
        let running = self.running.as_mut().expect("started above");
        running.next().unwrap_or_else(|| Err(gone(epoch, batch)))
    }
}

impl<B: Send + 'static> Iterator for Epoch<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        if self.next >= self.len {
            return None;
        }
        let result = self.load_next();
        self.next += 1;
        if result.is_err() {
            self.len = self.next;
        }
        if self.next == self.len {
            self.running = None;
        }
        Some(result)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // At most: an error ends the epoch early.
        (usize::from(self.next < self.len), Some(self.len - self.next))
    }
}

impl<B> fmt::Debug for Epoch<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Epoch { epoch, next, len, .. } = self;
        write!(f, "Epoch {{ epoch: {epoch}, next: {next}, len: {len} }}")
    }
}
