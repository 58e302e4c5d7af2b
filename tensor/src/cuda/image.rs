//! Images padded, unfolded into patches and folded back.

use super::{
    elementwise::float,
    fill::pattern,
    launch::{Define, Grid, In, Module, Out, Param, Source, Value, kernels},
    operand::{gpu, input, output},
    strided::Divisor,
};
use crate::{DType, Tensor, Unfold, layout::Layout};

static IMAGE: Source =
    Source { name: "image", text: include_str!("kernels/image.cu"), options: &[] };

/// Sizes of channels-last images of the result and of the source, and where the source lies.
#[derive(Clone, Copy)]
#[repr(C)]
struct Frame {
    channels: Divisor,
    height: Divisor,
    width: Divisor,
    source: [i32; 2],
    corner: [i32; 2],
}

/// Patches of contiguous images.
#[derive(Clone, Copy)]
#[repr(C)]
struct Patches {
    size: [i32; 2],
    stride: [i32; 2],
    padding: [i32; 2],
    dilation: [i32; 2],
    kernel: [u32; 2],
    places: [u32; 2],
}

// SAFETY: numbers in the order of `image.cu`.
unsafe impl Param for Frame {}
// SAFETY: as above.
unsafe impl Param for Patches {}

kernels! { IMAGE;
    fn pad(x: In, y: Out, f: Frame, value: u64, n: u64);
    fn reflect(x: In, y: Out, f: Frame, n: u64);
    fn reflect_grad(dy: In, dx: Out, f: Frame, n: u64);
    any fn patches_of(x: In, y: Out, w: Patches, n: u64);
}

/// Constants for elements that are only moved: an integer type of their size.
fn moved(dtype: DType) -> [Define; 2] {
    [("T", Value::Word(dtype.size())), ("ADDS", Value::Int(0))]
}

/// Constants for elements that are added.
fn added(op: &str, dtype: DType) -> [Define; 2] {
    [float(op, dtype), ("ADDS", Value::Int(1))]
}

fn int(n: usize) -> i32 {
    i32::try_from(n).expect("images have fewer than 2^31 rows and columns")
}

fn frame([_, c, h, w]: [usize; 4], source: [usize; 2], corner: [isize; 2]) -> Frame {
    Frame {
        channels: Divisor::new(c),
        height: Divisor::new(h),
        width: Divisor::new(w),
        source: source.map(int),
        corner: corner.map(|c| i32::try_from(c).expect("padding is less than 2^31")),
    }
}

/// Padded with `value`, or cropped.
pub(super) fn pad2d(x: &Tensor, corner: [isize; 2], size: [usize; 2], value: f64) -> Tensor {
    let gpu = gpu(x);
    let [n, c, h, w] = x.dims_of();
    let dims = [n, c, size[0], size[1]];
    let (y, out) = output(gpu, Layout::channels_last(dims.into()), x.dtype());
    let (from, n) = (input(gpu, x), y.numel());
    if n > 0 {
        let (f, value) = (frame(dims, [h, w], corner), pattern(value, x.dtype()));
        // SAFETY: sizes are those of the tensors.
        unsafe { pad(gpu, &moved(x.dtype()), Grid::over(n, 1), from, out, f, value, n as u64) };
    }
    y
}

/// Continued by the mirror image.
pub(super) fn reflection_pad2d(x: &Tensor, [left, right, top, bottom]: [usize; 4]) -> Tensor {
    let gpu = gpu(x);
    let [n, c, h, w] = x.dims_of();
    let dims = [n, c, h + top + bottom, w + left + right];
    let (y, out) = output(gpu, Layout::channels_last(dims.into()), x.dtype());
    let (from, n) = (input(gpu, x), y.numel());
    if n > 0 {
        let f = frame(dims, [h, w], [top as isize, left as isize]);
        // SAFETY: sizes are those of the tensors; the padding is smaller than the image.
        unsafe { reflect(gpu, &moved(x.dtype()), Grid::over(n, 1), from, out, f, n as u64) };
    }
    y
}

/// The transpose of [`reflection_pad2d`].
pub(super) fn reflection_pad2d_grad(dy: &Tensor, [left, right, top, bottom]: [usize; 4]) -> Tensor {
    let (gpu, defines) = (gpu(dy), added("reflection_pad2d_grad", dy.dtype()));
    let [n, c, h, w] = dy.dims_of();
    let dims = [n, c, h - top - bottom, w - left - right];
    let (dx, out) = output(gpu, Layout::channels_last(dims.into()), dy.dtype());
    let (from, n) = (input(gpu, dy), dx.numel());
    if n > 0 {
        let f = frame(dims, [h, w], [top as isize, left as isize]);
        // SAFETY: sizes are those of the tensors.
        unsafe { reflect_grad(gpu, &defines, Grid::over(n, 1), from, out, f, n as u64) };
    }
    dx
}

fn patches(windows: &Unfold, places: [usize; 2], size: [usize; 2]) -> Patches {
    Patches {
        size: size.map(int),
        stride: windows.stride.map(int),
        padding: windows.padding.map(int),
        dilation: windows.dilation.map(int),
        kernel: windows.kernel.map(|n| int(n) as u32),
        places: places.map(|n| int(n) as u32),
    }
}

/// The pixels under each tap at each place.
pub(super) fn unfold(x: &Tensor, windows: &Unfold, places: [usize; 2]) -> Tensor {
    let gpu = gpu(x);
    let [n, c, h, w] = x.dims_of();
    let taps = windows.kernel[0] * windows.kernel[1];
    let shape = [n, c * taps, places[0] * places[1]];
    let (y, out) = output(gpu, Layout::contiguous(shape.into()), x.dtype());
    let (from, n) = (input(gpu, x), y.numel());
    let (by, grid) = (patches(windows, places, [h, w]), Grid::over(n, 1));
    // SAFETY: sizes are those of the tensors.
    unsafe { patches_of(gpu, &moved(x.dtype()), grid, "unfold", from, out, by, n as u64) };
    y
}

/// The transpose of [`unfold`].
pub(super) fn fold(x: &Tensor, windows: &Unfold, places: [usize; 2], size: [usize; 2]) -> Tensor {
    let (gpu, defines) = (gpu(x), added("fold", x.dtype()));
    let [n, channels, _] = x.dims_of();
    let taps = windows.kernel[0] * windows.kernel[1];
    let layout = Layout::contiguous([n, channels / taps, size[0], size[1]].into());
    let (y, out) = output(gpu, layout, x.dtype());
    let (from, n) = (input(gpu, x), y.numel());
    let (by, grid) = (patches(windows, places, size), Grid::over(n, 1));
    // SAFETY: sizes are those of the tensors.
    unsafe { patches_of(gpu, &defines, grid, "fold", from, out, by, n as u64) };
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    let words = [DType::U8, DType::F16, DType::F32, DType::F64].map(moved);
    let floats = [DType::F32, DType::F64].map(|t| added("fold", t));
    words.iter().chain(&floats).map(|d| Module::new(&IMAGE, d)).collect()
}
