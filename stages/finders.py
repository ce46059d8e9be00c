"""How each detector architecture is asked: what it is fed and which faces one pass finds.

A new detector needs one entry in FINDERS and a module with `detect(image) -> Candidates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models import zoo
from ..models.anchors import Candidates
from ..models.detector import STRIDES


@dataclass(frozen=True)
class Finder:
    """Facts of one detector architecture.

    smallest, largest: sides in pixels, sqrt(width * height), of the faces that one pass is sure to
        find; the pyramid brings all others into this range.
    multiple: its input's sides are multiples of this.
    step: ratio of one level of the pyramid to the next.
    second_look: whether its boxes and points gain from a second pass over an upright, enlarged crop
        of each face.
    """

    smallest: float
    largest: float
    multiple: int
    step: float
    second_look: bool


#: By architecture, as `models.card.ModelCard` names it.
FINDERS = {
    "kintsugi-detector": Finder(
        smallest=10.0, largest=110.0, multiple=max(STRIDES), step=4.0, second_look=True
    ),
}

#: What a network is fed, by `ModelCard.pixels`, from RGB in [0, 1].
_ENTER: dict[str, Callable[[Tensor], Tensor]] = {
    "0..1": lambda rgb: rgb,
}


def choose(detector: str) -> tuple[zoo.ModelCard, Finder]:
    """The card that a detector's name stands for, and how to ask it.

    Raises:
        ValueError: there is no such detector; the message lists them.
    """
    name = "kintsugi-detector" if detector == "auto" else detector
    known = [
        card.name
        for card in zoo.CARDS.values()
        if card.kind == "detector" and card.architecture in FINDERS
    ]
    if name not in known:
        raise ValueError(f"unknown detector {detector!r}; choose auto or one of {', '.join(known)}")
    card = zoo.CARDS[name]
    return card, FINDERS[card.architecture]


@torch.inference_mode()
def ask(
    network: nn.Module, card: zoo.ModelCard, pixels: Tensor, device: torch.device
) -> Candidates:
    """One pass of a network.

    Args:
        network: the one `card` names.
        pixels: (N, 3, h, w) RGB in [0, 1], sides multiples of the finder's.
        device: where the network is.

    Returns:
        Candidates of each picture, float32, on `device`.
    """
    dtype = next(network.parameters()).dtype
    fed = _ENTER[card.pixels](pixels.to(device)).to(dtype)
    found = network.detect(fed.contiguous(memory_format=torch.channels_last))
    return Candidates(*(part.float() for part in found))
