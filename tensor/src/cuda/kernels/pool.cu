// Pooling of channels-last images. T is f32 or f64. A thread has one element; the threads of a warp follow the channels.

// As in pool.rs: sizes of the source and of the result of the walk, and the windows.
struct Pool {
    Divisor channels, height, width;
    i32 other[2], kernel[2], stride[2], padding[2];
};

// A pixel of the walk's result: channel, column, row, image.
struct Pixel {
    u32 c, j, i, n;
};

__device__ __forceinline__ Pixel pixel_of(const Pool& p, u64 index) {
    u32 pixel = u32(index / p.channels.value), row = divide(pixel, p.width), n = divide(row, p.height);
    return {u32(index - u64(pixel) * p.channels.value), pixel - row * p.width.value, row - n * p.height.value, n};
}

// The first window along an axis that reaches `at`, and the last.
__device__ __forceinline__ i32 first_window(const Pool& p, int axis, u32 at) {
    i32 reach = i32(at) + p.padding[axis] - p.kernel[axis] + 1;
    return reach <= 0 ? 0 : (reach + p.stride[axis] - 1) / p.stride[axis];
}
__device__ __forceinline__ i32 last_window(const Pool& p, int axis, u32 at) {
    return min((i32(at) + p.padding[axis]) / p.stride[axis], p.other[axis] - 1);
}

// Maxima and the cells (`row * kernel width + column`) where they are; `other` is the size of the source.
KERNEL(max_pool, const T* x, T* y, u8* cells, Pool p, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel at = pixel_of(p, index);
    x += u64(at.n) * u32(p.other[0]) * u32(p.other[1]) * p.channels.value + at.c;
    bool some = false;
    T best = T(0);
    u32 cell = 0;
    for (i32 a = 0; a < p.kernel[0]; a++) {
        i32 i = i32(at.i) * p.stride[0] - p.padding[0] + a;
        if (i < 0 || i >= p.other[0]) continue;
        for (i32 b = 0; b < p.kernel[1]; b++) {
            i32 j = i32(at.j) * p.stride[1] - p.padding[1] + b;
            if (j < 0 || j >= p.other[1]) continue;
            T v = x[(u64(i) * u32(p.other[1]) + j) * p.channels.value];
            // A later NaN replaces an earlier one, as in PyTorch.
            if (!some || v > best || v != v) {
                best = v;
                cell = u32(a * p.kernel[1] + b);
            }
            some = true;
        }
    }
    y[index] = best;
    cells[index] = u8(cell);
}

// For each pixel of the image the gradients of the windows whose maximum it was; `other` is the number of windows.
KERNEL(max_pool_grad, const T* dy, const u8* cells, T* dx, Pool p, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel at = pixel_of(p, index);
    u64 base = u64(at.n) * u32(p.other[0]) * u32(p.other[1]) * p.channels.value + at.c;
    T sum = T(0);
    i32 bottom = last_window(p, 0, at.i), right = last_window(p, 1, at.j);
    for (i32 i = first_window(p, 0, at.i); i <= bottom; i++) {
        i32 a = i32(at.i) + p.padding[0] - i * p.stride[0];
        for (i32 j = first_window(p, 1, at.j); j <= right; j++) {
            i32 b = i32(at.j) + p.padding[1] - j * p.stride[1];
            u64 from = base + (u64(i) * u32(p.other[1]) + j) * p.channels.value;
            if (cells[from] == a * p.kernel[1] + b) sum += dy[from];
        }
    }
    dx[index] = sum;
}

// Windows along an axis: first pixel, end, and what they count for a mean. For gradients: along each axis the first window
// that holds a pixel, and the end of those.
struct Span {
    i32 start, end;
};
struct Window {
    Span inside;
    i32 count;
};

// Means; `rows` and `columns` are the windows along both axes.
KERNEL(avg_pool, const T* x, const Window* rows, const Window* columns, T* y, Pool p, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel at = pixel_of(p, index);
    Window down = rows[at.i], across = columns[at.j];
    x += u64(at.n) * u32(p.other[0]) * u32(p.other[1]) * p.channels.value + at.c;
    T sum = T(0);
    for (i32 i = down.inside.start; i < down.inside.end; i++)
        for (i32 j = across.inside.start; j < across.inside.end; j++)
            sum += x[(u64(i) * u32(p.other[1]) + j) * p.channels.value];
    y[index] = sum / T(f64(down.count) * f64(across.count));
}

// Each output's gradient is spread evenly over its window.
KERNEL(avg_pool_grad, const T* dy, const Window* rows, const Window* columns, const Span* down, const Span* across, T* dx, Pool p,
       u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel at = pixel_of(p, index);
    Span i_span = down[at.i], j_span = across[at.j];
    dy += u64(at.n) * u32(p.other[0]) * u32(p.other[1]) * p.channels.value + at.c;
    T sum = T(0);
    for (i32 i = i_span.start; i < i_span.end; i++) {
        Window row = rows[i];
        // Windows that are empty lie among those that hold the pixel.
        if (i32(at.i) < row.inside.start || i32(at.i) >= row.inside.end) continue;
        for (i32 j = j_span.start; j < j_span.end; j++) {
            Window column = columns[j];
            if (i32(at.j) < column.inside.start || i32(at.j) >= column.inside.end) continue;
            sum += dy[(u64(i) * u32(p.other[1]) + j) * p.channels.value] / T(f64(row.count) * f64(column.count));
        }
    }
    dx[index] = sum;
}
