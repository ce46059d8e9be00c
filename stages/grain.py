"""Grain: measured around a face, and given back to the skin a restorer has wiped clean.

Grain is described by its cross spectrum: for each ring of frequencies how strong it is in red,
green and blue, and how much they go together. What the face lacks of the spectrum around it is
synthesised as noise of just that spectrum. More than film has is damage, not grain, and is not
given back.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from .quiet import quiet, windows
from .spectra import PATCH, SHAPED, TILE, between, leaks, sizes, spectra_of, total

#: First ring of frequencies that is grain, in cycles a patch; what is slower is shape and light.
_SLOWEST = 2

#: Deviation, in [0, 1], up to which noise is grain, and from which it is wholly damage: 5 and 16
#: steps of 8 bits. Film of ISO 400 to 1600, scanned, lies below the first; between the two some of
#: it comes back, or the face would lie as a smooth plate in a noisy picture.
_GRAIN, _DAMAGE = 5 / 255, 16 / 255

#: Deviation up to which it is faint texture, and from which it is wholly grain; and the least that
#: is worth an addition.
_TEXTURE, _SEEN, _LEAST = 0.6 / 255, 1.2 / 255, 0.3 / 255

#: Share of the grain around that a face may lose unnoticed.
_ALIKE = 0.2

#: How much more power than around a face its own grain may have; more is features.
_LOUDER = 1.5

#: Rounds in which a spectrum is freed of what the window of a patch spreads.
_ROUNDS = 6


def spectrum(
    picture: Tensor, where: Tensor, light: tuple[float, float] = (0.0, 1.0)
) -> Tensor | None:
    """The cross spectrum of grain: of what the quietest parts of a picture hold.

    Args:
        picture: (H, W, C) in [0, 1].
        where: (H, W) bool, pixels that may be looked at.
        light: brightness from and to which grain is sought, as it depends on it; where that leaves
            few patches, the nearest count as well.

    Returns:
        (rings, C, C) mean power of each ring of frequencies, as variance a coefficient, or None
        where too little is left to tell.
    """
    found = quiet(picture, where, light)
    return found if found is None else found.spectrum()


def compared(original: Tensor, result: Tensor, where: Tensor) -> tuple[Tensor, Tensor] | None:
    """The spectra of a face before and after it was restored, in the same places.

    The original's quietest: those of the result are where a restorer took most of the grain away.

    Args:
        original, result: (H, W, C) in [0, 1].
        where: (H, W) bool, the restored skin.

    Returns:
        Two spectra, or None as `spectrum`.
    """
    found = quiet(original, where)
    if found is None:
        return None
    whole, before = spectra_of(found.patches, found.coded)
    left, after = spectra_of(windows(result, found.tops, found.lefts), found.coded)
    # A restorer keeps the shape, and what else there is more than `after` is grain that it has
    # left; that tells the more the less shape there is.
    held, mere = total(whole), total(before)
    most, least = total(left).clamp(min=1e-12), total(after)
    more = (most - held + mere - least).clamp(min=0) * mere / held.clamp(min=1e-12)
    share = (least + more) / most
    return before / found.chosen, left * share.clamp(max=1)[:, None, None]


def deviation(cross: Tensor) -> float:
    """Deviation of grain of this spectrum, in [0, 1], over the rings that are grain."""
    power = total(cross)[_SLOWEST:] @ sizes(cross.device)[_SLOWEST:]
    return max(float(power) / (cross.shape[1] * PATCH**2), 0.0) ** 0.5


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
    if found < _TEXTURE:
        return None
    start, end = _GRAIN * max(strength, 1), _DAMAGE * max(strength, 1)
    allowed = min(found, start) * min(max((end - found) / (end - start), 0.0), 1.0)
    allowed *= min((found - _TEXTURE) / (_SEEN - _TEXTURE), 1.0)
    # What is slower is shape; of grain there is as much as in the slowest ring that is grain alone.
    around = around[[_SLOWEST] * _SLOWEST + list(range(_SLOWEST, len(around)))]
    own, there = (total(cross).clamp(min=1e-12) for cross in (before, around))
    share = (own / there).clamp(max=1) * (allowed / found) ** 2
    # What is much louder is shape, before and after; as much of grain is left as of all that. The
    # slow rings have been freed of it.
    shapeless = (_LOUDER * there / own).clamp(max=1)
    shapeless[:SHAPED] = 1
    wanted = around * share[:, None, None] - after * shapeless[:, None, None]
    values, vectors = torch.linalg.eigh(wanted)
    values = values.clamp(min=0)
    values[0] = 0
    roots = vectors @ torch.diag_embed(values.sqrt()) @ vectors.transpose(1, 2)
    wanted = roots @ roots
    if deviation(wanted) < max(_LEAST, _ALIKE * allowed):
        return None
    return _sharpened(roots, total(wanted)) * min(strength, 1.0)


def _sharpened(roots: Tensor, wanted: Tensor) -> Tensor:
    """The roots whose noise has, seen through the window of a patch, the power `wanted` (rings,).

    The window smears a spectrum over its neighbours; what is measured and made again would be
    smeared twice, and coarse grain become finer.
    """
    rows = roots.flatten(1)
    heard = leaks(roots.device) * (rows @ rows.T)
    found = wanted.clamp(min=1e-12)
    gain = torch.ones_like(found)
    for _ in range(_ROUNDS):
        more = (found / (heard @ gain @ gain).clamp_(min=1e-12)).sqrt_().clamp_(0.5, 2)
        more[:_SLOWEST] = more[_SLOWEST]
        gain *= more
    return roots * gain[:, None, None]


def tile(roots: Tensor, seed: int) -> Tensor:
    """Noise of a spectrum, which can be laid side by side without seams.

    Args:
        roots: from `lacking`.
        seed: the same seed gives the same noise.

    Returns:
        (C, 192, 192), mean 0.
    """
    channels = roots.shape[1]
    waves = _white(seed, channels, roots.device)
    # (C, C, 1, 192 * 97): how much of each channel goes into each.
    filters = (roots.flatten(1).T @ between(roots.device)).view(channels, channels, 1, -1)
    mixed = filters[0] * waves[0]
    for share, wave in zip(filters[1:], waves[1:], strict=True):
        mixed.addcmul_(share, wave)
    mixed = torch.complex(*mixed.view(channels, 2, TILE, -1).unbind(1))
    return torch.fft.irfft2(mixed, (TILE, TILE))


@lru_cache(maxsize=2)
def _white(seed: int, channels: int, device: torch.device) -> Tensor:
    """(C, 2, 192 * 97) waves of white noise, kept for the other faces of a picture."""
    generator = torch.Generator().manual_seed(seed)
    # Kept for all later calls, so not made for inference alone.
    with torch.inference_mode(False):
        white = torch.randn(channels, TILE, TILE, generator=generator).to(device)
        waves = torch.fft.rfft2(white).flatten(1)
        return torch.stack([waves.real, waves.imag], 1)


def add(planes: Tensor, tile: Tensor, share: Tensor) -> None:
    """Add a tile of noise, repeated, to `planes` (C, h, w) as far as `share` (h, w)."""
    height, width = share.shape
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            part = share[top : top + TILE, left : left + TILE]
            here = planes[:, top : top + TILE, left : left + TILE]
            here.addcmul_(tile[:, : part.shape[0], : part.shape[1]], part)
