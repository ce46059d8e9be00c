"""Patches: what one restored crop adds to its picture, and how much of it counts.

All decisions are made in the crop, at the size the face has in the picture; see `placing`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from . import artefacts, colour, detail, geometry, masks, placing, seams, sharpness
from .faces import Face
from .holes import on_face
from .host import Host

#: Findings that make the fine detail of an original worthless.
_SPOILING = ("blur", "motion", "resolution", "pixelation", "noise", "jpeg", "missing")

#: Findings from which an original counts as softer than a picture should be, in its own px.
_SOFT = {"blur": 0.7, "motion": 2.0, "resolution": 1.5, "pixelation": 1.5}

#: Least side at which tones and features are compared; it is less than twice as many.
_SMALL = 128

#: Cells a side by which the shown part of a crop is bounded.
_BOUNDS = 64

#: Gain of sharpness that is worth a line.
_TOLD = 0.15


@dataclass(frozen=True)
class Settings:
    """How faces are put back; see `blend`."""

    feather: float = 0.3
    colour: str = "match"
    opacity: float = 1.0
    shape: str = "oval"
    parts: tuple[str, ...] = masks.PARTS
    parser: str | None = None
    join: str = "multi-band"
    grain: float = 1.0
    sharpness: str = "match"
    tone: str = "keep"
    seed: int = 0


@dataclass(frozen=True)
class Patch:
    """The picture p of `region` becomes p + gain * p + change where weight is above 0.

    change: (C, h, w). gain: (h, w), at most 0, how much of the picture's own detail goes, or None.
    weight: (h, w) in [0, 1], how much of the face shows.
    """

    region: geometry.Region
    change: Tensor
    gain: Tensor | None
    weight: Tensor


@dataclass(frozen=True, eq=False)
class View:
    """A face in its crop: original and restored (1, C, s, s), s at most the crop's side `size`, and
    the matrix (2, 3) from the picture to a crop of side `size`."""

    before: Tensor
    after: Tensor
    matrix: Tensor
    size: int
    patterned: bool

    @cached_property
    def small(self) -> tuple[Tensor, Tensor]:
        """Original and restored, halved as often as tones and features allow."""
        before, after = self.before, self.after
        while before.shape[-1] >= 2 * _SMALL:
            before, after = detail.halved(before), detail.halved(after)
        return before, after

    @cached_property
    def thumbnails(self) -> tuple[Tensor, Tensor]:
        """Original and restored at the side at which tones are compared."""
        before, after = colour.thumbnail(torch.cat(self.small)).split(1)
        return before, after

    @cached_property
    def greys(self) -> Tensor:
        """(2, 1, s, s), original and restored in grey."""
        return torch.cat([detail.grey(self.before), detail.grey(self.after)])

    @cached_property
    def soft(self) -> Tensor:
        """(2, 1, s, s), the greys without their finest octave."""
        return detail.soften(detail.soften(self.greys))

    @cached_property
    def fine(self) -> Tensor:
        """(2, 1, s, s), their finest octave."""
        return self.greys - self.soft

    @cached_property
    def squares(self) -> Tensor:
        """(2, 1, s / 2, s / 2), its energy."""
        return detail.halved(self.fine.square())


def view(picture: Tensor, crop: Tensor, face: Face, matrix: Tensor) -> View:
    """The original and the restored crop of a face at the size at which they are compared.

    Args:
        picture: (H, W, C), C 1, 3 or 4; alpha is not looked at. crop: (S, S, 1 or 3).
        matrix: (2, 3) of Crop.matrix.

    Raises:
        ValueError: crops of other channels.
    """
    size = crop.shape[0]
    matrix = geometry.resized(matrix, face.crop.size, size)
    crop = crop.to(picture.device)
    cut = original(picture, face, matrix, size)
    before, after = (each.permute(2, 0, 1)[None] for each in (cut, crop.float()))
    channels = before.shape[1]
    if channels == 1 and after.shape[1] == 3:
        after = colour.luma(after)
    elif channels == 3 and after.shape[1] == 1:
        after = after.expand(-1, 3, -1, -1)
    elif after.shape[1] != channels:
        raise ValueError(
            f"crops have {after.shape[1]} channels, the picture has {channels}; give both as RGB"
        )
    side = placing.working_side(matrix, size)
    if untouched(crop, cut):
        before = after = detail.scale(before, side).contiguous()
        return View(before, after, matrix, size, False)
    before, after = (detail.scale(each, side).contiguous() for each in (before, after))
    patterned = False
    if side == size:
        after, patterned = artefacts.unpattern(before, after)
    return View(before, after, matrix, size, patterned)


def original(picture: Tensor, face: Face, matrix: Tensor, size: int) -> Tensor:
    """The crop (size, size, 1 or 3) of a picture as it was, by the matrix of a crop of `size`."""
    known = face.crop.cut and face.crop.cut.again(picture, matrix, size)
    if known is None:
        known = geometry.cut(picture[..., :3], matrix, size)[0].permute(1, 2, 0)
    return known


def untouched(crop: Tensor, cut: Tensor) -> bool:
    """Whether a crop (S, S, C) of any float type is what was cut, if grey then as RGB perhaps."""
    if crop.shape[-1] == 3:
        cut = cut.expand(-1, -1, 3)
    middle = len(crop) // 2
    return all(
        torch.equal(crop[rows], cut[rows].to(crop.dtype))  # most differ in any row
        for rows in (slice(middle, middle + 1), slice(None))
    )


def tone_of(seen: View, weight: Tensor, method: str, face: Face) -> colour.Tone | None:
    """The tone that a view asks for, compared where `weight` (1, 1, g, g) is and the original is
    whole."""
    before, after = seen.thumbnails
    weight = colour.thumbnail(weight).clamp(0, 1)
    whole = _whole(face, weight.shape[-1])
    return colour.fit(method, after, before, weight if whole is None else weight * whole.to(weight))


def make(
    seen: View,
    face: Face,
    region: geometry.Region,
    settings: Settings,
    tone: Callable[[View, Tensor], colour.Tone | None],
    host: Host | None,
    say: Callable[[str], None],
) -> Patch:
    """The patch of one face.

    Args:
        seen: from `view`. region: the pixels it covers.
        tone: gives the tone for a view and the weight of its skin.
        say: told what a person should know of this face.
    """
    before, after, side = seen.before, seen.after, seen.before.shape[-1]
    parts = skin = None
    if settings.parser:
        parts, skin = masks.parsed(before, after, settings.parts, settings.parser, host or Host())
    ramp = masks.ramp(face, seen.matrix, seen.size, settings.feather, settings.shape, parts)
    ramp = ramp.to(before.device)
    region = _shown(ramp, seen, region)
    gain, maps = None, [seams.weight(ramp)]
    if (before is after or torch.equal(before, after)) and settings.sharpness != "more":
        change = before.new_zeros(1).expand(before.shape[1], region.height, region.width)
    else:
        weight = ramp if skin is None or float(skin.sum()) < 64 else skin
        full, sharper = _change(seen, face, ramp, weight, settings, tone, say)
        joined = _join(seen.greys[:1], full, ramp, settings, say)
        gain = _lost(seen, sharper, ramp, face, settings)
        if gain is not None:
            maps.append(gain)
            joined.addcmul_(detail.enlarged(gain, side), before, value=-1)
        change = placing.lay(joined, seen.matrix, seen.size, region)
    laid = placing.lay(torch.cat(maps, 1), seen.matrix, seen.size, region, smooth=True)
    # Where all samples are 1 their weighted mean may miss it by a rounding.
    shown = (laid[0] * (1 + 1e-5)).clamp_(max=1)
    return Patch(region, change, laid[1] if gain is not None else None, shown)


def _shown(ramp: Tensor, seen: View, region: geometry.Region) -> geometry.Region:
    """The part of a region in which the ramp is above 0."""
    side = min(_BOUNDS, ramp.shape[-1])
    cells = F.adaptive_max_pool2d(ramp, side)[0, 0] > 0
    y, x = cells.nonzero().cpu().unbind(1)
    if not len(x):
        return region
    # One cell more on each side for what the sampling of the ramp spreads.
    cell = seen.size / side
    corners = torch.cat([torch.stack([x + dx, y + dy], -1) for dx in (-1, 2) for dy in (-1, 2)])
    at = geometry.transform(geometry.invert(seen.matrix), corners * cell - 0.5)
    left, top = (at.amin(0).floor()).int().tolist()
    right, bottom = (at.amax(0).ceil() + 1).int().tolist()
    inner = geometry.Region(
        max(left, region.left),
        max(top, region.top),
        min(right, region.right),
        min(bottom, region.bottom),
    )
    return region if inner.empty else inner


def _change(seen, face, ramp, weight, settings, tone, say) -> tuple[Tensor, float]:
    """What is added to the original at full weight: restored, in tone, in sharpness; and the gain
    of its finest octave."""
    before, side = seen.before, seen.before.shape[-1]
    small_before, small_after = seen.small
    thumb_before, thumb_after = seen.thumbnails
    inside = detail.enlarged(ramp, small_before.shape[-1])
    changed = (small_after - small_before).abs_().mean(1, keepdim=True).mul_(inside)
    changed = changed.sum() / inside.sum()
    energies = sharpness.octaves(seen.soft, seen.squares)
    gain = sharpness.gain(energies, ramp, settings.sharpness, float(changed))
    if gain < 1 and _was_soft(face):
        gain = 1.0  # what surrounds the face has its damage: to match it would bring that back
    change = seen.after - before
    if gain != 1:
        change.add_(seen.fine[1:], alpha=gain - 1)
    if settings.sharpness == "match" and abs(gain - 1) > _TOLD:
        say(f"{'softened' if gain < 1 else 'sharpened'} to what is around it")
    if seen.patterned:
        say("the model left a chequerboard pattern: taken out")
    low = None
    moved = colour.shift(tone(seen, weight), thumb_after)
    if moved is not None:
        low = detail.resized(moved, *small_after.shape[2:])
        small_after = small_after + low
    curve = None
    if settings.colour != "none" and settings.tone != "free":
        curve = colour.tone_curve(thumb_before)
    if curve is None and before.shape[1] == 3 and settings.colour != "none":
        halves = [detail.halved(small) for small in (small_after, small_before)]
        whole = _whole(face, halves[0].shape[-1])
        hue, names = artefacts.hues(face, seen.matrix, seen.size, *halves, whole)
        if hue is not None:
            hue = detail.resized(hue, *small_after.shape[2:])
            low = hue if low is None else low + hue
            say(f"the colour of the {' and the '.join(names)} had shifted: brought back")
    _look(seen, face, settings, say)
    if low is not None:
        # Nothing in it is finer than the thumbnail, so straight lines between are enough.
        change.add_(detail.enlarged(low, side))
    if curve is None:
        return change, gain
    after = before + change
    if settings.tone == "keep":
        return colour.on_curve(before, after, curve), gain
    return colour.luma(after).expand_as(before) - before, gain


def _look(seen: View, face: Face, settings: Settings, say) -> None:
    """Lines on what cannot be mended here."""
    planes = artefacts.features(seen.small)
    moved = artefacts.brows_moved(face, seen.matrix, seen.size, planes)
    if moved and settings.opacity < 1:
        percent = abs(moved) * 100
        say(f"brows or glasses moved by {percent:.0f} % of the crop: at this opacity both show")
    elif moved:
        percent = abs(moved) * 100
        say(f"brows or glasses moved by {percent:.0f} % of the crop: look for double frames")
    if artefacts.gaze_parted(face, seen.matrix, seen.size, planes):
        say("the restored eyes look in different directions; try more fidelity or another model")


def _join(plane: Tensor, change: Tensor, ramp: Tensor, settings: Settings, say) -> Tensor:
    joined = seams.JOINS[settings.join](change, ramp)
    steep = artefacts.rim(plane, joined, ramp)
    if not artefacts.too_steep(steep):
        return joined
    if settings.join != "gradient":
        other = seams.gradient(change, ramp)
        less = artefacts.rim(plane, other, ramp)
        if less < steep:
            joined, steep = other, less
            say("its rim would have shown: joined by gradients instead")
    if artefacts.too_steep(steep):
        say(f"its rim is {steep:.1f} times as steep as the picture there; try a wider feather")
    return joined


def _lost(seen: View, sharper, ramp: Tensor, face: Face, settings: Settings) -> Tensor | None:
    """How much of the picture's own finest detail goes, (1, 1, g, g) in [-1, 0], or None."""
    before, after = detail.energy_of(seen.squares).split(1)
    share = detail.kept_of(before, after * sharper**2)
    trust = _trust(face)
    if trust is not None and float(geometry.scale_of(seen.matrix)) < 1:
        trust = detail.enlarged(trust.to(share), share.shape[-1])
        share = share.lerp(torch.ones_like(share), trust)
    if float(share.min()) > 1 - 1e-4:
        return None
    fine = seams.finest(ramp, settings.join)
    return detail.enlarged(share - 1, fine.shape[-1]) * fine


def _whole(face: Face, side: int) -> Tensor | None:
    """(1, 1, side, side), 0 where findings say that the original has no content: neither tones nor
    hues are taken from there; None where nothing is missing."""
    found = face.degradation
    if found is None or not found.finding("missing").present:
        return None
    holes = F.adaptive_max_pool2d(on_face(found.missing)[None, None], side)
    return 1 - F.max_pool2d(holes, 3, 1, 1)


def _was_soft(face: Face) -> bool:
    if face.degradation is None:
        return False
    scale = float(geometry.scale_of(face.crop.matrix))
    return any(
        one.strength > _SOFT.get(one.kind, math.inf) * scale for one in face.degradation.found()
    )


def _trust(face: Face) -> Tensor | None:
    """How real the fine detail of an original is by its findings, (1, 1, 32, 32) in [0, 1]."""
    found = face.degradation
    if found is None or found.face < 0.5:
        return None
    spoilt = max((f.severity for f in found.found() if f.kind in _SPOILING), default=0.0)
    return ((1 - spoilt) * (1 - found.where).clamp(0, 1))[None, None]
