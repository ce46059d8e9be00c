"""A picture of where a face is damaged: the crop in grey, the damage in colour over it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .colour import luma
from .degradation_estimate import Degradation
from .detail import scale
from .strategy import SIDE, figure

#: Colours from undamaged to lost, RGB 0..255, the lightness rising evenly so that more damage is
#: always brighter, in print and to every eye. Five points of "inferno" (van der Walt and Smith,
#: matplotlib, CC0).
COLOURS = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))

#: Outline of what is missing, a colour that none of those above comes near, RGB 0..255.
OUTLINE = (0, 229, 255)

#: Lightness of the grey crop below the colours, so that they stand out.
_DIMMED = 0.55

#: Width of the outline and height of the colour bar, in shares of the side.
_LINE, _BAR = 1 / 160, 1 / 32


def colours(values: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1] to RGB (N, 3, H, W) of COLOURS."""
    points = torch.tensor(COLOURS, dtype=values.dtype, device=values.device) / 255
    place = values.clamp(0, 1) * (len(COLOURS) - 1)
    below = place.floor().clamp(max=len(COLOURS) - 2)
    index = below.long()[:, 0]
    mixed = torch.lerp(points[index], points[index + 1], (place - below)[:, 0, ..., None])
    return mixed.permute(0, 3, 1, 2)


def heat_map(crops: Tensor, degradations: Sequence[Degradation], *, opacity: float = 0.7) -> Tensor:
    """Draw where each crop is damaged.

    Args:
        crops: (N, S, S, C) in [0, 1], C 1, 3 or 4. degradations: one each.
        opacity: of the colours where the damage is greatest, 0 to 1; where there is none the crop
            shows through.

    Returns:
        (N, S, S, 3) float32 in [0, 1]: the crop in grey, COLOURS by damage other than lost colour,
        an outline around missing regions that were found, and at the bottom the colours from
        undamaged to lost.
    """
    picture = crops.permute(0, 3, 1, 2).float().clamp(0, 1)
    grey = luma(picture[:, :3]) if picture.shape[1] >= 3 else picture
    if not len(degradations):
        return grey.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()
    side = picture.shape[-1]
    damage = torch.stack([one.where * _unwanted(one) for one in degradations])[:, None].to(picture)
    damage = F.interpolate(damage, size=(side, side), mode="bilinear").clamp(0, 1)
    drawn = torch.lerp(grey * _DIMMED, colours(damage), damage * opacity)
    missing = torch.zeros_like(grey, dtype=torch.bool)
    for index, one in enumerate(degradations):
        if one.finding("missing").present:
            missing[index] = scale(one.missing[None, None].to(picture), side)[0] > 0.5
    line = max(1, round(side * _LINE))
    ring, halo = _around(missing, line), _around(missing, 2 * line)
    drawn = torch.where(halo, 0.0, drawn)
    outline = torch.tensor(OUTLINE, dtype=drawn.dtype, device=drawn.device).view(1, 3, 1, 1) / 255
    drawn = torch.where(ring, outline, drawn)
    bar = max(1, round(side * _BAR))
    ramp = torch.linspace(0, 1, side, dtype=drawn.dtype, device=drawn.device)
    drawn[..., -bar:, :] = colours(ramp.expand(1, 1, bar, side))
    return drawn.permute(0, 2, 3, 1).contiguous()


def _unwanted(degradation: Degradation) -> float:
    """Share of the severity that is not colour people may want to be lost: 0 for a fine face that
    is merely grey, which would be bright all over otherwise."""
    if not degradation.severity:
        return 1.0
    return min(1.0, figure(degradation, "damage", SIDE) / degradation.severity)


def _around(mask: Tensor, width: int) -> Tensor:
    """Where (N, 1, H, W) bool `mask` is not, yet nearer than `width` px to it."""
    grown = F.max_pool2d(mask.float(), 2 * width + 1, 1, width) > 0
    return grown & ~mask
