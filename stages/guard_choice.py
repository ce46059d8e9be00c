"""The guard's choice: candidates tried, originals given back, until every face is sure enough."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .back_off import EVALUATIONS, Mixer, search
from .guard_judge import Judge, Seen


@dataclass
class Choice:
    """The results taken so far; changed in place."""

    crops: Tensor
    probability: Tensor
    references: Tensor
    source: list[int]
    returned: Tensor

    @classmethod
    def of(cls, after: Tensor, first: Seen) -> Choice:
        count = len(after)
        return cls(
            after.clone(),
            first.probability.clone(),
            first.references.clone(),
            [0] * count,
            torch.zeros(count),
        )

    def take(self, face: int, crop: Tensor, probability: float, source: int) -> None:
        self.crops[face], self.probability[face], self.source[face] = crop, probability, source


def try_candidates(
    judge: Judge, chosen: Choice, batches: list[Tensor], threshold: float, *, pick: bool
) -> None:
    """Take a candidate where it is better (pick), or where nothing before it is good enough."""
    for number, batch in enumerate(batches, 1):
        asked = torch.arange(len(batch)) if pick else _below(chosen, threshold)
        if not len(asked):
            return
        seen = judge.look(asked, batch[asked])
        for row, face in enumerate(asked.tolist()):
            new, old = float(seen.probability[row]), float(chosen.probability[face])
            better = new >= threshold or new > old
            if pick:
                fits, fitted = float(seen.references[row]), float(chosen.references[face])
                ranked = bool(len(judge.by_references)) and bool(judge.by_references[face])
                better = (new >= threshold) > (old >= threshold) or (
                    (new >= threshold) == (old >= threshold)
                    and (fits > fitted if ranked else new > old)
                )
            if better:
                chosen.take(face, batch[face], new, number)
                chosen.references[face] = seen.references[row]


def _below(chosen: Choice, threshold: float) -> Tensor:
    return torch.nonzero(chosen.probability < threshold).flatten()


def give_back(judge: Judge, chosen: Choice, threshold: float) -> None:
    """Mix originals back into the faces that are still below the threshold."""
    asked = _below(chosen, threshold)
    if not len(asked):
        return
    mixer = Mixer(judge.before, chosen.crops)
    left = EVALUATIONS - judge.evaluations
    shares, found = search(
        mixer, lambda faces, crops: judge.look(faces, crops).probability, asked, threshold, left
    )
    mixed = mixer(asked, shares)
    for row, face in enumerate(asked.tolist()):
        if not torch.isnan(found[row]):
            chosen.crops[face], chosen.returned[face] = mixed[row], shares[row]
            chosen.probability[face] = found[row]
