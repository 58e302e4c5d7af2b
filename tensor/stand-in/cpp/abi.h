// What the stand-in driver and the kernels it runs agree on. Kernels are compiled by the stand-in for NVRTC into shared
// libraries of their own; they reach the driver through `Runtime`, and the driver reaches them through `KernelEntry`.
#pragma once
#include <cstddef>
#include <cstdint>

namespace stand_in {

struct Dim3 {
    unsigned x, y, z;
};

// One CUDA thread while it runs.
struct Thread {
    Dim3 thread_idx, block_idx, block_dim, grid_dim;
    unsigned lane;
    // Which of the two rows of exchange slots of the warp this thread uses next.
    unsigned parity;
    void* dynamic_shared;
    void* block;
    // What this thread has started with cp.async and not yet waited for belongs to the kernel's side (shim.h).
};

struct Runtime {
    // Waits until all live threads of the block are here.
    void (*barrier)(Thread*);
    // Publishes `value` to the lanes of `mask`, waits for them, and returns what `source` published.
    uint64_t (*exchange)(Thread*, unsigned mask, uint64_t value, unsigned source);
};

struct KernelEntry {
    const char* name;
    unsigned params;
    const size_t* sizes;
    void (*run)(void** args, Thread*);
    const KernelEntry* next;
};

// What a kernel library exports as `stand_in_kernels`: takes the runtime, gives the list of kernels.
typedef const KernelEntry* (*Kernels)(const Runtime*);

// The image that the stand-in for NVRTC gives out as machine code: this header, then the bytes of a shared library.
struct Image {
    char magic[8];
    uint64_t length;
};
constexpr char MAGIC[8] = {'s', 't', 'a', 'n', 'd', '-', 'i', 'n'};

}  // namespace stand_in
