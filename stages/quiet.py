"""Quiet patches: the parts of a picture that may hold mere grain.

What is louder there is texture. The quietest patches of mere grain are quieter than grain is by
chance; by how much is known from its spectrum, or, where JPEG has left grain in a few places only,
told by how much the quiet ones differ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .spectra import PATCH, sizes, spectra_of, spectrum_of, total

#: Least steps between patches, px of the picture: the second where the first finds too few.
_STEPS = (8, 4)

#: Most patches looked at, how many are plenty, and the fewest needed.
_MOST, _PLENTY, _FEWEST = 160, 48, 6

#: The share of the patches, the quietest, that a first guess is made of, and how many deviations
#: below the mean of mere noise they are: the mean of the lowest eighth of a normal distribution.
_QUIETEST, _BELOW = 1 / 8, 1.65

#: Deviations above that guess up to which a patch may be mere grain, how far below their mean this
#: leaves the mean of mere grain, and how many of those patches are enough.
_ABOVE, _CUT, _ENOUGH = 1.0, 0.29, 48

#: How many deviations below it the quieter half is, side of the blocks of JPEG, how much steeper
#: their joints are than the rest, and the most that the energy of grain spreads where coding has
#: left it in a few places.
_BELOW_HALF, _BLOCK, _JOINT, _SPARSE = 0.8, 8, 1.3, 0.3

#: How much louder than elsewhere grain may be at another brightness; more is texture.
_LOUDER = 2.0

#: Brightness beyond which grain is clipped and cannot be measured.
_RANGE = (0.04, 0.96)


def light(picture: Tensor, where: Tensor) -> tuple[float, float]:
    """Brightness from and to which most of a part of a picture (H, W, C) lies."""
    few = (slice(None, None, 8), slice(None, None, 8))
    samples = picture[few].float().mean(-1)[where[few]]
    if not len(samples):
        return 0.0, 1.0
    low, high = samples.quantile(samples.new_tensor([0.1, 0.9])).tolist()
    return low, high


@dataclass(frozen=True, eq=False)
class Quiet:
    """Patches (N, C, 16, 16) that may be mere grain, their tops and lefts, the deviation of the
    energy of grain from patch to patch, over its mean, and whether they show blocks of JPEG."""

    patches: Tensor
    tops: Tensor
    lefts: Tensor
    spread: float
    coded: bool

    def spectrum(self) -> Tensor:
        """(rings, C, C) of grain: of the patches, freed of what choosing the quiet ones does."""
        return spectra_of(self.patches, self.coded)[1] / self.chosen

    @property
    def chosen(self) -> float:
        """How much of the power of grain is left by choosing quiet patches."""
        return 1 - _CUT * self.spread


def quiet(picture: Tensor, where: Tensor, lit: tuple[float, float] = (0.0, 1.0)) -> Quiet | None:
    """The quietest patches of a picture (H, W, C), or None where there are too few patches.

    Args:
        where: (H, W) bool, pixels that may be looked at.
        lit: brightness from and to which they are sought; where that leaves few, the nearest count
            as well.
    """
    places = _places(where)
    if places is None:
        return None
    patches = windows(picture, *places)
    rows = patches.reshape(-1, PATCH**2)
    bent = (rows @ _bends(rows.device)).view(len(patches), -1, 6)
    loudness = rows.square().sum(1).view(len(patches), -1).sum(1) - bent.square().sum((1, 2))
    bright = bent[:, :, 0].mean(1) / PATCH
    loudness = loudness.masked_fill((bright < _RANGE[0]) | (bright > _RANGE[1]), torch.inf)
    usable = int(loudness.isfinite().sum())
    if usable > _PLENTY:
        far = (lit[0] - bright).maximum(bright - lit[1]).clamp(min=0)
        far = far.masked_fill(loudness.isinf(), torch.inf)
        like = loudness.masked_fill(far > far.kthvalue(_PLENTY)[0], torch.inf)
        few = usable // _PLENTY * _FEWEST
        if like.kthvalue(_FEWEST)[0] < _LOUDER * loudness.kthvalue(few)[0]:
            loudness, usable = like, int(like.isfinite().sum())
    if usable < _FEWEST:
        return None
    loudness, order = loudness.sort()
    first = max(int(usable * _QUIETEST), _FEWEST)
    least = float(loudness[:first].mean())
    spread = _spread(spectrum_of(patches[order[:first]]))
    half = order[: min(4 * first, usable)]
    coded = _coded(patches[half], places[0][half], places[1][half])
    if coded:
        more = float(loudness[: len(half)].mean()) / max(least, 1e-12)
        spread = min(max((more - 1) / max(_BELOW * more - _BELOW_HALF, 0.1), spread), _SPARSE)
    guess = least / max(1 - _BELOW * spread, 0.5)
    among = max(int((loudness < guess * (1 + _ABOVE * spread)).sum()), first)
    chosen = order[: among : -(-among // _ENOUGH)]
    return Quiet(patches[chosen], places[0][chosen], places[1][chosen], spread, coded)


def _coded(patches: Tensor, tops: Tensor, lefts: Tensor) -> bool:
    """Whether patches (N, C, 16, 16) show the joints of the blocks that JPEG codes."""
    patches = patches[:, patches.shape[1] // 2]
    squares = [patches.diff(dim=axis).square_().sum(3 - axis) for axis in (1, 2)]
    steps = torch.stack(squares)  # (2, N, 15)
    # As loud as all others, or the loudest patches alone would tell.
    steps /= steps.sum(2, keepdim=True).clamp(min=1e-12)
    at = torch.arange(1, PATCH, device=patches.device)
    phases = (torch.stack([tops, lefts]).to(at)[..., None] + at) % _BLOCK
    phases[1] += _BLOCK
    phases = phases.flatten()
    sums = phases.bincount(steps.flatten(), 2 * _BLOCK)
    means = (sums / phases.bincount(minlength=2 * _BLOCK).clamp(min=1)).view(2, _BLOCK)
    return bool((means.amax(1) > _JOINT * means.median(1)[0]).all())


def _spread(cross: Tensor) -> float:
    """Deviation of the energy of patches of noise of this spectrum, over its mean."""
    count = sizes(cross.device)
    energy = float(count @ total(cross))
    return float(2 * count @ cross.square().sum((1, 2))) ** 0.5 / max(energy, 1e-12)


def _places(where: Tensor) -> tuple[Tensor, Tensor] | None:
    """Top and left of patches that lie wholly in `where`, evenly, or None of too few."""
    height, width = where.shape
    if min(height, width) < PATCH:
        return None
    for least in _STEPS:
        step = max(least, round(math.sqrt(height * width / (2 * _MOST))))
        # Masks are smooth, so a few samples of each patch tell whether it lies inside.
        free = where.unfold(0, PATCH, step).unfold(1, PATCH, step)[..., ::5, ::5]
        tops, lefts = (at * step for at in free.flatten(2).all(2).nonzero(as_tuple=True))
        if len(tops) >= _PLENTY:
            break
    if len(tops) > _MOST:
        chosen = torch.linspace(0, len(tops) - 1, _MOST).long()
        tops, lefts = tops[chosen], lefts[chosen]
    return (tops, lefts) if len(tops) >= _FEWEST else None


def windows(picture: Tensor, tops: Tensor, lefts: Tensor) -> Tensor:
    """(N, C, 16, 16) float32 patches with these corners."""
    all_of_them = picture.unfold(0, PATCH, 1).unfold(1, PATCH, 1)
    return all_of_them[tops, lefts].float()


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # kept for later calls of any mode
def _bends(device: torch.device) -> Tensor:
    """(256, 6) orthonormal surfaces up to the second degree: what shading does to a patch."""
    at = torch.linspace(-1, 1, PATCH, dtype=torch.float64)
    y, x = (each.flatten() for each in torch.meshgrid(at, at, indexing="ij"))
    surfaces = torch.stack([torch.ones_like(x), x, y, x * y, x * x, y * y], 1)
    basis = torch.linalg.qr(surfaces)[0]
    return (basis * basis.sum(0).sign().where(basis.sum(0).abs() > 1, 1.0)).float().to(device)
