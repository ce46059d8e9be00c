"""References: other photos of the person, as what an embedder makes of the faces in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .batch import check
from .face_detect import detect
from .host import Host
from .landmark_align import align

#: Side of the crops that references are compared by.
SIDE = 256

#: References of which an outlier can be told: of two that differ nobody knows which is wrong.
ENOUGH = 3

#: Share of the eye distance by which the nose lies off the middle of a face that looks aside.
PROFILE = 0.35


@dataclass(frozen=True)
class Recogniser:
    """An embedder as the guard uses it.

    name: its card's. embed: from crops (N, S, S, 3) to unit vectors (N, D) on the CPU. probability:
    from cosines to probabilities of the same person.
    """

    name: str
    embed: Callable[[Tensor], Tensor]
    probability: Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class References:
    """embeddings: (R, D) of the references that count. notes: what was found wrong with others."""

    embeddings: Tensor
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.embeddings)

    def similarity(self, faces: Tensor) -> Tensor:
        """(N,) mean cosine of faces (N, D) to the references."""
        return (faces @ self.embeddings.T).mean(1)


def gather(
    pictures: Tensor | Sequence[Tensor], originals: Tensor, recogniser: Recogniser, host: Host
) -> References:
    """Find the face of the person in every reference.

    Args:
        pictures: (B, H, W, C) in [0, 1], or a sequence of such batches of any sizes.
        originals: (N, D) embeddings of the faces to restore; they say who is meant where a
            reference shows several people.
        recogniser: who compares.

    Returns:
        References; one without a face, and one that looks like somebody else than the others, is
        left out and named. Pictures are numbered from 0.
    """
    batches = [pictures] if isinstance(pictures, Tensor) else list(pictures)
    singles = [picture[None] for batch in batches for picture in check(batch, "references")]
    found, numbers, notes = [], [], []
    for number, picture in enumerate(singles):
        faces = detect(picture, host=host)
        if not len(faces):
            notes.append(f"reference {number} shows no face and is left out")
            continue
        crops, faces = align(picture, faces, size=SIDE)
        vectors = recogniser.embed(crops)
        best = 0  # the largest comes first
        if len(faces) > 1 and len(originals):
            best = int((vectors @ originals.T).amax(1).argmax())
            notes.append(
                f"reference {number} shows {len(faces)} people; the one most like the original is "
                "taken"
            )
        if looks_aside(faces[best].points):
            notes.append(f"reference {number} is a profile, where embedders are unreliable")
        found.append(vectors[best])
        numbers.append(number)
    if not found:
        return References(originals.new_zeros(0, originals.shape[-1]), tuple(notes))
    embeddings = torch.stack(found)
    kept = agreeing(embeddings, recogniser)
    notes += [
        f"reference {number} looks like somebody else than the others and is left out"
        for number, stays in zip(numbers, kept.tolist(), strict=True)
        if not stays
    ]
    if len(found) == 2 and float(recogniser.probability(embeddings[0] @ embeddings[1])) < 0.5:
        notes.append("the two references hardly look like one person; both are taken")
    return References(embeddings[kept], tuple(notes))


def agreeing(embeddings: Tensor, recogniser: Recogniser) -> Tensor:
    """(R,) bool: those that are likelier the same person as the central one than not.

    The central one has the highest median similarity to the others, so that a minority of
    strangers does not move it. All of fewer than ENOUGH agree.
    """
    count = len(embeddings)
    if count < ENOUGH:
        return torch.ones(count, dtype=torch.bool)
    likeness = embeddings @ embeddings.T
    others = likeness[~torch.eye(count, dtype=torch.bool)].view(count, count - 1)
    centre = int(others.median(1).values.argmax())
    kept = recogniser.probability(likeness[centre]) >= 0.5
    kept[centre] = True
    return kept


def looks_aside(points: Tensor) -> bool:
    """Whether five points (5, 2) are those of a face in profile."""
    eyes = points[1] - points[0]
    width = eyes.norm().clamp(min=1e-6)
    middle = (points[0] + points[1] + points[3] + points[4]) / 4
    off = ((points[2] - middle) @ eyes / width).abs() / width
    return bool(off > PROFILE)
