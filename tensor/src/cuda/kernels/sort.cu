// The indices that sort rows of elements of type T: a bitonic network over indices, padded to a power of two. Equal elements are
// ordered by their index, so the order is total and the sort stable.

// Whether element `a` of a row of `length` comes before element `b`; what lies behind the row comes last.
__device__ __forceinline__ bool precedes(const T* x, u32 length, u32 descending, u32 a, u32 b) {
    bool before = a < b;
    if (a < length && b < length) {
        auto p = wide(x[a]), q = wide(x[b]);
        // NaN is larger than any number.
        bool less = p < q || (q != q && p == p), more = q < p || (p != p && q == q);
        before = less == more ? before : descending ? more : less;
    }
    return before;
}

// Pair `t` of a step in which elements `j` apart are compared: the place of its first.
__device__ __forceinline__ u32 first_of(u32 t, u32 j) { return 2 * t - (t & (j - 1)); }

// The steps `j, j / 2, .. 1` of stage `k` inside a tile in shared memory that begins at place `base` of the row.
__device__ __forceinline__ void merge(const T* x, u32* slots, u32 base, u32 tile, u32 length, u32 descending, u32 k, u32 j) {
    // Unrolled, it would have more registers than it needs.
    for (; j > 0; j /= 2) {
#pragma unroll 1
        for (u32 t = threadIdx.x; t < tile / 2; t += THREADS) {
            u32 at = first_of(t, j), a = slots[at], b = slots[at + j];
            bool up = ((base + at) & k) == 0;
            bool swap = precedes(x, length, descending, a, b) != up;
            slots[at] = swap ? b : a;
            slots[at + j] = swap ? a : b;
        }
        __syncthreads();
    }
}

#define MOST_TILE 1024

// Sorts tiles of `tile` places, up and down in turn (`whole`), or merges the tiles of stage `k`.
KERNEL(sort_tiles, const T* x, u32* indices, u32 length, u32 padded, u32 tile, u32 descending, u32 k, u32 whole) {
    __shared__ u32 slots[MOST_TILE];
    u32 tiles = padded / tile;
    u64 row = blockIdx.x / tiles;
    u32 base = blockIdx.x % tiles * tile;
    x += row * length;
    indices += row * padded + base;
    for (u32 t = threadIdx.x; t < tile; t += THREADS) slots[t] = whole ? base + t : indices[t];
    __syncthreads();
    for (u32 stage = whole ? 2 : k;; stage *= 2) {
        merge(x, slots, base, tile, length, descending, stage, min(stage, tile) / 2);
        if (!whole || stage == tile) break;
    }
    for (u32 t = threadIdx.x; t < tile; t += THREADS) indices[t] = slots[t];
}

// Step `j` of stage `k`, `n` pairs in all rows.
KERNEL(sort_step, const T* x, u32* indices, u32 length, u32 padded, u32 descending, u32 k, u32 j, u64 n) {
    u64 pair = global_thread();
    if (pair >= n) return;
    u64 row = pair / (padded / 2);
    u32 at = first_of(u32(pair - row * (padded / 2)), j);
    u32* places = indices + row * padded + at;
    u32 a = places[0], b = places[j];
    bool up = (at & k) == 0;
    if (precedes(x + row * length, length, descending, a, b) != up) {
        places[0] = b;
        places[j] = a;
    }
}

// The first `length` of every `padded` indices.
KERNEL(sort_finish, const u32* indices, i64* y, u32 length, u32 padded, u64 n) {
    u64 i = global_thread();
    if (i >= n) return;
    u64 row = i / length;
    y[i] = indices[row * padded + (i - row * length)];
}
