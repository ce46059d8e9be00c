"""Blend: put restored crops back so that only the face changes, and only as far as its mask.

Each face is a patch: what it adds to the picture (`change`) and how much of it counts (`weight`).
Patches that overlap are averaged by weight; everything happens inside their regions, and a pixel
whose weight is 0 is never written.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import colour as colours
from . import detail, geometry
from .batch import check, check_crops, check_same_pictures
from .faces import Face, Faces
from .host import Host

#: Face oval in the FFHQ template, in shares of its side: centre (x, y), half axes to zero weight.
_OVAL = ((0.5, 0.52), (0.47, 0.47))

#: Exponent of the superellipse: 2 is an ellipse, more is fuller at cheeks and temples.
_FULLNESS = 3.0

#: Share of the crop's side over which the weight falls to zero at the crop's border.
_EDGE = 0.04

#: How strongly the nearer of two overlapping faces wins.
_RIVALRY = 4


@dataclass(frozen=True)
class _Patch:
    region: geometry.Region
    change: Tensor  # (3 or 1, h, w), added to the picture at full weight
    weight: Tensor  # (h, w) in [0, 1]


def blend(
    image: Tensor,
    crops: Tensor,
    faces: Faces,
    *,
    feather: float = 0.3,
    colour: str = "match",
    opacity: float = 1.0,
    notes: list[str] | None = None,
    host: Host | None = None,
) -> tuple[Tensor, Tensor]:
    """Put restored crops back into their pictures.

    Args:
        image: (B, H, W, C) in [0, 1], any float dtype, C 1, 3 or 4; alpha is kept as it is.
        crops: (N, S, S, 3) in [0, 1], one for each face in order. Another size than LandmarkAlign
            made is understood as the same view resized.
        faces: the aligned faces, N of them.
        feather: share of the face's radius over which the mask falls to 0, in [0, 1].
        colour: "match" gives the face the tones it had, "none" takes those of the crop.
        opacity: 0 to 1; 0 returns the picture as it is.
        notes: is given one line for each thing a person should know of the result.

    Returns:
        image (B, H, W, C) in the dtype and on the device it came in, and mask (B, H, W) float32.
        Where the mask is 0 the picture is the input, bit for bit.

    Raises:
        ValueError: as many crops as faces are needed; settings out of range; other pictures.

    Convention: pixels, centres at whole numbers; see geometry.
    """
    image = check(image)
    check_same_pictures(image, faces)
    for name, value in (("feather", feather), ("opacity", opacity)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}; choose 0 to 1")
    if colour not in colours.METHODS:
        raise ValueError(f"colour is {colour!r}; choose one of {', '.join(colours.METHODS)}")
    mask = torch.zeros(image.shape[:3], device=image.device)
    if not len(faces) or opacity == 0:
        return image, mask
    crops = check_crops(crops)
    if crops.shape[0] != len(faces):
        raise ValueError(
            f"{crops.shape[0]} crops for {len(faces)} faces; blend needs one crop for each face, "
            "in the order LandmarkAlign made them"
        )
    matrices = faces.matrices()
    if notes is not None:
        notes.extend(_resized(crops, faces))
    result = image.clone()
    done = 0
    for frame, group in _rivals(faces, matrices):
        patches = [
            _patch(image[frame], crops[index], faces[index], matrices[index], feather, colour)
            for index in group
        ]
        _paste(result[frame], mask[frame], image[frame], patches, opacity)
        done += len(group)
        if host:
            host.progress(done, len(faces))
    return result, mask


def _resized(crops: Tensor, faces: Faces) -> list[str]:
    sizes = sorted({face.crop.size for face in faces} - {crops.shape[1]})
    if not sizes:
        return []
    cut = " and ".join(str(size) for size in sizes)
    return [f"the crops came at {crops.shape[1]} px and were cut at {cut} px: scaled back"]


def _rivals(faces: Faces, matrices: Tensor) -> list[tuple[int, list[int]]]:
    """Groups of faces whose footprints overlap, directly or through others: (frame, indices)."""
    groups: list[tuple[int, geometry.Region, list[int]]] = []
    for index, face in enumerate(faces):
        region = geometry.footprint(matrices[index], face.crop.size, faces.height, faces.width)
        if region.empty:
            continue
        members, apart = [index], []
        for group in groups:
            if group[0] == face.frame and group[1].overlaps(region):
                region, members = region.union(group[1]), group[2] + members
            else:
                apart.append(group)
        groups = [*apart, (face.frame, region, members)]
    return [(frame, members) for frame, _, members in groups]


def face_weight(face: Face, matrix: Tensor, region: geometry.Region, feather: float) -> Tensor:
    """(h, w) weight of a face over a region: 1 inside its oval, falling to 0 over the feather.

    The oval is fixed to the face, not to the crop, so a margin around the crop does not widen it;
    a second ramp ends the weight before the crop's border.
    """
    at = geometry.grid(region)
    unit = geometry.template("ffhq").points(1)[None] + 0.5
    to_unit = geometry.similarity(face.points[None], unit)[0]
    offset = (geometry.transform(to_unit, at.flatten(0, 1)) - torch.tensor(_OVAL[0])).abs()
    radius = (offset / torch.tensor(_OVAL[1])).pow(_FULLNESS).sum(-1).pow(1 / _FULLNESS)
    oval = (1 - radius) / max(feather, 1e-3)
    size = face.crop.size
    inside = geometry.transform(matrix, at.flatten(0, 1))
    border = torch.minimum(inside + 0.5, size - 0.5 - inside).amin(-1) / (_EDGE * size)
    ramp = torch.minimum(oval, border).clamp_(0, 1).view(region.height, region.width)
    return ramp * ramp * (3 - 2 * ramp)


def _patch(
    picture: Tensor, crop: Tensor, face: Face, matrix: Tensor, feather: float, colour: str
) -> _Patch:
    height, width, channels = picture.shape
    size = crop.shape[0]
    weight_matrix, matrix = matrix, geometry.resized(matrix, face.crop.size, size)
    if channels == 4:
        picture, channels = picture[..., :3], 3
    region = geometry.footprint(matrix, size, height, width)
    rows, columns = region.slices()
    original = geometry.planes(picture[rows, columns])
    before = geometry.cut(picture, matrix, size)
    after = geometry.planes(crop.to(picture.device))
    if channels == 1:
        after = colours.luma(after)
    elif after.shape[1] != channels:
        raise ValueError(f"crops have {after.shape[1]} channels, the picture has {channels}")
    weight = face_weight(face, weight_matrix, region, feather).to(picture.device)
    after = colours.METHODS[colour](after, before)
    if float(geometry.scale_of(matrix)) < 1:
        stack = torch.cat([before, after, detail.kept(before, after)], 1)
        stack = geometry.put(stack, matrix, region)
        before, after, share = stack.split([channels, channels, 1], 1)
        share = share.clamp(0, 1)
    else:
        stack = geometry.put(torch.cat([before, after], 1), matrix, region)
        before, after = stack.split([channels, channels], 1)
        share = detail.kept(before, after)
    change = (after - before) + (share - 1) * (original - before)
    return _Patch(region, change[0], weight)


def _paste(
    result: Tensor, mask: Tensor, picture: Tensor, patches: list[_Patch], opacity: float
) -> None:
    """Write overlapping patches into `result` (H, W, C) and `mask` (H, W)."""
    region = patches[0].region
    if len(patches) == 1:
        change, weight = patches[0].change, patches[0].weight
    else:
        for patch in patches[1:]:
            region = region.union(patch.region)
        change, weight = _mix(region, patches)
    rows, columns = region.slices()
    weight = weight * opacity
    channels = change.shape[0]
    source = picture[rows, columns, :channels]
    blended = source.float() + (weight * change).permute(1, 2, 0)
    touched = (weight > 0)[..., None]
    part = result[rows, columns, :channels]
    part.copy_(torch.where(touched, blended.clamp_(0, 1).to(source.dtype), source))
    mask[rows, columns] = weight


def _mix(region: geometry.Region, patches: list[_Patch]) -> tuple[Tensor, Tensor]:
    """One change and weight for patches that overlap: each pixel follows the face it belongs to."""
    first = patches[0].change
    total = first.new_zeros(region.height, region.width)
    strongest = torch.zeros_like(total)
    change = first.new_zeros(first.shape[0], region.height, region.width)
    for patch in patches:
        top, left = patch.region.top - region.top, patch.region.left - region.left
        rows = slice(top, top + patch.region.height)
        columns = slice(left, left + patch.region.width)
        say = patch.weight.pow(_RIVALRY)
        total[rows, columns] += say
        change[:, rows, columns] += say * patch.change
        part = strongest[rows, columns]
        torch.maximum(part, patch.weight, out=part)
    return change / total.clamp(min=1e-12), strongest
