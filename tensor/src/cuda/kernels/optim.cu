// Updates in place of parameters of type T (f32 or f64): all operands dense, in one memory order.

// What an optimizer's step multiplies by, as in optim.rs.
struct Sgd {
    f64 lr, decay, keep, take, ahead, along;
};
struct Adam {
    f64 lr, root, eps, keep1, take1, keep2, take2, decay, shrink;
};

// The velocity may be null.
KERNEL(sgd, T* x, const T* grad, T* velocity, Sgd by, u64 n) {
    u64 i = global_thread();
    if (i >= n) return;
    T g = grad[i] + T(by.decay) * x[i];
    T update = g;
    if (velocity) {
        T v = T(by.keep) * velocity[i] + T(by.take) * g;
        // At first there is no velocity, and what lies there may be no number.
        if (by.keep == 0) v = T(by.take) * g;
        velocity[i] = v;
        update = T(by.ahead) * g + T(by.along) * v;
    }
    x[i] -= T(by.lr) * update;
}

KERNEL(adam, T* x, const T* grad, T* m, T* v, Adam by, u64 n) {
    u64 i = global_thread();
    if (i >= n) return;
    T g = grad[i] + T(by.decay) * x[i];
    T first = T(by.keep1) * m[i] + T(by.take1) * g;
    T second = T(by.keep2) * v[i] + T(by.take2) * (g * g);
    m[i] = first;
    v[i] = second;
    x[i] = T(by.shrink) * x[i] - T(by.lr) * (first / (sqrt(second) / T(by.root) + T(by.eps)));
}

KERNEL(lerp, T* x, const T* other, f64 weight, u64 n) {
    u64 i = global_thread();
    if (i < n) x[i] += T(weight) * (other[i] - x[i]);
}
