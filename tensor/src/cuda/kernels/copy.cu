// Elements moved and chosen. SIZE is the number of bytes of an element, RANK the number of axes of the walk.

#if SIZE == 1
typedef u8 Word;
#elif SIZE == 2
typedef u16 Word;
#elif SIZE == 4
typedef u32 Word;
#else
typedef u64 Word;
#endif

KERNEL(strided_copy, const Word* x, Word* y, Walk<1> walk) {
    u32 start = blockIdx.x * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 i = start + j * THREADS;
        if (i >= walk.n) return;
        i64 at[1];
        offsets<RANK>(walk, i, at);
        y[i] = x[at[0]];
    }
}

// `a` where the condition is not 0, else `b`.
KERNEL(choose, const u8* condition, const Word* a, const Word* b, Word* y, Walk<3> walk) {
    u32 start = blockIdx.x * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 i = start + j * THREADS;
        if (i >= walk.n) return;
        i64 at[3];
        offsets<RANK>(walk, i, at);
        y[i] = condition[at[0]] ? a[at[1]] : b[at[2]];
    }
}

#if RANK == 1
// The transpose of matrices, one in each layer of the grid: y[i, j] = x[j, i], both read and written along rows. `rows` and
// `columns` are those of `y`; rows of `x` are `x_step` elements apart, matrices `x_layer` and `y_layer`.
KERNEL(transpose, const Word* x, Word* y, u32 rows, u32 columns, u64 x_step, u64 x_layer, u64 y_layer) {
    // 33: the threads of a warp that read a column hit different banks.
    __shared__ Word tile[32][33];
    x += blockIdx.z * x_layer;
    y += blockIdx.z * y_layer;
    u32 column = threadIdx.x % 32, row = threadIdx.x / 32;
    u32 top = blockIdx.y * 32, left = blockIdx.x * 32;
#pragma unroll
    for (u32 j = 0; j < 32; j += THREADS / 32) {
        u32 from = left + row + j, to = top + column;
        if (from < columns && to < rows) tile[row + j][column] = x[from * x_step + to];
    }
    __syncthreads();
#pragma unroll
    for (u32 j = 0; j < 32; j += THREADS / 32) {
        u32 i = top + row + j, k = left + column;
        if (i < rows && k < columns) y[u64(i) * columns + k] = tile[column][row + j];
    }
}
#endif
