"""Faces of the data folder, by its manifest: pictures of one split, licence class and kind."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

#: Share of a crop that must lie inside its photograph; the rest is padding.
INSIDE = 0.9


@dataclass(frozen=True)
class Portraits:
    """Aligned faces in memory.

    pictures: (N, S, S, 3) uint8 RGB. people: person of each. real: (N,) bool, photographs of real
    people; the others are generated.
    """

    pictures: NDArray[np.uint8]
    people: tuple[str, ...]
    real: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.pictures)


def rows(folder: Path, split: str, kind: str, licence: str | None = "A") -> list[dict[str, str]]:
    """Rows of the manifest. `licence` None takes every class."""
    with (folder / "manifest.csv").open(newline="") as file:
        found = [
            row for row in csv.DictReader(file) if (row["split"], row["kind"]) == (split, kind)
        ]
    return [row for row in found if licence is None or row["licence_class"] == licence]


def portraits(
    folder: Path,
    split: str,
    *,
    size: int = 256,
    kind: str = "aligned256",
    licence: str | None = "A",
) -> Portraits:
    """Aligned faces of one split, resized to `size`.

    Raises:
        FileNotFoundError: the folder is not there.
        ValueError: no face fits.
    """
    chosen = [r for r in rows(folder, split, kind, licence) if float(r["inside"] or 1) >= INSIDE]
    if not chosen:
        raise ValueError(f"{folder} has no {kind} faces of split {split!r}, class {licence}")
    pictures = np.empty((len(chosen), size, size, 3), np.uint8)
    for index, row in enumerate(chosen):
        picture = cv2.imread(str(folder / row["file"]))[..., ::-1]
        if picture.shape[0] != size:
            picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        pictures[index] = picture
    real = np.array([row["synthetic"] != "1" for row in chosen])
    return Portraits(pictures, tuple(row["person"] for row in chosen), real)
