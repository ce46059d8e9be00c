"""Invented: which detail of a restored face has no support in the picture it was made from.

In every octave of detail (see octaves) and every cell of 8 x 8 samples the result is compared with
the original. Detail is supported as far as it is the original's own detail, of the same shape at
the same place, be it amplified up to GAIN times (sharpening is no invention) or rid of noise: what
differs by no more than the noise measured in the original counts as supported too. The rest of its
energy is invented. In an octave that the original does not resolve there is nothing to support it,
and all detail above the noise is invented, however right it may look.

Limits: it measures support, not truth; invented detail may be true, and supported detail may be a
JPEG ringing or a scratch that was amplified. Detail that moved by more than a quarter of its
wavelength counts as invented. Noise is the quietest fifth of the face, so skin texture of a clean
face is taken for noise and its like may be added unnoticed. Tone and colour (longer than 128 px of
512) are not detail and are not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import zoo
from . import geometry, memory, octaves
from .batch import check_crops
from .faces import Faces
from .host import Host
from .parsing import parse

#: How far detail may be amplified and still be the original's own (12 dB).
GAIN = 4.0

#: Share of the face's cells, the quietest, whose energy is the noise.
QUIET = 0.2

#: Energy that nobody sees, half a step of 8 bits, and amplitude at which a map shows detail fully.
_FLOOR, _VISIBLE = (0.5 / 255) ** 2, 3 / 255

#: Energy of features over noise from which an octave counts as resolved, and its least share of the
#: energy of the next longer octave. Clean faces have 0.5 to 0.8 of it; halving, quartering and
#: blurring a crop leaves 0.08 to 0.2 in the first octave that is gone, the leakage of the bands.
_ABOVE_NOISE, _FALL = 2.0, 0.3

#: Samples of a cell and of the step from one to the next.
_CELL, _STEP = 8, 4

#: Shortest wavelength that counts in shares and summaries; finer detail is mostly grain.
FINEST = 4

#: Least share that a summary names.
_NAMED = 0.05

#: Classes of the parser that make a region.
_CLASSES = {
    "eyes": ("left eye", "right eye", "left brow", "right brow"),
    "mouth": ("mouth", "upper lip", "lower lip"),
    "skin": ("skin", "nose"),
    "hair": ("hair",),
}

#: Regions that shares are told of, and what a summary calls their detail.
REGIONS = {"eyes": "eye", "mouth": "mouth", "skin": "skin", "hair": "hair"}

#: Above this share of the height a crop shows hair outside the face's ellipse.
_HAIRLINE = 0.45


@dataclass(frozen=True, eq=False)
class Invented:
    """What was invented, face by face.

    mask: (N, S, S) float32 CPU, share of the visible detail at each pixel that is invented.
    shares: for each face, by name of the region, the share of its detail of FINEST px and longer.
    octaves: the same by the shortest wavelength of each octave: shares[region][wavelength].
    resolution: shortest wavelength, px of a crop of 512, that each original resolves on this face.
    resolution_after: the same of each result.
    noise: deviation of the noise in the finest octave of each original, 0..1.
    summaries: one line for each face.
    """

    mask: Tensor
    shares: tuple[dict[str, float], ...]
    octaves: tuple[dict[str, dict[int, float]], ...]
    resolution: tuple[int, ...]
    resolution_after: tuple[int, ...]
    noise: tuple[float, ...]
    summaries: tuple[str, ...]

    @property
    def whole(self) -> tuple[float, ...]:
        """Share of each face's detail that is invented, all regions alike."""
        return tuple(sum(own.values()) / max(len(own), 1) for own in self.shares)


def invented(
    before: Tensor, after: Tensor, *, parser: str | None = None, host: Host | None = None
) -> Invented:
    """What of the detail of restored crops their originals do not support.

    Args:
        before, after: (N, S, S, C) in [0, 1], FFHQ-aligned; N may be 0. The sizes may differ.
        parser: a parser of the zoo that tells skin and hair apart; None takes the template's
            geometry. See `parser_on_disk`.

    Returns:
        Invented, masks of the size of `after`.

    Raises:
        ValueError: wrong shapes, another number of crops before than after, no such parser.
    """
    before, after = check_crops(before, "before"), check_crops(after, "after")
    count, size = len(after), after.shape[1]
    if len(before) != count:
        raise ValueError(f"{len(before)} crops before and {count} after; give one for each")
    if not count:
        return Invented(torch.zeros(0, size, size), (), (), (), (), (), ())
    side = octaves.working_side(size)
    waves = octaves.wavelengths(side)
    old, new = (octaves.split(octaves.plane(crops.cpu(), side)) for crops in (before, after))
    support: list[_Support] = []
    for first, second in zip(old[:-1], new[:-1], strict=True):
        # Few cells of a long wavelength are quiet; noise is no louder there than in finer detail.
        finer = torch.stack([band.noise for band in support]).amax(0) if support else None
        support.append(_Support.measure(first, second, finer))
    areas = _areas(after, parser, host)
    shares, by_octave = [], []
    for face in range(count):
        regions = {name: {} for name in areas}
        pooled = {}
        for name, masks in areas.items():
            new = old = 0.0
            for wave, band in zip(waves, support, strict=True):
                weight = _at(masks[face % len(masks)], band.energy.shape[-1])
                lost, total = (
                    float((weight * part[face, 0]).sum()) for part in (band.invented, band.energy)
                )
                total += float(weight.sum()) * _FLOOR
                # A bald head has no hair.
                regions[name][wave] = lost / total if total else 0.0
                if wave >= FINEST:
                    new, old = new + lost, old + total
            pooled[name] = new / old if old else 0.0
        shares.append(pooled)
        by_octave.append(regions)
    finest = max(waves[0], FINEST)
    noises = [band.noise.flatten() for band in support]
    return Invented(
        mask=_map(support, size),
        shares=tuple(shares),
        octaves=tuple(by_octave),
        resolution=resolution([band.original for band in support], noises, waves),
        resolution_after=resolution([band.energy for band in support], noises, waves),
        noise=tuple(float(value) for value in support[0].noise.flatten().sqrt()),
        summaries=tuple(summary(own, finest) for own in shares),
    )


def summary(shares: dict[str, float], finest: int) -> str:
    """One line on the region with the most invented detail."""
    worst = max(shares, key=shares.get)
    if shares[worst] < _NAMED:
        return f"hardly any detail above {finest} px is invented"
    return f"{shares[worst]:.0%} of the {REGIONS[worst]} detail above {finest} px is invented"


def parser_on_disk(
    library: zoo.Library | None = None, commercial_only: bool = False
) -> str | None:
    """The first parser of the zoo that lies on disk, with `commercial_only` of those whose licence
    clearly allows such use; None if there is none. Nothing is fetched."""
    found = zoo.available("parser", library, commercial_only=commercial_only)
    return found[0].name if found else None


def on_pictures(masks: Tensor, faces: Faces) -> Tensor:
    """Masks of crops (N, S, S) laid over their pictures: (frames, H, W), the largest where they
    overlap. Raises ValueError if there is not one for each face."""
    if len(masks) != len(faces):
        raise ValueError(f"{len(masks)} masks for {len(faces)} faces; give one for each")
    cpu = torch.device("cpu")
    pictures = memory.zeros(faces.frames, faces.height, faces.width, device=cpu)
    for face, mask, matrix in zip(faces, masks, faces.matrices(), strict=True):
        size = mask.shape[-1]
        matrix = geometry.resized(matrix, face.crop.size, size)
        region = geometry.footprint(matrix, size, faces.height, faces.width)
        if region.empty:
            continue
        laid = geometry.put(mask[None, None].float(), matrix, region)[0, 0].clamp(0, 1)
        at = geometry.transform(matrix, geometry.grid(region).flatten(0, 1))
        inside = ((at > -0.5) & (at < size - 0.5)).all(-1).view(region.height, region.width)
        part = pictures[face.frame][region.slices()]
        torch.maximum(part, laid * inside, out=part)
    return pictures


@dataclass(frozen=True)
class _Support:
    """One octave in cells: energy of the result and what of it is invented, of the original, and
    the noise of the original; (N, 1, c, c), noise (N, 1, 1, 1)."""

    energy: Tensor
    invented: Tensor
    original: Tensor
    noise: Tensor

    @classmethod
    def measure(cls, old: Tensor, new: Tensor, finer: Tensor | None) -> _Support:
        energy, own, both = _mean(new * new), _mean(old * old), _mean(new * old)
        noise = quiet(own)
        noise = noise if finer is None else torch.minimum(noise, finer)
        gain = (both / (own + _FLOOR / 16)).clamp(0, GAIN)
        # What is left of the result after the best multiple of the original is taken out.
        rest = (energy - 2 * gain * both + gain.square() * own).clamp(min=0)
        return cls(energy, (rest - noise).clamp(min=0), own, noise)


def quiet(energy: Tensor) -> Tensor:
    """(N, 1, 1, 1): energy of noise, that of the quietest cells (N, 1, c, c) of the face."""
    inside = octaves.region("face", energy.shape[-1]) > 0.5
    cells = energy[:, 0][:, inside]
    if not cells.shape[1]:
        cells = energy.flatten(1)
    return cells.quantile(QUIET, dim=1).view(-1, 1, 1, 1)


def resolution(
    energies: list[Tensor], noises: list[Tensor], waves: tuple[int, ...]
) -> tuple[int, ...]:
    """Shortest wavelength in which each picture still shows eyes, nose and mouth.

    An octave shows them if their energy there stands out of the noise and has not fallen off as
    no natural picture's does from one octave to the next.

    Args:
        energies: of each octave, finest first, (N, 1, c, c). noises: likewise (N,).
        waves: shortest wavelength of each octave.
    """
    finest = torch.full((len(energies[0]),), waves[-1])
    going, longer = torch.ones_like(finest, dtype=torch.bool), None
    for wave, energy, noise in reversed(list(zip(waves, energies, noises, strict=True))):
        side = energy.shape[-1]
        weight = sum(octaves.region(name, side) for name in ("eyes", "nose", "mouth"))
        shown = (energy[:, 0] * weight).sum((1, 2)) / weight.sum().clamp(min=1e-6)
        going &= shown >= _ABOVE_NOISE * noise + _FLOOR
        if longer is not None:
            going &= shown >= longer * _FALL
        finest, longer = torch.where(going, wave, finest), shown
    return tuple(finest.tolist())


def _mean(values: Tensor) -> Tensor:
    """Means over cells; on bands smaller than a cell over the whole."""
    if values.shape[-1] < _CELL:
        return F.adaptive_avg_pool2d(values, 1)
    pad = (_CELL - _STEP) // 2
    return F.avg_pool2d(values, _CELL, _STEP, pad, count_include_pad=False)


def _at(mask: Tensor, cells: int) -> Tensor:
    """A (S, S) mask at (cells, cells)."""
    return F.adaptive_avg_pool2d(mask[None, None], cells)[0, 0]


def _map(support: list[_Support], size: int) -> Tensor:
    """(N, size, size): share of the visible energy at a pixel, of all octaves, that is invented."""

    def over_all(maps: list[Tensor]) -> Tensor:
        side = maps[0].shape[-1]
        scaled = [
            F.interpolate(part, size=(side, side), mode="bilinear", align_corners=False)
            for part in maps
        ]
        return torch.stack(scaled).sum(0)

    new = over_all([band.invented for band in support])
    total = over_all([band.energy for band in support])
    share = new / (total + _VISIBLE**2)
    mask = F.interpolate(share, size=(size, size), mode="bilinear", align_corners=False)
    return mask[:, 0].clamp(0, 1)


def _areas(crops: Tensor, parser: str | None, host: Host | None) -> dict[str, Tensor]:
    """Masks (N or 1, s, s) of REGIONS: by a parser, else by the template."""
    if parser:
        parsing = parse(crops, model=parser, host=host)
        return {name: parsing.mask(*classes) for name, classes in _CLASSES.items()}
    side = 128
    eyes, mouth, face = (octaves.region(name, side) for name in ("eyes", "mouth", "face"))
    above = torch.zeros(side, side)
    above[: round(_HAIRLINE * side)] = 1
    areas = {
        "eyes": eyes,
        "mouth": mouth,
        "skin": face * (1 - torch.maximum(eyes, mouth)),
        "hair": above * (1 - face),
    }
    return {name: mask[None] for name, mask in areas.items()}
