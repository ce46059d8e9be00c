"""DegradationEstimate: what is wrong with a face, how much, and where.

What a finding's `strength` means, kind by kind; lengths are pixels of the crop as it was given:

| kind | strength | unit |
|---|---|---|
| blur | deviation of the equivalent Gaussian of lens blur (radius / 2 of a disc) | px |
| motion | length of the straight trail; `angle` is its direction | px |
| resolution | effective scale: crop pixels that carry one real pixel; 1 is sharp | px per real px |
| pixelation | side of a mosaic block | px |
| noise | deviation of the noise that later damage left over; `grain`, `shot`: its sort | 1/255 |
| jpeg | quality of the coding that can still be seen, 1 to 100: the lower the worse | quality |
| missing | share of the crop without content: holes, scratches, cracks, text, stickers | share |
| fading | loss of contrast | share |
| cast | greatest minus smallest gain of red, green and blue | gain |
| grey | share of the colour that is lost, to grey or to sepia | share |
| underexposure | light missing | stops |
| overexposure | light too much, highlights clipped | stops |

Crops of 256 to 512 px are measured in their own pixels; larger ones are first reduced to 512, which
averages fine noise away, and smaller ones enlarged to 256. The dots of a printed picture are looked
for first, by its spectrum; where there are some, all else is measured on the face without them.
What is missing is drawn from two looks (models/degradation.py).

Convention: `angle` is in degrees, 0 to 180, from the x axis (right) towards the y axis (down): what
moved down and to the right has 45.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.degradation import SIDE, SIDES, Reading, to_units
from .batch import check_crops
from .faces import Faces
from .framing import frame, within
from .holes import on_face
from .host import Host
from .passes import in_passes
from .screen import Screen, find, remove

MODEL = "kintsugi-degradation"

#: What can be wrong, in the order of `Degradation.findings`.
KINDS = (
    "blur",
    "motion",
    "resolution",
    "pixelation",
    "noise",
    "jpeg",
    "missing",
    "fading",
    "cast",
    "grey",
    "underexposure",
    "overexposure",
)

#: Unit of each kind's strength, as a report writes it behind the number.
UNITS = {
    "blur": "px",
    "motion": "px",
    "resolution": "px per real pixel",
    "pixelation": "px",
    "noise": "of 255",
    "jpeg": "quality",
    "missing": "of the crop",
    "fading": "of the contrast",
    "cast": "gain",
    "grey": "of the colour",
    "underexposure": "stops",
    "overexposure": "stops",
}

#: Probability from which a kind counts as present. Set on people of the training split who were
#: kept out of training, so that few clean faces have any finding
#: (training/degradation_calibration.py). Two are set by hand below what that prints: noise (0.89)
#: and grey (0.99), where single people decide, drawn again and again. Above it are jpeg
#: and underexposure (0.57, 0.77), for portraits that are lightly coded or dark themselves.
THRESHOLDS = {
    "blur": 0.51,
    "motion": 0.51,
    "resolution": 0.96,
    "pixelation": 0.51,
    "noise": 0.84,
    "jpeg": 0.85,
    "missing": 0.78,
    "fading": 0.93,
    "cast": 0.93,
    "grey": 0.8,
    "underexposure": 0.91,
    "overexposure": 0.95,
}

#: Strengths from which a kind is worth mending and at which nothing is left of what it takes, in
#: units of a 256 px crop, and how much of the person that is. Lengths, noise and shares go by their
#: logarithm. Light and colour alone never hide a person.
SEVERE: dict[str, tuple[float, float, float]] = {
    "blur": (0.6, 7.0, 1.0),
    "motion": (3.0, 24.0, 1.0),
    "resolution": (1.2, 14.0, 1.0),
    "pixelation": (2.0, 18.0, 1.0),
    "noise": (2.0, 60.0, 0.9),
    "jpeg": (92.0, 5.0, 0.7),
    "missing": (0.0005, 0.3, 1.0),
    "fading": (0.1, 0.8, 0.5),
    "cast": (0.1, 0.8, 0.4),
    "grey": (0.2, 1.0, 0.3),
    "underexposure": (0.5, 5.0, 0.7),
    "overexposure": (0.3, 3.5, 0.7),
}

BY_LOGARITHM = frozenset({"blur", "motion", "resolution", "pixelation", "noise", "missing"})

#: Kinds whose strength is a length in pixels.
LENGTHS = frozenset({"blur", "motion", "resolution", "pixelation"})

#: Least and greatest strengths that are told, where lower or higher ones mean nothing.
LIMITS = {
    "resolution": (1.0, 64.0),
    "jpeg": (1.0, 100.0),
    "fading": (0.0, 1.0),
    "cast": (0.0, 2.0),
    "grey": (0.0, 1.0),
    "underexposure": (0.0, 8.0),
    "overexposure": (0.0, 8.0),
}

#: Figures of a crop beside its two maps, and cells along a side of the first.
FEW, CELLS = 2 * len(KINDS) + 5, 32

#: Crops below this side, px, are no faces.
LEAST = 16

#: Side of the largest grain that is told, px.
LARGEST_GRAIN = 32.0

#: Noise whose grains are larger than this, px, is told as film grain.
FILM_GRAIN = 1.5


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of damage, whether there or not.

    kind: of KINDS. strength: in the unit of its kind (table above); what it would be if it were
        there, also where it is not. probability: 0..1, calibrated, that it is there.
    severity: 0..1, how much of a face a damage of this strength spoils, whatever the probability
        and the size of the crop: 0 is not worth mending, 1 leaves nothing of the person. Of what is
        missing only what reaches into the face counts.
    angle: of motion, degrees (see Convention), None for the other kinds.
    shot: of noise, probability that it is shot noise, louder in the light; else 0.
    grain: of noise, side of one grain, px, above FILM_GRAIN told as film grain; else 0.
    """

    kind: str
    strength: float
    probability: float
    severity: float
    angle: float | None = None
    shot: float = 0.0
    grain: float = 0.0

    @property
    def present(self) -> bool:
        """Whether it is there, by the threshold of its kind."""
        return self.probability >= THRESHOLDS[self.kind]


@dataclass(frozen=True, eq=False)
class Degradation:
    """What is wrong with one crop.

    findings: one of each of KINDS, in that order.
    severity: 0..1 over all findings that are present: 0 fine, 1 nothing of the person is left.
    where: (32, 32) float32 CPU in [0, 1], how far each part of the crop is from undamaged; its
        cells cover the crop evenly.
    missing: (M, M) float32 CPU in [0, 1], how surely there is no content, likewise; M is 512 for
        crops that show the face at 512 px or more, else 256. What lies above 0.5 is what counts as
        missing.
    face: 0..1, confidence that this is a face on which the figures can be trusted; below 0.5 they
        should not be acted on.
    screen: the dots of its print, None for none; all figures but the severity are of the face
        without them.
    """

    findings: tuple[Finding, ...]
    severity: float
    where: Tensor
    missing: Tensor
    face: float
    screen: Screen | None = None

    def __post_init__(self):
        kinds = tuple(finding.kind for finding in self.findings)
        if kinds != KINDS:
            raise ValueError(f"findings are {kinds}; expected one of each of {KINDS}, in order")

    @property
    def printed(self) -> float:
        """0..1, how much of the face the dots of its print spoil."""
        return _printed(self.screen)

    def finding(self, kind: str) -> Finding:
        """The finding of `kind`, present or not. Raises ValueError if there is no such kind."""
        if kind not in KINDS:
            raise ValueError(f"no damage is called {kind!r}; known: {', '.join(KINDS)}")
        return self.findings[KINDS.index(kind)]

    def found(self, threshold: float | None = None) -> tuple[Finding, ...]:
        """Findings that are present, worst first: those of at least `threshold` probability, by
        each kind's own of THRESHOLDS if None."""
        present = (
            finding
            for finding in self.findings
            if (finding.present if threshold is None else finding.probability >= threshold)
        )
        return tuple(sorted(present, key=lambda finding: -finding.severity))


def estimate(
    crops: Tensor, *, faces: Faces | None = None, host: Host | None = None
) -> list[Degradation]:
    """Measure the damage of each crop, with the built-in kintsugi-degradation.

    Args:
        crops: (N, S, S, C) in [0, 1], FFHQ-aligned, C of 1, 3 or 4 (alpha is ignored), S at least
            LEAST; N may be 0. Values outside [0, 1] are clamped.
        faces: the faces of the crops: of those cut with a margin only what the template holds is
            looked at, which is where the network knows its way about.
        host: device, progress and interruption; the CPU without it.

    Returns:
        One Degradation a crop, in order. Pictures that are no faces get a low `face`.

    Raises:
        ValueError: another shape, too small, or values that are not numbers.
    """
    crops = check_crops(crops)
    if not len(crops):
        return []
    rows = frame(faces, crops.shape[1])
    if rows != slice(0, crops.shape[1]):
        found = estimate(crops[:, rows, rows], host=host)
        return [within(one, rows, crops.shape[1]) for one in found]
    side = crops.shape[1]
    if side < LEAST:
        raise ValueError(
            f"crops are {side} px wide, too small to measure; align with a size of 256 or 512"
        )
    host = host or Host()
    network = host.load(MODEL)
    crops, screens = _without_dots(crops)

    def run(part: Tensor) -> Tensor:
        image = _as_input(part)
        with torch.inference_mode():
            reading = network(image)
            found = reading.present[:, KINDS.index("missing")].sigmoid() >= THRESHOLDS["missing"]
            if found.any():
                reading.missing[found] = (reading.missing[found] + network.again(image[found])) / 2
            return _pack(reading)

    packed = in_passes(crops, run, host)
    scale = side / _measured(side)
    return [_degradation(*each, side, scale) for each in zip(packed, screens, strict=True)]


def _without_dots(crops: Tensor) -> tuple[Tensor, list[Screen | None]]:
    """Crops (N, S, S, C) without the dots of their print, and these."""
    planes = crops[..., :3].permute(0, 3, 1, 2).float()
    planes = planes.expand(-1, 3, -1, -1)
    screens = find(planes)
    if any(screens):
        planes = planes.clamp(0, 1)
        for index, screen in enumerate(screens):
            if screen:
                planes[index] = remove(planes[index], screen)
        crops = planes.permute(0, 2, 3, 1)
    return crops, screens


def _measured(side: int) -> int:
    """The side at which a crop is measured."""
    return min(max(side, SIDES[0]), SIDES[1])


def _as_input(crops: Tensor) -> Tensor:
    """(n, S, S, C) to (n, 3, M, M), M within SIDES."""
    image = crops[..., :3].float().clamp(0, 1).permute(0, 3, 1, 2)
    if image.shape[1] == 1:
        image = image.expand(-1, 3, -1, -1)
    side = image.shape[-1]
    measured = _measured(side)
    if measured < side:
        image = F.interpolate(image, (measured, measured), mode="area")
    elif measured > side:
        image = F.interpolate(image, (measured, measured), mode="bicubic").clamp(0, 1)
    return image.contiguous()


def _pack(reading: Reading) -> Tensor:
    """All that is read of each picture in one row."""
    figures = torch.stack([reading.shot, reading.grain, reading.face], 1)
    parts = [reading.present, reading.strength, reading.direction, figures]
    return torch.cat([*parts, reading.where.flatten(1), reading.missing.flatten(1)], 1)


def _degradation(row: Tensor, screen: Screen | None, side: int, scale: float) -> Degradation:
    """One row of _pack, of a crop of `side` px that was measured at side / scale."""
    few, where, missing = row.split([FEW, CELLS**2, row.numel() - FEW - CELLS**2])
    # Numbers of Python: for so few of them each call on a tensor takes longer than the arithmetic.
    strength = to_units(few[len(KINDS) : 2 * len(KINDS)]).tolist()
    x, y, _, grain, _ = few[2 * len(KINDS) :].tolist()
    likely = few.sigmoid().tolist()
    _, _, shot, _, face = likely[2 * len(KINDS) :]
    missing = missing.sigmoid().view(round(missing.numel() ** 0.5), -1)
    values = dict(zip(KINDS, strength, strict=True))
    values["missing"] = float(missing.round().mean())  # the share above 0.5
    for kind, (low, high) in LIMITS.items():
        values[kind] = min(max(values[kind], low), high)
    grain = math.exp(min(max(grain, 0.0), math.log(LARGEST_GRAIN))) * scale
    angle = math.degrees(math.atan2(y, x)) / 2 % 180
    findings = []
    for kind, probability in zip(KINDS, likely[: len(KINDS)], strict=True):
        value = values[kind] * (scale if kind in LENGTHS else 1)
        if kind == "resolution":
            value = max(value, 1.0)
        harmful = value
        if kind == "missing" and probability >= THRESHOLDS[kind]:
            harmful = float(on_face(missing).mean())
        finding = Finding(
            kind,
            value,
            probability,
            severity(kind, harmful, side),
            angle=angle if kind == "motion" else None,
            shot=shot if kind == "noise" else 0.0,
            grain=grain if kind == "noise" else 0.0,
        )
        findings.append(finding)
    spared = 1.0 - _printed(screen)
    for finding in findings:
        spared *= 1 - finding.severity * finding.present
    where = where.sigmoid().view(CELLS, CELLS)
    return Degradation(tuple(findings), 1 - spared, where, missing, face, screen)


def severity(kind: str, strength: float, side: int) -> float:
    """How much of a face damage of this strength spoils, 0..1, in a crop of `side` px (SEVERE)."""
    mild, worst, weight = SEVERE[kind]
    if kind in LENGTHS:
        strength = strength * SIDE / side
    if kind in BY_LOGARITHM:
        mild, worst, strength = (math.log(max(v, 1e-6)) for v in (mild, worst, strength))
    return weight * min(max((strength - mild) / (worst - mild), 0.0), 1.0)


def _printed(screen: Screen | None) -> float:
    """How much of a face the dots of a print spoil: as much as a mosaic of such blocks."""
    return severity("pixelation", SIDE / screen.dots, SIDE) if screen else 0.0
