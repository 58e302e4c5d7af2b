#!/usr/bin/env python3
"""The workloads of `cargo xtask bench` on loading images in PyTorch's DataLoader with the transforms of timm, to compare with:

    cargo xtask bench --threads 2 --filter loader --versus 'python tools/bench_loader.py --threads 2'

Needs `pip install torch torchvision timm`. The images are those of vision/data, the recipe that of DeiT: crop, flip, RandAugment
rand-m9-mstd0.5-inc1, random erasing, Mixup or CutMix of each batch. Worker processes are kept from epoch to epoch. Reads one workload's
name a line on standard input, runs one round of it (at least 0.2 seconds of epochs) and answers with one line of JSON, as
tools/bench_torch.py does; processor time is that of the main process only, so it is left out.
"""
import argparse
import io
import json
import pathlib
import resource
import sys
import time

ROUND_S = 0.2
BATCH = 100
DATA = pathlib.Path(__file__).resolve().parent.parent / "vision" / "data"


def cifar(n):
    """The first training images as pixels in memory, with their classes."""
    import numpy as np
    from PIL import Image

    mosaic = np.asarray(Image.open(DATA / "cifar100" / "train.jpg"))
    labels = (DATA / "cifar100" / "train_labels.bin").read_bytes()
    columns = mosaic.shape[1] // 32
    tile = lambda i: mosaic[i // columns * 32 :][:32, i % columns * 32 :][:, :32].copy()
    return [(tile(i), labels[i]) for i in range(n)], Image.fromarray


def tiny(n):
    """The first training images as JPEG files in memory, with their classes."""
    from PIL import Image

    folder, start, items = DATA / "tiny_imagenet", 0, []
    files, labels = (folder / "train.jpegs").read_bytes(), (folder / "train_labels.bin").read_bytes()
    lengths = (folder / "train_lengths.bin").read_bytes()
    for i in range(n):
        length = int.from_bytes(lengths[2 * i : 2 * i + 2], "little")
        items.append((files[start : start + length], labels[i]))
        start += length
    return items, lambda data: Image.open(io.BytesIO(data)).convert("RGB")


def epochs(items, opened, size, classes, workers):
    """A function that loads an epoch."""
    import timm.data
    import timm.data.auto_augment as augment
    import torch
    from torchvision import transforms

    # At a magnitude of 10 timm asks Pillow to keep no bit at all, which newer ones refuse.
    posterize = augment.NAME_TO_OP["PosterizeIncreasing"]
    augment.NAME_TO_OP["PosterizeIncreasing"] = lambda image, bits, **rest: posterize(image, max(bits, 1), **rest)
    transform = timm.data.create_transform(
        input_size=size, is_training=True, auto_augment="rand-m9-mstd0.5-inc1", interpolation="bicubic", re_prob=0.25, re_mode="pixel", re_count=1
    )
    if size == 32:
        transform.transforms[0] = transforms.RandomCrop(32, padding=4)

    class Images(torch.utils.data.Dataset):
        def __len__(self):
            return len(items)

        def __getitem__(self, i):
            return transform(opened(items[i][0])), items[i][1]

    mix = timm.data.Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=classes)
    loader = torch.utils.data.DataLoader(
        Images(), batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch():
        for images, labels in loader:
            mix(images, labels)

    return epoch


def round_of(step):
    """Mean wall-clock milliseconds of one repetition."""
    count, wall = 0, time.perf_counter()
    while True:
        step()
        count += 1
        elapsed = time.perf_counter() - wall
        if elapsed >= ROUND_S:
            return 1e3 * elapsed / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="worker processes (default: 2)")
    args = parser.parse_args()
    try:
        import timm  # noqa: F401
        import torch
    except ImportError as error:
        sys.exit(f"{error}: pip install torch torchvision timm ({sys.executable})")
    torch.set_num_threads(args.threads)
    table = {
        "loader_cifar_2000": lambda: epochs(*cifar(2000), 32, 100, args.threads),
        "loader_tiny_400": lambda: epochs(*tiny(400), 224, 20, args.threads),
    }
    prepared = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in table:
            print(json.dumps({"workload": name, "error": "unknown workload"}), flush=True)
            continue
        if name not in prepared:
            prepared = {name: table[name]()}
            prepared[name]()
        ms = round_of(prepared[name])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"workload": name, "ms": ms, "peak_rss_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
