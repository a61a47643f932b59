"""VGG16 and the linear layers of LPIPS with random weights, as PyTorch's state dicts have them."""

import numpy as np

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
NARROW = (4, 4, 4, 4, 6, 6, 6, 8, 8, 8, 8, 8, 8)
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
# Of the layers that LPIPS looks at.
LAST_IN_BLOCK = (1, 3, 6, 9, 12)


def state_dict(widths: tuple[int, ...] = NARROW, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays by name, such that features neither grow nor fade from layer to layer."""
    random = np.random.default_rng(seed)
    arrays, before = {}, 3
    for index, width in zip(INDICES, widths, strict=True):
        kernel = random.standard_normal((width, before, 3, 3), np.float32)
        arrays[f"features.{index}.weight"] = kernel * np.float32(np.sqrt(2 / (9 * before)))
        arrays[f"features.{index}.bias"] = 0.1 * random.standard_normal(width, np.float32)
        before = width
    for layer, last in enumerate(LAST_IN_BLOCK):
        weights = random.random((1, widths[last], 1, 1), np.float32)
        arrays[f"lin{layer}.model.1.weight"] = weights
    return arrays


def pictures(seed: int, shape: tuple[int, ...] = (2, 33, 48, 3)) -> np.ndarray:
    """Random pictures [L, H, W, 3] from 0 to 1, smooth enough to have edges."""
    noise = np.random.default_rng(seed).random(shape, np.float32)
    return (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2)) / 3
