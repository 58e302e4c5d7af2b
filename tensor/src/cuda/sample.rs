//! Images sampled at given places.

use super::{
    elementwise::float,
    fill,
    launch::{Define, Grid, In, Module, Out, Param, Source, Value, kernels},
    operand::{gpu, input, output},
};
use crate::{DType, SampleMode, SamplePadding, Shape, Tensor, layout::Layout};

static SAMPLE: Source =
    Source { name: "sample", text: include_str!("kernels/sample.cu"), options: &[] };

/// Sizes of images and samples, and how they are taken; see `sample.cu`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sampling {
    size: [i32; 2],
    samples: [i32; 2],
    order: [i32; 2],
    padding: i32,
    align_corners: i32,
    channels: u32,
    images: u32,
}

// SAFETY: numbers in the order of `sample.cu`.
unsafe impl Param for Sampling {}

kernels! { SAMPLE;
    fn sample(x: In, grid: In, y: Out, s: Sampling, n: u64);
    fn spread(dy: In, grid: In, dx: Out, s: Sampling, bands: u32);
}

/// Numbers of taps along an axis.
const TAPS: [i64; 3] = [1, 2, 4];
/// Threads that share the rows of an image where samples are added to it.
const BANDS: usize = 8;

fn constants(op: &str, dtype: DType, how: &crate::Sampling) -> [Define; 2] {
    let taps = match how.options.mode {
        SampleMode::Nearest => TAPS[0],
        SampleMode::Bilinear => TAPS[1],
        SampleMode::Bicubic => TAPS[2],
    };
    [float(op, dtype), ("TAPS", Value::Int(taps))]
}

fn sampling(how: &crate::Sampling, image: Shape, samples: Shape) -> Sampling {
    let int = |n: usize| i32::try_from(n).expect("images have fewer than 2^31 rows and columns");
    Sampling {
        size: [int(image[2]), int(image[3])],
        samples: [int(samples[2]), int(samples[3])],
        order: how.order.map(int),
        padding: match how.options.padding {
            SamplePadding::Zeros => 0,
            SamplePadding::Border => 1,
            SamplePadding::Reflection => 2,
        },
        align_corners: how.options.align_corners.into(),
        channels: int(image[1]) as u32,
        images: int(image[0]) as u32,
    }
}

/// Samples of shape `shape`.
pub(super) fn grid_sample(
    x: &Tensor,
    grid: &Tensor,
    how: &crate::Sampling,
    shape: Shape,
) -> Tensor {
    let (gpu, defines) = (gpu(x), constants("grid_sample", x.dtype(), how));
    let (y, out) = output(gpu, Layout::channels_last(shape), x.dtype());
    let (from, places, n) = (input(gpu, x), input(gpu, grid), y.numel());
    let s = sampling(how, x.shape(), shape);
    // SAFETY: sizes are those of the tensors; taps outside the image are left out.
    unsafe { sample(gpu, &defines, Grid::over(n, 1), from, places, out, s, n as u64) };
    y
}

/// Samples added into zeros of shape `image`.
pub(super) fn grid_sample_transpose(
    dy: &Tensor,
    grid: &Tensor,
    how: &crate::Sampling,
    image: Shape,
) -> Tensor {
    let (gpu, defines) = (gpu(dy), constants("grid_sample_transpose", dy.dtype(), how));
    let (from, places) = (input(gpu, dy), input(gpu, grid));
    let dx = fill::full(gpu, 0.0, Layout::channels_last(image), dy.dtype());
    let (s, bands) = (sampling(how, image, dy.shape()), BANDS.min(image[2]).max(1));
    let threads = image[0] * image[1] * bands;
    let to = Out(input(gpu, &dx).0);
    if dx.numel() > 0 && dy.numel() > 0 {
        // SAFETY: as above; `dx` was made here.
        unsafe { spread(gpu, &defines, Grid::over(threads, 1), from, places, to, s, bands as u32) };
    }
    dx
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let floats = [DType::F32, DType::F64];
    let all = floats.into_iter().flat_map(|t| TAPS.map(|taps| (t, taps)));
    all.map(|(t, taps)| Module::new(&SAMPLE, &[("T", Value::Type(t)), ("TAPS", Value::Int(taps))]))
        .collect()
}
