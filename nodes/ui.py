"""What the nodes send to the page: small pictures in ComfyUI's temp folder and figures on them.

Each message is one entry under the key of its widget in the `ui` of a node's output, with a
VERSION: the page passes over a message of another version and says so.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import folder_paths
from PIL import Image
from torch import Tensor

from ..stages.chosen import Chosen
from ..stages.degradation_estimate import Degradation
from ..stages.faces import Face, Faces
from ..stages.findings_text import WORDS
from ..stages.previews import around, gilded, preview

#: Of the messages; raised when a page of an older version would misread them.
VERSION = 1

#: Most pictures, faces of one picture and comparisons that are sent; the rest is counted.
PICTURES, FACES, PAIRS = 16, 400, 16

#: JPEG quality of pictures that carry marks, and of those whose detail is compared.
MARKED, COMPARED = 85, 95


@dataclass(frozen=True)
class Pair:
    """One comparison: the picture before and after, and what is known of it.

    title: what it shows. before, after: (H, W, C) in [0, 1]; without `after` there is nothing to
    compare. overlay: (H, W) in [0, 1], laid over `after`. chips: findings in a few words.
    similarity: -1..1, and the `threshold` it is held against. verdict: one line. level: "good",
    "warn", "bad" or "" of the verdict.
    """

    title: str
    before: Tensor
    after: Tensor | None = None
    overlay: Tensor | None = None
    chips: tuple[str, ...] = ()
    similarity: float | None = None
    threshold: float | None = None
    verdict: str = ""
    level: str = ""


def show_faces(image: Tensor, chosen: Chosen) -> dict:
    """The `ui` of FaceDetect: its pictures with the faces there were to choose from.

    Args:
        image: (B, H, W, C) in [0, 1].
        chosen: of the faces found in it.

    Convention: boxes and points are shares of the picture's width and height from its corner.
    """
    by_frame: dict[int, list[dict]] = {}
    for face, kept, drawn in zip(chosen.candidates, chosen.kept, chosen.drawn, strict=True):
        faces = by_frame.setdefault(face.frame, [])
        faces.append(
            {
                "number": len(faces),
                "box": _shares(face.box.reshape(2, 2), chosen.candidates),
                "points": _shares(face.points, chosen.candidates),
                "size": round(max(face.width * face.height, 0.0) ** 0.5),
                "score": round(float(face.score), 3),
                "kept": kept,
                "drawn": drawn,
            }
        )
    pictures = [
        {
            "file": _file(preview(image[frame]), MARKED),
            "width": int(image.shape[2]),
            "height": int(image.shape[1]),
            "faces": by_frame.get(frame, [])[:FACES],
            "faces_left_out": max(0, len(by_frame.get(frame, [])) - FACES),
        }
        for frame in range(min(len(image), PICTURES))
    ]
    return _message("kintsugi_faces", pictures=pictures, left_out=max(0, len(image) - PICTURES))


def compare(pairs: Sequence[Pair], report: str = "", total: int | None = None) -> dict:
    """The `ui` of a node that changes faces: before and after, face by face.

    Args:
        pairs: in order; only the first PAIRS are sent.
        report: what the node did, in one line.
        total: how many there are where `pairs` is cut already.
    """
    sent = [
        {
            "title": pair.title,
            "before": _file(preview(pair.before), COMPARED),
            "after": None if pair.after is None else _file(preview(pair.after), COMPARED),
            "overlay": None if pair.overlay is None else _file(gilded(pair.overlay)),
            "chips": list(pair.chips),
            "similarity": None if pair.similarity is None else round(float(pair.similarity), 3),
            "threshold": None if pair.threshold is None else round(float(pair.threshold), 3),
            "verdict": pair.verdict,
            "level": pair.level,
        }
        for pair in pairs[:PAIRS]
    ]
    left_out = max(0, (len(pairs) if total is None else total) - len(sent))
    return _message("kintsugi_compare", pairs=sent, report=report, left_out=left_out)


def crop_pairs(
    before: Tensor,
    after: Tensor,
    faces: Faces | None,
    reasons: Sequence[str] = (),
    degradations: Sequence[Degradation | None] = (),
) -> list[Pair]:
    """One comparison for each crop, with what was found out about its face.

    Args:
        before, after: (N, S, S, C) in [0, 1].
        faces: the face of each crop, if known.
        reasons: of each, why it was treated as it was, if known.
        degradations: of each, what is wrong with it, for faces that do not carry it themselves.
    """
    count = min(len(before), len(after))
    known = list(faces) if faces is not None and len(faces) == count else []
    frames = faces.frames if known else 1
    reasons = reasons if len(reasons) == count else [""] * count
    damage = list(degradations) if len(degradations) == count else [None] * count
    return [
        Pair(
            title(known[number], frames) if known else f"face {number}",
            before[number],
            after[number],
            chips=(known and chips(known[number])) or told(damage[number]),
            verdict=reasons[number],
        )
        for number in range(min(count, PAIRS))
    ]


def picture_pairs(before: Tensor, after: Tensor, faces: Faces) -> list[Pair]:
    """Each picture with a face as a whole, then each of its faces near by.

    Args:
        before, after: (B, H, W, C) in [0, 1]; `after` may be larger.
        faces: where the faces are, in pixels of `before`.
    """
    pairs: list[Pair] = []
    frames = dict.fromkeys(face.frame for face in faces)
    for frame in frames:
        name = "whole picture" if faces.frames == 1 else f"picture {frame}"
        pairs.append(Pair(name, before[frame], after[frame]))
        for face in faces:
            if face.frame != frame or len(pairs) >= PAIRS:
                continue
            near = _near(before[frame], face, faces), _near(after[frame], face, faces)
            pairs.append(Pair(title(face, faces.frames), *near, chips=chips(face)))
        if len(pairs) >= PAIRS:
            break
    return pairs[:PAIRS]


def title(face: Face, frames: int) -> str:
    """What a face is called: by its id, with its picture where there are several."""
    return f"face {face.id}" if frames == 1 else f"picture {face.frame}, face {face.id}"


def chips(face: Face) -> tuple[str, ...]:
    """What was found wrong with a face, the worst first, in a few words each."""
    return told(face.degradation)


def told(degradation: Degradation | None) -> tuple[str, ...]:
    """The findings of one face, the worst first, in a few words each; none without."""
    if degradation is None:
        return ()
    return tuple(WORDS[finding.kind](finding) for finding in degradation.found())


def _near(picture: Tensor, face: Face, faces: Faces) -> Tensor:
    """The part of a picture around a face, whatever the picture's size is now."""
    height, width = picture.shape[:2]
    ratio = picture.new_tensor([width / faces.width, height / faces.height] * 2).float().cpu()
    left, top, right, bottom = around((face.box + 0.5) * ratio - 0.5, height, width)
    return picture[top:bottom, left:right]


def _shares(points: Tensor, faces: Faces) -> list:
    """(n, 2) pixels as shares of the picture, n pairs; a box comes as one list of four."""
    extent = points.new_tensor([faces.width, faces.height])
    rows = [[round(value, 4) for value in row] for row in ((points + 0.5) / extent).tolist()]
    return [value for row in rows for value in row] if len(rows) == 2 else rows


def _message(key: str, **content) -> dict:
    return {key: [{"version": VERSION, **content}]}


def _file(picture: Image.Image, quality: int | None = None) -> dict:
    """Save a preview where the page's /view finds it: a JPEG, or a PNG without a quality.

    A full disk must not cost a finished restoration: the page then gets the reason instead.
    """
    folder = Path(folder_paths.get_temp_directory())
    name = f"kintsugi_{secrets.token_hex(8)}.{'png' if quality is None else 'jpg'}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if quality is None:
            picture.save(folder / name, compress_level=1)
        else:
            # Full resolution of colour, or a preview would show blocks that the picture has not.
            picture.save(folder / name, quality=quality, subsampling=0)
    except OSError as error:
        logging.warning("Kintsugi: no preview could be saved in %s: %s", folder, error)
        return {"error": str(error)}
    return {"filename": name, "subfolder": "", "type": "temp"}
