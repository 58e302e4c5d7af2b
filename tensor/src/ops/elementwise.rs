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
                #[track_caller]
                pub fn $name(&self) -> Tensor {
                    self.kernels().unary(UnaryOp::$op, self)
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
    /// `e^x - 1`, accurate near 0.
    expm1 => Expm1;
    /// `log(1 + x)`, accurate near 0.
    log1p => Log1p;
    /// Error function `2/sqrt(pi) ∫₀ˣ exp(-t²) dt`.
    erf => Erf;
    /// Gaussian error linear unit `x Φ(x)` with the distribution function Φ of the standard normal distribution. Like
    /// `torch.nn.functional.gelu`. Source: Hendrycks and Gimpel 2016.
    gelu => Gelu;
    /// The derivative of [`gelu`](Tensor::gelu): `Φ(x) + x φ(x)`.
    gelu_grad => GeluGrad;
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))`. Like `torch.nn.functional.gelu(x, approximate="tanh")`.
    gelu_tanh => GeluTanh;
    /// The derivative of [`gelu_tanh`](Tensor::gelu_tanh).
    gelu_tanh_grad => GeluTanhGrad;
    /// `log(1 + e^x)`, and `x` where `x > 20`. Like `torch.nn.functional.softplus` with `beta` 1.
    softplus => Softplus;
    /// `x sigmoid(x)`. Like `torch.nn.functional.silu`.
    silu => Silu;
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
                    self.kernels().binary(op, self, other, shape)
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
    /// `other` where `self > 0`, else 0: the derivative of [`relu`](Tensor::relu).
    relu_grad => ReluGrad;
    /// `other` times the derivative of [`gelu`](Tensor::gelu) at `self`, in one pass.
    gelu_backward => GeluBackward;
    /// `other` times the derivative of [`gelu_tanh`](Tensor::gelu_tanh) at `self`, in one pass.
    gelu_tanh_backward => GeluTanhBackward;
    /// `other` times the derivative of [`silu`](Tensor::silu) at `self`, in one pass.
    silu_backward => SiluBackward;
    /// `other` times the derivative of [`softplus`](Tensor::softplus) at `self`, in one pass.
    softplus_backward => SoftplusBackward;
    /// `other` times the derivative of [`tanh`](Tensor::tanh) where its value is `self`: `other (1 - self^2)`.
    tanh_backward => TanhBackward;
    /// `other` times the derivative of [`sigmoid`](Tensor::sigmoid) where its value is `self`: `other (self - self^2)`.
    sigmoid_backward => SigmoidBackward;
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
                    self.kernels().compare(op, self, other, shape)
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
        self.kernels().unary(UnaryOp::AddScalar(s), self)
    }

    /// `x * s`.
    #[track_caller]
    pub fn mul_scalar(&self, s: f64) -> Tensor {
        self.kernels().unary(UnaryOp::MulScalar(s), self)
    }

    /// `x ^ e`; NaN for a negative `x` and a fractional `e`.
    #[track_caller]
    pub fn pow_scalar(&self, e: f64) -> Tensor {
        self.kernels().unary(UnaryOp::PowScalar(e), self)
    }

    /// `x` limited to `min..=max`; NaN stays NaN. Like `torch.clamp`.
    ///
    /// # Panics
    /// If `min > max`.
    #[track_caller]
    pub fn clamp(&self, min: f64, max: f64) -> Tensor {
        assert!(min <= max, "clamp: min {min} is larger than max {max}");
        self.kernels().unary(UnaryOp::Clamp { min, max }, self)
    }
}

impl Tensor {
    /// Exponential linear unit: `x` where `x > 0`, else `alpha (e^x - 1)`. Like `torch.nn.functional.elu`.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Tensor {
        self.kernels().unary(UnaryOp::Elu { alpha }, self)
    }

    /// `x` where `x > 0`, else `slope * x`. Like `torch.nn.functional.leaky_relu`.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Tensor {
        self.kernels().unary(UnaryOp::LeakyRelu { slope }, self)
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

#[cfg(test)]
mod tests {
    use crate::Tensor;

    fn check(got: Tensor, want: &[f64], tolerance: f64) {
        for (i, (g, w)) in got.to_f64_vec().iter().zip(want).enumerate() {
            assert!((g - w).abs() <= tolerance * (1.0 + w.abs()), "element {i}: {g}, not {w}");
        }
    }

    /// Values of Python's `math`: `erf(v)`, `v/2 erfc(-v/sqrt(2))`, the formula with `tanh`, `log1p(exp(v))`, `expm1(v)`.
    #[test]
    fn activations_have_their_values() {
        let x = [-30.0, -1.5, 0.0, 0.25, 3.0, 25.0];
        for (x, tolerance) in
            [(Tensor::new(&x, [6]), 1e-14), (Tensor::new(&x.map(|v| v as f32), [6]), 2e-7)]
        {
            let erf = [-1.0, -0.9661051464753108, 0.0, 0.2763263901682369, 0.9999779095030014, 1.0];
            check(x.erf(), &erf, tolerance);
            let gelu =
                [0.0, -0.10021080190328713, 0.0, 0.14967658142073093, 2.99595030590511, 25.0];
            check(x.gelu(), &gelu, tolerance);
            let gelu_tanh =
                [0.0, -0.10042842301976707, 0.0, 0.149675350701685, 2.996362607918227, 25.0];
            check(x.gelu_tanh(), &gelu_tanh, tolerance);
            let softplus = [
                9.357622968839299e-14,
                0.2014132779827524,
                std::f64::consts::LN_2,
                0.8259394198788435,
                3.048587351573742,
                25.0,
            ];
            check(x.softplus(), &softplus, tolerance);
            let elu = [-0.2999999999999719, -0.2330609519554711, 0.0, 0.25, 3.0, 25.0];
            check(x.elu(0.3), &elu, tolerance);
            check(x.leaky_relu(0.1), &[-3.0, -0.15, 0.0, 0.25, 3.0, 25.0], tolerance);
        }
    }

    #[test]
    fn gelu_gradients_are_central_differences() {
        let x = Tensor::new(&[-6.0f64, -1.0, -0.1, 0.0, 0.7, 2.0, 9.0], [7]);
        let h = 1e-5;
        let slope = |f: fn(&Tensor) -> Tensor| {
            f(&x.add_scalar(h)).sub(&f(&x.add_scalar(-h))).mul_scalar(0.5 / h).to_f64_vec()
        };
        check(x.gelu_grad(), &slope(Tensor::gelu), 1e-9);
        check(x.gelu_tanh_grad(), &slope(Tensor::gelu_tanh), 1e-9);
    }

    #[test]
    fn special_exponents_and_nan_behave_as_pow_does() {
        let x = Tensor::new(&[0.0f64, 2.0, -2.0, f64::NAN, f64::INFINITY], [5]);
        for e in [2.0, 0.5, 3.0, -1.0, 0.0] {
            let want = x.to_f64_vec().into_iter().map(|v| v.powf(e));
            for (g, w) in x.pow_scalar(e).to_f64_vec().into_iter().zip(want) {
                assert!(g == w || (g.is_nan() && w.is_nan()), "exponent {e}: {g}, not {w}");
            }
        }
        assert!(x.relu().to_f64_vec()[3].is_nan());
    }
}
