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

#: How surely a mosaic must be in one place to be local, and the least share of a crop without it.
_SURE, _ELSEWHERE = 0.9, 0.5


@dataclass(frozen=True)
class Mosaic:
    """A mosaic: side of its blocks, px of the crop, and side of the crop in px of the picture it
    was cut from, None if that is not known."""

    block: float
    native: float | None = None


def smooth(crop: Tensor, mosaic: Mosaic) -> Tensor:
    """(3, S, S) in [0, 1] without the steps of a mosaic."""
    laid, block, share = _found(crop, mosaic)
    side = laid.shape[-1]
    means = _squares(_reduced(laid[:, None], share.shape[-1]), block * share.shape[-1] / side)
    plain = torch.lerp(
        laid, detail.enlarged(means, side)[:, 0], detail.enlarged(share, side)[0]
    )
    if side == crop.shape[-1]:
        return plain
    return (crop + detail.scale((plain - laid)[None], crop.shape[-1])[0]).clamp_(0, 1)


def within(crop: Tensor, mosaic: Mosaic) -> Tensor | None:
    """Where a mosaic lies that hides a part of a crop only.

    Args:
        crop: (3, S, S) in [0, 1], as it was found, with no other damage, which would hide steps.

    Returns:
        (1, S, S) in [0, 1]; None where the mosaic may be everywhere.
    """
    laid, block, share = _found(crop, mosaic)
    if share.max() < _SURE or (share < 1 - _SURE).float().mean() < _ELSEWHERE:
        return None
    reach = math.ceil(block * share.shape[-1] / laid.shape[-1])
    share = F.max_pool2d(share, 2 * reach + 1, 1, reach)
    return detail.enlarged(share, crop.shape[-1])[0].clamp(0, 1)


def _found(crop: Tensor, mosaic: Mosaic) -> tuple[Tensor, float, Tensor]:
    """The crop (3, s, s) at the size at which the mosaic was laid, the side of its blocks there,
    and on a grid (1, 1, g, g) how surely it is in each place."""
    size, block = crop.shape[-1], mosaic.block
    side = min(size, math.ceil(mosaic.native or size))
    laid = crop if side == size else detail.scale(crop[None], side)[0]
    block = max(block * side / size, _LEAST)
    # What is looked at here changes slowly from pixel to pixel of large blocks.
    grid = min(side, math.ceil(side * _GRID / block))
    # Enlargement makes slopes of the steps, which are told by how few pixels they hold.
    steps = _STEPS if side == size else _TURNED
    return laid, block, _where(laid[None], block, grid, steps)


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
