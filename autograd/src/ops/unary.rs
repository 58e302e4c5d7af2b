//! Functions of one element, whose derivative is `dy` times a factor.
//!
//! [`unary!`] says on three lines what an op is: its method, what it keeps, its factor and where it is checked.

use std::f64::consts::{FRAC_2_SQRT_PI, TAU};

use tensor::Tensor;

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

macro_rules! keep {
    (x, $saver:expr) => {
        $saver.input(0)
    };
    (y, $saver:expr) => {
        $saver.output()
    };
}

/// `method: Op, "formula", keeps x or y, |kept| factor, drawn by;`, after `keeps x` perhaps `times_dy method`: the method of
/// `Tensor` that computes the factor of what is kept times `dy` in one pass.
macro_rules! unary {
    ($(
        $(#[$doc:meta])*
        $method:ident: $op:ident, $formula:literal,
        keeps $keep:ident $(times_dy $backward:ident)?, $factor:expr, $draw:expr;
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug)]
            struct $op;

            impl Op for $op {
                fn name(&self) -> &'static str {
                    stringify!($method)
                }
                fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
                    keep!($keep, saver);
                    inputs[0].$method()
                }
                fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
                    $(
                        if !saved.create_graph() {
                            let dx = saved.tensor(0).$backward(dy.value());
                            return vec![Some(Var::constant(dx))];
                        }
                    )?
                    let factor: fn(&Var) -> Var = $factor;
                    vec![Some(dy * factor(&saved.var(0)))]
                }
            }
        )*

        impl Var {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $method(&self) -> Var {
                    Var::apply($op, &[self])
                }
            )*
        }

        pub(super) const SMOOTH: &[OpInfo] = &[
            $(OpInfo {
                name: stringify!($method),
                formula: $formula,
                case: |d| {
                    let draw: fn(&mut Draw) -> Tensor = $draw;
                    Case::new(vec![draw(d)], |v| v[0].$method())
                },
            },)*
        ];
    };
}

fn any(d: &mut Draw) -> Tensor {
    let shape = d.shape(0..=4);
    d.normal(shape)
}

fn positive(d: &mut Draw) -> Tensor {
    let shape = d.shape(0..=4);
    d.uniform(shape, 0.3, 3.0)
}

fn not_zero(d: &mut Draw) -> Tensor {
    let shape = d.shape(0..=4);
    let x = d.away_from_zero(shape);
    &x + &x.sign().mul_scalar(0.3)
}

unary! {
    /// `|x|`. Derivative: the sign of `x`; 0 at 0, as in PyTorch. Same as `torch.abs`.
    abs: Abs, "|x|",
    keeps x, |x| Var::constant(x.value().sign()), not_zero;
    /// `e^x`. Derivative: `y`. Same as `torch.exp`.
    exp: Exp, "e^x",
    keeps y, |y| y.clone(), any;
    /// `e^x - 1`, accurate near 0. Derivative: `y + 1`. Same as `torch.expm1`.
    expm1: Expm1, "e^x - 1",
    keeps y, |y| y + 1.0, any;
    /// Natural logarithm. Derivative: `1 / x`; infinite at 0. Same as `torch.log`.
    log: Log, "ln x",
    keeps x, |x| x.reciprocal(), positive;
    /// `ln(1 + x)`, accurate near 0. Derivative: `1 / (1 + x)`; infinite at -1. Same as `torch.log1p`.
    log1p: Log1p, "ln(1 + x)",
    keeps x, |x| (x + 1.0).reciprocal(), positive;
    /// Square root. Derivative: `1 / (2 y)`; infinite at 0. Same as `torch.sqrt`.
    sqrt: Sqrt, "sqrt(x)",
    keeps y, |y| y.reciprocal() * 0.5, positive;
    /// `1 / sqrt(x)`. Derivative: `-y^3 / 2`. Same as `torch.rsqrt`.
    rsqrt: Rsqrt, "1 / sqrt(x)",
    keeps y, |y| y * &y.square() * -0.5, positive;
    /// `1 / x`. Derivative: `-y^2`. Same as `torch.reciprocal`.
    reciprocal: Reciprocal, "1 / x",
    keeps y, |y| -y.square(), not_zero;
    /// `x^2`. Derivative: `2 x`. Same as `torch.square`.
    square: Square, "x^2",
    keeps x, |x| x * 2.0, any;
    /// Sine of radians. Derivative: `cos x`. Same as `torch.sin`.
    sin: Sin, "sin x",
    keeps x, Var::cos, any;
    /// Cosine of radians. Derivative: `-sin x`. Same as `torch.cos`.
    cos: Cos, "cos x",
    keeps x, |x| -x.sin(), any;
    /// Error function. Derivative: `2 / sqrt(pi) exp(-x^2)`. Same as `torch.erf`.
    erf: Erf, "2 / sqrt(pi) * integral of exp(-t^2) from 0 to x",
    keeps x, |x| (-x.square()).exp() * FRAC_2_SQRT_PI, any;
    /// Hyperbolic tangent. Derivative: `1 - y^2`. Same as `torch.tanh`.
    tanh: Tanh, "tanh x",
    keeps y times_dy tanh_backward, |y| y.square().affine(-1.0, 1.0), any;
    /// Logistic function, without overflow. Derivative: `y (1 - y)`. Same as `torch.sigmoid`.
    sigmoid: Sigmoid, "1 / (1 + e^-x)",
    keeps y times_dy sigmoid_backward, |y| y - y.square(), any;
    /// `ln(1 + e^x)`, and `x` where `x > 20`. Derivative: `sigmoid(x)`, 1 where `x > 20`. Same as
    /// `torch.nn.functional.softplus` with its defaults.
    softplus: Softplus, "ln(1 + e^x)",
    keeps x times_dy softplus_backward, |x| {
        let linear = x.value().gt(&super::scalar_like(x.value(), 20.0));
        x.sigmoid().masked_fill(&linear, 1.0)
    }, any;
    /// `x sigmoid(x)`. Derivative: with `s = sigmoid(x)`, `s + x s (1 - s)`. Same as `torch.nn.functional.silu`. Source:
    /// Elfwing et al. 2018.
    silu: Silu, "x sigmoid(x)",
    keeps x times_dy silu_backward, |x| {
        let s = x.sigmoid();
        &s + x * &s * s.affine(-1.0, 1.0)
    }, any;
    /// Gaussian error linear unit: `x` times the normal distribution function of `x`. Derivative:
    /// [`gelu_grad`](Var::gelu_grad). Same as `torch.nn.functional.gelu`. Source: Hendrycks and Gimpel 2016.
    gelu: Gelu, "x Phi(x)",
    keeps x times_dy gelu_backward, Var::gelu_grad, any;
    /// The derivative of [`gelu`](Var::gelu), `Phi(x) + x phi(x)`. Derivative: `phi(x) (2 - x^2)`.
    gelu_grad: GeluGrad, "Phi(x) + x phi(x)",
    keeps x, |x| {
        let x2 = x.square();
        (&x2 * -0.5).exp() * x2.affine(-1.0, 2.0) * (1.0 / TAU.sqrt())
    }, any;
    /// GELU by a tangent: `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`. Derivative:
    /// [`gelu_tanh_grad`](Var::gelu_tanh_grad). Same as `torch.nn.functional.gelu(x, approximate="tanh")`.
    gelu_tanh: GeluTanh, "x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))",
    keeps x times_dy gelu_tanh_backward, Var::gelu_tanh_grad, any;
    /// The derivative of [`gelu_tanh`](Var::gelu_tanh). Derivative: with `u` the argument of the tangent, `t = tanh u` and
    /// `s = 1 - t^2`, `s (u' + x/2 u'' - x t u'^2)`, where `u'` and `u''` are the derivatives of `u`.
    gelu_tanh_grad: GeluTanhGrad, "(1 + t + x s u') / 2",
    keeps x, |x| {
        let (scale, cubic) = ((4.0 / TAU).sqrt(), 0.044715);
        let x2 = x.square();
        let t = (x * x2.affine(scale * cubic, scale)).tanh();
        let slope = x2.affine(3.0 * scale * cubic, scale);
        // x/2 u'' with u'' = 6 scale cubic x.
        let bend = x2.affine(3.0 * scale * cubic, 0.0);
        t.square().affine(-1.0, 1.0) * (&slope + bend - x * t * slope.square())
    }, any;
}

/// `max(x, 0)`. Derivative: `dy` where `x > 0`, else 0; 0 at 0, as in PyTorch. Same as `torch.relu`.
#[derive(Clone, Debug)]
struct Relu;

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.output();
        inputs[0].relu()
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(ReluGrad { y: saved.tensor(0).clone() }, &[dy]))]
    }
}

/// The gradient of [`Relu`] from `dy`: `dy` where `y > 0`, else 0. Derivative: the same function.
#[derive(Clone, Debug)]
struct ReluGrad {
    y: Tensor,
}

impl Op for ReluGrad {
    fn name(&self) -> &'static str {
        "relu_grad"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        self.y.relu_grad(inputs[0])
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(self.clone(), &[dy]))]
    }
}

/// `x` where `x > 0`, else `alpha (e^x - 1)`. Derivative: 1 where `x > 0`, else `alpha e^x`; `alpha` at 0, as in
/// PyTorch. Same as `torch.nn.functional.elu`. Source: Clevert et al. 2016, eq. 15.
#[derive(Clone, Debug)]
struct Elu {
    alpha: f64,
}

impl Op for Elu {
    fn name(&self) -> &'static str {
        "elu"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        inputs[0].elu(self.alpha)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let x = saved.var(0);
        let positive = x.value().gt(&super::scalar_like(x.value(), 0.0));
        // Where e^x is not used it must not overflow: infinity times 0 would be NaN in a second derivative.
        let exp = x.clamp(f64::NEG_INFINITY, 0.0).exp() * self.alpha;
        vec![Some(dy * exp.masked_fill(&positive, 1.0))]
    }
}

/// `x` where `x > 0`, else `slope x`. Derivative: 1 where `x > 0`, else `slope`; `slope` at 0, as in PyTorch. Same as
/// `torch.nn.functional.leaky_relu`.
#[derive(Clone, Debug)]
struct LeakyRelu {
    slope: f64,
}

impl Op for LeakyRelu {
    fn name(&self) -> &'static str {
        "leaky_relu"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        inputs[0].leaky_relu(self.slope)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let x = saved.tensor(0);
        let positive = x.gt(&super::scalar_like(x, 0.0));
        vec![Some(dy.where_(&positive, &(dy * self.slope)))]
    }
}

impl Var {
    /// `max(x, 0)`. Derivative: 1 where `x > 0`, else 0; 0 at 0. Same as `torch.relu`.
    #[track_caller]
    pub fn relu(&self) -> Var {
        Var::apply(Relu, &[self])
    }

    /// `x` where `x > 0`, else `alpha (e^x - 1)`. Derivative at 0: `alpha`. Same as `torch.nn.functional.elu`.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Var {
        Var::apply(Elu { alpha }, &[self])
    }

    /// `x` where `x > 0`, else `slope x`. Derivative at 0: `slope`. Same as `torch.nn.functional.leaky_relu`.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Var {
        Var::apply(LeakyRelu { slope }, &[self])
    }
}

pub(super) const KINKED: &[OpInfo] = &[
    OpInfo { name: "relu", formula: "max(x, 0)", case: |d| kinked(d, |x, _| x.relu()) },
    OpInfo {
        name: "relu_grad",
        formula: "dy where y > 0, else 0",
        case: |d| {
            let shape = d.shape(0..=4);
            let y = d.away_from_zero(shape);
            Case::new(vec![d.normal(shape)], move |v| {
                Var::apply(ReluGrad { y: y.to_dtype(v[0].dtype()) }, &[&v[0]])
            })
        },
    },
    OpInfo {
        name: "elu",
        formula: "x where x > 0, else alpha (e^x - 1)",
        case: |d| kinked(d, Var::elu),
    },
    OpInfo {
        name: "leaky_relu",
        formula: "x where x > 0, else slope x",
        case: |d| kinked(d, Var::leaky_relu),
    },
];

fn kinked(d: &mut Draw, f: fn(&Var, f64) -> Var) -> Case {
    let x = not_zero(d);
    let constant = d.uniform([], 0.1, 2.0).item();
    Case::new(vec![x], move |v| f(&v[0], constant))
}
