//! Lp-masks, and their products with kernels.

use super::{
    elementwise::float,
    launch::{Grid, In, Module, Out, Param, Source, THREADS, Value, kernels},
    operand::{gpu, input, output},
};
use crate::{
    DType, Tensor,
    kernels::{LpWindow, MaskGradient},
    layout::Layout,
};

static LP_MASK: Source =
    Source { name: "lp_mask", text: include_str!("kernels/lp_mask.cu"), options: &[] };

/// Taps of the kernel, and the point their offsets count from.
#[derive(Clone, Copy)]
#[repr(C)]
struct Window {
    center: [f64; 2],
    height: u32,
    width: u32,
}

// SAFETY: numbers in the order of `lp_mask.cu`.
unsafe impl Param for Window {}

kernels! { LP_MASK;
    any fn mask_of(c: In, log2p: In, mask: Out, w: Window, smallest: f64, n: u32);
    any fn mask_grad_of(
        dmask: In, mask: In, c: In, log2p: In, dc: Out, dp: Out, w: Window, largest: f64,
    );
    any fn product_of(
        weight: In, mask: In, y: Out, height: u32, width: u32, down: u32, across: u32, inputs: u32, n: u64,
    );
    any fn product_grad_of(
        dy: In, weight: In, mask: In, dweight: Out, dmask: Out, height: u32, width: u32, down: u32,
        across: u32, inputs: u32,
    );
}

fn size(n: usize) -> u32 {
    u32::try_from(n).expect("kernels have fewer than 2^32 taps in all")
}

fn window(w: &LpWindow) -> Window {
    Window { center: w.center, height: size(w.kernel[0]), width: size(w.kernel[1]) }
}

/// The least normal and the largest number.
fn limits(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::F32 => (f32::MIN_POSITIVE.into(), f32::MAX.into()),
        _ => (f64::MIN_POSITIVE, f64::MAX),
    }
}

/// Masks `[O, kh, kw]`.
pub(super) fn lp_mask(c: &Tensor, log2p: &Tensor, w: LpWindow) -> Tensor {
    let (gpu, t) = (gpu(c), float("lp_mask", c.dtype()));
    let layout = Layout::contiguous([log2p.numel(), w.kernel[0], w.kernel[1]].into());
    let (mask, out) = output(gpu, layout, c.dtype());
    let (from, p, n) = (input(gpu, c), input(gpu, log2p), mask.numel());
    let (grid, least) = (Grid::over(n, 1), limits(c.dtype()).0);
    // SAFETY: sizes are those of the tensors.
    unsafe { mask_of(gpu, &[t], grid, "lp_mask", from, p, out, window(&w), least, size(n)) };
    mask
}

/// Gradients of `c` and `log2p`.
pub(super) fn lp_mask_grad(g: MaskGradient<'_>, w: LpWindow) -> (Tensor, Tensor) {
    let (gpu, t, dtype) = (gpu(g.c), float("lp_mask_grad", g.c.dtype()), g.c.dtype());
    let (dc, to_c) = output(gpu, Layout::contiguous(g.c.shape()), dtype);
    let (dp, to_p) = output(gpu, Layout::contiguous(g.log2p.shape()), dtype);
    let (dmask, mask) = (input(gpu, g.dmask), input(gpu, g.mask));
    let (c, p) = (input(gpu, g.c), input(gpu, g.log2p));
    let (grid, most) = (Grid::blocks(g.log2p.numel()), limits(dtype).1);
    // SAFETY: sizes are those of the tensors.
    unsafe {
        let kernel = "lp_mask_grad";
        mask_grad_of(gpu, &[t], grid, kernel, dmask, mask, c, p, to_c, to_p, window(&w), most);
    }
    (dc, dp)
}

/// `weight * mask` without a border of `crop` taps.
pub(super) fn masked_weight(weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor {
    let (gpu, t) = (gpu(weight), float("masked_weight", weight.dtype()));
    let [o, i, kh, kw] = weight.dims_of();
    let layout = Layout::contiguous([o, i, kh - 2 * crop[0], kw - 2 * crop[1]].into());
    let (y, out) = output(gpu, layout, weight.dtype());
    let (from, by, n) = (input(gpu, weight), input(gpu, mask), y.numel());
    let [kh, kw, down, across, i] = [kh, kw, crop[0], crop[1], i].map(size);
    let grid = Grid::over(n, 1);
    // SAFETY: sizes are those of the tensors.
    unsafe {
        let kernel = "masked_weight";
        product_of(gpu, &[t], grid, kernel, from, by, out, kh, kw, down, across, i, n as u64);
    }
    y
}

/// Gradients of `weight` and, if wanted, of `mask`.
pub(super) fn masked_weight_grad(
    dy: &Tensor,
    weight: &Tensor,
    mask: &Tensor,
    crop: [usize; 2],
    mask_wanted: bool,
) -> (Tensor, Option<Tensor>) {
    let (gpu, t, dtype) =
        (gpu(weight), float("masked_weight_grad", weight.dtype()), weight.dtype());
    let [o, i, kh, kw] = weight.dims_of();
    let (dweight, to_weight) = output(gpu, Layout::contiguous(weight.shape()), dtype);
    let dmask = mask_wanted.then(|| output(gpu, Layout::contiguous(mask.shape()), dtype));
    let to_mask = dmask.as_ref().map_or(Out(0), |(_, out)| *out);
    let (grads, from, by) = (input(gpu, dy), input(gpu, weight), input(gpu, mask));
    let blocks = [size(o), size((kh * kw).div_ceil(THREADS as usize)), 1];
    let grid = Grid { blocks, threads: [THREADS, 1, 1], shared: 0 };
    let [kh, kw, down, across, i] = [kh, kw, crop[0], crop[1], i].map(size);
    // SAFETY: sizes are those of the tensors.
    unsafe {
        product_grad_of(
            gpu,
            &[t],
            grid,
            "masked_weight_grad",
            grads,
            from,
            by,
            to_weight,
            to_mask,
            kh,
            kw,
            down,
            across,
            i,
        );
    }
    (dweight, dmask.map(|(dmask, _)| dmask))
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [DType::F32, DType::F64].map(|t| Module::new(&LP_MASK, &[("T", Value::Type(t))])).into()
}
