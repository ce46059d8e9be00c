"""What is told of an estimator of damage: areas under curves, errors, calibration, overlaps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..stages.degradation_estimate import Degradation
from ..training.mixture import Sample
from .estimators import motion_angle

#: Kinds whose error is told relative to the strength.
RELATIVE = frozenset({"motion", "resolution", "pixelation"})

#: Motion under this length, px, is not judged: bars are for what is above.
LEAST_MOTION = 6.0


@dataclass(frozen=True)
class Case:
    """One face: how it was damaged, what was found (if asked), and the classical measures."""

    how: str
    sample: Sample
    found: Degradation | None
    measures: dict[str, float]

    @property
    def side(self) -> int:
        return self.sample.picture.shape[0]


@dataclass(frozen=True)
class Figures:
    """Of one kind over some cases, ours and classical; NaN where there is nothing to judge."""

    auc: tuple[float, float]
    error: tuple[float, float]
    ece: float
    faces: int


def auc(scores: NDArray, present: NDArray) -> float:
    """Area under the ROC curve, ties counted half."""
    ours, others = scores[present == 1], scores[present == 0]
    if not len(ours) or not len(others):
        return float("nan")
    order = np.sort(others)
    below = np.searchsorted(order, ours, "left") + np.searchsorted(order, ours, "right")
    return float(below.mean() / (2 * len(others)))


def calibration(probability: NDArray, present: NDArray) -> list[tuple[float, float, int]]:
    """(mean probability, share present, faces) of ten bins, empty ones left out."""
    bins = np.minimum((probability * 10).astype(int), 9)
    chosen = [bins == index for index in range(10) if (bins == index).any()]
    return [(probability[c].mean(), present[c].mean(), int(c.sum())) for c in chosen]


def ece(probability: NDArray, present: NDArray) -> float:
    """Expected calibration error."""
    rows = calibration(probability, present)
    return sum(abs(p - q) * n for p, q, n in rows) / max(sum(n for *_, n in rows), 1)


def fit(cases: list[Case], kind: str) -> tuple[float, NDArray]:
    """Sign of a classical measure of `kind`, and the cubic from it to the strength."""
    known = [c for c in cases if c.sample.present[kind] == c.sample.present[kind]]
    measure = np.array([c.measures[kind] for c in known])
    present = np.array([c.sample.present[kind] for c in known])
    sign = 1.0 if auc(measure, present) >= 0.5 else -1.0
    strength = np.array([c.sample.strength[kind] for c in known])[present == 1]
    return sign, np.polyfit(measure[present == 1], strength, 3)


def error(kind: str, found: NDArray, true: NDArray) -> float:
    """Mean absolute error, relative for RELATIVE."""
    if kind == "motion":
        found, true = found[true > LEAST_MOTION], true[true > LEAST_MOTION]
    if not len(true):
        return float("nan")
    change = np.abs(found - true)
    return float((change / true if kind in RELATIVE else change).mean())


def judge(cases: list[Case], kind: str, curve: tuple[float, NDArray]) -> Figures:
    """Figures of one kind."""
    known = [c for c in cases if c.sample.present[kind] == c.sample.present[kind]]
    present = np.array([c.sample.present[kind] for c in known])
    probability = np.array([c.found.finding(kind).probability for c in known])
    measure = np.array([c.measures[kind] for c in known])
    there = [c for c in known if c.sample.present[kind] == 1]
    true = np.array([c.sample.strength[kind] for c in there])
    ours = np.array([c.found.finding(kind).strength for c in there])
    spread = measure[present == 1]
    theirs = np.clip(np.polyval(curve[1], spread), true.min(), true.max()) if len(true) else true
    return Figures(
        (auc(probability, present), auc(curve[0] * measure, present)),
        (error(kind, ours, true), error(kind, theirs, true)),
        ece(probability, present),
        len(there),
    )


def angles(cases: list[Case]) -> tuple[float, float]:
    """Mean error of the direction of motion above LEAST_MOTION, degrees, ours and classical."""
    there = [
        c
        for c in cases
        if c.sample.present["motion"] == 1 and c.sample.strength["motion"] > LEAST_MOTION
    ]
    true = np.array([c.sample.angle for c in there])
    ours = np.array([c.found.finding("motion").angle for c in there])
    theirs = np.array([motion_angle(c.sample.picture) for c in there])
    return tuple(float(np.abs((f - true + 90) % 180 - 90).mean()) for f in (ours, theirs))


def overlap(cases: list[Case], drawn: Callable[[Case], NDArray[np.bool_]]) -> float:
    """Mean intersection over union of the masks of missing regions."""
    shares = []
    for case in cases:
        mask, found = case.sample.mask, drawn(case)
        shares.append((mask & found).sum() / max((mask | found).sum(), 1))
    return float(np.mean(shares)) if shares else float("nan")


def our_mask(case: Case) -> NDArray[np.bool_]:
    mask = case.found.missing.numpy()
    return cv2.resize(mask, (case.side, case.side), interpolation=cv2.INTER_LINEAR) > 0.5


def flagged(cases: list[Case]) -> tuple[float, list[str]]:
    """Share of clean faces with a finding, and which. Black and white photographs are not clean."""
    clean = [c for c in cases if c.how == "clean" and not c.sample.present["grey"]]
    kinds = [finding.kind for c in clean for finding in c.found.found()]
    return sum(bool(c.found.found()) for c in clean) / max(len(clean), 1), kinds


def grain_text(cases: list[Case]) -> str:
    """How well shot noise and grain are told apart."""
    there = [c for c in cases if c.sample.present["noise"] == 1]
    shot = [c for c in there if c.sample.shot == c.sample.shot]
    area = auc(
        np.array([c.found.finding("noise").shot for c in shot]),
        np.array([c.sample.shot for c in shot]),
    )
    sized = [c for c in there if c.sample.grain == c.sample.grain]
    coarse = np.array([c.sample.grain > 1.5 for c in sized])
    guess = np.array([c.found.finding("noise").grain for c in sized])
    return (
        f"Noise: AUC of shot against Gaussian noise {area:.2f}, of grain coarser than 1.5 px "
        f"against finer {auc(guess, coarse.astype(float)):.2f}."
    )
