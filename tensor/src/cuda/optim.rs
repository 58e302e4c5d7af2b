//! The updates of optimizers.

use super::{
    elementwise::float,
    launch::{Grid, In, Module, Out, Param, Source, Value, kernels},
    operand::{gpu, in_place, input},
    reduce,
};
use crate::{AdamStep, DType, SgdStep, Tensor};

static OPTIM: Source =
    Source { name: "optim", text: include_str!("kernels/optim.cu"), options: &[] };

/// What a step of gradient descent multiplies by.
#[derive(Clone, Copy)]
#[repr(C)]
struct Sgd {
    lr: f64,
    decay: f64,
    keep: f64,
    take: f64,
    ahead: f64,
    along: f64,
}

/// What a step of Adam multiplies by.
#[derive(Clone, Copy)]
#[repr(C)]
struct Adam {
    lr: f64,
    root: f64,
    eps: f64,
    keep1: f64,
    take1: f64,
    keep2: f64,
    take2: f64,
    decay: f64,
    shrink: f64,
}

// SAFETY: numbers in the order of `optim.cu`.
unsafe impl Param for Sgd {}
// SAFETY: as above.
unsafe impl Param for Adam {}

kernels! { OPTIM;
    fn sgd(x: Out, grad: In, velocity: Out, by: Sgd, n: u64);
    fn adam(x: Out, grad: In, m: Out, v: Out, by: Adam, n: u64);
    fn lerp(x: Out, other: In, weight: f64, n: u64);
}

/// One step of gradient descent; `first` if the velocity holds nothing yet.
pub(super) fn sgd_step(
    param: &mut Tensor,
    grad: &Tensor,
    velocity: Option<&mut Tensor>,
    step: &SgdStep,
    first: bool,
) {
    let (gpu, t, n) = (gpu(grad), float("sgd_step", param.dtype()), param.numel());
    let by = Sgd {
        lr: step.lr,
        decay: step.weight_decay,
        // At first the velocity is the gradient itself, without dampening.
        keep: if first { 0.0 } else { step.momentum },
        take: if first { 1.0 } else { 1.0 - step.dampening },
        ahead: if step.nesterov { 1.0 } else { 0.0 },
        along: if step.nesterov { step.momentum } else { 1.0 },
    };
    let velocity = velocity.map_or(Out(0), in_place);
    // SAFETY: all are dense, of n elements, in one memory order, and what is written is shared with no other tensor.
    unsafe {
        sgd(gpu, &[t], Grid::over(n, 1), in_place(param), input(gpu, grad), velocity, by, n as u64)
    };
}

/// One step of Adam.
pub(super) fn adam_step(
    param: &mut Tensor,
    grad: &Tensor,
    m: &mut Tensor,
    v: &mut Tensor,
    step: &AdamStep,
) {
    let (gpu, t, n) = (gpu(grad), float("adam_step", param.dtype()), param.numel());
    let [b1, b2] = step.betas;
    let correct = |beta: f64| 1.0 - beta.powf(step.step as f64);
    let by = Adam {
        lr: step.lr / correct(b1),
        root: correct(b2).sqrt(),
        eps: step.eps,
        keep1: b1,
        take1: 1.0 - b1,
        keep2: b2,
        take2: 1.0 - b2,
        decay: if step.decoupled { 0.0 } else { step.weight_decay },
        shrink: if step.decoupled { 1.0 - step.lr * step.weight_decay } else { 1.0 },
    };
    let (m, v) = (in_place(m), in_place(v));
    // SAFETY: all are dense, of n elements, in one memory order, and what is written is shared with no other tensor.
    unsafe {
        adam(gpu, &[t], Grid::over(n, 1), in_place(param), input(gpu, grad), m, v, by, n as u64)
    };
}

/// `x += weight * (other - x)`.
pub(super) fn move_toward(x: &mut Tensor, other: &Tensor, weight: f64) {
    let (gpu, t, n) = (gpu(other), float("lerp", x.dtype()), x.numel());
    // SAFETY: both are dense, of n elements, in one memory order, and `x` is shared with no other tensor.
    unsafe { lerp(gpu, &[t], Grid::over(n, 1), in_place(x), input(gpu, other), weight, n as u64) };
}

/// The sum of squares of all elements. Waits for the device.
pub(super) fn sum_of_squares(x: &Tensor) -> f64 {
    float("sum_of_squares", x.dtype());
    reduce::wide_sum_of_squares(x).item()
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [DType::F32, DType::F64].map(|t| Module::new(&OPTIM, &[("T", Value::Type(t))])).into()
}
