"""Two training steps of a small network, written out in NumPy: prints the numbers in two_steps.rs.

Independent of the crate and of any autograd: gradients are complex-step derivatives of the forward, exact to rounding.
Run with NumPy 2: python two_steps.py
"""
import numpy as np

EPS, SMOOTHING, LR, MOMENTUM, DECAY = 1e-5, 0.1, 0.1, 0.9, 0.01


def wave(n, rate, phase):
    return np.cos(rate * np.arange(n) + phase)


SHAPES = {"conv.weight": (2, 1, 3, 3), "bn.weight": (2,), "bn.bias": (2,), "fc.weight": (3, 8), "fc.bias": (3,)}
params = {k: 0.5 * wave(int(np.prod(s)), 0.9 + 0.1 * i, i).reshape(s) for i, (k, s) in enumerate(SHAPES.items())}
batches = [(0.3 + wave(4 * 36, 1.7, b).reshape(4, 1, 6, 6), np.array(y)) for b, y in enumerate([[0, 1, 2, 1], [2, 2, 0, 1]])]
running = [np.zeros(2), np.ones(2)]


def forward(p, x, y, statistics=None):
    """Loss, and mean and variance of the batch: conv 3x3, batch norm, ELU, 2x2 mean pooling, linear, cross entropy."""
    n = len(x)
    h = np.zeros((n, 2, 4, 4), dtype=complex)
    for r in range(3):
        for s in range(3):
            h += np.einsum("ncij,oc->noij", x[:, :, r:r + 4, s:s + 4], p["conv.weight"][:, :, r, s])
    mean, var = statistics or (h.mean((0, 2, 3)), ((h - h.mean((0, 2, 3), keepdims=True)) ** 2).mean((0, 2, 3)))
    c = (None, slice(None), None, None)
    h = (h - np.asarray(mean)[c]) / np.sqrt(np.asarray(var) + EPS)[c] * p["bn.weight"][c] + p["bn.bias"][c]
    h = np.where(h.real > 0, h, np.exp(h) - 1)
    h = h.reshape(n, 2, 2, 2, 2, 2).mean((3, 5)).reshape(n, 8)
    z = h @ p["fc.weight"].T + p["fc.bias"]
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    loss = -(1 - SMOOTHING) * log_p[np.arange(n), y].mean() - SMOOTHING / 3 * log_p.sum(1).mean()
    return loss, mean, var


def gradient(p, name, x, y):
    g = np.zeros(p[name].size)
    for i in range(g.size):
        moved = p[name].astype(complex).ravel()
        moved[i] += 1e-30j
        g[i] = forward({**p, name: moved.reshape(p[name].shape)}, x, y)[0].imag / 1e-30
    return g.reshape(p[name].shape)


velocity, losses = {}, []
for x, y in batches:
    loss, mean, var = forward(params, x, y)
    losses.append(loss.real)
    count = x.shape[0] * 16
    running[0] = 0.9 * running[0] + 0.1 * mean.real
    running[1] = 0.9 * running[1] + 0.1 * var.real * count / (count - 1)
    grads = {k: gradient(params, k, x, y) + DECAY * params[k] for k in params}
    velocity = {k: MOMENTUM * velocity[k] + g if velocity else g for k, g in grads.items()}
    params = {k: params[k] - LR * (grads[k] + MOMENTUM * velocity[k]) for k in params}

losses.append(forward(params, *batches[0], statistics=running)[0].real)
print("losses", [float(v) for v in losses])
for k in ("conv.weight", "bn.weight", "bn.bias", "fc.bias"):
    print(k, params[k].ravel().tolist())
print("running_mean", running[0].tolist())
print("running_var", running[1].tolist())
