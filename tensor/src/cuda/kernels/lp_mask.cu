// Lp-masks, and their products with kernels. T is f32 or f64; masks are computed in f64 as on the CPU.

// As in lp_mask.rs: taps of the kernel, and the point their offsets count from.
struct Window {
    f64 center[2];
    u32 height, width;
};

__device__ __forceinline__ f64 power(f64 a, f64 p) { return a == 0 ? 0 : exp(p * log(a)); }

// `(z_0, z_1)` of a tap, and the offset that gave it.
__device__ __forceinline__ void project(const T* c, const Window& w, u32 tap, f64 (&z)[2], f64 (&d)[2]) {
    d[0] = f64(tap / w.width) - w.center[0];
    d[1] = f64(tap % w.width) - w.center[1];
    z[0] = f64(c[0]) * d[0] + f64(c[1]) * d[1];
    z[1] = f64(c[2]) * d[0] + f64(c[3]) * d[1];
}

// Smaller values than `smallest`, the least normal number of the type, are 0.
KERNEL(lp_mask, const T* c, const T* log2p, T* mask, Window w, f64 smallest, u32 n) {
    u32 i = u32(global_thread());
    if (i >= n) return;
    u32 taps = w.height * w.width, o = i / taps;
    f64 z[2], d[2], p = exp2(f64(log2p[o]));
    project(c + 4 * o, w, i - o * taps, z, d);
    f64 v = exp(-power(fabs(z[0]), p) - power(fabs(z[1]), p));
    mask[i] = v < smallest ? T(0) : T(v);
}

// One block for each channel; gradients are kept numbers of the type.
KERNEL(lp_mask_grad, const T* dmask, const T* mask, const T* c, const T* log2p, T* dc, T* dp, Window w, f64 largest) {
    __shared__ f64 slots[THREADS / 32];
    u32 taps = w.height * w.width, o = blockIdx.x;
    f64 p = exp2(f64(log2p[o])), sum[5] = {0, 0, 0, 0, 0};
    for (u32 tap = threadIdx.x; tap < taps; tap += THREADS) {
        u32 at = o * taps + tap;
        f64 weight = f64(dmask[at]) * f64(mask[at]);
        // Where the mask is 0 a power may be infinite: the product's limit is 0.
        if (mask[at] == T(0) || weight == 0) continue;
        f64 z[2], d[2];
        project(c + 4 * o, w, tap, z, d);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            f64 a = fabs(z[r]);
            if (a == 0) continue;
            f64 l = log(a), slope = weight * p * exp((p - 1) * l) * (z[r] < 0 ? -1 : 1);
            sum[2 * r] -= slope * d[0];
            sum[2 * r + 1] -= slope * d[1];
            sum[4] -= weight * exp(p * l) * l;
        }
    }
#pragma unroll
    for (int k = 0; k < 5; k++) {
        f64 total = block_sum(sum[k], slots);
        if (k == 4) total *= p * 0.693147180559945309417;
        total = total < -largest ? -largest : total > largest ? largest : total;
        if (threadIdx.x == 0) (k < 4 ? dc[4 * o + k] : dp[o]) = T(total);
    }
}

// `weight * mask` without a border of `crop` taps; `n` elements, of which `inputs` kernels share a mask.
KERNEL(masked_weight, const T* weight, const T* mask, T* y, u32 height, u32 width, u32 down, u32 across, u32 inputs, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    u32 rows = height - 2 * down, columns = width - 2 * across, taps = rows * columns;
    u64 kernel = index / taps;
    u32 tap = u32(index - kernel * taps), at = (tap / columns + down) * width + tap % columns + across;
    y[index] = weight[kernel * height * width + at] * mask[kernel / inputs * height * width + at];
}

// Of one output channel and up to THREADS taps of the uncropped kernel: `dweight = dy * mask`, 0 in the border, and if it is
// not null `dmask`, the sum over the input channels of `dy * weight`. Threads have the same tap of every so-manieth kernel.
KERNEL(masked_weight_grad, const T* dy, const T* weight, const T* mask, T* dweight, T* dmask, u32 height, u32 width, u32 down,
       u32 across, u32 inputs) {
    __shared__ f64 slots[THREADS];
    u32 full = height * width, columns = width - 2 * across, taps = (height - 2 * down) * columns;
    u32 together = full < THREADS ? full : THREADS, shares = THREADS / together;
    u32 share = threadIdx.x / together, tap = blockIdx.y * THREADS + threadIdx.x % together;
    bool there = share < shares && tap < full;
    u32 row = tap / width - down, column = tap % width - across;
    // Of the border they wrap around to large numbers.
    bool inside = there && row < height - 2 * down && column < columns;
    u64 o = blockIdx.x;
    f64 sum = 0;
    T by = there ? mask[o * full + tap] : T(0);
    for (u32 i = share; i < inputs && there; i += shares) {
        u64 kernel = o * inputs + i;
        T g = inside ? dy[kernel * taps + row * columns + column] : T(0);
        dweight[kernel * full + tap] = inside ? g * by : T(0);
        if (inside && dmask) sum += f64(g) * f64(weight[kernel * full + tap]);
    }
    if (!dmask) return;
    slots[threadIdx.x] = sum;
    __syncthreads();
    if (share > 0 || !there) return;
    for (u32 s = 1; s < shares; s++) sum += slots[s * together + threadIdx.x];
    dmask[o * full + tap] = T(sum);
}
