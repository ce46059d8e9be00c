"""Strategy: from what is wrong with a face to what is done about it, row by row.

The first row of CHOICES that fits says who rebuilds the face and how closely; every row of ASIDES
that fits adds something before or after. Each row carries its reason in words for a person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..models import zoo

if TYPE_CHECKING:
    from .deblur import Trail
    from .degradation_estimate import Degradation, Finding
    from .denoise import Noise
    from .mosaic import Mosaic
    from .screen import Screen

#: Who rebuilds a face: nobody, the built-in restorer, or the best one on disk.
LEAVE, BUILT_IN, GENERATE = "leave alone", "built-in", "generate"

#: What may be done besides.
INPAINT, UNPRINT, DENOISE, COLOURISE, KEEP_GREY = (
    "inpaint first",
    "take print dots out first",
    "denoise first",
    "colourise",
    "keep grey",
)

BUILT_IN_MODEL = "kintsugi-restorer"

#: Fidelity of the built-in restorer where it stands in for a generative one: at 0.5 its figures are
#: as good (benchmarks/results/restoration.md), but very soft faces then show a faint grid.
STAND_IN = 1.0

#: Crop side in px at which the lengths of the tables count, the one most restorers work at.
SIDE = 512

#: Kinds whose strength is a length in the crop, so that a crop of twice the side has twice as much.
LENGTHS = frozenset({"blur", "motion", "resolution", "pixelation"})

#: What people often want to keep: a fine face that is merely grey or brown is left alone.
WANTED = frozenset({"grey"})

#: Strength of a face that does not have the damage, where it is not 0.
ABSENT = {"jpeg": 100.0, "resolution": 1.0}


#: Damage below which a face is fine, and the share of lost colour from which it is grey or brown.
_FINE, _GREY = 0.12, 0.6


@dataclass(frozen=True)
class Bound:
    """A limit on one figure of a face: `low` <= figure < `high`.

    what: "damage" (see figure) or "face" (confidence) of the whole, or a kind of damage: its
        strength where it is present, and not beside the face alone, else that of a face without
        it; or "dots": how far those of its print lie apart, 0 without. Lengths count in a crop of
        SIDE px.
    """

    what: str
    low: float = float("-inf")
    high: float = float("inf")

    def holds(self, degradation: Degradation, size: int) -> bool:
        """Whether the figure of a crop of `size` px lies in the limits."""
        return self.low <= figure(degradation, self.what, size) < self.high


@dataclass(frozen=True)
class Choice:
    """A row of CHOICES: where all of `when` hold, `action` at `fidelity` and `strength`.

    action: LEAVE, BUILT_IN or GENERATE. fidelity, strength: as `restore` takes them. reason: what a
    person reads.
    """

    when: tuple[Bound, ...]
    action: str
    fidelity: float
    strength: float
    reason: str


@dataclass(frozen=True)
class Aside:
    """A row of ASIDES: where all of `when` hold, `step` is done besides, if a model is there.

    done: what a person then reads, {model} being its title. undone: what if none is there, empty
    for nothing.
    """

    when: tuple[Bound, ...]
    step: str
    done: str
    undone: str = ""


#: First match wins; the last row has no condition. The limit of "fine" is the largest that cost
#: neither PSNR nor likeness on eight training people (benchmarks/auto.py --tune). Where generation
#: begins is judgement: no generative model lay at hand to be measured.
CHOICES: tuple[Choice, ...] = (
    Choice(
        (Bound("damage", high=_FINE), Bound("grey", low=_GREY)),
        LEAVE, 1.0, 1.0, "fine but for the lost colour: skipped",
    ),
    Choice(
        (Bound("damage", high=_FINE),),
        LEAVE, 1.0, 1.0, "fine: skipped",
    ),
    Choice(
        (Bound("face", high=0.5),),
        BUILT_IN, 1.0, 1.0, "not surely a face: cleaned, nothing invented",
    ),
    Choice(
        (Bound("resolution", low=6.0),),
        GENERATE, 0.8, 1.0, "few real pixels: generation, keep fidelity high",
    ),
    Choice(
        (Bound("pixelation", low=6.0),),
        GENERATE, 0.7, 1.0, "a mosaic: generation, the likeness is a guess",
    ),
    Choice(
        (Bound("damage", low=0.6),),
        GENERATE, 0.7, 1.0, "heavy damage: generation, keep fidelity high",
    ),
    Choice(
        (Bound("damage", high=0.2),),
        BUILT_IN, 1.0, 1.0, "light damage: cleaned, nothing invented",
    ),
    Choice(
        (
            Bound("blur", high=3.0),
            Bound("motion", high=8.0),
            Bound("resolution", high=3.5),
            Bound("pixelation", high=1.0),
            Bound("missing", high=0.02),
        ),
        BUILT_IN, 1.0, 1.0, "the detail is still there: cleaned, nothing invented",
    ),
    Choice(
        (),
        GENERATE, 0.6, 1.0, "detail is lost: generation, balanced",
    ),
)  # fmt: skip

#: Every match counts. Of the two for grey faces the user's wish picks one.
ASIDES: tuple[Aside, ...] = (
    Aside(
        (Bound("missing", low=0.001),), INPAINT,
        "missing parts filled first by {model}",
        "missing parts filled from what is around them, deep ones from the face's other side where "
        "that fits, as no inpainting model is on disk",
    ),
    Aside((Bound("dots", low=1.0),), UNPRINT, "the dots of its print taken out first"),
    Aside((Bound("noise", low=14.0),), DENOISE, "noise taken away first by {model}"),
    Aside(
        (Bound("grey", low=_GREY),), COLOURISE,
        "coloured by {model}", "not coloured, as no colourisation model is on disk",
    ),
    Aside((Bound("grey", low=_GREY),), KEEP_GREY, "its grey or brown is kept"),
)  # fmt: skip


@dataclass(frozen=True)
class Stock:
    """The models there are to choose from without a download: names of the zoo, None for none.

    generator: the best restorer beside the built-in one. inpainter, colorizer: for missing parts
    and for grey faces. commercial_only: whether the licence filter made this choice smaller.
    """

    generator: str | None = None
    inpainter: str | None = None
    colorizer: str | None = None
    commercial_only: bool = False


@dataclass(frozen=True)
class Plan:
    """What is done with one face.

    model: a restorer of the zoo, "" for none. fidelity, strength: as `restore` takes them.
    inpainter, denoiser: models that work before it, "" for none. colorizer: one that works after.
    fill: whether missing parts are filled from what is around them, for want of an inpainter.
    screen: dots of a print that are taken out first. noise: what is taken down first. trail:
    straight motion that is taken back first. lens: blur that is taken back beside what the restorer
    does; twice: whether it then looks at that as well. mosaic: blocks whose steps are smoothed
    first. toned: whether it stays grey or brown. reason: what a person reads.
    """

    model: str
    fidelity: float
    strength: float
    reason: str
    inpainter: str = ""
    denoiser: str = ""
    colorizer: str = ""
    fill: bool = False
    screen: Screen | None = None
    noise: Noise | None = None
    trail: Trail | None = None
    lens: Trail | None = None
    twice: bool = False
    mosaic: Mosaic | None = None
    toned: bool = False

    @property
    def works(self) -> bool:
        """Whether anything is done; if not, the face stays as it is, bit for bit."""
        return self.fill or bool(self.models)

    @property
    def fills(self) -> bool:
        """Whether what is missing is filled, and for good."""
        return self.strength == 1 and (self.fill or bool(self.inpainter))

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that works on the face, in order."""
        steps = (self.inpainter, self.denoiser, self.model, self.colorizer)
        return tuple(name for name in steps if name)


def stock(library: zoo.Library | None = None, commercial_only: bool = False) -> Stock:
    """What lies on disk and passes the licence filter; nothing is fetched."""

    def first(kind: str) -> str | None:
        found = zoo.available(kind, library, commercial_only=commercial_only)
        return found[0].name if found else None

    best = zoo.best_restorer(library, commercial_only=commercial_only).name
    generator = None if best == BUILT_IN_MODEL else best
    return Stock(generator, first("inpainter"), first("colorizer"), commercial_only)


def figure(degradation: Degradation, what: str, size: int) -> float:
    """The figure that a Bound on `what` looks at, of a crop of `size` px.

    "damage" is the severity of all that is present and not WANTED, print dots among it: 0 fine, 1
    nothing is left. "dots" is how far those lie apart in a crop of SIDE px, 0 without.
    """
    if what == "face":
        return degradation.face
    if what == "damage":
        harm = [one.severity for one in degradation.found() if one.kind not in WANTED]
        return 1 - math.prod(1 - severity for severity in (*harm, degradation.printed))
    if what == "dots":
        return SIDE / degradation.screen.dots if degradation.screen else 0.0
    finding: Finding = degradation.finding(what)
    absent = ABSENT.get(what, 0.0)
    beside = what == "missing" and not finding.severity
    if not finding.present or beside:
        return absent
    return finding.strength * SIDE / size if what in LENGTHS else finding.strength


def plan(degradation: Degradation, size: int, stock: Stock, *, colourise: bool = False) -> Plan:
    """What to do with a face.

    Args:
        degradation: what is wrong with it.
        size: side of its crop, px.
        stock: the models there are.
        colourise: give grey faces colour; otherwise they keep their tones.
    """
    choice = next(row for row in CHOICES if _fits(row, degradation, size))
    model, reason = {LEAVE: "", BUILT_IN: BUILT_IN_MODEL}.get(choice.action), choice.reason
    fidelity = choice.fidelity
    if model is None and stock.generator:
        model = stock.generator
    elif model is None:
        model, fidelity = BUILT_IN_MODEL, STAND_IN
        free = " that may be used commercially" if stock.commercial_only else ""
        reason += f"; no generative model{free} is on disk"
    ways = {
        INPAINT: stock.inpainter,
        DENOISE: None if model == BUILT_IN_MODEL else BUILT_IN_MODEL,
        COLOURISE: stock.colorizer,
        UNPRINT: "",
        KEEP_GREY: "",
    }
    skipped = {KEEP_GREY if colourise else COLOURISE}
    if not model:
        skipped |= {INPAINT, UNPRINT, DENOISE}
    steps: dict[str, str] = {}
    fill = False
    for row in ASIDES:
        if row.step in skipped or not _fits(row, degradation, size):
            continue
        way = ways[row.step]
        fill |= row.step == INPAINT and way is None
        if way is not None:
            steps[row.step] = way
        words = row.undone if way is None else row.done
        if words:
            reason += "; " + words.format(model=zoo.card(way).title if way else "")
    return Plan(
        model,
        fidelity,
        choice.strength,
        reason,
        inpainter=steps.get(INPAINT, ""),
        denoiser=steps.get(DENOISE, ""),
        colorizer=steps.get(COLOURISE, ""),
        fill=fill,
        screen=degradation.screen if UNPRINT in steps else None,
        toned=figure(degradation, "grey", size) >= _GREY and COLOURISE not in steps,
    )


def _fits(row: Choice | Aside, degradation: Degradation, size: int) -> bool:
    return all(bound.holds(degradation, size) for bound in row.when)
