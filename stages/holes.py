"""Holes: what of a crop's missing parts is a matter of the face.

A scratch through a face goes on beyond it and is filled as a whole. What lies beside the face alone
is none of ours: the stars of a flag and a white collar look like holes as well. Nor is what lies in
both eyes alike and nowhere else: the whites of drawn eyes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Probability from which DegradationEstimate's map counts as a hole.
MISSING = 0.5

#: Where the face lies in a crop: middle and half axes of an ellipse, in shares of the side.
_FACE = ((0.5, 0.53), (0.3, 0.36))

#: Where the eyes lie, and how far they reach, in the same way; drawn ones are larger.
_EYES, _EYE = ((0.377, 0.48), (0.623, 0.48)), (0.13, 0.13)

#: Greatest ratio of the areas of what is found in either eye if it is the eyes.
_ALIKE = 3.0

#: Cells along a side on which holes are told apart.
_CELLS = 64


def face(side: int) -> Tensor:
    """(1, 1, side, side), 1 where the face lies in a crop."""
    return _ellipse(side, *_FACE)


def _ellipse(side: int, middle: tuple[float, float], axes: tuple[float, float]) -> Tensor:
    """(1, 1, side, side), 1 in an ellipse of that middle and half axes, in shares of the side."""
    at = (torch.arange(side) + 0.5) / side
    (x, y), (wide, high) = middle, axes
    return (((at - x) / wide) ** 2 + ((at[:, None] - y) / high) ** 2 < 1).float()[None, None]


def named(holes: Tensor) -> Tensor:
    """The holes (1, 1, S, S), 0 or 1, each with a number of its own above 0 in its place; those
    that nearly touch are one."""
    cells = F.adaptive_max_pool2d(holes, min(_CELLS, holes.shape[-1]))
    names = torch.arange(1, cells.numel() + 1, device=cells.device).view_as(cells) * cells
    while True:
        spread = F.max_pool2d(names, 3, 1, 1) * cells
        if torch.equal(spread, names):
            break
        names = spread
    side = holes.shape[-1]
    return F.interpolate(names, (side, side), mode="nearest-exact") * holes


def on_face(missing: Tensor) -> Tensor:
    """The holes that reach into the face: (S, S) of 0 and 1.

    Args:
        missing: (S, S) in [0, 1], Degradation.missing.
    """
    holes = (missing > MISSING).float()[None, None]
    if not bool(holes.any()):
        return holes[0, 0]
    names = named(holes)[0, 0].long()
    areas = names.flatten().bincount()
    inside = _areas(names, face(holes.shape[-1]), areas) > 0
    inside &= ~_eyes(names, areas)
    return inside.float()[names]


def _eyes(names: Tensor, areas: Tensor) -> Tensor:
    """Which of the holes (named,) are eyes, by the areas of all of them."""
    eyes = [_ellipse(names.shape[-1], eye, _EYE) for eye in _EYES]
    left, right = (_areas(names, eye, areas) == areas for eye in eyes)  # those wholly in an eye
    less, more = sorted((int(areas[left].sum()), int(areas[right].sum())))
    return left | right if more < _ALIKE * less else torch.zeros_like(left)


def _areas(names: Tensor, region: Tensor, areas: Tensor) -> Tensor:
    """How many pixels of each hole lie in a region (1, 1, S, S) of 0 and 1; 0 of what is none."""
    names = names * region[0, 0].to(names)
    return names.flatten().bincount(minlength=len(areas)).index_fill_(0, names.new_zeros(1), 0)
