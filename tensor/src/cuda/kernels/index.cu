// Elements chosen, joined and added by index. T is the element type; where nothing is added any type of its size. A thread has
// one element of the result. Tensors lie as [outer, axis, inner].

// Quotient and rest; 64-bit divisions are slow, and seldom needed.
__device__ __forceinline__ u64 split(u64 n, u64 by, u64* rest) {
    if ((n | by) >> 32 == 0) {
        u32 q = u32(n) / u32(by);
        *rest = u32(n) - q * u32(by);
        return q;
    }
    u64 q = n / by;
    *rest = n - q * by;
    return q;
}

// Element `first + i` of a dense part goes to `part` elements of every `block`, from `at` on.
KERNEL(join, const T* x, T* y, Walk<1> walk, u64 first, u64 part, u64 block, u64 at) {
    u32 i = u32(global_thread());
    if (i >= walk.n) return;
    i64 from[1];
    offsets<MAX_RANK>(walk, i, from);
    u64 rest, outer = split(first + i, part, &rest);
    y[outer * block + at + rest] = x[from[0]];
}

KERNEL(reorder, const T* x, T* y, Walk<1> walk) {
    u32 i = u32(global_thread());
    if (i >= walk.n) return;
    i64 from[1];
    offsets<MAX_RANK>(walk, i, from);
    y[i] = x[from[0]];
}

// `y[outer, i, inner] = x[outer, index[i], inner]`.
KERNEL(index_select, const T* x, const i64* index, T* y, u64 length, u64 count, u64 inner, u64 n) {
    u64 at = global_thread(), rest, i;
    if (at >= n) return;
    u64 outer = split(split(at, inner, &rest), count, &i);
    y[at] = x[(outer * length + u64(index[i])) * inner + rest];
}

// Element `i` of the result is `index[i]` steps of `step` behind the place that the walk gives it.
KERNEL(gather, const T* x, const i64* index, T* y, Walk<1> walk, i64 step) {
    u32 i = u32(global_thread());
    if (i >= walk.n) return;
    i64 from[1];
    offsets<MAX_RANK>(walk, i, from);
    y[i] = x[from[0] + index[i] * step];
}

#if ADDS
// `y = x` with slice `order[k]` of `src` added to slice `sorted[k]`, in the order of `k`; `sorted` ascends.
KERNEL(index_add, const T* x, const T* src, const i64* sorted, const i64* order, T* y, u64 length, u64 count, u64 inner, u64 n) {
    u64 at = global_thread(), rest, i;
    if (at >= n) return;
    u64 outer = split(split(at, inner, &rest), length, &i);
    // The first `k` that is for this slice.
    u64 low = 0, high = count;
    while (low < high) {
        u64 middle = (low + high) / 2;
        if (u64(sorted[middle]) < i)
            low = middle + 1;
        else
            high = middle;
    }
    T sum = x[at];
    for (u64 k = low; k < count && u64(sorted[k]) == i; k++) sum += src[(outer * count + u64(order[k])) * inner + rest];
    y[at] = sum;
}

// A thread adds a line of `count` sources, one after the other, to the line of `y` at the place that the walk gives it. Lines
// of the contiguous `src` and `index` have `inner` elements between neighbors.
KERNEL(scatter_add, const T* src, const i64* index, T* y, Walk<1> walk, u64 count, u64 inner, i64 step) {
    u32 line = u32(global_thread());
    if (line >= walk.n) return;
    i64 to[1];
    offsets<MAX_RANK>(walk, line, to);
    u64 rest, outer = split(line, inner, &rest);
    for (u64 i = 0; i < count; i++) {
        u64 from = (outer * count + i) * inner + rest;
        y[to[0] + index[from] * step] += src[from];
    }
}
#else
#if WORD_BYTES == 8
// The least position of an index that is not in `0..length`.
KERNEL(first_outside, const i64* index, u64* found, u64 length, u64 n) {
    u64 i = global_thread();
    if (i < n && u64(index[i]) >= length) atomicMin(found, i);
}
#endif
#endif
