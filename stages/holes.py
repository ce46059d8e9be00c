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
    return _enlarged(_names(holes), holes)


def widened(holes: Tensor) -> Tensor:
    """Holes (N, 1, S, S), 0 or 1, wider by a 256th of the side, so that scratches, which are thin,
    are held as a whole."""
    reach = max(1, round(holes.shape[-1] / 256))
    return F.max_pool2d(holes, 2 * reach + 1, 1, reach)


def on_face(missing: Tensor) -> Tensor:
    """The holes that reach into the face: (S, S) of 0 and 1.

    Args:
        missing: (S, S) in [0, 1], Degradation.missing.
    """
    holes = (missing > MISSING).float()[None, None]
    if not bool(holes.any()):
        return holes[0, 0]
    names = _names(holes)
    areas = _areas(names, holes)
    inside = _areas(names, holes * face(holes.shape[-1])) > 0
    inside &= ~_eyes(names, holes, areas)
    return _enlarged(inside.float()[names.long()], holes)[0, 0]


def _names(holes: Tensor) -> Tensor:
    """The numbers of the holes (1, 1, S, S) on cells (1, 1, C, C), 0 where there is none."""
    cells = F.adaptive_max_pool2d(holes, min(_CELLS, holes.shape[-1]))
    names = torch.arange(1, cells.numel() + 1, device=cells.device).view_as(cells) * cells
    while True:
        spread = F.max_pool2d(names, 3, 1, 1) * cells
        if torch.equal(spread, names):
            return names
        names = spread


def _enlarged(cells: Tensor, holes: Tensor) -> Tensor:
    """What cells (1, 1, C, C) say of the holes (1, 1, S, S) in them; 0 elsewhere."""
    return F.interpolate(cells, holes.shape[-2:], mode="nearest-exact") * holes


def _eyes(names: Tensor, holes: Tensor, areas: Tensor) -> Tensor:
    """Which of the holes (named,) are eyes, by the areas of all of them."""
    eyes = [_ellipse(holes.shape[-1], eye, _EYE) for eye in _EYES]
    left, right = (_areas(names, holes * eye) == areas for eye in eyes)  # those wholly in an eye
    less, more = sorted((float(areas[left].sum()), float(areas[right].sum())))
    return left | right if more < _ALIKE * less else torch.zeros_like(left)


def _areas(names: Tensor, holes: Tensor) -> Tensor:
    """How large each hole is of which `holes` (1, 1, S, S) keeps all or a part, in cells."""
    shares = F.adaptive_avg_pool2d(holes, names.shape[-1])
    return names.flatten().long().bincount(shares.flatten())
