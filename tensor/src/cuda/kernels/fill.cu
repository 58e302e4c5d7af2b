// Elements made from nothing. SIZE is the number of bytes of an element.

#if SIZE == 1
typedef u8 Word;
#elif SIZE == 2
typedef u16 Word;
#elif SIZE == 4
typedef u32 Word;
#else
typedef u64 Word;
#endif

KERNEL(fill, Word* y, u64 pattern, u64 n) {
    u64 start = u64(blockIdx.x) * (4 * THREADS) + threadIdx.x;
#pragma unroll
    for (int j = 0; j < 4; j++) {
        u64 i = start + j * THREADS;
        if (i < n) y[i] = Word(pattern);
    }
}

#if SIZE == 8
// 0, 1, 2, ..
KERNEL(count, i64* y, u64 n) {
    u64 i = global_thread();
    if (i < n) y[i] = i64(i);
}
#endif
