// One axis times a banded matrix. T is f32 or f64; memory is [outer, axis, inner].

// As in resample.rs: the first input of an output, where its weights begin, and how many there are.
struct Band {
    u32 start, first, count;
};

KERNEL(resample, const T* x, const Band* bands, const f64* weights, T* y, u64 inputs, u64 outputs, u64 inner, u64 n) {
    u64 at = global_thread();
    if (at >= n) return;
    u64 line = at / inner, outer = line / outputs;
    Band band = bands[line - outer * outputs];
    x += (outer * inputs + band.start) * inner + (at - line * inner);
    T sum = T(0);
    for (u32 k = 0; k < band.count; k++) sum += T(weights[band.first + k]) * x[k * inner];
    y[at] = sum;
}
