//! The data loader as a training loop uses it.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use nn::{
    Error,
    data::{BoxError, DataLoader, Dataset, Epoch, LoaderOptions, Order},
};

/// The numbers below `len`; counts reads, and has one bad sample.
#[derive(Clone)]
struct Numbers {
    len: usize,
    reads: Arc<AtomicUsize>,
    bad: Option<(usize, Bad)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Bad {
    Error,
    Panic,
}

impl Numbers {
    fn new(len: usize) -> Self {
        Numbers { len, reads: Arc::default(), bad: None }
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

impl Dataset for Numbers {
    type Item = u64;
    fn len(&self) -> usize {
        self.len
    }
    fn get(&self, index: usize) -> Result<u64, BoxError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        match self.bad {
            Some((i, Bad::Error)) if i == index => Err("no such file: 7.png".into()),
            Some((i, Bad::Panic)) if i == index => panic!("index out of range"),
            _ => Ok(index as u64),
        }
    }
}

/// Samples and one random number of the batch's stream.
type Batch = (Vec<u64>, u64);

fn loader(data: &Numbers, workers: usize) -> DataLoader<Numbers, Batch> {
    let options = LoaderOptions {
        batch_size: 4,
        order: Order::Shuffle,
        seed: 9,
        workers,
        ..Default::default()
    };
    DataLoader::new(data.clone(), options, |items, stream| {
        // Batches take unequal times, so that workers finish out of order.
        std::thread::sleep(Duration::from_micros(items[0] % 3 * 300));
        Ok((items, stream.next_u64()))
    })
}

fn all(epoch: Epoch<Batch>) -> Vec<Batch> {
    epoch.collect::<Result<_, _>>().expect("all samples are good")
}

#[test]
fn batches_do_not_depend_on_the_number_of_workers() {
    let data = Numbers::new(30);
    let reference = all(loader(&data, 0).epoch(5));
    assert_eq!(reference.len(), 8);
    assert_eq!(reference[7].0.len(), 2);
    let seen: HashSet<u64> = reference.iter().flat_map(|b| &b.0).copied().collect();
    assert_eq!(seen.len(), 30);
    let draws: HashSet<u64> = reference.iter().map(|b| b.1).collect();
    assert_eq!(draws.len(), 8, "each batch has a stream of its own");
    for workers in [1, 3, 50] {
        assert_eq!(all(loader(&data, workers).epoch(5)), reference, "{workers} workers");
    }
    assert_ne!(all(loader(&data, 0).epoch(6)), reference);
}

#[test]
fn a_resumed_epoch_goes_on_where_it_stopped_without_loading_what_is_skipped() {
    for workers in [0, 1, 3] {
        let data = Numbers::new(30);
        let reference = all(loader(&data, workers).epoch(2));
        let mut first = loader(&data, workers).epoch(2);
        let mut seen: Vec<Batch> = first.by_ref().take(3).map(Result::unwrap).collect();
        let (epoch, batch) = first.position();
        assert_eq!((epoch, batch), (2, 3));
        drop(first);
        let before = data.reads();
        let rest = all(loader(&data, workers).epoch(epoch).skip(batch));
        assert_eq!(data.reads() - before, 30 - 3 * 4, "{workers} workers");
        seen.extend(rest);
        assert_eq!(seen, reference);
        assert_eq!(loader(&data, workers).epoch(2).skip(99).count(), 0);
    }
}

#[test]
fn skipping_midway_is_counted_from_there() {
    let data = Numbers::new(30);
    let reference = all(loader(&data, 2).epoch(0));
    let mut epoch = loader(&data, 2).epoch(0);
    epoch.next().expect("a batch").expect("a good one");
    assert_eq!(all(epoch.skip(2)), reference[3..]);
}

#[test]
fn the_last_batch_can_be_dropped() {
    let options = |drop_last| LoaderOptions { batch_size: 4, drop_last, ..Default::default() };
    for (drop_last, batches) in [(false, 3), (true, 2)] {
        let loader = DataLoader::new(Numbers::new(10), options(drop_last), |items, _| Ok(items));
        assert_eq!(loader.len(), batches);
        let seen: Vec<u64> = loader.epoch(0).flat_map(|b| b.expect("good samples")).collect();
        assert_eq!(seen, (0..10.min(batches as u64 * 4)).collect::<Vec<_>>());
    }
    let empty = DataLoader::new(Numbers::new(0), options(false), |items, _| Ok(items));
    assert!(empty.is_empty() && empty.epoch(0).next().is_none());
}

#[test]
fn errors_and_panics_come_out_at_their_batch_and_end_the_epoch() {
    for workers in [0, 1, 3] {
        for kind in [Bad::Error, Bad::Panic] {
            let mut data = Numbers::new(30);
            let order = Order::Shuffle.indices(30, 9, 0);
            data.bad = Some((order[4 * 2 + 1], kind));
            let mut epoch = loader(&data, workers).epoch(0);
            assert!(epoch.next().is_some_and(|b| b.is_ok()));
            assert!(epoch.next().is_some_and(|b| b.is_ok()));
            let error = epoch.next().expect("an error").expect_err("sample is bad");
            match (kind, &error) {
                (Bad::Error, Error::Sample { epoch: 0, batch: 2, index, .. }) => {
                    assert_eq!(*index, order[9]);
                    assert!(error.to_string().ends_with("could not be read: no such file: 7.png"));
                }
                (Bad::Panic, Error::WorkerPanic { epoch: 0, batch: 2, message }) => {
                    assert_eq!(message, "index out of range");
                }
                _ => panic!("unexpected: {error}"),
            }
            assert!(epoch.next().is_none());
        }
    }
}

#[test]
fn errors_of_the_collate_function_come_out() {
    let options = LoaderOptions { batch_size: 2, workers: 2, ..Default::default() };
    let loader = DataLoader::<_, ()>::new(Numbers::new(6), options, |_, _| Err("odd".into()));
    let errors: Vec<String> = loader.epoch(1).map(|b| b.unwrap_err().to_string()).collect();
    assert_eq!(errors, ["epoch 1, batch 0: odd"]);
}

#[test]
fn prefetch_is_bounded_and_dropping_stops_the_workers() {
    let data = Numbers::new(100_000);
    let options = LoaderOptions { batch_size: 10, workers: 2, prefetch: 2, ..Default::default() };
    let loader = DataLoader::new(data.clone(), options, |items, _| Ok(items));
    let mut epoch = loader.epoch(0);
    epoch.next().expect("a batch").expect("a good one");
    // Per worker: 2 finished, 1 in hand; and 1 was taken.
    let most = 10 * (2 * (2 + 1) + 1);
    let deadline = Instant::now() + Duration::from_secs(20);
    while data.reads() < most && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(data.reads(), most);
    drop(epoch); // joins: returns only when both threads have ended
    let after = data.reads();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(data.reads(), after);
}
