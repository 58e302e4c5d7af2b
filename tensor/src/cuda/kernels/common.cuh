// What every kernel source begins with: words, types, conversions, index arithmetic. No header of CUDA is needed.
//
// Kernels are written in a part of CUDA C that a C++ compiler understands too (see tensor/stand-in): no textures, no
// cooperative launches, no inline assembly but in primitives that have a C++ twin under `#ifdef STAND_IN`. Shared memory is
// an array of fixed size (`__shared__ float tile[32][33]`) or SHARED(type, name), which is as large as the launch says.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;
typedef float f32;
typedef double f64;

// 16-bit floats are storage; they are computed in f32.
struct bf16 {
    u16 bits;
};
struct f16 {
    u16 bits;
};

#ifdef STAND_IN
#define KERNEL_NAMED(name, text, ...)                                                                              \
    static void name(__VA_ARGS__);                                                                                 \
    static stand_in::Registration registration_of_##name(                                                          \
        text, stand_in::Entry<name>::count, stand_in::Entry<name>::sizes, stand_in::Entry<name>::run);             \
    static void name(__VA_ARGS__)
#define KERNEL_TEXT(name, ...) KERNEL_NAMED(name, #name, __VA_ARGS__)
#define BOUNDED_KERNEL(threads, name, ...) KERNEL_TEXT(name, __VA_ARGS__)
#define SHARED(type, name) type* name = static_cast<type*>(stand_in::self->dynamic_shared)
#else
#define BOUNDED_KERNEL(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#define SHARED(type, name)                                  \
    extern __shared__ __align__(16) u8 dynamic_shared[];    \
    type* name = reinterpret_cast<type*>(dynamic_shared)
#endif

// `KERNEL(name, parameters..) { .. }`: a kernel that Rust launches with blocks of 256 threads.
#define THREADS 256
#define KERNEL(name, ...) BOUNDED_KERNEL(THREADS, name, __VA_ARGS__)

// ---- conversions ---------------------------------------------------------------------------------------------------

__device__ __forceinline__ f32 widen(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }

__device__ __forceinline__ bf16 narrow_bf16(f32 x) {
    u32 b = __float_as_uint(x);
    bf16 y;
    // To nearest, ties to even; NaN stays NaN.
    y.bits = x != x ? u16(b >> 16 | 0x40) : u16((b + 0x7FFF + (b >> 16 & 1)) >> 16);
    return y;
}

__device__ __forceinline__ f32 widen(f16 x) {
    u32 sign = u32(x.bits & 0x8000) << 16, magnitude = x.bits & 0x7FFF;
    if (magnitude >= 0x7C00) return __uint_as_float(sign | 0x7F800000 | (magnitude & 0x3FF) << 13);
    // The exponents' biases differ by 112; the multiplication normalizes subnormal numbers.
    return __uint_as_float(sign | __float_as_uint(__uint_as_float(magnitude << 13) * 5.192296858534828e33f));
}

__device__ __forceinline__ f16 narrow_f16(f32 x) {
    u32 b = __float_as_uint(x), magnitude = b & 0x7FFFFFFF;
    f16 y;
    u32 bits;
    if (magnitude > 0x7F800000) {
        bits = 0x7E00;
    } else if (magnitude >= 0x477FF000) {
        bits = 0x7C00;  // rounds to 65536 or more
    } else if (magnitude >= 0x38800000) {
        bits = (magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1)) >> 13;
    } else {
        // Subnormal: adding 0.5 puts the last bit of the result last in the float, rounded to even.
        bits = __float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3F000000;
    }
    y.bits = u16(bits | (b >> 16 & 0x8000));
    return y;
}

// What a type is computed in.
template <class A>
struct ComputeOf {
    typedef A type;
};
template <>
struct ComputeOf<bf16> {
    typedef f32 type;
};
template <>
struct ComputeOf<f16> {
    typedef f32 type;
};

__device__ __forceinline__ f32 wide(f32 x) { return x; }
__device__ __forceinline__ f64 wide(f64 x) { return x; }
__device__ __forceinline__ i64 wide(i64 x) { return x; }
__device__ __forceinline__ u8 wide(u8 x) { return x; }
__device__ __forceinline__ f32 wide(bf16 x) { return widen(x); }
__device__ __forceinline__ f32 wide(f16 x) { return widen(x); }

// A number as an element of type A: floats round to nearest, integers truncate and saturate, NaN becomes 0.
template <class A>
struct Convert;
template <>
struct Convert<f32> {
    static __device__ __forceinline__ f32 from(f64 x) { return f32(x); }
};
template <>
struct Convert<f64> {
    static __device__ __forceinline__ f64 from(f64 x) { return x; }
};
template <>
struct Convert<bf16> {
    static __device__ __forceinline__ bf16 from(f64 x) { return narrow_bf16(f32(x)); }
};
template <>
struct Convert<f16> {
    static __device__ __forceinline__ f16 from(f64 x) { return narrow_f16(f32(x)); }
};
template <>
struct Convert<i64> {
    static __device__ __forceinline__ i64 from(f64 x) {
        if (!(x > -9223372036854775808.0)) return x != x ? 0 : -9223372036854775807LL - 1;
        return x >= 9223372036854775808.0 ? 9223372036854775807LL : i64(x);
    }
};
template <>
struct Convert<u8> {
    static __device__ __forceinline__ u8 from(f64 x) { return !(x > 0) ? 0 : x >= 255.0 ? 255 : u8(x); }
};

// ---- indices -------------------------------------------------------------------------------------------------------

// This thread among all of a one-dimensional grid.
__device__ __forceinline__ u64 global_thread() { return u64(blockIdx.x) * blockDim.x + threadIdx.x; }

// As `Divisor` in strided.rs.
struct Divisor {
    u32 value, magic, first_shift, second_shift;
};

__device__ __forceinline__ u32 divide(u32 n, const Divisor& d) {
    u32 t = __umulhi(d.magic, n);
    return (t + ((n - t) >> d.first_shift)) >> d.second_shift;
}

#define MAX_RANK 8

// As `Walk` in strided.rs.
template <int K>
struct Walk {
    Divisor axes[MAX_RANK];
    i64 strides[K][MAX_RANK];
    u32 n, padding;
};

// Where the elements of the inputs lie that belong to element `index` of the output; AXES is their number of axes.
template <int AXES, int K>
__device__ __forceinline__ void offsets(const Walk<K>& walk, u32 index, i64 (&at)[K]) {
#pragma unroll
    for (int k = 0; k < K; k++) at[k] = 0;
#pragma unroll
    for (int axis = 0; axis < AXES; axis++) {
        // The outermost axis takes what is left.
        u32 rest = axis + 1 < AXES ? divide(index, walk.axes[axis]) : 0;
        u32 i = index - rest * walk.axes[axis].value;
        index = rest;
#pragma unroll
        for (int k = 0; k < K; k++) at[k] += i64(i) * walk.strides[k][axis];
    }
}

// ---- sums of a block -----------------------------------------------------------------------------------------------

// The sum of `x` over the threads of a block of THREADS threads, in all of them, always in the same order. `slots` is
// shared memory for THREADS / 32 values; all threads must come here.
template <class A>
__device__ __forceinline__ A block_sum(A x, A* slots) {
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) x += __shfl_xor_sync(0xffffffffu, x, lanes);
    if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = x;
    __syncthreads();
    A sum = slots[0];
    for (u32 i = 1; i < blockDim.x / 32; i++) sum += slots[i];
    // The slots may be used again.
    __syncthreads();
    return sum;
}

// ---- functions of one number: A is f32 or f64 ----------------------------------------------------------------------

// The distribution function and the density of the standard normal distribution.
template <class A>
__device__ __forceinline__ A normal_cdf(A x) { return A(0.5) * erfc(-x * A(0.70710678118654752440)); }
template <class A>
__device__ __forceinline__ A normal_density(A x) { return exp(A(-0.5) * x * x) * A(0.39894228040143267794); }

// The argument of GELU's tanh approximation (Hendrycks and Gimpel 2016): sqrt(2 / pi) (x + 0.044715 x^3).
template <class A>
__device__ __forceinline__ A gelu_argument(A x) {
    return A(0.797884560802865355879892119869) * (x + A(0.044715) * x * x * x);
}

template <class A>
__device__ __forceinline__ A sigmoid(A x) {
    // The argument of exp is never positive: it cannot overflow.
    A e = exp(-fabs(x));
    return x >= A(0) ? A(1) / (A(1) + e) : e / (A(1) + e);
}

template <class A>
__device__ __forceinline__ A gelu_tanh_grad(A x) {
    A t = tanh(gelu_argument(x));
    A slope = A(0.797884560802865355879892119869) * (A(1) + A(3 * 0.044715) * x * x);
    return A(0.5) * (A(1) + t) + A(0.5) * x * (A(1) - t * t) * slope;
}

template <class A>
__device__ __forceinline__ A silu_grad(A x) {
    A s = sigmoid(x);
    return s + x * s * (A(1) - s);
}
