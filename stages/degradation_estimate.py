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

Convention: `angle` is in degrees, 0 to 180, from the x axis (right) towards the y axis (down): what
moved down and to the right has 45.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
    "missing": "of the face",
    "fading": "of the contrast",
    "cast": "gain",
    "grey": "of the colour",
    "underexposure": "stops",
    "overexposure": "stops",
}

#: Probability from which a kind counts as present. Set on people of the training split who were
#: kept out of training, so that at most 3 in 100 clean faces have any finding.
THRESHOLDS = dict.fromkeys(KINDS, 0.5)

#: Noise whose grains are larger than this, px, is told as film grain.
FILM_GRAIN = 1.5


@dataclass(frozen=True, eq=False)
class Finding:
    """One kind of damage, whether there or not.

    kind: of KINDS. strength: in the unit of its kind (table above); what it would be if it were
        there, also where it is not. probability: 0..1, calibrated, that it is there.
    severity: 0..1, how much of a face a damage of this strength spoils, whatever the probability
        and the size of the crop: 0 is not worth mending, 1 leaves nothing of the person.
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
    missing: (256, 256) float32 CPU in [0, 1], probability that there is no content, likewise.
    face: 0..1, confidence that this is a face on which the figures can be trusted; below 0.5 they
        should not be acted on.
    """

    findings: tuple[Finding, ...]
    severity: float
    where: Tensor
    missing: Tensor
    face: float

    def __post_init__(self):
        kinds = tuple(finding.kind for finding in self.findings)
        if kinds != KINDS:
            raise ValueError(f"findings are {kinds}; expected one of each of {KINDS}, in order")

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
