//! After its first steps a training loop asks the system for no memory: every buffer of a step is one of the step before.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use autograd::Var;
use lpconv::{ConvertConfig, convert};
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{BatchNorm2d, Conv2d, Conv2dOptions, Dropout, Gru, Linear, MaxPool2d},
    loss::{Reduction, cross_entropy},
    optim::{AdamOptions, AdamW, Groups, Optimizer},
};
use tensor::{DType, Device, Stream, Tensor};

/// Requests of this size or more go to the system each time; what is smaller an allocator takes from memory it has (the
/// limit is glibc's M_MMAP_THRESHOLD).
const LARGE: usize = 128 << 10;

/// The system's allocator, which counts large requests.
struct Counting;

static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

fn count(size: usize) {
    if size >= LARGE {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pages that the system has given this process so far, where it tells.
fn page_faults() -> Option<usize> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before them may hold spaces, but ends with the last parenthesis; minor faults are field 10.
    stat.rsplit(')').next()?.split_whitespace().nth(7)?.parse().ok()
}

/// Residual blocks of Lp-convolutions (plain, depthwise, strided), then a GRU over the rows of the image.
#[derive(Module)]
struct Net {
    stem: Conv2d,
    pool: MaxPool2d,
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Conv2d,
    shortcut: Conv2d,
    dropout: Dropout,
    rows: Gru,
    head: Linear,
}

const CHANNELS: usize = 32;
const SIDE: usize = 40;
const BATCH: usize = 16;

impl Net {
    fn new() -> Net {
        let conv = |channels, kernel, stride, groups| {
            let (stride, padding) = ([stride; 2], [kernel / 2; 2]);
            let options = Conv2dOptions { stride, padding, groups, ..Default::default() };
            Conv2d::with_options(channels, CHANNELS, [kernel; 2], options)
        };
        Net {
            stem: conv(3, 3, 1, 1),
            pool: MaxPool2d::new(2, 2),
            conv1: conv(CHANNELS, 3, 1, 1),
            bn1: BatchNorm2d::new(CHANNELS),
            conv2: conv(CHANNELS, 3, 1, CHANNELS),
            bn2: BatchNorm2d::new(CHANNELS),
            conv3: conv(CHANNELS, 3, 2, 1),
            shortcut: conv(CHANNELS, 1, 2, 1),
            dropout: Dropout::new(0.3),
            rows: Gru::new(CHANNELS, 48),
            head: Linear::new(48, 10),
        }
    }
}

impl Forward for Net {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let x = self.pool.call(&self.stem.call(x, cx).relu(), cx);
        let y = self.bn1.call(&self.conv1.call(&x, cx), cx).relu();
        let y = self.bn2.call(&self.conv2.call(&y, cx), cx);
        let x = self.dropout.call(&(x + y).relu(), cx);
        let x = self.conv3.call(&x, cx).gelu() + self.shortcut.call(&x, cx);
        // The rows of the image are the steps of the sequence: [H, N, C].
        let rows = self.rows.call(&x.mean_axes(&[3], false).permute(&[2, 0, 1]), cx);
        self.head.call(&rows.select(0, rows.dims()[0] - 1), cx)
    }
}

/// Steps until nothing is new: which sizes take turns is only known when they have come back.
const WARM_UP: u64 = 4;

/// With several threads any step may be the first in which all of them need scratch memory of a kind at once; each can do so
/// once only, so that such steps come to an end.
const MORE_WARM_UP: u64 = 40;

/// Steps that ask for nothing.
const STEPS: u64 = 5;

/// What was asked for so far: large requests, their bytes, and pages (where the system tells).
fn asked() -> (usize, usize, Option<usize>) {
    (REQUESTS.load(Ordering::Relaxed), BYTES.load(Ordering::Relaxed), page_faults())
}

/// Trains on a number of threads, and checks the steps after the first ones.
fn train(threads: usize) {
    let mut net = Net::new();
    convert(&mut net, &ConvertConfig::lp(4.0)).unwrap();
    net.initialize(0, DType::F32, Device::Cpu);
    let stream = &mut Stream::new(1);
    let images = Tensor::randn([BATCH, 3, SIDE, SIDE], DType::F32, Device::Cpu, stream);
    let classes: Vec<i64> = (0..BATCH).map(|_| stream.below(10) as i64).collect();
    let classes = Tensor::new(&classes, [BATCH]);
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::uniform(0.01));
    let mut number = 0;
    let mut step = || {
        let mut cx = Context::train(Stream::new(0).derive_index(number));
        let logits = net.call(&Var::constant(images.clone()), &mut cx);
        let loss = cross_entropy(&logits, &classes, 0.0, Reduction::Mean);
        optimizer.step(&mut net, &loss.backward(), 1e-3);
        number += 1;
        number
    };
    while step() < WARM_UP {}
    let (mut warm, mut since) = (asked(), WARM_UP);
    assert!(warm.0 > 20, "the first steps ask for memory, and it is counted: {warm:?}");
    loop {
        let done = step();
        let now = asked();
        if done == since + STEPS {
            assert_eq!((now.0, now.1), (warm.0, warm.1), "large requests and their bytes");
            if let (Some(before), Some(after)) = (warm.2, now.2) {
                // The first steps take thousands of pages; a step with one fresh buffer of this net takes 200.
                assert!(after - before < 100, "{} fresh pages, after {before}", after - before);
            }
            return;
        }
        if threads > 1 && now.0 > warm.0 {
            assert!(done < MORE_WARM_UP, "step {done} asks for memory: {warm:?} before, {now:?}");
            (warm, since) = (now, done);
        }
    }
}

/// Set for the processes that this test starts, one for each instruction set.
const CHILD: &str = "ALLOCATIONS_CHILD";

#[test]
fn a_training_step_asks_for_no_memory_after_the_first_ones() {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| train(threads));
    }
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    // Narrower registers have smaller tiles and so more of them, each with its list of what to multiply.
    let active = tensor::instruction_set().unwrap();
    let narrower = ["avx512", "avx2", "portable"].into_iter().skip_while(|&set| set != active);
    for set in narrower.skip(1) {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .env(tensor::INSTRUCTION_SET_VARIABLE, set)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "with {set}:\n{output}");
        assert!(output.contains("1 passed"), "with {set}:\n{output}");
    }
}
