"""Writes the files of this folder: python make.py (PyTorch 2.x and NumPy). The values are small integers over 4."""

import argparse
from collections import OrderedDict

import numpy as np
import torch


def quarters(*shape):
    n = int(np.prod(shape)) if shape else 1
    return (torch.arange(n, dtype=torch.float32) / 4 - 1).reshape(shape)


base = quarters(4, 6)
state = OrderedDict(
    [
        ("plain", quarters(2, 3)),
        ("transposed", base.t()),
        ("column", base[:, 2:4]),
        ("shared", base),
        ("double", quarters(3).double()),
        ("half", quarters(3).half()),
        ("bfloat", quarters(3).bfloat16()),
        ("long", torch.tensor(-7)),
        ("int", torch.tensor([1, -2], dtype=torch.int32)),
        ("bool", torch.tensor([True, False, True])),
        ("byte", torch.tensor([0, 255], dtype=torch.uint8)),
        ("empty", torch.zeros(0, 3)),
        ("parameter", torch.nn.Parameter(quarters(2))),
    ]
)
torch.save(state, "state.pth")
torch.save(state, "state_old.pth", _use_new_zipfile_serialization=False)
# As training scripts save: the state dict in a dictionary, with options and numbers beside it.
checkpoint = {
    "epoch": 3,
    "best": np.float64(71.5),
    "args": argparse.Namespace(lr=1e-3, name="run"),
    "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]},
    "model": OrderedDict((f"module.{k}", v) for k, v in state.items()),
}
torch.save(checkpoint, "checkpoint.pth")


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("echo this must never run",)


torch.save({"weight": quarters(2), "surprise": Hostile()}, "hostile.pth")
torch.save({"weight": quarters(1).expand(1 << 20, 1 << 20)}, "expanded.pth")
arrays = {"plain": quarters(2, 3).numpy(), "scalar": np.int64(-7), "fortran": np.asfortranarray(base.numpy())}
np.savez("arrays.npz", **arrays)
np.savez_compressed("arrays_compressed.npz", **arrays, zeros=np.zeros((64, 64), np.float32))
