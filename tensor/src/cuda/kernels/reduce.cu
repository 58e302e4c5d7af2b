// Reductions of elements of type T. The output's elements are numbered in memory order (the *kept* axes, innermost first in
// the walk), the elements that make one of them by the *reduced* axes. A long reduction is cut into pieces, whose results go
// to scratch memory and are combined in order: sums never depend on how threads run.

// A reduction: from elements to the accumulator, of two accumulators, and from the accumulator to the result.
struct SumOfFloats {
    typedef f64 Acc;
    typedef T Result;
    static __device__ __forceinline__ Acc init() { return 0; }
    static __device__ __forceinline__ Acc load(T x) { return f64(wide(x)); }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a + b; }
    static __device__ __forceinline__ Result finish(Acc a, f64 scale) { return Convert<T>::from(a * scale); }
};
struct SumOfSquares : SumOfFloats {
    static __device__ __forceinline__ Acc load(T x) {
        f64 v = f64(wide(x));
        return v * v;
    }
};
// Not rounded to the elements' type.
struct WideSumOfSquares : SumOfSquares {
    typedef f64 Result;
    static __device__ __forceinline__ Result finish(Acc a, f64) { return a; }
};
struct SumOfIntegers {
    typedef u64 Acc;
    typedef i64 Result;
    static __device__ __forceinline__ Acc init() { return 0; }
    static __device__ __forceinline__ Acc load(T x) { return u64(i64(wide(x))); }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a + b; }
    static __device__ __forceinline__ Result finish(Acc a, f64) { return i64(a); }
};
// NaN wins over every number, and the first of equals stays.
__device__ __forceinline__ bool beats_max(ComputeOf<T>::type x, ComputeOf<T>::type best) {
    return x > best || (x != x && best == best);
}
__device__ __forceinline__ bool beats_min(ComputeOf<T>::type x, ComputeOf<T>::type best) {
    return x < best || (x != x && best == best);
}
#define EXTREME(Name, beats)                                                                        \
    struct Name {                                                                                   \
        /* An element, or nothing yet. */                                                           \
        struct Acc {                                                                                \
            T value;                                                                                \
            u32 some;                                                                               \
        };                                                                                          \
        typedef T Result;                                                                           \
        static __device__ __forceinline__ Acc init() { return {T(), 0}; }                           \
        static __device__ __forceinline__ Acc load(T x) { return {x, 1}; }                          \
        static __device__ __forceinline__ Acc combine(Acc a, Acc b) {                               \
            return !b.some || (a.some && !beats(wide(b.value), wide(a.value))) ? a : b;             \
        }                                                                                           \
        static __device__ __forceinline__ Result finish(Acc a, f64) { return a.value; }             \
    };
EXTREME(Largest, beats_max)
EXTREME(Smallest, beats_min)

// What the kernels below take: `piece` is the number of reduced elements of a piece.
#define REDUCTION_PARAMETERS const T *x, u8 *out, Walk<1> kept, Walk<1> reduced, u32 piece, f64 scale

// Writes the result, or what a piece makes of it: `[piece][output]`.
template <class R>
__device__ __forceinline__ void write(u8* out, u32 output, u32 outputs, typename R::Acc acc, f64 scale) {
    if (gridDim.y == 1)
        reinterpret_cast<typename R::Result*>(out)[output] = R::finish(acc, scale);
    else
        reinterpret_cast<typename R::Acc*>(out)[u64(blockIdx.y) * outputs + output] = acc;
}

// One block for each output and piece: for reductions along memory.
template <class R>
__device__ __forceinline__ void reduce_rows(REDUCTION_PARAMETERS) {
    typedef typename R::Acc Acc;
    __shared__ Acc slots[THREADS];
    i64 base[1];
    offsets<KEPT>(kept, blockIdx.x, base);
    u32 end = min(u64(reduced.n), u64(blockIdx.y + 1) * piece);
    Acc acc = R::init();
    for (u32 j = blockIdx.y * piece + threadIdx.x; j < end; j += THREADS) {
        i64 at[1];
        offsets<REDUCED>(reduced, j, at);
        acc = R::combine(acc, R::load(x[base[0] + at[0]]));
    }
    slots[threadIdx.x] = acc;
    __syncthreads();
#pragma unroll
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) slots[threadIdx.x] = R::combine(slots[threadIdx.x], slots[threadIdx.x + half]);
        __syncthreads();
    }
    if (threadIdx.x == 0) write<R>(out, blockIdx.x, kept.n, slots[0], scale);
}

// A block has 32 neighboring outputs and 8 threads for each: for reductions across memory.
template <class R>
__device__ __forceinline__ void reduce_columns(REDUCTION_PARAMETERS) {
    typedef typename R::Acc Acc;
    __shared__ Acc slots[THREADS / 32][32];
    u32 column = threadIdx.x % 32, row = threadIdx.x / 32;
    u32 output = blockIdx.x * 32 + column;
    Acc acc = R::init();
    if (output < kept.n) {
        i64 base[1];
        offsets<KEPT>(kept, output, base);
        u32 end = min(u64(reduced.n), u64(blockIdx.y + 1) * piece);
        for (u32 j = blockIdx.y * piece + row; j < end; j += THREADS / 32) {
            i64 at[1];
            offsets<REDUCED>(reduced, j, at);
            acc = R::combine(acc, R::load(x[base[0] + at[0]]));
        }
    }
    slots[row][column] = acc;
    __syncthreads();
    if (row == 0 && output < kept.n) {
#pragma unroll
        for (u32 i = 1; i < THREADS / 32; i++) acc = R::combine(acc, slots[i][column]);
        write<R>(out, output, kept.n, acc, scale);
    }
}

// The results from those of the pieces, in the order of the pieces.
template <class R>
__device__ __forceinline__ void combine_pieces(const u8* pieces, u8* out, u32 outputs, u32 count, f64 scale) {
    u32 output = u32(global_thread());
    if (output >= outputs) return;
    const typename R::Acc* acc = reinterpret_cast<const typename R::Acc*>(pieces);
    typename R::Acc sum = acc[output];
    for (u32 i = 1; i < count; i++) sum = R::combine(sum, acc[u64(i) * outputs + output]);
    reinterpret_cast<typename R::Result*>(out)[output] = R::finish(sum, scale);
}

#define REDUCTION(name, R)                                                                                        \
    KERNEL(rows_##name, REDUCTION_PARAMETERS) { reduce_rows<R>(x, out, kept, reduced, piece, scale); }            \
    KERNEL(columns_##name, REDUCTION_PARAMETERS) { reduce_columns<R>(x, out, kept, reduced, piece, scale); }      \
    KERNEL(pieces_##name, const u8* pieces, u8* out, u32 outputs, u32 count, f64 scale) {                         \
        combine_pieces<R>(pieces, out, outputs, count, scale);                                                    \
    }

#if FLOAT
REDUCTION(sum, SumOfFloats)
REDUCTION(sum_squares, SumOfSquares)
REDUCTION(wide_sum_squares, WideSumOfSquares)
#else
REDUCTION(sum, SumOfIntegers)
#endif
REDUCTION(amax, Largest)
REDUCTION(amin, Smallest)

// ---- which element ---------------------------------------------------------------------------------------------------

template <bool MAX>
__device__ __forceinline__ bool beats(ComputeOf<T>::type x, ComputeOf<T>::type best) {
    return MAX ? beats_max(x, best) : beats_min(x, best);
}

// One block for each output: `length` elements, `step` apart.
template <bool MAX>
__device__ __forceinline__ void arg_rows(const T* x, i64* y, Walk<1> kept, u32 length, i64 step) {
    __shared__ u32 winners[THREADS];
    i64 base[1];
    offsets<KEPT>(kept, blockIdx.x, base);
    x += base[0];
    u32 best = min(threadIdx.x, length - 1);
    for (u32 j = best + THREADS; j < length; j += THREADS)
        if (beats<MAX>(wide(x[j * step]), wide(x[best * step]))) best = j;
    winners[threadIdx.x] = best;
    __syncthreads();
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            u32 other = winners[threadIdx.x + half];
            best = winners[threadIdx.x];
            auto a = wide(x[best * step]), b = wide(x[other * step]);
            // Of equals (two NaN are) the first.
            if (beats<MAX>(b, a) || (!beats<MAX>(a, b) && other < best)) winners[threadIdx.x] = other;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) y[blockIdx.x] = winners[0];
}

// One thread for each output.
template <bool MAX>
__device__ __forceinline__ void arg_columns(const T* x, i64* y, Walk<1> kept, u32 length, i64 step) {
    u32 output = u32(global_thread());
    if (output >= kept.n) return;
    i64 base[1];
    offsets<KEPT>(kept, output, base);
    x += base[0];
    u32 best = 0;
    for (u32 j = 1; j < length; j++)
        if (beats<MAX>(wide(x[j * step]), wide(x[best * step]))) best = j;
    y[output] = best;
}

#define ARG(name, max)                                                                        \
    KERNEL(rows_##name, const T* x, i64* y, Walk<1> kept, u32 length, i64 step) {             \
        arg_rows<max>(x, y, kept, length, step);                                              \
    }                                                                                         \
    KERNEL(columns_##name, const T* x, i64* y, Walk<1> kept, u32 length, i64 step) {          \
        arg_columns<max>(x, y, kept, length, step);                                           \
    }
ARG(argmax, true)
ARG(argmin, false)
