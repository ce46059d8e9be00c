"""Back-off: give a restored face as much of its original back as makes it the person again.

What differs between original and result is taken apart into octaves of detail, and each octave
returns at its own pace: first what carries identity, in eyes, nose and mouth before cheeks and
hair; noise and grain, which carry none, come last. At share 0 the result is untouched, at 1 it is
the original.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from . import octaves
from .detail import scale

#: How much of identity each octave carries, by its shortest wavelength in px of 512, and what is
#: longer than all (128): loss of cosine when the octave is another person's, over the largest.
#: Measured by `python -m kintsugi.benchmarks.guard`, benchmarks/results/guard.md.
CARRIED = {2: 0.03, 4: 0.13, 8: 0.68, 16: 1.0, 32: 0.71, 64: 0.38, 128: 0.21}

#: The same by region, for its area: features against the rest. Hair and background carry next to
#: nothing for an embedder, but people know each other by their hair: it counts as the cheeks do.
_FEATURES, _REST = 1.0, 0.3

#: How many times sooner what carries all identity has returned than what carries none.
_SOONER = 4.0

#: Evaluations of the measure at most, the first one and those of other candidates included.
EVALUATIONS = 8


class Mixer:
    """Mixes originals and results of N faces; both (N, S, S, 3) in [0, 1]."""

    def __init__(self, before: Tensor, after: Tensor):
        self.after = after.permute(0, 3, 1, 2)
        whole = before.permute(0, 3, 1, 2) - self.after
        self.size = whole.shape[-1]
        self.side = octaves.working_side(self.size)
        coarse = scale(whole, self.side)
        self.fine = whole - scale(coarse, self.size)
        self.bands = octaves.split(coarse)
        self.waves = (*octaves.wavelengths(self.side), octaves.LONGEST)

    def __call__(self, faces: Tensor, shares: Tensor) -> Tensor:
        """(M, S, S, 3): the faces with these indices (M,), each with its share (M,) returned."""
        shares = shares.view(-1, 1, 1, 1)
        parts = [
            band[faces] * _returned(wave, band.shape[-1], shares)
            for wave, band in zip(self.waves, self.bands, strict=True)
        ]
        finest = self.fine[faces] * _returned(self.waves[0] // 2, self.size, shares)
        mixed = self.after[faces] + scale(octaves.join(parts), self.size) + finest
        return mixed.clamp_(0, 1).permute(0, 2, 3, 1).contiguous()


def _returned(wave: int, side: int, shares: Tensor) -> Tensor:
    """(M, 1, side, side) share of an octave that has returned at shares (M, 1, 1, 1)."""
    features = sum(octaves.region(name, side) for name in ("eyes", "nose", "mouth")).clamp(max=1)
    place = _REST + (_FEATURES - _REST) * features
    pace = 1 + (_SOONER - 1) * CARRIED.get(wave, 0.0) * place
    return (shares * pace).clamp(0, 1)


def search(
    mixer: Mixer,
    measure: Callable[[Tensor, Tensor], Tensor],
    faces: Tensor,
    threshold: float,
    evaluations: int,
) -> tuple[Tensor, Tensor]:
    """For each face the smallest share of its original that reaches the threshold, by bisection.

    All faces are measured together, so that a step costs one pass of the embedder.

    Args:
        measure: from indices (M,) and crops (M, S, S, 3) to probabilities (M,).
        faces: indices (M,) of the faces to search for; at share 0 they are below the threshold.
        threshold: probability to reach.
        evaluations: how often `measure` may be called.

    Returns:
        shares (M,) and the probabilities (M,) measured there; share 1 and NaN where no mixture was
        seen to reach the threshold.
    """
    low, high = torch.zeros(len(faces)), torch.ones(len(faces))
    reached = torch.full((len(faces),), float("nan"))
    for _ in range(evaluations if len(faces) else 0):
        middle = (low + high) / 2
        found = measure(faces, mixer(faces, middle))
        good = found >= threshold
        high, low = torch.where(good, middle, high), torch.where(good, low, middle)
        reached = torch.where(good, found, reached)
    return high, reached
