"""What the model menus offer: names from the zoo's table, nothing fetched, nothing opened."""

from __future__ import annotations

from collections.abc import Container

from ..models import loader, zoo
from ..stages.embedders import EMBEDDERS
from ..stages.finders import FINDERS
from ..stages.landmarks import VIEWS
from ..stages.parsing import CHANNELS
from ..stages.restore import KINDS


def restorers() -> list[str]:
    """`auto` and every restorer, whether its file is on disk or can be downloaded.

    A menu of what lies on this disk only would make a shared workflow invalid on another.
    """
    buildable = {architecture.name for architecture in loader.ARCHITECTURES}
    return ["auto", *_names(KINDS, buildable)]


def detectors() -> list[str]:
    """`auto` and every detector that FaceDetect knows how to ask."""
    return ["auto", *_names(("detector",), FINDERS)]


def landmark_models() -> list[str]:
    """Every landmark network that LandmarkAlign knows how to read."""
    return _names(("landmarks",), VIEWS)


def embedders() -> list[str]:
    """`auto` and every embedder whose similarities are calibrated."""
    return ["auto", *EMBEDDERS]


def parsers() -> list[str]:
    """`auto` and every parser whose classes have names."""
    return ["auto", *_names(("parser",), CHANNELS)]


def _names(kinds: Container[str], architectures: Container[str]) -> list[str]:
    """Names of the zoo's models of these kinds and architectures, in the zoo's order."""
    return [
        card.name
        for card in zoo.CARDS.values()
        if card.kind in kinds and card.architecture in architectures
    ]
