"""Octaves of an aligned crop: detail sorted by its size, and where on a face it lies.

The bands are a Laplacian pyramid (Burt and Adelson, 1983) of the luma at a side of 64 to 512 px, so
that a band means the same size of facial detail in a crop of any size.

Convention: wavelengths are px of the FFHQ crop at 512, whatever side the crop has; pixel areas are
kept when scaling (align_corners=False).
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .colour import luma
from .detail import scale

#: Side of the crop in whose px wavelengths are told, and sides at which bands are made.
REFERENCE, SIDES = 512, (64, 128, 256, 512)

#: Wavelength at which bands end; what is longer is tone: light and the colour of the skin.
LONGEST = 128

#: Ellipses over the FFHQ crop: centre x, y and half axes, in shares of its side. They lie around
#: the template's five points and hold the whole eye with its lids, the nose, the lips.
ELLIPSES: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "eyes": ((0.377, 0.468, 0.115, 0.065), (0.623, 0.468, 0.115, 0.065)),
    "nose": ((0.501, 0.565, 0.085, 0.105),),
    "mouth": ((0.502, 0.726, 0.150, 0.075),),
    "face": ((0.500, 0.560, 0.310, 0.390),),
}


def working_side(size: int) -> int:
    """The side at which bands of a crop of `size` px are made: the largest it fills."""
    return max((side for side in SIDES if side <= size), default=SIDES[0])


def plane(crops: Tensor, side: int | None = None) -> Tensor:
    """(N, 1, s, s) luma of crops (N, S, S, C) at `side`, or at their working side."""
    picture = crops.permute(0, 3, 1, 2).float()
    grey = picture if picture.shape[1] == 1 else luma(picture[:, :3])
    return scale(grey, side or working_side(crops.shape[1]))


def wavelengths(side: int) -> tuple[int, ...]:
    """Shortest wavelength of each band made at `side`, finest first; each band is an octave."""
    shortest = 2 * REFERENCE // side
    return tuple(2**k for k in range(shortest.bit_length() - 1, LONGEST.bit_length() - 1))


def split(planes: Tensor) -> list[Tensor]:
    """Bands (N, C, s, s), (N, C, s/2, s/2), ... of planes (N, C, s, s), and last what is left.

    `join` gives the planes back exactly, up to rounding.
    """
    parts = []
    for _ in wavelengths(planes.shape[-1]):
        low = F.avg_pool2d(planes, 2)
        parts.append(planes - enlarged(low))
        planes = low
    return [*parts, planes]


def join(parts: list[Tensor]) -> Tensor:
    """Planes from their bands: the inverse of `split`."""
    planes = parts[-1]
    for band in reversed(parts[:-1]):
        planes = enlarged(planes) + band
    return planes


def enlarged(planes: Tensor) -> Tensor:
    """(N, C, s, s) to (N, C, 2 s, 2 s), bilinear."""
    return F.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # kept for later calls of any mode
def region(name: str, side: int) -> Tensor:
    """(side, side) float32, 1 inside the ellipses of a region of ELLIPSES, soft by one px."""
    at = (torch.arange(side, dtype=torch.float32) + 0.5) / side
    y, x = torch.meshgrid(at, at, indexing="ij")
    mask = torch.zeros(side, side)
    for centre_x, centre_y, half_x, half_y in ELLIPSES[name]:
        radius = (((x - centre_x) / half_x) ** 2 + ((y - centre_y) / half_y) ** 2).sqrt()
        mask = torch.maximum(mask, ((1 - radius) * min(half_x, half_y) * side + 0.5).clamp(0, 1))
    return mask
