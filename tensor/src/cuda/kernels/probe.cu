// What a device can do at most: chains of multiply-adds that wait for nothing but each other.

#define CHAINS 16

KERNEL(multiply_add, f32* y, u32 rounds, f32 by, f32 shift) {
    f32 x[CHAINS];
#pragma unroll
    for (int k = 0; k < CHAINS; k++) x[k] = f32(threadIdx.x + k);
    for (u32 i = 0; i < rounds; i++) {
#pragma unroll
        for (int k = 0; k < CHAINS; k++) x[k] = x[k] * by + shift;
    }
    f32 sum = 0;
#pragma unroll
    for (int k = 0; k < CHAINS; k++) sum += x[k];
    y[global_thread()] = sum;
}
