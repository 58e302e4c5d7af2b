"""Writes zoo.json: of every architecture that torchvision or timm has the names and shapes of its state dict (a digest), and of
some a few logits with weights that are a function of their names.

    pip install torch torchvision timm
    python make_zoo.py

Made with PyTorch 2.15, torchvision 0.29, timm 1.0. A weight is a cheap function of its name and place: with h the 64-bit FNV-1a
hash of the name and z = (h + (i + 1) * 0x9E3779B97F4A7C15) * 0xBF58476D1CE4E5B9 modulo 2^64, u_i = (z >> 40) / 2^24 and the value is
lo + (hi - lo) * u_i in f32, where [lo, hi) is by the name's end and the shape as in `bounds`.
"""

import json
import sys

import numpy as np
import timm
import torch
import torchvision

M64 = (1 << 64) - 1


def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & M64
    return h


def bounds(name, shape):
    if name.endswith("running_mean") or name.endswith("bias"):
        return -0.1, 0.1
    if name.endswith("running_var"):
        return 0.5, 1.5
    if name.endswith("layer_scale"):
        return 0.2, 0.6
    if len(shape) == 1:
        return 0.5, 1.5
    if name.endswith("class_token") or name.endswith("pos_embedding"):
        return -0.5, 0.5
    bound = (3.0 / np.prod(shape[1:])) ** 0.5
    return -bound, bound


def values(name, shape, lo, hi):
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name.encode())) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = z * np.uint64(0xBF58476D1CE4E5B9)
    u = (z >> np.uint64(40)).astype(np.float64) / 2**24
    return torch.from_numpy((lo + (hi - lo) * u).astype(np.float32).reshape(shape))


def vit(patch, heads, hidden, mlp):
    return lambda: torchvision.models.VisionTransformer(224, patch, 12, heads, hidden, mlp)


MODELS = {
    name: getattr(torchvision.models, name)
    for name in (
        "alexnet vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn resnet18 resnet34 resnet50 resnet101 resnet152 "
        "resnext50_32x4d resnext101_32x8d resnext101_64x4d wide_resnet50_2 wide_resnet101_2 densenet121 densenet161 densenet169 "
        "densenet201 squeezenet1_0 squeezenet1_1 convnext_tiny convnext_small convnext_base convnext_large vit_b_16 vit_b_32"
    ).split()
}
MODELS |= {
    f"convnextv2_{size}": lambda size=size: timm.create_model(f"convnextv2_{size}")
    for size in ("atto", "femto", "pico", "nano", "tiny", "base")
}
MODELS |= {"vit_t_16": vit(16, 3, 192, 768), "vit_s_16": vit(16, 6, 384, 1536), "vit_s_32": vit(32, 6, 384, 1536)}

# Size of the image, for those whose logits are kept: one of every kind that the larger goldens leave out, and not too large.
LOGITS = {
    "squeezenet1_0": 64, "squeezenet1_1": 64, "resnet101": 64, "resnet152": 64, "wide_resnet50_2": 64, "densenet161": 64,
    "densenet169": 64, "densenet201": 64, "convnext_small": 64, "convnextv2_atto": 64, "convnextv2_nano": 64, "vit_s_32": 224,
}

out = {}
for name, create in MODELS.items():
    with torch.device("meta") if name not in LOGITS else torch.device("cpu"):
        model = create().eval()
    state = model.state_dict()
    lines = "".join(f"{key} {list(t.shape)}\n" for key, t in state.items())
    entry = {"tensors": len(state), "digest": f"{fnv1a(lines.encode()):016x}"}
    if name in LOGITS:
        new = {}
        for key, t in state.items():
            is_float = t.is_floating_point()
            new[key] = values(key, tuple(t.shape), *bounds(key, t.shape)) if is_float else torch.zeros_like(t)
        model.load_state_dict(new)
        size = LOGITS[name]
        image = values("input", (1, 3, size, size), -2.0, 2.0)
        with torch.inference_mode():
            logits = model.double()(image.double())[0]
        entry |= {"image": size, "logits": [float(v) for v in logits[:8]], "mean_abs": float(logits.abs().mean())}
    out[name] = entry
    print(name, entry["tensors"], file=sys.stderr)
with open("zoo.json", "w") as f:
    f.write("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in out.items()) + "\n}\n")
