"""Mosaic: take the steps out of one, so that a restorer sees a face of few pixels, not a pattern.

The mean over a square as large as a block, taken around each pixel, turns the constant blocks into
straight slopes between their middles, wherever the grid of the mosaic lies. Where there is no
mosaic a picture is left as it is: in one, few pixels hold all the steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import detail
from .colour import luma

#: Least side of a block, px.
_LEAST = 2.0

#: Pixels of a block at most on the grid on which means are taken.
_GRID = 64

#: How concentrated steps are in a mosaic, and in one that was turned and resampled: in a share of
#: the pixels of this over the block's side, or this more; and the share of that limit over which a
#: crop counts as mosaic by degrees.
_STEPS, _TURNED, _MORE, _DEGREES = 2.0, 3.0, 0.12, 0.3


@dataclass(frozen=True)
class Mosaic:
    """A mosaic: side of its blocks, px of the crop, and side of the crop in px of the picture it
    was cut from, None if that is not known."""

    block: float
    native: float | None = None


def smooth(crop: Tensor, mosaic: Mosaic) -> Tensor:
    """(3, S, S) in [0, 1] without the steps of a mosaic."""
    size, block = crop.shape[-1], mosaic.block
    side = min(size, math.ceil(mosaic.native or size))
    if side == size:
        return _smooth(crop, max(block, _LEAST), _STEPS)
    # Enlargement makes slopes of the steps, which are told by how few pixels they hold.
    small = detail.scale(crop[None], side)
    change = _smooth(small[0], max(block * side / size, _LEAST), _TURNED) - small[0]
    return (crop + detail.scale(change[None], size)[0]).clamp_(0, 1)


def _smooth(crop: Tensor, block: float, steps: float) -> Tensor:
    """The same at the size at which the mosaic was laid."""
    size = crop.shape[-1]
    # What is looked at here changes slowly from pixel to pixel of large blocks.
    side = min(size, math.ceil(size * _GRID / block))
    means = _squares(_reduced(crop[:, None], side), block * side / size)
    share = _where(crop[None], block, side, steps)
    return torch.lerp(crop, detail.enlarged(means, size)[:, 0], detail.enlarged(share, size)[0])


def _reduced(planes: Tensor, side: int) -> Tensor:
    """(N, C, S, S) to means (N, C, side, side)."""
    return planes if planes.shape[-1] == side else F.interpolate(planes, (side, side), mode="area")


def _squares(planes: Tensor, side: float) -> Tensor:
    """(N, 1, s, s), means over squares around each pixel, of any side in px."""
    reach = math.ceil((side - 1) / 2)
    at = torch.arange(-reach, reach + 1, device=planes.device)
    kernel = (side / 2 - (at.abs() - 0.5)).clamp(0, 1)
    kernel = kernel / kernel.sum()
    wide = F.pad(planes, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _where(crop: Tensor, block: float, side: int, held: float) -> Tensor:
    """(1, 1, side, side) in [0, 1], how surely there is a mosaic of that block in (1, 3, S, S)."""
    grey = F.pad(luma(crop), (0, 1, 0, 1), mode="replicate")
    across = (grey[..., :-1, 1:] - grey[..., :-1, :-1]).abs()
    steps = across + (grey[..., 1:, :-1] - grey[..., :-1, :-1]).abs()
    near = block * side / crop.shape[-1]
    steps = _reduced(torch.cat([steps, steps.square()], 1), side)
    mean, square = detail.blur(steps, 2 * int(2 * near) + 1, near).split(1, 1)
    spread = mean.square() / (square + 1e-9)
    limit = held / block + _MORE
    return ((limit - spread) / (_DEGREES * limit)).clamp(0, 1)
