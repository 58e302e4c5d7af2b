//! Speed of the layers that only move memory: `cargo bench -p tensor --bench layers [-- FILTER]`.
//!
//! GB/s count what a perfect kernel would have to read and write (given in passes over the activation), on one
//! thread, by CPU time where the system tells it: other programs on the machine change little.

use std::{hint::black_box, time::Instant};

use tensor::{Activation, AdamStep, DType, Device, Pool2d, Stream, Targets, Tensor};

/// Nanoseconds this thread has spent on a core, where the system tells.
fn cpu_time() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

/// Seconds of a run, the mean of half a second of them.
fn seconds(mut run: impl FnMut()) -> f64 {
    run();
    let (begin, cpu_begin, mut count) = (Instant::now(), cpu_time(), 0);
    while count < 5 || begin.elapsed().as_secs_f64() < 0.5 {
        run();
        count += 1;
    }
    let wall = begin.elapsed().as_secs_f64();
    let total = match (cpu_begin, cpu_time()) {
        (Some(b), Some(e)) => (e - b) as f64 / 1e9,
        _ => wall,
    };
    total / f64::from(count)
}

struct Report {
    filter: String,
}

impl Report {
    /// One line: milliseconds, and GB/s for `passes` over `bytes`.
    fn line(&self, name: &str, bytes: usize, passes: f64, run: impl FnMut()) {
        if name.contains(&self.filter) {
            let s = seconds(run);
            let rate = bytes as f64 * passes / s / 1e9;
            println!("{name:<44} {:>9.3} ms {rate:>7.1} GB/s in {passes} passes", s * 1e3);
        }
    }
}

fn image_layers(report: &Report, x: &Tensor, stream: &mut Stream) {
    let [_, c, h, w] = x.dims_of();
    let (shape, bytes) = (x.shape(), x.numel() * 4);
    let random = |shape: tensor::Shape, stream: &mut Stream| {
        Tensor::randn(shape, DType::F32, Device::Cpu, stream)
    };
    let dy = random(shape, stream).channels_last();
    let vector = random([c].into(), stream);
    let line = |name: &str, passes: f64, run: &mut dyn FnMut()| {
        report.line(&format!("{name} {shape}"), bytes, passes, run);
    };
    let rows = x.contiguous();
    line("relu", 2.0, &mut || drop(black_box(x.relu())));
    line("add", 3.0, &mut || drop(black_box(x + &dy)));
    line("gelu", 2.0, &mut || drop(black_box(x.gelu())));
    line("gelu_grad, times dy", 5.0, &mut || drop(black_box(&x.gelu_grad() * &dy)));
    line("gelu_backward", 3.0, &mut || drop(black_box(x.gelu_backward(&dy))));
    let column = vector.reshape([c, 1, 1]);
    line("bias, relu", 4.0, &mut || drop(black_box((x + &column).relu())));
    let mut memory = Some(x.clone().bias_act(None, Activation::Relu));
    line("bias_act relu", 2.0, &mut || {
        memory = memory.take().map(|x| x.bias_act(Some(&vector), Activation::Relu));
    });
    line("channels_last", 2.0, &mut || drop(black_box(rows.channels_last())));
    line("batch_norm_stats", 1.0, &mut || drop(black_box(x.batch_norm_stats())));
    let (mean, var) = x.batch_norm_stats();
    let invstd = var.rsqrt();
    line("batch_norm", 2.0, &mut || {
        drop(black_box(x.batch_norm(&mean, &invstd, Some(&vector), Some(&vector))));
    });
    line("batch_norm_grad", 5.0, &mut || {
        drop(black_box(x.batch_norm_grad(&dy, &mean, &invstd, Some(&vector), true, true)));
    });
    line("batch_norm_grad without dx", 2.0, &mut || {
        drop(black_box(x.batch_norm_grad(&dy, &mean, &invstd, Some(&vector), true, false)));
    });
    line("channel_sums", 1.0, &mut || drop(black_box(x.channel_sums())));
    let (rows, drows) = (x.permute(&[0, 2, 3, 1]), dy.permute(&[0, 2, 3, 1]));
    line("layer_norm", 2.0, &mut || {
        drop(black_box(rows.layer_norm(1, Some(&vector), Some(&vector), 1e-6)));
    });
    let (_, stats) = rows.layer_norm(1, None, None, 1e-6);
    line("layer_norm_grad", 3.0, &mut || {
        drop(black_box(rows.layer_norm_grad(1, &drows, &stats, Some(&vector))));
    });
    line("reflection_pad2d", 2.0, &mut || drop(black_box(x.reflection_pad2d([1; 4]))));
    line("adaptive_avg_pool2d 1", 1.0, &mut || drop(black_box(x.adaptive_avg_pool2d([1, 1]))));
    if h >= 8 {
        let pool = Pool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1], ceil_mode: false };
        line("max_pool2d", 1.25, &mut || drop(black_box(x.max_pool2d(&pool))));
        let (y, cells) = x.max_pool2d(&pool);
        line("max_pool2d_grad", 1.25, &mut || {
            drop(black_box(y.max_pool2d_grad(&cells, x.shape(), &pool)));
        });
        let pool = Pool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0], ceil_mode: false };
        line("avg_pool2d", 1.25, &mut || drop(black_box(x.avg_pool2d(&pool, true))));
        let y = x.avg_pool2d(&pool, true);
        line("avg_pool2d_grad", 1.25, &mut || {
            drop(black_box(y.avg_pool2d_grad([shape[0], c, h, w], &pool, true)));
        });
    }
}

fn main() {
    let filter = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let report = Report { filter };
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("no other pool has been made");
    let stream = &mut Stream::new(1);
    // ResNet-18 at 32 pixels, a Sudoku CNN, ConvNeXt-T.
    for shape in [[32, 64, 32, 32], [100, 256, 9, 9], [32, 96, 56, 56]] {
        let x = Tensor::randn(shape, DType::F32, Device::Cpu, stream).channels_last();
        image_layers(&report, &x, stream);
    }
    for (rows, classes) in [(8100, 9), (128, 100), (128, 1000)] {
        let x = Tensor::randn([rows, classes], DType::F32, Device::Cpu, stream);
        let index = Tensor::zeros([rows], DType::I64, Device::Cpu);
        let targets = Targets::Classes { index: &index, smoothing: 0.1 };
        let bytes = x.numel() * 4;
        let name = |op: &str| format!("{op} [{rows}, {classes}]");
        report.line(&name("softmax"), bytes, 2.0, || drop(black_box(x.softmax(1))));
        report.line(&name("cross_entropy"), bytes, 1.0, || {
            drop(black_box(x.cross_entropy(targets)));
        });
        let (loss, lse) = x.cross_entropy(targets);
        report.line(&name("cross_entropy_grad"), bytes, 2.0, || {
            drop(black_box(x.cross_entropy_grad(targets, &lse, &loss)));
        });
    }
    let n = 1 << 22;
    let mut x = Tensor::randn([n], DType::F32, Device::Cpu, stream);
    let grad = x.cos();
    let (mut m, mut v) = (x.zeros_like(), x.zeros_like());
    let step = AdamStep {
        lr: 1e-3,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.05,
        decoupled: true,
        step: 1,
    };
    report
        .line("adam_step [4194304]", n * 4, 7.0, || x.adam_step_mut(&grad, &mut m, &mut v, &step));
}
