"""Chosen: the faces picked by hand in a picture, kept as text that finds them again.

The text is JSON, one entry for each picture (numbered from 0) in which something was picked:

    {"0": {"only": [[0.1, 0.2, 0.3, 0.5]]}, "2": {"without": [...], "also": [...]}}

"only": the faces to keep, "without": those to leave out, "also": boxes in which a face is missed.
A picture that is not named keeps all its faces, as an empty text does for all of them.

Convention: a box is x0, y0, x1, y1 in shares of the picture's width and height from its top-left
corner, 0 to 1, so that it means the same at every size. Numbers of faces are not stored: they
change with the detector and its settings, boxes hardly.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .face_detect import detect
from .faces import Face, Faces
from .host import Host
from .nms import overlap

#: Overlap (intersection over union) from which a stored box and a face are the same one.
SAME = 0.3

#: What is seen in a drawn box counts as its face from this score and overlap; with less it is
#: something beside the face that was meant.
SEEN_SCORE, SEEN_FIT = 0.1, 0.2

#: Most boxes a text may hold; more is a mistake.
MOST = 2000

#: Where the five points lie in the box of an upright face, in shares of the box, as the built-in
#: detector sees frontal faces; taken where it sees none in a drawn box.
POINTS_IN_BOX = ((0.27, 0.39), (0.73, 0.39), (0.50, 0.58), (0.32, 0.73), (0.68, 0.73))


@dataclass(frozen=True)
class Choice:
    """What was picked in one picture; boxes as the module says. `only` None: not limited."""

    only: tuple[tuple[float, ...], ...] | None = None
    without: tuple[tuple[float, ...], ...] = ()
    also: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Chosen:
    """The chosen faces and all there were to choose from.

    faces: those to work on. candidates: found and drawn ones, picture by picture. kept: for each
    candidate whether it is in `faces`. drawn: for each whether it comes from a drawn box.
    """

    faces: Faces
    candidates: Faces
    kept: tuple[bool, ...] = field(default=())
    drawn: tuple[bool, ...] = field(default=())


def parse(text: str) -> dict[int, Choice]:
    """The choices of a text, by number of the picture; none for an empty text.

    Raises:
        ValueError: the text is not what this module describes; the message says where.
    """
    if not text.strip():
        return {}
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"chosen is no JSON ({error}); clear it to take every face, then pick again"
        ) from error
    if not isinstance(entries, dict):
        raise ValueError(f"chosen is a {type(entries).__name__}; expected one entry per picture")
    choices = {}
    for name, entry in entries.items():
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            raise ValueError(f"chosen names picture {name!r}; number pictures from 0")
        known = {"only", "without", "also"}
        if not isinstance(entry, dict) or not entry.keys() <= known:
            raise ValueError(f"chosen of picture {name} is {entry!r}; use only, without and also")
        lists = {key: _boxes(value, f"{key} of picture {name}") for key, value in entry.items()}
        choices[int(name)] = Choice(**lists)
    count = sum(len(c.only or ()) + len(c.without) + len(c.also) for c in choices.values())
    if count > MOST:
        raise ValueError(f"chosen holds {count} boxes; {MOST} are the most")
    return choices


def _boxes(value, where: str) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where} is {value!r}; expected a list of boxes")
    return tuple(_box(box, where) for box in value)


def _box(box, where: str) -> tuple[float, ...]:
    """One box cut to the picture. Raises ValueError if nothing of it is inside."""
    numbers = isinstance(box, list) and len(box) == 4
    if not numbers or not all(type(v) in (int, float) and math.isfinite(v) for v in box):
        raise ValueError(f"{where} holds {box!r}; a box is four numbers x0, y0, x1, y1 in 0 to 1")
    x0, y0, x1, y1 = (min(max(float(value), 0.0), 1.0) for value in box)
    if x0 >= x1 or y0 >= y1:
        raise ValueError(f"{where} holds {box!r}, which has no area inside the picture")
    return x0, y0, x1, y1


def choose(
    image: Tensor,
    found: Faces,
    text: str,
    *,
    detector: str = "auto",
    host: Host | None = None,
) -> Chosen:
    """Keep the faces a text picks and add those it draws.

    Args:
        image: (B, H, W, C) in [0, 1], the pictures `found` is of.
        found: what FaceDetect found with its other settings.
        text: see the module; empty keeps all.
        detector: who looks into the drawn boxes.
        host: where to run; the CPU without it.

    Returns:
        Chosen. A drawn box in which no face is seen becomes an upright face of score 0; one that
        lies on a found face keeps that face. Pictures beyond the batch are passed over.

    Raises:
        ValueError: the text cannot be read.
    """
    choices = {number: c for number, c in parse(text).items() if number < found.frames}
    by_frame: list[list[Face]] = [[] for _ in range(found.frames)]
    for face in found:
        by_frame[face.frame].append(face)
    seen = _look(image, found, choices, detector, host)
    candidates: list[Face] = []
    kept: list[bool] = []
    drawn: list[bool] = []
    for frame, faces in enumerate(by_frame):
        choice = choices.get(frame, Choice())
        stays = _picked(faces, choice, found)
        more = []
        for box in _pixels(choice.also, found):
            face = _best(seen.get(frame, []), box) or _upright(box, frame)
            twin = _twin(face, box, faces + more)
            if twin is None:
                more.append(face)
            elif twin < len(faces):
                stays[twin] = True
        candidates += [*faces, *more]
        kept += [*stays, *(True for _ in more)]
        drawn += [*(False for _ in faces), *(True for _ in more)]
    candidates = [replace(face, id=number) for number, face in enumerate(candidates)]
    chosen = [face for face, keep in zip(candidates, kept, strict=True) if keep]
    return Chosen(
        found.with_faces(chosen),
        found.with_faces(candidates),
        tuple(kept),
        tuple(drawn),
    )


def _pixels(boxes: tuple[tuple[float, ...], ...], faces: Faces) -> Tensor:
    """(n, 4) boxes in pixels of the picture, between pixel centres."""
    extent = torch.tensor([faces.width, faces.height] * 2, dtype=torch.float32)
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4) * extent - 0.5


def _picked(faces: list[Face], choice: Choice, size: Faces) -> list[bool]:
    """Whether each face of a picture is kept."""
    if choice.only is not None:
        meant = _matches(faces, _pixels(choice.only, size))
        return [number in meant for number in range(len(faces))]
    meant = _matches(faces, _pixels(choice.without, size))
    return [number not in meant for number in range(len(faces))]


def _matches(faces: list[Face], boxes: Tensor) -> set[int]:
    """The faces that boxes mean, each box at most one face, the best fits first."""
    if not faces or not len(boxes):
        return set()
    fits = overlap(torch.stack([face.box for face in faces]), boxes)
    meant: set[int] = set()
    for _ in range(min(fits.shape)):
        best = int(fits.argmax())
        face, box = divmod(best, fits.shape[1])
        if fits[face, box] < SAME:
            break
        meant.add(face)
        fits[face], fits[:, box] = 0, 0
    return meant


def _look(
    image: Tensor, found: Faces, choices: dict[int, Choice], detector: str, host: Host | None
) -> dict[int, list[Face]]:
    """What the detector sees in the drawn boxes, by picture; only pictures with some are read."""
    frames = sorted(number for number, choice in choices.items() if choice.also)
    if not frames:
        return {}
    boxes = []
    for number in frames:
        corners = (_pixels(choices[number].also, found) + 0.5).tolist()
        names = ("x", "y", "width", "height")
        boxes.append(
            [dict(zip(names, (x, y, x1 - x, y1 - y), strict=True)) for x, y, x1, y1 in corners]
        )
    seen = detect(image[frames], detector=detector, confidence=0, boxes=boxes, host=host)
    return {
        number: [replace(face, frame=number) for face in seen if face.frame == place]
        for place, number in enumerate(frames)
    }


def _best(faces: list[Face], box: Tensor) -> Face | None:
    """The face that fits a box best, None if nothing surely seen does."""
    sure = [face for face in faces if face.score >= SEEN_SCORE]
    if not sure:
        return None
    fits = overlap(torch.stack([face.box for face in sure]), box[None])[:, 0]
    return sure[int(fits.argmax())] if fits.max() >= SEEN_FIT else None


def _twin(face: Face, box: Tensor, others: list[Face]) -> int | None:
    """The number of the face that is there already, seen or under the box as drawn."""
    if not others:
        return None
    boxes = torch.stack([other.box for other in others])
    fits = overlap(boxes, torch.stack([face.box, box])).amax(dim=1)
    best = int(fits.argmax())
    return best if fits[best] >= SAME else None


def _upright(box: Tensor, frame: int) -> Face:
    """A face that fills a box, as nobody has seen it."""
    points = box[:2] + torch.tensor(POINTS_IN_BOX) * (box[2:] - box[:2])
    return Face(0, frame, box, 0.0, points)
