// CUDA C's words for a C++ compiler: included before a kernel source, which then is compiled into a shared library that
// the stand-in driver runs.
#pragma once
#include <math.h>

#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "abi.h"

#define STAND_IN 1
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __constant__ static const
#define __shared__ static thread_local
#define __align__(n) alignas(n)

namespace stand_in {

inline const Runtime* runtime = nullptr;
inline thread_local Thread* self = nullptr;
inline const KernelEntry* kernels = nullptr;

template <auto F>
struct Entry;
template <class... A, void (*F)(A...)>
struct Entry<F> {
    static constexpr size_t sizes[] = {sizeof(A)..., 0};
    template <size_t... I>
    static void call(void** args, std::index_sequence<I...>) {
        F(*static_cast<std::remove_const_t<A>*>(args[I])...);
    }
    static void run(void** args, Thread* thread) {
        self = thread;
        call(args, std::index_sequence_for<A...>());
    }
    static constexpr unsigned count = sizeof...(A);
};

struct Registration {
    KernelEntry entry;
    Registration(const char* name, unsigned params, const size_t* sizes, void (*run)(void**, Thread*))
        : entry{name, params, sizes, run, kernels} {
        kernels = &entry;
    }
};

template <class T>
uint64_t bits(T value) {
    uint64_t b = 0;
    static_assert(sizeof(T) <= 8, "shuffles move up to 8 bytes");
    memcpy(&b, &value, sizeof(T));
    return b;
}

template <class T>
T exchange(unsigned mask, T value, unsigned source) {
    Thread* me = self;
    uint64_t got = runtime->exchange(me, mask, bits(value), source);
    self = me;
    T result;
    memcpy(&result, &got, sizeof(T));
    return result;
}

}  // namespace stand_in

extern "C" __attribute__((visibility("default"))) inline const stand_in::KernelEntry* __attribute__((used))
stand_in_kernels(const stand_in::Runtime* runtime) {
    stand_in::runtime = runtime;
    return stand_in::kernels;
}

#define threadIdx (stand_in::self->thread_idx)
#define blockIdx (stand_in::self->block_idx)
#define blockDim (stand_in::self->block_dim)
#define gridDim (stand_in::self->grid_dim)

inline void __syncthreads() {
    stand_in::Thread* me = stand_in::self;
    stand_in::runtime->barrier(me);
    stand_in::self = me;
}
inline void __syncwarp(unsigned mask = 0xffffffffu) { stand_in::exchange(mask, 0u, 0); }
template <class T>
T __shfl_sync(unsigned mask, T value, int source) {
    return stand_in::exchange(mask, value, static_cast<unsigned>(source));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes) {
    return stand_in::exchange(mask, value, stand_in::self->lane ^ static_cast<unsigned>(lanes));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
    unsigned lane = stand_in::self->lane;
    return stand_in::exchange(mask, value, lane + delta < 32 ? lane + delta : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
    unsigned lane = stand_in::self->lane;
    return stand_in::exchange(mask, value, lane >= delta ? lane - delta : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; lane++)
        result |= (stand_in::exchange(mask, predicate ? 1u : 0u, lane) & mask >> lane & 1u) << lane;
    return result;
}

// Read-modify-write by any thread of any block.
template <class T>
T atomicAdd(T* address, T value) {
    T old, sum;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    do sum = old + value;
    while (!__atomic_compare_exchange(address, &old, &sum, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return old;
}
template <class T>
T atomicMin(T* address, T value) {
    T old;
    __atomic_load(address, &old, __ATOMIC_RELAXED);
    while (value < old &&
           !__atomic_compare_exchange(address, &old, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
    return old;
}

inline unsigned __float_as_uint(float x) { return static_cast<unsigned>(stand_in::bits(x)); }
inline float __uint_as_float(unsigned x) {
    float f;
    memcpy(&f, &x, 4);
    return f;
}
inline unsigned long long __double_as_longlong(double x) { return stand_in::bits(x); }
inline double __longlong_as_double(unsigned long long x) {
    double d;
    memcpy(&d, &x, 8);
    return d;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
    return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>(static_cast<unsigned __int128>(a) * b >> 64);
}
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
template <class T>
T __ldg(const T* address) {
    return *address;
}
template <class T>
T min(T a, T b) {
    return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
    return a < b ? b : a;
}

struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
