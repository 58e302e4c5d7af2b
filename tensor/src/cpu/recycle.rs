//! Buffers of the CPU device, recycled instead of returned to the system.
//!
//! A training step allocates the same sizes again and again. Fresh pages from the system cost a page fault
//! each (about as much as filling the page), so large buffers go to a free list when dropped and come back
//! at the next request of the same size class. The list holds at most as many bytes as were in use at the
//! same time, and no result depends on it: kernels overwrite what they are given.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ptr::NonNull,
    sync::Mutex,
};

/// Alignment of every buffer: one cache line, one AVX-512 register.
const ALIGN: usize = 64;
/// Smaller buffers are left to the system's allocator, which is fast for them.
const SMALLEST_RECYCLED: usize = 32 * 1024;

/// An aligned block of initialized bytes (zeros when fresh, old contents when recycled).
pub(crate) struct Buffer {
    ptr: NonNull<u8>,
    len: usize,
    capacity: usize,
}

// SAFETY: a Buffer owns its memory exclusively, as Vec<u8> does.
unsafe impl Send for Buffer {}
// SAFETY: shared access only reads.
unsafe impl Sync for Buffer {}

struct FreeList {
    /// (capacity, pointers) by size class; a handful of classes occur in a program.
    classes: Vec<(usize, Vec<usize>)>,
    free: usize,
    in_use: usize,
    peak: usize,
}

static FREE: Mutex<FreeList> =
    Mutex::new(FreeList { classes: Vec::new(), free: 0, in_use: 0, peak: 0 });

/// Rounds up so that at most an eighth is wasted and sizes that differ little share a class.
fn size_class(bytes: usize) -> usize {
    if bytes < SMALLEST_RECYCLED {
        return bytes.next_multiple_of(ALIGN).max(ALIGN);
    }
    bytes.next_multiple_of(bytes.next_power_of_two() / 16)
}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, ALIGN)
        .expect("a tensor is smaller than half the address space")
}

impl Buffer {
    /// A buffer of `len` bytes of unspecified (but initialized) contents.
    pub(crate) fn new(len: usize) -> Self {
        let capacity = size_class(len);
        if capacity >= SMALLEST_RECYCLED
            && let Ok(mut list) = FREE.lock()
        {
            list.in_use += capacity;
            list.peak = list.peak.max(list.in_use);
            let found = list
                .classes
                .iter_mut()
                .find(|(class, _)| *class == capacity)
                .and_then(|(_, pointers)| pointers.pop());
            if let Some(address) = found {
                list.free -= capacity;
                let ptr = NonNull::new(address as *mut u8).expect("only live pointers are listed");
                return Buffer { ptr, len, capacity };
            }
        }
        Buffer { ptr: Self::fresh(capacity), len, capacity }
    }

    fn fresh(capacity: usize) -> NonNull<u8> {
        // Zeroed memory costs nothing here (the system hands out zero pages) and keeps every buffer initialized.
        // SAFETY: the layout has a size of at least ALIGN bytes.
        let ptr = unsafe { alloc_zeroed(layout(capacity)) };
        NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout(capacity)))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: ptr is valid for `capacity >= len` initialized bytes while self lives.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and &mut self makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.capacity >= SMALLEST_RECYCLED
            && let Ok(mut list) = FREE.lock()
        {
            list.in_use = list.in_use.saturating_sub(self.capacity);
            if list.free + self.capacity <= list.peak {
                list.free += self.capacity;
                let address = self.ptr.as_ptr() as usize;
                match list.classes.iter_mut().find(|(class, _)| *class == self.capacity) {
                    Some((_, pointers)) => pointers.push(address),
                    None => list.classes.push((self.capacity, vec![address])),
                }
                return;
            }
        }
        // SAFETY: allocated in `fresh` with this very layout, and not listed as free.
        unsafe { dealloc(self.ptr.as_ptr(), layout(self.capacity)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        for bytes in [1, 100, 40_000, 65_536, 65_537, 1_000_001, 123_456_789] {
            let class = size_class(bytes);
            assert!(
                class >= bytes && class <= bytes + (bytes / 8).max(ALIGN),
                "{bytes} -> {class}"
            );
            assert_eq!(size_class(class), class);
        }
    }
}
