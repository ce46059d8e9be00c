"""Crops on the picture's grid: the size to work at, and how a result gets under the pixels.

Everything about a face is decided in its crop, which is small; only what comes of it is brought to
the picture. A face larger than its crop is turned upright at the crop's own density and enlarged
from there by separable filters, which is several times cheaper than sampling every pixel of it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import geometry
from .detail import resized

#: Picture pixels per crop pixel from which turning and enlarging are done one after the other.
_ENLARGED = 1.3

#: Side of a crop in the picture, px, from which smooth maps are laid by every other pixel.
_LARGE = 256

#: Working sides are multiples of this, so that they can be halved; no face is worked at fewer.
_STEP, _LEAST = 16, 32


def working_side(matrix: Tensor, size: int) -> int:
    """The side at which a crop carries what its place in the picture can show, at most `size`.

    Args:
        matrix: (2, 3), picture to crop.
        size: side of the crop in pixels.
    """
    density = float(geometry.scale_of(matrix))
    if density <= 1:
        return size
    side = math.ceil(size / density / _STEP) * _STEP
    return min(max(side, _LEAST), size)


def sampling(matrix: Tensor, size: int, region: geometry.Region, pitch: float) -> Tensor:
    """Where in a crop the pixels of a region lie, or cells of them.

    Args:
        matrix: (2, 3), picture to crop.
        size: side of the crop that `matrix` leads to; the result fits that crop at any side.
        region: pixels of the picture.
        pitch: side of a cell in pixels, at least 1; rounded so that cells fill the region.

    Returns:
        (1, h, w, 2) coordinates for grid_sample, over pixel areas (align_corners=False).
    """
    rows, columns = (math.ceil(side / pitch) for side in (region.height, region.width))
    y = region.top - 0.5 + (torch.arange(rows) + 0.5) * (region.height / rows)
    x = region.left - 0.5 + (torch.arange(columns) + 0.5) * (region.width / columns)
    across, down, shift = (matrix * (2 / size)).unbind(1)
    return geometry.lattice(x, y, across, down, shift + 1 / size - 1)


def lay(
    stack: Tensor, matrix: Tensor, size: int, region: geometry.Region, *, smooth: bool = False
) -> Tensor:
    """Bring maps of a crop to the pixels of a region of the picture.

    Args:
        stack: (1, C, s, s), the crop at any side.
        matrix, size: picture to a crop of side `size`.
        smooth: the maps hold nothing fine, bilinear sampling is enough for them, and in a large
            face of every other pixel.

    Returns:
        (C, region.height, region.width); 0 beyond the crop.
    """
    pitch = 1 / float(geometry.scale_of(matrix))
    cell = pitch if pitch > _ENLARGED else 1.0
    if smooth and pitch * size > _LARGE:
        cell = max(cell, 2.0)
    at = sampling(matrix, size, region, cell).to(stack.device)
    laid = geometry.resample(stack, at, "bilinear" if smooth else "bicubic", "zeros")
    shape = (region.height, region.width)
    if laid.shape[-2:] == shape:
        return laid[0]
    if not smooth:
        return resized(laid, *shape)[0]
    # As pictures of their own, see detail.enlarged.
    return F.interpolate(laid.transpose(0, 1), size=shape, mode="bilinear")[:, 0]
