"""What a detector takes for a face and is none, found in the pictures it is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from ..models.loader import build
from ..stages.face_detect import detect
from ..stages.host import Host
from .composites import Canvas, Photo

#: Score from which a false alarm is worth learning from.
CONFIDENCE = 0.11

#: A detection that shares this much of the smaller of the two with a labelled face is none.
TOUCH = 0.3


class One(Host):
    """A host whose only network is the detector in a file."""

    def __init__(self, weights: Path):
        super().__init__()
        self.network = build(load_file(weights))

    def load(self, name: str) -> nn.Module:
        return self.network


def false_alarms(
    weights: Path, photos: list[Photo], negatives: list[Photo], canvases: int, seed: int
) -> list[Photo]:
    """Photographs and canvases whose "faces" are all false alarms of the detector in `weights`.

    Args:
        photos: with all their faces labelled.
        negatives: without a face; each is also seen turned by 90, 180 and 270 degrees.
        canvases: how many composites to look at as well.
    """
    host, found = One(weights), []
    for photo in _pictures(photos, negatives, canvases, seed):
        picture = torch.from_numpy(np.ascontiguousarray(photo.levels[0]))[None].float() / 255
        faces = [
            face
            for face in detect(picture, confidence=CONFIDENCE, min_size=7, host=host)
            if not touches(face.box.numpy(), photo.boxes)
        ]
        if faces:
            boxes, points = (
                np.stack([getattr(face, name).numpy() for face in faces])
                for name in ("box", "points")
            )
            scores = np.array([face.score for face in faces])
            certain = np.zeros(len(faces), bool)
            found.append(Photo(photo.levels, boxes, points, certain, scores=scores))
    return found


def _pictures(
    photos: list[Photo], negatives: list[Photo], canvases: int, seed: int
) -> Iterator[Photo]:
    yield from photos
    nothing = (np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0, bool))
    for photo in negatives:
        for turn in range(4):
            yield Photo([np.rot90(level, turn).copy() for level in photo.levels], *nothing)
    canvas = Canvas(photos, negatives, 256, seed)
    for _ in range(canvases):
        picture, labels = canvas.make()
        yield Photo([picture], labels.boxes, labels.points, labels.ignored)


def touches(box: np.ndarray, others: np.ndarray) -> bool:
    """Whether a box and one of the others share TOUCH of the smaller of the two."""
    if not len(others):
        return False
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.maximum(high - low, 0).prod(axis=1)
    smaller = np.minimum((box[2:] - box[:2]).prod(), (others[:, 2:] - others[:, :2]).prod(axis=1))
    return bool((shared > TOUCH * smaller).any())
