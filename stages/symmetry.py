"""Symmetry: what a deep hole in an aligned face took, guessed from the face's other side.

An eye cannot be spread in from the skin around it, but the other one shows about how it looked. The
crop is mirrored and shifted until what lies around the hole fits best, for a face that is turned
has its middle elsewhere; where nothing fits, nothing is done. It is a guess, as a restorer's is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import detail
from . import holes as places
from .colour import luma
from .seams import fill_in

#: Depth of holes from which they are deep, and width of the rim around them that is compared, in
#: shares of the side.
_DEEP, _RIM = 0.012, 0.07

#: Sides at which the shift is looked for, over all of the face and then around the hole, and how
#: far, in px of the first across and down, and in px of the second.
_SIDES, _FAR, _NEAR = (64, 256), (8, 3), 6

#: Details compared are those finer than this share of the side: light from one side is no matter.
_LIGHT = 0.08

#: Mean of the correlations of the face and of the rim with their mirror images, from which and at
#: which the mirror image counts: one eye is better than none, though it may not fit to the pixel.
_ALIKE = (0.2, 0.24)

#: What a correlation loses for each px squared that the shift of the face is off none, and that of
#: the rim off that of the face, for in aligned crops eyes lie level and about the middle; and
#: difference in light, as a share, from what a hole was filled with plainly, from which a mirror
#: image is none.
_AWAY, _STRANGE = (0.008, 0.003), 0.35

#: Most holes that are looked at, the largest.
_MANY = 16

#: Share of what is compared that has to be known on both sides.
_ENOUGH = 0.5

#: Rounds of smoothing at each octave.
_ROUNDS = 12


def complete(crop: Tensor, holes: Tensor) -> Tensor:
    """Lay the face's other side into deep holes.

    Args:
        crop: (3, S, S) in [0, 1], aligned, its holes filled plainly (fill.fill).
        holes: (S, S), above 0.5 where the crop has no content of its own.

    Returns:
        (3, S, S); the crop itself outside the holes.
    """
    holes = (holes > 0.5).float()[None, None]
    side = crop.shape[-1]
    names = places.named(holes)
    found, sizes = names[_shrunk(holes, _DEEP * side) > 0].unique(return_counts=True)
    if not len(found):
        return crop
    coarse = _Mirror(crop[None], holes, _SIDES[0])
    whole = places.face(coarse.side).to(crop)
    frontal, across, down = coarse.best(whole, (0, 0), _FAR, _AWAY[0])
    fine, factor = _Mirror(crop[None], holes, _SIDES[1]), _SIDES[1] // _SIDES[0]
    result = crop[None].clone()
    for name in found[sizes.argsort(descending=True)][:_MANY]:
        hole = (names == name).float()
        rim = _grown(F.adaptive_max_pool2d(hole, fine.side), _RIM * fine.side)
        alike, *shift = fine.best(rim, (across * factor, down * factor), (_NEAR, _NEAR), _AWAY[1])
        low, high = _ALIKE
        share = min(max(((frontal + alike) / 2 - low) / (high - low), 0.0), 1.0)
        if share:
            shift = [round(by * side / fine.side) for by in shift]
            guess, soft = _laid(crop[None], hole, holes, shift)
            lighter = float(((guess - result) * soft).sum())
            if abs(lighter) < _STRANGE * float((result * soft).sum()):
                result = torch.lerp(result, guess, share * soft)
    return result[0]


def _laid(crop: Tensor, hole: Tensor, holes: Tensor, shift: list[int]) -> tuple[Tensor, Tensor]:
    """The mirror image of `crop` (1, 3, S, S) with the tones that the rim of `hole` asks for, and
    the share (1, 1, S, S) that it may have."""
    guess, unknown = _mirrored(crop, *shift), _mirrored(holes, *shift, 1.0)
    known = (1 - holes) * (1 - unknown)
    guess = guess + fill_in(crop - guess, known, _ROUNDS)
    by = _DEEP * crop.shape[-1]
    soft = detail.blur((1 - unknown) * hole, 2 * max(round(2 * by), 1) + 1, max(by, 0.5))
    return guess.clamp(0, 1), soft * hole


class _Mirror:
    """The fine grey of a crop (1, 3, S, S) at a side, beside its mirror image."""

    def __init__(self, crop: Tensor, holes: Tensor, side: int):
        grey = luma(detail.scale(crop, side))
        light = detail.blur(grey, 2 * round(2 * _LIGHT * side) + 1, _LIGHT * side)
        self.side = side
        self.grey, self.known = grey - light, 1 - F.adaptive_max_pool2d(holes, side)

    def best(
        self, where: Tensor, start: tuple[int, int], reach: tuple[int, int], lost: float
    ) -> tuple[float, int, int]:
        """How well what is known `where` is 1 fits its mirror image at best, and the shift across
        and down, px, within `reach` of `start`; `lost` for each px of the way there, squared."""
        where = where * self.known
        best = (-1.0, *start)
        if not bool(where.any()):
            return best
        rows, columns = (slice(int(at.min()), int(at.max()) + 1) for at in where[0, 0].nonzero().T)
        where, own = where[..., rows, columns], self.grey[..., rows, columns]
        margin = max(abs(begin) + far for begin, far in zip(start, reach, strict=True))
        other, known = (F.pad(p.flip(-1), (margin,) * 4) for p in (self.grey, self.known))
        for down in range(start[1] - reach[1], start[1] + reach[1] + 1):
            for across in range(start[0] - reach[0], start[0] + reach[0] + 1):
                top, left = rows.start + margin - down, columns.start + margin - across
                below, right = top + where.shape[-2], left + where.shape[-1]
                seen = where * known[..., top:below, left:right]
                if float(seen.sum()) >= _ENOUGH * float(where.sum()):
                    there = other[..., top:below, left:right]
                    alike = _correlation(own, there, seen)
                    away = (across - start[0]) ** 2 + (down - start[1]) ** 2
                    best = max(best, (alike - lost * away, across, down))
        return best


def _correlation(one: Tensor, other: Tensor, where: Tensor) -> float:
    total = where.sum()
    one = (one - (one * where).sum() / total) * where
    other = (other - (other * where).sum() / total) * where
    return float((one * other).sum() / (one.norm() * other.norm() + 1e-6))


def _mirrored(planes: Tensor, across: int, down: int, beyond: float = 0.0) -> Tensor:
    """Planes (1, C, S, S) mirrored left to right, then shifted; `beyond` is what comes in."""
    side = planes.shape[-1]
    wide = (max(across, 0), max(-across, 0), max(down, 0), max(-down, 0))
    moved = F.pad(planes.flip(-1), wide, value=beyond)
    top, left = max(-down, 0), max(-across, 0)
    return moved[..., top : top + side, left : left + side]


def _grown(mask: Tensor, by: float) -> Tensor:
    reach = max(round(by), 1)
    return F.max_pool2d(mask, 2 * reach + 1, 1, reach)


def _shrunk(mask: Tensor, by: float) -> Tensor:
    return 1 - _grown(1 - mask, by)
