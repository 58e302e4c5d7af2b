// A CUDA driver without a GPU: the functions of libcuda that the library calls, on the memory and the processors of this
// machine. Everything is done when a call returns. It has four devices that differ in one thing, the order in which the
// threads of a kernel run: forward, reverse, and two shuffles.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <map>

#include "execute.h"

using namespace stand_in;

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

// Codes of CUresult.
enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
};

constexpr int DEVICES = 4;
constexpr size_t MEMORY = size_t(1) << 30;

struct Device {
    int ordinal;
    size_t used = 0;
    unsigned launches = 0;
};
Device devices[DEVICES] = {{0}, {1}, {2}, {3}};

std::mutex memory_lock;
// Address to (bytes, device).
std::map<uintptr_t, std::pair<size_t, Device*>> blocks;

thread_local Device* bound = nullptr;

struct Module {
    void* library;
    const KernelEntry* kernels;
};

// Whether all of `[address, address + bytes)` lies in one block of device memory.
bool on_device(uintptr_t address, size_t bytes) {
    std::lock_guard<std::mutex> guard(memory_lock);
    auto after = blocks.upper_bound(address);
    if (after == blocks.begin()) return bytes == 0;
    --after;
    return address + bytes <= after->first + after->second.first;
}

int report(const std::string& message) {
    fprintf(stderr, "stand-in: %s\n", message.c_str());
    return LAUNCH_FAILED;
}

}  // namespace

EXPORT int cuInit(unsigned) { return SUCCESS; }
EXPORT int cuDriverGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}
EXPORT int cuDeviceGetCount(int* count) {
    // As the real driver does when CUDA_VISIBLE_DEVICES names no device.
    const char* visible = getenv("CUDA_VISIBLE_DEVICES");
    *count = visible && !*visible ? 0 : DEVICES;
    return SUCCESS;
}
EXPORT int cuDeviceGet(int* device, int ordinal) {
    if (ordinal < 0 || ordinal >= DEVICES) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}
EXPORT int cuDeviceGetName(char* name, int length, int device) {
    static const char* orders[] = {"forward", "reverse", "shuffled", "shuffled otherwise"};
    snprintf(name, static_cast<size_t>(length), "stand-in without a GPU, threads %s", orders[device]);
    return SUCCESS;
}
EXPORT int cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = MEMORY;
    return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 1: *value = 1024; break;                                     // threads per block
        case 8: *value = 48 * 1024; break;                                // shared memory per block
        case 10: *value = 32; break;                                      // warp size
        case 16: *value = static_cast<int>(std::thread::hardware_concurrency()); break;  // multiprocessors
        case 75: *value = 8; break;                                       // compute capability 8.0
        case 97: *value = 160 * 1024; break;                              // shared memory per block on request
        default: *value = 0;
    }
    return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = &devices[device];
    return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
EXPORT int cuCtxSetCurrent(void* context) {
    bound = static_cast<Device*>(context);
    return SUCCESS;
}
EXPORT int cuCtxGetCurrent(void** context) {
    *context = bound;
    return SUCCESS;
}

EXPORT int cuStreamCreate(void** stream, unsigned) {
    if (!bound) return INVALID_CONTEXT;
    *stream = bound;
    return SUCCESS;
}
EXPORT int cuStreamSynchronize(void*) { return SUCCESS; }
EXPORT int cuStreamDestroy_v2(void*) { return SUCCESS; }

EXPORT int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    if (!bound) return INVALID_CONTEXT;
    if (bytes == 0) return INVALID_VALUE;
    std::lock_guard<std::mutex> guard(memory_lock);
    if (bound->used + bytes > MEMORY) return OUT_OF_MEMORY;
    void* block = nullptr;
    if (posix_memalign(&block, 512, bytes)) return OUT_OF_MEMORY;
    // NaN in every float type: what is read before it was written shows.
    memset(block, 0xFF, bytes);
    bound->used += bytes;
    blocks[reinterpret_cast<uintptr_t>(block)] = {bytes, bound};
    *address = reinterpret_cast<uintptr_t>(block);
    return SUCCESS;
}
EXPORT int cuMemFree_v2(uint64_t address) {
    std::lock_guard<std::mutex> guard(memory_lock);
    auto at = blocks.find(address);
    if (at == blocks.end()) return INVALID_VALUE;
    at->second.second->used -= at->second.first;
    blocks.erase(at);
    free(reinterpret_cast<void*>(address));
    return SUCCESS;
}
EXPORT int cuMemGetInfo_v2(size_t* available, size_t* total) {
    if (!bound) return INVALID_CONTEXT;
    std::lock_guard<std::mutex> guard(memory_lock);
    *available = MEMORY - bound->used;
    *total = MEMORY;
    return SUCCESS;
}
EXPORT int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void*) {
    if (!on_device(to, bytes)) return INVALID_VALUE;
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void*) {
    if (!on_device(from, bytes)) return INVALID_VALUE;
    memcpy(to, reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}
EXPORT int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void*) {
    if (!on_device(to, bytes) || !on_device(from, bytes)) return INVALID_VALUE;
    memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
    return SUCCESS;
}
EXPORT int cuMemcpyPeerAsync(uint64_t to, void*, uint64_t from, void*, size_t bytes, void* stream) {
    return cuMemcpyDtoDAsync_v2(to, from, bytes, stream);
}
EXPORT int cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void*) {
    if (!on_device(to, bytes)) return INVALID_VALUE;
    memset(reinterpret_cast<void*>(to), value, bytes);
    return SUCCESS;
}

EXPORT int cuMemsetD16Async(uint64_t to, unsigned short value, size_t count, void*) {
    if (!on_device(to, 2 * count)) return INVALID_VALUE;
    for (size_t i = 0; i < count; i++) reinterpret_cast<unsigned short*>(to)[i] = value;
    return SUCCESS;
}

EXPORT int cuModuleLoadData(void** module, const void* image) {
    const Image* header = static_cast<const Image*>(image);
    if (memcmp(header->magic, MAGIC, sizeof MAGIC)) return INVALID_IMAGE;
    int file = memfd_create("kernels", 0);
    const char* bytes = reinterpret_cast<const char*>(header + 1);
    for (size_t done = 0; done < header->length;) {
        ssize_t n = write(file, bytes + done, header->length - done);
        if (n <= 0) return INVALID_IMAGE;
        done += static_cast<size_t>(n);
    }
    std::string path = "/proc/self/fd/" + std::to_string(file);
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "stand-in: %s\n", dlerror());
        return INVALID_IMAGE;
    }
    // The descriptor stays open: the loader takes two libraries of one path for one.
    auto kernels = reinterpret_cast<Kernels>(dlsym(library, "stand_in_kernels"));
    if (!kernels) return INVALID_IMAGE;
    *module = new Module{library, kernels(&RUNTIME)};
    return SUCCESS;
}
EXPORT int cuModuleLoadDataEx(void** module, const void* image, unsigned, void*, void**) {
    return cuModuleLoadData(module, image);
}
EXPORT int cuModuleUnload(void*) { return SUCCESS; }
EXPORT int cuModuleGetFunction(const KernelEntry** function, Module* module, const char* name) {
    for (const KernelEntry* k = module->kernels; k; k = k->next) {
        if (!strcmp(k->name, name)) {
            *function = k;
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}
EXPORT int cuFuncGetParamInfo(const KernelEntry* kernel, size_t index, size_t* offset, size_t* size) {
    if (index >= kernel->params) return INVALID_VALUE;
    *offset = 0;
    *size = kernel->sizes[index];
    return SUCCESS;
}
EXPORT int cuFuncGetAttribute(int* value, int, const KernelEntry*) {
    *value = 0;
    return SUCCESS;
}
EXPORT int cuFuncSetAttribute(const KernelEntry*, int, int) { return SUCCESS; }

EXPORT int cuLaunchKernel(const KernelEntry* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void* stream, void** params, void**) {
    unsigned threads = bx * by * bz;
    if (!threads || threads > 1024 || !gx || !gy || !gz || gy > 65535 || gz > 65535 || shared > 160 * 1024)
        return INVALID_VALUE;
    static const Order orders[] = {Order::Forward, Order::Reverse, Order::Shuffled, Order::Shuffled};
    Device* device = static_cast<Device*>(stream);
    Launch launch;
    launch.kernel = kernel;
    launch.grid = {gx, gy, gz};
    launch.block = {bx, by, bz};
    launch.shared = shared;
    launch.args.assign(params, params + kernel->params);
    launch.order = orders[device->ordinal];
    launch.seed = static_cast<unsigned>(device->ordinal) * 7919;
    std::string error = execute(launch);
    return error.empty() ? SUCCESS : report(error);
}

// Events carry the time at which they were recorded.
EXPORT int cuEventCreate(void** event, unsigned) {
    *event = new double(0);
    return SUCCESS;
}
EXPORT int cuEventDestroy_v2(void* event) {
    delete static_cast<double*>(event);
    return SUCCESS;
}
EXPORT int cuEventRecord(void* event, void*) {
    auto now = std::chrono::steady_clock::now().time_since_epoch();
    *static_cast<double*>(event) = std::chrono::duration<double, std::milli>(now).count();
    return SUCCESS;
}
EXPORT int cuEventSynchronize(void*) { return SUCCESS; }
EXPORT int cuEventElapsedTime_v2(float* ms, void* start, void* end) {
    *ms = static_cast<float>(*static_cast<double*>(end) - *static_cast<double*>(start));
    return SUCCESS;
}

EXPORT int cuGetErrorName(int error, const char** name) {
    switch (error) {
        case SUCCESS: *name = "CUDA_SUCCESS"; break;
        case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
        case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
        case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
        case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
        case INVALID_IMAGE: *name = "CUDA_ERROR_INVALID_IMAGE"; break;
        case INVALID_CONTEXT: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
        case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
        case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
        case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
        default: *name = "CUDA_ERROR_UNKNOWN";
    }
    return SUCCESS;
}
EXPORT int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }
