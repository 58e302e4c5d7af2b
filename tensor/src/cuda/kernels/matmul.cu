// Products of matrices of any strides, with an own tiled kernel: what runs where cuBLASLt is absent.
//
// T is f32 or f64. A block makes TILE x TILE elements of the product, a thread MICRO x MICRO of them, 16 apart, so that the
// threads of a warp read neighboring elements of the tiles. RANK is the number of batch axes.

#define MICRO (TILE / 16)
// Depth of a tile.
#define DEPTH 16

// A matrix in memory: steps between rows and between columns.
struct Steps {
    i64 row, column;
};

// `tile[k][i] = x[(first + i) * outer + (depth + k) * inner]`, 0 outside. The threads of a warp follow the smaller step.
__device__ __forceinline__ void load_tile(T (*tile)[TILE + 1], const T* x, i64 outer, i64 inner, u32 first, u32 length,
                                          u32 depth, u32 most) {
    bool along_depth = inner < outer;
#pragma unroll
    for (u32 j = 0; j < TILE * DEPTH / THREADS; j++) {
        u32 place = threadIdx.x + j * THREADS;
        u32 k = along_depth ? place % DEPTH : place / TILE;
        u32 i = along_depth ? place / DEPTH : place % TILE;
        bool inside = first + i < length && depth + k < most;
        tile[k][i] = inside ? x[i64(first + i) * outer + i64(depth + k) * inner] : T(0);
    }
}

// `c[batch] = a[batch] b[batch] (+ bias)`, `c` contiguous [batch, m, n]; the bias, one number a column, may be null.
KERNEL(matmul, const T* a, const T* b, const T* bias, T* c, u32 m, u32 n, u32 k, Steps a_steps, Steps b_steps, Walk<2> batch) {
    __shared__ T a_tile[DEPTH][TILE + 1];
    __shared__ T b_tile[DEPTH][TILE + 1];
    u32 top = blockIdx.x * TILE, left = blockIdx.y * TILE;
    u32 row = threadIdx.x / 16, column = threadIdx.x % 16;
    for (u32 layer = blockIdx.z; layer < batch.n; layer += gridDim.z) {
        i64 at[2];
        offsets<RANK>(batch, layer, at);
        T sum[MICRO][MICRO];
#pragma unroll
        for (int i = 0; i < MICRO; i++)
#pragma unroll
            for (int j = 0; j < MICRO; j++) sum[i][j] = T(0);
        for (u32 depth = 0; depth < k; depth += DEPTH) {
            load_tile(a_tile, a + at[0], a_steps.row, a_steps.column, top, m, depth, k);
            load_tile(b_tile, b + at[1], b_steps.column, b_steps.row, left, n, depth, k);
            __syncthreads();
#pragma unroll
            for (int d = 0; d < DEPTH; d++) {
                T p[MICRO], q[MICRO];
#pragma unroll
                for (int i = 0; i < MICRO; i++) {
                    p[i] = a_tile[d][row + 16 * i];
                    q[i] = b_tile[d][column + 16 * i];
                }
#pragma unroll
                for (int i = 0; i < MICRO; i++)
#pragma unroll
                    for (int j = 0; j < MICRO; j++) sum[i][j] += p[i] * q[j];
            }
            __syncthreads();
        }
        T* out = c + u64(layer) * m * n;
#pragma unroll
        for (int i = 0; i < MICRO; i++) {
#pragma unroll
            for (int j = 0; j < MICRO; j++) {
                u32 r = top + row + 16 * i, s = left + column + 16 * j;
                if (r < m && s < n) out[u64(r) * n + s] = bias ? sum[i][j] + bias[s] : sum[i][j];
            }
        }
    }
}
