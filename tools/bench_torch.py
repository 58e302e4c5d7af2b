#!/usr/bin/env python3
"""The workloads of `cargo xtask bench` in PyTorch, to compare with:

    cargo xtask bench --threads 2 --versus 'python tools/bench_torch.py --threads 2'

On a GPU both take `--device cuda`. Needs only `pip install torch`, and torchvision for `infer_resnet18` and
`infer_convnext_tiny`. Reads one workload's name a line on standard input, runs one round of it (at least
0.2 seconds of repetitions) and answers with one line of JSON:

    {"workload": "conv3x3_64_32", "ms": 12.3, "cpu_ms": 24.5, "peak_rss_mib": 612.0, "format": "channels_last"}

or {"workload": ..., "error": ...}. Every workload runs in a process of its own, so that its peak memory is its own, and
models are kept between rounds. Where the memory format matters both are tried when a workload is first asked for (the best of
three rounds each; one where a round takes more than two seconds), and the one with the faster whole step is kept. AdamW is the fused one.
"""
import argparse
import importlib.util
import json
import math
import os
import subprocess
import sys
import time

FORMATS = ("contiguous", "channels_last")
# What a workload needs beside PyTorch.
NEEDS = {"infer_resnet18": "torchvision", "infer_convnext_tiny": "torchvision"}
ROUND_S = 0.2
# Of so many rounds the better memory format is judged by the best, unless one takes longer than SLOW_S.
TRIES, SLOW_S = 3, 2.0


# --------------------------------------------------------------------------------------------- models


def define_models():
    """Models by name; in a function because only the worker imports torch."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class LpConv2d(nn.Module):
        """The reference formula: weight * exp(-sum_i |C offset|_i ^ (2 ^ log2p)), one mask per output channel."""

        def __init__(self, conv, log2p):
            super().__init__()
            k = conv.kernel_size[0]
            cut = k // 2 + k % 2
            size = 2 * k + k % 2
            self.stride, self.groups = conv.stride, conv.groups
            self.padding = conv.padding[0] + cut
            out_channels, per_group = conv.weight.shape[:2]
            weight = torch.zeros(out_channels, per_group, size, size)
            weight[:, :, cut:-cut, cut:-cut] = conv.weight.data
            self.weight, self.bias = nn.Parameter(weight), conv.bias
            self.log2p = nn.Parameter(torch.full((out_channels,), float(log2p)))
            self.C = nn.Parameter((torch.eye(2) / (k * 0.5 + 1e-4)).repeat(out_channels, 1, 1))
            self.register_buffer("offsets", offsets(size))

        def forward(self, x):
            weight = self.weight * lp_mask(self.C, self.log2p, self.offsets)
            return F.conv2d(x, weight, self.bias, self.stride, self.padding, 1, self.groups)

    def lp_convert(model, p):
        for name, child in model.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(model, name, LpConv2d(child, {2: 1, 16: 4}[p]))
            else:
                lp_convert(child, p)
        return model

    def sudoku():
        layers, c = [], 1
        for _ in range(10):
            layers += [nn.ReflectionPad2d(1), nn.Conv2d(c, 256, 3), nn.BatchNorm2d(256), nn.ReLU(True)]
            c = 256
        return nn.Sequential(*layers, nn.Conv2d(c, 9, 1))

    class BasicBlock(nn.Module):
        def __init__(self, c_in, c, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(c_in, c, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(c)
            self.conv2 = nn.Conv2d(c, c, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(c)
            self.relu = nn.ReLU(True)
            self.downsample = None
            if stride != 1 or c_in != c:
                self.downsample = nn.Sequential(nn.Conv2d(c_in, c, 1, stride, bias=False), nn.BatchNorm2d(c))

        def forward(self, x):
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    def resnet18_cifar():
        layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(True), nn.MaxPool2d(3, 2, 1)]
        c_in = 64
        for c, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [BasicBlock(c_in, c, stride), BasicBlock(c, c, 1)]
            c_in = c
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 100))

    def alexnet_cifar():
        layers = []
        for c_in, c, k, padding, pool in (
            (3, 64, 3, 1, True), (64, 192, 5, 2, True), (192, 384, 3, 1, False), (384, 256, 3, 1, False), (256, 256, 3, 1, True),
        ):
            layers += [nn.Conv2d(c_in, c, k, 1, padding), nn.ReLU(True)] + [nn.MaxPool2d(3, 2)] * pool
        return nn.Sequential(
            *layers, nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(0.5), nn.Linear(9216, 4096), nn.ReLU(True),
            nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(True), nn.Linear(4096, 100),
        )

    class ConvNeXtBlock(nn.Module):
        """As in timm and torchvision: the linear layers see channels last."""

        def __init__(self, c):
            super().__init__()
            self.conv_dw = nn.Conv2d(c, c, 7, 1, 3, groups=c)
            self.norm = nn.LayerNorm(c, 1e-6)
            self.fc1, self.fc2 = nn.Linear(c, 4 * c), nn.Linear(4 * c, c)
            self.gamma = nn.Parameter(torch.full((c,), 1e-6))

        def forward(self, x):
            y = self.norm(self.conv_dw(x).permute(0, 2, 3, 1))
            y = self.fc2(F.gelu(self.fc1(y))) * self.gamma
            return x + y.permute(0, 3, 1, 2)

    class CnnGru(nn.Module):
        """Shifter MLP, image warp, three convolutions of 7x7 and stride 2, behavior encoder, GRU, linear, softplus."""

        def __init__(self, neurons=68, behavior=21, hidden=512):
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(3))
            self.shifter = nn.Sequential(
                nn.BatchNorm1d(4), nn.Linear(4, 256), nn.BatchNorm1d(256), nn.Tanh(), nn.Linear(256, 256),
                nn.BatchNorm1d(256), nn.Tanh(), nn.Linear(256, 3), nn.Tanh(),
            )
            layers = []
            for c_in, c in ((1, 128), (128, 64), (64, 32)):
                layers += [nn.Conv2d(c_in, c, 7, 2), nn.BatchNorm2d(c), nn.ReLU(), nn.Dropout(0.5)]
            self.visual = nn.Sequential(*layers, nn.Flatten(), nn.Linear(480, neurons))
            self.behavior = nn.Sequential(nn.BatchNorm1d(behavior), nn.Linear(behavior, neurons))
            self.bn = nn.BatchNorm1d(3)
            self.gru = nn.GRU(3 * neurons, hidden, batch_first=True)
            self.fc = nn.Linear(hidden, neurons)

        def forward(self, images, behavior):
            batch, steps = images.shape[:2]
            gaze = behavior[..., [4, 3, 1, 2]].reshape(-1, 4)
            shift = (self.shifter(gaze) + self.bias) * torch.tensor([80 / 5.5, 60 / 5.5, 45.0])
            angle = shift[:, 2] * (-3.14159265 / 180)
            c, s, w, h = angle.cos(), angle.sin(), 39.5, 29.5
            dx, dy = w - 30 - shift[:, 0], h - 40 - shift[:, 1]
            rows = [
                torch.stack([c, -s * h / w, (c * dx - s * dy + 30 - w) / w], 1),
                torch.stack([s * w / h, c, (s * dx + c * dy + 40 - h) / h], 1),
            ]
            shape = (batch * steps, 1, 60, 80)
            grid = F.affine_grid(torch.stack(rows, 1), shape, align_corners=True)
            images = F.grid_sample(images.reshape(shape), grid, align_corners=True).reshape(batch, steps, 1, 60, 80)
            features = []
            for t in range(steps):
                v, b = self.visual(images[:, t]), self.behavior(behavior[:, t])
                features.append(self.bn(torch.stack([v, b, v * b], 1)))
            out, _ = self.gru(torch.stack(features, 1).flatten(2))
            return F.softplus(self.fc(out[:, -1]))

    models = {"sudoku": sudoku, "resnet18_cifar": resnet18_cifar, "alexnet_cifar": alexnet_cifar}
    models["convnext_t_stage"] = lambda: nn.Sequential(*(ConvNeXtBlock(96) for _ in range(3)))
    models["cnn_gru"] = CnnGru
    return models, lp_convert


def offsets(size):
    import torch

    a = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    return torch.stack(torch.meshgrid(a, a, indexing="ij"))


def lp_mask(c, log2p, offset):
    """Masks [O, 1, k, k]."""
    import torch

    z = torch.einsum("cij,jmn->cimn", c, offset).abs()
    return torch.exp(-z.pow(2 ** log2p[:, None, None, None]).sum(1, keepdim=True))


# ------------------------------------------------------------------------------------------ workloads
# Each function makes a step to repeat; `memory_format` is torch's.


def gemm(m, n, k, transposed, memory_format):
    import torch

    a = torch.randn(m, k)
    b = torch.randn(n, k).t() if transposed else torch.randn(k, n)
    return lambda: torch.mm(a, b)


def conv(memory_format, kernel, channels, size, batch=32, c_in=None, stride=1, padding=None, groups=1, dx=True, p=None):
    """Output, input gradient and weight gradient of one layer; the weight is the product with its mask already."""
    import torch
    import torch.nn.functional as F

    c_in, padding = c_in or channels, kernel // 2 if padding is None else padding
    weight = torch.randn(channels, c_in // groups, kernel, kernel) * 0.02
    if p is not None:
        c = (torch.eye(2) / (kernel // 2 * 0.5 + 1e-4)).repeat(channels, 1, 1)
        weight *= lp_mask(c, torch.full((channels,), math.log2(p)), offsets(kernel))
    x = torch.randn(batch, c_in, size, size).contiguous(memory_format=memory_format)
    weight = weight.contiguous(memory_format=memory_format)
    out = (size + 2 * padding - kernel) // stride + 1
    dy = torch.randn(batch, channels, out, out).contiguous(memory_format=memory_format)
    backward = torch.ops.aten.convolution_backward

    def step():
        F.conv2d(x, weight, None, stride, padding, 1, groups)
        backward(dy, x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups, [dx, True, False])

    return step


def depthwise(memory_format, kernel, channels, size, batch=32, p=None):
    return conv(memory_format, kernel, channels, size, batch, groups=channels, p=p)


def train(model, inputs, target, loss, memory_format):
    """A whole training step with AdamW."""
    import torch

    model = model.train().to(memory_format=memory_format)
    inputs = [x.contiguous(memory_format=memory_format) if x.dim() == 4 else x for x in inputs]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        optimizer.zero_grad()
        loss(model(*inputs), target).backward()
        optimizer.step()

    return step


def classify(name, p, memory_format):
    import torch
    import torch.nn.functional as F

    models, lp_convert = define_models()
    model = models[name]()
    if p is not None:
        model = lp_convert(model, p)
    if name == "sudoku":
        x, y = torch.randint(0, 10, (100, 1, 9, 9)) / 9 - 0.5, torch.randint(0, 9, (100, 9, 9))
    else:
        x, y = torch.randn(32, 3, 32, 32), torch.randint(0, 100, (32,))
    return train(model, [x], y, F.cross_entropy, memory_format)


def convnext_t_stage(memory_format):
    """Forward and backward of three blocks, the input's gradient included."""
    import torch

    model = define_models()[0]["convnext_t_stage"]().train().to(memory_format=memory_format)
    x = torch.randn(16, 96, 56, 56).contiguous(memory_format=memory_format).requires_grad_()
    dy = torch.randn(16, 96, 56, 56).contiguous(memory_format=memory_format)
    parameters = [x, *model.parameters()]
    return lambda: torch.autograd.grad(model(x), parameters, dy)


def cnn_gru(steps, memory_format):
    import torch
    import torch.nn.functional as F

    inputs = [torch.rand(256, steps, 1, 60, 80), torch.randn(256, steps, 21)]
    spikes = torch.poisson(torch.rand(256, 68))
    poisson = lambda rate, count: F.poisson_nll_loss(rate, count, log_input=False)
    return train(define_models()[0]["cnn_gru"](), inputs, spikes, poisson, memory_format)


def replknet31b():
    """RepLKNet-31B after re-parametrisation: the large kernels have swallowed the small ones and their batch norms."""
    from torch import nn

    def conv_bn(c_in, c, kernel=1, stride=1, groups=1):
        return [nn.Conv2d(c_in, c, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(c)]

    class Residual(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.layers = nn.Sequential(*layers)

        def forward(self, x):
            return x + self.layers(x)

    def relu():
        return nn.ReLU(inplace=True)

    c = 128
    layers = [*conv_bn(3, c, 3, 2), relu(), *conv_bn(c, c, 3, 1, c), relu(), *conv_bn(c, c), relu(), *conv_bn(c, c, 3, 2, c), relu()]
    for stage, (depth, kernel) in enumerate(((2, 31), (2, 29), (18, 27), (2, 13))):
        if stage > 0:
            layers += [*conv_bn(c, 2 * c), relu(), *conv_bn(2 * c, 2 * c, 3, 2, 2 * c), relu()]
            c *= 2
        for _ in range(depth):
            large = nn.Conv2d(c, c, kernel, 1, kernel // 2, groups=c)
            layers += [
                Residual(nn.BatchNorm2d(c), *conv_bn(c, c), relu(), large, relu(), *conv_bn(c, c)),
                Residual(nn.BatchNorm2d(c), *conv_bn(c, 4 * c), nn.GELU(), *conv_bn(4 * c, c)),
            ]
    return nn.Sequential(*layers, nn.BatchNorm2d(c), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000))


def infer(name, memory_format):
    """Logits of a batch of 8 pictures in eval and inference mode."""
    import torch

    if name == "replknet31b":
        model = replknet31b()
    else:
        import torchvision

        model = getattr(torchvision.models, name)()
    model = model.eval().to(memory_format=memory_format)
    x = torch.randn(8, 3, 224, 224).contiguous(memory_format=memory_format)

    def step():
        with torch.inference_mode():
            model(x)

    return step


def adamw_57m(memory_format):
    import torch

    parameters = [torch.nn.Parameter(torch.full((2016, 2016), 0.1)) for _ in range(14)]
    for p in parameters:
        p.grad = torch.randn(2016, 2016)
    return torch.optim.AdamW(parameters, lr=1e-4, fused=True).step


def op_overhead(memory_format):
    import torch

    x, y = torch.ones(16, requires_grad=True), torch.full((16,), 2.0, requires_grad=True)
    dz = torch.ones(16)
    return lambda: torch.autograd.grad(x + y, (x, y), dz)


def workloads():
    """Name: (function of the memory format, whether both formats are to be tried)."""
    table = {}

    def add(name, function, *args, both=True, **more):
        table[name] = (lambda f: function(*args, memory_format=f, **more), both)

    add("gemm_256x8100x12544", gemm, 256, 8100, 12544, False, both=False)
    add("gemm_bww_64x3136x1024", gemm, 64, 3136, 1024, True, both=False)
    for channels, size in ((64, 32), (128, 16), (256, 8), (512, 4)):
        add(f"conv3x3_{channels}_{size}", conv, kernel=3, channels=channels, size=size)
        for p in (2, 4, 8, 16, 256):
            # Nothing is cropped here: a `_dense` workload is the same one.
            for suffix in ("", "_dense"):
                add(f"conv7x7_{channels}_{size}_p{p}{suffix}", conv, kernel=7, channels=channels, size=size, p=p)
    for kernel, padding in ((11, 2), (23, 8)):
        for suffix, dx in (("", True), ("_no_dx", False)):
            add(
                f"conv{kernel}x{kernel}s4_224{suffix}", conv, kernel=kernel, channels=64, size=224, c_in=3, stride=4,
                padding=padding, dx=dx,
            )
    for kernel, channels, size, batch in (
        (7, 96, 56, 32), (7, 384, 14, 32), (15, 96, 56, 32), (15, 384, 14, 32), (31, 64, 56, 16), (27, 256, 14, 16),
    ):
        add(f"dw{kernel}_{channels}_{size}", depthwise, kernel=kernel, channels=channels, size=size, batch=batch)
    for suffix in ("", "_dense"):
        add(f"dw15_96_56_p16{suffix}", depthwise, kernel=15, channels=96, size=56, p=16)
    for name in ("sudoku", "resnet18_cifar", "alexnet_cifar"):
        for suffix, p in (("base", None), ("lp_p2", 2), ("lp_p16", 16)):
            add(f"{name}_{suffix}", classify, name, p)
    add("convnext_t_stage", convnext_t_stage)
    for steps in (1, 4):
        add(f"cnn_gru_t{steps}", cnn_gru, steps)
    for name in ("resnet18", "convnext_tiny", "replknet31b"):
        add(f"infer_{name}", infer, name)
    add("adamw_57m", adamw_57m, both=False)
    add("op_overhead", op_overhead, both=False)
    return table


# -------------------------------------------------------------------------------------------- program


def peak_rss_mib():
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def work(name, memory_format, threads, device):
    """The process of one workload: a round for every line on standard input."""
    import torch

    torch.set_default_device(device)
    # The fastest of cuDNN's algorithms, as whoever trains a network of fixed shapes would.
    torch.backends.cudnn.benchmark = True
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None

    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    formats = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    step = workloads()[name][0](formats[memory_format])
    for _ in range(2):
        step()
    wait()
    repetitions, seconds = 1, 0.0
    while True:
        begin = time.perf_counter()
        for _ in range(repetitions):
            step()
        wait()
        seconds = time.perf_counter() - begin
        if seconds > ROUND_S / 10:
            break
        repetitions *= 4
    repetitions = int(repetitions * ROUND_S / seconds) + 1
    for _ in sys.stdin:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for _ in range(repetitions):
            step()
        wait()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu_begin
        reading = {
            "workload": name, "ms": seconds * 1e3 / repetitions, "cpu_ms": cpu * 1e3 / repetitions,
            "peak_rss_mib": round(peak_rss_mib(), 1), "format": memory_format, "torch": torch.__version__,
        }
        print(json.dumps(reading), flush=True)


class Worker:
    """A process of this program that runs one workload in one memory format."""

    def __init__(self, name, memory_format, threads, device):
        self.name = name
        command = [sys.executable, os.path.abspath(__file__), "--worker", name, "--format", memory_format]
        command += ["--device", device] + (["--threads", str(threads)] if threads else [])
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self):
        """One round's line, or None if the process has ended."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return None
        return self.process.stdout.readline() or None

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def best_ms(worker, threads):
    """The least time of a few rounds, or None if the process has ended."""
    best = math.inf
    for _ in range(TRIES):
        line = worker.ask()
        if line is None:
            return None
        # On one thread processor time is what a busy machine does not change; on several, threads that wait burn it too.
        reading = json.loads(line)
        best = min(best, reading["cpu_ms" if threads == 1 else "ms"])
        # A round is one repetition where that takes longer than ROUND_S.
        if reading["ms"] / 1e3 > SLOW_S:
            break
    return best


def best_worker(name, threads, device, both):
    """The worker of the faster memory format, and None, or None and what went wrong."""
    best, least = None, None
    for memory_format in FORMATS if both else FORMATS[:1]:
        worker = Worker(name, memory_format, threads, device)
        # Where there is no choice nothing needs to be measured.
        ms = best_ms(worker, threads) if both else 0.0
        if ms is None:
            worker.end()
            if best:
                best.end()
            return None, f"the process for {memory_format} memory ended with status {worker.process.returncode}"
        if best is None or ms < least:
            worker, best, least = best, worker, ms
        if worker:
            worker.end()
    return best, None


def serve(threads, device):
    table, worker = workloads(), None
    for line in sys.stdin:
        name, answer, error = line.strip(), None, None
        if worker and worker.name != name:
            worker.end()
            worker = None
        if name not in table:
            error = "unknown workload"
        elif name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            error = f"{NEEDS[name]} is missing for this Python ({sys.executable}): pip install {NEEDS[name]}"
        elif worker is None:
            worker, error = best_worker(name, threads, device, table[name][1])
        if error is None:
            answer = worker.ask()
            if answer is None:
                worker, error = None, "the process ended"
        print(json.dumps({"workload": name, "error": error}) if error else answer.strip(), flush=True)
    if worker:
        worker.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="threads to compute with (default: torch's choice)")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:N (default: cpu)")
    parser.add_argument("--list", action="store_true", help="show the workloads, and run nothing")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.list:
        print("\n".join(workloads()))
    elif args.worker:
        work(args.worker, args.format, args.threads, args.device)
    elif importlib.util.find_spec("torch") is None:
        sys.exit("PyTorch is missing for this Python (" + sys.executable + "): pip install torch")
    else:
        serve(args.threads, args.device)


if __name__ == "__main__":
    main()
