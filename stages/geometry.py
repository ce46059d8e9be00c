"""Similarity transforms, landmark templates, and warps that touch only their region of interest.

Convention: matrices are (2, 3) and map picture pixels to crop pixels; the centre of the top-left
pixel is (0, 0), so a picture W wide spans [-0.5, W - 0.5].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from . import detail

#: Pixels that a bicubic kernel reads beyond the sampled point, and one for rounding.
_SUPPORT = 3


@dataclass(frozen=True)
class Template:
    """Where the five points of an upright face lie in a square crop of side `size`."""

    name: str
    size: int
    five_points: tuple[tuple[float, float], ...]
    source: str

    def points(self, size: int, margin: float = 0.0) -> Tensor:
        """(5, 2) points for a crop of side `size`, with `margin` more of the picture on each side.

        Args:
            size: side of the crop in pixels.
            margin: share of the template's side added on each side, at least 0.

        Convention: pixel centres; scaling keeps pixel areas, so p maps to (p + 0.5) * s - 0.5.
        """
        points = torch.tensor(self.five_points, dtype=torch.float64)
        inner = size / (1 + 2 * margin)
        return (points + 0.5) * (inner / self.size) + (size - inner) / 2 - 0.5


TEMPLATES = {
    template.name: template
    for template in (
        Template(
            "ffhq",
            512,
            (
                (192.98138, 239.94708),
                (318.90277, 240.1936),
                (256.63416, 314.01935),
                (201.26117, 371.41043),
                (313.08905, 371.15118),
            ),
            "facexlib, face_restoration_helper.py: mean FFHQ landmarks at 512",
        ),
        Template(
            "arcface112",
            112,
            (
                (38.2946, 51.6963),
                (73.5318, 51.5014),
                (56.0252, 71.7366),
                (41.5493, 92.3655),
                (70.7299, 92.2041),
            ),
            "InsightFace, face_align.py: arcface_dst",
        ),
    )
}


def template(name: str) -> Template:
    """The template called `name`. Raises ValueError naming the known ones."""
    if name not in TEMPLATES:
        raise ValueError(f"unknown template {name!r}; known: {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def similarity(source: Tensor, target: Tensor) -> Tensor:
    """Least-squares similarity transforms (rotation, uniform scale, translation; no reflection).

    Args:
        source: (N, K, 2) points, K at least 2.
        target: (K, 2) or (N, K, 2) points they are to fall on.

    Returns:
        (N, 2, 3) float32 matrices from source to target.

    Raises:
        ValueError: the points of one set all coincide, so that no scale is defined.

    Source: Umeyama, "Least-squares estimation of transformation parameters", 1991, in closed form.
    """
    source, target = source.double(), target.double().expand(source.shape)
    mean_s, mean_t = source.mean(1, keepdim=True), target.mean(1, keepdim=True)
    s, t = source - mean_s, target - mean_t
    spread = s.square().sum((1, 2))
    if bool((spread < 1e-6).any()):
        bad = int(spread.argmin())
        where = source[bad].tolist()
        raise ValueError(f"the points of face {bad} coincide ({where}); detect again")
    a = (s * t).sum((1, 2)) / spread
    b = (s[..., 0] * t[..., 1] - s[..., 1] * t[..., 0]).sum(1) / spread
    linear = torch.stack([torch.stack([a, -b], -1), torch.stack([b, a], -1)], 1)
    shift = mean_t[:, 0] - (linear @ mean_s[:, 0, :, None])[..., 0]
    return torch.cat([linear, shift[..., None]], 2).float()


def invert(matrix: Tensor) -> Tensor:
    """Inverse of affine matrices (..., 2, 3)."""
    if matrix.dim() == 2 and matrix.device.type == "cpu":
        # A few numbers are worked out faster than an operation on tensors begins.
        (a, b, x), (c, d, y) = matrix.tolist()
        det = a * d - b * c
        a, b, c, d = d / det, -b / det, -c / det, a / det
        rows = [[a, b, -a * x - b * y], [c, d, -c * x - d * y]]
        return torch.tensor(rows, dtype=matrix.dtype)
    inverse = torch.linalg.inv(matrix[..., :2].double())
    return torch.cat([inverse, -inverse @ matrix[..., 2:].double()], -1).to(matrix.dtype)


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply (..., 2, 3) matrices to (..., K, 2) points."""
    matrix = matrix.to(points.dtype)
    return points @ matrix[..., :2].transpose(-1, -2) + matrix[..., None, :, 2]


def scale_of(matrix: Tensor) -> Tensor:
    """Target pixels per source pixel of (..., 2, 3) similarity matrices."""
    if matrix.dim() == 2 and matrix.device.type == "cpu":
        (a, b, _), (c, d, _) = matrix.tolist()
        return torch.tensor(abs(a * d - b * c) ** 0.5, dtype=torch.float64)
    return torch.linalg.det(matrix[..., :2].double()).abs().sqrt()


def resized(matrix: Tensor, old: int, new: int) -> Tensor:
    """The matrix (..., 2, 3) to a crop of side `new` that shows what side `old` showed."""
    ratio = new / old
    scaled = matrix * ratio
    scaled[..., 2] += (ratio - 1) / 2
    return scaled


@dataclass(frozen=True)
class Region:
    """A rectangle of whole pixels [top, bottom) x [left, right) of a picture; may be empty."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        return max(self.right - self.left, 0)

    @property
    def height(self) -> int:
        return max(self.bottom - self.top, 0)

    @property
    def empty(self) -> bool:
        return self.width == 0 or self.height == 0

    def slices(self) -> tuple[slice, slice]:
        """Index of a (H, W, ...) array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def overlaps(self, other: Region) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def union(self, other: Region) -> Region:
        return Region(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def shift(self) -> Tensor:
        """(2,) offset that takes picture coordinates into the region."""
        return torch.tensor([-self.left, -self.top], dtype=torch.float32)


def footprint(matrix: Tensor, size: int, height: int, width: int, grow: int = 0) -> Region:
    """The whole pixels of a picture that a crop of side `size` covers, clipped to the picture.

    Args:
        matrix: (2, 3), picture to crop.
        grow: pixels added on each side before clipping.
    """
    low, high = -0.5, size - 0.5
    corners = torch.tensor([[low, low], [high, low], [low, high], [high, high]])
    corners = transform(invert(matrix), corners)
    left, top = (corners.amin(0).floor() - grow).int().tolist()
    right, bottom = (corners.amax(0).ceil() + 1 + grow).int().tolist()
    return Region(
        min(max(left, 0), width),
        min(max(top, 0), height),
        max(min(right, width), 0),
        max(min(bottom, height), 0),
    )


def _shrink(picture: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Antialiased reduction of (1, C, H, W) by at most `factor`, and the (2, 3) matrix of it."""
    height, width = picture.shape[-2:]
    if factor <= 1 + 1e-3:
        return picture, torch.eye(2, 3)
    new_h, new_w = max(round(height / factor), 1), max(round(width / factor), 1)
    small = detail.resized(picture, new_h, new_w)
    ry, rx = new_h / height, new_w / width
    return small, torch.tensor([[rx, 0, (rx - 1) / 2], [0, ry, (ry - 1) / 2]])


def compose(second: Tensor, first: Tensor) -> Tensor:
    """The (2, 3) matrix of applying `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return torch.cat([linear, second[:, :2] @ first[:, 2:] + second[:, 2:]], 1)


def warp(
    picture: Tensor, matrix: Tensor, height: int, width: int, padding: str = "reflection"
) -> Tensor:
    """Resample (1, C, H, W) into (1, C, height, width), antialiased where it shrinks.

    Args:
        matrix: (2, 3), source pixels to target pixels.
        padding: beyond the source its border is mirrored; "border" is faster where none is seen.

    Bicubic sampling of a source that was first reduced, with antialiasing, to the target's scale.

    Convention: pixel centres in source and target (align_corners=False).
    """
    picture, reduced = _shrink(picture, 1 / float(scale_of(matrix)))
    inverse = compose(reduced, invert(matrix))
    h, w = picture.shape[-2:]
    # grid_sample works in [-1, 1] over pixel areas: u = (2 x + 1) / width - 1.
    to_unit = torch.tensor([[2 / w, 0, 1 / w - 1], [0, 2 / h, 1 / h - 1]])
    across, down, shift = compose(to_unit, inverse).to(picture).unbind(dim=1)
    columns = torch.arange(width, dtype=picture.dtype, device=picture.device)
    rows = torch.arange(height, dtype=picture.dtype, device=picture.device)
    grid = lattice(columns, rows, across, down, shift)
    return resample(picture, grid, "bicubic", padding)


def lattice(x: Tensor, y: Tensor, across: Tensor, down: Tensor, shift: Tensor) -> Tensor:
    """(1, h, w, 2) points across * x + down * y + shift, for x (w,) and y (h,), vectors (2,).

    Each coordinate is a run of memory of its own, which is ten times faster to write.
    """
    columns = across[:, None, None] * x
    rows = (down[:, None] * y + shift[:, None])[..., None]
    return (columns + rows).permute(1, 2, 0)[None]


def resample(picture: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
    """`F.grid_sample` of one picture (1, C, H, W) at grids (K, h, w, 2), on all cores.

    On a CPU it spreads the pictures of a batch over the cores and no part of one, so here one grid
    becomes a batch of bands of rows, which see the same picture.
    """
    count, height, width = grid.shape[:3]
    bands = -(-torch.get_num_threads() // count) if picture.device.type == "cpu" else 1
    rows = -(-height // bands)
    at = grid.permute(0, 3, 1, 2)
    if rows * bands > height:
        at = F.pad(at, (0, 0, 0, rows * bands - height))
    taken = F.grid_sample(
        picture.expand(count * bands, -1, -1, -1),
        at.unflatten(2, (bands, rows)).permute(0, 2, 3, 4, 1).flatten(0, 1),
        mode=mode,
        padding_mode=padding,
        align_corners=False,
    )
    taken = taken.unflatten(0, (count, bands)).transpose(1, 2)
    return taken.reshape(count, -1, rows * bands, width)[:, :, :height]


def planes(picture: Tensor) -> Tensor:
    """(H, W, C) of any float dtype to contiguous float32 (1, C, H, W)."""
    return picture.permute(2, 0, 1)[None].to(torch.float32).contiguous()


def read_by(matrix: Tensor, size: int, height: int, width: int) -> Region:
    """The pixels of a picture that `cut` reads for a crop of side `size`."""
    grow = math.ceil(_SUPPORT * max(1 / float(scale_of(matrix)), 1))
    return footprint(matrix, size, height, width, grow)


def cut(picture: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Cut one square crop out of a picture, reading only the region it covers.

    Args:
        picture: (H, W, C) in [0, 1], any float dtype.
        matrix: (2, 3), picture to crop.
        size: side of the crop.

    Returns:
        (1, C, size, size) float32 in [0, 1]. Beyond the picture its border is mirrored; a crop that
        lies wholly outside is mid-grey.
    """
    height, width, channels = picture.shape
    region = read_by(matrix, size, height, width)
    if region.empty:
        return picture.new_full((1, channels, size, size), 0.5, dtype=torch.float32)
    local = matrix.clone()
    local[:, 2] -= matrix[:, :2] @ region.shift()
    rows, columns = region.slices()
    part = picture[rows, columns].permute(2, 0, 1)[None].to(torch.float32)
    inside = region.left > 0 and region.top > 0 and region.right < width and region.bottom < height
    padding = "border" if inside else "reflection"
    return warp(part, local, size, size, padding).clamp_(0, 1)


def put(crop: Tensor, matrix: Tensor, region: Region) -> Tensor:
    """Resample a crop into the pixels of a region of the picture: the inverse of `cut`.

    Args:
        crop: (1, C, S, S).
        matrix: (2, 3), picture to crop (as `cut` takes it).
        region: pixels of the picture to fill.

    Returns:
        (1, C, region.height, region.width). Pixels outside the crop's footprint are meaningless.
    """
    into = invert(matrix)
    into[:, 2] += region.shift()
    return warp(crop, into, region.height, region.width)


def grid(region: Region, device: torch.device | str = "cpu") -> Tensor:
    """(height, width, 2) picture coordinates (x, y) of the pixel centres of a region."""
    ys = torch.arange(region.top, region.bottom, dtype=torch.float32, device=device)
    xs = torch.arange(region.left, region.right, dtype=torch.float32, device=device)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y], -1)
