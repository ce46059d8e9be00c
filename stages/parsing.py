"""Parsing: which pixel of an aligned crop is skin, brow, eye, lip, hair and so on, by class name.

Parsers number their classes differently, so a label never leaves this module without its name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import zoo
from .batch import check_crops
from .host import Host
from .passes import in_passes
from .pixels import run

#: Every class; a label is an index into this table. "mouth" is what shows between the lips.
CLASSES = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "glasses",
    "left ear",
    "right ear",
    "earring",
    "nose",
    "mouth",
    "upper lip",
    "lower lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)

#: Classes that come in pairs; a parser's table names them without their side.
PAIRED = ("brow", "eye", "ear")

#: Class of each output channel, by architecture.
CHANNELS = {
    # face-parsing.PyTorch, test.py. Its training mirrored pictures but not their labels (pull
    # request 26 there), so its left and right channels are not told apart here.
    "bisenet": (
        *("background", "skin", "brow", "brow", "eye", "eye", "glasses", "ear", "ear"),
        *("earring", "nose", "mouth", "upper lip", "lower lip", "neck", "necklace", "cloth"),
        *("hair", "hat"),
    ),
    # facexlib, inference_parsing_parsenet.py: the numbering of CelebAMask-HQ.
    "parsenet": (
        *("background", "skin", "nose", "glasses", "eye", "eye", "brow", "brow", "ear", "ear"),
        *("mouth", "upper lip", "lower lip", "hair", "hat", "earring", "necklace", "neck"),
        "cloth",
    ),
}

#: The face without ears, hair and what is worn; what a restorer may change.
FACE = (
    *("skin", "left brow", "right brow", "left eye", "right eye", "glasses", "nose", "mouth"),
    *("upper lip", "lower lip"),
)

DEFAULT = "bisenet"


@dataclass(frozen=True)
class Parsing:
    """Labels (N, S, S), uint8, on the CPU: indices into CLASSES."""

    labels: Tensor

    def mask(self, *names: str) -> Tensor:
        """(N, S, S) float32, 1 where a pixel is of one of the named classes.

        Raises:
            ValueError: there is no such class.
        """
        unknown = [name for name in names if name not in CLASSES]
        if unknown:
            raise ValueError(f"no class {', '.join(unknown)}; choose from {', '.join(CLASSES)}")
        wanted = torch.tensor([CLASSES.index(name) for name in names], dtype=torch.uint8)
        return torch.isin(self.labels, wanted).float()

    def share(self, name: str) -> Tensor:
        """(N,) share of each crop that is of the named class."""
        return self.mask(name).mean((1, 2))


def parse(crops: Tensor, *, model: str = DEFAULT, host: Host | None = None) -> Parsing:
    """Label every pixel of aligned crops.

    Args:
        crops: (N, S, S, C) in [0, 1], FFHQ-aligned, any S; N may be 0.
        model: a parser of the zoo.

    Returns:
        Parsing of the crops' own size. Left and right are the viewer's: brow, eye and ear are told
        apart by the middle of the nose, or of the crop where no nose shows.

    Raises:
        ValueError: crops that are not squares, or no such parser.
    """
    crops = check_crops(crops)
    card = choose(model)
    if not len(crops):
        return Parsing(torch.zeros(crops.shape[:3], dtype=torch.uint8))
    host = host or Host()
    network = host.load(card.name)
    names = CHANNELS[card.architecture]
    size = crops.shape[1]

    def label(part: Tensor) -> Tensor:
        scores = run(network, _resized(part, card.crop), card.pixels).float()
        return _sided(*_best(scores, names, size))

    channels = crops[..., :1].expand(*crops.shape[:3], 3) if crops.shape[-1] == 1 else crops
    planes = channels[..., :3].permute(0, 3, 1, 2).float()
    return Parsing(in_passes(planes, label, host))


def choose(model: str) -> zoo.ModelCard:
    """The card of a parser. Raises ValueError naming those there are."""
    known = [card.name for card in zoo.CARDS.values() if card.architecture in CHANNELS]
    if model not in known:
        raise ValueError(f"unknown parser {model!r}; choose one of {', '.join(known)}")
    return zoo.CARDS[model]


def _resized(maps: Tensor, size: int) -> Tensor:
    """(N, K, S, S) maps at another side, antialiased where they shrink."""
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(
        maps, size=(size, size), mode="bilinear", align_corners=False, antialias=True
    )


def _best(scores: Tensor, names: tuple[str, ...], size: int) -> tuple[Tensor, list[str]]:
    """The likeliest class of each pixel at side `size`: indices into the names returned.

    The two channels of a pair are added up first, or a brow split between them could lose to skin.
    One class after the other, so that a large crop never holds all its score maps at once.
    """
    logs = scores.log_softmax(1)
    classes = list(dict.fromkeys(names))
    best = winner = None
    for index, name in enumerate(classes):
        channels = [i for i, other in enumerate(names) if other == name]
        own = _resized(logs[:, channels].logsumexp(1, keepdim=True), size)[:, 0]
        if best is None:
            best, winner = own, torch.zeros_like(own, dtype=torch.uint8)
        else:
            winner = torch.where(own > best, index, winner).to(torch.uint8)
            best = torch.maximum(best, own)
    return winner, classes


def _sided(labels: Tensor, names: list[str]) -> Tensor:
    """Labels of CLASSES from labels of `names`, pairs told apart by the middle of the nose."""
    columns = torch.arange(labels.shape[-1], device=labels.device, dtype=torch.float32)
    nose = (labels == names.index("nose")).sum(1).float()
    seen = nose.sum(-1)
    middle = torch.where(seen > 0, (nose * columns).sum(-1) / seen.clamp(min=1), columns.mean())
    right = (columns > middle[:, None])[:, None].expand(labels.shape)
    tables = []
    for side in ("left ", "right "):
        own = [side + name if name in PAIRED else name for name in names]
        tables.append([CLASSES.index(name) for name in own])
    left_table, right_table = labels.new_tensor(tables)
    index = labels.long()
    return torch.where(right, right_table[index], left_table[index])
