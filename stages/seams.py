"""Joining a face to its picture: what of a change shows where, between none and all of it.

The change (restored minus original) is weighted by a ramp that is 0 at the rim of the face and 1
inside. Each way is linear in the change, so no change gives exactly none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .detail import enlarged, halved

#: How much steeper than the ramp the weight of the finest band is; each octave is wider by half.
_STEEP = 4.0

#: Octaves of the pyramid, and the side below which none is halved.
_OCTAVES, _SMALLEST = 5, 24

#: Side at which the membrane of the gradient domain is stretched, and its rounds of smoothing.
_MEMBRANE, _ROUNDS = 64, 24

#: Up to this much of the ramp the change counts as the rim that the membrane hangs on.
_RIM = 0.25


def weight(ramp: Tensor, steepness: float = 1.0) -> Tensor:
    """Smooth step over a ramp in [0, 1]; a steeper one stays in the middle of it."""
    t = ramp
    if steepness != 1:
        t = (ramp * steepness).add_(0.5 - 0.5 * steepness).clamp_(0, 1)
    return (t * -2).add_(3).mul_(t).mul_(t)


def finest(ramp: Tensor, join: str) -> Tensor:
    """The weight that `join` gives the finest detail, of the shape of `ramp`."""
    return weight(ramp, 1.0 if join == "feather" else _STEEP)


def feather(change: Tensor, ramp: Tensor) -> Tensor:
    """All detail fades over the whole ramp: (1, C, s, s) times the ramp (1, 1, g, g)."""
    return change * enlarged(weight(ramp), change.shape[-1])


def multi_band(change: Tensor, ramp: Tensor) -> Tensor:
    """Tones fade over the whole ramp, fine detail over a quarter of it, octave by octave.

    Args:
        change: (1, C, s, s).
        ramp: (1, 1, g, g), any side.

    Returns:
        (1, C, s, s), the weighted change.

    Source: Burt and Adelson, "A multiresolution spline with application to image mosaics", 1983.
    The sum over the bands is regrouped, w0 G0 + (w1 - w0) G1 + ..., so that only the low-pass
    versions G of the change are needed, each at its own size.
    """
    levels = [change]
    while len(levels) < _OCTAVES and levels[-1].shape[-1] % 2 == 0:
        if levels[-1].shape[-1] < 2 * _SMALLEST:
            break
        levels.append(halved(levels[-1]))
    steepness = [max(_STEEP / 2 ** (level / 2), 1.0) for level in range(len(levels))]
    steepness[-1] = 1.0
    joined = None
    for level in reversed(range(len(levels))):
        side = levels[level].shape[-1]
        # Between samples a ramp is straight, so the few of a coarse level will do.
        t = ramp if ramp.shape[-1] <= side else enlarged(ramp, side)
        share = weight(t, steepness[level])
        if level:
            share -= weight(t, steepness[level - 1])
        part = levels[level] * enlarged(share, side)
        joined = part if joined is None else part.add_(enlarged(joined, side))
    return joined


def gradient(change: Tensor, ramp: Tensor) -> Tensor:
    """Keep the gradients of the change and let its values end at 0 on the rim.

    What the change is on the rim is stretched over the face as a smooth membrane and taken away,
    so a difference of light between the two sides leaves no edge.

    Args, returns: as `multi_band`.

    Source: Perez et al., "Poisson image editing", 2003, in the membrane form of Farbman et al.,
    "Coordinates for instant image cloning", 2009.
    """
    side = change.shape[-1]
    small = F.interpolate(change, size=(_MEMBRANE, _MEMBRANE), mode="area")
    t = enlarged(ramp, _MEMBRANE)
    rim = ((t > 0) & (t <= _RIM)).to(change)
    membrane = fill_in(small, rim, _ROUNDS)
    return (change - enlarged(membrane, side)).mul_(enlarged(finest(ramp, "gradient"), side))


def fill_in(values: Tensor, known: Tensor, rounds: int) -> Tensor:
    """Spread known values smoothly over the rest: the solution of Laplace's equation, coarsely.

    Args:
        values: (1, C, h, w). known: (1, 1, h, w), 1 where values hold, 0 where they are sought.
        rounds: relaxations at each octave.

    Returns:
        (1, C, h, w), equal to `values` where `known` is 1; 0 if nothing is known.

    Source: Gortler et al., "The lumigraph", 1996 (pull-push), relaxed at each octave on the way up.
    """
    height, width = values.shape[-2:]
    if max(height, width) <= 2:
        total = known.sum((2, 3), keepdim=True)
        mean = (values * known).sum((2, 3), keepdim=True) / total.clamp(min=1e-6)
        return torch.where(known > 0, values, mean)
    pooled = F.avg_pool2d(known, 2, ceil_mode=True)
    low = F.avg_pool2d(values * known, 2, ceil_mode=True) / pooled.clamp(min=1e-6)
    low = fill_in(low, (pooled > 0).to(known), rounds)
    spread = F.interpolate(low, size=(height, width), mode="bilinear", align_corners=False)
    held = known > 0
    result = torch.where(held, values, spread)
    for _ in range(rounds):
        wide = F.pad(result, (1, 1, 1, 1), mode="replicate")
        mean = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2]
        mean = (mean + wide[..., 1:-1, 2:]) / 4
        result = torch.where(held, values, mean)
    return result


JOINS = {"multi-band": multi_band, "feather": feather, "gradient": gradient}
