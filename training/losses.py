"""What the restorer is trained for: close pixels, close edges, the same person, real texture."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: Softness of the absolute value, as usual for Charbonnier in [-1, 1].
_SOFT = 1e-3

#: Deviation of a band, in [-1, 1] units, below which it counts as flat: about one 8-bit step.
_FLAT = 0.008


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """(N,) mean soft absolute difference."""
    return ((output - target).square() + _SOFT**2).sqrt().mean((1, 2, 3))


def edges(output: Tensor, target: Tensor) -> Tensor:
    """(N,) mean absolute difference of the finite differences in x and y."""
    error = output - target
    return error.diff(dim=2).abs().mean((1, 2, 3)) + error.diff(dim=3).abs().mean((1, 2, 3))


def texture(output: Tensor, target: Tensor, octaves: int = 3) -> Tensor:
    """(N,) mean log ratio of the local deviations of each octave's band.

    Blind to where a hair lies, not to whether there is any: the mean of all plausible faces has
    the wrong texture energy, and this is what tells.
    """
    pair = torch.cat([output, target]).mean(1, keepdim=True)
    total = output.new_zeros(output.shape[0])
    for _ in range(octaves):
        low = F.avg_pool2d(pair, 2)
        band = pair - F.interpolate(low, scale_factor=2, mode="bilinear", align_corners=False)
        level = (F.avg_pool2d(band.square(), 8, 4) + _FLAT**2).log()
        one, other = level.chunk(2)
        total = total + (one - other).abs().mean((1, 2, 3)) / 2
        pair = low
    return total / octaves


def likeness(output: tuple[Tensor, list[Tensor]], target: tuple[Tensor, list[Tensor]]):
    """(N,) cosine distance of embeddings, and (N,) relative distance of feature maps."""
    distance = 1 - (output[0] * target[0]).sum(1)
    features = [
        (a - b).abs().mean((1, 2, 3)) / b.abs().mean((1, 2, 3))
        for a, b in zip(output[1], target[1], strict=True)
    ]
    return distance, torch.stack(features).mean(0)
