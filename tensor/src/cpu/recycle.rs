//! Buffers of the CPU device, recycled instead of returned to the system.
//!
//! A training step allocates the same sizes again and again. Fresh pages from the system cost a page fault
//! each (about as much as filling the page), so large buffers go to a free list when dropped and come back
//! at the next request of the same size class. The list holds about as many bytes as were in use at the same
//! time (what was not asked for longest makes room), and no result depends on it: kernels overwrite what they
//! are given.
//!
//! Some steps need more, since they use different sizes in turns: each would drop what the next phase asks for,
//! so that a step of the predictor of V1 activity took a quarter of its memory afresh every time. So the list
//! remembers the sizes it dropped last, and grows by what is asked for again. That costs no memory at the peak:
//! what was asked for afresh was in use then, too.

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    collections::VecDeque,
    ptr::NonNull,
    sync::Mutex,
};

/// Alignment of every buffer: one cache line, one AVX-512 register; large ones are aligned to a huge page.
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
    /// (capacity, address), longest free first; some dozens in a program.
    buffers: VecDeque<(usize, usize)>,
    free: usize,
    in_use: usize,
    peak: usize,
    /// Capacities that were dropped last, oldest first: at most `peak` bytes.
    dropped: VecDeque<usize>,
    dropped_bytes: usize,
    /// What was asked for again after it was dropped; up to `peak` bytes of it are kept beyond `peak`.
    missed: usize,
}

static FREE: Mutex<FreeList> = Mutex::new(FreeList::new());

impl FreeList {
    const fn new() -> Self {
        FreeList {
            buffers: VecDeque::new(),
            free: 0,
            in_use: 0,
            peak: 0,
            dropped: VecDeque::new(),
            dropped_bytes: 0,
            missed: 0,
        }
    }

    /// Notes that `capacity` bytes are in use, and gives the address of a free buffer of that size, the one freed last.
    fn take(&mut self, capacity: usize) -> Option<usize> {
        self.in_use += capacity;
        self.peak = self.peak.max(self.in_use);
        let Some(at) = self.buffers.iter().rposition(|buffer| buffer.0 == capacity) else {
            if let Some(at) = self.dropped.iter().rposition(|&dropped| dropped == capacity) {
                self.dropped.remove(at);
                self.dropped_bytes -= capacity;
                self.missed += capacity;
            }
            return None;
        };
        let (_, address) = self.buffers.remove(at)?;
        self.free -= capacity;
        Some(address)
    }

    /// Lists a buffer as free, and gives those that no longer fit (`capacity`, `address`): sizes that nothing asks for
    /// any more must not keep out those that come back at every step.
    fn put(&mut self, capacity: usize, address: usize) -> Vec<(usize, usize)> {
        self.in_use = self.in_use.saturating_sub(capacity);
        self.free += capacity;
        self.buffers.push_back((capacity, address));
        let mut evicted = Vec::new();
        while self.free > self.peak + self.missed.min(self.peak)
            && let Some(oldest) = self.buffers.pop_front()
        {
            self.free -= oldest.0;
            self.dropped.push_back(oldest.0);
            self.dropped_bytes += oldest.0;
            evicted.push(oldest);
        }
        while self.dropped_bytes > self.peak
            && let Some(oldest) = self.dropped.pop_front()
        {
            self.dropped_bytes -= oldest;
        }
        evicted
    }
}

/// Rounds up so that at most an eighth is wasted and sizes that differ little share a class.
fn size_class(bytes: usize) -> usize {
    if bytes < SMALLEST_RECYCLED {
        return bytes.next_multiple_of(ALIGN).max(ALIGN);
    }
    bytes.next_multiple_of(bytes.next_power_of_two() / 16)
}

fn layout(capacity: usize) -> Layout {
    let align = if capacity >= 2 * HUGE_PAGE { HUGE_PAGE } else { ALIGN };
    Layout::from_size_align(capacity, align)
        .expect("a tensor is smaller than half the address space")
}

/// A page of the second size of x86-64 and of the usual AArch64 systems.
const HUGE_PAGE: usize = 2 << 20;

/// Asks the system to back whole huge pages of a block with such: a kernel that walks rows far apart would spend much of its
/// time on translating addresses, the more so in a virtual machine. A block is used as well without.
fn ask_for_huge_pages(ptr: *mut u8, capacity: usize) {
    #[cfg(target_os = "linux")]
    if capacity >= 2 * HUGE_PAGE {
        // SAFETY: advice on memory that the caller has just allocated, aligned to a huge page by `layout`.
        unsafe {
            libc::madvise(ptr.cast(), capacity / HUGE_PAGE * HUGE_PAGE, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (ptr, capacity);
}

impl Buffer {
    /// A buffer of `len` bytes of unspecified (but initialized) contents.
    pub(crate) fn new(len: usize) -> Self {
        let capacity = size_class(len);
        if capacity >= SMALLEST_RECYCLED
            && let Ok(mut list) = FREE.lock()
            && let Some(address) = list.take(capacity)
        {
            let ptr = NonNull::new(address as *mut u8).expect("only live pointers are listed");
            return Buffer { ptr, len, capacity };
        }
        Buffer { ptr: Self::fresh(capacity), len, capacity }
    }

    fn fresh(capacity: usize) -> NonNull<u8> {
        // Kernels may not be given uninitialized memory. Filling costs a pass (the system's zero pages are written once
        // more), but only for a buffer that was never used before.
        // SAFETY: the layout has a size of at least ALIGN bytes.
        let ptr = unsafe {
            let ptr = alloc(layout(capacity));
            if !ptr.is_null() {
                ask_for_huge_pages(ptr, capacity);
                ptr.write_bytes(0, capacity);
            }
            ptr
        };
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
            let evicted = list.put(self.capacity, self.ptr.as_ptr() as usize);
            // Unmapping takes long: not while others wait.
            drop(list);
            for (capacity, address) in evicted {
                // SAFETY: allocated in `fresh` with this very layout, and no longer listed.
                unsafe { dealloc(address as *mut u8, layout(capacity)) }
            }
            return;
        }
        // SAFETY: allocated in `fresh` with this very layout, and not listed as free.
        unsafe { dealloc(self.ptr.as_ptr(), layout(self.capacity)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of an earlier phase (another model, another batch) make room for those in use now. With a list that keeps
    /// what came first, the second size would be given back to the system at every step.
    #[test]
    fn sizes_that_come_back_push_out_stale_ones() {
        let mut list = FreeList::new();
        assert_eq!(list.take(100), None);
        assert_eq!(list.put(100, 1), []);
        assert_eq!(list.take(90), None);
        assert_eq!(list.put(90, 2), [(100, 1)]);
        for _ in 0..3 {
            assert_eq!(list.take(90), Some(2));
            assert_eq!(list.put(90, 2), []);
        }
    }

    #[test]
    fn the_list_holds_what_was_in_use_at_once() {
        let mut list = FreeList::new();
        for size in [10, 20, 30] {
            list.take(size);
        }
        for (size, address) in [(10, 1), (20, 2), (30, 3)] {
            assert_eq!(list.put(size, address), []);
        }
        assert_eq!((list.free, list.in_use, list.peak), (60, 0, 60));
        // A size that is not listed: the peak is as before, so what was free longest has to go.
        assert_eq!(list.take(25), None);
        assert_eq!(list.put(25, 4), [(10, 1), (20, 2)]);
        assert_eq!(list.free, 55);
        assert_eq!((list.take(30), list.take(10)), (Some(3), None));
    }

    /// One buffer of each of several sizes in turns: a list of no more than was in use at once would drop them all.
    #[test]
    fn sizes_that_take_turns_are_all_kept_in_the_end() {
        let mut list = FreeList::new();
        let mut fresh = 0;
        let mut round = |list: &mut FreeList, sizes: [usize; 3]| {
            fresh = 0;
            for size in sizes {
                let address = list.take(size).unwrap_or_else(|| {
                    fresh += 1;
                    size
                });
                list.put(size, address);
            }
            fresh
        };
        let first: Vec<usize> = (0..4).map(|_| round(&mut list, [50, 20, 25])).collect();
        assert_eq!(first, [3, 1, 0, 0]);
        // No more than twice the peak, whatever comes.
        for sizes in [[41, 42, 43], [31, 32, 33], [41, 42, 43], [31, 32, 33]] {
            round(&mut list, sizes);
            assert!(list.free <= 2 * list.peak, "{} of {}", list.free, list.peak);
        }
        assert_eq!(list.dropped_bytes, list.dropped.iter().sum::<usize>());
    }

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
