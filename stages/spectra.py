"""Cross spectra of patches: the strength of each ring of frequencies, in each colour and across."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

#: Side of a patch, px of the picture, and of a tile that is made of a spectrum again.
PATCH, TILE = 16, 192

#: Share of the patches, the quieter, by whose loudest the level of a wave is told.
_QUIETER = 1 / 3

#: First ring of frequencies that holds grain alone in patches that were chosen to be quiet.
SHAPED = 4


def spectrum_of(patches: Tensor) -> Tensor:
    """(rings, C, C) mean cross spectrum of patches (N, C, 16, 16)."""
    return _mean(_waves(patches))


def spectra_of(patches: Tensor, coded: bool) -> tuple[Tensor, Tensor]:
    """`spectrum_of` patches, and what of it may be grain.

    Grain is in all patches, an edge in some and of one direction. So the level that each wave has
    in the quieter of the patches tells how much is grain, as waves of noise have exponentially
    distributed power; not so where coding left grain here and there. One channel tells of all.
    """
    waves = _waves(patches)
    cross = _mean(waves)
    if coded:
        return cross, without_shape(cross)
    count = len(patches)
    rank = max(round(count * _QUIETER), 1)
    middle = waves.shape[1] // 2
    powers = waves[:, middle].unflatten(1, (2, count)).square().sum(1)
    level = _gather(patches.device) @ powers.kthvalue(rank, dim=1)[0]
    # The mean of the value of this rank among as many exponential ones of mean 1.
    expected = sum(1 / (count - lower) for lower in range(rank))
    share = level / (expected * cross[:, middle, middle]).clamp(min=1e-12)
    return cross, without_shape(cross * share.clamp(max=1)[:, None, None])


def _waves(patches: Tensor) -> Tensor:
    """(144, C, 2 * N): real, then imaginary parts of the waves of patches (N, C, 16, 16)."""
    rows = patches.transpose(0, 1).reshape(-1, PATCH**2)
    waves = (_transform(patches.device) @ rows.T).view(-1, 2, *patches.shape[1::-1])
    return waves.transpose(1, 2).flatten(2)


def _mean(waves: Tensor) -> Tensor:
    """(rings, C, C): the products of channels, summed over patches, and over rings by a matrix."""
    products = (waves @ waves.transpose(1, 2)) * (2 / waves.shape[2])
    return (_gather(waves.device) @ products.flatten(1)).unflatten(1, products.shape[1:])


def total(cross: Tensor) -> Tensor:
    """(rings,) power over all channels."""
    return cross.diagonal(dim1=1, dim2=2).sum(1)


def without_shape(cross: Tensor) -> Tensor:
    """A spectrum (rings, C, C) with no more in its slow rings than grain can have there.

    Those hold the shape of things as well, of which the slowest of a small face may have five times
    the grain. The spectrum of grain rises no steeper towards them than a Gaussian that goes through
    the two rings before: one of film that was enlarged does, and coding and sensors less.
    """
    powers = total(cross).clamp(min=1e-12).tolist()
    shares = [1.0] * len(powers)
    for ring in reversed(range(SHAPED)):
        near, far = powers[ring + 1], powers[ring + 2]
        most = near * max(near / far, 1.0) ** ((2 * ring + 1) / (2 * ring + 3))
        shares[ring] = min(most / powers[ring], 1.0)
        powers[ring] *= shares[ring]
    return cross * cross.new_tensor(shares)[:, None, None]


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def window(device: torch.device) -> Tensor:
    """(16, 16), of mean square 1, softly towards the border."""
    line = torch.hann_window(PATCH, periodic=False, device=device) + 0.05
    soft = line[:, None] * line
    return soft / soft.square().mean().sqrt()


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept for later calls of any mode
def ring_places(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w) frequency of each coefficient of fft2, in cycles a patch."""
    y, x = (torch.fft.fftfreq(side, device=device) * PATCH for side in (height, width))
    return (y[:, None].square() + x.square()).sqrt()


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept for later calls of any mode
def rings_of(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w) the ring of each coefficient of fft2."""
    return ring_places(height, width, device).round().long()


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def sizes(device: torch.device) -> Tensor:
    """How many coefficients of a patch each ring has."""
    return torch.bincount(rings_of(PATCH, PATCH, device).flatten()).float()


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def _transform(device: torch.device) -> Tensor:
    """(144 * 2, 256) what rfft2 makes of a patch without its mean under the window; a product of
    matrices, for patches are too small for the other way to be faster."""
    units = torch.eye(PATCH**2, device=device).view(-1, PATCH, PATCH)
    waves = torch.fft.rfft2((units - 1 / PATCH**2) * window(device)) / PATCH
    return torch.view_as_real(waves).flatten(1).T.contiguous()


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def _gather(device: torch.device) -> Tensor:
    """(rings, 144) weights of the coefficients of rfft2 in the mean of each ring."""
    rings = rings_of(PATCH, PATCH, device)[:, : PATCH // 2 + 1]
    # All but the first and the last column stand for their mirror images too.
    twice = torch.full((PATCH // 2 + 1,), 2.0, device=device)
    twice[[0, -1]] = 1
    weights = torch.zeros(rings.numel(), len(sizes(device)), device=device)
    at = torch.arange(rings.numel(), device=device)
    weights[at, rings.flatten()] = twice.repeat(PATCH)
    return (weights / sizes(device)).T.contiguous()


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def between(device: torch.device) -> Tensor:
    """(rings, 192 * 97) how much of each ring is in each coefficient of a tile: straight lines
    from one ring to the next."""
    rings = len(sizes(device))
    places = ring_places(TILE, TILE, device)[:, : TILE // 2 + 1].flatten().clamp(max=rings - 1)
    at = torch.arange(rings, device=device)
    return (1 - (places - at[:, None]).abs()).clamp(min=0)


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def leaks(device: torch.device) -> Tensor:
    """(rings, rings, rings): how much of the product of two rings of roots, mixed as in a tile, is
    found in each ring of a patch."""
    step = TILE // PATCH
    hears = torch.fft.fft2(window(device), (TILE, TILE)).abs().square() / PATCH**2
    rings = rings_of(PATCH, PATCH, device)
    combs = torch.zeros(len(sizes(device)), TILE, TILE, device=device)
    for ring, size in enumerate(sizes(device)):
        combs[ring, ::step, ::step] = (rings == ring) / size
    # Which frequencies each ring of a patch hears: its own, widened by the window.
    heard = torch.fft.irfft2(torch.fft.rfft2(combs) * torch.fft.rfft2(hears), (TILE, TILE))
    places = ring_places(TILE, TILE, device).flatten().clamp(max=len(combs) - 1)
    at = torch.arange(len(combs), device=device)
    mixed = (1 - (places - at[:, None]).abs()).clamp(min=0)
    pairs = (mixed[:, None] * mixed).flatten(0, 1)
    return (heard.flatten(1) @ pairs.T).view(len(combs), len(combs), -1) / TILE**2
