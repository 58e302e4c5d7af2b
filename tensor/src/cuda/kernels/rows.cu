// Softmax, cross entropy and layer normalization: functions of the rows of contiguous matrices of type T (f32 or f64).
//
// GROUP threads (32 or THREADS) have a row; they walk through it together.

#define ROWS (THREADS / GROUP)

// This thread's row, and its number in the group. Threads of rows behind the last go through the motions with the last one.
#define ROW(rows)                                                                      \
    __shared__ T slots[THREADS / 32];                                                  \
    u64 own_row = u64(blockIdx.x) * ROWS + threadIdx.x / GROUP, row = min(own_row, u64(rows) - 1); \
    bool there = own_row < (rows);                                                     \
    u32 lane = threadIdx.x % GROUP;                                                    \
    (void)slots, (void)there, (void)lane

// `f` of the values of a group's threads, in all of them, in a fixed order.
#define GROUP_FOLD(name, expression)                                                   \
    __device__ __forceinline__ T name(T x, T* slots) {                                 \
        _Pragma("unroll") for (int lanes = 16; lanes > 0; lanes /= 2) {                \
            T a = x, b = __shfl_xor_sync(0xffffffffu, x, lanes);                       \
            x = (expression);                                                          \
        }                                                                              \
        if (GROUP == 32) return x;                                                     \
        if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = x;                        \
        __syncthreads();                                                               \
        T a = slots[0];                                                                \
        for (u32 i = 1; i < THREADS / 32; i++) {                                       \
            T b = slots[i];                                                            \
            a = (expression);                                                          \
        }                                                                              \
        __syncthreads();                                                               \
        return a;                                                                      \
    }
GROUP_FOLD(group_sum, a + b)
// NaN wins.
GROUP_FOLD(group_max, b > a || b != b ? b : a)

// Less than every number.
#define LOWEST T(__longlong_as_double(0xFFF0000000000000))

__device__ __forceinline__ T row_maximum(const T* x, u32 length, u32 lane, T* slots) {
    T most = LOWEST;
    for (u32 i = lane; i < length; i += GROUP) most = x[i] > most || x[i] != x[i] ? x[i] : most;
    return group_max(most, slots);
}

// The sum of `e^(x - most)`.
__device__ __forceinline__ T row_exponentials(const T* x, T most, u32 length, u32 lane, T* slots) {
    T sum = T(0);
    for (u32 i = lane; i < length; i += GROUP) sum += exp(x[i] - most);
    return group_sum(sum, slots);
}

// Softmax, or its logarithm.
KERNEL(softmax, const T* x, T* y, u64 rows, u32 length, u32 log_wanted) {
    ROW(rows);
    x += row * length;
    y += row * length;
    T most = row_maximum(x, length, lane, slots), sum = row_exponentials(x, most, length, lane, slots);
    T rest = log(sum);
    if (!there) return;
    // Subtracting first the maximum, then the logarithm keeps the digits of a row of large logits.
    for (u32 i = lane; i < length; i += GROUP) y[i] = log_wanted ? x[i] - most - rest : exp(x[i] - most) / sum;
}

// Its derivative from the output.
KERNEL(softmax_grad, const T* y, const T* dy, T* dx, u64 rows, u32 length, u32 log_given) {
    ROW(rows);
    y += row * length;
    dy += row * length;
    dx += row * length;
    T sum = T(0);
    for (u32 i = lane; i < length; i += GROUP) sum += log_given ? dy[i] : y[i] * dy[i];
    sum = group_sum(sum, slots);
    if (!there) return;
    for (u32 i = lane; i < length; i += GROUP) dx[i] = log_given ? dy[i] - exp(y[i]) * sum : y[i] * (dy[i] - sum);
}

// Loss and log-sum-exp of each row. Targets are probabilities, or where these are null classes: `hit` for the class and `share`
// for each. A class out of range makes NaN.
KERNEL(cross_entropy, const T* x, const T* p, const i64* index, T* loss, T* lse, u64 rows, u32 length, f64 hit, f64 share) {
    ROW(rows);
    x += row * length;
    T most = row_maximum(x, length, lane, slots);
    T all = most + log(row_exponentials(x, most, length, lane, slots));
    T sum = T(0);
    if (p || share > 0)
        for (u32 i = lane; i < length; i += GROUP) sum += (p ? p[row * length + i] : T(1)) * (all - x[i]);
    sum = group_sum(sum, slots);
    if (!there || lane > 0) return;
    lse[row] = all;
    if (!p) {
        u64 chosen = u64(index[row]);
        sum = share > 0 ? sum * T(share) : T(0);
        sum += chosen < length ? T(hit) * (all - x[chosen]) : T(0) / T(0);
    }
    loss[row] = sum;
}

// `dloss * (softmax * sum(target) - target)`.
KERNEL(cross_entropy_grad, const T* x, const T* p, const i64* index, const T* lse, const T* dloss, T* dx, u64 rows, u32 length,
       f64 hit, f64 share) {
    ROW(rows);
    x += row * length;
    T total = T(0);
    if (p)
        for (u32 i = lane; i < length; i += GROUP) total += p[row * length + i];
    total = p ? group_sum(total, slots) : T(1);
    if (!there) return;
    u64 chosen = p ? 0 : u64(index[row]);
    T g = chosen < length ? dloss[row] : T(0) / T(0);
    for (u32 i = lane; i < length; i += GROUP) {
        T target = p ? p[row * length + i] : T(share) + (i == chosen ? T(hit) : T(0));
        dx[row * length + i] = g * (exp(x[i] - lse[row]) * total - target);
    }
}

// `(x - mean) * invstd * weight + bias`, and mean and invstd of the row. Weight and bias may be null.
KERNEL(layer_norm, const T* x, const T* weight, const T* bias, T* y, T* stats, u64 rows, u32 length, f64 eps) {
    ROW(rows);
    x += row * length;
    T sum = T(0), squares = T(0);
    for (u32 i = lane; i < length; i += GROUP) sum += x[i];
    T mean = group_sum(sum, slots) / T(length);
    for (u32 i = lane; i < length; i += GROUP) squares += (x[i] - mean) * (x[i] - mean);
    T invstd = T(1) / sqrt(group_sum(squares, slots) / T(length) + T(eps));
    if (!there) return;
    if (lane == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = invstd;
    }
    for (u32 i = lane; i < length; i += GROUP)
        y[row * length + i] = (x[i] - mean) * invstd * (weight ? weight[i] : T(1)) + (bias ? bias[i] : T(0));
}

// The gradient of the input: with `h = (x - mean) * invstd` and `g = dy * weight`, `invstd * (g - mean(g) - h * mean(g * h))`.
KERNEL(layer_norm_grad, const T* x, const T* dy, const T* stats, const T* weight, T* dx, u64 rows, u32 length) {
    ROW(rows);
    x += row * length;
    dy += row * length;
    T mean = stats[2 * row], invstd = stats[2 * row + 1], sum = T(0), product = T(0);
    for (u32 i = lane; i < length; i += GROUP) {
        T g = dy[i] * (weight ? weight[i] : T(1));
        sum += g;
        product += g * (x[i] - mean);
    }
    sum = group_sum(sum, slots) / T(length);
    product = group_sum(product, slots) * invstd / T(length);
    if (!there) return;
    for (u32 i = lane; i < length; i += GROUP) {
        T g = dy[i] * (weight ? weight[i] : T(1));
        dx[row * length + i] = invstd * (g - sum - (x[i] - mean) * invstd * product);
    }
}
