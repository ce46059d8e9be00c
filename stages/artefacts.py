"""Artefacts: what a blended face may show that gives it away, with a remedy or an honest line.

Each check compares with the original, so what was there before is nobody's fault, and a crop that
was not changed passes all of them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.color import lab_to_rgb, rgb_to_lab
from torch import Tensor

from . import geometry
from .detail import grey, scale
from .faces import Face

#: Coherent amplitude, in [0, 1], of a pattern of period 2 that is visible, and how much stronger
#: than in the original it must be.
_PATTERN, _STRONGER = 1.5 / 255, 2.0

#: Side of the cells over which a pattern must hold together.
_CELL = 8

#: Share of the cells that must show a pattern before it is the decoder's.
_EVERYWHERE = 0.2

#: How much steeper than the picture's own the rim of a mask may be, and the mean gradient, in
#: [0, 1] a pixel, below which a rim cannot be seen.
_STEEPER, _FLAT = 1.2, 0.5 / 255

#: Shift of lips or irises in the plane of CIELAB's a and b from which it is seen and mended, and
#: what is left of it.
_HUE, _HUE_LEFT = 7.0, 2.0

#: Radii of irises and lips in the FFHQ crop, in shares of its side.
_IRIS, _LIPS = 0.03, 0.06

#: Side at which brows and gaze are compared.
_SIDE = 128

#: Shift of brows, in shares of the crop's side, from which two of them may show.
_DOUBLED = 0.02

#: Difference of the two pupils' places, in widths of an eye, that a restorer may add.
_GAZE = 0.18


def unpattern(before: Tensor, after: Tensor) -> tuple[Tensor, bool]:
    """Take out the chequerboard that transposed convolutions leave.

    Args:
        before, after: (1, C, s, s) in [0, 1], at the size at which the network worked.

    Returns:
        (1, C, s, s), `after` itself where there is no pattern, and whether there was one.
    """
    side = after.shape[-1]
    if side < 2 * _CELL or side % _CELL:
        return after, False
    sign = 1 - 2 * (torch.arange(side, device=after.device) % 2).to(after)
    patterns = (sign[None], sign[:, None], sign * sign[:, None])
    found = False
    for pattern, old, new in zip(patterns, _period(before), _period(after), strict=True):
        strong = (new > _PATTERN) & (new > _STRONGER * old)
        # A few cells are eyelashes; a decoder leaves its pattern everywhere.
        if float(strong.float().mean()) < _EVERYWHERE:
            continue
        level = F.avg_pool2d(after * pattern, _CELL)
        level = F.interpolate(level, size=(side, side), mode="bilinear", align_corners=False)
        after, found = after - level * pattern, True
    return after, found


def _period(picture: Tensor) -> list[Tensor]:
    """Amplitude, by cells, of what alternates from column to column, row to row, and both."""
    plane = grey(picture)
    left, right = plane[..., ::2], plane[..., 1::2]
    across, along = left - right, left + right
    parts = (
        across[..., ::2, :] + across[..., 1::2, :],
        along[..., ::2, :] - along[..., 1::2, :],
        across[..., ::2, :] - across[..., 1::2, :],
    )
    return [F.avg_pool2d(part, _CELL // 2).abs() / 4 for part in parts]


def rim(before: Tensor, joined: Tensor, ramp: Tensor) -> float:
    """How steep the picture is at the rim of a mask, over how steep it was.

    Args:
        before: (1, C, s, s). joined: (1, C, s, s), what is added to it. ramp: (1, 1, g, g).

    Returns:
        Ratio of mean gradients where the ramp rises; 1 where nothing was added.
    """
    # Every other sample: a rim that shows is longer than that.
    old = grey(before)[0, 0, ::2, ::2]
    new = old + grey(joined)[0, 0, ::2, ::2]
    side = old.shape[-1]
    t = F.interpolate(ramp, size=(side, side), mode="bilinear", align_corners=False)[0, 0]
    rising = ((t > 0) & (t < 1)).float()[:-1, :-1]
    count = rising.sum().clamp(min=1)
    steep = []
    for plane in (old, new):
        across, down = plane.diff(dim=1)[:-1], plane.diff(dim=0)[:, :-1]
        steep.append(float(((across.square() + down.square()).sqrt() * rising).sum() / count))
    return (steep[1] + _FLAT) / (steep[0] + _FLAT)


def too_steep(ratio: float) -> bool:
    """Whether a rim of this ratio can be seen."""
    return ratio > _STEEPER


def hues(face: Face, matrix: Tensor, size: int, small_after: Tensor, small_before: Tensor):
    """What gives lips and irises back the hue they had.

    Args:
        matrix: (2, 3), picture to a crop of side `size`.
        small_after, small_before: (1, 3, g, g) crops in the tones of the result, reduced.

    Returns:
        (1, 3, g, g) to be added, or None; and the names of what has shifted.
    """
    side = small_after.shape[-1]
    spots = _spots(face, matrix, size, side)
    lab_after, lab_before = (rgb_to_lab(x.clamp(0, 1)) for x in (small_after, small_before))
    moved, names = torch.zeros_like(lab_after), []
    for name, spot in spots:
        share = (spot / spot.sum()).to(lab_after)
        drift = ((lab_before - lab_after) * share).sum((2, 3), keepdim=True)
        drift[:, 0] = 0
        size_of = float(drift.norm())
        if size_of > _HUE:
            moved += drift * (1 - _HUE_LEFT / size_of) * spot.to(lab_after)
            names.append(name)
    if not names:
        return None, []
    change = lab_to_rgb(lab_after + moved) - lab_to_rgb(lab_after)
    return change, list(dict.fromkeys(names))


def _spots(face: Face, matrix: Tensor, size: int, side: int) -> list[tuple[str, Tensor]]:
    points = (geometry.transform(matrix, face.points) + 0.5) / size
    centres = (torch.arange(side) + 0.5) / side
    places = [("irises", points[0], _IRIS), ("irises", points[1], _IRIS)]
    corners = points[3:]
    places += [("lips", corners[0].lerp(corners[1], s), _LIPS / 2) for s in (0.25, 0.5, 0.75)]
    spots = []
    for name, (x, y), radius in places:
        if not (0.05 < float(x) < 0.95 and 0.05 < float(y) < 0.95):
            continue
        square = (centres - x).square() + (centres - y)[:, None].square()
        spots.append((name, (-0.5 * square / radius**2).exp()))
    return spots


def brows_moved(face: Face, matrix: Tensor, size: int, before: Tensor, after: Tensor) -> float:
    """How far brows and frames of glasses have moved up or down, in shares of the crop's side.

    0 where that cannot be told. Where an original shows through, moved brows are seen twice.
    """
    old, new = (scale(grey(x), _SIDE)[0, 0] for x in (before, after))
    points = (geometry.transform(matrix, face.points) + 0.5) / size * _SIDE
    eye_y = float(points[:2, 1].mean())
    left, right = float(points[0, 0]) - 0.1 * _SIDE, float(points[1, 0]) + 0.1 * _SIDE
    reach = round(0.06 * _SIDE)
    top, bottom = round(eye_y - 0.14 * _SIDE), round(eye_y + 0.05 * _SIDE)
    left, right = max(round(left), 0), min(round(right), _SIDE)
    if top - reach < 0 or bottom + reach >= _SIDE or right - left < 0.2 * _SIDE:
        return 0.0
    edges_old, edges_new = (x.diff(dim=0) for x in (old, new))
    fixed = edges_new[top:bottom, left:right]
    scores = {}
    for shift in range(-reach, reach + 1):
        other = edges_old[top - shift : bottom - shift, left:right]
        scores[shift] = float(F.cosine_similarity(fixed.flatten(), other.flatten(), 0))
    best = max(scores, key=scores.get)
    if scores[best] < 0.5 or scores[best] < scores[0] + 0.1:
        return 0.0
    return best / _SIDE if abs(best) / _SIDE >= _DOUBLED else 0.0


def gaze_parted(face: Face, matrix: Tensor, size: int, before: Tensor, after: Tensor) -> bool:
    """Whether the eyes look more apart than they did."""
    parted = []
    for crop in (before, after):
        plane = scale(grey(crop), _SIDE)[0, 0]
        points = (geometry.transform(matrix, face.points[:2]) + 0.5) / size * _SIDE
        places = [_pupil(plane, float(x), float(y)) for x, y in points]
        if None in places:
            return False
        parted.append(abs(places[0] - places[1]))
    return parted[1] - parted[0] > _GAZE


def _pupil(plane: Tensor, x: float, y: float) -> float | None:
    """Where the dark of an eye lies across it, in widths of the eye, 0 in the middle."""
    wide, high = round(0.055 * _SIDE), round(0.025 * _SIDE)
    left, top = round(x) - wide, round(y) - high
    if left < 0 or top < 0 or left + 2 * wide >= _SIDE or top + 2 * high >= _SIDE:
        return None
    window = plane[top : top + 2 * high + 1, left : left + 2 * wide + 1]
    dark = (window.median() - window).clamp(min=0).square()
    total = float(dark.sum())
    if total < 1e-3:
        return None
    columns = torch.arange(-wide, wide + 1, device=plane.device) / (2 * wide)
    return float((dark.sum(0) * columns).sum() / total)
