// Random numbers: the CPU's (random.rs), bit for bit. Compiled without fused multiply-adds, which would round otherwise.

struct Words {
    u32 word[4];
};

// One block of Philox4x32-10. Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.2.
__device__ __forceinline__ Words philox(u64 key, u64 index) {
    u32 c0 = u32(index), c1 = u32(index >> 32), c2 = 0, c3 = 0;
    u32 k0 = u32(key), k1 = u32(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u64 p0 = u64(0xD2511F53) * c0, p1 = u64(0xCD9E8D57) * c2;
        c0 = u32(p1 >> 32) ^ c1 ^ k0;
        c1 = u32(p1);
        c2 = u32(p0 >> 32) ^ c3 ^ k1;
        c3 = u32(p0);
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
    return {{c0, c1, c2, c3}};
}

__device__ __forceinline__ u64 join(u32 low, u32 high) { return u64(low) | u64(high) << 32; }
// The top 53 bits as a number in [0, 1).
__device__ __forceinline__ f64 unit(u64 bits) { return f64(bits >> 11) * (1.0 / 9007199254740992.0); }

// The logarithm, sine and cosine of the crate libm, which are those of FreeBSD's msun:
//
// ====================================================
// Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
//
// Developed at SunPro, a Sun Microsystems, Inc. business.
// Permission to use, copy, modify, and distribute this
// software is freely granted, provided that this notice
// is preserved.
// ====================================================

__device__ __forceinline__ f64 from_bits(u64 bits) { return __longlong_as_double(i64(bits)); }
__device__ __forceinline__ u32 high_word(f64 x) { return u32(u64(__double_as_longlong(x)) >> 32); }

// For normal, positive, finite `x`.
__device__ __forceinline__ f64 msun_log(f64 x) {
    if (x == 1.0) return 0.0;
    u64 bits = u64(__double_as_longlong(x));
    u32 hx = u32(bits >> 32) + (0x3ff00000 - 0x3fe6a09e);
    int k = int(hx >> 20) - 0x3ff;
    hx = (hx & 0x000fffff) + 0x3fe6a09e;
    x = from_bits(u64(hx) << 32 | (bits & 0xffffffff));
    f64 f = x - 1.0;
    f64 hfsq = 0.5 * f * f;
    f64 s = f / (2.0 + f);
    f64 z = s * s;
    f64 w = z * z;
    f64 t1 = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    f64 t2 = z * (6.666666666666735130e-01 +
                  w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    f64 r = t2 + t1;
    f64 dk = k;
    return s * (hfsq + r) + dk * 1.90821492927058770002e-10 - hfsq + f + dk * 6.93147180369123816490e-01;
}

__device__ __forceinline__ f64 kernel_sin(f64 x, f64 y, bool reduced) {
    f64 z = x * x;
    f64 w = z * z;
    f64 r = 8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06) +
            z * w * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10);
    f64 v = z * x;
    if (!reduced) return x + v * (-1.66666666666666324348e-01 + z * r);
    return x - ((z * (0.5 * y - v * r) - y) - v * -1.66666666666666324348e-01);
}

__device__ __forceinline__ f64 kernel_cos(f64 x, f64 y) {
    f64 z = x * x;
    f64 w = z * z;
    f64 r = z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)) +
            w * w * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11));
    f64 hz = 0.5 * z;
    w = 1.0 - hz;
    return w + (((1.0 - w) - hz) + (z * r - x * y));
}

// For 0 <= x < 2^20.
__device__ __forceinline__ void msun_sincos(f64 x, f64* sine, f64* cosine) {
    const f64 PIO2_1 = 1.57079632673412561417e+00, PIO2_1T = 6.07710050650619224932e-11;
    u32 ix = high_word(x);
    if (ix <= 0x3fe921fb) {
        bool tiny = ix < 0x3e46a09e;
        *sine = tiny ? x : kernel_sin(x, 0.0, false);
        *cosine = tiny ? 1.0 : kernel_cos(x, 0.0);
        return;
    }
    f64 n, y0, y1;
    bool near_multiple = (ix <= 0x400f6a7a && (ix & 0xfffff) == 0x921fb) || ix == 0x4012d97c || ix == 0x401921fb;
    if (ix <= 0x401c463b && !near_multiple) {
        n = ix <= 0x4002d97c ? 1.0 : ix <= 0x400f6a7a ? 2.0 : ix <= 0x4015fdbc ? 3.0 : 4.0;
        f64 z = x - n * PIO2_1;
        y0 = z - n * PIO2_1T;
        y1 = (z - y0) - n * PIO2_1T;
    } else {
        // Cancellation: up to three rounds.
        const f64 TO_INT = 1.5 / 2.2204460492503131e-16;
        n = (x * 6.36619772367581382433e-01 + TO_INT) - TO_INT;
        f64 r = x - n * PIO2_1, w = n * PIO2_1T;
        y0 = r - w;
        int ex = int(ix >> 20);
        if (ex - int(high_word(y0) >> 20 & 0x7ff) > 16) {
            f64 t = r;
            w = n * 6.07710050630396597660e-11;
            r = t - w;
            w = n * 2.02226624879595063154e-21 - ((t - r) - w);
            y0 = r - w;
            if (ex - int(high_word(y0) >> 20 & 0x7ff) > 49) {
                t = r;
                w = n * 2.02226624871116645580e-21;
                r = t - w;
                w = n * 8.47842766036889956997e-32 - ((t - r) - w);
                y0 = r - w;
            }
        }
        y1 = (r - y0) - w;
    }
    f64 s = kernel_sin(y0, y1, true), c = kernel_cos(y0, y1);
    int quarter = int(n) & 3;
    *sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
    *cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
}

// Two independent standard normals from two uniforms in [0, 1) (Box and Muller 1958).
__device__ __forceinline__ void box_muller(f64 u, f64 v, f64* x, f64* y) {
    f64 r = sqrt(-2.0 * msun_log(1.0 - u));
    f64 s, c;
    msun_sincos(6.28318530717958647693 * v, &s, &c);
    *x = r * c;
    *y = r * s;
}

// Every thread makes the elements of one block of Philox: four of f32 and of masks, two of f64.

KERNEL(uniform_f32, f32* y, u64 key, u64 n) {
    u64 group = global_thread();
    Words w = philox(key, group);
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (group * 4 + j < n) y[group * 4 + j] = f32(w.word[j] >> 8) * (1.0f / 16777216.0f);
}

KERNEL(uniform_f64, f64* y, u64 key, u64 n) {
    u64 group = global_thread();
    Words w = philox(key, group);
    if (group * 2 < n) y[group * 2] = unit(join(w.word[0], w.word[1]));
    if (group * 2 + 1 < n) y[group * 2 + 1] = unit(join(w.word[2], w.word[3]));
}

KERNEL(normal_f32, f32* y, u64 key, u64 n) {
    u64 group = global_thread();
    if (group * 4 >= n) return;
    Words w = philox(key, group);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        f64 a, b;
        box_muller(unit(u64(w.word[j]) << 32), unit(u64(w.word[j + 1]) << 32), &a, &b);
        if (group * 4 + j < n) y[group * 4 + j] = f32(a);
        if (group * 4 + j + 1 < n) y[group * 4 + j + 1] = f32(b);
    }
}

KERNEL(normal_f64, f64* y, u64 key, u64 n) {
    u64 group = global_thread();
    if (group * 2 >= n) return;
    Words w = philox(key, group);
    f64 a, b;
    box_muller(unit(join(w.word[0], w.word[1])), unit(join(w.word[2], w.word[3])), &a, &b);
    y[group * 2] = a;
    if (group * 2 + 1 < n) y[group * 2 + 1] = b;
}

// `one` (the bits of the number 1) where the word is below the threshold, else 0.
#define BERNOULLI(size, Word)                                                                       \
    KERNEL(bernoulli_##size, Word* y, u64 key, u64 threshold, u64 one, u64 n) {                     \
        u64 group = global_thread();                                                                \
        Words w = philox(key, group);                                                               \
        _Pragma("unroll") for (int j = 0; j < 4; j++)                                               \
            if (group * 4 + j < n) y[group * 4 + j] = Word(u64(w.word[j]) < threshold ? one : 0);   \
    }
BERNOULLI(1, u8)
BERNOULLI(2, u16)
BERNOULLI(4, u32)
BERNOULLI(8, u64)
