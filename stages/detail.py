"""Keeping what a detour through another resolution would lose.

A face goes into a crop, and a crop into a network, at sizes that are not its own. Whatever the
smaller grid cannot carry is set aside as a residual and put back afterwards, to the degree that the
restorer left the neighbouring, carried band alone: a restorer that changes nothing gives back the
very same picture, one that removes noise does not get the noise back.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

#: Energy below which a band counts as empty: half an 8-bit step.
_FLOOR = (0.5 / 255) ** 2

_BAND = ((5, 5), (1.0, 1.0))
_WINDOW = ((25, 25), (6.0, 6.0))


def _band_energy(picture: Tensor) -> Tensor:
    """Local energy of the finest octave, (N, 1, H, W)."""
    grey = picture.mean(1, keepdim=True)
    band = grey - blur(grey, *_BAND)
    return blur(band.square(), *_WINDOW)


def blur(picture: Tensor, kernel: tuple[int, int], sigma: tuple[float, float]) -> Tensor:
    """Gaussian blur of (N, C, H, W); the border is replicated, so 1-pixel pictures are fine."""
    pad_y, pad_x = kernel[0] // 2, kernel[1] // 2
    padded = F.pad(picture, (pad_x, pad_x, pad_y, pad_y), mode="replicate")
    return gaussian_blur2d(padded, kernel, sigma)[..., pad_y:-pad_y, pad_x:-pad_x]


def kept(before: Tensor, after: Tensor) -> Tensor:
    """How much of the finest octave of `before` is still in `after`.

    Args:
        before, after: (N, C, H, W) at one resolution.

    Returns:
        (N, 1, H, W) in [0, 1]: the local ratio of band amplitudes, 1 where nothing was taken away.
    """
    energy_before, energy_after = _band_energy(before), _band_energy(after)
    return ((energy_after + _FLOOR) / (energy_before + _FLOOR)).sqrt_().clamp_(max=1)


def scale(picture: Tensor, size: int) -> Tensor:
    """(N, C, S, S) to (N, C, size, size), bicubic, antialiased where it shrinks.

    Convention: pixel areas are kept (align_corners=False).
    """
    if picture.shape[-1] == size:
        return picture
    return F.interpolate(
        picture,
        size=(size, size),
        mode="bicubic",
        antialias=size < picture.shape[-1],
        align_corners=False,
    )


def return_to_size(full: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Bring a result found at another size back, with the residual that size could not carry.

    Args:
        full: (N, C, S, S), the original.
        before: (N, C, s, s), the original as the network saw it: scale(full, s).
        after: (N, C, s, s), what the network made of it.

    Returns:
        (N, C, S, S); equal to `full` up to rounding where `after` equals `before`.
    """
    size = full.shape[-1]
    if before.shape[-1] == size:
        return after
    back_before, back_after = scale(before, size), scale(after, size)
    if before.shape[-1] < size:
        share = scale(kept(before, after), size).clamp_(0, 1)
    else:
        share = kept(back_before, back_after)
    return torch.addcmul(back_after, share, full - back_before)
