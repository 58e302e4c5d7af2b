//! Elementwise ops with NumPy broadcasting, and the operators `+ - * /` on references.

use std::ops;

use super::check_same;
use crate::{
    Shape, Tensor,
    kernels::{BinaryOp, CompareOp, UnaryOp},
};

/// The broadcast shape of two operands, or a panic that names both.
#[track_caller]
pub(crate) fn broadcast_shape(op: &str, a: &Shape, b: &Shape) -> Shape {
    a.broadcast(b).unwrap_or_else(|| panic!("{op}: shapes {a} and {b} do not broadcast"))
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                ///
                /// # Panics
                /// If the dtype is neither f32 nor f64.
                #[track_caller]
                pub fn $name(&self) -> Tensor {
                    self.device().kernels().unary(UnaryOp::$op, self)
                }
            )*
        }
    };
}

unary! {
    /// `-x`.
    neg => Neg;
    /// `|x|`.
    abs => Abs;
    /// `e^x`.
    exp => Exp;
    /// Natural logarithm.
    log => Log;
    /// Square root.
    sqrt => Sqrt;
    /// `1 / sqrt(x)`.
    rsqrt => Rsqrt;
    /// `1 / x`.
    reciprocal => Reciprocal;
    /// `x^2`.
    square => Square;
    /// Sine of radians.
    sin => Sin;
    /// Cosine of radians.
    cos => Cos;
    /// Hyperbolic tangent.
    tanh => Tanh;
    /// Logistic function `1 / (1 + e^-x)`, without overflow for any `x`.
    sigmoid => Sigmoid;
    /// `max(x, 0)`; NaN stays NaN.
    relu => Relu;
    /// -1, 0 or 1.
    sign => Sign;
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                /// Shapes broadcast; f32 or f64.
                ///
                /// # Panics
                /// If shapes do not broadcast or dtypes or devices differ.
                #[track_caller]
                pub fn $name(&self, other: &Tensor) -> Tensor {
                    let op = BinaryOp::$op;
                    check_same(op.name(), &[self, other]);
                    let shape = broadcast_shape(op.name(), &self.shape(), &other.shape());
                    self.device().kernels().binary(op, self, other, shape)
                }
            )*
        }
    };
}

binary! {
    /// `a + b`.
    add => Add;
    /// `a - b`.
    sub => Sub;
    /// `a * b`.
    mul => Mul;
    /// `a / b`.
    div => Div;
    /// `a ^ b`; NaN for a negative base and a fractional exponent.
    pow => Pow;
    /// The larger of both; NaN if either is.
    maximum => Maximum;
    /// The smaller of both; NaN if either is.
    minimum => Minimum;
}

macro_rules! compare {
    ($($(#[$doc:meta])* $name:ident => $op:ident;)*) => {
        impl Tensor {
            $(
                $(#[$doc])*
                /// 1 where true, else 0, as `U8`. Shapes broadcast; any dtype.
                ///
                /// # Panics
                /// If shapes do not broadcast or dtypes or devices differ.
                #[track_caller]
                pub fn $name(&self, other: &Tensor) -> Tensor {
                    let op = CompareOp::$op;
                    check_same(op.name(), &[self, other]);
                    let shape = broadcast_shape(op.name(), &self.shape(), &other.shape());
                    self.device().kernels().compare(op, self, other, shape)
                }
            )*
        }
    };
}

compare! {
    /// `a == b`.
    eq => Eq;
    /// `a != b`.
    ne => Ne;
    /// `a > b`.
    gt => Gt;
    /// `a >= b`.
    ge => Ge;
    /// `a < b`.
    lt => Lt;
    /// `a <= b`.
    le => Le;
}

impl Tensor {
    /// `x + s`.
    #[track_caller]
    pub fn add_scalar(&self, s: f64) -> Tensor {
        self.device().kernels().unary(UnaryOp::AddScalar(s), self)
    }

    /// `x * s`.
    #[track_caller]
    pub fn mul_scalar(&self, s: f64) -> Tensor {
        self.device().kernels().unary(UnaryOp::MulScalar(s), self)
    }

    /// `x ^ e`.
    #[track_caller]
    pub fn pow_scalar(&self, e: f64) -> Tensor {
        self.device().kernels().unary(UnaryOp::PowScalar(e), self)
    }

    /// `x` limited to `min..=max`; NaN stays NaN. Like `torch.clamp`.
    ///
    /// # Panics
    /// If `min > max`.
    #[track_caller]
    pub fn clamp(&self, min: f64, max: f64) -> Tensor {
        assert!(min <= max, "clamp: min {min} is larger than max {max}");
        self.device().kernels().unary(UnaryOp::Clamp { min, max }, self)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl ops::$trait<&Tensor> for &Tensor {
            type Output = Tensor;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Tensor {
                Tensor::$method(self, other)
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl ops::Neg for &Tensor {
    type Output = Tensor;
    fn neg(self) -> Tensor {
        Tensor::neg(self)
    }
}
