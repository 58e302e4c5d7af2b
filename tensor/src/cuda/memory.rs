//! Device memory: blocks go back to a list when tensors drop them and are given out again.
//!
//! Asking the driver for memory costs as much as many kernels, and waits for the device; a training step asks for the same
//! sizes again and again. The list gives the smallest block that fits and is not much larger; the same sequence of requests
//! gets the same addresses. When the driver has no memory left, the list is emptied and the driver asked once more.

use std::collections::BTreeMap;

use cudarc::driver::sys::{self, CUresult};

use super::{
    error::{CudaError, check},
    gpu::Gpu,
};

/// Small blocks come in steps of this many bytes, which is also what every address is a multiple of.
const SMALL_STEP: usize = 512;
/// Blocks of more than `LARGE` bytes come in steps of `LARGE_STEP`: the size of the driver's pages.
const LARGE: usize = 1 << 20;
const LARGE_STEP: usize = 2 << 20;

/// Bytes behind a buffer that nothing may write, in this crate's tests.
const GUARD: usize = if cfg!(test) { 64 } else { 0 };

/// The size of the block that holds `bytes`.
fn size_class(bytes: usize) -> usize {
    if bytes <= LARGE {
        bytes.max(1).next_multiple_of(SMALL_STEP)
    } else {
        bytes.next_multiple_of(LARGE_STEP)
    }
}

/// What a device's memory is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MemoryUse {
    /// Bytes of blocks that tensors hold.
    pub in_use: usize,
    /// The most that was in use at once.
    pub peak: usize,
    /// Bytes of blocks that wait to be used again.
    pub cached: usize,
    /// How often the driver was asked for a block.
    pub allocations: u64,
}

/// The blocks of one device.
#[derive(Default)]
pub(super) struct Memory {
    /// Addresses of free blocks by their size, the one freed last at the end.
    free: BTreeMap<usize, Vec<u64>>,
    usage: MemoryUse,
}

impl Memory {
    /// A free block of at least `size` bytes that wastes at most a quarter of it.
    fn take(&mut self, size: usize) -> Option<(u64, usize)> {
        let (&capacity, addresses) = self.free.range_mut(size..=size + size / 4).next()?;
        let address = addresses.pop().expect("sizes without blocks are removed");
        if addresses.is_empty() {
            self.free.remove(&capacity);
        }
        self.usage.cached -= capacity;
        self.note(capacity);
        Some((address, capacity))
    }

    fn note(&mut self, capacity: usize) {
        self.usage.in_use += capacity;
        self.usage.peak = self.usage.peak.max(self.usage.in_use);
    }

    fn put(&mut self, address: u64, capacity: usize) {
        self.usage.in_use -= capacity;
        self.usage.cached += capacity;
        self.free.entry(capacity).or_default().push(address);
    }

    fn drain(&mut self) -> Vec<u64> {
        self.usage.cached = 0;
        std::mem::take(&mut self.free).into_values().flatten().collect()
    }
}

impl Gpu {
    /// What the memory is used for.
    pub(crate) fn memory_use(&self) -> MemoryUse {
        self.memory().usage
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().expect("no thread panics while it holds the list of blocks")
    }

    /// Gives the free blocks back to the driver, once the device no longer uses them.
    pub(crate) fn release_cached(&self) -> Result<(), CudaError> {
        self.synchronize()?;
        for address in self.memory().drain() {
            // SAFETY: came from `cuMemAlloc`, is on no list any more and belongs to no buffer.
            check("cuMemFree", unsafe { sys::cuMemFree_v2(address) })?;
        }
        Ok(())
    }

    fn allocate(&self, bytes: usize) -> Result<(u64, usize), CudaError> {
        let size = size_class(bytes);
        if let Some(block) = self.memory().take(size) {
            return Ok(block);
        }
        self.bind()?;
        let ask = || {
            let mut address = 0;
            // SAFETY: writes an address.
            match unsafe { sys::cuMemAlloc_v2(&mut address, size) } {
                CUresult::CUDA_ERROR_OUT_OF_MEMORY => Ok(None),
                result => check("cuMemAlloc", result).map(|()| Some(address)),
            }
        };
        let mut block = ask()?;
        if block.is_none() {
            self.release_cached()?;
            block = ask()?;
        }
        let Some(address) = block else { return Err(self.out_of_memory(bytes)) };
        let mut memory = self.memory();
        memory.usage.allocations += 1;
        memory.note(size);
        Ok((address, size))
    }

    fn out_of_memory(&self, wanted: usize) -> CudaError {
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two numbers; where it fails they stay 0 and the message is less exact.
        let _ = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        let used = self.memory_use().in_use;
        CudaError::OutOfMemory { device: self.device(), wanted, used, free, total }
    }
}

/// A block of device memory with unspecified contents; goes back to the device's list when dropped.
pub(crate) struct Buffer {
    pub(crate) gpu: &'static Gpu,
    address: u64,
    len: usize,
    capacity: usize,
}

impl Buffer {
    /// A buffer of `len` bytes.
    pub(crate) fn new(gpu: &'static Gpu, len: usize) -> Result<Buffer, CudaError> {
        if len == 0 {
            return Ok(Buffer { gpu, address: 0, len, capacity: 0 });
        }
        let (address, capacity) = gpu.allocate(len + GUARD)?;
        let buffer = Buffer { gpu, address, len, capacity };
        if GUARD != 0 {
            buffer.poison()?;
        }
        Ok(buffer)
    }

    /// Two bytes that make NaN of every float type and are not those of most other blocks, so that what is copied from
    /// behind the end of one buffer to behind the end of another shows.
    fn poison_pattern(&self) -> u16 {
        0xFFC0 | (self.address / SMALL_STEP as u64 % 63) as u16
    }

    /// Fills the block with NaN, so that a kernel that forgets an element, or reads behind the end, shows.
    fn poison(&self) -> Result<(), CudaError> {
        self.gpu.bind()?;
        // SAFETY: the block has `capacity` bytes, a multiple of two.
        let result = unsafe {
            let (pattern, count) = (self.poison_pattern(), self.capacity / 2);
            sys::cuMemsetD16Async(self.address, pattern, count, self.gpu.stream)
        };
        check("cuMemsetD16Async", result)
    }

    /// Panics if something was written behind the end.
    fn check_guard(&self) {
        let mut behind = vec![0; self.capacity - self.len];
        let read = self.gpu.download(self.address + self.len as u64, &mut behind);
        let pattern = self.poison_pattern().to_le_bytes();
        let mut bytes = behind.iter().zip(self.len..);
        let whole = read.is_ok() && bytes.all(|(&byte, at)| byte == pattern[at % 2]);
        assert!(whole, "a kernel wrote behind the end of a buffer of {} bytes", self.len);
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Its size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if GUARD != 0 && self.capacity > 0 && !std::thread::panicking() {
            self.check_guard();
        }
        // After a panic in another thread the list may be locked for good: the block is lost, the program goes on ending.
        if self.capacity > 0
            && let Ok(mut memory) = self.gpu.memory.lock()
        {
            memory.put(self.address, self.capacity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_to_requests_they_fit() {
        let mut memory = Memory::default();
        for (address, size) in [(1, 1024), (2, 4096), (3, 4096)] {
            memory.note(size);
            memory.put(address, size);
        }
        assert_eq!(memory.usage.cached, 1024 + 2 * 4096);
        // A fifth smaller fits; half the size would waste too much.
        assert_eq!(memory.take(3584), Some((3, 4096)));
        assert_eq!(memory.take(2048), None);
        assert_eq!(memory.take(1024), Some((1, 1024)));
        assert_eq!((memory.usage.in_use, memory.usage.cached), (5120, 4096));
        assert_eq!(memory.drain(), [2]);
        assert_eq!(memory.usage.cached, 0);
    }

    #[test]
    fn size_classes() {
        assert_eq!([0, 1, 512, 513].map(size_class), [512, 512, 512, 1024]);
        assert_eq!(size_class(LARGE), LARGE);
        assert_eq!(size_class(LARGE + 1), LARGE_STEP);
        assert_eq!(size_class(LARGE_STEP + 1), 2 * LARGE_STEP);
    }
}
