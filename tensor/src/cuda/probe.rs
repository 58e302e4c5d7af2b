//! What a device can do at most: the figures that measured times are held against.

use std::time::Instant;

use cudarc::driver::sys;

use super::{
    error::{CudaError, check},
    gpu::Gpu,
    launch::{Grid, Module, Out, Source, THREADS, kernels},
    memory::Buffer,
};

static PROBE: Source =
    Source { name: "probe", text: include_str!("kernels/probe.cu"), options: &[] };

kernels! { PROBE;
    fn multiply_add(y: Out, rounds: u32, by: f32, shift: f32);
}

/// Multiply-adds of a thread in one round, as in `probe.cu`.
const CHAINS: usize = 16;

/// A device's ceilings, measured.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Ceilings {
    /// Bytes read and written a second by the driver's own copy.
    pub bytes_per_s: f64,
    /// Operations a second of f32, a multiply-add being two.
    pub flop_per_s: f64,
}

/// Measures the ceilings of `cuda:index` with copies of `bytes` bytes; less than the device's cache measures the cache.
///
/// # Errors
/// If there is no such device, its memory does not suffice or the driver refuses.
pub fn ceilings(index: usize, bytes: usize) -> Result<Ceilings, CudaError> {
    let gpu = Gpu::get(index)?;
    let [from, to] = [Buffer::new(gpu, bytes)?, Buffer::new(gpu, bytes)?];
    let copy = || {
        gpu.bind()?;
        // SAFETY: two buffers of this size.
        let copied =
            unsafe { sys::cuMemcpyDtoDAsync_v2(to.address(), from.address(), bytes, gpu.stream) };
        check("cuMemcpyDtoDAsync", copied)
    };
    let seconds = least_seconds(gpu, copy)?;
    let (blocks, rounds) = (gpu.info.multiprocessors as usize * 16, (bytes >> 16).clamp(16, 4096));
    let grid = Grid::blocks(blocks);
    let y = Buffer::new(gpu, blocks * THREADS as usize * size_of::<f32>())?;
    let compute = || {
        // SAFETY: a number for each thread.
        unsafe {
            multiply_add(gpu, &[], grid, Out(y.address()), rounds as u32, 0.999, 1e-3);
        }
        Ok(())
    };
    let flop = 2.0 * (blocks * THREADS as usize * CHAINS * rounds) as f64;
    Ok(Ceilings {
        bytes_per_s: 2.0 * bytes as f64 / seconds,
        flop_per_s: flop / least_seconds(gpu, compute)?,
    })
}

/// Seconds of one of several calls at best, each measured together with as many as make the waiting for the device small.
fn least_seconds(gpu: &Gpu, work: impl Fn() -> Result<(), CudaError>) -> Result<f64, CudaError> {
    const TOGETHER: usize = 4;
    let mut least = f64::INFINITY;
    // The first compiles and wakes the device up.
    for _ in 0..6 {
        gpu.synchronize()?;
        let begin = Instant::now();
        for _ in 0..TOGETHER {
            work()?;
        }
        gpu.synchronize()?;
        least = least.min(begin.elapsed().as_secs_f64() / TOGETHER as f64);
    }
    Ok(least)
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    vec![Module::new(&PROBE, &[])]
}
