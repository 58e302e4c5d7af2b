"""Writes `more.safetensors`: inputs, outputs and gradients of ops that `xtask/goldens` has no or few cases of.

    python generate_more.py more.safetensors

Needs torch. Format as of the other files here: tensors `<case>/<role>`, the list of cases in the
metadata. All in f64.
"""

import itertools
import json
import struct
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(7)
tensors, cases = {}, []


def normal(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def case(name, op, run, inputs, attrs=None, constants=()):
    """`run(**inputs)` gives y; floats that are not `constants` get gradients of `sum(up * y)`."""
    leaves = {}
    for key, value in inputs.items():
        tensors[f"{name}/in.{key}"] = value.detach().clone().contiguous()
        leaf = value.detach().clone()
        if leaf.is_floating_point() and key not in constants:
            leaf.requires_grad_()
        leaves[key] = leaf
    y = run(**leaves)
    tensors[f"{name}/out.y"] = y.detach().clone().contiguous()
    if y.requires_grad:
        up = normal(*y.shape)
        tensors[f"{name}/up.y"] = up
        y.backward(up)
        for key, leaf in leaves.items():
            if leaf.requires_grad:
                tensors[f"{name}/grad.{key}"] = leaf.grad.clone().contiguous()
    cases.append({"name": name, "op": op, "attrs": attrs or {}})


def sampling():
    for mode, padding, corners in itertools.product(
        ["bilinear", "nearest", "bicubic"], ["zeros", "border", "reflection"], [False, True]
    ):
        case(
            f"grid_sample/{mode}_{padding}{'_corners' if corners else ''}",
            "grid_sample",
            lambda x, grid: F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners),
            {"x": normal(2, 2, 4, 5), "grid": normal(2, 3, 4, 2)},
            {"mode": mode, "padding": padding, "align_corners": corners},
        )
    sizes = [("nearest-exact", False, False), ("bilinear", True, True), ("bicubic", True, True)]
    for mode, corners, antialias in sizes:
        extra = {"align_corners": True} if corners else {}
        for size in [(3, 11), (8, 2)]:
            case(
                f"interpolate/{mode}_{size[0]}x{size[1]}",
                "interpolate",
                lambda x: F.interpolate(x, size, mode=mode, antialias=antialias, **extra),
                {"x": normal(2, 3, 5, 6)},
                {"mode": mode, "size": size, "align_corners": corners, "antialias": antialias},
            )
    for mode, factors in [("nearest", (2.0, 1.5)), ("bilinear", (1.7, 0.6)), ("bicubic", (0.55, 2.3))]:
        case(
            f"interpolate/{mode}_by_factors",
            "interpolate",
            lambda x: F.interpolate(x, scale_factor=factors, mode=mode),
            {"x": normal(2, 3, 5, 6)},
            {"mode": mode, "factors": factors, "align_corners": False, "antialias": False},
        )


def order():
    for axis, descending in [(1, False), (-1, True)]:
        case(
            f"sort/axis{axis}",
            "sort",
            lambda x: torch.sort(x, dim=axis, descending=descending, stable=True).values,
            {"x": normal(3, 4, 5)},
            {"axis": axis, "descending": descending},
        )
    for axis, largest in [(0, True), (2, False)]:
        case(
            f"topk/axis{axis}",
            "topk",
            lambda x: torch.topk(x, 2, dim=axis, largest=largest).values,
            {"x": normal(3, 4, 5)},
            {"k": 2, "axis": axis, "largest": largest},
        )
    for size in [(1, 1), (3, 2), (7, 9)]:
        case(
            f"adaptive_max_pool2d/{size[0]}x{size[1]}",
            "adaptive_max_pool2d",
            # Ties: the gradient goes to the first one.
            lambda x: F.adaptive_max_pool2d(F.relu(x), size),
            {"x": normal(2, 3, 5, 6)},
            {"size": size},
        )
    case("tril/1", "tril", lambda x: torch.tril(x, 1), {"x": normal(2, 4, 5)}, {"diagonal": 1})
    case("triu/-1", "triu", lambda x: torch.triu(x, -1), {"x": normal(2, 4, 5)}, {"diagonal": -1})
    case("roll/2", "roll", lambda x: torch.roll(x, 2, 1), {"x": normal(2, 5)}, {"shift": 2, "axis": 1})
    case("repeat/2x3", "repeat", lambda x: x.repeat(2, 3), {"x": normal(2, 3)}, {"times": [2, 3]})


def attention():
    mask = torch.rand(4, 5) > 0.4
    mask[:, 0] = True
    sizes = [(2, 2, 4, 3), (2, 2, 5, 3), (2, 2, 5, 6)]
    q, k, v = [normal(*size) for size in sizes]
    sdpa = F.scaled_dot_product_attention
    op = "scaled_dot_product_attention"
    case(f"{op}/mask", op, lambda q, k, v, mask: sdpa(q, k, v, mask), {"q": q, "k": k, "v": v, "mask": mask})
    case(f"{op}/causal", op, lambda q, k, v: sdpa(q, k, v, is_causal=True), {"q": q, "k": k, "v": v}, {"causal": True})


def scans():
    for op, axis in itertools.product(["cumprod", "logcumsumexp", "cummax", "cummin"], [0, -1]):
        x = normal(4, 3, 5)
        if op == "cumprod":
            # Lines without, with one and with several zeros.
            x[torch.rand(x.shape) < 0.2] = 0
        if op.startswith("cumm"):
            # Ties: the gradient goes to the last one.
            x = x.round()
        run = getattr(torch, op)
        case(
            f"{op}/axis{axis}",
            op,
            lambda x: run(x, axis).values if op.startswith("cumm") else run(x, axis),
            {"x": x},
            {"axis": axis},
        )


def windows():
    geometries = [((3, 2), (2, 2), (1, 0)), ((2, 3), (3, 2), (0, 1)), ((2, 2), (3, 3), (1, 1))]
    for kernel, stride, padding in geometries:
        attrs = {"kernel": kernel, "stride": stride, "padding": padding}
        name = "x".join(map(str, kernel + stride + padding))
        case(
            f"max_pool2d/ceil_{name}",
            "max_pool2d",
            lambda x: F.max_pool2d(x, kernel, stride, padding, ceil_mode=True),
            {"x": normal(2, 3, 6, 5)},
            attrs,
        )
        for count in [True, False]:
            case(
                f"avg_pool2d/ceil_{name}_{'with' if count else 'without'}_padding",
                "avg_pool2d",
                lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil_mode=True, count_include_pad=count),
                {"x": normal(2, 3, 6, 5)},
                {**attrs, "count_include_pad": count},
            )
    for kernel, stride, padding, dilation in [
        ((3, 2), (1, 2), (1, 0), (1, 1)),
        ((2, 3), (2, 1), (0, 2), (2, 2)),
    ]:
        attrs = {"kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
        name = "x".join(map(str, kernel))
        columns = F.unfold(normal(2, 3, 6, 5), **options).shape
        case(f"unfold/{name}", "unfold", lambda x: F.unfold(x, **options), {"x": normal(2, 3, 6, 5)}, attrs)
        case(
            f"fold/{name}",
            "fold",
            lambda x: F.fold(x, (6, 5), **options),
            {"x": normal(*columns)},
            {**attrs, "size": (6, 5)},
        )
    case(
        "constant_pad2d/mixed",
        "constant_pad2d",
        lambda x: F.pad(x, (2, -1, 0, 1), value=-1.5),
        {"x": normal(2, 3, 3, 4)},
        {"padding": (2, -1, 0, 1), "value": -1.5},
    )


def save(path, metadata):
    names = {torch.float64: "F64", torch.int64: "I64", torch.bool: "BOOL"}
    head, data = {"__metadata__": metadata}, b""
    for key, t in tensors.items():
        raw = t.contiguous().numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        head[key] = {"dtype": names[t.dtype], "shape": list(t.shape), "data_offsets": offsets}
        data += raw
    head = json.dumps(head).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + data)


sampling()
order()
attention()
scans()
windows()
metadata = {"cases": json.dumps(cases), "made_with": f"torch {torch.__version__}"}
save(sys.argv[1], metadata)
