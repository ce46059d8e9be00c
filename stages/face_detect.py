"""FaceDetect: where the faces of a batch of pictures are, at any size and in-plane rotation.

A detector looks at an image pyramid, what means the same face is merged, each face is looked at
once more upright and at one size, and then those asked for are picked out.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from . import face_search
from .batch import check, check_mask
from .bounding_boxes import per_picture
from .face_order import ORDERS as ORDERS
from .face_order import in_order, parse_selection, selected, side
from .face_search import Search
from .faces import Face, Faces
from .finders import choose
from .host import Host

#: What min_size 0 means: this many pixels, or this share of the longer side if that is more.
AUTO_PIXELS, AUTO_SHARE = 12.0, 1 / 100


def detect(
    image: Tensor,
    *,
    detector: str = "auto",
    confidence: float = 0.5,
    min_size: float = 0,
    max_size: float = 0,
    count: int = 0,
    order: str = "largest",
    selection: str = "",
    mask: Tensor | None = None,
    boxes=None,
    host: Host | None = None,
) -> Faces:
    """Find faces and five points of each.

    Args:
        image: (B, H, W, C) in [0, 1], any float dtype; C is 1, 3 or 4, alpha is not looked at.
        detector: name of a detector of the zoo, or "auto": the one that comes with this pack.
        confidence: least score of a face, 0 to 1.
        min_size: least size in pixels, sqrt(width * height) of the box; 0: faces of 12 px, or of
            1/100 of the longer side if that is more, and whatever smaller ones are seen with them.
        max_size: largest size in pixels; 0: no limit.
        count: how many faces to keep in each picture, first in `order`; 0: all.
        order: one of ORDERS.
        selection: numbers of the faces to keep in each picture, counted from 0 in `order`, such as
            "0, 2-4"; applied before `count`. Empty: all.
        mask: (B, H, W), (1, H, W) or (H, W); a face counts if its centre lies where it is above
            0.5. A mask of another size is stretched over the picture.
        boxes: look for one face inside each of these boxes alone, however unsure; ComfyUI's
            BOUNDING_BOX, see `bounding_boxes.per_picture`.
        host: where to run; the CPU without it.

    Returns:
        The faces, picture by picture and in `order`, with `id` 0, 1, 2, ...

    Raises:
        ValueError: a wrong shape, a setting out of range, an unknown detector or order, or a
            selection that cannot be read.
    """
    image = check(image)
    frames, height, width = image.shape[:3]
    _check_settings(confidence, min_size, max_size, count, order)
    numbers = parse_selection(selection)
    masks = None if mask is None else _masks(mask, frames)
    wanted = None if boxes is None else per_picture(boxes, frames, height, width)
    card, finder = choose(detector)
    empty = Faces((), frames, height, width)
    if not frames or min(height, width) < face_search.SMALLEST_PICTURE:
        return empty

    host = host or Host()
    search = Search(host.load(card.name), card, finder, host)
    if wanted is None:
        least = min_size or max(AUTO_PIXELS, AUTO_SHARE * max(height, width))
        found = search.everywhere(image, least, max_size, confidence)
    else:
        found = search.inside(image, wanted)

    kept: list[Face] = []
    for frame, candidates in enumerate(found):
        faces = [
            Face(0, frame, box, score, points)
            for box, score, points in zip(
                candidates.boxes, candidates.scores.tolist(), candidates.points, strict=True
            )
        ]
        faces = [
            face
            for face in faces
            if (wanted is not None or face.score >= confidence)
            and side(face) >= min_size
            and (not max_size or side(face) <= max_size)
            and (masks is None or _inside(face, masks[frame % len(masks)], height, width))
        ]
        faces = selected(in_order(faces, order, height, width), numbers)
        kept += faces[:count] if count else faces
    return empty.with_faces(replace(face, id=number) for number, face in enumerate(kept))


def _check_settings(confidence, min_size, max_size, count, order) -> None:
    if not 0 <= confidence <= 1:
        raise ValueError(f"confidence is {confidence}; choose 0 to 1")
    for name, value in (("min_size", min_size), ("max_size", max_size), ("count", count)):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value}; choose 0 or more")
    if max_size and min_size > max_size:
        raise ValueError(f"min_size {min_size} is above max_size {max_size}; no face can be both")
    if order not in ORDERS:
        raise ValueError(f"unknown order {order!r}; choose one of: {', '.join(ORDERS)}")


def _masks(mask: Tensor, frames: int) -> Tensor:
    masks = check_mask(mask)
    if masks.shape[0] not in (1, frames):
        raise ValueError(
            f"there are {masks.shape[0]} masks for {frames} pictures; give one, or one for each"
        )
    return masks


def _inside(face: Face, mask: Tensor, height: int, width: int) -> bool:
    """Whether the centre of a face lies inside the picture and where the mask is white."""
    x0, y0, x1, y1 = face.box.tolist()
    # Nearest pixel of the mask, which may have another size than the picture.
    x = ((x0 + x1) / 2 + 0.5) / width * mask.shape[1]
    y = ((y0 + y1) / 2 + 0.5) / height * mask.shape[0]
    column = min(max(int(x), 0), mask.shape[1] - 1)
    row = min(max(int(y), 0), mask.shape[0] - 1)
    return float(mask[row, column]) > 0.5
