"""Grain: measured around a face, and given back to the skin a restorer has wiped clean.

Grain is described by its cross spectrum: for each ring of frequencies how strong it is in red,
green and blue, and how much they go together. What the face lacks of the spectrum around it is
synthesised as noise of just that spectrum. More than film has is damage, not grain, and is not
given back.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

#: Side of the patches in which grain is measured, px of the picture, and their least step.
_PATCH, _STEP = 16, 8

#: Most patches looked at, and the fewest needed.
_MOST, _FEWEST = 160, 6

#: The share of the patches, the quietest, that a first guess is made of, and how many deviations
#: below the mean of mere noise they are: the mean of the lowest eighth of a normal distribution.
_QUIETEST, _BELOW = 1 / 8, 1.65

#: Deviations above that guess up to which a patch may be mere grain, how far below their mean this
#: leaves the mean of mere grain, and how many of those patches are enough.
_ABOVE, _CUT, _ENOUGH = 1.0, 0.29, 48

#: First ring of frequencies that is grain, in cycles a patch; what is slower is shape and light.
_SLOWEST = 2

#: Deviation, in [0, 1], up to which noise is grain, and from which it is wholly damage: 5 and 10
#: steps of 8 bits. Film of ISO 400 to 1600, scanned, lies below the first.
_GRAIN, _DAMAGE = 5 / 255, 10 / 255

#: Deviation that is not worth an addition: a quarter of a step of 8 bits.
_LEAST = 0.25 / 255

#: Share of the grain around that a face may lose unnoticed.
_ALIKE = 0.2

#: Brightness beyond which grain is clipped and cannot be measured.
_RANGE = (0.04, 0.96)

#: Side of the tile of synthesised noise.
_TILE = 192


def spectrum(picture: Tensor, where: Tensor) -> Tensor | None:
    """The cross spectrum of grain: of what the quietest parts of a picture hold.

    What is louder there is texture. The quietest patches of mere grain are quieter than grain is by
    chance; by how much is known from its spectrum and made up for.

    Args:
        picture: (H, W, C) in [0, 1].
        where: (H, W) bool, pixels that may be looked at.

    Returns:
        (rings, C, C) mean power of each ring of frequencies, as variance a coefficient, or None
        where too little is left to tell.
    """
    found = _quiet(picture, where)
    if found is None:
        return None
    patches, _, spread = found
    return _spectrum_of(patches) / (1 - _CUT * spread)


def compared(original: Tensor, result: Tensor, where: Tensor) -> tuple[Tensor, Tensor] | None:
    """The spectra of a face before and after it was restored, in the same places.

    The original's quietest: those of the result are where a restorer took most of the grain away.

    Args:
        original, result: (H, W, C) in [0, 1].
        where: (H, W) bool, the restored skin.

    Returns:
        Two spectra, or None as `spectrum`.
    """
    found = _quiet(original, where)
    if found is None:
        return None
    patches, places, spread = found
    return _spectrum_of(patches) / (1 - _CUT * spread), _spectrum_of(_windows(result, *places))


def _quiet(
    picture: Tensor, where: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor], float] | None:
    """Patches that may be mere grain, their tops and lefts, and the spread of their loudness."""
    places = _places(where)
    if places is None:
        return None
    patches = _windows(picture, *places)
    rows = patches.reshape(-1, _PATCH**2)
    bent = (rows @ _bends(rows.device)).view(len(patches), -1, 6)
    loudness = rows.square().sum(1).view(len(patches), -1).sum(1) - bent.square().sum((1, 2))
    light = bent[:, :, 0].mean(1) / _PATCH
    loudness = loudness.masked_fill((light < _RANGE[0]) | (light > _RANGE[1]), torch.inf)
    usable = int(loudness.isfinite().sum())
    if usable < _FEWEST:
        return None
    loudness, order = loudness.sort()
    first = max(int(usable * _QUIETEST), _FEWEST)
    spread = _spread(_spectrum_of(patches[order[:first]]))
    guess = float(loudness[:first].mean()) / max(1 - _BELOW * spread, 0.5)
    among = max(int((loudness < guess * (1 + _ABOVE * spread)).sum()), first)
    chosen = order[: among : -(-among // _ENOUGH)]
    return patches[chosen], (places[0][chosen], places[1][chosen]), spread


def _spread(cross: Tensor) -> float:
    """Deviation of the energy of patches of noise of this spectrum, over its mean."""
    sizes = _sizes(cross.device)
    total = float(sizes @ cross.diagonal(dim1=1, dim2=2).sum(1))
    return float(2 * sizes @ cross.square().sum((1, 2))) ** 0.5 / max(total, 1e-12)


def _spectrum_of(patches: Tensor) -> Tensor:
    """(rings, C, C) mean cross spectrum of patches (N, C, 16, 16)."""
    centred = patches - patches.mean((2, 3), keepdim=True)
    waves = torch.fft.rfft2(centred * _window(patches.device)) / _PATCH
    # (C, 144, N, 2): the products of channels, summed over patches, and over rings by a matrix.
    waves = torch.view_as_real(waves).flatten(2, 3).permute(1, 2, 0, 3).flatten(2).contiguous()
    products = torch.stack([(waves * other).sum(2) for other in waves]) / len(patches)
    return (products @ _gather(patches.device)).permute(2, 0, 1)


def deviation(cross: Tensor) -> float:
    """Deviation of grain of this spectrum, in [0, 1], over the rings that are grain."""
    rings = _rings(_PATCH, _PATCH, cross.device).flatten()
    power = cross.diagonal(dim1=1, dim2=2).mean(1)[rings]
    return float((power * (rings >= _SLOWEST)).mean().clamp(min=0).sqrt())


def lacking(around: Tensor, before: Tensor, after: Tensor, strength: float) -> Tensor | None:
    """What a face lacks of the grain around it, or of its own if that was less.

    Cloth, leaves and walls may have no quiet part at all and look grainy; then the original of the
    face is quieter and that counts.

    Args:
        around, before, after: spectra of the surroundings, and of the face before and after it was
            restored.
        strength: 0 none to 1 all of it; above 1 what counts as damage is allowed for as well.

    Returns:
        (rings, C, C) square roots of the spectrum to add, or None where nothing is to be added.
    """
    found = deviation(around)
    if found < _LEAST:
        return None
    start, end = _GRAIN * max(strength, 1), _DAMAGE * max(strength, 1)
    allowed = min(found, start) * min(max((end - found) / (end - start), 0.0), 1.0)
    own, there = (cross.diagonal(dim1=1, dim2=2).sum(1) for cross in (before, around))
    share = (own / there.clamp(min=1e-12)).clamp(max=1) * (allowed / found) ** 2
    values, vectors = torch.linalg.eigh(around * share[:, None, None] - after)
    values = values.clamp(min=0)
    values[:_SLOWEST] = 0
    roots = vectors @ torch.diag_embed(values.sqrt()) @ vectors.transpose(1, 2)
    if deviation(roots @ roots) < max(_LEAST, _ALIKE * allowed):
        return None
    return roots * min(strength, 1.0)


def tile(roots: Tensor, seed: int) -> Tensor:
    """Noise of a spectrum, which can be laid side by side without seams.

    Args:
        roots: from `lacking`.
        seed: the same seed gives the same noise.

    Returns:
        (C, 192, 192), mean 0.
    """
    generator = torch.Generator().manual_seed(seed)
    channels = roots.shape[1]
    white = torch.randn(channels, _TILE, _TILE, generator=generator).to(roots.device)
    waves = torch.view_as_real(torch.fft.rfft2(white)).flatten(1, 2)
    # (C, C, 192 * 97, 1): how much of each channel goes into each.
    filters = (roots.flatten(1).T @ _between(roots.device)).view(channels, channels, -1, 1)
    mixed = (waves * filters).sum(1).view(channels, _TILE, -1, 2)
    return torch.fft.irfft2(torch.view_as_complex(mixed), (_TILE, _TILE))


def add(planes: Tensor, tile: Tensor, share: Tensor) -> None:
    """Add a tile of noise, repeated, to `planes` (C, h, w) as far as `share` (h, w)."""
    height, width = share.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            part = share[top : top + _TILE, left : left + _TILE]
            here = planes[:, top : top + _TILE, left : left + _TILE]
            here.addcmul_(tile[:, : part.shape[0], : part.shape[1]], part)


def _places(where: Tensor) -> tuple[Tensor, Tensor] | None:
    """Top and left of patches that lie wholly in `where`, evenly, or None of too few."""
    height, width = where.shape
    if min(height, width) < _PATCH:
        return None
    step = max(_STEP, round(math.sqrt(height * width / (2 * _MOST))))
    # Masks are smooth, so a few samples of each patch tell whether it lies inside.
    free = where.unfold(0, _PATCH, step).unfold(1, _PATCH, step)[..., ::5, ::5].flatten(2).all(2)
    tops, lefts = (index * step for index in free.nonzero(as_tuple=True))
    if len(tops) > _MOST:
        chosen = torch.linspace(0, len(tops) - 1, _MOST).long()
        tops, lefts = tops[chosen], lefts[chosen]
    return (tops, lefts) if len(tops) >= _FEWEST else None


def _windows(picture: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """(N, C, 16, 16) float32 patches with these corners."""
    windows = picture.unfold(0, _PATCH, 1).unfold(1, _PATCH, 1)
    return windows[tops, lefts].float()


@lru_cache(maxsize=4)
def _window(device: torch.device) -> Tensor:
    """(16, 16), of mean square 1, softly towards the border."""
    window = torch.hann_window(_PATCH, periodic=False, device=device) + 0.05
    window = window[:, None] * window
    return window / window.square().mean().sqrt()


@lru_cache(maxsize=4)
def _bends(device: torch.device) -> Tensor:
    """(256, 6) orthonormal surfaces up to the second degree: what shading does to a patch."""
    at = torch.linspace(-1, 1, _PATCH, dtype=torch.float64)
    y, x = (each.flatten() for each in torch.meshgrid(at, at, indexing="ij"))
    surfaces = torch.stack([torch.ones_like(x), x, y, x * y, x * x, y * y], 1)
    basis = torch.linalg.qr(surfaces)[0]
    return (basis * basis.sum(0).sign().where(basis.sum(0).abs() > 1, 1.0)).float().to(device)


@lru_cache(maxsize=8)
def _ring_places(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w) frequency of each coefficient of fft2, in cycles a patch."""
    y, x = (torch.fft.fftfreq(side, device=device) * _PATCH for side in (height, width))
    return (y[:, None].square() + x.square()).sqrt()


@lru_cache(maxsize=8)
def _rings(height: int, width: int, device: torch.device) -> Tensor:
    return _ring_places(height, width, device).round().long()


@lru_cache(maxsize=4)
def _sizes(device: torch.device) -> Tensor:
    """How many coefficients of a patch each ring has."""
    return torch.bincount(_rings(_PATCH, _PATCH, device).flatten()).float()


@lru_cache(maxsize=4)
def _gather(device: torch.device) -> Tensor:
    """(144, rings) weights of the coefficients of rfft2 in the mean of each ring."""
    rings = _rings(_PATCH, _PATCH, device)[:, : _PATCH // 2 + 1]
    # All but the first and the last column stand for their mirror images too.
    twice = torch.full((_PATCH // 2 + 1,), 2.0, device=device)
    twice[[0, -1]] = 1
    sizes = _sizes(device)
    weights = torch.zeros(rings.numel(), len(sizes), device=device)
    at = torch.arange(rings.numel(), device=device)
    weights[at, rings.flatten()] = twice.repeat(_PATCH)
    return weights / sizes


@lru_cache(maxsize=4)
def _between(device: torch.device) -> Tensor:
    """(rings, 192 * 97) how much of each ring is in each coefficient of a tile: straight lines
    from one ring to the next."""
    rings = len(_sizes(device))
    places = _ring_places(_TILE, _TILE, device)[:, : _TILE // 2 + 1].flatten().clamp(max=rings - 1)
    at = torch.arange(rings, device=device)
    return (1 - (places - at[:, None]).abs()).clamp(min=0)
