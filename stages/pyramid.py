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

from .detail import halved
from .geometry import Region, invert, resample, transform

#: Pixels of one pass through a network, over all pictures of the pass.
PASS_AREA = 2_250_000

#: Side of the tiles that a larger level is cut into, and by how much neighbours overlap: more than
#: the largest face that one pass finds.
TILE, OVERLAP = 1408, 192

#: What a network sees beyond a picture.
GREY = 0.5

#: Rows of a reduced picture that are made at once.
_STRIP = 64


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
        part = self.level.pixels[..., rows, columns].to(torch.float32)
        height, width = (-(-side // multiple) * multiple for side in part.shape[-2:])
        padded = torch.full((len(part), height, width, 3), GREY, device=part.device)
        padded = padded.permute(0, 3, 1, 2)
        torch.clamp(part, 0, 1, out=padded[..., : part.shape[-2], : part.shape[-1]])
        return padded

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
    return small.clamp_(0, 1), (goal[1] / (w * factor), goal[0] / (h * factor))


def _squares(pixels: Tensor, factor: int) -> Tensor:
    """(N, H // factor, W // factor, 3) float32 means over squares of (N, H, W, C).

    Rows are added as they lie in memory; a product of matrices adds the columns, leaves out alpha
    and repeats grey. A strip at a time, which stays in the processor's cache in between.
    """
    if pixels.dtype == torch.float64:
        pixels = pixels.float()
    n, height, width, channels = pixels.shape
    h, w = height // factor, width // factor
    of_one = torch.eye(channels, 3) if channels > 1 else torch.ones(1, 3)
    weights = (of_one.repeat(factor, 1) / factor**2).to(pixels.device)
    small = torch.empty(n, h, w, 3, device=pixels.device)
    for picture, result in zip(pixels, small, strict=True):
        for strip in result.split(_STRIP):
            count = len(strip) * factor
            rows, picture = picture[:count], picture[count:]
            rows = rows.reshape(len(strip), factor, width * channels)
            total = rows[:, 0].float()
            for row in range(1, factor):
                total = total + rows[:, row]
            squares = total[:, : w * factor * channels].unflatten(1, (w, factor * channels))
            torch.matmul(squares, weights, out=strip)
    return small


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
    if not len(matrices):
        return levels[0].pixels.new_zeros(0, 3, size, size, dtype=torch.float32)
    wanted = torch.linalg.det(matrices[:, :, :2].double()).abs().sqrt().tolist()
    # The coarsest level that is still fine enough; the finest one for what is finer than all.
    fitting = [
        levels[max((i for i, each in enumerate(levels) if min(each.scale) >= scale), default=0)]
        for scale in wanted
    ]
    # From where the samples of a crop lie on it, to where they lie on its level.
    onto = invert(matrices.double())
    scales = onto.new_tensor([level.scale for level in fitting])
    onto = onto * scales[:, :, None]
    onto[:, :, 2] += (scales - 1) / 2
    starts, extents = _read(onto, fitting, size)
    grids = _grids(onto, starts, extents.clamp(min=1), 2 * size).to(levels[0].pixels.device)
    taken = grids.new_zeros(len(grids), 3, 2 * size, 2 * size)
    spans = zip(starts.int().tolist(), extents.int().tolist(), strict=True)
    for index, ((left, top), (width, height)) in enumerate(spans):
        if width and height:
            pixels = fitting[index].pixels[int(frames[index])]
            part = pixels[:, top : top + height, left : left + width].to(torch.float32)
            # Beyond the picture are zeros, which stand for grey.
            part = (part - GREY).clamp_(-GREY, 1 - GREY)
            at = grids[index : index + 1].permute(0, 2, 3, 1)
            taken[index] = resample(part[None], at, "bilinear", "zeros")[0]
    return halved(taken).add_(GREY)


def _read(onto: Tensor, levels: list[Level], size: int) -> tuple[Tensor, Tensor]:
    """(K, 2) corners and sizes of what is read of each level for crops mapped there by `onto`."""
    low, high = -0.5, size - 0.5
    corners = onto.new_tensor([[low, low], [high, low], [low, high], [high, high]])
    corners = transform(onto, corners)
    sides = onto.new_tensor([level.pixels.shape[:-3:-1] for level in levels])
    starts = (corners.amin(dim=1).floor() - 1).clamp(min=0)
    ends = torch.minimum(corners.amax(dim=1).ceil() + 2, sides)
    return starts, (ends - starts).clamp(min=0)


def _grids(onto: Tensor, starts: Tensor, extents: Tensor, count: int) -> Tensor:
    """(K, 2, count, count) coordinates for grid_sample, x and y, of `count` samples a side.

    Args:
        onto: (K, 2, 3) maps from the crops, of half as many pixels a side, to their levels.
        starts, extents: (K, 2), corner and size of the part of each level that is sampled.
    """
    unit = onto * (2 / extents)[:, :, None]
    unit[:, :, 2] += (1 - 2 * starts) / extents - 1
    across, down, shift = unit.float()[..., None, None].unbind(dim=2)
    places = (torch.arange(count, device=onto.device) + 0.5) / 2 - 0.5
    return across * places + (down * places[:, None] + shift)
