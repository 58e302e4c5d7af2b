//! Functions of one and of two elements.

use super::{
    copy::DTYPES,
    launch::{Define, Grid, In, Module, Out, Source, Value, kernels},
    operand::{gpu, input, output},
    strided::{RANKS, Walk, walk},
};
use crate::{
    DType, Shape, Tensor,
    kernels::{BinaryOp, CompareOp, UnaryOp},
    layout::Layout,
};

static UNARY: Source =
    Source { name: "unary", text: include_str!("kernels/unary.cu"), options: &[] };
static BINARY: Source =
    Source { name: "binary", text: include_str!("kernels/binary.cu"), options: &[] };

kernels! { UNARY;
    fn masked_scale(x: In, mask: In, y: Out, scale: f64, n: u64);
    any fn any_unary(x: In, y: Out, a: f64, b: f64, n: u64);
}
kernels! { BINARY;
    any fn any_binary(a: In, b: In, y: Out, walk: Walk<2>);
}

/// The kernel of an op and its constants.
fn unary_kernel(op: UnaryOp) -> (&'static str, f64, f64) {
    let name = match op {
        UnaryOp::AddScalar(s) => return ("unary_add_scalar", s, 0.0),
        UnaryOp::MulScalar(s) => return ("unary_mul_scalar", s, 0.0),
        // The exponents that occur in models cost no call of pow, and give the CPU's bits.
        UnaryOp::PowScalar(2.0) | UnaryOp::Square => "unary_square",
        UnaryOp::PowScalar(0.5) | UnaryOp::Sqrt => "unary_sqrt",
        UnaryOp::PowScalar(e) => return ("unary_pow_scalar", e, 0.0),
        UnaryOp::Clamp { min, max } => return ("unary_clamp", min, max),
        UnaryOp::Elu { alpha } => return ("unary_elu", alpha, 0.0),
        UnaryOp::LeakyRelu { slope } => return ("unary_leaky_relu", slope, 0.0),
        UnaryOp::Neg => "unary_neg",
        UnaryOp::Abs => "unary_abs",
        UnaryOp::Exp => "unary_exp",
        UnaryOp::Log => "unary_log",
        UnaryOp::Rsqrt => "unary_rsqrt",
        UnaryOp::Reciprocal => "unary_reciprocal",
        UnaryOp::Sin => "unary_sin",
        UnaryOp::Cos => "unary_cos",
        UnaryOp::Tanh => "unary_tanh",
        UnaryOp::Sigmoid => "unary_sigmoid",
        UnaryOp::Relu => "unary_relu",
        UnaryOp::Sign => "unary_sign",
        UnaryOp::Expm1 => "unary_expm1",
        UnaryOp::Log1p => "unary_log1p",
        UnaryOp::Erf => "unary_erf",
        UnaryOp::Gelu => "unary_gelu",
        UnaryOp::GeluGrad => "unary_gelu_grad",
        UnaryOp::GeluTanh => "unary_gelu_tanh",
        UnaryOp::GeluTanhGrad => "unary_gelu_tanh_grad",
        UnaryOp::Softplus => "unary_softplus",
        UnaryOp::Silu => "unary_silu",
    };
    (name, 0.0, 0.0)
}

/// The constant that tells kernels the type they compute in.
///
/// # Panics
/// If it is neither f32 nor f64.
#[track_caller]
pub(super) fn float(op: &str, dtype: DType) -> Define {
    assert!(
        matches!(dtype, DType::F32 | DType::F64),
        "{op}: dtype {dtype} is not supported; cast to a float first"
    );
    ("T", Value::Type(dtype))
}

/// `op(x)`.
pub(super) fn unary(op: UnaryOp, x: &Tensor) -> Tensor {
    let (gpu, t) = (gpu(x), float(op.name(), x.dtype()));
    let x = if x.layout.is_dense() { x.clone() } else { x.contiguous() };
    let (y, out) = output(gpu, x.layout.dense_like(), x.dtype());
    let (kernel, a, b) = unary_kernel(op);
    let n = x.numel();
    // SAFETY: both are dense, of n elements, in one memory order.
    unsafe { any_unary(gpu, &[t], Grid::over(n, 4), kernel, input(gpu, &x), out, a, b, n as u64) };
    y
}

/// `x * scale` where `mask` is not 0, else 0.
pub(super) fn scale_masked(x: &Tensor, mask: &Tensor, scale: f64) -> Tensor {
    let (gpu, t) = (gpu(x), float("masked_scale", x.dtype()));
    let (y, out) = output(gpu, x.layout.dense_like(), x.dtype());
    let (from, mask) = (input(gpu, x), input(gpu, mask));
    let n = x.numel();
    // SAFETY: all are dense, of n elements, in one memory order.
    unsafe { masked_scale(gpu, &[t], Grid::over(n, 4), from, mask, out, scale, n as u64) };
    y
}

/// `op(a, b)`, a float.
pub(super) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let kernel = match op {
        BinaryOp::Add => "binary_add",
        BinaryOp::Sub => "binary_sub",
        BinaryOp::Mul => "binary_mul",
        BinaryOp::Div => "binary_div",
        BinaryOp::Pow => "binary_pow",
        BinaryOp::Maximum => "binary_maximum",
        BinaryOp::Minimum => "binary_minimum",
        BinaryOp::ReluGrad => "binary_relu_grad",
        BinaryOp::GeluBackward => "binary_gelu_backward",
        BinaryOp::GeluTanhBackward => "binary_gelu_tanh_backward",
        BinaryOp::SiluBackward => "binary_silu_backward",
        BinaryOp::SoftplusBackward => "binary_softplus_backward",
        BinaryOp::TanhBackward => "binary_tanh_backward",
        BinaryOp::SigmoidBackward => "binary_sigmoid_backward",
    };
    let t = float(op.name(), a.dtype());
    zip(kernel, [t, ("ARITHMETIC", Value::Int(1))], [a, b], shape, a.dtype())
}

/// `activation(x + bias)`, the bias along axis 1.
pub(super) fn bias_act(x: Tensor, bias: Option<&Tensor>, activation: UnaryOp) -> Tensor {
    let sum = match bias {
        Some(bias) => {
            let mut dims = [1; crate::shape::MAX_RANK];
            dims[1] = bias.numel();
            let bias = bias.reshape(&dims[..x.rank()]);
            binary(BinaryOp::Add, &x, &bias, x.shape())
        }
        None => x,
    };
    unary(activation, &sum)
}

/// `op(a, b)` as 0 or 1.
pub(super) fn compare(op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let kernel = match op {
        CompareOp::Eq => "binary_eq",
        CompareOp::Ne => "binary_ne",
        CompareOp::Gt => "binary_gt",
        CompareOp::Ge => "binary_ge",
        CompareOp::Lt => "binary_lt",
        CompareOp::Le => "binary_le",
    };
    let t = ("T", Value::Type(a.dtype()));
    zip(kernel, [t, ("ARITHMETIC", Value::Int(0))], [a, b], shape, DType::U8)
}

fn zip(
    kernel: &'static str,
    [t, kind]: [Define; 2],
    [a, b]: [&Tensor; 2],
    shape: Shape,
    dtype: DType,
) -> Tensor {
    let gpu = gpu(a);
    // As on the CPU: the memory order of a full-size operand, so that adding a bias keeps channels last.
    let layout = match (a.shape() == shape, b.shape() == shape) {
        (true, _) if a.layout.is_dense() => a.layout.dense_like(),
        (_, true) if b.layout.is_dense() => b.layout.dense_like(),
        _ => Layout::contiguous(shape),
    };
    let [la, lb] =
        [a, b].map(|t| t.layout.broadcast_to(shape).expect("shapes were checked to broadcast"));
    let (y, out) = output(gpu, layout, dtype);
    let (p, q, bytes) = (input(gpu, a), input(gpu, b), a.dtype().size());
    for part in walk(&layout, [&la, &lb]) {
        let (p, q) = (p.plus(part.inputs[0], bytes), q.plus(part.inputs[1], bytes));
        let to = out.plus(part.start, dtype.size());
        let (defines, grid) = ([t, part.rank(), kind], Grid::over(part.n, 4));
        // SAFETY: the walk covers the output's elements and those of the operands that belong to them.
        unsafe { any_binary(gpu, &defines, grid, kernel, p, q, to, part.walk) };
    }
    y
}

/// Every way in which the sources are compiled.
pub(super) fn modules() -> Vec<Module> {
    let of = |t: DType, rank: usize, arithmetic: i64| {
        let rank = ("RANK", Value::Int(rank as i64));
        let kind = ("ARITHMETIC", Value::Int(arithmetic));
        Module::new(&BINARY, &[("T", Value::Type(t)), rank, kind])
    };
    let floats = [DType::F32, DType::F64];
    let mut all: Vec<Module> = floats.map(|t| Module::new(&UNARY, &[("T", Value::Type(t))])).into();
    for rank in RANKS {
        all.extend(floats.map(|t| of(t, rank, 1)));
        all.extend(DTYPES.map(|t| of(t, rank, 0)));
    }
    all
}
