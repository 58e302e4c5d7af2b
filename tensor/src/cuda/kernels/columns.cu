// Sums over the rows of row-major matrices `[rows, channels]` of type T (f32 or f64), and what batch normalization makes of them.
//
// A block has 32 neighboring channels and a piece of the rows, shared by 8 threads a channel. Two sums in f64 for each channel go
// to `[piece][2][channel]`; the kernels that use them add up the pieces in order.

#define COLUMN_SUMS(name, expressions, ...)                                                                        \
    KERNEL(name, __VA_ARGS__, f64* out, u64 rows, u32 channels, u64 piece) {                                       \
        __shared__ f64 slots[2][THREADS / 32][32];                                                                 \
        u32 lane = threadIdx.x % 32, share = threadIdx.x / 32, c = blockIdx.x * 32 + lane;                         \
        u64 end = min(u64(blockIdx.y + 1) * piece, rows);                                                          \
        f64 first = 0, second = 0;                                                                                 \
        if (c < channels)                                                                                          \
            for (u64 row = blockIdx.y * piece + share; row < end; row += THREADS / 32) {                           \
                u64 i = row * channels + c;                                                                        \
                expressions;                                                                                       \
            }                                                                                                      \
        slots[0][share][lane] = first;                                                                             \
        slots[1][share][lane] = second;                                                                            \
        __syncthreads();                                                                                           \
        if (share > 1 || c >= channels) return;                                                                    \
        /* The threads of the first share add up the first sum, those of the second the other. */                  \
        f64 sum = slots[share][0][lane];                                                                           \
        for (u32 s = 1; s < THREADS / 32; s++) sum += slots[share][s][lane];                                       \
        out[(u64(blockIdx.y) * 2 + share) * channels + c] = sum;                                                   \
    }

COLUMN_SUMS(sums_plain, first += f64(x[i]), const T* x)
// Around the first row, so that a mean far from 0 costs no digits.
COLUMN_SUMS(sums_stats, f64 d = f64(x[i]) - f64(x[c]); first += d; second += d * d, const T* x)
COLUMN_SUMS(sums_batch_norm, f64 g = f64(dy[i]); first += g; second += g * f64(x[i] - mean[c]), const T* x,
            const T* dy, const T* mean)
// `stats` has mean and inverse deviation of each row.
COLUMN_SUMS(sums_layer_norm, f64 g = f64(dy[i]); first += g;
            second += g * f64((x[i] - stats[2 * row]) * stats[2 * row + 1]), const T* x, const T* dy, const T* stats)

// Sum `which` of channel `c`.
__device__ __forceinline__ f64 total(const f64* pieces, u32 count, u32 which, u32 channels, u32 c) {
    f64 sum = 0;
    for (u32 p = 0; p < count; p++) sum += pieces[(u64(p) * 2 + which) * channels + c];
    return sum;
}

// Both sums; the second may be null.
KERNEL(totals, const f64* pieces, T* first, T* second, u32 channels, u32 count) {
    u32 c = u32(global_thread());
    if (c >= channels) return;
    first[c] = T(total(pieces, count, 0, channels, c));
    if (second) second[c] = T(total(pieces, count, 1, channels, c));
}

// Mean and biased variance.
KERNEL(mean_and_variance, const f64* pieces, const T* x, T* mean, T* variance, u32 channels, u32 count, u64 rows) {
    u32 c = u32(global_thread());
    if (c >= channels) return;
    f64 first = total(pieces, count, 0, channels, c) / f64(rows), second = total(pieces, count, 1, channels, c) / f64(rows);
    f64 v = second - first * first;
    mean[c] = T(f64(x[c]) + first);
    // Rounding must not make it negative; NaN stays.
    variance[c] = T(v < 0 ? 0 : v);
}

// `(x - mean) * invstd * weight + bias` of `n` elements; weight and bias may be null.
KERNEL(normalize, const T* x, const T* mean, const T* invstd, const T* weight, const T* bias, T* y, Divisor channels, u32 n) {
    u32 start = blockIdx.x * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 i = start + j * THREADS;
        if (i >= n) return;
        u32 c = i - divide(i, channels) * channels.value;
        T scale = weight ? invstd[c] * weight[c] : invstd[c];
        y[i] = (x[i] - mean[c]) * scale + (bias ? bias[c] : T(0));
    }
}

// From the sums of `dy` and `dy * (x - mean)`: the gradients of bias and weight; and for the gradient of the input
// `scale`, `shift` and `slope`, one behind the other.
KERNEL(batch_norm_constants, const f64* pieces, const T* invstd, const T* weight, T* dweight, T* dbias, T* constants,
       u32 channels, u32 count, u64 rows, u32 training) {
    u32 c = u32(global_thread());
    if (c >= channels) return;
    f64 sum = total(pieces, count, 0, channels, c);
    f64 product = total(pieces, count, 1, channels, c) * f64(invstd[c]);
    dbias[c] = T(sum);
    dweight[c] = T(product);
    constants[c] = weight ? invstd[c] * weight[c] : invstd[c];
    constants[channels + c] = training ? T(sum / f64(rows)) : T(0);
    constants[2 * channels + c] = training ? T(product / f64(rows) * f64(invstd[c])) : T(0);
}

// `scale * (dy - shift - (x - mean) * slope)`.
KERNEL(batch_norm_input, const T* x, const T* dy, const T* mean, const T* constants, T* dx, Divisor channels, u32 n) {
    u32 start = blockIdx.x * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 i = start + j * THREADS;
        if (i >= n) return;
        u32 c = i - divide(i, channels) * channels.value;
        T shift = constants[channels.value + c], slope = constants[2 * channels.value + c];
        dx[i] = constants[c] * (dy[i] - shift - (x[i] - mean[c]) * slope);
    }
}
