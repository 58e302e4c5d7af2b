//! Activation functions and their slopes at one element, and the pass over memory that adds a bias before them.

use super::{
    columns::rows_per_block,
    float::Float,
    parallel::{GRAIN, for_each_chunk},
    wide::wide,
};
use crate::{Tensor, dtype::with_float, kernels::UnaryOp};

#[inline(always)]
pub(super) fn relu<T: Float>(v: T) -> T {
    if v > T::ZERO || v.is_nan() { v } else { T::ZERO }
}

#[inline(always)]
pub(super) fn tanh<T: Float>(v: T) -> T {
    v.tanh()
}

#[inline(always)]
pub(super) fn sigmoid<T: Float>(v: T) -> T {
    // Both branches keep exp's argument negative, so that it cannot overflow.
    let e = (-v.abs()).exp();
    if v >= T::ZERO { T::ONE / (T::ONE + e) } else { e / (T::ONE + e) }
}

#[inline(always)]
pub(super) fn silu<T: Float>(v: T) -> T {
    v * sigmoid(v)
}

#[inline(always)]
pub(super) fn silu_grad<T: Float>(v: T) -> T {
    let s = sigmoid(v);
    s + v * s * (T::ONE - s)
}

/// 1 where softplus is `v` itself, see there.
#[inline(always)]
pub(super) fn softplus_grad<T: Float>(v: T) -> T {
    if v > T::from_f64(20.0) { T::ONE } else { sigmoid(v) }
}

#[inline(always)]
pub(super) fn gelu<T: Float>(v: T) -> T {
    v * v.normal().0
}

#[inline(always)]
pub(super) fn gelu_grad<T: Float>(v: T) -> T {
    let (cdf, density) = v.normal();
    cdf + v * density
}

/// `sqrt(2 / pi)` and the cubic coefficient of the tanh approximation of GELU (Hendrycks and Gimpel 2016).
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044715;

#[inline(always)]
fn gelu_argument<T: Float>(v: T) -> T {
    T::from_f64(GELU_SCALE) * (v + T::from_f64(GELU_CUBIC) * v * v * v)
}

#[inline(always)]
pub(super) fn gelu_tanh<T: Float>(v: T) -> T {
    T::from_f64(0.5) * v * (T::ONE + gelu_argument(v).tanh())
}

#[inline(always)]
pub(super) fn gelu_tanh_grad<T: Float>(v: T) -> T {
    let half = T::from_f64(0.5);
    let t = gelu_argument(v).tanh();
    let slope = T::from_f64(GELU_SCALE) * (T::ONE + T::from_f64(3.0 * GELU_CUBIC) * v * v);
    half * (T::ONE + t) + half * v * (T::ONE - t * t) * slope
}

/// `activation(x + bias)` in place where nobody else uses the memory of `x`; with a bias axis 1 is innermost.
pub(super) fn bias_act(x: Tensor, bias: Option<&Tensor>, activation: UnaryOp) -> Tensor {
    with_float!("bias_act", x.dtype(), T => match activation {
        UnaryOp::Relu => in_place(x, bias, relu::<T>),
        UnaryOp::Gelu => in_place(x, bias, gelu::<T>),
        UnaryOp::GeluTanh => in_place(x, bias, gelu_tanh::<T>),
        UnaryOp::Silu => in_place(x, bias, silu::<T>),
        UnaryOp::Sigmoid => in_place(x, bias, sigmoid::<T>),
        UnaryOp::Tanh => in_place(x, bias, tanh::<T>),
        other => panic!("bias_act: {} is not an activation", other.name()),
    })
}

fn in_place<T: Float>(mut x: Tensor, bias: Option<&Tensor>, f: impl Fn(T) -> T + Sync) -> Tensor {
    match bias.map(|bias| bias.dense_slice::<T>()) {
        None => for_each_chunk(x.dense_slice_mut::<T>(), GRAIN, |_, part| {
            wide(
                #[inline(always)]
                || part.iter_mut().for_each(|v| *v = f(*v)),
            );
        }),
        Some([]) => {}
        Some(bias) => {
            let grain = rows_per_block(bias.len()) * bias.len();
            for_each_chunk(x.dense_slice_mut::<T>(), grain, |_, part| {
                wide(
                    #[inline(always)]
                    || {
                        for row in part.chunks_exact_mut(bias.len()) {
                            row.iter_mut().zip(bias).for_each(|(v, &b)| *v = f(*v + b));
                        }
                    },
                );
            });
        }
    }
    x
}
