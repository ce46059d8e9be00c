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
from .detail import enlarged, grey, scale
from .faces import Face

#: Share of an iris or a lip that must be there for its hue to be known.
_TOLD = 0.9

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

#: Radii of irises and lips in the FFHQ crop, in shares of its side, and what of them is left out.
_IRIS, _LIPS, _FAINT = 0.03, 0.06, 1e-3

#: What is looked at: two irises and three places along the lips.
_SPOTS = ("irises", "irises", "lips", "lips", "lips")

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
    new = _period(after)
    if float((new > _PATTERN).float().mean((1, 2)).amax()) < _EVERYWHERE:
        return after, False
    old, mended = _period(before), False
    for index, pattern in enumerate(patterns):
        strong = (new[index] > _PATTERN) & (new[index] > _STRONGER * old[index])
        # A few cells are eyelashes; a decoder leaves its pattern everywhere.
        if float(strong.float().mean()) < _EVERYWHERE:
            continue
        level = F.avg_pool2d(after * pattern, _CELL)
        after, mended = after - enlarged(level, side) * pattern, True
    return after, mended


def _period(picture: Tensor) -> Tensor:
    """Amplitude, by cells, of what alternates from column to column, row to row, and both."""
    side = picture.shape[-1]
    count = side // _CELL
    rows = grey(picture).reshape(count, _CELL // 2, 2, side).sum(1)
    even, odd = rows.unbind(1)
    cells = torch.stack([even + odd, even - odd]).view(2, count, count, _CELL // 2, 2).sum(3)
    left, right = cells.unbind(-1)
    across = left - right
    parts = torch.stack([across[0], left[1] + right[1], across[1]])
    return parts.abs_() / _CELL**2


def rim(plane: Tensor, joined: Tensor, ramp: Tensor) -> float:
    """How steep the picture is at the rim of a mask, over how steep it was.

    Args:
        plane: (1, 1, s, s), its grey. joined: (1, C, s, s), what is added to the picture.
        ramp: (1, 1, g, g).

    Returns:
        Ratio of mean gradients where the ramp rises; 1 where nothing was added.
    """
    # Every other sample: a rim that shows is longer than that.
    old, added = (x[..., ::2, ::2] for x in (plane, joined))
    both = torch.cat([old, old + grey(added)])[:, 0]
    t = enlarged(ramp, both.shape[-1])[0, 0, :-1, :-1]
    rising = ((t > 0) & (t < 1)).to(both)
    across, down = both.diff(dim=2)[:, :-1], both.diff(dim=1)[:, :, :-1]
    steep = (across.square_().add_(down.square_()).sqrt_() * rising).sum((1, 2))
    before, after = (steep / rising.sum().clamp(min=1)).tolist()
    return (after + _FLAT) / (before + _FLAT)


def too_steep(ratio: float) -> bool:
    """Whether a rim of this ratio can be seen."""
    return ratio > _STEEPER


def hues(
    face: Face,
    matrix: Tensor,
    size: int,
    small_after: Tensor,
    small_before: Tensor,
    whole: Tensor | None = None,
):
    """What gives lips and irises back the hue they had.

    Args:
        matrix: (2, 3), picture to a crop of side `size`.
        small_after, small_before: (1, 3, g, g) crops in the tones of the result, reduced.
        whole: (1, 1, g, g), 0 where the original has nothing to tell; None for nowhere.

    Returns:
        (1, 3, g, g) to be added, or None; and the names of what has shifted.
    """
    names, spots = _spots(face, matrix, size, small_after.shape[-1])
    if not names:
        return None, []
    spots = spots.to(small_after)
    if whole is not None:
        there = (spots * whole[0].to(spots)).sum((1, 2)) > _TOLD * spots.sum((1, 2))
        if not bool(there.any()):
            return None, []
        names = [name for name, seen in zip(names, there.tolist(), strict=True) if seen]
        spots = spots[there]
    rows, columns = (_reach(spots.amax((0, axis))) for axis in (2, 1))
    spots = spots[:, rows, columns]
    both = torch.cat([small_after, small_before])[..., rows, columns]
    lab_after, lab_before = rgb_to_lab(both.clamp(0, 1))
    shares = spots / spots.sum((1, 2), keepdim=True)
    drifts = torch.einsum("nhw,chw->nc", shares, lab_before - lab_after)
    drifts[:, 0] = 0
    sizes = drifts.norm(dim=1)
    shifted = sizes > _HUE
    if not bool(shifted.any()):
        return None, []
    back = drifts * (1 - _HUE_LEFT / sizes.clamp(min=_HUE))[:, None] * shifted[:, None]
    moved = lab_after + torch.einsum("nc,nhw->chw", back, spots)
    change = torch.zeros_like(small_after)
    change[..., rows, columns] = lab_to_rgb(moved[None]) - lab_to_rgb(lab_after[None])
    told = [name for name, there in zip(names, shifted.tolist(), strict=True) if there]
    return change, list(dict.fromkeys(told))


def _reach(line: Tensor) -> slice:
    """From the first to the last of a line of weights that counts beside the largest."""
    places = (line >= _FAINT * line.max()).nonzero()
    return slice(int(places[0]), int(places[-1]) + 1)


def _spots(face: Face, matrix: Tensor, size: int, side: int) -> tuple[list[str], Tensor]:
    """Names of irises and parts of the lips that are in the crop, and their (n, side, side)."""
    points = (geometry.transform(matrix, face.points) + 0.5) / size
    corners = points[3:]
    along = torch.tensor([[0.25], [0.5], [0.75]])
    places = torch.cat([points[:2], corners[0] + (corners[1] - corners[0]) * along])
    radii = torch.tensor([_IRIS, _IRIS, *[_LIPS / 2] * 3])
    seen = ((places > 0.05) & (places < 0.95)).all(1)
    names = [name for name, there in zip(_SPOTS, seen.tolist(), strict=True) if there]
    centres = (torch.arange(side) + 0.5) / side
    reach = -0.5 / radii[seen, None].square()
    x, y = (((centres - at[seen, None]).square() * reach).exp() for at in places.unbind(1))
    return names, y[:, :, None] * x[:, None]


def features(small: tuple[Tensor, Tensor]) -> Tensor:
    """Original and restored (1, C, g, g) as `brows_moved` and `gaze_parted` compare them."""
    return scale(torch.cat([grey(picture) for picture in small]), _SIDE)[:, 0]


def brows_moved(face: Face, matrix: Tensor, size: int, planes: Tensor) -> float:
    """How far brows and frames of glasses have moved up or down, in shares of the crop's side.

    0 where that cannot be told. Where an original shows through, moved brows are seen twice.

    Args:
        planes: of `features`. matrix: (2, 3), picture to a crop of side `size`.
    """
    points = (geometry.transform(matrix, face.points) + 0.5) / size * _SIDE
    eye_y = float(points[:2, 1].mean())
    left, right = float(points[0, 0]) - 0.1 * _SIDE, float(points[1, 0]) + 0.1 * _SIDE
    reach = round(0.06 * _SIDE)
    top, bottom = round(eye_y - 0.14 * _SIDE), round(eye_y + 0.05 * _SIDE)
    left, right = max(round(left), 0), min(round(right), _SIDE)
    if top - reach < 0 or bottom + reach >= _SIDE or right - left < 0.2 * _SIDE:
        return 0.0
    edges_old, edges_new = planes.diff(dim=1)[..., left:right]
    fixed = edges_new[top:bottom].flatten()
    # Row k: the old edges as they would lie had they moved by reach - k.
    moved = edges_old[top - reach : bottom + reach].unfold(0, bottom - top, 1)
    scores = F.cosine_similarity(moved.transpose(1, 2).flatten(1), fixed[None]).tolist()
    best = max(range(len(scores)), key=scores.__getitem__)
    if scores[best] < 0.5 or scores[best] < scores[reach] + 0.1:
        return 0.0
    shift = reach - best
    return shift / _SIDE if abs(shift) / _SIDE >= _DOUBLED else 0.0


def gaze_parted(face: Face, matrix: Tensor, size: int, planes: Tensor) -> bool:
    """Whether the eyes look more apart than they did; arguments as of `brows_moved`."""
    points = ((geometry.transform(matrix, face.points[:2]) + 0.5) / size * _SIDE).tolist()
    parted = []
    for plane in planes:
        places = [_pupil(plane, x, y) for x, y in points]
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
