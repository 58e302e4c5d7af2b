//! Speed of the dense kernels beside the machine's peak: `cargo bench -p tensor --bench kernels [-- FILTER]`.
//!
//! GFLOP/s count the nominal multiply-adds, taps on padding included; so more than 100 % of the peak is possible.

use std::hint::black_box;
use std::time::Instant;
use tensor::{Conv2dOptions, ConvAlgorithm, Tensor};

/// Seconds this thread has spent on a core, where the system tells; it does not count what other programs took.
fn cpu_time() -> Option<f64> {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        const THREAD_CPU_TIME: i32 = 3;
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut [i64; 2]) -> i32;
        }
        let mut time = [0; 2];
        // SAFETY: the C library's function, with a timespec (two 64-bit numbers on this target) to write to.
        let status = unsafe { clock_gettime(THREAD_CPU_TIME, &mut time) };
        (status == 0).then_some(time[0] as f64 + time[1] as f64 / 1e9)
    }
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    None
}

/// Seconds of a run: the fastest of 0.4 s of runs (at least five), for other programs and machines on the same core only ever
/// slow a run down. `alone`: the work stays on this thread, so that its CPU time can stand in for the clock.
fn seconds(alone: bool, mut run: impl FnMut()) -> f64 {
    run();
    let mut time = || {
        let (begin, cpu_begin) = (Instant::now(), cpu_time().filter(|_| alone));
        run();
        match (cpu_begin, cpu_time()) {
            (Some(begin), Some(end)) => end - begin,
            _ => begin.elapsed().as_secs_f64(),
        }
    };
    let begin = Instant::now();
    let mut best = (0..5).map(|_| time()).fold(f64::INFINITY, f64::min);
    while begin.elapsed().as_secs_f64() < 0.4 {
        best = best.min(time());
    }
    best
}

/// Twelve independent chains of multiply-adds; named variables, because an array would live in memory.
macro_rules! chains {
    ($zero:expr, $fma:expr, [$($chain:ident)*]) => {{
        $(let mut $chain = $zero;)*
        for _ in 0..STEPS {
            $($chain = $fma($chain);)*
        }
        [$($chain),*]
    }};
}

const STEPS: usize = 1 << 18;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::STEPS;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub(super) fn avx512() -> f32 {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
        let sums =
            chains!(_mm512_setzero_ps(), |x| _mm512_fmadd_ps(x, a, b), [c d e f g h i j k l m n]);
        sums.into_iter().map(|v| _mm512_reduce_add_ps(v)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2() -> f32 {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
        let sums =
            chains!(_mm256_setzero_ps(), |x| _mm256_fmadd_ps(x, a, b), [c d e f g h i j k l m n]);
        sums.into_iter().map(|v| _mm_cvtss_f32(_mm256_castps256_ps128(v))).sum()
    }
}

/// GFLOP/s of one thread that does nothing but multiply-adds, in the widest registers it has.
fn peak() -> f64 {
    let rate = |lanes: usize, time: f64| (2 * lanes * 12 * STEPS) as f64 / time / 1e9;
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: just detected.
            return rate(16, seconds(true, || _ = black_box(unsafe { x86::avx512() })));
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: just detected.
            return rate(8, seconds(true, || _ = black_box(unsafe { x86::avx2() })));
        }
    }
    let (a, b) = (black_box(0.999f32), black_box(1e-3f32));
    let time = seconds(true, || {
        _ = black_box(
            chains!([0.0f32; 4], |x: [f32; 4]| x.map(|x| x * a + b), [c d e f g h i j k l m n]),
        );
    });
    rate(4, time)
}

fn numbers(shape: &[usize]) -> Tensor {
    let len = shape.iter().product();
    let numbers: Vec<f32> = (0..len).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect();
    Tensor::new(&numbers, shape)
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

    /// The three passes of a convolution of `[batch, inputs, size, outputs]` with a square kernel.
    fn conv(
        &self,
        name: &str,
        [n, c, size, o]: [usize; 4],
        kernel: usize,
        [stride, padding, groups]: [usize; 3],
        algorithm: ConvAlgorithm,
    ) {
        let options = Conv2dOptions {
            algorithm,
            stride: [stride; 2],
            padding: [padding; 2],
            groups,
            ..Conv2dOptions::default()
        };
        let out = (size + 2 * padding - kernel) / stride + 1;
        let macs = n * out * out * o * c / groups * kernel * kernel;
        let (input, weight) = ([n, c, size, size], [o, c / groups, kernel, kernel]);
        let (x, w) = (numbers(&input).channels_last(), numbers(&weight));
        let dy = numbers(&[n, o, out, out]).channels_last();
        self.line(&format!("{name} forward"), macs, || _ = x.conv2d(&w, None, &options));
        self.line(&format!("{name} input"), macs, || _ = dy.conv2d_input_grad(&w, input, &options));
        self.line(&format!("{name} weight"), macs, || {
            _ = x.conv2d_weight_grad(&dy, weight, &options)
        });
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
        ("gemm 64x3136x1024 B^T", [64, 3136, 1024], [false, true]),
        ("gemm 12544x81x256 A^T", [12544, 81, 256], [true, false]),
        ("gemm 512x16x25088", [512, 16, 25088], [false, false]),
        ("gemm 32x4096x4096 B^T", [32, 4096, 4096], [false, true]),
        ("gemm 1x4096x4096 B^T", [1, 4096, 4096], [false, true]),
        // ConvNeXt-T's first stage: both linear layers, their input gradients and their weight gradients.
        ("gemm 50176x384x96 B^T", [50176, 384, 96], [false, true]),
        ("gemm 50176x96x384 B^T", [50176, 96, 384], [false, true]),
        ("gemm 50176x96x384", [50176, 96, 384], [false, false]),
        ("gemm 50176x384x96", [50176, 384, 96], [false, false]),
        ("gemm 384x96x50176 A^T", [384, 96, 50176], [true, false]),
        ("gemm 96x384x50176 A^T", [96, 384, 50176], [true, false]),
    ] {
        let matrix = |rows: usize, columns: usize, transposed: bool| match transposed {
            true => numbers(&[columns, rows]).transpose(0, 1),
            false => numbers(&[rows, columns]),
        };
        let (a, b) = (matrix(m, k, transposed[0]), matrix(k, n, transposed[1]));
        report.line(name, m * n * k, || _ = a.matmul(&b));
    }
    // Name, [batch, inputs, size, outputs], kernel, [stride, padding, groups].
    for (name, dims, kernel, rest) in [
        ("3x3 64@32 b32", [32, 64, 32, 64], 3, [1, 1, 1]),
        ("3x3 128@16 b32", [32, 128, 16, 128], 3, [1, 1, 1]),
        ("3x3 256@8 b32", [32, 256, 8, 256], 3, [1, 1, 1]),
        ("3x3 512@4 b32", [32, 512, 4, 512], 3, [1, 1, 1]),
        ("7x7 64@32 b32", [32, 64, 32, 64], 7, [1, 3, 1]),
        ("7x7 256@8 b32", [32, 256, 8, 256], 7, [1, 3, 1]),
        ("7x7 512@4 b32", [32, 512, 4, 512], 7, [1, 3, 1]),
        ("11x11s4 3@224 b32", [32, 3, 224, 64], 11, [4, 2, 1]),
        ("3x3s2 64@32 b32", [32, 64, 32, 128], 3, [2, 1, 1]),
        ("1x1 256@14 b32", [32, 256, 14, 256], 1, [1, 0, 1]),
        ("sudoku 3x3 256@11 b100", [100, 256, 11, 256], 3, [1, 0, 1]),
        ("sudoku 7x7 256@11 b100", [100, 256, 11, 256], 7, [1, 2, 1]),
        ("sudoku 7x7 64@11 b100", [100, 64, 11, 64], 7, [1, 2, 1]),
        ("7x7 128@16 b32", [32, 128, 16, 128], 7, [1, 3, 1]),
        ("23x23s4 3@224 b32", [32, 3, 224, 64], 23, [4, 8, 1]),
        ("11x11 64-192@15 b32", [32, 64, 15, 192], 11, [1, 5, 1]),
        ("7x7s2 1-128@60 b256", [256, 1, 60, 128], 7, [2, 0, 1]),
        ("7x7s2 128-64@28 b256", [256, 128, 28, 64], 7, [2, 0, 1]),
        ("dw3 96@56 b32", [32, 96, 56, 96], 3, [1, 1, 96]),
        ("dw7 96@56 b32", [32, 96, 56, 96], 7, [1, 3, 96]),
        ("dw7 384@14 b32", [32, 384, 14, 384], 7, [1, 3, 384]),
        ("dw15 96@56 b32", [32, 96, 56, 96], 15, [1, 7, 96]),
        ("dw15 384@14 b32", [32, 384, 14, 384], 15, [1, 7, 384]),
        ("dw31 64@56 b16", [16, 64, 56, 64], 31, [1, 15, 64]),
        ("dw27 256@14 b16", [16, 256, 14, 256], 27, [1, 13, 256]),
    ] {
        report.conv(name, dims, kernel, rest, ConvAlgorithm::Direct);
    }
    for (name, dims) in [
        ("winograd 3x3 64@32 b32", [32, 64, 32, 64]),
        ("winograd 3x3 128@16 b32", [32, 128, 16, 128]),
        ("winograd 3x3 256@8 b32", [32, 256, 8, 256]),
    ] {
        report.conv(name, dims, 3, [1, 1, 1], ConvAlgorithm::Winograd);
    }
    for (name, dims, kernel, rest) in [
        ("fft 5x5 64@32 b32", [32, 64, 32, 64], 5, [1, 2, 1]),
        ("fft 7x7 64@32 b32", [32, 64, 32, 64], 7, [1, 3, 1]),
        ("fft 7x7 256@8 b32", [32, 256, 8, 256], 7, [1, 3, 1]),
        ("fft sudoku 7x7 256@11 b100", [100, 256, 11, 256], 7, [1, 2, 1]),
        ("fft dw15 96@56 b32", [32, 96, 56, 96], 15, [1, 7, 96]),
        ("fft dw31 64@56 b16", [16, 64, 56, 64], 31, [1, 15, 64]),
        ("fft dw27 256@14 b16", [16, 256, 14, 256], 27, [1, 13, 256]),
    ] {
        report.conv(name, dims, kernel, rest, ConvAlgorithm::Fft);
    }
}
