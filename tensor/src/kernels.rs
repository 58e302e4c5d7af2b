//! The one list of what a device must be able to do.
//!
//! A device implements [`Kernels`]; the public ops in [`ops`](crate::ops) check shapes and dtypes and then call it.
//! Arguments are therefore always consistent here: a kernel checks nothing that its op has checked.

use crate::{DType, Shape, Tensor, layout::Layout};

/// Functions of one element, with their constants.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)]
pub(crate) enum UnaryOp {
    Neg,
    Abs,
    Exp,
    Log,
    Sqrt,
    Rsqrt,
    Reciprocal,
    Square,
    Sin,
    Cos,
    Tanh,
    Sigmoid,
    Relu,
    Sign,
    AddScalar(f64),
    MulScalar(f64),
    PowScalar(f64),
    Clamp { min: f64, max: f64 },
}

impl UnaryOp {
    /// The op's name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            UnaryOp::Neg => "neg",
            UnaryOp::Abs => "abs",
            UnaryOp::Exp => "exp",
            UnaryOp::Log => "log",
            UnaryOp::Sqrt => "sqrt",
            UnaryOp::Rsqrt => "rsqrt",
            UnaryOp::Reciprocal => "reciprocal",
            UnaryOp::Square => "square",
            UnaryOp::Sin => "sin",
            UnaryOp::Cos => "cos",
            UnaryOp::Tanh => "tanh",
            UnaryOp::Sigmoid => "sigmoid",
            UnaryOp::Relu => "relu",
            UnaryOp::Sign => "sign",
            UnaryOp::AddScalar(_) => "add_scalar",
            UnaryOp::MulScalar(_) => "mul_scalar",
            UnaryOp::PowScalar(_) => "pow_scalar",
            UnaryOp::Clamp { .. } => "clamp",
        }
    }
}

/// Functions of two elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Maximum,
    Minimum,
}

impl BinaryOp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "add",
            BinaryOp::Sub => "sub",
            BinaryOp::Mul => "mul",
            BinaryOp::Div => "div",
            BinaryOp::Pow => "pow",
            BinaryOp::Maximum => "maximum",
            BinaryOp::Minimum => "minimum",
        }
    }
}

/// Comparisons; the result is `U8`, 1 where true.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum CompareOp {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

impl CompareOp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            CompareOp::Eq => "eq",
            CompareOp::Ne => "ne",
            CompareOp::Gt => "gt",
            CompareOp::Ge => "ge",
            CompareOp::Lt => "lt",
            CompareOp::Le => "le",
        }
    }
}

/// Functions of all elements along some axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ReduceOp {
    Sum,
    Mean,
    SumSquares,
    Max,
    Min,
}

impl ReduceOp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Mean => "mean",
            ReduceOp::SumSquares => "sum_squares",
            ReduceOp::Max => "amax",
            ReduceOp::Min => "amin",
        }
    }
}

/// Which element's index is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ArgOp {
    Max,
    Min,
}

impl ArgOp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ArgOp::Max => "argmax",
            ArgOp::Min => "argmin",
        }
    }
}

/// The taps of a kernel and the point their offsets count from, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LpWindow {
    pub(crate) kernel: [usize; 2],
    pub(crate) center: [f64; 2],
}

/// The operands of an Lp-mask's gradient: `dmask` and `mask` `[O, kh, kw]`, `c` `[O, 2, 2]`, `log2p` `[O]`.
#[derive(Clone, Copy)]
pub(crate) struct MaskGradient<'a> {
    pub(crate) dmask: &'a Tensor,
    pub(crate) mask: &'a Tensor,
    pub(crate) c: &'a Tensor,
    pub(crate) log2p: &'a Tensor,
}

/// Everything a device computes. Results are new tensors on the same device.
pub(crate) trait Kernels: Send + Sync {
    /// The elements of `x` in a new tensor of a dense layout of the same shape.
    fn copy(&self, x: &Tensor, layout: Layout) -> Tensor;
    /// The elements of `x` converted to `dtype`.
    fn cast(&self, x: &Tensor, dtype: DType) -> Tensor;
    /// `op(x)`, in the memory order of `x` where it is dense.
    fn unary(&self, op: UnaryOp, x: &Tensor) -> Tensor;
    /// `op(a, b)` over their broadcast shape; one float dtype.
    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor;
    /// `op(a, b)` as 0 or 1 over their broadcast shape; one dtype of any kind.
    fn compare(&self, op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor;
    /// `axes` reduced to length 1. Sums of integers are I64; floats are accumulated in f64.
    fn reduce(&self, op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor;
    /// I64 index along `axis` of the first extreme (the first NaN, if any); `axis` is removed.
    fn arg_reduce(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor;
    /// Running sums along `axis`.
    fn cumsum(&self, x: &Tensor, axis: usize) -> Tensor;

    /// Masks `[O, kh, kw]`; see [`Tensor::lp_mask`]. Contiguous operands, here and below.
    fn lp_mask(&self, c: &Tensor, log2p: &Tensor, window: LpWindow) -> Tensor;
    /// Gradients of `c` and `log2p`.
    fn lp_mask_grad(&self, operands: MaskGradient<'_>, window: LpWindow) -> (Tensor, Tensor);
    /// `weight * mask` without a border of `crop` taps.
    fn masked_weight(&self, weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor;
    /// Gradients of `weight` and, if wanted, of `mask`.
    fn masked_weight_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        mask: &Tensor,
        crop: [usize; 2],
        mask_wanted: bool,
    ) -> (Tensor, Option<Tensor>);
}
