"""Fill: scratches and holes of a picture, classically, behind a mask.

Tones are spread into the hole from its rim, coarse to fine, and the grain of the surroundings is
laid over them, so that a thin scratch vanishes. It knows nothing of what was there: a hole that
took an eye needs an inpainting model, which takes the same mask.
"""

from __future__ import annotations

import torch
from torch import Tensor

from . import geometry, grain, memory, placing
from .faces import Faces
from .holes import on_face, widened
from .seams import fill_in

#: Pixels around a hole that are looked at to fill it, in shares of the picture's longer side.
_MARGIN = 0.02

#: Rounds of smoothing at each octave.
_ROUNDS = 12


def fill(picture: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
    """A picture whose holes have been filled.

    Args:
        picture: (H, W, C) in [0, 1], any float dtype, C 1, 3 or 4; alpha is left alone.
        mask: (H, W), above 0.5 in the holes.
        seed: of the grain in the holes.

    Returns:
        (H, W, C), a copy; bit for bit the picture outside the holes.

    Raises:
        ValueError: the mask is of another size.
    """
    if mask.shape != picture.shape[:2]:
        raise ValueError(
            f"the mask is {tuple(mask.shape)}, the picture {tuple(picture.shape[:2])}; "
            "resize the mask first"
        )
    result = picture.clone()
    holes = mask.to(picture.device) > 0.5
    if not bool(holes.any()) or bool(holes.all()):
        return result
    rows, columns = _around(holes)
    colours = picture.shape[-1] if picture.shape[-1] != 4 else 3
    part, hole = picture[rows, columns, :colours].float(), holes[rows, columns]
    values = fill_in(part.permute(2, 0, 1)[None], (~hole)[None, None].float(), _ROUNDS)
    filled = values[0].permute(1, 2, 0)
    found = grain.spectrum(part, ~hole)
    roots = None if found is None else grain.lacking(found, found, torch.zeros_like(found), 1.0)
    if roots is not None:
        grain.add(values[0], grain.tile(roots, seed), torch.ones_like(values[0, 0]))
    filled = filled.clamp(0, 1).to(picture.dtype)
    result[rows, columns, :colours][hole] = filled[hole]
    return result


def missing(faces: Faces) -> Tensor:
    """The holes that DegradationEstimate found in faces, in the pictures' own pixels.

    Args:
        faces: aligned faces; those without findings have no holes.

    Returns:
        (frames, H, W) float32 of 0 and 1, a MASK that any inpainting node understands.
    """
    cpu = torch.device("cpu")
    mask = memory.zeros(faces.frames, faces.height, faces.width, device=cpu)
    for face in faces:
        if face.degradation is None or face.crop is None:
            continue
        found = face.degradation.finding("missing")
        holes = on_face(face.degradation.missing)[None, None]
        if not found.present or not bool(holes.any()):
            continue
        region = geometry.footprint(face.crop.matrix, face.crop.size, faces.height, faces.width)
        if region.empty:
            continue
        laid = placing.lay(widened(holes), face.crop.matrix, face.crop.size, region, smooth=True)[0]
        laid = (laid > 0.5).float()
        rows, columns = region.slices()
        mask[face.frame, rows, columns] = torch.maximum(mask[face.frame, rows, columns], laid)
    return mask


def _around(holes: Tensor) -> tuple[slice, slice]:
    """The part of a picture that holds all holes and what is around them."""
    margin = max(int(_MARGIN * max(holes.shape)), 2 * 16)
    slices = []
    for axis, side in ((1, holes.shape[0]), (0, holes.shape[1])):
        at = holes.any(axis).nonzero()
        slices.append(slice(max(int(at[0]) - margin, 0), min(int(at[-1]) + 1 + margin, side)))
    return slices[0], slices[1]
