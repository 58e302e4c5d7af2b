//! Elementwise kernels: one pass over the operands, results in the memory order of the (first dense) input.

use super::{
    activation,
    float::Float,
    parallel::{GRAIN, for_each_chunk},
    strided::Rows,
    wide::wide,
};
use crate::{
    Tensor,
    dtype::{Element, with_element, with_float},
    kernels::{BinaryOp, CompareOp, UnaryOp},
    layout::Layout,
    shape::Shape,
};

/// `y[i] = f(x[i])`.
pub(super) fn map<T: Element, U: Element>(x: &Tensor, f: impl Fn(T) -> U + Sync) -> Tensor {
    let layout = x.layout.dense_like();
    Tensor::build::<U>(layout, x.device(), |out| {
        if x.layout.is_dense() {
            let src = x.dense_slice::<T>();
            for_each_chunk(out, GRAIN, |start, out| {
                let src = &src[start..start + out.len()];
                wide(
                    #[inline(always)]
                    || {
                        for (o, &v) in out.iter_mut().zip(src) {
                            *o = f(v);
                        }
                    },
                );
            });
        } else {
            let src = x.storage_slice::<T>();
            rows(out, Rows::new([&layout, &x.layout]), |out, [at], [step]| {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f(src[at + i * step]);
                }
            });
        }
    })
}

/// `y[i] = f(a[i], b[i])` over the broadcast shape `shape`.
pub(super) fn zip<T: Element, U: Element>(
    a: &Tensor,
    b: &Tensor,
    shape: Shape,
    f: impl Fn(T, T) -> U + Sync,
) -> Tensor {
    let both = a.layout.shape == shape && b.layout.shape == shape;
    if both && a.layout.same_order(&b.layout) && a.layout.is_dense() {
        let (sa, sb) = (a.dense_slice::<T>(), b.dense_slice::<T>());
        return Tensor::build::<U>(a.layout.dense_like(), a.device(), |out| {
            for_each_chunk(out, GRAIN, |start, out| {
                let end = start + out.len();
                let (sa, sb) = (&sa[start..end], &sb[start..end]);
                wide(
                    #[inline(always)]
                    || {
                        for ((o, &x), &y) in out.iter_mut().zip(sa).zip(sb) {
                            *o = f(x, y);
                        }
                    },
                );
            });
        });
    }
    let broadcast =
        |t: &Tensor| t.layout.broadcast_to(shape).expect("shapes were checked to broadcast");
    let (la, lb) = (broadcast(a), broadcast(b));
    // Keep the memory order of a full-size operand, so that adding a bias keeps channels last.
    let layout = match (a.layout.shape == shape, b.layout.shape == shape) {
        (true, _) if a.layout.is_dense() => a.layout.dense_like(),
        (_, true) if b.layout.is_dense() => b.layout.dense_like(),
        _ => Layout::contiguous(shape),
    };
    let (sa, sb) = (a.storage_slice::<T>(), b.storage_slice::<T>());
    Tensor::build::<U>(layout, a.device(), |out| {
        rows(out, Rows::new([&layout, &la, &lb]), |out, [a0, b0], steps| match steps {
            [1, 1] => {
                let n = out.len();
                for ((o, &x), &y) in out.iter_mut().zip(&sa[a0..a0 + n]).zip(&sb[b0..b0 + n]) {
                    *o = f(x, y);
                }
            }
            [1, 0] => {
                let (n, y) = (out.len(), sb[b0]);
                for (o, &x) in out.iter_mut().zip(&sa[a0..a0 + n]) {
                    *o = f(x, y);
                }
            }
            [0, 1] => {
                let (n, x) = (out.len(), sa[a0]);
                for (o, &y) in out.iter_mut().zip(&sb[b0..b0 + n]) {
                    *o = f(x, y);
                }
            }
            [da, db] => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f(sa[a0 + i * da], sb[b0 + i * db]);
                }
            }
        });
    })
}

/// Walks a dense output row by row, in parallel over blocks of rows.
///
/// `N` is the number of inputs, `K = N + 1` operands in `rows`, the first of them the output.
pub(super) fn rows<U: Element, const K: usize, const N: usize>(
    out: &mut [U],
    rows: Rows<K>,
    f: impl Fn(&mut [U], [usize; N], [usize; N]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let inputs = |all: [usize; K]| -> [usize; N] { std::array::from_fn(|i| all[i + 1]) };
    let per_block = (GRAIN / rows.len).max(1);
    for_each_chunk(out, per_block * rows.len, |start, block| {
        for (i, row) in block.chunks_mut(rows.len).enumerate() {
            // The output is dense and walked in its own memory order: row `i` starts at `i * len`.
            f(row, inputs(rows.start(start / rows.len + i)), inputs(rows.steps));
        }
    });
}

/// Elements of `x` in a new tensor of the given dense layout.
pub(super) fn copy(x: &Tensor, layout: Layout) -> Tensor {
    with_element!(x.dtype(), T => {
        let src = x.storage_slice::<T>();
        Tensor::build::<T>(layout, x.device(), |out| {
            rows(out, Rows::new([&layout, &x.layout]), |out, [at], [step]| {
                if step == 1 {
                    out.copy_from_slice(&src[at..at + out.len()]);
                } else {
                    for (i, o) in out.iter_mut().enumerate() {
                        *o = src[at + i * step];
                    }
                }
            });
        })
    })
}

pub(super) fn cast(x: &Tensor, dtype: crate::DType) -> Tensor {
    with_element!(x.dtype(), T => with_element!(dtype, U => map::<T, U>(x, |v| <U as Element>::from_f64(v.to_f64()))))
}

pub(super) fn unary(op: UnaryOp, x: &Tensor) -> Tensor {
    with_float!(op.name(), x.dtype(), T => unary_float::<T>(op, x))
}

fn unary_float<T: Float>(op: UnaryOp, x: &Tensor) -> Tensor {
    let c = T::from_f64;
    match op {
        UnaryOp::Neg => map(x, |v: T| -v),
        UnaryOp::Abs => map(x, T::abs),
        UnaryOp::Exp => map(
            x,
            #[inline(always)]
            |v: T| v.exp(),
        ),
        UnaryOp::Log => map(x, T::ln),
        UnaryOp::Sqrt => map(x, T::sqrt),
        UnaryOp::Rsqrt => map(x, |v: T| T::ONE / v.sqrt()),
        UnaryOp::Reciprocal => map(x, |v: T| T::ONE / v),
        UnaryOp::Square => map(x, |v: T| v * v),
        UnaryOp::Sin => map(x, T::sin),
        UnaryOp::Cos => map(x, T::cos),
        UnaryOp::Tanh => map(x, activation::tanh::<T>),
        UnaryOp::Sigmoid => map(x, activation::sigmoid::<T>),
        UnaryOp::Silu => map(x, activation::silu::<T>),
        UnaryOp::Relu => map(x, activation::relu::<T>),
        UnaryOp::Sign => map(x, |v: T| {
            if v > T::ZERO {
                T::ONE
            } else if v < T::ZERO {
                -T::ONE
            } else {
                T::ZERO
            }
        }),
        UnaryOp::AddScalar(s) => map(x, move |v: T| v + c(s)),
        UnaryOp::MulScalar(s) => map(x, move |v: T| v * c(s)),
        // The exponents that occur in models cost no call of pow.
        UnaryOp::PowScalar(2.0) => map(x, |v: T| v * v),
        UnaryOp::PowScalar(0.5) => map(x, T::sqrt),
        UnaryOp::PowScalar(e) => map(x, move |v: T| v.powf(c(e))),
        UnaryOp::Expm1 => map(x, T::exp_m1),
        UnaryOp::Log1p => map(x, T::ln_1p),
        UnaryOp::Erf => map(
            x,
            #[inline(always)]
            |v: T| v.erf(),
        ),
        UnaryOp::Gelu => map(x, activation::gelu::<T>),
        UnaryOp::GeluGrad => map(x, activation::gelu_grad::<T>),
        UnaryOp::GeluTanh => map(x, activation::gelu_tanh::<T>),
        UnaryOp::GeluTanhGrad => map(x, activation::gelu_tanh_grad::<T>),
        UnaryOp::Softplus => {
            // Where e^-x is lost beside 1, and e^x could overflow, the sum is x: PyTorch's threshold.
            let threshold = c(20.0);
            map(x, move |v: T| if v > threshold { v } else { v.exp().ln_1p() })
        }
        UnaryOp::Elu { alpha } => {
            let alpha = c(alpha);
            map(x, move |v: T| if v > T::ZERO { v } else { alpha * v.exp_m1() })
        }
        UnaryOp::LeakyRelu { slope } => {
            let slope = c(slope);
            map(x, move |v: T| if v > T::ZERO { v } else { slope * v })
        }
        UnaryOp::Clamp { min, max } => {
            let (min, max) = (c(min), c(max));
            map(x, move |v: T| {
                if v < min {
                    min
                } else if v > max {
                    max
                } else {
                    v
                }
            })
        }
    }
}

pub(super) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    with_float!(op.name(), a.dtype(), T => match op {
        BinaryOp::Add => zip(a, b, shape, |x: T, y: T| x + y),
        BinaryOp::Sub => zip(a, b, shape, |x: T, y: T| x - y),
        BinaryOp::Mul => zip(a, b, shape, |x: T, y: T| x * y),
        BinaryOp::Div => zip(a, b, shape, |x: T, y: T| x / y),
        BinaryOp::Pow => zip(a, b, shape, |x: T, y: T| Float::powf(x, y)),
        // Like PyTorch, NaN wins over any number.
        BinaryOp::Maximum => zip(a, b, shape, |x: T, y: T| if x > y || x.is_nan() { x } else { y }),
        BinaryOp::ReluGrad => zip(a, b, shape, |x: T, y: T| if x > T::ZERO { y } else { T::ZERO }),
        BinaryOp::GeluBackward => zip(
            a,
            b,
            shape,
            #[inline(always)]
            |x: T, dy: T| dy * activation::gelu_grad(x),
        ),
        BinaryOp::GeluTanhBackward => zip(
            a,
            b,
            shape,
            #[inline(always)]
            |x: T, dy: T| dy * activation::gelu_tanh_grad(x),
        ),
        BinaryOp::SiluBackward => zip(
            a,
            b,
            shape,
            #[inline(always)]
            |x: T, dy: T| dy * activation::silu_grad(x),
        ),
        BinaryOp::SoftplusBackward => zip(
            a,
            b,
            shape,
            #[inline(always)]
            |x: T, dy: T| dy * activation::softplus_grad(x),
        ),
        BinaryOp::TanhBackward => zip(a, b, shape, |y: T, dy: T| dy * (T::ONE - y * y)),
        BinaryOp::SigmoidBackward => zip(a, b, shape, |y: T, dy: T| dy * (y - y * y)),
        BinaryOp::Minimum => zip(a, b, shape, |x: T, y: T| if x < y || x.is_nan() { x } else { y }),
    })
}

pub(super) fn compare(op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    with_element!(a.dtype(), T => match op {
        CompareOp::Eq => zip(a, b, shape, |x: T, y: T| u8::from(x == y)),
        CompareOp::Ne => zip(a, b, shape, |x: T, y: T| u8::from(x != y)),
        CompareOp::Gt => zip(a, b, shape, |x: T, y: T| u8::from(x > y)),
        CompareOp::Ge => zip(a, b, shape, |x: T, y: T| u8::from(x >= y)),
        CompareOp::Lt => zip(a, b, shape, |x: T, y: T| u8::from(x < y)),
        CompareOp::Le => zip(a, b, shape, |x: T, y: T| u8::from(x <= y)),
    })
}

/// `x * scale` where `mask` is not 0, else 0; both dense in one memory order.
pub(super) fn masked_scale(x: &Tensor, mask: &Tensor, scale: f64) -> Tensor {
    let mask = mask.dense_slice::<u8>();
    with_float!("masked_scale", x.dtype(), T => {
        let (src, scale) = (x.dense_slice::<T>(), T::from_f64(scale));
        Tensor::build::<T>(x.layout.dense_like(), x.device(), |out| {
            for_each_chunk(out, GRAIN, |start, out| {
                let range = start..start + out.len();
                let (src, mask) = (&src[range.clone()], &mask[range]);
                wide(#[inline(always)] || {
                    for (o, (&v, &keep)) in out.iter_mut().zip(src.iter().zip(mask)) {
                        // Multiplied first: a choice between two numbers needs no branch, which nothing could predict.
                        let scaled = v * scale;
                        *o = if keep != 0 { scaled } else { 0.0 };
                    }
                });
            });
        })
    })
}
