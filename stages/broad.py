"""Broad: the broad tones and colours of a face stay, unless there is a reason to change them.

A restorer that learned to fill holes and to give back faded colours takes a highlight on dark skin
for a hole, and guesses colours where noise hides them. What is broader than the damage is known,
however: of what a restorer changed there, only what is the same all over the crop is kept (an even
gain, cast or veil), and small changes of light and what may be noise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .degradation_estimate import Degradation
from .detail import scale

#: Cells along a crop in which tones are compared, at most and at least, and those of its colours.
_CELLS, _FEWEST, _COLOURS = 64, 8, 16

#: Change of light that a restorer may make in a cell, and change that counts as not even.
_LIGHT, _EVEN = 0.03, 0.03

#: How surely something must be missing for all changes near by to be let through, and how near, px
#: of 256.
_MISSING, _NEAR = 0.15, 9

#: Rounds of fitting, each of which looks less at what did not fit.
_ROUNDS = 5


def kept(before: Tensor, after: Tensor, found: Degradation, holes: Tensor | None = None) -> Tensor:
    """The restored crop with the broad tones that it had before.

    Args:
        before, after: (3, S, S) in [0, 1].
        found: what was wrong: nothing is broader than its blur, pixels and blocks are twice, and
            its noise is nothing to keep.
        holes: (1, S, S), above 0 where the crop had no content of its own.

    Returns:
        (3, S, S) in [0, 1].
    """
    size = after.shape[-1]
    side = max(_FEWEST, min(_CELLS, int(size / (2 * _extent(found))), size))
    old, new = (scale(crop[None], side)[0].flatten(1).T for crop in (before, after))  # (cells, 3)
    change = (new - _even(old, new)).T.view(1, 3, side, side)
    light = change.mean(1, keepdim=True)
    colours = min(_COLOURS, side)
    hue = scale(scale(change - light, colours), side)
    light = _beyond(light, _LIGHT + _noise(found, size / side))
    hue = _beyond(hue, _noise(found, size / colours))
    free = F.max_pool2d((found.missing[None, None] > _MISSING).to(after), _NEAR, 1, _NEAR // 2)
    free = F.adaptive_max_pool2d(free, side)
    if holes is not None:
        free = torch.maximum(free, F.adaptive_max_pool2d(holes[None].to(after), side))
    # What was and what came of it are the bounds; an even map may lead beyond both.
    whole = (new - old).T.view(1, 3, side, side)
    back = (light + hue).clamp(whole.clamp(max=0), whole.clamp(min=0)) * (1 - free)
    return (after - scale(back, size)[0]).clamp_(0, 1)


def _extent(found: Degradation) -> float:
    """How broad what was wrong is, px of the crop."""
    reach = {"blur": 2.0, "motion": 1.0, "resolution": 1.0, "pixelation": 1.0}
    known = [one for one in found.found() if one.kind in reach]
    return max([1.0, *(reach[one.kind] * one.strength for one in known)])


def _beyond(change: Tensor, limit: float) -> Tensor:
    """By how much a change exceeds a limit either way."""
    return change - change.clamp(-limit, limit)


def _noise(found: Degradation, cell: float) -> float:
    """How far noise moves the mean of a cell of `cell` px, 95 times in a hundred."""
    noise = found.finding("noise")
    if not noise.present:
        return 0.0
    return 2 * noise.strength / 255 * min(max(noise.grain, 1.0) / cell, 1.0)


def _even(old: Tensor, new: Tensor) -> Tensor:
    """What one affine map of colours makes of `old` (cells, 3), the one that most of `new` follow
    (least squares, reweighted after Cauchy)."""
    known = torch.cat([torch.ones_like(old[:, :1]), old], 1)
    still = torch.cat([torch.zeros_like(old[:1]), torch.eye(3).to(old)])
    ridge = 1e-2 * torch.eye(4).to(old)
    weight = torch.ones_like(old[:, :1])
    for _ in range(_ROUNDS):
        weighed = (known * weight).T
        fit = torch.linalg.solve(weighed @ known + ridge, weighed @ new + ridge @ still)
        even = known @ fit
        weight = 1 / (1 + ((new - even).abs().amax(1, keepdim=True) / _EVEN).square())
    return even
