//! Ops on elements one by one, along axes, and by index.

use super::{Case, draw::Draw};
use crate::{Activation, DType, Shape, Tensor, kernels::UnaryOp, layout::Layout};

const ALL: [DType; 6] = [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I64, DType::U8];

/// Up to two axes, different ones, perhaps from the end.
fn axes(d: &mut Draw, rank: usize) -> Vec<isize> {
    let count = d.int(0, rank.min(3));
    let order = d.stream.permutation(rank);
    order[..count]
        .iter()
        .map(|&a| if d.coin() { a as isize } else { a as isize - rank as isize })
        .collect()
}

fn axis(d: &mut Draw, shape: Shape) -> isize {
    d.int(0, shape.rank() - 1) as isize
}

fn scaled(t: &Tensor) -> Tensor {
    t.mul_scalar(0.3)
}

fn positive(t: &Tensor) -> Tensor {
    t.abs().add_scalar(0.1)
}

/// A unary op and whether it wants positive numbers.
fn unary_op(d: &mut Draw) -> (UnaryOp, bool) {
    use UnaryOp as U;
    let ops = [
        (U::Neg, false),
        (U::Abs, false),
        (U::Exp, false),
        (U::Log, true),
        (U::Sqrt, true),
        (U::Rsqrt, true),
        (U::Reciprocal, true),
        (U::Square, false),
        (U::Sin, false),
        (U::Cos, false),
        (U::Tanh, false),
        (U::Sigmoid, false),
        (U::Relu, false),
        (U::Sign, false),
        (U::AddScalar(0.7), false),
        (U::MulScalar(-1.3), false),
        (U::PowScalar(2.0), false),
        (U::PowScalar(0.5), true),
        (U::PowScalar(1.7), true),
        (U::PowScalar(3.0), false),
        (U::Clamp { min: -0.5, max: 0.7 }, false),
        (U::Expm1, false),
        (U::Log1p, true),
        (U::Erf, false),
        (U::Silu, false),
        (U::Gelu, false),
        (U::GeluGrad, false),
        (U::GeluTanh, false),
        (U::GeluTanhGrad, false),
        (U::Softplus, false),
        (U::Elu { alpha: 0.8 }, false),
        (U::LeakyRelu { slope: 0.1 }, false),
    ];
    d.pick(&ops)
}

pub(super) const CASES: &[Case] = &[
    Case {
        method: "copy",
        draw: |d| {
            let shape = d.shape(0, 6);
            let dtype = d.pick(&ALL);
            let last = shape.rank() == 4 && d.coin();
            (
                vec![d.tensor_of(shape, dtype)],
                Box::new(move |t| {
                    let layout =
                        if last { Layout::channels_last(shape) } else { Layout::contiguous(shape) };
                    vec![t[0].kernels().copy(&t[0], layout), t[0].contiguous()]
                }),
            )
        },
    },
    Case {
        method: "cast",
        draw: |d| {
            let (shape, from, to) = (d.shape(0, 4), d.pick(&ALL), d.pick(&ALL));
            (vec![d.tensor_of(shape, from)], Box::new(move |t| vec![t[0].to_dtype(to)]))
        },
    },
    Case {
        method: "unary",
        draw: |d| {
            let (shape, (op, positive_only)) = (d.shape(0, 4), unary_op(d));
            let mut x = d.tensor(shape);
            if positive_only {
                x = d.map(x, positive);
            }
            (vec![x], Box::new(move |t| vec![t[0].kernels().unary(op, &t[0])]))
        },
    },
    Case {
        method: "binary",
        draw: |d| {
            let shape = d.shape(0, 4);
            let (sa, sb) = (d.narrowed(shape), d.narrowed(shape));
            let (a, b) = (d.tensor(sa), d.tensor(sb));
            let op: fn(&Tensor, &Tensor) -> Tensor = d.pick(&[
                Tensor::add as fn(&Tensor, &Tensor) -> Tensor,
                Tensor::sub,
                Tensor::mul,
                Tensor::maximum,
                Tensor::minimum,
                Tensor::relu_grad,
                Tensor::gelu_backward,
                Tensor::gelu_tanh_backward,
                Tensor::silu_backward,
                Tensor::softplus_backward,
                Tensor::tanh_backward,
                Tensor::sigmoid_backward,
                |a, b| a.div(&positive(b)),
                |a, b| positive(a).pow(b),
            ]);
            (vec![a, b], Box::new(move |t| vec![op(&t[0], &t[1]), op(&t[0], &t[0])]))
        },
    },
    Case {
        method: "bias_act",
        draw: |d| {
            let shape = d.shape(2, 4);
            let (x, bias) = (d.tensor(shape), d.tensor([shape[1]]));
            let activation = d.pick(&[
                Activation::Relu,
                Activation::Gelu,
                Activation::GeluTanh,
                Activation::Silu,
                Activation::Sigmoid,
                Activation::Tanh,
            ]);
            (
                vec![x, bias],
                Box::new(move |t| {
                    [Some(&t[1]), None].map(|bias| t[0].clone().bias_act(bias, activation)).into()
                }),
            )
        },
    },
    Case {
        method: "compare",
        draw: |d| {
            let (shape, dtype) = (d.shape(0, 4), d.pick(&ALL));
            let (sa, sb) = (d.narrowed(shape), d.narrowed(shape));
            let (a, b) = (d.special(sa, dtype), d.special(sb, dtype));
            let op: fn(&Tensor, &Tensor) -> Tensor = d.pick(&[
                Tensor::eq as fn(&Tensor, &Tensor) -> Tensor,
                Tensor::ne,
                Tensor::gt,
                Tensor::ge,
                Tensor::lt,
                Tensor::le,
            ]);
            (vec![a, b], Box::new(move |t| vec![op(&t[0], &t[1])]))
        },
    },
    Case {
        method: "reduce",
        draw: |d| {
            let shape = d.full_shape(0, 5);
            let (axes, keep, kind) = (axes(d, shape.rank()), d.coin(), d.int(0, 4));
            let dtype = if matches!(kind, 0 | 3 | 4) { d.pick(&ALL) } else { d.dtype };
            let x = if kind < 3 { d.tensor_of(shape, dtype) } else { d.special(shape, dtype) };
            (
                vec![x],
                Box::new(move |t| {
                    vec![match kind {
                        0 => t[0].sum(&axes, keep),
                        1 => t[0].mean(&axes, keep),
                        2 => t[0].sum_squares(&axes, keep),
                        3 => t[0].amax(&axes, keep),
                        _ => t[0].amin(&axes, keep),
                    }]
                }),
            )
        },
    },
    Case {
        method: "reduce",
        draw: |d| {
            // Long enough to be cut into pieces, along and across memory; and of nothing.
            let shape: Shape = d.pick(&[[3, 9000], [9000, 3], [20_000, 1], [5, 0], [0, 5]]).into();
            (
                vec![d.tensor(shape)],
                Box::new(|t| {
                    let both = |a: &[isize]| [t[0].sum(a, false), t[0].mean(a, true)];
                    [both(&[0]), both(&[1]), both(&[0, 1])].concat()
                }),
            )
        },
    },
    Case {
        method: "arg_reduce",
        draw: |d| {
            let (shape, dtype) = (d.full_shape(1, 4), d.pick(&ALL));
            let axis = axis(d, shape);
            (
                vec![d.special(shape, dtype)],
                Box::new(move |t| vec![t[0].argmax(axis, false), t[0].argmin(axis, true)]),
            )
        },
    },
    Case {
        method: "scan",
        draw: |d| {
            let shape = d.full_shape(1, 4);
            let axis = axis(d, shape);
            let x = d.tensor(shape);
            let x = d.map(x, scaled);
            (
                vec![x],
                Box::new(move |t| {
                    vec![t[0].cumsum(axis), t[0].cumprod(axis), t[0].logcumsumexp(axis)]
                }),
            )
        },
    },
    Case {
        method: "arg_scan",
        draw: |d| {
            let shape = d.full_shape(1, 4);
            let axis = axis(d, shape);
            let dtype = d.dtype;
            let x = d.special(shape, dtype);
            (vec![x], Box::new(move |t| vec![t[0].argcummax(axis), t[0].argcummin(axis)]))
        },
    },
    Case {
        method: "linear_recurrence",
        draw: |d| {
            let shape = d.full_shape(1, 4);
            let axis = axis(d, shape);
            let (decay, x) = (d.tensor(shape), d.tensor(shape));
            let decay = d.map(decay, |t| t.tanh());
            (vec![decay, x], Box::new(move |t| vec![t[1].linear_recurrence(&t[0], axis)]))
        },
    },
    Case {
        method: "masked_scale",
        draw: |d| {
            let shape = d.shape(0, 4);
            let (x, mask) = (d.tensor(shape), d.tensor_of(shape, DType::U8));
            (vec![x, mask], Box::new(|t| vec![t[0].masked_scale(&t[1], 1.25)]))
        },
    },
    Case {
        method: "first_outside",
        draw: |d| {
            let shape = d.shape(0, 3);
            (
                vec![d.tensor_of(shape, DType::I64)],
                Box::new(|t| {
                    let found = t[0].kernels().first_outside(&t[0], 4);
                    let (at, value) =
                        found.map_or((-1.0, 0.0), |(at, value)| (at as f64, value as f64));
                    [at, value].map(|v| Tensor::full(v, [], DType::F64, t[0].device())).into()
                }),
            )
        },
    },
    Case {
        method: "where_",
        draw: |d| {
            let (shape, dtype) = (d.shape(0, 4), d.pick(&ALL));
            let [sc, sa, sb] = [d.narrowed(shape), d.narrowed(shape), d.narrowed(shape)];
            let (c, a, b) =
                (d.tensor_of(sc, DType::U8), d.tensor_of(sa, dtype), d.tensor_of(sb, dtype));
            (vec![c, a, b], Box::new(|t| vec![t[0].where_(&t[1], &t[2])]))
        },
    },
    Case {
        method: "cat",
        draw: |d| {
            let (shape, dtype) = (d.full_shape(1, 4), d.pick(&ALL));
            let axis = axis(d, shape);
            let parts = (0..d.int(1, 3)).map(|_| {
                let length = d.int(0, 4);
                d.tensor_of(shape.with_axis(axis as usize, length), dtype)
            });
            (
                parts.collect(),
                Box::new(move |t| vec![Tensor::cat(&t.iter().collect::<Vec<_>>(), axis)]),
            )
        },
    },
    Case {
        method: "argsort",
        draw: |d| {
            let (shape, dtype) = (d.full_shape(1, 3), d.pick(&ALL));
            let axis = axis(d, shape);
            (
                vec![d.special(shape, dtype)],
                Box::new(move |t| vec![t[0].argsort(axis, false), t[0].argsort(axis, true)]),
            )
        },
    },
    Case {
        method: "flip",
        draw: |d| {
            let (shape, dtype) = (d.shape(1, 4), d.pick(&ALL));
            let axes = axes(d, shape.rank());
            (vec![d.tensor_of(shape, dtype)], Box::new(move |t| vec![t[0].flip(&axes)]))
        },
    },
    Case {
        method: "index_select",
        draw: |d| {
            let (shape, dtype) = (d.full_shape(1, 4), d.pick(&ALL));
            let axis = axis(d, shape);
            let count = d.int(0, 9);
            let index = d.index([count], shape[axis as usize]);
            (
                vec![d.tensor_of(shape, dtype), index],
                Box::new(move |t| vec![t[0].index_select(axis, &t[1])]),
            )
        },
    },
    Case {
        method: "index_add",
        draw: |d| {
            let shape = d.full_shape(1, 4);
            let axis = axis(d, shape);
            let count = d.int(0, 9);
            let index = d.index([count], shape[axis as usize]);
            let src = d.tensor(shape.with_axis(axis as usize, count));
            (
                vec![d.tensor(shape), index, src],
                Box::new(move |t| vec![t[0].index_add(axis, &t[1], &t[2])]),
            )
        },
    },
    Case {
        method: "gather",
        draw: |d| {
            let (shape, dtype) = (d.full_shape(1, 4), d.pick(&ALL));
            let axis = axis(d, shape);
            let count = d.int(0, 9);
            let index = d.index(shape.with_axis(axis as usize, count), shape[axis as usize]);
            (
                vec![d.tensor_of(shape, dtype), index],
                Box::new(move |t| vec![t[0].gather(axis, &t[1])]),
            )
        },
    },
    Case {
        method: "scatter_add",
        draw: |d| {
            let shape = d.full_shape(1, 4);
            let axis = axis(d, shape);
            let count = d.int(0, 9);
            let lines = shape.with_axis(axis as usize, count);
            let index = d.index(lines, shape[axis as usize]);
            let src = d.tensor(lines);
            (
                vec![d.tensor(shape), index, src],
                Box::new(move |t| vec![t[0].scatter_add(axis, &t[1], &t[2])]),
            )
        },
    },
];
