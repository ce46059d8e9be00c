"""An image pyramid, looked at in passes of bounded memory, and crops sampled from its levels.

Convention: pixels, (x, y), the centre of the top-left pixel is (0, 0); a level `scale` times as
large as the picture shows picture position p at (p + 0.5) * scale - 0.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .geometry import Region, invert, transform

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
        return F.pad(part, (0, right, 0, below), value=GREY)

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


def pyramid(images: Tensor, finest: float, step: float, smallest_side: int) -> list[Level]:
    """Levels from the scale `finest` downwards, each `step` times smaller than the one before.

    Args:
        images: (N, H, W, C) in about [0, 1]; grey is repeated, alpha is left out.
        finest: scale of the first level, at most 1.
        step: more than 1.
        smallest_side: no further level once the longer side is at most this many pixels.
    """
    if images.shape[-1] == 1:
        images = images.expand(*images.shape[:3], 3)
    pixels = images[..., :3].permute(0, 3, 1, 2)
    height, width = pixels.shape[-2:]
    levels = []
    ratio = finest
    while True:
        pixels = shrink(pixels, ratio)
        h, w = pixels.shape[-2:]
        levels.append(Level(pixels, (w / width, h / height)))
        if max(h, w) <= smallest_side:
            return levels
        ratio = 1 / step


def shrink(pixels: Tensor, ratio: float) -> Tensor:
    """(N, C, H, W) reduced by `ratio`, at most 1, without aliasing.

    By exact halves, each pixel the mean of 2x2, and then by less than a half with two taps a side:
    several times faster than one wide filter over a large picture.
    """
    height, width = pixels.shape[-2:]
    goal = (max(round(height * ratio), 1), max(round(width * ratio), 1))
    if goal == (height, width):
        return pixels
    if pixels.dtype != torch.float32:
        pixels = pixels.to(torch.float32)
    while pixels.shape[-2] >= 2 * goal[0] and pixels.shape[-1] >= 2 * goal[1]:
        # Halfway between two pixels bilinear sampling is their mean. An odd size shrinks a little
        # more than by half, which moves nothing by more than a quarter of a pixel.
        half = (pixels.shape[-2] // 2, pixels.shape[-1] // 2)
        pixels = F.interpolate(pixels, size=half, mode="bilinear", align_corners=False)
    if pixels.shape[-2:] != goal:
        pixels = F.interpolate(pixels, size=goal, mode="bilinear", align_corners=False)
    return pixels


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
        levels: of one pyramid.
        frames: (K,) picture of each crop.
        matrices: (K, 2, 3) similarities from picture pixels to crop pixels.
        size: side of the crops.

    Returns:
        (K, 3, size, size) in [0, 1], float32, grey beyond the picture. Every pixel is the mean of
        four samples, so that a level up to four times too fine does not alias.
    """
    device = levels[0].pixels.device
    crops = torch.empty(len(frames), 3, size, size, device=device)
    if not len(frames):
        return crops
    wanted = torch.linalg.det(matrices[:, :, :2].double()).abs().sqrt().tolist()
    places = (torch.arange(2 * size, dtype=torch.float64) + 0.5) / 2 - 0.5
    y, x = torch.meshgrid(places, places, indexing="ij")
    crop_points = torch.stack([x, y], dim=-1).reshape(-1, 2)
    groups: dict[tuple[int, int], list[int]] = {}
    for index, (frame, scale) in enumerate(zip(frames.tolist(), wanted, strict=True)):
        # The coarsest level that is still fine enough; the finest one for what is finer than all.
        level = max((i for i, each in enumerate(levels) if min(each.scale) >= scale), default=0)
        groups.setdefault((frame, level), []).append(index)
    for (frame, number), members in groups.items():
        level = levels[number]
        inverse = invert(matrices[members].double())
        positions = level.from_picture(transform(inverse, crop_points))
        crops[members] = _gather(level.pixels[frame], positions, size)
    return crops


def _gather(pixels: Tensor, positions: Tensor, size: int) -> Tensor:
    """(K, 3, size, size) means of 2x2 samples of (3, h, w) at positions (K, 4 size^2, 2)."""
    h, w = pixels.shape[-2:]
    last = 4 * size * size - 1
    corners = positions[:, [0, 2 * size - 1, last - 2 * size + 1, last]]
    low = corners.amin(dim=(0, 1)).floor().int().tolist()
    high = corners.amax(dim=(0, 1)).ceil().int().tolist()
    left, top = max(low[0] - 1, 0), max(low[1] - 1, 0)
    right, bottom = min(high[0] + 2, w), min(high[1] + 2, h)
    if right <= left or bottom <= top:
        return torch.full((len(positions), 3, size, size), GREY, device=pixels.device)
    if len(positions) > 1 and (right - left) * (bottom - top) > PASS_AREA:
        return torch.cat([_gather(pixels, each[None], size) for each in positions])
    part = pixels[:, top:bottom, left:right].to(torch.float32).clamp(0, 1) - GREY
    extent = positions.new_tensor([right - left, bottom - top])
    unit = (positions - positions.new_tensor([left, top]) + 0.5) * (2 / extent) - 1
    grid = unit.reshape(1, -1, 2 * size, 2).to(part)
    taken = F.grid_sample(part[None], grid, padding_mode="zeros", align_corners=False)
    taken = taken.reshape(3, len(positions), 2 * size, 2 * size).transpose(0, 1)
    return F.avg_pool2d(taken, 2) + GREY
