"""Which of the faces of a picture come first, and which are meant by their numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

from .faces import Face


def _centre(face: Face) -> tuple[float, float]:
    x0, y0, x1, y1 = face.box.tolist()
    return (x0 + x1) / 2, (y0 + y1) / 2


def side(face: Face) -> float:
    """Size of a face in pixels: sqrt(width * height) of its box, the same at every rotation."""
    return max(face.width * face.height, 0.0) ** 0.5


def _from_middle(face: Face, height: int, width: int) -> float:
    x, y = _centre(face)
    return (x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2


#: Order by name: what a face of a picture (height, width) is sorted by, smallest first.
ORDERS: dict[str, Callable[[Face, int, int], float]] = {
    "largest": lambda face, height, width: -side(face),
    "left to right": lambda face, height, width: _centre(face)[0],
    "top to bottom": lambda face, height, width: _centre(face)[1],
    "nearest the centre": _from_middle,
    "confidence": lambda face, height, width: -face.score,
}


def in_order(faces: list[Face], order: str, height: int, width: int) -> list[Face]:
    """The faces of one picture, first in `order` first. Raises ValueError for an unknown order."""
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; choose one of: {', '.join(ORDERS)}")
    return sorted(faces, key=lambda face: ORDERS[order](face, height, width))


def parse_selection(text: str) -> list[range] | None:
    """The numbers in a text such as "0, 2-4", counted from 0; None for an empty text: all.

    Raises:
        ValueError: a part is neither a number nor a range.
    """
    if not text.strip():
        return None
    ranges = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if last < first:
            raise ValueError(
                f"selection {text!r}: {part.strip()!r} is no number of a face; write numbers from "
                "0 and ranges, such as 0, 2-4"
            )
        ranges.append(range(first, last + 1))
    return ranges


def selected(faces: list[Face], selection: list[range] | None) -> list[Face]:
    """The faces whose numbers are meant, in their own order."""
    if selection is None:
        return faces
    return [face for number, face in enumerate(faces) if any(number in part for part in selection)]
