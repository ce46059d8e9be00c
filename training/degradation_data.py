"""What kintsugi-degradation learns from: damaged faces of any size, and what is no face."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from kintsugi.models.degradation import to_network
from kintsugi.stages.degradation_estimate import KINDS
from kintsugi.training.backgrounds import behind, square
from kintsugi.training.data import Portraits, portraits, rows
from kintsugi.training.mixture import COVERED, Sample, choose, damage

Picture = NDArray[np.uint8]

#: How often each sort of sample is drawn; "far" is a face of a few pixels blown up.
MIXTURE = {"clean": 0.14, "single": 0.3, "mixed": 0.46, "other": 0.07, "far": 0.03}

#: The same for calibration: what a user may meet.
CALIBRATION = {"clean": 0.35, "single": 0.25, "mixed": 0.4}

#: Sides of the crops, px, and how often.
SIDES = {256: 0.66, 320: 0.03, 384: 0.05, 448: 0.02, 512: 0.24}

#: How often something is missing beside the damage drawn, for the mask has most to learn.
MISSING = 0.3

#: How much more often a photograph of a real person is drawn than a generated face.
REAL = 2.0

#: One person in this many is kept out of training to set the calibration and the thresholds by.
KEPT = 14

#: Side of masks, px.
MASK = 256


def kept_out(person: str) -> bool:
    """Whether a person of the training split serves calibration."""
    return zlib.crc32(person.encode()) % KEPT == 0


def some(faces: Portraits, keep: NDArray[np.bool_]) -> Portraits:
    """Part of the faces."""
    index = np.flatnonzero(keep)
    return Portraits(
        faces.pictures[index], tuple(faces.people[i] for i in index), faces.real[index]
    )


def others(folder: Path) -> list[Picture]:
    """Pictures without a face, licence class A."""
    return [
        cv2.imread(str(folder / row["file"]))[..., ::-1]
        for row in rows(folder, "negatives", "negative")
    ]


class Faces:
    """Faces to damage: 256 px crops, and 512 px crops for larger sizes."""

    def __init__(self, folder: Path, split: str, calibration: bool | None = None):
        """calibration: those kept out (True), all but those (False), or all (None)."""
        self.small = portraits(folder, split)
        self.large = portraits(folder, split, size=512, kind="aligned512")
        if calibration is not None:
            self.small, self.large = (
                some(f, np.array([kept_out(p) == calibration for p in f.people]))
                for f in (self.small, self.large)
            )
        self.chances = [np.where(f.real, REAL, 1.0) for f in (self.small, self.large)]
        self.chances = [c / c.sum() for c in self.chances]

    def take(self, side: int, sharp: bool, rng: Generator) -> tuple[Picture, float]:
        """A clean crop of `side` px and how many of its pixels carry a real one, 1 if `sharp`."""
        sharp = sharp or rng.random() < 0.6
        source = self.large if side > 256 and sharp or rng.random() < 0.1 else self.small
        chances = self.chances[source is self.large]
        face = source.pictures[rng.choice(len(source), p=chances)]
        least = 1.0
        if face.shape[0] > side:
            face = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        elif face.shape[0] < side:
            least = side / face.shape[0]
            face = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        return face, least


def vary(face: Picture, rng: Generator) -> Picture:
    """Mirrored, shifted by whole pixels, in a little other light; nothing that resamples."""
    side = face.shape[0]
    if rng.random() < 0.5:
        face = face[:, ::-1]
    if rng.random() < 0.6:
        x, y = np.rint(rng.normal(0, 0.02, 2) * side).astype(int)
        reach = int(max(abs(x), abs(y)))
        wide = cv2.copyMakeBorder(face, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
        face = wide[reach + y : reach + y + side, reach + x : reach + x + side]
    if rng.random() < 0.5:
        gains = rng.uniform(0.92, 1.08) * rng.uniform(0.97, 1.03, 3)
        table = np.clip((np.arange(256)[:, None] / 255) ** rng.uniform(0.92, 1.08) * gains, 0, 1)
        face = cv2.LUT(np.ascontiguousarray(face), np.rint(table * 255).astype(np.uint8)[None])
    return np.ascontiguousarray(face)


def not_a_face(pictures: list[Picture], face: Picture, rng: Generator) -> Picture:
    """Something else, as large as `face`: a thing, a plane, noise, part of a face, a turned one."""
    side, kind = face.shape[0], rng.random()
    if kind < 0.5:
        part = square(pictures[rng.integers(len(pictures))], side, rng)
    elif kind < 0.62:
        ends = rng.uniform(0, 255, (2, 1, 3)) if rng.random() < 0.4 else rng.uniform(0, 255, (1, 3))
        part = np.broadcast_to(ends, (2, 2, 3)).astype(np.uint8)
    elif kind < 0.7:
        cells = int(rng.integers(4, side))
        part = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    elif kind < 0.85:
        size = int(rng.uniform(0.2, 0.35) * side)
        y, x = (int(v) for v in rng.choice([0, side - size], 2))
        part = face[y : y + size, x : x + size]
    else:
        part = np.rot90(face, rng.integers(1, 4))
    part = np.ascontiguousarray(part)
    how = cv2.INTER_AREA if part.shape[0] > side else cv2.INTER_CUBIC
    return cv2.resize(part, (side, side), interpolation=how)


def labels(sample: Sample, how: str) -> tuple[Tensor, ...]:
    """What is to be learned of a sample that was drawn as `how`.

    present, strength: (12,), NaN where unknown. extras: (5,), direction of motion, shot, grain and
    face. mask: (MASK * MASK / 8,), bits. where: (32, 32) half precision. clean: bool.
    """
    present = torch.tensor([sample.present[kind] for kind in KINDS])
    strength = torch.tensor([sample.strength[kind] for kind in KINDS])
    strength = torch.where(present == 1, to_network(strength), torch.nan)
    angle = np.deg2rad(2 * sample.angle) if sample.present["motion"] == 1 else np.nan
    face = float(how not in ("other", "far"))
    extras = [np.cos(angle), np.sin(angle), sample.shot, np.log(sample.grain), face]
    mask = cv2.resize(sample.mask.astype(np.float32), (MASK, MASK), interpolation=cv2.INTER_AREA)
    return (
        present.float(),
        strength.float(),
        torch.tensor(extras, dtype=torch.float32),
        torch.from_numpy(np.packbits(mask > COVERED)),
        torch.from_numpy(sample.where()).half(),
        torch.tensor(how == "clean"),
    )


class Damaged:
    """Endless samples by a mixture of MIXTURE or CALIBRATION; `often`: a kind that half of the
    damaged ones have besides, "" for none; `worse`, `sort`: as `damage` takes them; `moved`: share
    of the faces that stand before another background."""

    def __init__(
        self,
        faces: Faces,
        pictures: list[Picture],
        mixture: dict[str, float],
        often: str = "",
        worse: float = 0.0,
        moved: float = 0.0,
        sort: str = "",
    ):
        self.faces, self.pictures, self.mixture = faces, pictures, mixture
        self.often, self.worse, self.moved, self.sort = often, worse, moved, sort

    def draw(self, rng: Generator) -> tuple[Sample, str]:
        """The next sample, and as what it was drawn."""
        how = str(rng.choice(list(self.mixture), p=[*self.mixture.values()]))
        side = int(rng.choice(list(SIDES), p=[*SIDES.values()]))
        face, least = self.faces.take(side, how in ("clean", "single", "other"), rng)
        face = vary(face, rng)
        if self.moved and rng.random() < self.moved:
            another = vary(self.faces.take(side, True, rng)[0], rng)
            face = behind(face, another, self.pictures, rng)
        if how == "other":
            face = not_a_face(self.pictures, face, rng)
            sample = damage(face, choose(rng, "mixed") if rng.random() < 0.5 else [], rng)
        elif how == "far":
            sample = damage(face, ["resolution"], rng, least=rng.uniform(13, 32) * side / 256)
        else:
            kinds = choose(rng, how)
            more = "other" in self.mixture and rng.random() < MISSING
            if more and how != "clean" and "missing" not in kinds:
                kinds.append("missing")
            if self.often and how != "clean" and self.often not in kinds and rng.random() < 0.5:
                kinds.append(self.often)
            sample = damage(face, kinds, rng, least=least, worse=self.worse, sort=self.sort)
        if how in ("other", "far"):
            sample.present = dict.fromkeys(KINDS, np.nan)
            sample.mask = np.zeros((MASK, MASK), bool)
            sample.shot = sample.grain = np.nan
        return sample, how
