// Images padded, unfolded into patches and folded back. T is the element type; where nothing is added any type of its size.
// A thread has one element of the result.

// As in image.rs: sizes of the result (channels-last: channels innermost), and of the source.
struct Frame {
    Divisor channels, height, width;
    i32 source[2], corner[2];
};

struct Pixel {
    u32 c, i, j, n;
};

__device__ __forceinline__ Pixel pixel_of(const Frame& f, u64 index) {
    u32 pixel = u32(index / f.channels.value), row = divide(pixel, f.width), n = divide(row, f.height);
    return {u32(index - u64(pixel) * f.channels.value), row - n * f.height.value, pixel - row * f.width.value, n};
}

__device__ __forceinline__ u64 source_of(const Frame& f, const Pixel& p, i32 i, i32 j) {
    return ((u64(p.n) * u32(f.source[0]) + u32(i)) * u32(f.source[1]) + u32(j)) * f.channels.value + p.c;
}

// Pixel `(i, j)` is `(i, j) - corner` of the source, `value` (its bits) outside.
KERNEL(pad, const T* x, T* y, Frame f, u64 value, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel p = pixel_of(f, index);
    i32 i = i32(p.i) - f.corner[0], j = i32(p.j) - f.corner[1];
    bool inside = i >= 0 && i < f.source[0] && j >= 0 && j < f.source[1];
    y[index] = inside ? x[source_of(f, p, i, j)] : T(value);
}

__device__ __forceinline__ i32 mirror(i32 at, i32 len) {
    at = at < 0 ? -at : at;
    return at < len ? at : 2 * (len - 1) - at;
}

KERNEL(reflect, const T* x, T* y, Frame f, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel p = pixel_of(f, index);
    i32 i = mirror(i32(p.i) - f.corner[0], f.source[0]), j = mirror(i32(p.j) - f.corner[1], f.source[1]);
    y[index] = x[source_of(f, p, i, j)];
}

#if ADDS
// Where along an axis of a padded image pixel `at` of `len` shows: itself, its mirror image before, that behind; -1 for none.
__device__ __forceinline__ i32 image_of(i32 at, int which, i32 len, i32 before, i32 padded) {
    if (which == 0) return before + at;
    i32 to = which == 1 ? before - at : before + 2 * (len - 1) - at;
    bool shows = which == 1 ? at > 0 && to >= 0 : at + 1 < len && to < padded;
    return shows ? to : -1;
}

// The sum of a pixel's mirror images; `source` is the padded size.
KERNEL(reflect_grad, const T* dy, T* dx, Frame f, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    Pixel p = pixel_of(f, index);
    T sum = T(0);
    for (int a = 0; a < 3; a++) {
        i32 i = image_of(i32(p.i), a, i32(f.height.value), f.corner[0], f.source[0]);
        if (i < 0) continue;
        for (int b = 0; b < 3; b++) {
            i32 j = image_of(i32(p.j), b, i32(f.width.value), f.corner[1], f.source[1]);
            if (j >= 0) sum += dy[source_of(f, p, i, j)];
        }
    }
    dx[index] = sum;
}
#endif

// As in image.rs: patches of contiguous images.
struct Patches {
    i32 size[2], stride[2], padding[2], dilation[2];
    u32 kernel[2], places[2];
};

// `[plane, tap, place]`: what each tap sees at each place, 0 outside.
KERNEL(unfold, const T* x, T* y, Patches w, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    u32 column = u32(index % w.places[1]);
    u64 rest = index / w.places[1];
    u32 row = u32(rest % w.places[0]);
    rest /= w.places[0];
    u32 b = u32(rest % w.kernel[1]);
    rest /= w.kernel[1];
    u32 a = u32(rest % w.kernel[0]);
    u64 plane = rest / w.kernel[0];
    i32 i = i32(row) * w.stride[0] - w.padding[0] + i32(a) * w.dilation[0];
    i32 j = i32(column) * w.stride[1] - w.padding[1] + i32(b) * w.dilation[1];
    bool inside = i >= 0 && i < w.size[0] && j >= 0 && j < w.size[1];
    y[index] = inside ? x[(plane * u32(w.size[0]) + u32(i)) * u32(w.size[1]) + u32(j)] : T(0);
}

#if ADDS
// For each pixel the sum of what saw it, tap by tap.
KERNEL(fold, const T* x, T* y, Patches w, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    i32 j = i32(index % u32(w.size[1]));
    u64 rest = index / u32(w.size[1]);
    i32 i = i32(rest % u32(w.size[0]));
    u64 plane = rest / u32(w.size[0]);
    T sum = T(0);
    for (u32 a = 0; a < w.kernel[0]; a++) {
        i32 t = i + w.padding[0] - i32(a) * w.dilation[0];
        if (t < 0 || t % w.stride[0] || u32(t / w.stride[0]) >= w.places[0]) continue;
        for (u32 b = 0; b < w.kernel[1]; b++) {
            i32 s = j + w.padding[1] - i32(b) * w.dilation[1];
            if (s < 0 || s % w.stride[1] || u32(s / w.stride[1]) >= w.places[1]) continue;
            u64 row = ((plane * w.kernel[0] + a) * w.kernel[1] + b) * w.places[0] + u32(t / w.stride[0]);
            sum += x[row * w.places[1] + u32(s / w.stride[1])];
        }
    }
    y[index] = sum;
}
#endif
