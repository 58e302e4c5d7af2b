// The arithmetic of a time step of recurrent cells. T is f32 or f64. Operands have contiguous rows, `*_step` apart; a thread has
// one element of the state.

__device__ __forceinline__ T sigmoid(T x) {
    // The argument of exp is never positive: it cannot overflow.
    T e = exp(-fabs(x)), small = e / (T(1) + e);
    return x < T(0) ? small : T(1) - small;
}

// The row and the element of the state of this thread; `a`, `b` and `c` begin at the row's element.
#define CELL()                                                      \
    u64 index = global_thread();                                    \
    if (index >= u64(rows) * len) return;                           \
    u32 row = u32(index / len), i = u32(index - u64(row) * len);    \
    a += u64(row) * a_step + i;                                     \
    b += u64(row) * b_step + i;                                     \
    c += u64(row) * c_step + i
#define CELL_PARAMETERS const T *a, const T *b, const T *c, T *y, u32 rows, u32 len, u64 a_step, u64 b_step, u64 c_step

// From the input, from the state, the state: `h', r, z, n, b_n`.
KERNEL(gru, CELL_PARAMETERS) {
    CELL();
    y += u64(row) * 5 * len + i;
    T r = sigmoid(a[0] + b[0]), z = sigmoid(a[len] + b[len]), kept = b[2 * u64(len)];
    T n = tanh(a[2 * u64(len)] + r * kept);
    y[0] = n + z * (c[0] - n);
    y[len] = r;
    y[2 * u64(len)] = z;
    y[3 * u64(len)] = n;
    y[4 * u64(len)] = kept;
}

// From the new state's gradient, the step, the old state: `da_r, da_z, da_n, db_r, db_z, db_n, dh`.
KERNEL(gru_grad, CELL_PARAMETERS) {
    CELL();
    y += u64(row) * 7 * len + i;
    T d = a[0], r = b[len], z = b[2 * u64(len)], n = b[3 * u64(len)], kept = b[4 * u64(len)];
    T inner = d * (T(1) - z) * (T(1) - n * n);
    T reset = inner * kept * r * (T(1) - r), update = d * (c[0] - n) * z * (T(1) - z);
    y[0] = y[3 * u64(len)] = reset;
    y[len] = y[4 * u64(len)] = update;
    y[2 * u64(len)] = inner;
    y[5 * u64(len)] = inner * r;
    y[6 * u64(len)] = d * z;
}

// `h', c', i, f, g, o, tanh(c')`; the state is `h, c`.
KERNEL(lstm, CELL_PARAMETERS) {
    CELL();
    y += u64(row) * 7 * len + i;
    T in = sigmoid(a[0] + b[0]), forget = sigmoid(a[len] + b[len]);
    T g = tanh(a[2 * u64(len)] + b[2 * u64(len)]), o = sigmoid(a[3 * u64(len)] + b[3 * u64(len)]);
    T fresh = forget * c[len] + in * g, squashed = tanh(fresh);
    y[0] = o * squashed;
    y[len] = fresh;
    y[2 * u64(len)] = in;
    y[3 * u64(len)] = forget;
    y[4 * u64(len)] = g;
    y[5 * u64(len)] = o;
    y[6 * u64(len)] = squashed;
}

// `d_i, d_f, d_g, d_o, dh, dc`; the old `h` acts through the gates only.
KERNEL(lstm_grad, CELL_PARAMETERS) {
    CELL();
    y += u64(row) * 6 * len + i;
    T in = b[2 * u64(len)], forget = b[3 * u64(len)], g = b[4 * u64(len)], o = b[5 * u64(len)], squashed = b[6 * u64(len)];
    T d = a[len] + a[0] * o * (T(1) - squashed * squashed);
    y[0] = d * g * in * (T(1) - in);
    y[len] = d * c[len] * forget * (T(1) - forget);
    y[2 * u64(len)] = d * in * (T(1) - g * g);
    y[3 * u64(len)] = a[0] * squashed * o * (T(1) - o);
    y[4 * u64(len)] = T(0);
    y[5 * u64(len)] = d * forget;
}
