"""Restoration without a network, the yardstick a learned restorer must beat.

Each method takes a picture (H, W, 3) uint8 RGB and its settings, and returns a picture of the same
kind. GRIDS holds the settings that are tried; the benchmark reports the best of them for every
strength and every figure apart, so that none loses for want of tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def _to_bytes(values: NDArray[np.floating]) -> Picture:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def bicubic(picture: Picture, factor: float) -> Picture:
    """Shrunk by `factor` over areas, which averages noise, and enlarged again."""
    height, width = picture.shape[:2]
    small = (round(width / factor), round(height / factor))
    shrunk = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)


def bilateral(picture: Picture, levels: float, reach: float) -> Picture:
    """Bilateral filter (Tomasi and Manduchi, 1998): deviations in grey levels and px."""
    return cv2.bilateralFilter(picture, 0, levels, reach)


def non_local_means(picture: Picture, levels: float) -> Picture:
    """Non-local means (Buades et al., 2005) with OpenCV's windows; strength in grey levels."""
    return cv2.fastNlMeansDenoisingColored(picture, None, levels, levels, 7, 21)


def unsharp(values: NDArray[np.float32], amount: float) -> Picture:
    """Unsharp mask of 1.5 px."""
    return _to_bytes(values + amount * (values - cv2.GaussianBlur(values, (0, 0), 1.5)))


def richardson_lucy(picture: Picture, sigma: float, rounds: int, amount: float) -> Picture:
    """Richardson-Lucy for a Gaussian of `sigma` px, then an unsharp mask."""
    seen = picture.astype(np.float32) + 1
    guess = seen.copy()
    for _ in range(rounds):
        ratio = seen / np.maximum(cv2.GaussianBlur(guess, (0, 0), sigma), 1e-3)
        guess *= cv2.GaussianBlur(ratio, (0, 0), sigma)
    return unsharp(guess - 1, amount)


def wiener(picture: Picture, sigma: float, noise: float, amount: float) -> Picture:
    """Wiener filter for a Gaussian of `sigma` px and this noise-to-signal ratio; unsharp mask."""
    pad = 16
    values = np.pad(picture.astype(np.float32), ((pad, pad), (pad, pad), (0, 0)), "reflect")
    y, x = np.fft.fftfreq(values.shape[0])[:, None], np.fft.rfftfreq(values.shape[1])
    transfer = np.exp(-2 * (np.pi * sigma) ** 2 * (y**2 + x**2))
    # The mean passes unchanged, whatever the noise.
    inverse = (transfer * (1 + noise) / (transfer**2 + noise))[..., None]
    spectrum = np.fft.rfft2(values, axes=(0, 1)) * inverse
    result = np.fft.irfft2(spectrum, s=values.shape[:2], axes=(0, 1)).astype(np.float32)
    return unsharp(result[pad:-pad, pad:-pad], amount)


METHODS: dict[str, Callable[..., Picture]] = {
    "bicubic": bicubic,
    "bilateral": bilateral,
    "non-local means": non_local_means,
    "Richardson-Lucy + unsharp": richardson_lucy,
    "Wiener + unsharp": wiener,
}

GRIDS: dict[str, list[tuple[float, ...]]] = {
    "bicubic": [(1.25,), (1.5,), (2.0,), (3.0,), (4.0,)],
    "bilateral": list(product((8, 16, 32, 64), (1.5, 3.0))),
    "non-local means": [(2,), (5,), (10,)],
    "Richardson-Lucy + unsharp": list(product((0.6, 1.2, 2.0), (3, 10), (0.0, 0.5))),
    "Wiener + unsharp": list(product((0.6, 1.2, 2.0), (0.01, 0.05, 0.2), (0.0, 0.5))),
}
