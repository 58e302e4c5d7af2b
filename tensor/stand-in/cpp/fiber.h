// Stacks to switch between: one for each CUDA thread that waits inside a kernel.
#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace stand_in {

constexpr size_t STACK = 256 * 1024;

#if defined(__x86_64__)
extern "C" void stand_in_switch(void** save, void* load);
asm(R"(
.text
.globl stand_in_switch
.hidden stand_in_switch
.type stand_in_switch,@function
stand_in_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size stand_in_switch,.-stand_in_switch
)");
#endif

struct Context {
#if defined(__x86_64__)
    void* sp = nullptr;
#else
    ucontext_t context;
#endif
};

// Leaves `from` for `to`; comes back when something switches to `from`.
inline void switch_to(Context& from, Context& to) {
#if defined(__x86_64__)
    stand_in_switch(&from.sp, to.sp);
#else
    swapcontext(&from.context, &to.context);
#endif
}

struct Fiber {
    Context context;
    char* stack;

    explicit Fiber(void (*entry)()) {
        void* memory =
            mmap(nullptr, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            perror("stand-in: no memory for a stack");
            abort();
        }
        stack = static_cast<char*>(memory);
#if defined(__x86_64__)
        // As if `entry` had been called: its return address, then what `stand_in_switch` pops.
        void** top = reinterpret_cast<void**>(stack + STACK);
        top[-1] = nullptr;
        top[-2] = reinterpret_cast<void*>(entry);
        for (int i = 3; i <= 8; i++) top[-i] = nullptr;
        context.sp = top - 8;
#else
        getcontext(&context.context);
        context.context.uc_stack.ss_sp = stack;
        context.context.uc_stack.ss_size = STACK;
        context.context.uc_link = nullptr;
        makecontext(&context.context, entry, 0);
#endif
    }
    ~Fiber() { munmap(stack, STACK); }
    Fiber(const Fiber&) = delete;
};

}  // namespace stand_in
