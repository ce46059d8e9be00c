"""What the guard tells: an action for each face, a report, and the record that travels on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from . import provenance
from .faces import Faces

if TYPE_CHECKING:
    from .identity_guard import Guarded


def action(
    source: int, returned: float, came: float, leaves: float, threshold: float, measured: bool
) -> str:
    """What was done with a face, in a few words.

    Args:
        source: where it was taken from, returned: the share of the original, as Guarded has them.
        came, leaves: probability of the result as it came and as it leaves.
        measured: nothing was to be done but to measure.
    """
    if source < 0:
        return f"refused at {came:.2f}, original back"
    if measured:
        word = "kept" if leaves >= threshold else "below the threshold, only reported"
        return f"{leaves:.2f}, {word}"
    batch = f"candidate {source}" if source else ""
    if returned > 0:
        return f"backed off to {leaves:.2f}" + (f" from {batch}" if batch else "")
    if batch:
        return f"{batch} taken, {leaves:.2f}"
    return f"{leaves:.2f}, kept"


def report(guarded: Guarded, called: Sequence[str]) -> str:
    """What was done: one line on all faces, one on each by the name it is `called`, one on whatever
    could not be judged."""
    count = len(guarded.actions)
    kept = sum(action.endswith("kept") for action in guarded.actions)
    refused = sum(action.startswith("refused") for action in guarded.actions)
    told = [f"{kept} of {count} faces kept as restored" if count > 1 else guarded.actions[0]]
    if count > 1 and kept + refused < count:
        told.append(f"{count - kept - refused} changed or below the threshold")
    if count > 1 and refused:
        told.append(f"{refused} refused")
    embedder = f"compared by {guarded.embedder}" if guarded.embedder else "no embedder"
    lines = ["; ".join([*told, embedder])]
    for face, action in enumerate(guarded.actions):
        before, after = guarded.similarity_before[face], guarded.similarity_after[face]
        likeness = "" if torch.isnan(before) else f"; similarity {before:.2f} -> {after:.2f}"
        lines.append(
            f"{called[face]}: {action}{likeness}; by {guarded.evidence[face]}; "
            f"{guarded.invented.summaries[face]}"
        )
    return "\n".join([*lines, *guarded.notes])


def marked(guarded: Guarded, faces: Faces | None) -> Faces | None:
    """The faces with their identity and what was measured and done."""
    if faces is None:
        return None
    records = []
    for index, face in enumerate(faces):
        judgement = provenance.Judgement(
            embedder=guarded.embedder,
            evidence=guarded.evidence[index],
            similarity_before=float(guarded.similarity_before[index]),
            similarity_after=float(guarded.similarity_after[index]),
            probability_before=float(guarded.probability_before[index]),
            probability_after=float(guarded.probability_after[index]),
            action=guarded.actions[index],
            invented=dict(guarded.invented.shares[index]),
        )
        if guarded.source[index] > 0:
            made = provenance.unrecorded(f"candidate {guarded.source[index]} of Guard Identity")
            face = replace(face, provenance=made)
        identity = guarded.identity[index] if guarded.embedder else face.identity
        records.append(replace(provenance.judged(face, judgement), identity=identity))
    return faces.with_faces(records)
