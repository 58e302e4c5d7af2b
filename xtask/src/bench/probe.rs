//! What the machine can do at most: multiply-adds in registers, and copies of memory.
//!
//! Figures of workloads are read against these, measured on the same number of threads. Where the system tells the processor
//! time of a thread, that is the time counted: the limits are then the machine's, also while other programs use it.

use std::{hint::black_box, sync::Barrier, thread};

use tensor::{Device, cuda::CudaError};

/// The limits of so many threads together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak {
    /// Best rate of f32 multiply-adds, each counted as two operations.
    pub(super) gflops: f64,
    /// The instructions it was measured with.
    pub(super) instructions: &'static str,
    /// Best rate of a large copy: bytes read plus bytes written.
    pub(super) copy_gb_per_s: f64,
}

/// The limits of a device, with so many threads on the CPU.
///
/// # Errors
/// If the device cannot be measured.
pub(super) fn of(device: Device, threads: usize) -> Result<Peak, CudaError> {
    let Device::Cuda(index) = device else { return Ok(probe(threads)) };
    let ceilings = tensor::cuda::ceilings(index, 1 << 30)?;
    Ok(Peak {
        gflops: ceilings.flop_per_s / 1e9,
        instructions: "f32 multiply-adds",
        copy_gb_per_s: ceilings.bytes_per_s / 1e9,
    })
}

/// Measurements of which the best counts: anything that disturbs makes them slower, nothing faster.
const TRIES: usize = 9;

/// One measurement's least duration.
const TRY_S: f64 = 0.015;

/// Measures both limits; takes about half a second.
pub(super) fn probe(threads: usize) -> Peak {
    let kernel = Kernel::active();
    let gflops = best_rate(threads, || {
        let kernel = kernel.run;
        move || kernel(BLOCK) / 1e9
    });
    let copy_gb_per_s = best_rate(threads, || {
        let (from, mut to) = (vec![1u8; COPY_BYTES], vec![0u8; COPY_BYTES]);
        move || {
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
            2.0 * COPY_BYTES as f64 / 1e9
        }
    });
    Peak { gflops, instructions: kernel.name, copy_gb_per_s }
}

/// A sentence if other programs have kept more than a quarter of a core busy for the last minute, where the system tells
/// (Linux). Everything measured then is too slow by an unknown amount.
pub(super) fn busy() -> Option<String> {
    busy_of(&std::fs::read_to_string("/proc/loadavg").ok()?)
}

fn busy_of(loadavg: &str) -> Option<String> {
    let load: f64 = loadavg.split_whitespace().next()?.parse().ok()?;
    (load > 0.25).then(|| {
        format!(
            "this machine was busy before the first round (load average {load:.2}): times may be too long; trust cpu ms and ratios"
        )
    })
}

/// Far more than caches hold.
const COPY_BYTES: usize = 64 << 20;

/// Steps of a multiply-add kernel between two looks at the clock, which take a microsecond: some 50 of them.
const BLOCK: usize = 1 << 15;

/// Amount of work a second on all threads together. `make` prepares a thread's piece of work, which returns its amount.
fn best_rate<F: FnMut() -> f64>(threads: usize, make: impl Fn() -> F + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let one_thread = || {
        let mut work = make();
        let mut rates = [0.0; TRIES];
        for rate in &mut rates {
            barrier.wait();
            let (clock, mut amount) = (Clock::start(), 0.0);
            while clock.seconds() < TRY_S {
                amount += work();
            }
            *rate = amount / clock.seconds();
        }
        rates
    };
    let rates: Vec<[f64; TRIES]> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one_thread)).collect();
        running.into_iter().map(|t| t.join().expect("a probe does not panic")).collect()
    });
    (0..TRIES).map(|i| rates.iter().map(|r| r[i]).sum::<f64>()).fold(0.0, f64::max)
}

/// The processor time of this thread, or where the system does not tell, the time of day.
struct Clock(f64);

impl Clock {
    fn start() -> Clock {
        Clock(Self::now())
    }

    fn seconds(&self) -> f64 {
        Self::now() - self.0
    }

    #[cfg(unix)]
    fn now() -> f64 {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
    }

    #[cfg(not(unix))]
    fn now() -> f64 {
        let t = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        t.map_or(0.0, |t| t.as_secs_f64())
    }
}

/// A loop of independent multiply-adds; returns the operations done.
struct Kernel {
    name: &'static str,
    run: fn(usize) -> f64,
}

impl Kernel {
    /// That of the instructions which the workloads use, too: the widest, or what `TENSOR_INSTRUCTION_SET` says.
    fn active() -> Kernel {
        // What cannot be had is refused before any command runs.
        Self::of(tensor::instruction_set().unwrap_or("portable"))
    }

    /// By the names of [`tensor::instruction_set`].
    fn of(instructions: &str) -> Kernel {
        #[cfg(target_arch = "x86_64")]
        {
            if instructions == "avx512" && is_x86_feature_detected!("avx512f") {
                // SAFETY: the processor has AVX-512F, as was just asked.
                return Kernel { name: "AVX-512", run: |steps| unsafe { x86::avx512(steps) } };
            }
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if instructions == "avx2" && avx2 {
                // SAFETY: the processor has AVX2 and FMA, as was just asked.
                return Kernel { name: "AVX2", run: |steps| unsafe { x86::avx2(steps) } };
            }
        }
        let _ = instructions;
        Kernel { name: "baseline instructions", run: portable }
    }
}

/// What the compiler makes of it for the instructions every processor of this architecture has.
fn portable(steps: usize) -> f64 {
    const LANES: usize = 32;
    let mut sums = [black_box(1.0f32); LANES];
    let (a, b) = (black_box(0.999_f32), black_box(0.001_f32));
    for _ in 0..steps {
        for s in &mut sums {
            *s = *s * a + b;
        }
    }
    black_box(sums);
    (2 * LANES * steps) as f64
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::{arch::x86_64::*, hint::black_box};

    /// Independent sums: more than the latency of an instruction (4 or 5 cycles) times two issued a cycle.
    const SUMS: usize = 12;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512(steps: usize) -> f64 {
        let mut sums = [_mm512_set1_ps(black_box(1.0)); SUMS];
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        for _ in 0..steps {
            for s in &mut sums {
                *s = _mm512_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums);
        (2 * 16 * SUMS * steps) as f64
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2(steps: usize) -> f64 {
        let mut sums = [_mm256_set1_ps(black_box(1.0)); SUMS];
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        for _ in 0..steps {
            for s in &mut sums {
                *s = _mm256_fmadd_ps(*s, a, b);
            }
        }
        black_box(sums);
        (2 * 8 * SUMS * steps) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_told_from_a_quiet_one() {
        assert_eq!(busy_of("0.07 0.13 0.71 1/123 4567"), None);
        assert!(busy_of("4.26 5.24 3.93 6/217 28351").unwrap().contains("load average 4.26"));
        assert_eq!(busy_of("?"), None);
    }

    #[test]
    fn limits_are_plausible() {
        let peak = probe(1);
        assert!((0.1..1e4).contains(&peak.gflops), "{peak:?}");
        assert!((0.01..1e4).contains(&peak.copy_gb_per_s), "{peak:?}");
    }

    #[test]
    fn the_kernel_is_of_the_instructions_that_workloads_use() {
        assert_eq!(Kernel::of("portable").name, "baseline instructions");
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                assert_eq!(Kernel::of("avx2").name, "AVX2");
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                assert_eq!(Kernel::of("avx512").name, "AVX-512");
            }
        }
    }
}
