// Convolutions with one channel of the source a group, of channels-last images. T is f32 or f64; weights lie as [tap][channel].
// The threads of a warp follow the channels.

// As in conv.rs: pixels of the source are `(mul * pixel + off + step * tap) / div`, where that is exact.
struct Depthwise {
    i32 size[2], mul[2], off[2], step[2];
    Divisor div[2];
    // Of the result; for kernels below that make RUN neighboring pixels, `width` is the number of such runs in a row.
    Divisor height, width, channels;
    u32 columns, rows, taps_down, taps_across;
    // Channels of the source, how many of the result share one of them, and how many of the source make one of the result.
    u32 source_channels, shared_by, made_of;
};

// RUN neighboring pixels of a row at stride 1 and dilation 1: each element of the source is loaded once for RUN taps.
KERNEL(depthwise_run, const T* x, const T* w, const T* bias, T* y, Depthwise g, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    u32 pixel = u32(index / g.channels.value), c = u32(index - u64(pixel) * g.channels.value);
    u32 row = divide(pixel, g.width), left = (pixel - row * g.width.value) * RUN;
    u32 image = divide(row, g.height), top = row - image * g.height.value;
    x += c / g.shared_by;
    T sum[RUN];
#pragma unroll
    for (int r = 0; r < RUN; r++) sum[r] = T(0);
    for (u32 a = 0; a < g.taps_down; a++) {
        i32 i = i32(top) + g.off[0] + i32(a);
        if (i < 0 || i >= g.size[0]) continue;
        const T* from = x + (u64(image) * u32(g.size[0]) + u32(i)) * u32(g.size[1]) * g.source_channels;
        for (u32 b = 0; b < g.taps_across; b += RUN) {
            T seen[2 * RUN - 1], weight[RUN];
#pragma unroll
            for (int k = 0; k < 2 * RUN - 1; k++) {
                i32 j = i32(left) + g.off[1] + i32(b) + k;
                seen[k] = j >= 0 && j < g.size[1] ? from[u64(j) * g.source_channels] : T(0);
            }
#pragma unroll
            for (int k = 0; k < RUN; k++)
                weight[k] = b + k < g.taps_across ? w[u64(a * g.taps_across + b + k) * g.channels.value + c] : T(0);
#pragma unroll
            for (int k = 0; k < RUN; k++)
#pragma unroll
                for (int r = 0; r < RUN; r++) sum[r] += seen[r + k] * weight[k];
        }
    }
    T shift = bias ? bias[c] : T(0);
#pragma unroll
    for (int r = 0; r < RUN; r++)
        if (left + r < g.columns) y[(u64(row) * g.columns + left + r) * g.channels.value + c] = sum[r] + shift;
}

// One pixel and channel a thread, for any geometry.
KERNEL(depthwise_any, const T* x, const T* w, const T* bias, T* y, Depthwise g, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    u32 pixel = u32(index / g.channels.value), c = u32(index - u64(pixel) * g.channels.value);
    u32 row = divide(pixel, g.width), left = pixel - row * g.width.value;
    u32 image = divide(row, g.height), top = row - image * g.height.value;
    T sum = T(0);
    for (u32 a = 0; a < g.taps_down; a++) {
        i32 t = i32(top) * g.mul[0] + g.off[0] + i32(a) * g.step[0];
        u32 i = divide(u32(t), g.div[0]);
        if (t < 0 || i * g.div[0].value != u32(t) || i >= u32(g.size[0])) continue;
        for (u32 b = 0; b < g.taps_across; b++) {
            i32 s = i32(left) * g.mul[1] + g.off[1] + i32(b) * g.step[1];
            u32 j = divide(u32(s), g.div[1]);
            if (s < 0 || j * g.div[1].value != u32(s) || j >= u32(g.size[1])) continue;
            const T* from = x + ((u64(image) * u32(g.size[0]) + i) * u32(g.size[1]) + j) * g.source_channels;
            const T* weight = w + u64(a * g.taps_across + b) * g.channels.value * g.made_of;
            for (u32 k = 0; k < g.made_of; k++) sum += from[c * g.made_of / g.shared_by + k] * weight[c * g.made_of + k];
        }
    }
    y[u64(pixel) * g.channels.value + c] = bias ? sum + bias[c] : sum;
}

// `out[piece][tap][channel]`: the sum over the rows of a piece of what a tap sees times `dy`. A block has 32 channels and
// RUN neighboring taps of a row of the kernel; 8 threads share the rows of the piece. PLAIN: stride and dilation 1.
KERNEL(depthwise_weight_gradient, const T* x, const T* dy, T* out, Depthwise g, u32 piece) {
    __shared__ T slots[THREADS / 32][RUN][32];
    u32 lane = threadIdx.x % 32, share = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
    u32 chunks = (g.taps_across + RUN - 1) / RUN;
    u32 a = blockIdx.y / chunks, b = blockIdx.y % chunks * RUN;
    T sum[RUN];
#pragma unroll
    for (int k = 0; k < RUN; k++) sum[k] = T(0);
    u32 end = min(u64(blockIdx.z + 1) * piece, u64(g.rows));
    for (u32 row = blockIdx.z * piece + share; row < end && c < g.channels.value; row += THREADS / 32) {
        u32 image = divide(row, g.height), top = row - image * g.height.value;
        i32 i = i32(top) * g.mul[0] + g.off[0] + i32(a) * g.step[0];
        if (i < 0 || i >= g.size[0]) continue;
        const T* from = x + (u64(image) * u32(g.size[0]) + u32(i)) * u32(g.size[1]) * g.source_channels + c / g.shared_by;
        const T* grads = dy + u64(row) * g.columns * g.channels.value + c;
#if PLAIN
        for (u32 left = 0; left < g.columns; left += RUN) {
            T seen[2 * RUN - 1], grad[RUN];
#pragma unroll
            for (int k = 0; k < 2 * RUN - 1; k++) {
                i32 j = i32(left) + g.off[1] + i32(b) + k;
                seen[k] = j >= 0 && j < g.size[1] ? from[u64(j) * g.source_channels] : T(0);
            }
#pragma unroll
            for (int r = 0; r < RUN; r++)
                grad[r] = left + r < g.columns ? grads[u64(left + r) * g.channels.value] : T(0);
#pragma unroll
            for (int k = 0; k < RUN; k++)
#pragma unroll
                for (int r = 0; r < RUN; r++) sum[k] += seen[r + k] * grad[r];
        }
#else
        for (u32 left = 0; left < g.columns; left++) {
            T grad = grads[u64(left) * g.channels.value];
#pragma unroll
            for (int k = 0; k < RUN; k++) {
                i32 j = i32(left) * g.mul[1] + g.off[1] + (i32(b) + k) * g.step[1];
                if (j >= 0 && j < g.size[1]) sum[k] += from[u64(j) * g.source_channels] * grad;
            }
        }
#endif
    }
#pragma unroll
    for (int k = 0; k < RUN; k++) slots[share][k][lane] = sum[k];
    __syncthreads();
    // Threads add up the shares of a tap each, where there are so many.
    for (u32 k = share; k < RUN; k += THREADS / 32) {
        if (b + k >= g.taps_across || c >= g.channels.value) continue;
        T total = slots[0][k][lane];
        for (u32 s = 1; s < THREADS / 32; s++) total += slots[s][k][lane];
        u32 tap = a * g.taps_across + b + k;
        out[(u64(blockIdx.z) * g.taps_down * g.taps_across + tap) * g.channels.value + c] = total;
    }
}
