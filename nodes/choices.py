"""What the model menus offer: names from the zoo's table, nothing fetched, nothing opened."""

from __future__ import annotations

from ..models import loader, zoo


def restorers() -> list[str]:
    """`auto` and every restorer, whether its file is on disk or can be downloaded.

    A menu of what lies on this disk only would make a shared workflow invalid on another.
    """
    return ["auto", *names("restorer")]


def names(kind: str) -> list[str]:
    """Names of the zoo's models of one kind that the loader can build, in the zoo's order."""
    buildable = {architecture.name for architecture in loader.ARCHITECTURES}
    return [
        card.name
        for card in zoo.CARDS.values()
        if card.kind == kind and card.architecture in buildable
    ]


def detectors() -> list[str]:
    """`auto` and every detector the loader can build."""
    return ["auto", *names("detector")]
