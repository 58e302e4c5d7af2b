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

/// A growing list in recycled memory, for what may be as long as a tensor has rows: a `Vec` would ask the system for its
/// memory every time.
pub(crate) struct List<T> {
    memory: Scratch<T>,
    len: usize,
}

impl<T: Copy> List<T> {
    /// Room that most lists do not fill.
    const ROOM: usize = 64;

    pub(crate) fn new() -> Self {
        Self { memory: Scratch::new(Self::ROOM), len: 0 }
    }

    /// `len` times `element`.
    pub(crate) fn filled(element: T, len: usize) -> Self {
        let memory = Scratch::<T>::new(len.max(1));
        // SAFETY: there is room for `len` elements.
        (0..len).for_each(|i| unsafe { memory.ptr().add(i).write(element) });
        Self { memory, len }
    }

    pub(crate) fn push(&mut self, element: T) {
        if self.len == self.memory.len {
            let larger = Scratch::<T>::new(2 * self.len);
            // SAFETY: `len` elements were written here; the new memory has room for them and is another block.
            unsafe { larger.ptr().copy_from_nonoverlapping(self.memory.ptr(), self.len) };
            self.memory = larger;
        }
        // SAFETY: there is room for an element more.
        unsafe { self.memory.ptr().add(self.len).write(element) };
        self.len += 1;
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T: Copy> std::ops::Deref for List<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: so many elements were written.
        unsafe { std::slice::from_raw_parts(self.memory.ptr(), self.len) }
    }
}

impl<T: Copy> std::ops::DerefMut for List<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and nobody else has the list.
        unsafe { std::slice::from_raw_parts_mut(self.memory.ptr(), self.len) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_keeps_its_elements_while_it_grows() {
        let mut list = List::new();
        for round in 0..2 {
            let count = 5000 - round * 4990;
            (0..count).for_each(|i| list.push((i, round)));
            list[3].0 = 7;
            let expected: Vec<_> =
                (0..count).map(|i| (if i == 3 { 7 } else { i }, round)).collect();
            assert_eq!(*list, *expected);
            list.clear();
            assert!(list.is_empty());
        }
        assert_eq!(*List::filled(1.5, 3), [1.5; 3]);
        assert!(List::filled(1.5, 0).is_empty());
    }
}
