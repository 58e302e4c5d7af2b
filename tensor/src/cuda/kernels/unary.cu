// Functions of one element of type T (f32 or f64) with constants `a` and `b`, over dense memory.

#define UNARY(name, expression)                                             \
    KERNEL(unary_##name, const T* x, T* y, f64 a64, f64 b64, u64 n) {       \
        const T a = T(a64), b = T(b64), zero = T(0), one = T(1);            \
        u64 start = u64(blockIdx.x) * (4 * THREADS) + threadIdx.x;          \
        _Pragma("unroll") for (int j = 0; j < 4; j++) {                     \
            u64 i = start + j * THREADS;                                    \
            if (i >= n) return;                                             \
            T v = x[i];                                                     \
            y[i] = (expression);                                            \
        }                                                                   \
        (void)a, (void)b, (void)zero, (void)one;                            \
    }

UNARY(neg, -v)
UNARY(abs, fabs(v))
UNARY(exp, exp(v))
UNARY(log, log(v))
UNARY(sqrt, sqrt(v))
UNARY(rsqrt, one / sqrt(v))
UNARY(reciprocal, one / v)
UNARY(square, v* v)
UNARY(sin, sin(v))
UNARY(cos, cos(v))
UNARY(tanh, tanh(v))
UNARY(sigmoid, sigmoid(v))
UNARY(relu, v > zero || v != v ? v : zero)
UNARY(sign, v > zero ? one : v < zero ? -one : zero)
UNARY(add_scalar, v + a)
UNARY(mul_scalar, v* a)
UNARY(pow_scalar, pow(v, a))
UNARY(clamp, v < a ? a : v > b ? b : v)
UNARY(expm1, expm1(v))
UNARY(log1p, log1p(v))
UNARY(erf, erf(v))
UNARY(gelu, v* normal_cdf(v))
UNARY(gelu_grad, normal_cdf(v) + v * normal_density(v))
UNARY(gelu_tanh, T(0.5) * v * (one + tanh(gelu_argument(v))))
UNARY(gelu_tanh_grad, gelu_tanh_grad(v))
UNARY(silu, v* sigmoid(v))
UNARY(softplus, v > T(20) ? v : log1p(exp(v)))
UNARY(elu, v > zero ? v : a * expm1(v))
UNARY(leaky_relu, v > zero ? v : a * v)

// `x * scale` where the mask is not 0, else 0.
KERNEL(masked_scale, const T* x, const u8* mask, T* y, f64 scale, u64 n) {
    u64 start = u64(blockIdx.x) * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u64 i = start + j * THREADS;
        if (i < n) y[i] = mask[i] ? x[i] * T(scale) : T(0);
    }
}
