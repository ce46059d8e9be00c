"""Before and after on one sheet: the whole picture twice, and the faces close up."""

from __future__ import annotations

import io
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from .faces import Face, Faces
from .files import save

#: Longest side of each of the two pictures on the sheet, in pixels.
_LONGEST = 1600

#: Side of a face close-up, and the space between things.
_CELL, _GAP = 256, 4

#: Pairs of close-ups at most, and the face height on the sheet below which one is shown.
_PAIRS, _SMALL = 12, 220


def sheet(before: Tensor, after: Tensor, faces: Faces) -> Tensor:
    """Draw the sheet.

    Args:
        before, after: (1, H, W, 3) in [0, 1]. faces: the restored faces of this picture.

    Returns:
        (H', W', 3) in [0, 1]: before on the left and after on the right (wide pictures: before
        above after), and below them, before left of after, the faces that look small there.
    """
    height, width = before.shape[1:3]
    shrink = min(1.0, _LONGEST / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    halves = [_resized(picture[0], size) for picture in (before, after)]
    # Panoramas stand one above the other: side by side they would be two thin lines.
    whole = _joined(halves, dim=0 if width > 2 * height else 1)
    small = [face for face in faces if face.height * shrink < _SMALL][:_PAIRS]
    if not small:
        return whole
    pairs = [
        _joined([_close_up(picture[0], face) for picture in (before, after)], dim=1)
        for face in small
    ]
    across = max(1, (whole.shape[1] + 3 * _GAP) // (2 * _CELL + 4 * _GAP))
    rows = [
        _joined(pairs[start : start + across], dim=1, gap=3 * _GAP)
        for start in range(0, len(pairs), across)
    ]
    wide = max(part.shape[1] for part in (whole, *rows))
    parts = [F.pad(part, (0, 0, 0, wide - part.shape[1]), value=1.0) for part in (whole, *rows)]
    return _joined(parts, dim=0, gap=3 * _GAP)


def write(path: Path, before: Tensor, after: Tensor, faces: Faces) -> None:
    """Draw the sheet into a .jpg or .png file. Raises PictureError if it cannot be written."""
    pixels = sheet(before, after, faces).mul(255).round().byte().numpy()
    file = io.BytesIO()
    if path.suffix == ".png":
        Image.fromarray(pixels).save(file, "PNG")
    else:
        Image.fromarray(pixels).save(file, "JPEG", quality=85, optimize=True, progressive=True)
    save(path, file.getvalue())


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(picture.shape[:2]) == size:
        return picture
    planes = picture.permute(2, 0, 1)[None]
    planes = F.interpolate(planes, size=size, mode="bicubic", antialias=True)
    return planes[0].permute(1, 2, 0).clamp(0, 1)


def _close_up(picture: Tensor, face: Face) -> Tensor:
    """A square around the face, moved inside the picture, at the size of a cell."""
    height, width = picture.shape[:2]
    side = max(1, min(round(1.6 * max(face.width, face.height)), height, width))
    x, y = (float(value) for value in (face.box[:2] + face.box[2:]) / 2)
    left = min(max(0, round(x - side / 2)), width - side)
    top = min(max(0, round(y - side / 2)), height - side)
    return _resized(picture[top : top + side, left : left + side], (_CELL, _CELL))


def _joined(parts: list[Tensor], dim: int, gap: int = _GAP) -> Tensor:
    """Parts one after the other along a dimension, a white line between them."""
    shape = list(parts[0].shape)
    shape[dim] = gap
    line = parts[0].new_ones(shape)
    row = [piece for part in parts for piece in (line, part)][1:]
    return torch.cat(row, dim)
