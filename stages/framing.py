"""Framing: what judges a face knows it in its template's frame; crops may show more around it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from . import geometry
from .faces import Faces

if TYPE_CHECKING:
    from .degradation_estimate import Degradation

#: Share of a crop's side above which it counts as framed by its template.
_WHOLE = 0.95


def frame(faces: Faces | None, size: int) -> slice:
    """The rows, and the columns, in which crops of side `size` show what the FFHQ template holds.

    Args:
        faces: the aligned faces of these crops; None where nothing is known of them.

    Returns:
        All of them but for crops with a margin, which has this part in the middle.
    """
    known = [face for face in faces or () if face.crop is not None]
    if not known:
        return slice(0, size)
    points = geometry.template("ffhq").points(size)
    ideal = geometry.similarity(torch.stack([face.points for face in known]), points)
    shown = torch.stack([face.crop.matrix * (size / face.crop.size) for face in known])
    share = float((geometry.scale_of(shown) / geometry.scale_of(ideal)).median())
    if share > _WHOLE:
        return slice(0, size)
    edge = round(size * (1 - share) / 2)
    return slice(edge, size - edge)


def within(found: Degradation, rows: slice, size: int) -> Degradation:
    """What was found in the `rows` and columns of a crop of side `size`, with maps of all of it."""

    def whole(part: Tensor) -> Tensor:
        side = part.shape[-1]
        start, stop = (round(at * side / size) for at in (rows.start, rows.stop))
        kept = F.interpolate(part[None, None], (stop - start, stop - start), mode="area")
        return F.pad(kept[0, 0], (start, side - stop, start, side - stop))

    return replace(found, where=whole(found.where), missing=whole(found.missing))
