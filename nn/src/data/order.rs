//! [`Order`]: which samples an epoch sees, and when.

use tensor::Stream;

/// The order in which an epoch goes through `n` samples; always `n` places, a pure function of seed and epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// `0, 1, 2, …`, every epoch: for evaluation.
    #[default]
    Sequential,
    /// Every sample once, shuffled anew each epoch.
    Shuffle,
    /// Repeated augmentation: a new shuffle each epoch, each index several times in a row, cut to `n` places, so that
    /// an epoch sees about `n / repeats` distinct samples.
    ///
    /// Source: Hoffer et al. 2020; `RASampler` of DeiT and timm (three repeats), of which the round-robin over
    /// processes is left out. It also cuts to a multiple of 256; here that is `drop_last` with the batch size.
    Repeated {
        /// Places in a row that one index takes; at least 1.
        repeats: usize,
    },
}

impl Order {
    /// The index at each of the `n` places of `epoch`.
    ///
    /// # Panics
    /// If `repeats` is 0.
    #[track_caller]
    pub fn indices(&self, n: usize, seed: u64, epoch: usize) -> Vec<usize> {
        let shuffled =
            || Stream::new(seed).derive("order").derive_index(epoch as u64).permutation(n);
        match *self {
            Order::Sequential => (0..n).collect(),
            Order::Shuffle => shuffled(),
            Order::Repeated { repeats } => {
                assert!(repeats > 0, "Order::Repeated: repeats must be at least 1");
                let repeated = shuffled().into_iter().flat_map(|i| std::iter::repeat_n(i, repeats));
                repeated.take(n).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(mut v: Vec<usize>) -> Vec<usize> {
        v.sort_unstable();
        v
    }

    #[test]
    fn a_shuffle_is_a_permutation_of_its_own_for_each_seed_and_epoch() {
        let order = |seed, epoch| Order::Shuffle.indices(50, seed, epoch);
        assert_eq!(sorted(order(1, 0)), (0..50).collect::<Vec<_>>());
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
    }

    #[test]
    fn repeated_shows_a_third_of_the_samples_three_times_in_a_row() {
        let places = Order::Repeated { repeats: 3 }.indices(60, 4, 2);
        assert_eq!(places.len(), 60);
        let shuffle = Order::Shuffle.indices(60, 4, 2);
        for (group, index) in places.chunks(3).zip(shuffle) {
            assert_eq!(group, [index; 3]);
        }
        assert_eq!(Order::Repeated { repeats: 3 }.indices(2, 4, 2).len(), 2);
    }
}
