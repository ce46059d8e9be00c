"""What IdentityGuard sends to the page: its strips, and the comparison with figures and verdict."""

from __future__ import annotations

from torch import Tensor

from ..stages.identity_guard import Guarded
from ._api import ui
from .ui import Pair, chips, compare, title


def shown(guarded: Guarded, before: Tensor, threshold: float, strips: Tensor) -> dict:
    """The `ui` of the node.

    Args:
        guarded: what the stage returned.
        before: (N, S, S, C), the originals.
        threshold: probability that was asked for.
        strips: (M, h, w, 3), pictures to show under the node.
    """
    faces = guarded.faces
    pairs = [
        Pair(
            title(faces[face], faces.frames) if faces is not None else f"face {face}",
            before[face],
            guarded.crops[face],
            overlay=guarded.invented.mask[face],
            chips=chips(faces[face]) if faces is not None else (),
            similarity=float(guarded.probability_after[face]),
            threshold=threshold,
            verdict=f"{action}; {guarded.invented.summaries[face]}",
            level=level(guarded, face, threshold),
        )
        for face, action in enumerate(guarded.actions)
    ]
    return {**compare(pairs, guarded.summary), **ui.PreviewImage(strips).as_dict()}


def nothing_shown(guarded: Guarded) -> dict:
    """The `ui` of a run without a face, with the keys that PreviewImage has: ComfyUI joins those of
    several runs key by key."""
    return {**compare([], guarded.summary), "images": [], "animated": (False,)}


def level(guarded: Guarded, face: int, threshold: float) -> str:
    """How a verdict is coloured: good as it came, warn if it was changed, bad if it fails."""
    if guarded.source[face] < 0 or float(guarded.probability_after[face]) < threshold:
        return "bad"
    changed = guarded.source[face] > 0 or float(guarded.returned[face]) > 0
    return "warn" if changed else "good"
