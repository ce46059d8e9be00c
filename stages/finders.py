"""How each detector architecture is asked: what it is fed and which faces one pass finds.

A new detector needs one entry in FINDERS and a module with `detect(image) -> Candidates`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models import zoo
from ..models.anchors import Candidates
from ..models.detector import STRIDES
from .pixels import feed


@dataclass(frozen=True)
class Finder:
    """Facts of one detector architecture.

    smallest, largest: sides in pixels, sqrt(width * height), of the faces that one pass is sure to
        find; the pyramid brings all others into this range.
    multiple: its input's sides are multiples of this.
    step: ratio of one level of the pyramid to the next.
    second_look: whether its boxes and points gain from a second pass over an upright, enlarged crop
        of each face.
    leave_above: a face larger than this is left to a coarser level, where its points lie better.
    """

    smallest: float
    largest: float
    multiple: int
    step: float
    second_look: bool
    leave_above: float = math.inf


#: By architecture, as `models.card.ModelCard` names it.
FINDERS = {
    "kintsugi-detector": Finder(
        smallest=12.0, largest=110.0, multiple=max(STRIDES), step=4.0, second_look=True
    ),
    # Anchors of 16 to 512 px. Measured with MobileNet0.25 on faces of known size: of 16 px 4 in 10
    # are found, of 24 px 8 in 10, of 32 to 640 px all; the points are off by 3 % of the size at 32
    # px, 1 to 2 % from 64 to 400 px, 4 to 7 % at 640 to 800 px.
    "retinaface": Finder(
        smallest=16.0, largest=400.0, multiple=32, step=3.0, second_look=False, leave_above=450.0
    ),
    # Anchors of 10 to 256 px; the coarsest map has one cell for 64 px.
    "yunet": Finder(
        smallest=12.0, largest=256.0, multiple=64, step=3.0, second_look=False, leave_above=300.0
    ),
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
    fed = feed(pixels.to(device), card.pixels).to(dtype)
    found = network.detect(fed.contiguous(memory_format=torch.channels_last))
    boxes, scores, points = (part.float() for part in found)
    largest = FINDERS[card.architecture].leave_above
    if largest < math.inf:
        areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=-1)
        scores = scores.masked_fill(areas > largest**2, 0.0)
    return Candidates(boxes, scores, points)


@torch.inference_mode()
def refine(
    network: nn.Module, card: zoo.ModelCard, crops: Tensor, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Five points (N, 5, 2) in upright crops (N, 3, S, S) of one face each, and the logit (N,) of
    its being one, on the CPU; see `Refiner`."""
    dtype = next(network.parameters()).dtype
    points, logits = network.refine(feed(crops.to(device), card.pixels).to(dtype))
    return points.float().cpu(), logits.float().cpu()
