// Functions of two elements over their broadcast shape; RANK is the number of axes of the walk.

#define BINARY(name, Result, expression)                                            \
    KERNEL(binary_##name, const T* a, const T* b, Result* y, Walk<2> walk) {        \
        u32 start = blockIdx.x * (4 * THREADS) + threadIdx.x;                       \
        _Pragma("unroll") for (int j = 0; j < 4; j++) {                             \
            u32 i = start + j * THREADS;                                            \
            if (i >= walk.n) return;                                                \
            i64 at[2];                                                              \
            offsets<RANK>(walk, i, at);                                             \
            ComputeOf<T>::type p = wide(a[at[0]]), q = wide(b[at[1]]);              \
            y[i] = (expression);                                                    \
        }                                                                           \
    }

#if ARITHMETIC
// T is f32 or f64.
BINARY(add, T, p + q)
BINARY(sub, T, p - q)
BINARY(mul, T, p* q)
BINARY(div, T, p / q)
BINARY(pow, T, pow(p, q))
// NaN wins over every number.
BINARY(maximum, T, p > q || p != p ? p : q)
BINARY(minimum, T, p < q || p != p ? p : q)
BINARY(relu_grad, T, p > T(0) ? q : T(0))
// Derivatives times q: at p, or where the function's value is p.
BINARY(gelu_backward, T, q*(normal_cdf(p) + p * normal_density(p)))
BINARY(gelu_tanh_backward, T, q* gelu_tanh_grad(p))
BINARY(silu_backward, T, q* silu_grad(p))
BINARY(softplus_backward, T, p > T(20) ? q : q * sigmoid(p))
BINARY(tanh_backward, T, q*(T(1) - p * p))
BINARY(sigmoid_backward, T, q*(p - p * p))
#else
BINARY(eq, u8, p == q)
BINARY(ne, u8, p != q)
BINARY(gt, u8, p > q)
BINARY(ge, u8, p >= q)
BINARY(lt, u8, p < q)
BINARY(le, u8, p <= q)
#endif
