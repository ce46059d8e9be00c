"""The guard's judge: which tests mean anything on a face, and what they say of a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .faces import Faces
from .invented import Invented
from .references import Recogniser, References, looks_aside
from .structure import Agreement, agreement

#: Longest wavelength, px of 512, to which an original must be resolved for an embedder to judge by
#: it, and the severity of its damage from which it does not. Measured: of originals resolved to 16
#: px nine in ten keep a cosine of 0.5 to their clean selves, of heavily damaged ones one in ten.
READABLE, TOO_SEVERE = 16, 0.6

#: Longest wavelength to which a result must be resolved to be held against references.
SHARP = 8


@dataclass
class Seen:
    """One measurement of results: similarities to originals and references, probability."""

    original: Tensor
    references: Tensor
    probability: Tensor
    agreement: Agreement


@dataclass
class Judge:
    """Measures results against their originals; what counts for each face is settled once.

    before: (N, S, S, 3) the originals. rows: the part of them, along either side, that is judged.
    vectors: (N, D) embeddings of that part.
    """

    before: Tensor
    rows: slice
    vectors: Tensor
    recogniser: Recogniser | None
    references: References
    by_original: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    by_references: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    evaluations: int = 0
    first_vectors: Tensor | None = None

    def look(self, faces: Tensor, crops: Tensor) -> Seen:
        """Measure crops (M, S, S, 3) of the faces with these indices (M,)."""
        self.evaluations += 1
        crops = crops[:, self.rows, self.rows]
        alike = agreement(self.before[faces][:, self.rows, self.rows], crops)
        nothing = torch.full((len(faces),), float("nan"))
        if self.recogniser is None:
            return Seen(nothing, nothing, alike.probability, alike)
        vectors = self.recogniser.embed(crops)
        if self.first_vectors is None:
            self.first_vectors = vectors
        original = (vectors * self.vectors[faces]).sum(1)
        references = self.references.similarity(vectors) if len(self.references) else nothing
        seen = Seen(original, references, alike.probability, alike)
        return replace(seen, probability=self.weigh(faces, seen))

    def weigh(self, faces: Tensor, seen: Seen) -> Tensor:
        """(M,) the lowest probability of the tests that count."""
        lowest = seen.probability
        for counts, similarity in (
            (self.by_original, seen.original),
            (self.by_references, seen.references),
        ):
            if len(counts) and bool(counts[faces].any()):
                told = self.recogniser.probability(similarity)
                lowest = torch.where(counts[faces], torch.minimum(lowest, told), lowest)
        return lowest


def settle(
    judge: Judge,
    first: Seen,
    made_up: Invented,
    faces: Faces | None,
    threshold: float,
    called: Sequence[str],
    notes: list[str],
) -> None:
    """Decide which tests count for each face, and say where one does not, by the name a face is
    `called`."""
    count = len(judge.before)
    if judge.recogniser is None:
        return
    readable = torch.tensor([wave <= READABLE for wave in made_up.resolution])
    profile = torch.zeros(count, dtype=torch.bool)
    for index, face in enumerate(faces or ()):
        if face.degradation is not None and face.degradation.severity >= TOO_SEVERE:
            readable[index] = False
        profile[index] = looks_aside(face.points)
    for index in torch.nonzero(profile).flatten().tolist():
        notes.append(f"{called[index]} is in profile, where embedders are unreliable: not asked")
    judge.by_original = readable & ~profile
    judge.by_references = torch.zeros(count, dtype=torch.bool)
    theirs = torch.ones(count, dtype=torch.bool)
    if len(judge.references):
        theirs = _theirs(judge, first, faces)
        known = judge.recogniser.probability(judge.references.similarity(judge.vectors))
        sharp = torch.tensor([wave <= SHARP for wave in made_up.resolution_after])
        judge.by_references = theirs & ~profile & ((known >= threshold) | (~readable & sharp))
        # Nobody would notice that the photos are of another person.
        for index in torch.nonzero(theirs & readable & ~profile & (known < threshold)).flatten():
            notes.append(
                f"{called[int(index)]}: the references do not look like the original "
                f"({float(known[index]):.2f}); the original judges"
            )
    for index in torch.nonzero(~readable & ~profile).flatten().tolist():
        if judge.by_references[index]:
            notes.append(
                f"{called[index]}: the original is too damaged to compare; references judge"
            )
        elif len(judge.references) and theirs[index]:
            notes.append(
                f"{called[index]}: original and result are both too blurred to be recognised, by "
                "the references too; the structure decides"
            )
        else:
            notes.append(
                f"{called[index]}: the original is too damaged for its likeness to mean anything; "
                f"the structure decides: {first.agreement.sentence(index)}"
            )


def _theirs(judge: Judge, first: Seen, faces: Faces | None) -> Tensor:
    """(N,) bool: the faces that the references may be of, the likeliest of each picture."""
    count = len(judge.before)
    likeness = torch.maximum(judge.references.similarity(judge.vectors), first.references)
    frames = [face.frame for face in faces] if faces is not None else list(range(count))
    theirs = torch.zeros(count, dtype=torch.bool)
    for frame in set(frames):
        mine = [index for index, own in enumerate(frames) if own == frame]
        theirs[max(mine, key=lambda index: float(likeness[index]))] = True
    return theirs


def similarity(judge: Judge, seen: Seen) -> Tensor:
    """(N,) cosines to the references where those judge, else to the original."""
    if not len(judge.references):
        return seen.original
    return torch.where(judge.by_references, seen.references, seen.original)


def evidence(judge: Judge, face: int) -> str:
    """The tests that counted for a face."""
    tests = ["structure"]
    if len(judge.by_original) and bool(judge.by_original[face]):
        tests.append("original")
    if len(judge.by_references) and bool(judge.by_references[face]):
        tests.append("references")
    return ", ".join(tests)
