//! Threads that load batches ahead, handed over in order.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, sync_channel},
    },
    thread::{self, JoinHandle},
};

use super::loader::Load;
use crate::{Error, Result};

/// Threads that load batches `first..last`. Batch `first + i` is always made by thread `i % n` and comes through that
/// thread's own channel: the order needs no sorting, and the channels' capacity bounds what is loaded ahead.
pub(super) struct Workers<B> {
    channels: Vec<Receiver<Result<B>>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    taken: usize,
}

impl<B: Send + 'static> Workers<B> {
    pub(super) fn start(
        load: &Load<B>,
        batches: std::ops::Range<usize>,
        workers: usize,
        prefetch: usize,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut started =
            Workers { channels: Vec::new(), threads: Vec::new(), stop: stop.clone(), taken: 0 };
        let workers = workers.min(batches.len());
        for w in 0..workers {
            let (sender, receiver) = sync_channel(prefetch);
            let (load, stop) = (load.clone(), stop.clone());
            let mine = (batches.start + w..batches.end).step_by(workers);
            let thread = thread::Builder::new().name(format!("data-{w}")).spawn(move || {
                for batch in mine {
                    let Some(result) = load(batch, &stop) else { return };
                    // Nobody listens any more, or nobody will ask for what comes after an error.
                    let last = result.is_err();
                    if sender.send(result).is_err() || last {
                        return;
                    }
                }
            });
            started.threads.push(thread.map_err(|source| Error::Thread { source })?);
            started.channels.push(receiver);
        }
        Ok(started)
    }

    /// The next batch in order; `None` if its thread is gone, which only a panic inside a panic's payload can do.
    pub(super) fn next(&mut self) -> Option<Result<B>> {
        let channel = &self.channels[self.taken % self.channels.len()];
        self.taken += 1;
        channel.recv().ok()
    }
}

impl<B> Drop for Workers<B> {
    /// Stops the threads at their next sample and waits for them.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.channels.clear(); // wakes those who wait to hand over
        for thread in self.threads.drain(..) {
            // Panics were turned into errors inside the thread; there is nobody left to tell of another.
            let _ = thread.join();
        }
    }
}
