//! The one list of what a device must be able to do.
//!
//! A device implements [`Kernels`]; the public ops in [`ops`](crate::ops) check shapes and dtypes and then call it.
//! Arguments are therefore always consistent here: a kernel checks nothing that its op has checked.

use std::ops::Range;

use crate::{
    AdamStep, Conv2dOptions, DType, Pool2d, RecurrentCell, Sampling, SgdStep, Shape, Taps, Tensor,
    Unfold, layout::Layout,
};

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
    Expm1,
    Log1p,
    Erf,
    Gelu,
    GeluGrad,
    GeluTanh,
    GeluTanhGrad,
    Softplus,
    Silu,
    Elu { alpha: f64 },
    LeakyRelu { slope: f64 },
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
            UnaryOp::Expm1 => "expm1",
            UnaryOp::Log1p => "log1p",
            UnaryOp::Erf => "erf",
            UnaryOp::Gelu => "gelu",
            UnaryOp::GeluGrad => "gelu_grad",
            UnaryOp::GeluTanh => "gelu_tanh",
            UnaryOp::GeluTanhGrad => "gelu_tanh_grad",
            UnaryOp::Softplus => "softplus",
            UnaryOp::Silu => "silu",
            UnaryOp::Elu { .. } => "elu",
            UnaryOp::LeakyRelu { .. } => "leaky_relu",
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
    /// `b` where `a > 0`, else 0.
    ReluGrad,
    /// `b` times the derivative of a function: at `a` (GELU, SiLU, softplus), or where its value is `a` (tanh, sigmoid).
    GeluBackward,
    GeluTanhBackward,
    SiluBackward,
    SoftplusBackward,
    TanhBackward,
    SigmoidBackward,
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
            BinaryOp::ReluGrad => "relu_grad",
            BinaryOp::GeluBackward => "gelu_backward",
            BinaryOp::GeluTanhBackward => "gelu_tanh_backward",
            BinaryOp::SiluBackward => "silu_backward",
            BinaryOp::SoftplusBackward => "softplus_backward",
            BinaryOp::TanhBackward => "tanh_backward",
            BinaryOp::SigmoidBackward => "sigmoid_backward",
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

/// Functions of an element and all before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ScanOp {
    Sum,
    Prod,
    LogSumExp,
}

impl ScanOp {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ScanOp::Sum => "cumsum",
            ScanOp::Prod => "cumprod",
            ScanOp::LogSumExp => "logcumsumexp",
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

/// The gradients of a batch normalization.
#[derive(Clone, Debug)]
pub struct BatchNormGrad {
    /// Of the input, in its shape; `None` where it was not wanted.
    pub dx: Option<Tensor>,
    /// Of the weight, `[C]`.
    pub dweight: Tensor,
    /// Of the bias, `[C]`.
    pub dbias: Tensor,
}

/// The gradients of a layer normalization.
#[derive(Clone, Debug)]
pub struct LayerNormGrad {
    /// Of the input, in its shape.
    pub dx: Tensor,
    /// Of the weight, in the shape of the normalized axes.
    pub dweight: Tensor,
    /// Of the bias, in the shape of the normalized axes.
    pub dbias: Tensor,
}

/// The targets of a cross entropy in the order of the logits' rows.
#[derive(Clone, Copy)]
pub(crate) enum Classes<'a> {
    /// Contiguous `I64`, one per row.
    Index { index: &'a Tensor, smoothing: f64 },
    /// Contiguous, one row for each row of the logits.
    Probabilities(&'a Tensor),
}

/// The rows or columns of a window of an average pooling.
#[derive(Clone, Debug)]
pub(crate) struct PoolWindow {
    /// Those inside the image.
    pub(crate) inside: Range<usize>,
    /// How many the mean counts.
    pub(crate) count: usize,
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
    /// `op` of each element along `axis` and all before it.
    fn scan(&self, op: ScanOp, x: &Tensor, axis: usize) -> Tensor;
    /// I64 index along `axis` of the last extreme so far (the last NaN, if any).
    fn arg_scan(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor;
    /// `y[i] = decay[i] y[i - 1] + x[i]` along `axis`, from `y[0] = x[0]`; both of one shape.
    fn linear_recurrence(&self, decay: &Tensor, x: &Tensor, axis: usize) -> Tensor;

    /// `activation(x + bias)` in the memory of dense `x` where nobody else uses it; `bias` is contiguous `[C]` and belongs to
    /// axis 1, which then is innermost in memory.
    fn bias_act(&self, x: Tensor, bias: Option<&Tensor>, activation: UnaryOp) -> Tensor;
    /// `x * scale` where `mask` (`U8`, of the shape and memory order of dense `x`) is not 0, else 0.
    fn masked_scale(&self, x: &Tensor, mask: &Tensor, scale: f64) -> Tensor;

    // ---- images: operands in channels-last memory, results too ---------------------------------------------

    /// Output pixel `(i, j)` is input pixel `(i - top, j - left)`, `value` outside; `corner` is `[top, left]`, `size` the
    /// output's height and width.
    fn pad2d(&self, x: &Tensor, corner: [isize; 2], size: [usize; 2], value: f64) -> Tensor;
    /// `x` continued by its mirror image; padding is left, right, top, bottom.
    fn reflection_pad2d(&self, x: &Tensor, padding: [usize; 4]) -> Tensor;
    /// The transpose of [`reflection_pad2d`](Self::reflection_pad2d).
    fn reflection_pad2d_grad(&self, dy: &Tensor, padding: [usize; 4]) -> Tensor;
    /// Maxima, and their cells as `U8`; `size` is the output's height and width.
    fn max_pool2d(&self, x: &Tensor, pool: &Pool2d, size: [usize; 2]) -> (Tensor, Tensor);
    /// Gradient of an input of shape `dims`.
    fn max_pool2d_grad(
        &self,
        dy: &Tensor,
        cells: &Tensor,
        pool: &Pool2d,
        dims: [usize; 4],
    ) -> Tensor;
    /// Means over all pairs of windows of rows and of columns.
    fn avg_pool2d(&self, x: &Tensor, windows: &[Vec<PoolWindow>; 2]) -> Tensor;
    /// Gradient of an input of height and width `size`.
    fn avg_pool2d_grad(
        &self,
        dy: &Tensor,
        windows: &[Vec<PoolWindow>; 2],
        size: [usize; 2],
    ) -> Tensor;

    /// Samples of shape `output` at the places of the contiguous `grid`.
    fn grid_sample(&self, x: &Tensor, grid: &Tensor, sampling: &Sampling, output: Shape) -> Tensor;
    /// Samples added into zeros of shape `image` where they were taken.
    fn grid_sample_transpose(
        &self,
        dy: &Tensor,
        grid: &Tensor,
        sampling: &Sampling,
        image: Shape,
    ) -> Tensor;

    /// Cross-correlation with contiguous `weight` (and `bias`); `output` is its shape.
    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        output: Shape,
    ) -> Tensor;
    /// The gradient of an input of shape `input`.
    fn conv2d_input_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        options: &Conv2dOptions,
        input: Shape,
    ) -> Tensor;
    /// The gradient of a weight of shape `weight`, contiguous.
    fn conv2d_weight_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        options: &Conv2dOptions,
        weight: Shape,
    ) -> Tensor;

    /// The pixels of contiguous images `[N, C, H, W]` under each tap at each of `[rows, columns]` places:
    /// `[N, C kh kw, rows * columns]`, contiguous.
    fn unfold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2]) -> Tensor;
    /// The transpose of [`unfold`](Self::unfold), to images of height and width `size`.
    fn fold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2], size: [usize; 2]) -> Tensor;

    /// `axis` of `x`, which has any strides, times a banded matrix.
    fn resample(&self, x: &Tensor, axis: usize, taps: &Taps) -> Tensor;

    // ---- matrices of any strides ------------------------------------------------------------------------------

    /// The arithmetic of a time step: the new state and what its derivative needs, of shape `output`.
    fn recurrent_step(
        &self,
        cell: RecurrentCell,
        from_input: &Tensor,
        from_state: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor;
    /// Its derivative: gradients of the gates and of the old state, of shape `output`.
    fn recurrent_step_grad(
        &self,
        cell: RecurrentCell,
        dstate: &Tensor,
        step: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor;

    /// `x weight^T + bias`, contiguous.
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor;

    // ---- normalization: `[N, C, ..]` with axis 1 innermost in memory, vectors contiguous `[C]` ----------------

    /// Mean and biased variance of each channel.
    fn batch_stats(&self, x: &Tensor) -> (Tensor, Tensor);
    /// `(x - mean) * invstd * weight + bias`.
    fn batch_norm(
        &self,
        x: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Tensor;
    /// The derivatives of [`batch_norm`](Self::batch_norm); with `training` through mean and variance too.
    #[allow(clippy::too_many_arguments)]
    fn batch_norm_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        training: bool,
        wants_dx: bool,
    ) -> BatchNormGrad;
    /// The sum over all axes but axis 1.
    fn channel_sums(&self, x: &Tensor) -> Tensor;
    /// Rows of `length` elements of contiguous `x` normalized; also their mean and inverse deviation, `[rows, 2]`.
    fn layer_norm(
        &self,
        x: &Tensor,
        length: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> (Tensor, Tensor);
    /// The derivatives of [`layer_norm`](Self::layer_norm); gradients of weight and bias are flat.
    fn layer_norm_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        length: usize,
        stats: &Tensor,
        weight: Option<&Tensor>,
    ) -> LayerNormGrad;

    // ---- rows: contiguous operands, the last axis is a row --------------------------------------------------

    /// Softmax along rows, or its logarithm.
    fn softmax(&self, x: &Tensor, log: bool) -> Tensor;
    /// Its derivative from the output.
    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, log: bool) -> Tensor;
    /// Loss and log-sum-exp of each row of logits.
    fn cross_entropy(&self, logits: &Tensor, targets: Classes) -> (Tensor, Tensor);
    /// The gradient of the logits.
    fn cross_entropy_grad(
        &self,
        logits: &Tensor,
        targets: Classes,
        lse: &Tensor,
        dloss: &Tensor,
    ) -> Tensor;

    // ---- in place: all tensors dense, in one memory order ---------------------------------------------------

    /// One step of gradient descent; `first` if the buffer holds nothing yet.
    fn sgd_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        buffer: Option<&mut Tensor>,
        step: &SgdStep,
        first: bool,
    );
    /// One step of Adam with the running means `m` of the gradient and `v` of its square.
    fn adam_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        m: &mut Tensor,
        v: &mut Tensor,
        step: &AdamStep,
    );
    /// `x += weight * (other - x)`.
    fn lerp(&self, x: &mut Tensor, other: &Tensor, weight: f64);
    /// The sum of squares of all elements.
    fn sum_of_squares(&self, x: &Tensor) -> f64;

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
    /// `a · b` of shape `shape` for `a` `[batch.., m, k]` and `b` `[batch.., k, n]` with the same batch axes.
    fn matmul(&self, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor;

    // ---- indexing: indices are I64; all but `first_outside` take them as in range ----------------------------

    /// Row-major position and value of the first element of `index` that is not in `0..len`.
    fn first_outside(&self, index: &Tensor, len: usize) -> Option<(usize, i64)>;
    /// `a` where `condition` (U8) is not 0, else `b`, over their broadcast shape; any dtype.
    fn where_(&self, condition: &Tensor, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor;
    /// One behind the other along `axis`; `length` is the sum of their lengths.
    fn cat(&self, tensors: &[&Tensor], axis: usize, length: usize) -> Tensor;
    /// For each row of contiguous `x` the indices that sort it; equal elements keep their order, NaN is largest.
    fn argsort(&self, x: &Tensor, descending: bool) -> Tensor;
    /// Elements in reverse order along `axes`.
    fn flip(&self, x: &Tensor, axes: &[usize]) -> Tensor;
    /// Slices of `x` along `axis` in the order of the vector `index`.
    fn index_select(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor;
    /// `x` with slice `i` of `src` added to slice `index[i]`, in the order of `i`.
    fn index_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor;
    /// `y[.., i, ..] = x[.., index[.., i, ..], ..]`.
    fn gather(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor;
    /// `x` with `src[.., i, ..]` added at `[.., index[.., i, ..], ..]`, in row-major order.
    fn scatter_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor;
}
