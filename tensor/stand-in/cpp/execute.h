// Runs a kernel: blocks one after the other on each CPU thread, the threads of a block as fibers.
//
// A thread that meets no barrier runs to its end on the stack of the thread before it, so a kernel without barriers is
// a plain loop. Each device visits threads and blocks in another order, so that a missing barrier shows in some of them.
#pragma once
#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "abi.h"
#include "fiber.h"

namespace stand_in {

enum class Order { Forward, Reverse, Shuffled };

inline std::vector<unsigned> visits(unsigned n, Order order, unsigned seed) {
    std::vector<unsigned> v(n);
    for (unsigned i = 0; i < n; i++) v[i] = order == Order::Reverse ? n - 1 - i : i;
    if (order == Order::Shuffled) {
        std::mt19937 random(seed);
        for (unsigned i = n; i > 1; i--) std::swap(v[i - 1], v[random() % i]);
    }
    return v;
}

struct Launch {
    const KernelEntry* kernel;
    Dim3 grid, block;
    size_t shared;
    std::vector<void*> args;
    std::vector<unsigned> threads;
    Order order;
    unsigned seed;
    std::mutex lock;
    std::string error;

    void fail(const std::string& message) {
        std::lock_guard<std::mutex> guard(lock);
        if (error.empty()) error = std::string("kernel ") + kernel->name + ": " + message;
    }
    bool failed() {
        std::lock_guard<std::mutex> guard(lock);
        return !error.empty();
    }
};

struct Warp {
    unsigned live = 0, arrived = 0, mask = 0;
    uint64_t slots[2][32];
    std::vector<Fiber*> waiting;
};

struct Worker;
inline thread_local Worker* current = nullptr;

struct Worker {
    Launch* launch = nullptr;
    Context scheduler;
    std::vector<std::unique_ptr<Fiber>> fibers;
    std::vector<Fiber*> idle;
    std::deque<Fiber*> ready;
    std::vector<Fiber*> at_barrier;
    Fiber* running = nullptr;
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<char> shared;
    unsigned next = 0, live = 0;
    std::mt19937 random;

    static void enter() { current->body(); }

    // What every fiber does: runs threads until none is left to start, then rests.
    void body() {
        for (;;) {
            while (next < threads.size()) {
                Thread& thread = threads[launch->threads[next++]];
                launch->kernel->run(launch->args.data(), &thread);
                leave(thread);
            }
            idle.push_back(running);
            switch_to(running->context, scheduler);
        }
    }

    void leave(Thread& thread) {
        live--;
        Warp& warp = warps[index_of(thread) / 32];
        warp.live &= ~(1u << thread.lane);
        if (warp.arrived && (warp.mask >> thread.lane & 1))
            launch->fail("a thread ended while its warp waits for it in a shuffle");
        open_barrier();
    }

    unsigned index_of(const Thread& t) const { return static_cast<unsigned>(&t - threads.data()); }

    void open_barrier() {
        if (at_barrier.empty() || at_barrier.size() != live) return;
        for (Fiber* f : at_barrier) ready.push_back(f);
        at_barrier.clear();
    }

    void wait() { switch_to(running->context, scheduler); }

    void barrier() {
        at_barrier.push_back(running);
        open_barrier();
        wait();
    }

    uint64_t exchange(Thread* t, unsigned mask, uint64_t value, unsigned source) {
        Warp& warp = warps[index_of(*t) / 32];
        unsigned parity = t->parity;
        t->parity ^= 1;
        warp.slots[parity][t->lane] = value;
        if (!(mask >> t->lane & 1)) launch->fail("a thread shuffles with a mask that leaves it out");
        if ((warp.live & mask) != mask) launch->fail("a shuffle's mask names a thread that ended or never was");
        if (warp.arrived && warp.mask != mask) launch->fail("threads of a warp shuffle with different masks");
        warp.mask = mask;
        warp.arrived |= 1u << t->lane;
        warp.waiting.push_back(running);
        if (warp.arrived == mask) {
            for (Fiber* f : warp.waiting) ready.push_back(f);
            warp.waiting.clear();
            warp.arrived = 0;
        }
        wait();
        return warp.slots[parity][source & 31];
    }

    void run_block(unsigned index) {
        Dim3 g = launch->grid, b = launch->block;
        Dim3 at = {index % g.x, index / g.x % g.y, index / g.x / g.y};
        unsigned n = b.x * b.y * b.z;
        threads.resize(n);
        warps.assign((n + 31) / 32, Warp());
        // 0xFF: what a kernel reads before it writes is NaN.
        shared.assign(launch->shared + 16, static_cast<char>(0xFF));
        auto base = (reinterpret_cast<uintptr_t>(shared.data()) + 15) / 16 * 16;
        for (unsigned i = 0; i < n; i++) {
            Dim3 t = {i % b.x, i / b.x % b.y, i / b.x / b.y};
            threads[i] = Thread{t, at, b, g, i % 32, 0, reinterpret_cast<void*>(base), this};
            warps[i / 32].live |= 1u << (i % 32);
        }
        next = 0;
        live = n;
        random.seed(launch->seed + index);
        for (;;) {
            if (next < n) {
                if (idle.empty()) {
                    fibers.emplace_back(new Fiber(&Worker::enter));
                    idle.push_back(fibers.back().get());
                }
                running = idle.back();
                idle.pop_back();
            } else if (!ready.empty()) {
                // In reverse, who became ready last goes on first: a warp runs as far ahead of the others as it can.
                size_t pick = launch->order == Order::Shuffled  ? random() % ready.size()
                              : launch->order == Order::Reverse ? ready.size() - 1
                                                                : 0;
                running = ready[pick];
                ready.erase(ready.begin() + static_cast<std::ptrdiff_t>(pick));
            } else {
                break;
            }
            switch_to(scheduler, running->context);
        }
        if (live > 0) {
            launch->fail("threads wait for each other at different barriers");
            // Their stacks cannot go on: forget them.
            for (auto& f : fibers) f.release();
            fibers.clear();
            idle.clear();
            at_barrier.clear();
        }
    }
};

inline void runtime_barrier(Thread* t) { static_cast<Worker*>(t->block)->barrier(); }
inline uint64_t runtime_exchange(Thread* t, unsigned mask, uint64_t value, unsigned source) {
    return static_cast<Worker*>(t->block)->exchange(t, mask, value, source);
}
inline constexpr Runtime RUNTIME = {runtime_barrier, runtime_exchange};

// Workers keep their stacks from launch to launch.
inline std::mutex workers_lock;
inline std::vector<std::unique_ptr<Worker>> workers;

inline void work(Launch& launch, const std::vector<unsigned>& blocks, std::atomic<size_t>& taken) {
    std::unique_ptr<Worker> worker;
    {
        std::lock_guard<std::mutex> guard(workers_lock);
        if (workers.empty()) workers.emplace_back(new Worker());
        worker = std::move(workers.back());
        workers.pop_back();
    }
    worker->launch = &launch;
    current = worker.get();
    for (size_t i; (i = taken++) < blocks.size() && !launch.failed();) worker->run_block(blocks[i]);
    current = nullptr;
    std::lock_guard<std::mutex> guard(workers_lock);
    workers.push_back(std::move(worker));
}

// Runs the whole grid; the first error, or an empty string.
inline std::string execute(Launch& launch) {
    unsigned per_block = launch.block.x * launch.block.y * launch.block.z;
    unsigned count = launch.grid.x * launch.grid.y * launch.grid.z;
    launch.threads = visits(per_block, launch.order, launch.seed);
    std::vector<unsigned> blocks = visits(count, launch.order, launch.seed + 1);
    std::atomic<size_t> taken{0};
    // Starting a thread costs about as much as this many CUDA threads without barriers.
    size_t cores = static_cast<size_t>(count) * per_block < 16384 ? 1 : std::thread::hardware_concurrency();
    std::vector<std::thread> helpers;
    for (size_t i = 1; i < std::min<size_t>(cores, count); i++)
        helpers.emplace_back([&] { work(launch, blocks, taken); });
    work(launch, blocks, taken);
    for (auto& h : helpers) h.join();
    return launch.error;
}

}  // namespace stand_in
