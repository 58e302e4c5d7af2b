// Channels-last images sampled at given places, and the transpose of that. T is f32 or f64; positions are computed in f64.
// TAPS is the number of pixels of an axis that make a value: 1 nearest, 2 straight lines, 4 cubic.

// As in sample.rs.
struct Sampling {
    // Sizes of images and of samples; derivatives with respect to y and x; 0 zeros, 1 border, 2 reflection.
    i32 size[2], samples[2], order[2], padding, align_corners;
    u32 channels, images;
};

struct Taps {
    i32 pixel[TAPS];
    f64 weight[TAPS];
};

// The weight of each tap as a polynomial of the position between two pixels, lowest power first.
__device__ __forceinline__ f64 coefficient(int tap, int power) {
#if TAPS == 1
    return power == 0 ? 1 : 0;
#elif TAPS == 2
    return power > 1 ? 0 : tap == 1 ? power : power == 0 ? 1 : -1;
#else
    const f64 A = -0.75;
    const f64 keys[4][4] = {{0, A, -2 * A, A}, {1, 0, -A - 3, A + 2}, {0, -A, 2 * A + 3, -A - 2}, {0, 0, A, -A}};
    return keys[tap][power];
#endif
}

__device__ __forceinline__ f64 weight_of(int tap, i32 order, f64 t) {
    f64 sum = 0;
#pragma unroll
    for (int power = 3; power >= 0; power--) {
        // What differentiating makes of the power; of the fourth derivative nothing is left.
        i32 factor = order == 0 ? 1 : order == 1 ? power : order == 2 ? power * (power - 1) : order == 3 && power == 3 ? 6 : 0;
        if (power >= order) sum = sum * t + coefficient(tap, power) * factor;
    }
    return sum;
}

// A position moved to the nearest pixel, and the derivative of that; 0 at the border pixels, as in PyTorch.
__device__ __forceinline__ f64 clip(f64 position, i32 length, f64* slope) {
    f64 last = f64(length) - 1;
    if (position <= 0) {
        *slope = 0;
        return 0;
    }
    if (position >= last) {
        *slope = 0;
        return last;
    }
    return position;
}

// A position mirrored into the bounds as often as it takes.
__device__ __forceinline__ f64 reflected(f64 position, f64 low, f64 high, f64* slope) {
    f64 span = high - low;
    if (span <= 0) {
        *slope = 0;
        return 0;
    }
    f64 sign = position < low ? -1 : 1, distance = fabs(position - low);
    f64 flips = floor(distance / span), rest = fma(-span, flips, distance);
    bool even = flips - 2 * floor(flips / 2) == 0;
    *slope *= even ? sign : -sign;
    return even ? rest + low : span - rest + low;
}

__device__ __forceinline__ f64 padded(const Sampling& s, f64 position, i32 length, f64* slope) {
    if (s.padding == 0) return position;
    f64 low = s.align_corners ? 0 : -0.5, high = s.align_corners ? f64(length) - 1 : f64(length) - 0.5;
    if (s.padding == 2) position = reflected(position, low, high, slope);
    return clip(position, length, slope);
}

// The pixels of axis 0 (rows) or 1 (columns) that count at the grid's coordinate; -1 for those that do not.
__device__ __forceinline__ Taps taps_of(const Sampling& s, int axis, f64 g) {
    i32 length = s.size[axis], order = s.order[axis];
    f64 scale = s.align_corners ? (f64(length) - 1) / 2 : f64(length) / 2, slope = 1;
    f64 position = s.align_corners ? (g + 1) * scale : (g + 1) * scale - 0.5;
    // Of the cubic kernel the taps are moved inside, not the position, as in PyTorch.
    if (TAPS < 4) position = padded(s, position, length, &slope);
    f64 first = TAPS == 1 ? rint(position) : TAPS == 2 ? floor(position) : floor(position) - 1;
    f64 t = position - floor(position), step = scale * slope;
    f64 chain = order == 0 ? 1 : order == 1 ? step : order == 2 ? step * step : step * step * step;
    Taps taps;
#pragma unroll
    for (int k = 0; k < TAPS; k++) {
        f64 pixel = first + k, unused = 1;
        if (TAPS == 4) pixel = padded(s, pixel, length, &unused);
        // NaN is nowhere.
        bool inside = pixel >= 0 && pixel < f64(length);
        taps.pixel[k] = inside ? i32(pixel) : -1;
        taps.weight[k] = weight_of(k, order, t) * chain;
    }
    return taps;
}

// One channel of one sample a thread.
KERNEL(sample, const T* x, const T* grid, T* y, Sampling s, u64 n) {
    u64 index = global_thread();
    if (index >= n) return;
    u64 place = index / s.channels;
    u32 c = u32(index - place * s.channels);
    u64 image = place / (u64(u32(s.samples[0])) * u32(s.samples[1]));
    Taps down = taps_of(s, 0, f64(grid[2 * place + 1])), across = taps_of(s, 1, f64(grid[2 * place]));
    x += image * u32(s.size[0]) * u32(s.size[1]) * s.channels + c;
    T sum = T(0);
#pragma unroll
    for (int a = 0; a < TAPS; a++) {
        if (down.pixel[a] < 0) continue;
#pragma unroll
        for (int b = 0; b < TAPS; b++) {
            if (across.pixel[b] < 0) continue;
            u64 pixel = u64(u32(down.pixel[a])) * u32(s.size[1]) + u32(across.pixel[b]);
            sum += T(down.weight[a] * across.weight[b]) * x[pixel * s.channels];
        }
    }
    y[index] = sum;
}

// Samples added where they were taken. Several may meet in one pixel, in an order that must not vary: a thread has a channel
// of the rows `band, band + bands, ..` of an image, and goes through the samples one after the other.
KERNEL(spread, const T* dy, const T* grid, T* dx, Sampling s, u32 bands) {
    u64 index = global_thread();
    u64 group = index / s.channels;
    if (group >= u64(s.images) * bands) return;
    u32 c = u32(index - group * s.channels), band = u32(group % bands);
    u64 image = group / bands, samples = u64(u32(s.samples[0])) * u32(s.samples[1]);
    dy += image * samples * s.channels + c;
    grid += image * samples * 2;
    dx += image * u32(s.size[0]) * u32(s.size[1]) * s.channels + c;
    for (u64 place = 0; place < samples; place++) {
        Taps down = taps_of(s, 0, f64(grid[2 * place + 1])), across = taps_of(s, 1, f64(grid[2 * place]));
        T value = dy[place * s.channels];
#pragma unroll
        for (int a = 0; a < TAPS; a++) {
            bool mine = down.pixel[a] >= 0 && u32(down.pixel[a]) % bands == band;
#pragma unroll
            for (int b = 0; b < TAPS; b++) {
                u64 pixel = u64(u32(down.pixel[a])) * u32(s.size[1]) + u32(across.pixel[b]);
                if (mine && across.pixel[b] >= 0)
                    dx[pixel * s.channels] += T(down.weight[a] * across.weight[b]) * value;
            }
        }
    }
}
