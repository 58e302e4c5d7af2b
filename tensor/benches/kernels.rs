//! Speed of the dense kernels beside the machine's peak: `cargo bench -p tensor --bench kernels [-- FILTER]`.
//!
//! GFLOP/s count the nominal multiply-adds, taps on padding included; so more than 100 % of the peak is possible.

use std::hint::black_box;
use std::time::Instant;
use tensor::kernels_for_bench::{Conv, gemm};

/// Nanoseconds this thread has spent on a core, where the system tells; it does not count what other programs took.
fn cpu_time() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// Seconds of a run: the median of enough runs to fill half a second, at least five. `alone`: the work stays on this
/// thread, so that its CPU time can stand in for the clock.
fn seconds(alone: bool, mut run: impl FnMut()) -> f64 {
    run();
    let begin = Instant::now();
    let cpu_begin = cpu_time().filter(|_| alone);
    let mut times = vec![];
    while times.len() < 5 || begin.elapsed().as_secs_f64() < 0.5 {
        let begin = Instant::now();
        run();
        times.push(begin.elapsed().as_secs_f64());
    }
    if let (Some(begin), Some(end)) = (cpu_begin, cpu_time()) {
        return (end - begin) as f64 / 1e9 / times.len() as f64;
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// GFLOP/s of one thread that does nothing but independent multiply-adds, in the widest registers it has.
fn peak() -> f64 {
    const STEPS: usize = 1 << 18;
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::*;
        #[target_feature(enable = "avx512f")]
        unsafe fn avx512() -> f32 {
            let mut acc = [_mm512_setzero_ps(); 16];
            let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
            for _ in 0..STEPS {
                for sum in &mut acc {
                    *sum = _mm512_fmadd_ps(*sum, a, b);
                }
            }
            acc.into_iter().map(|v| _mm512_reduce_add_ps(v)).sum()
        }
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2() -> f32 {
            let mut acc = [_mm256_setzero_ps(); 12];
            let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
            for _ in 0..STEPS {
                for sum in &mut acc {
                    *sum = _mm256_fmadd_ps(*sum, a, b);
                }
            }
            acc.into_iter().map(|v| _mm_cvtss_f32(_mm256_castps256_ps128(v))).sum()
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just detected.
            let time = seconds(true, || _ = black_box(unsafe { avx512() }));
            return (2 * 16 * 16 * STEPS) as f64 / time / 1e9;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just detected.
            let time = seconds(true, || _ = black_box(unsafe { avx2() }));
            return (2 * 8 * 12 * STEPS) as f64 / time / 1e9;
        }
    }
    let time = seconds(true, || {
        let mut acc = [0.0f32; 32];
        for _ in 0..STEPS {
            for sum in &mut acc {
                *sum = *sum * 0.999 + 1e-3;
            }
        }
        black_box(acc);
    });
    (2 * 32 * STEPS) as f64 / time / 1e9
}

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect()
}

struct Report {
    filter: Option<String>,
    pools: Vec<rayon::ThreadPool>,
    peak: f64,
}

impl Report {
    /// Times `run` with each pool and prints milliseconds, GFLOP/s and the share of the threads' peak.
    fn line(&self, name: &str, macs: usize, mut run: impl FnMut() + Send) {
        if self.filter.as_ref().is_some_and(|filter| !name.contains(filter)) {
            return;
        }
        print!("{name:<28}");
        for (i, pool) in self.pools.iter().enumerate() {
            let time = pool.install(|| seconds(i == 0, &mut run));
            let rate = 2.0 * macs as f64 / time / 1e9;
            let share = 100.0 * rate / self.peak / (i + 1) as f64;
            print!("  {:8.2} ms {rate:6.1} GFLOP/s {share:4.0} %", time * 1e3);
        }
        println!();
    }

    fn conv(&self, name: &str, conv: Conv, macs: usize) {
        let [x, w, y] = conv.lens().map(numbers);
        let (mut dx, mut dw, mut out) = (x.clone(), w.clone(), y.clone());
        self.line(&format!("{name} forward"), macs, || conv.forward(&x, &w, &mut out));
        self.line(&format!("{name} input"), macs, || conv.input_grad(&y, &w, &mut dx));
        self.line(&format!("{name} weight"), macs, || conv.weight_grad(&x, &y, &mut dw));
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let pools = (1..=2)
        .map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().expect("threads start"))
        .collect();
    let report = Report { filter, pools, peak: peak() };
    println!("peak of one thread {:.1} GFLOP/s; columns are 1 and 2 threads", report.peak);

    for (name, [m, n, k], transposed) in [
        ("gemm 1024^3", [1024, 1024, 1024], [false, false]),
        ("gemm 1024^3 A^T", [1024, 1024, 1024], [true, false]),
        ("gemm 1024^3 B^T", [1024, 1024, 1024], [false, true]),
        ("gemm 256x8100x12544", [256, 8100, 12544], [false, false]),
        ("gemm 64x3136x1024 A^T", [64, 3136, 1024], [true, false]),
        ("gemm 32x4096x4096 B^T", [32, 4096, 4096], [false, true]),
        ("gemm 1x4096x4096 B^T", [1, 4096, 4096], [false, true]),
    ] {
        let (a, b, mut c) = (numbers(m * k), numbers(k * n), numbers(m * n));
        report.line(name, m * n * k, || gemm([m, n, k], transposed, &a, &b, &mut c));
    }
    // Name, [batch, inputs, size, outputs], kernel, stride, padding, groups.
    for (name, dims, kernel, stride, padding, groups) in [
        ("3x3 64@32 b32", [32, 64, 32, 64], 3, 1, 1, 1),
        ("3x3 128@16 b32", [32, 128, 16, 128], 3, 1, 1, 1),
        ("3x3 256@8 b32", [32, 256, 8, 256], 3, 1, 1, 1),
        ("3x3 512@4 b32", [32, 512, 4, 512], 3, 1, 1, 1),
        ("7x7 64@32 b32", [32, 64, 32, 64], 7, 1, 3, 1),
        ("7x7 256@8 b32", [32, 256, 8, 256], 7, 1, 3, 1),
        ("7x7 512@4 b32", [32, 512, 4, 512], 7, 1, 3, 1),
        ("11x11s4 3@224 b32", [32, 3, 224, 64], 11, 4, 2, 1),
        ("3x3s2 64@32 b32", [32, 64, 32, 128], 3, 2, 1, 1),
        ("1x1 256@14 b32", [32, 256, 14, 256], 1, 1, 0, 1),
        ("sudoku 3x3 256@11 b100", [100, 256, 11, 256], 3, 1, 0, 1),
        ("sudoku 7x7 256@11 b100", [100, 256, 11, 256], 7, 1, 2, 1),
        ("sudoku 7x7 64@11 b100", [100, 64, 11, 64], 7, 1, 2, 1),
        ("dw7 96@56 b32", [32, 96, 56, 96], 7, 1, 3, 96),
        ("dw3 96@56 b32", [32, 96, 56, 96], 3, 1, 1, 96),
        ("dw15 384@14 b32", [32, 384, 14, 384], 15, 1, 7, 384),
    ] {
        let [batch, inputs, size, outputs] = dims;
        let out = (size + 2 * padding - kernel) / stride + 1;
        let macs = batch * out * out * outputs * inputs / groups * kernel * kernel;
        report.conv(name, Conv::new(dims, kernel, stride, padding, groups), macs);
    }
}
