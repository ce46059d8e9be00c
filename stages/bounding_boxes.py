"""ComfyUI's BOUNDING_BOX as it comes: one box, a list of boxes, or a list for each picture.

Convention: x, y of the first pixel inside, width and height in pixels; as x0, y0, x1, y1 between
pixel centres, half a pixel less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Beyond any picture; larger numbers are a mistake and would be slow to look at.
LARGEST = 1_000_000


def per_picture(boxes, frames: int) -> list[list[tuple[float, float, float, float]]]:
    """The boxes of each picture.

    Args:
        boxes: a mapping with x, y, width and height, for every picture; a list of such, for every
            picture; or a list of lists, one for each picture.
        frames: number of pictures.

    Returns:
        A list for each picture of boxes (x0, y0, x1, y1); boxes without area are left out.

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
        return [[corners for box in boxes if (corners := _corners(box))]] * frames
    if not all(isinstance(each, list | tuple) for each in boxes):
        raise ValueError("boxes mix single boxes and lists of boxes; give one list per picture")
    if len(boxes) == 1:
        boxes = list(boxes) * frames
    if len(boxes) != frames:
        raise ValueError(
            f"boxes are given for {len(boxes)} pictures, but the batch has {frames}; "
            "give one list for each picture, or one for all"
        )
    return [[corners for box in each if (corners := _corners(box))] for each in boxes]


def _corners(box) -> tuple[float, float, float, float] | None:
    try:
        x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no box with x, y, width and height: {box!r}") from error
    if not all(math.isfinite(v) and abs(v) < LARGEST for v in (x, y, width, height)):
        raise ValueError(f"a box reaches beyond every picture: {box!r}")
    if width <= 0 or height <= 0:
        return None
    return x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5
