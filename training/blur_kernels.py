"""The blur kernels of the degradation model: anisotropic Gaussian, motion stroke, lens disc.

All are square float32 arrays of odd side that sum to one, made for `cv2.filter2D`.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def gaussian_kernel(sigma_major: float, sigma_minor: float, angle: float) -> NDArray[np.float32]:
    """Anisotropic Gaussian; sigmas in px, angle of the major axis in degrees; sums to one."""
    radius = max(1, int(np.ceil(2.5 * sigma_major)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    major, minor = cos * x + sin * y, cos * y - sin * x
    kernel = np.exp(-0.5 * ((major / sigma_major) ** 2 + (minor / sigma_minor) ** 2))
    return (kernel / kernel.sum()).astype(np.float32)


def motion_kernel(length: float, angle: float) -> NDArray[np.float32]:
    """A straight stroke of `length` px, antialiased; angle in degrees; sums to one."""
    radius = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    half = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))]) * (length - 1) / 2
    start, end = radius - half, radius + half
    fixed = 4  # fractional bits of cv2.line, for sub-pixel ends
    ends = [tuple(int(round(v * 2**fixed)) for v in point) for point in (start, end)]
    cv2.line(kernel, *ends, 1.0, 1, cv2.LINE_8, fixed)
    kernel = cv2.GaussianBlur(kernel, (3, 3), 0.5)
    return kernel / kernel.sum()


def disc_kernel(radius: float) -> NDArray[np.float32]:
    """The circle of confusion of a lens out of focus; radius in px; sums to one."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    kernel = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    return kernel / kernel.sum()
