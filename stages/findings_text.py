"""What DegradationEstimate found, and what is done about it, in sentences for a person."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ..models.zoo import card
from .degradation_estimate import FILM_GRAIN, Degradation, Finding
from .faces import Face
from .strategy import Plan

#: Confidence that a crop is a face below which a sentence says so.
_DOUBT = 0.5

#: Lines of a report that fit on a node.
_LINES = 8


def _number(value: float) -> str:
    """Two figures of a number, as far as they mean something."""
    return f"{value:.0f}" if value >= 9.95 else f"{round(value, 1):g}"


def _percent(value: float) -> str:
    return f"{value:.0%}" if value >= 0.01 else "under 1%"


def _noise(finding: Finding) -> str:
    sort = "shot noise" if finding.shot > 0.5 else "noise"
    if finding.grain > FILM_GRAIN:
        return f"film grain {_number(finding.strength)} of 255, {_number(finding.grain)} px wide"
    return f"{sort} {_number(finding.strength)} of 255"


def _colour(finding: Finding) -> str:
    return (
        "no colour"
        if finding.strength > 0.9
        else f"{_percent(finding.strength)} of the colour lost"
    )


def _missing(finding: Finding) -> str:
    if not finding.severity:
        return "something missing beside the face"
    return f"{_percent(finding.strength)} of the crop missing"


def _stops(finding: Finding) -> str:
    return f"{_number(finding.strength)} stop{'s' * (round(finding.strength, 1) != 1)}"


#: How each kind of damage is told.
WORDS: dict[str, Callable[[Finding], str]] = {
    "blur": lambda finding: f"blur {_number(finding.strength)} px",
    "motion": lambda finding: (
        f"motion blur {_number(finding.strength)} px at {finding.angle or 0:.0f}°"
    ),
    "resolution": lambda finding: f"{_number(finding.strength)} px per real pixel",
    "pixelation": lambda finding: f"mosaic of {_number(finding.strength)} px blocks",
    "noise": _noise,
    "jpeg": lambda finding: f"JPEG quality {finding.strength:.0f}",
    "missing": _missing,
    "fading": lambda finding: f"contrast faded by {_percent(finding.strength)}",
    "cast": lambda finding: f"colour cast of {_percent(finding.strength)}",
    "grey": _colour,
    "underexposure": lambda finding: f"too dark by {_stops(finding)}",
    "overexposure": lambda finding: f"too bright by {_stops(finding)}",
}


def words(finding: Finding, degradation: Degradation) -> str:
    """How one finding of a face is told. In an enlarged face, noise has the width of its pixels."""
    resolution = degradation.finding("resolution")
    if finding.grain and resolution.present:
        finding = replace(finding, grain=finding.grain / resolution.strength)
    return WORDS[finding.kind](finding)


def describe(degradation: Degradation) -> str:
    """What is wrong with one face, the worst first, such as "JPEG quality 31; severity 0.3"."""
    found = [words(finding, degradation) for finding in degradation.found()]
    if degradation.screen:
        found.insert(0, f"dots of print, {degradation.screen.dots:.0f} a side")
    text = f"{', '.join(found) or 'nothing found'}; severity {degradation.severity:.2f}"
    if degradation.face < _DOUBT:
        text = f"hardly a face (confidence {degradation.face:.2f}); {text}"
    return text


def sentence(name: str, degradation: Degradation | None, plan: Plan) -> str:
    """One line on one face: what is wrong and what is done. None for a face not looked at."""
    found = f"{describe(degradation)}: " if degradation else ""
    how = f" ({card(plan.model).title}, fidelity {plan.fidelity:.2g})" if plan.model else ""
    return f"{name}: {found}{plan.reason}{how}"


def names(faces: Sequence[Face], frames: int = 1) -> list[str]:
    """What a report calls each face: by its id, with its picture where there are several."""
    if frames == 1:
        return [f"face {face.id}" for face in faces]
    return [f"picture {face.frame}, face {face.id}" for face in faces]


def report(names: Sequence[str], degradations: Sequence[Degradation], plans: Sequence[Plan]) -> str:
    """What is wrong with every face and what is advised: a line for all, then one each."""
    if not degradations:
        return "no face"
    worst = max(range(len(names)), key=lambda index: degradations[index].severity)
    count = len(names)
    head = (
        f"{count} face{'s' * (count > 1)}, worst severity {degradations[worst].severity:.2f}"
        f"{f' ({names[worst]})' * (count > 1)}"
    )
    return "\n".join([head, *map(sentence, names, degradations, plans)])


def shortened(report: str) -> str:
    """As much of a report as fits on a node."""
    lines = report.splitlines()
    if len(lines) <= _LINES:
        return report
    return "\n".join([*lines[:_LINES], f"... and {len(lines) - _LINES} more"])
