"""The zoo: which models there are, which lie on disk, and how a name becomes a network."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from . import loader
from .card import ModelCard, Source
from .cards import CARDS

__all__ = ["CARDS", "ModelCard", "Source", "card", "load"]

WEIGHTS = Path(__file__).parent / "weights"


def card(name: str) -> ModelCard:
    """The card of model `name`.

    Raises:
        KeyError: there is no such model; the message lists the names.
    """
    if name not in CARDS:
        raise KeyError(f"there is no model {name!r}; choose one of: {', '.join(CARDS)}")
    return CARDS[name]


def load(name: str) -> nn.Module:
    """The network of model `name` on the CPU, in eval mode."""
    entry = card(name)
    return loader.build(loader.load_file(WEIGHTS / entry.file))
