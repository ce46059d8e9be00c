"""Grain: measured around a face, and given back to the skin a restorer has wiped clean.

Grain is described by its cross spectrum: for each ring of frequencies how strong it is in red,
green and blue, and how much they go together. What the face lacks of the spectrum around it is
synthesised as noise of just that spectrum. More than film has is damage, not grain, and is not
given back.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Side of the patches in which grain is measured, px of the picture, and their step on a face.
_PATCH = 16

#: Most patches looked at, the share of them, the flattest, that are used, and the fewest needed.
_MOST, _FLATTEST, _FEWEST = 160, 0.4, 6

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
    """The cross spectrum of what is finest in the flattest parts of a picture.

    Args:
        picture: (H, W, C) in [0, 1].
        where: (H, W) bool, pixels that may be looked at.

    Returns:
        (rings, C, C) mean power of each ring of frequencies, as variance a coefficient, or None
        where too little is flat to tell.
    """
    places = _places(picture, where)
    return None if places is None else _spectrum_at(picture, *places)


def lost(original: Tensor, result: Tensor, where: Tensor) -> Tensor | None:
    """The spectrum of what a restorer took away: measured in the same patches before and after,
    so that the shape of a face, which both have, does not count.

    Args:
        original, result: (H, W, C) in [0, 1].
        where: (H, W) bool, the restored skin.

    Returns:
        (rings, C, C), negative where something was added, or None as `spectrum`.
    """
    places = _places(original, where)
    if places is None:
        return None
    return _spectrum_at(original, *places) - _spectrum_at(result, *places)


def _spectrum_at(picture: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """(rings, C, C) mean cross spectrum of the patches at these corners."""
    patches = _windows(picture, tops, lefts)
    window = torch.hann_window(_PATCH, periodic=False, device=picture.device) + 0.05
    window = window[:, None] * window
    centred = patches - patches.mean((2, 3), keepdim=True)
    waves = torch.fft.fft2(centred * (window / window.square().mean().sqrt())) / _PATCH
    rings = _rings(_PATCH, _PATCH, picture.device)
    count = int(rings.max()) + 1
    cross = torch.einsum("nchw,ndhw->cdhw", waves, waves.conj()).real / len(patches)
    sums = cross.new_zeros(*cross.shape[:2], count)
    sums.index_add_(2, rings.flatten(), cross.flatten(2))
    sizes = torch.bincount(rings.flatten(), minlength=count)
    return (sums / sizes).permute(2, 0, 1)


def deviation(cross: Tensor) -> float:
    """Deviation of grain of this spectrum, in [0, 1], over the rings that are grain."""
    rings = _rings(_PATCH, _PATCH, cross.device).flatten()
    power = cross.diagonal(dim1=1, dim2=2).mean(1)[rings]
    return float((power * (rings >= _SLOWEST)).mean().clamp(min=0).sqrt())


def lacking(around: Tensor | None, gone: Tensor | None, strength: float) -> Tensor | None:
    """What a face lacks of the grain around it: what it lost, at most what is around.

    Cloth, leaves and walls may have no flat part at all and look grainy; then the face lost less
    and that counts.

    Args:
        around: spectrum of the surroundings. gone: from `lost`. None where it cannot be measured.
        strength: 0 none to 1 all of it; above 1 what counts as damage is allowed for as well.

    Returns:
        (rings, C, C) square roots of the spectrum to add, or None where nothing is to be added.
    """
    if around is None or gone is None or strength == 0:
        return None
    found = deviation(around)
    if found < _LEAST:
        return None
    start, end = _GRAIN * max(strength, 1), _DAMAGE * max(strength, 1)
    allowed = min(found, start) * min(max((end - found) / (end - start), 0.0), 1.0)
    values, vectors = torch.linalg.eigh(gone)
    values = values.clamp(min=0)
    values[:_SLOWEST] = 0
    most = around.diagonal(dim1=1, dim2=2).sum(1) * (allowed / found) ** 2
    values = values * (most / values.sum(1).clamp(min=1e-12)).clamp(max=1)[:, None]
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
    waves = torch.fft.rfft2(white)
    rings = _ring_places(_TILE, _TILE, roots.device)[:, : _TILE // 2 + 1]
    low = rings.floor().long().clamp(max=len(roots) - 1)
    share = rings - low
    # (rings, C * C) to straight lines between them.
    steps = F.pad(roots.diff(dim=0), (0, 0, 0, 0, 0, 1))
    filters = torch.addcmul(roots[low], share[..., None, None], steps[low])
    mixed = (torch.view_as_real(waves).unsqueeze(0) * filters.permute(2, 3, 0, 1)[..., None]).sum(1)
    return torch.fft.irfft2(torch.view_as_complex(mixed), (_TILE, _TILE))


def add(planes: Tensor, tile: Tensor, share: Tensor) -> None:
    """Add a tile of noise, repeated, to `planes` (C, h, w) as far as `share` (h, w)."""
    height, width = share.shape
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            part = share[top : top + _TILE, left : left + _TILE]
            here = planes[:, top : top + _TILE, left : left + _TILE]
            here.addcmul_(tile[:, : part.shape[0], : part.shape[1]], part)


def _places(picture: Tensor, where: Tensor) -> tuple[Tensor, Tensor] | None:
    """Top and left of flat patches that lie wholly in `where`, or None."""
    height, width = where.shape
    if min(height, width) < _PATCH:
        return None
    step = max(_PATCH // 2, round(math.sqrt(height * width / (2 * _MOST))))
    # Masks are smooth, so a few samples of each patch tell whether it lies inside.
    free = where.unfold(0, _PATCH, step).unfold(1, _PATCH, step)[..., ::5, ::5].flatten(2).all(2)
    tops, lefts = (index * step for index in free.nonzero(as_tuple=True))
    if len(tops) > _MOST:
        chosen = torch.linspace(0, len(tops) - 1, _MOST).long()
        tops, lefts = tops[chosen], lefts[chosen]
    if len(tops) < _FEWEST:
        return None
    grey = _windows(picture, tops, lefts).mean(1)
    light = grey.mean((1, 2))
    # Means of quarters hold what is shape and hardly any grain, so choosing by them takes no side.
    shape = F.avg_pool2d(grey[:, None], _PATCH // 2).flatten(1).var(1)
    shape = shape.masked_fill((light < _RANGE[0]) | (light > _RANGE[1]), torch.inf)
    usable = int(shape.isfinite().sum())
    if usable < _FEWEST:
        return None
    flat = shape.argsort()[: max(int(usable * _FLATTEST), _FEWEST)]
    # Of those the quieter half: texture is loud, and grain hardly differs from patch to patch.
    quiet = grey[flat].var((1, 2)).argsort()[: max(len(flat) // 2, _FEWEST)]
    return tops[flat[quiet]], lefts[flat[quiet]]


def _windows(picture: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """(N, C, 16, 16) float32 patches with these corners."""
    windows = picture.unfold(0, _PATCH, 1).unfold(1, _PATCH, 1)
    return windows[tops, lefts].float()


def _ring_places(height: int, width: int, device: torch.device) -> Tensor:
    """(h, w) frequency of each coefficient of fft2, in cycles a patch."""
    y, x = (torch.fft.fftfreq(side, device=device) * _PATCH for side in (height, width))
    return (y[:, None].square() + x.square()).sqrt()


def _rings(height: int, width: int, device: torch.device) -> Tensor:
    return _ring_places(height, width, device).round().long()
