//! Convolutions, as products of matrices of which one is looked up in the image while it is loaded: no columns in memory.
//!
//! The gradient of the input is the same walk with the strides on the other side; that of the weight sums over pixels, in
//! pieces where there are more pixels than work for the device.

use super::{
    depthwise,
    elementwise::float,
    gpu::Gpu,
    launch::{Define, Grid, In, Module, Out, Param, Source, THREADS, Value, kernels},
    operand::{gpu, input, optional, output, scratch},
    strided::Divisor,
};
use crate::{Conv2dOptions, DType, Shape, Tensor, layout::Layout};

static CONV: Source = Source { name: "conv", text: include_str!("kernels/conv.cu"), options: &[] };

/// Which pixel of the source a tap of the kernel sees from a pixel of the result; see `conv.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Gather {
    walk: Steps,
    div: [Divisor; 2],
    height: Divisor,
    width: Divisor,
    columns: Divisor,
    inner: Divisor,
    pixels: u32,
    depth: u32,
    outer: u32,
    source_channels: u32,
    channels: u32,
}

// SAFETY: numbers in the order of `conv.cu`.
unsafe impl Param for Gather {}

/// Pixel `(mul * pixel + off + step * tap) / div` of a source of `size` pixels, along each axis.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Steps {
    pub(super) size: [i32; 2],
    pub(super) mul: [i32; 2],
    pub(super) off: [i32; 2],
    pub(super) step: [i32; 2],
}

fn int(x: usize) -> i32 {
    i32::try_from(x).expect("images have fewer than 2^31 rows and columns")
}

fn count(x: usize) -> u32 {
    u32::try_from(x).expect("images have fewer than 2^32 pixels in all")
}

impl Steps {
    /// From an output to the input pixels it was made of, and what the sum is divided by.
    pub(super) fn forward(x: Shape, options: &Conv2dOptions) -> (Steps, [Divisor; 2]) {
        let steps = Steps {
            size: [int(x[2]), int(x[3])],
            mul: options.stride.map(int),
            off: options.padding.map(|p| -int(p)),
            step: options.dilation.map(int),
        };
        (steps, [Divisor::new(1); 2])
    }

    /// From an input to the output pixels it took part in.
    pub(super) fn backward(y: Shape, options: &Conv2dOptions) -> (Steps, [Divisor; 2]) {
        let steps = Steps {
            size: [int(y[2]), int(y[3])],
            mul: [1; 2],
            off: options.padding.map(int),
            step: options.dilation.map(|d| -int(d)),
        };
        (steps, options.stride.map(Divisor::new))
    }
}

impl Gather {
    fn new(
        (walk, div): (Steps, [Divisor; 2]),
        source: Shape,
        result: Shape,
        weight: Shape,
        [inner, outer]: [usize; 2],
    ) -> Self {
        Gather {
            walk,
            div,
            height: Divisor::new(result[2]),
            width: Divisor::new(result[3]),
            columns: Divisor::new(weight[3]),
            inner: Divisor::new(inner),
            pixels: count(result[0] * result[2] * result[3]),
            depth: count(weight[2] * weight[3] * inner),
            outer: count(outer),
            source_channels: count(source[1]),
            channels: count(result[1]),
        }
    }
}

kernels! { CONV;
    fn convolve(x: In, w: In, bias: In, y: Out, g: Gather);
    fn weight_gradient(x: In, dy: In, out: Out, g: Gather, groups: u32, piece: u32);
    fn sum_pieces(pieces: In, y: Out, n: u64, count: u32);
}

/// Sides of the square that a block computes, as in `matmul`.
const TILES: [usize; 2] = [64, 128];
/// Blocks of the larger tile below which a GPU is not full; few in tests, whose images are small.
const FULL: usize = if cfg!(test) { 2 } else { 128 };
/// Pixels of a piece of a weight's gradient at least, and pieces at most.
const LEAST_PIECE: usize = if cfg!(test) { 48 } else { 1024 };
const MOST_PIECES: usize = 64;
/// Bytes that the pieces of a weight's gradient may take, beyond one.
const WORKSPACE: usize = 256 << 20;

fn tile(dtype: DType, blocks: impl Fn(usize) -> usize) -> usize {
    TILES[usize::from(dtype == DType::F32 && blocks(TILES[1]) >= FULL)]
}

/// The weight `[O, I, kh, kw]` as `[group, o, i, tap]`.
fn grouped(weight: &Tensor, groups: usize) -> Tensor {
    let [o, i, kh, kw] = weight.dims_of();
    weight.reshape([groups, o / groups, i, kh * kw])
}

/// Cross-correlation.
pub(super) fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
    shape: Shape,
) -> Tensor {
    float("conv2d", x.dtype());
    let steps = Steps::forward(x.shape(), options);
    if depthwise::serves(weight, options) {
        return depthwise::forward(x, weight, bias, options, shape);
    }
    // [group, tap, i, o]: the channels of the result lie side by side.
    let w = grouped(weight, options.groups).permute(&[0, 3, 2, 1]);
    walk(x, &w, bias, steps, weight.shape(), options.groups, shape)
}

/// The gradient of the input.
pub(super) fn input_grad(
    dy: &Tensor,
    weight: &Tensor,
    options: &Conv2dOptions,
    shape: Shape,
) -> Tensor {
    float("conv2d_input_grad", dy.dtype());
    let steps = Steps::backward(dy.shape(), options);
    if depthwise::serves(weight, options) {
        return depthwise::input_grad(dy, weight, options, shape);
    }
    let w = grouped(weight, options.groups).permute(&[0, 3, 1, 2]);
    walk(dy, &w, None, steps, weight.shape(), options.groups, shape)
}

/// The product for `w` `[group, tap, channel of the source, channel of the result]`.
fn walk(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    steps: (Steps, [Divisor; 2]),
    weight: Shape,
    groups: usize,
    shape: Shape,
) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    input(gpu, w);
    let (y, out) = output(gpu, Layout::channels_last(shape), dtype);
    if y.numel() == 0 {
        return y;
    }
    let w = w.contiguous();
    let [inner, outer] = [w.dims()[2], w.dims()[3]];
    if w.numel() == 0 || x.numel() == 0 {
        return constant(gpu, bias, &y);
    }
    let g = Gather::new(steps, x.shape(), shape, weight, [inner, outer]);
    let (pixels, outer) = (g.pixels as usize, g.outer as usize);
    let tile = tile(dtype, |tile| pixels.div_ceil(tile) * outer.div_ceil(tile) * groups);
    let blocks = [pixels.div_ceil(tile), outer.div_ceil(tile), groups].map(|b| b as u32);
    let grid = Grid { blocks, threads: [THREADS, 1, 1], shared: 0 };
    let (from, by, bias) = (input(gpu, x), input(gpu, &w), optional(gpu, bias));
    // SAFETY: the walk looks at pixels inside x only; sizes are those of the tensors.
    unsafe { convolve(gpu, &defines(dtype, tile), grid, from, by, bias, out, g) };
    y
}

/// Of a sum over nothing the bias is left.
fn constant(gpu: &'static Gpu, bias: Option<&Tensor>, y: &Tensor) -> Tensor {
    let zeros = super::fill::full(gpu, 0.0, y.layout, y.dtype());
    match bias {
        Some(bias) => zeros.add(&bias.reshape([1, y.dims()[1], 1, 1])),
        None => zeros,
    }
}

fn defines(dtype: DType, tile: usize) -> [Define; 2] {
    [("T", Value::Type(dtype)), ("TILE", Value::Int(tile as i64))]
}

/// The gradient of a weight of shape `weight`.
pub(super) fn weight_grad(
    x: &Tensor,
    dy: &Tensor,
    options: &Conv2dOptions,
    weight: Shape,
) -> Tensor {
    let (gpu, dtype) = (gpu(x), x.dtype());
    float("conv2d_weight_grad", dtype);
    let (from, grads) = (input(gpu, x), input(gpu, dy));
    if x.numel() == 0 || dy.numel() == 0 || weight.numel() == 0 {
        return super::fill::full(gpu, 0.0, Layout::contiguous(weight), dtype);
    }
    if weight[1] == 1 {
        return depthwise::weight_grad(x, dy, options, weight);
    }
    let groups = options.groups;
    let [o, i, kh, kw] = [weight[0], weight[1], weight[2], weight[3]];
    let steps = Steps::forward(x.shape(), options);
    let g = Gather::new(steps, x.shape(), dy.shape(), weight, [i, o / groups]);
    let [pixels, depth, outer] = [g.pixels, g.depth, g.outer].map(|n| n as usize);
    let blocks = |tile: usize| depth.div_ceil(tile) * outer.div_ceil(tile) * groups;
    let tile = tile(dtype, |tile| blocks(tile) * pixels.div_ceil(LEAST_PIECE).min(MOST_PIECES));
    let bytes = weight.numel() * dtype.size();
    // Pieces enough to fill the device, as long as each has work and all have room.
    let most = (4 * FULL).div_ceil(blocks(tile)).min(MOST_PIECES).min(1 + WORKSPACE / bytes);
    let piece = pixels.div_ceil((pixels / LEAST_PIECE).clamp(1, most));
    let pieces = pixels.div_ceil(piece);
    let grid = Grid {
        blocks: [depth.div_ceil(tile), outer.div_ceil(tile), groups * pieces].map(|b| b as u32),
        threads: [THREADS, 1, 1],
        shared: 0,
    };
    let sum = Tiled { gpu, dtype, pieces, layout: [groups, kh * kw, i, o / groups].into() };
    let (groups, piece) = (groups as u32, piece as u32);
    let defines = defines(dtype, tile);
    let dw = sum.run(|out| {
        // SAFETY: as in `walk`; there is a weight for each piece.
        unsafe { weight_gradient(gpu, &defines, grid, from, grads, out, g, groups, piece) };
    });
    dw.permute(&[0, 3, 2, 1]).contiguous().reshape(weight)
}

/// A sum that is computed in pieces, of shape `layout` each.
pub(super) struct Tiled {
    pub(super) gpu: &'static Gpu,
    pub(super) dtype: DType,
    pub(super) pieces: usize,
    pub(super) layout: Shape,
}

impl Tiled {
    /// `compute` writes the pieces one behind the other.
    pub(super) fn run(&self, compute: impl FnOnce(Out)) -> Tensor {
        let Tiled { gpu, dtype, pieces, layout } = *self;
        let (y, out) = output(gpu, Layout::contiguous(layout), dtype);
        if pieces == 1 {
            compute(out);
            return y;
        }
        let n = layout.numel();
        let parts = scratch(gpu, pieces * n * dtype.size());
        compute(Out(parts.address()));
        let (grid, from) = (Grid::over(n, 1), In(parts.address()));
        // SAFETY: as many pieces as were written.
        unsafe {
            sum_pieces(gpu, &defines(dtype, TILES[0]), grid, from, out, n as u64, pieces as u32);
        }
        y
    }
}

/// Every way in which the sources are compiled.
pub(super) fn modules() -> Vec<Module> {
    [(DType::F32, 64), (DType::F32, 128), (DType::F64, 64)]
        .map(|(t, tile)| Module::new(&CONV, &defines(t, tile)))
        .into()
}
