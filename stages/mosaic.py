"""Mosaic: take the steps out of one, so that a restorer sees a face of few pixels, not a pattern.

The mean over a square as large as a block, taken around each pixel, turns the constant blocks into
straight slopes between their middles, wherever the grid of the mosaic lies. Where there is no
mosaic a picture is left as it is: in one, few pixels hold all the steps.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from . import detail
from .colour import luma

#: Least side of a block, px.
_LEAST = 2.0

#: How concentrated steps are in a mosaic: in a share of the pixels of this over the block's side,
#: or this more; and the share of that limit over which a crop counts as mosaic by degrees.
_STEPS, _MORE, _DEGREES = 2.0, 0.12, 0.3


def smooth(crop: Tensor, block: float) -> Tensor:
    """(3, S, S) in [0, 1] without the steps of a mosaic.

    Args:
        crop: (3, S, S) in [0, 1]. block: side of a block, px of the crop.
    """
    block = max(block, _LEAST)
    means = _squares(crop[:, None], block)[:, 0]
    return torch.lerp(crop, means, _where(crop[None], block)[0])


def _squares(planes: Tensor, side: float) -> Tensor:
    """(N, 1, S, S), means over squares around each pixel, of any side in px."""
    reach = math.ceil((side - 1) / 2)
    at = torch.arange(-reach, reach + 1, device=planes.device)
    kernel = (side / 2 - (at.abs() - 0.5)).clamp(0, 1)
    kernel = kernel / kernel.sum()
    wide = F.pad(planes, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def _where(crop: Tensor, block: float) -> Tensor:
    """(1, 1, S, S) in [0, 1], how surely a mosaic of that block lies around each pixel."""
    grey = F.pad(luma(crop), (0, 1, 0, 1), mode="replicate")
    across = (grey[..., :-1, 1:] - grey[..., :-1, :-1]).abs()
    steps = across + (grey[..., 1:, :-1] - grey[..., :-1, :-1]).abs()
    around = detail.blur(torch.cat([steps, steps.square()], 1), 2 * int(2 * block) + 1, block)
    mean, square = around.split(1, 1)
    spread = mean.square() / (square + 1e-9)
    limit = _STEPS / block + _MORE
    return ((limit - spread) / (_DEGREES * limit)).clamp(0, 1)
