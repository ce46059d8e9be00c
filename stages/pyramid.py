"""An image pyramid, looked at in passes of bounded memory, and crops sampled from its levels.

Convention: pixels, (x, y), the centre of the top-left pixel is (0, 0); a level `scale` times as
large as the picture shows picture position p at (p + 0.5) * scale - 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Region, invert, resample, transform

#: Pixels of one pass through a network, over all pictures of the pass.
PASS_AREA = 2_250_000

#: Side of the tiles that a larger level is cut into, and by how much neighbours overlap: more than
#: the largest face that one pass finds.
TILE, OVERLAP = 1408, 192

#: What a network sees beyond a picture.
GREY = 0.5


@dataclass(frozen=True)
class Level:
    """Pictures at one scale: pixels (N, 3, h, w), scale (x, y)."""

    pixels: Tensor
    scale: tuple[float, float]

    def to_picture(self, points: Tensor) -> Tensor:
        """Positions (..., 2) on this level as positions on the picture."""
        return (points + 0.5) / points.new_tensor(self.scale) - 0.5

    def from_picture(self, points: Tensor) -> Tensor:
        """Positions (..., 2) on the picture as positions on this level."""
        return (points + 0.5) * points.new_tensor(self.scale) - 0.5


@dataclass(frozen=True)
class Pass:
    """One tile of a level: `region` of it is looked at, and faces centred in `own` count."""

    level: Level
    region: Region
    own: Region

    def pixels(self, multiple: int) -> Tensor:
        """(N, 3, h, w) in [0, 1], padded with grey to a `multiple` of pixels."""
        rows, columns = self.region.slices()
        part = self.level.pixels[..., rows, columns].to(torch.float32).clamp(0, 1)
        right, below = -part.shape[-1] % multiple, -part.shape[-2] % multiple
        return F.pad(part, (0, right, 0, below), value=GREY) if right or below else part

    def owns(self, points: Tensor) -> Tensor:
        """Which positions (N, 2) on the level are this tile's; the outer tiles own what is beyond
        the picture's edges."""
        height, width = self.level.pixels.shape[-2:]
        x, y = points.unbind(dim=-1)
        inside = torch.ones(len(points), dtype=torch.bool, device=points.device)
        if self.own.left > 0:
            inside &= x >= self.own.left - 0.5
        if self.own.top > 0:
            inside &= y >= self.own.top - 0.5
        if self.own.right < width:
            inside &= x < self.own.right - 0.5
        if self.own.bottom < height:
            inside &= y < self.own.bottom - 0.5
        return inside


@dataclass(frozen=True)
class Pyramid:
    """Pictures at falling scales: `levels` are searched, `looks` are what crops are sampled from.

    The looks go up to the picture itself, at no cost: it is read only where a crop lies.
    """

    levels: list[Level]
    looks: list[Level]


def pyramid(images: Tensor, finest: float, step: float, smallest_side: int) -> Pyramid:
    """Levels from the scale `finest` downwards, each `step` times smaller than the one before.

    Args:
        images: (N, H, W, C) in about [0, 1]; grey is repeated, alpha is left out.
        finest: scale of the first level, at most 1.
        step: more than 1.
        smallest_side: no further level once the longer side is at most this many pixels.
    """
    whole = images[..., :3].permute(0, 3, 1, 2)
    whole = whole.expand(-1, 3, -1, -1)
    looks = [Level(whole, (1.0, 1.0))]
    pixels, scale = images, (1.0, 1.0)
    # Between the picture and the finest level no more than a step, or crops of in between alias.
    between = math.ceil(math.log(1 / finest, step) - 1e-6)
    while len(looks) <= between or max(looks[-1].pixels.shape[-2:]) > smallest_side:
        ratio = finest ** (1 / between) if len(looks) <= between else 1 / step
        pixels, by = shrink(pixels, ratio)
        scale = (scale[0] * by[0], scale[1] * by[1])
        looks.append(Level(pixels.permute(0, 3, 1, 2), scale))
    return Pyramid(looks[between:], looks)


def shrink(pixels: Tensor, ratio: float) -> tuple[Tensor, tuple[float, float]]:
    """Pictures reduced by `ratio`, at most 1, without aliasing.

    Each pixel the mean of a whole square first, and then two taps a side for what is left: several
    times faster than one wide filter over a large picture.

    Args:
        pixels: (N, H, W, C), any float dtype.
        ratio: of the new size to the old.

    Returns:
        (N, h, w, 3) float32, clamped to [0, 1], and the ratios x and y in fact. Of a size that the
        squares do not divide, up to a square less one pixel is left out on the right and below.
    """
    height, width = pixels.shape[1:3]
    goal = (max(round(height * ratio), 1), max(round(width * ratio), 1))
    factor = min(max(int(1 / ratio + 1e-6), 1), height, width)
    small = _squares(pixels, factor)
    h, w = small.shape[1:3]
    if (h, w) != goal:
        planes = F.interpolate(small.permute(0, 3, 1, 2), size=goal, mode="bilinear")
        small = planes.permute(0, 2, 3, 1)
    return small.clamp(0, 1), (goal[1] / (w * factor), goal[0] / (h * factor))


def _squares(pixels: Tensor, factor: int) -> Tensor:
    """(N, H // factor, W // factor, 3) float32 means over squares of (N, H, W, C).

    Rows are added as they lie in memory; a product of matrices adds the columns, leaves out alpha
    and repeats grey.
    """
    n, height, width, channels = pixels.shape
    h, w = height // factor, width // factor
    rows = pixels[:, : h * factor].reshape(n, h, factor, width * channels)
    rows = rows.sum(dim=2) if factor > 1 else rows[:, :, 0]
    rows = rows.to(torch.float32).view(n, h, width, channels)[:, :, : w * factor]
    of_one = torch.eye(channels, 3) if channels > 1 else torch.ones(1, 3)
    weights = of_one.repeat(factor, 1).to(rows) / factor**2
    return rows.reshape(n, h, w, factor * channels) @ weights


def passes(level: Level) -> Iterator[Pass]:
    """The tiles of a level; one if it is small enough."""
    height, width = level.pixels.shape[-2:]
    whole = Region(0, 0, width, height)
    if height * width <= PASS_AREA:
        yield Pass(level, whole, whole)
        return
    for top, bottom, own_top, own_bottom in _spans(height):
        for left, right, own_left, own_right in _spans(width):
            region = Region(left, top, right, bottom)
            yield Pass(level, region, Region(own_left, own_top, own_right, own_bottom))


def _spans(length: int) -> list[tuple[int, int, int, int]]:
    """Start and end of each tile along one axis, and of the part that is its own."""
    starts = list(range(0, max(length - OVERLAP, 1), TILE - OVERLAP))
    spans = []
    for start in starts:
        end = min(start + TILE, length)
        own_start = 0 if start == 0 else start + OVERLAP // 2
        own_end = length if start == starts[-1] else end - OVERLAP // 2
        spans.append((start, end, own_start, own_end))
    return spans


def sample(levels: list[Level], frames: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Square crops, each from the level that fits its scale.

    Args:
        levels: the looks of one pyramid.
        frames: (K,) picture of each crop.
        matrices: (K, 2, 3) similarities from picture pixels to crop pixels.
        size: side of the crops.

    Returns:
        (K, 3, size, size) in [0, 1], float32, grey beyond the picture. Every pixel is the mean of
        four samples, so that a level up to four times too fine does not alias.
    """
    crops = torch.empty(len(frames), 3, size, size, device=levels[0].pixels.device)
    wanted = torch.linalg.det(matrices[:, :, :2].double()).abs().sqrt().tolist()
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (frame, scale) in enumerate(zip(frames.tolist(), wanted, strict=True)):
        # The coarsest level that is still fine enough; the finest one for what is finer than all.
        level = max((i for i, each in enumerate(levels) if min(each.scale) >= scale), default=0)
        groups.setdefault((frame, level), []).append(index)
    for (frame, number), members in groups.items():
        level = levels[number]
        # From where the samples of a crop lie on it, to where they lie on the level.
        x, y = level.scale
        onto = invert(matrices[members].double())
        onto = onto * onto.new_tensor([[x], [y]])
        onto[:, :, 2] += (onto.new_tensor([x, y]) - 1) / 2
        crops[members] = _gather(level.pixels[frame], onto, size)
    return crops


def _gather(pixels: Tensor, onto: Tensor, size: int) -> Tensor:
    """(K, 3, size, size) means of 2x2 samples of (3, h, w) under maps (K, 2, 3) from the crops."""
    h, w = pixels.shape[-2:]
    low, high = -0.5, size - 0.5
    corners = onto.new_tensor([[low, low], [high, low], [low, high], [high, high]])
    corners = transform(onto, corners)
    starts = (corners.amin(dim=1).floor() - 1).clamp(min=0)
    ends = torch.minimum(corners.amax(dim=1).ceil() + 2, onto.new_tensor([w, h]))
    areas = (ends - starts).clamp(min=0).prod(dim=1)
    left, top = starts.amin(dim=0).int().tolist()
    right, bottom = ends.amax(dim=0).int().tolist()
    if not float(areas.max()):
        return torch.full((len(onto), 3, size, size), GREY, device=pixels.device)
    if len(onto) > 1 and (right - left) * (bottom - top) > 2 * float(areas.sum()):
        return torch.cat([_gather(pixels, each[None], size) for each in onto])
    part = pixels[:, top:bottom, left:right].to(torch.float32).clamp(0, 1) - GREY
    extent = onto.new_tensor([right - left, bottom - top])
    unit = onto * (2 / extent)[:, None]
    unit[:, :, 2] += (1 - 2 * onto.new_tensor([left, top])) / extent - 1
    places = (torch.arange(2 * size, device=onto.device, dtype=onto.dtype) + 0.5) / 2 - 0.5
    across, down, shift = unit.to(part)[:, None, None].unbind(dim=-1)
    places = places.to(part)
    grid = across * places[:, None] + (down * places[:, None, None] + shift)
    taken = resample(part[None], grid, "bilinear", "zeros")
    return F.avg_pool2d(taken, 2) + GREY
