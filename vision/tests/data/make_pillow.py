"""Writes pillow_*.npy, what Pillow makes of a picture at another size: python make_pillow.py (Pillow 13.0, NumPy 2.4)."""

import numpy as np
from PIL import Image


def picture(h, w):
    """No smooth gradients: neighbors differ as much as they can, so that rounding shows."""
    y, x, c = np.meshgrid(np.arange(h), np.arange(w), np.arange(3), indexing="ij")
    return ((x * x * 7 + y * 13 + c * 50 + x * y) % 256).astype(np.uint8)


for (h, w), (oh, ow) in (((20, 30), (7, 11)), ((20, 30), (33, 45)), ((64, 48), (20, 15))):
    for name, mode in (("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)):
        resized = np.asarray(Image.fromarray(picture(h, w)).resize((ow, oh), mode))
        np.save(f"pillow_{name}_{h}x{w}_{oh}x{ow}.npy", resized)
