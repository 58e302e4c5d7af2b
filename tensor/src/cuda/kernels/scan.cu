// Running sums, products and extremes along an axis of elements of type T. Memory is [outer, axis, inner]; a line has
// `length` elements, `inner` apart. Sums and products are made in f64. Lines are cut into runs of THREADS elements, which a
// block combines like a tree; where there are many lines, each has a thread.

// A scan: from an element to the accumulator, of two accumulators, the first being of earlier elements, and from the
// accumulator to the output.
#if FLOAT
struct Sum {
    typedef f64 Acc;
    typedef T Out;
    static __device__ __forceinline__ Acc none() { return 0; }
    static __device__ __forceinline__ Acc load(const T* x, const T*, u64 at, u32) { return f64(x[at]); }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a + b; }
    static __device__ __forceinline__ Out finish(Acc a) { return T(a); }
};
struct Product : Sum {
    static __device__ __forceinline__ Acc none() { return 1; }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) { return a * b; }
};
struct LogSumExp {
    // The largest, and the sum of exponentials relative to it; of NaN only the sum is NaN.
    struct Acc {
        f64 most, sum;
    };
    typedef T Out;
    static __device__ __forceinline__ f64 lowest() { return __longlong_as_double(0xFFF0000000000000); }
    static __device__ __forceinline__ Acc none() { return {lowest(), 0}; }
    static __device__ __forceinline__ Acc load(const T* x, const T*, u64 at, u32) {
        f64 v = f64(x[at]);
        return v == v ? Acc{v, 1} : Acc{lowest(), v};
    }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) {
        // Infinities are equal, their difference would be NaN.
        if (a.most == b.most) return {a.most, a.sum + b.sum};
        if (a.most > b.most) return {a.most, a.sum + b.sum * exp(b.most - a.most)};
        return {b.most, a.sum * exp(a.most - b.most) + b.sum};
    }
    static __device__ __forceinline__ Out finish(Acc a) { return T(a.most + log(a.sum)); }
};
struct Recurrence {
    // What the value before is multiplied by, and what is added.
    struct Acc {
        f64 decay, y;
    };
    typedef T Out;
    static __device__ __forceinline__ Acc none() { return {1, 0}; }
    static __device__ __forceinline__ Acc load(const T* x, const T* decay, u64 at, u32 i) {
        return {i == 0 ? 0 : f64(decay[at]), f64(x[at])};
    }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) {
        // The first element of a line has no value before.
        return {a.decay * b.decay, (b.decay == 0 ? 0 : b.decay * a.y) + b.y};
    }
    static __device__ __forceinline__ Out finish(Acc a) { return T(a.y); }
};
#endif

// The index of the last extreme so far. A NaN beats every number and every NaN before it.
template <bool MAX>
struct Last {
    struct Acc {
        T value;
        u32 at, some;
    };
    typedef i64 Out;
    static __device__ __forceinline__ Acc none() { return {T(), 0, 0}; }
    static __device__ __forceinline__ Acc load(const T* x, const T*, u64 at, u32 i) { return {x[at], i, 1}; }
    static __device__ __forceinline__ Acc combine(Acc a, Acc b) {
        auto p = wide(a.value), q = wide(b.value);
        bool later = !a.some || (b.some && ((MAX ? q >= p : q <= p) || q != q));
        return later ? b : a;
    }
    static __device__ __forceinline__ Out finish(Acc a) { return a.at; }
};

#define SCAN_PARAMETERS const T *x, const T *by, u8 *y, u64 lines, u32 length, u64 inner

// A block for each line.
template <class S>
__device__ __forceinline__ void scan_blocks(SCAN_PARAMETERS) {
    typedef typename S::Acc Acc;
    __shared__ Acc slots[THREADS];
    u64 outer = blockIdx.x / inner, base = outer * length * inner + (blockIdx.x - outer * inner);
    Acc before = S::none();
    for (u32 first = 0; first < length; first += THREADS) {
        u32 i = first + threadIdx.x;
        u64 at = base + i * inner;
        Acc acc = i < length ? S::load(x, by, at, i) : S::none();
        slots[threadIdx.x] = acc;
        __syncthreads();
        for (u32 reach = 1; reach < THREADS; reach *= 2) {
            if (threadIdx.x >= reach) acc = S::combine(slots[threadIdx.x - reach], acc);
            __syncthreads();
            slots[threadIdx.x] = acc;
            __syncthreads();
        }
        acc = S::combine(before, acc);
        if (i < length) reinterpret_cast<typename S::Out*>(y)[at] = S::finish(acc);
        before = S::combine(before, slots[THREADS - 1]);
        __syncthreads();
    }
}

// A thread for each line.
template <class S>
__device__ __forceinline__ void scan_threads(SCAN_PARAMETERS) {
    u64 line = global_thread();
    if (line >= lines) return;
    u64 outer = line / inner, base = outer * length * inner + (line - outer * inner);
    typename S::Acc acc = S::none();
    for (u32 i = 0; i < length; i++) {
        u64 at = base + i * inner;
        acc = S::combine(acc, S::load(x, by, at, i));
        reinterpret_cast<typename S::Out*>(y)[at] = S::finish(acc);
    }
}

#define SCAN(name, S)                                                                          \
    KERNEL(blocks_##name, SCAN_PARAMETERS) { scan_blocks<S>(x, by, y, lines, length, inner); } \
    KERNEL(threads_##name, SCAN_PARAMETERS) { scan_threads<S>(x, by, y, lines, length, inner); }

#if FLOAT
SCAN(sum, Sum)
SCAN(product, Product)
SCAN(log_sum_exp, LogSumExp)
SCAN(recurrence, Recurrence)
#endif
SCAN(argmax, Last<true>)
SCAN(argmin, Last<false>)
