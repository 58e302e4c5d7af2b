// Elements of type T converted to type U.

KERNEL(cast, const T* x, U* y, u64 n) {
    u64 start = u64(blockIdx.x) * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u64 i = start + j * THREADS;
        if (i < n) y[i] = Convert<U>::from(f64(wide(x[i])));
    }
}
