//! [`Dataset`]: samples by index.

use std::sync::Arc;

/// Any error of a data set or a collate function; `?` converts into it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A finite sequence of samples that several threads may read at once.
///
/// Sample `index` is always the same: what is random (augmentation) belongs to the loader's collate function, which
/// is given a random stream.
pub trait Dataset: Send + Sync {
    /// One sample.
    type Item: Send;

    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`, below [`len`](Self::len).
    ///
    /// # Errors
    /// Whatever keeps the sample from being read: a missing file, a broken image.
    fn get(&self, index: usize) -> Result<Self::Item, BoxError>;
}

/// Samples that are in memory already.
impl<T: Clone + Send + Sync> Dataset for Vec<T> {
    type Item = T;
    fn len(&self) -> usize {
        self.len()
    }
    fn get(&self, index: usize) -> Result<T, BoxError> {
        Ok(self[index].clone())
    }
}

/// One data set for several loaders.
impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    type Item = D::Item;
    fn len(&self) -> usize {
        (**self).len()
    }
    fn get(&self, index: usize) -> Result<D::Item, BoxError> {
        (**self).get(index)
    }
}
