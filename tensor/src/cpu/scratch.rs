//! Scratch memory and raw sharing for the kernels.

use crate::cpu::microkernel::Real;
use crate::cpu::recycle::Buffer;

/// Memory of unspecified contents for `len` elements, aligned to a cache line and recycled.
///
/// Tasks share it as a raw pointer: who reads an element has written it before.
pub(crate) struct Scratch<T> {
    start: *mut T,
    len: usize,
    _memory: Buffer,
}

// SAFETY: shared access only yields the raw pointer; who uses it answers for races.
unsafe impl<T: Sync> Sync for Scratch<T> {}

impl<T: Copy> Scratch<T> {
    pub(crate) fn new(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<T>()).expect("scratch size fits in usize");
        let mut memory = Buffer::new(bytes);
        Self { start: memory.bytes_mut().as_mut_ptr().cast(), len, _memory: memory }
    }

    pub(crate) fn ptr(&self) -> *mut T {
        self.start
    }

    /// The elements, for who owns all of them.
    pub(crate) fn slice(&mut self) -> &mut [T]
    where
        T: Real,
    {
        // SAFETY: `len` elements were allocated, a buffer is always initialized, and any bits are a number.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

/// A pointer that tasks share; each task touches its own elements.
#[derive(Clone, Copy)]
pub(crate) struct Shared<T>(*mut T);

// SAFETY: a `Shared` is only a number; dereferencing it is unsafe and argued where it happens.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub(crate) fn new(start: *mut T) -> Self {
        Self(start)
    }

    /// The pointer; a method, so that closures capture the wrapper and not the bare pointer.
    pub(crate) fn ptr(self) -> *mut T {
        self.0
    }
}

/// Runs `task(0..count)`, in parallel if the work (in multiply-adds or moved elements) is worth waking a thread.
pub(crate) fn run_tasks(count: usize, work: usize, task: impl Fn(usize) + Sync) {
    use rayon::prelude::*;
    // A wake-up costs a few microseconds, about 2^18 multiply-adds or moved elements.
    if count <= 1 || work < 1 << 18 {
        (0..count).for_each(&task);
    } else {
        (0..count).into_par_iter().with_max_len(1).for_each(&task);
    }
}
