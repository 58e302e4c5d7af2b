// Convolutions of channels-last images as products of matrices whose left operand is never written to memory: its elements are
// looked up in the image while a tile is loaded. T is f32 or f64. Tiles as in matmul.cu: a block makes TILE x TILE elements of
// the result, a thread MICRO x MICRO of them, 16 apart.

#define MICRO (TILE / 16)
// Depth of a tile.
#define DEPTH 16
// Elements of each tile that a thread loads.
#define LOADS (TILE * DEPTH / THREADS)

// As `Gather` in conv.rs: which pixel of the source a tap of the kernel sees from a pixel of the result. Along each axis it is
// `t / div` of `t = mul * pixel + off + step * tap`, if `t` is a multiple of `div` and the source is that large.
struct Gather {
    i32 size[2], mul[2], off[2], step[2];
    Divisor div[2];
    // Sizes of the result, columns of the kernel, channels of a group of the source.
    Divisor height, width, columns, inner;
    // Pixels of the result; taps times inner; channels of a group of the result; of all groups of source and result.
    u32 pixels, depth, outer, source_channels, channels;
};

// A pixel of the result as the source sees it: the first pixel of its image, and `mul * pixel + off` along each axis.
struct Place {
    u32 image;
    i32 at[2];
};

__device__ __forceinline__ Place place_of(const Gather& g, u32 pixel) {
    u32 row = divide(pixel, g.width), n = divide(row, g.height);
    i32 i = i32(row - n * g.height.value), j = i32(pixel - row * g.width.value);
    // Behind the last pixel no tap sees anything.
    i32 far = pixel < g.pixels ? 0 : -(1 << 30);
    return {n * u32(g.size[0]) * u32(g.size[1]), {i * g.mul[0] + g.off[0] + far, j * g.mul[1] + g.off[1] + far}};
}

// A tap and a channel of its group.
struct Tap {
    i32 step[2];
    u32 channel;
};

__device__ __forceinline__ Tap tap_of(const Gather& g, u32 k) {
    u32 tap = divide(k, g.inner), row = divide(tap, g.columns);
    i32 far = k < g.depth ? 0 : -(1 << 30);
    return {{i32(row) * g.step[0] + far, i32(tap - row * g.columns.value) * g.step[1]}, k - tap * g.inner.value};
}

// What the tap sees, 0 outside; `x` begins at the first channel of the group.
__device__ __forceinline__ T look(const Gather& g, const T* x, const Place& p, const Tap& tap) {
    i32 y = p.at[0] + tap.step[0], z = p.at[1] + tap.step[1];
    if (y < 0 || z < 0) return T(0);
    u32 i = divide(u32(y), g.div[0]), j = divide(u32(z), g.div[1]);
    bool inside = i * g.div[0].value == u32(y) && j * g.div[1].value == u32(z) && i < u32(g.size[0]) && j < u32(g.size[1]);
    return inside ? x[u64(p.image + i * u32(g.size[1]) + j) * g.source_channels + tap.channel] : T(0);
}

__device__ __forceinline__ void clear(T (&sum)[MICRO][MICRO]) {
#pragma unroll
    for (int i = 0; i < MICRO; i++)
#pragma unroll
        for (int j = 0; j < MICRO; j++) sum[i][j] = T(0);
}

__device__ __forceinline__ void multiply(T (&sum)[MICRO][MICRO], const T (*a)[TILE + 1], const T (*b)[TILE + 1]) {
    u32 row = threadIdx.x / 16, column = threadIdx.x % 16;
#pragma unroll
    for (int d = 0; d < DEPTH; d++) {
        T p[MICRO], q[MICRO];
#pragma unroll
        for (int i = 0; i < MICRO; i++) {
            p[i] = a[d][row + 16 * i];
            q[i] = b[d][column + 16 * i];
        }
#pragma unroll
        for (int i = 0; i < MICRO; i++)
#pragma unroll
            for (int j = 0; j < MICRO; j++) sum[i][j] += p[i] * q[j];
    }
}

// `y[pixel, channel] = sum over k of look(pixel, k) w[k, channel] (+ bias)` for each group; `w` is [group][k][channel].
KERNEL(convolve, const T* x, const T* w, const T* bias, T* y, Gather g) {
    __shared__ T a_tile[DEPTH][TILE + 1];
    __shared__ T b_tile[DEPTH][TILE + 1];
    __shared__ Place places[TILE];
    u32 top = blockIdx.x * TILE, left = blockIdx.y * TILE, group = blockIdx.z;
    x += u64(group) * g.inner.value;
    w += u64(group) * g.depth * g.outer;
    if (threadIdx.x < TILE) places[threadIdx.x] = place_of(g, top + threadIdx.x);
    __syncthreads();
    T sum[MICRO][MICRO];
    clear(sum);
    for (u32 depth = 0; depth < g.depth; depth += DEPTH) {
        Tap tap = tap_of(g, depth + threadIdx.x % DEPTH);
#pragma unroll
        for (u32 j = 0; j < LOADS; j++) {
            u32 i = threadIdx.x / DEPTH + j * (THREADS / DEPTH);
            a_tile[threadIdx.x % DEPTH][i] = look(g, x, places[i], tap);
            u32 k = threadIdx.x / TILE + j * (THREADS / TILE), channel = left + threadIdx.x % TILE;
            bool inside = depth + k < g.depth && channel < g.outer;
            b_tile[k][threadIdx.x % TILE] = inside ? w[u64(depth + k) * g.outer + channel] : T(0);
        }
        __syncthreads();
        multiply(sum, a_tile, b_tile);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < MICRO; i++) {
#pragma unroll
        for (int j = 0; j < MICRO; j++) {
            u32 pixel = top + threadIdx.x / 16 + 16 * i, channel = left + threadIdx.x % 16 + 16 * j;
            if (pixel < g.pixels && channel < g.outer) {
                u32 to = group * g.outer + channel;
                y[u64(pixel) * g.channels + to] = bias ? sum[i][j] + bias[to] : sum[i][j];
            }
        }
    }
}

// `out[piece][group][k][channel] = sum over the pixels of a piece of look(pixel, k) dy[pixel, channel]`.
KERNEL(weight_gradient, const T* x, const T* dy, T* out, Gather g, u32 groups, u32 piece) {
    __shared__ T a_tile[DEPTH][TILE + 1];
    __shared__ T b_tile[DEPTH][TILE + 1];
    u32 top = blockIdx.x * TILE, left = blockIdx.y * TILE, group = blockIdx.z % groups;
    u32 first = blockIdx.z / groups * piece;
    u32 end = min(u64(first) + piece, u64(g.pixels));
    x += u64(group) * g.inner.value;
    Tap tap = tap_of(g, top + threadIdx.x % TILE);
    u32 channel = left + threadIdx.x % TILE;
    T sum[MICRO][MICRO];
    clear(sum);
    for (u32 depth = first; depth < end; depth += DEPTH) {
#pragma unroll
        for (u32 j = 0; j < LOADS; j++) {
            u32 k = threadIdx.x / TILE + j * (THREADS / TILE), pixel = depth + k;
            bool inside = pixel < end;
            a_tile[k][threadIdx.x % TILE] = inside ? look(g, x, place_of(g, pixel), tap) : T(0);
            inside = inside && channel < g.outer;
            b_tile[k][threadIdx.x % TILE] = inside ? dy[u64(pixel) * g.channels + group * g.outer + channel] : T(0);
        }
        __syncthreads();
        multiply(sum, a_tile, b_tile);
        __syncthreads();
    }
    out += u64(blockIdx.z) * g.depth * g.outer;
#pragma unroll
    for (int i = 0; i < MICRO; i++) {
#pragma unroll
        for (int j = 0; j < MICRO; j++) {
            u32 k = top + threadIdx.x / 16 + 16 * i, to = left + threadIdx.x % 16 + 16 * j;
            if (k < g.depth && to < g.outer) out[u64(k) * g.outer + to] = sum[i][j];
        }
    }
}

// The sum of `count` pieces of `n` elements, in their order.
KERNEL(sum_pieces, const T* pieces, T* y, u64 n, u32 count) {
    u64 i = global_thread();
    if (i >= n) return;
    T sum = pieces[i];
    for (u32 p = 1; p < count; p++) sum += pieces[p * n + i];
    y[i] = sum;
}
