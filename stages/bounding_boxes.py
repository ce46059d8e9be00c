"""ComfyUI's BOUNDING_BOX as it comes: one box, a list of boxes, or a list for each picture.

Convention: x, y of the first pixel inside, width and height in pixels; as x0, y0, x1, y1 between
pixel centres, half a pixel less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Beyond any picture; larger numbers are a mistake and would be slow to look at.
LARGEST = 1_000_000


def per_picture(
    boxes, frames: int, height: int, width: int
) -> list[list[tuple[float, float, float, float]]]:
    """The boxes of each picture.

    Args:
        boxes: a mapping with x, y, width and height, for every picture; a list of such, for every
            picture; or a list of lists, one for each picture.
        frames: number of pictures. height, width: of each, in pixels.

    Returns:
        A list for each picture of boxes (x0, y0, x1, y1); boxes without area and
        boxes outside the picture are left out.

    Raises:
        ValueError: another shape, or another number of lists than pictures.
    """
    if isinstance(boxes, Mapping):
        boxes = [boxes]
    if not isinstance(boxes, list | tuple):
        raise ValueError(
            f"boxes are a {type(boxes).__name__}; expected boxes with x, y, width and height"
        )
    if all(isinstance(box, Mapping) for box in boxes):
        boxes = [boxes]
    if not all(isinstance(each, list | tuple) for each in boxes):
        raise ValueError("boxes mix single boxes and lists of boxes; give one list per picture")
    if len(boxes) == 1:
        boxes = list(boxes) * frames
    if len(boxes) != frames:
        raise ValueError(
            f"boxes are given for {len(boxes)} pictures, but the batch has {frames}; "
            "give one list for each picture, or one for all"
        )
    return [[box for box in map(_corners, each) if _touches(box, height, width)] for each in boxes]


def _corners(box) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no box with x, y, width and height: {box!r}") from error
    if not all(math.isfinite(v) and abs(v) < LARGEST for v in (x, y, width, height)):
        raise ValueError(f"a box reaches beyond every picture: {box!r}")
    return x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5


def _touches(box: tuple[float, float, float, float], height: int, width: int) -> bool:
    """Whether a box has an area and some of it lies in the picture."""
    x0, y0, x1, y1 = box
    left, right = max(x0, -0.5), min(x1, width - 0.5)
    top, bottom = max(y0, -0.5), min(y1, height - 0.5)
    return left < right and top < bottom
