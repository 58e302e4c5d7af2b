//! Convolutions with one input channel a group.

use super::{
    conv::{Steps, Tiled},
    gpu::Gpu,
    launch::{Define, Grid, In, Module, Out, Param, Source, THREADS, Value, kernels},
    operand::{gpu, input, optional, output},
    strided::Divisor,
};
use crate::{Conv2dOptions, DType, Shape, Tensor, layout::Layout};

static DEPTHWISE: Source =
    Source { name: "depthwise", text: include_str!("kernels/depthwise.cu"), options: &[] };

/// The walk of a tap over the source, and sizes; see `depthwise.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Depthwise {
    walk: Steps,
    div: [Divisor; 2],
    height: Divisor,
    width: Divisor,
    channels: Divisor,
    columns: u32,
    rows: u32,
    taps_down: u32,
    taps_across: u32,
    source_channels: u32,
    shared_by: u32,
    made_of: u32,
}

// SAFETY: numbers in the order of `depthwise.cu`.
unsafe impl Param for Depthwise {}

kernels! { DEPTHWISE;
    any fn depthwise(x: In, w: In, bias: In, y: Out, g: Depthwise, n: u64);
    fn depthwise_weight_gradient(x: In, dy: In, out: Out, g: Depthwise, piece: u32);
}

/// Neighboring pixels, or taps, of a thread.
const RUNS: [usize; 2] = [4, 8];

fn run_of(weight: Shape) -> usize {
    RUNS[usize::from(weight[3] > RUNS[0])]
}

/// Blocks that fill a device, rows of a piece at least, and pieces at most.
const FULL: usize = 512;
const LEAST_PIECE: usize = if cfg!(test) { 4 } else { 64 };
const MOST_PIECES: usize = 256;

/// Whether these kernels compute a convolution.
pub(super) fn serves(weight: &Tensor, options: &Conv2dOptions) -> bool {
    let [o, i, kh, kw] = weight.dims_of();
    i == 1 && o * kh * kw > 0 && options.groups > 0
}

fn is_plain(options: &Conv2dOptions) -> bool {
    options.stride == [1, 1] && options.dilation == [1, 1]
}

fn geometry(
    (walk, div): (Steps, [Divisor; 2]),
    source: Shape,
    result: Shape,
    weight: Shape,
    run: usize,
    [shared_by, made_of]: [usize; 2],
) -> Depthwise {
    let size = |n: usize| u32::try_from(n).expect("images have fewer than 2^32 rows in all");
    Depthwise {
        walk,
        div,
        height: Divisor::new(result[2]),
        width: Divisor::new(result[3].div_ceil(run)),
        channels: Divisor::new(result[1]),
        columns: size(result[3]),
        rows: size(result[0] * result[2]),
        taps_down: size(weight[2]),
        taps_across: size(weight[3]),
        source_channels: size(source[1]),
        shared_by: size(shared_by),
        made_of: size(made_of),
    }
}

fn defines(dtype: DType, run: usize, plain: bool) -> [Define; 3] {
    [
        ("T", Value::Type(dtype)),
        ("RUN", Value::Int(run as i64)),
        ("PLAIN", Value::Int(plain.into())),
    ]
}

/// `[tap, channel]`.
fn by_tap(weight: &Tensor) -> Tensor {
    let [o, _, kh, kw] = weight.dims_of();
    weight.reshape([o, kh * kw]).transpose(0, 1).contiguous()
}

/// Cross-correlation.
pub(super) fn forward(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
    shape: Shape,
) -> Tensor {
    let steps = Steps::forward(x.shape(), options);
    let shared_by = shape[1] / x.dims()[1].max(1);
    let how = How { steps, shares: [shared_by, 1], plain: is_plain(options) };
    compute(gpu(x), x, weight, bias, how, shape)
}

/// The gradient of the input.
pub(super) fn input_grad(
    dy: &Tensor,
    weight: &Tensor,
    options: &Conv2dOptions,
    shape: Shape,
) -> Tensor {
    let gpu = gpu(dy);
    input(gpu, weight);
    let made_of = dy.dims()[1] / shape[1].max(1);
    let (mut steps, div) = Steps::backward(dy.shape(), options);
    if !is_plain(options) || made_of > 1 {
        let how = How { steps: (steps, div), shares: [1, made_of], plain: false };
        return compute(gpu, dy, weight, None, how, shape);
    }
    // The kernel turned around: taps count in the other direction.
    let taps = [weight.dims()[2], weight.dims()[3]];
    for (axis, &k) in taps.iter().enumerate() {
        steps.off[axis] -= k as i32 - 1;
        steps.step[axis] = 1;
    }
    let how = How { steps: (steps, div), shares: [1, 1], plain: true };
    compute(gpu, dy, &weight.flip(&[2, 3]), None, how, shape)
}

struct How {
    steps: (Steps, [Divisor; 2]),
    shares: [usize; 2],
    plain: bool,
}

fn compute(
    gpu: &'static Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    how: How,
    shape: Shape,
) -> Tensor {
    let dtype = x.dtype();
    let (y, out) = output(gpu, Layout::channels_last(shape), dtype);
    if y.numel() == 0 {
        return y;
    }
    let run = run_of(weight.shape());
    let (kernel, run, plain) =
        if how.plain { ("depthwise_run", run, run) } else { ("depthwise_any", 1, RUNS[0]) };
    let g = geometry(how.steps, x.shape(), shape, weight.shape(), run, how.shares);
    let n = shape[0] * shape[2] * shape[3].div_ceil(run) * shape[1];
    let (from, bias) = (input(gpu, x), optional(gpu, bias));
    input(gpu, weight);
    let w = by_tap(weight);
    let (defines, grid) = (defines(dtype, plain, true), Grid::over(n, 1));
    // SAFETY: the walk looks at pixels inside x only; sizes are those of the tensors.
    unsafe { depthwise(gpu, &defines, grid, kernel, from, input(gpu, &w), bias, out, g, n as u64) };
    y
}

/// The gradient of a weight of shape `weight`.
pub(super) fn weight_grad(
    x: &Tensor,
    dy: &Tensor,
    options: &Conv2dOptions,
    weight: Shape,
) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    let (channels, run) = (weight[0], run_of(weight));
    let shares = [channels / x.dims()[1], 1];
    let steps = Steps::forward(x.shape(), options);
    let g = geometry(steps, x.shape(), dy.shape(), weight, 1, shares);
    let (across, down) = (channels.div_ceil(32), weight[2] * weight[3].div_ceil(run));
    let rows = g.rows as usize;
    let most = FULL.div_ceil(across * down).min(MOST_PIECES);
    let piece = rows.div_ceil((rows / LEAST_PIECE).clamp(1, most));
    let pieces = rows.div_ceil(piece);
    let grid = Grid {
        blocks: [across, down, pieces].map(|b| b as u32),
        threads: [THREADS, 1, 1],
        shared: 0,
    };
    let (from, grads, defines) =
        (input(gpu, x), input(gpu, dy), defines(dtype, run, is_plain(options)));
    let taps = weight[2] * weight[3];
    let dw = Tiled { gpu, dtype, pieces, layout: [taps, channels].into() }.run(|out| {
        // SAFETY: as above; there is a weight for each piece.
        unsafe {
            depthwise_weight_gradient(gpu, &defines, grid, from, grads, out, g, piece as u32);
        }
    });
    dw.transpose(0, 1).contiguous().reshape(weight)
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let mut all = Vec::new();
    for t in [DType::F32, DType::F64] {
        for (run, plain) in RUNS.into_iter().flat_map(|r| [(r, true), (r, false)]) {
            all.push(Module::new(&DEPTHWISE, &defines(t, run, plain)));
        }
    }
    all
}
