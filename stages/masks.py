"""Which part of a crop is the face: a ramp from 0 at its rim to 1 inside, in the crop's own grid.

The shapes are fixed to the face, not to the crop, and are measured in shares of it, so a face of 60
pixels and one of 600 fade alike. Every shape also fades towards the border of the crop, where there
is nothing more to show; where the crop reaches beyond the picture it does not fade.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models import zoo
from . import geometry, parsing
from .detail import blur
from .faces import Face
from .host import Host

#: Ways to bound a face; "all" is where the others agree.
SHAPES = ("oval", "hull", "parsed", "all")

#: Classes that go by a plain name; the others by their own.
_PLAIN = {
    "brows": ("left brow", "right brow"),
    "eyes": ("left eye", "right eye"),
    "lips": ("upper lip", "lower lip", "mouth"),
    "ears": ("left ear", "right ear", "earring"),
}

#: What a parsed mask holds if nothing else is asked for; what lies over it is left alone.
PARTS = ("skin", "brows", "eyes", "nose", "lips", "ears", "glasses")

#: Face oval in the FFHQ template, in shares of its side: centre (x, y), half axes to zero weight.
_OVAL = ((0.5, 0.52), (0.47, 0.47))

#: Exponent of the superellipse: 2 is an ellipse, more is fuller at cheeks and temples.
_FULLNESS = 3

#: Share of the crop's side over which a mask falls to zero at the crop's border.
_EDGE = 0.04

#: How far landmarks above the eyes rise to hold the forehead, as a multiple of how far above they
#: are, and at most, in distances from the eyes to the mouth. Brows lie 0.4 above, the hair 1.0.
_FOREHEAD, _RISE = 1.6, 0.7

#: Deviation of a parsed mask's blur at full feather, in shares of the crop's side.
_SOFT = 0.06

#: Largest side of a ramp, which is straight between its samples, and of one that a parser drew.
_SIDE, _PARSED = 128, 256


def classes(parts: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Names of the parser's classes for plain names such as "lips" or "hair".

    Raises:
        ValueError: there is no such part.
    """
    known = set(parsing.CLASSES) | set(_PLAIN)
    unknown = [part for part in parts if part not in known]
    if unknown or not parts:
        named = ", ".join(unknown) or "nothing"
        choices = [*PARTS, "hair", "hat", "neck", "cloth"]
        raise ValueError(f"parts names {named}; choose from {', '.join(choices)}")
    return tuple(name for part in parts for name in _PLAIN.get(part, (part,)))


def ramp(
    face: Face,
    matrix: Tensor,
    size: int,
    feather: float,
    shape: str = "oval",
    seen: Tensor | None = None,
) -> Tensor:
    """How far inside the face each point of a crop lies.

    Args:
        face: with landmarks for "hull"; the oval stands in where there are none.
        matrix: (2, 3), picture to a crop of side `size`.
        feather: share of the face's radius over which the mask rises, in [0, 1].
        shape: of SHAPES.
        seen: (1, 1, s, s), the parts from `parsed`; the oval stands in without.

    Returns:
        (1, 1, g, g) in [0, 1], cells that cover the crop evenly, g at most 128, 256 with `seen`.
    """
    side = min(size, _SIDE if seen is None else _PARSED)
    centres = (torch.arange(side) + 0.5) * (size / side) - 0.5
    border = torch.minimum(centres + 0.5, size - 0.5 - centres) / (_EDGE * size)
    result = torch.minimum(border[:, None], border[None]).clamp(0, 1)
    wanted = [shape] if shape != "all" else ["oval", "hull", "parsed"]
    if "hull" in wanted and face.landmarks is None:
        wanted = ["oval", *wanted]
    if "parsed" in wanted and seen is None:
        wanted = ["oval", *wanted]
    if "oval" in wanted:
        result = torch.minimum(result, _oval(face, matrix, centres, feather))
    if "hull" in wanted and face.landmarks is not None:
        result = torch.minimum(result, _hull(face, matrix, centres, feather))
    if "parsed" in wanted and seen is not None:
        result = torch.minimum(result, _softened(seen, side, feather))
    return result.clamp_(0, 1)[None, None]


def _oval(face: Face, matrix: Tensor, centres: Tensor, feather: float) -> Tensor:
    """Ramp inside the oval, at the places `centres` (g,) along either side."""
    unit = geometry.template("ffhq").points(1)[None] + 0.5
    to_unit = geometry.similarity(face.points[None], unit)[0]
    from_crop = geometry.compose(to_unit, geometry.invert(matrix))
    middle, radii = torch.tensor(_OVAL)
    across, down, shift = (from_crop / radii[:, None]).unbind(1)
    offset = geometry.lattice(centres, centres, across, down, shift - middle / radii)[0]
    radius = offset.permute(2, 0, 1).abs_().pow_(_FULLNESS).sum(0).pow_(1 / _FULLNESS)
    return (1 - radius) / max(feather, 1e-3)


def _hull(face: Face, matrix: Tensor, centres: Tensor, feather: float) -> Tensor:
    """Ramp inside the convex hull of the landmarks and a forehead above them, likewise."""
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    at = torch.stack([x, y], -1)
    eyes, mouth = face.points[:2].mean(0), face.points[3:].mean(0)
    up = eyes - mouth
    height = (face.landmarks - eyes) @ up / up.square().sum()
    raised = face.landmarks + up * (height * _FOREHEAD).clamp(0, _RISE)[:, None]
    corners = convex_hull(geometry.transform(matrix, torch.cat([face.landmarks, raised])))
    edges = corners.roll(-1, 0) - corners
    normals = torch.stack([edges[:, 1], -edges[:, 0]], -1)
    normals = normals / normals.norm(dim=1, keepdim=True).clamp(min=1e-6)
    outside = torch.full(at.shape[:2], -torch.inf)
    for corner, normal in zip(corners, normals, strict=True):
        torch.maximum(outside, (at - corner) @ normal, out=outside)
    after = corners.roll(-1, 0)
    area = float((corners[:, 0] * after[:, 1] - after[:, 0] * corners[:, 1]).sum()) / 2
    radius = (abs(area) / math.pi) ** 0.5
    return -outside / max(feather * radius, 1e-3)


def convex_hull(points: Tensor) -> Tensor:
    """(K, 2) corners of the convex hull of (N, 2) points, clockwise as seen in a picture.

    Source: Andrew, "Another efficient algorithm for convex hulls in two dimensions", 1979.
    """
    ordered = sorted({(float(x), float(y)) for x, y in points})

    def chain(sequence):
        kept = []
        for x, y in sequence:
            while len(kept) > 1:
                (ax, ay), (bx, by) = kept[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                kept.pop()
            kept.append((x, y))
        return kept[:-1]

    return torch.tensor(chain(ordered) + chain(ordered[::-1]))


def parsed(
    before: Tensor, after: Tensor, parts: tuple[str, ...], parser: str, host: Host
) -> tuple[Tensor, Tensor]:
    """Where a parser sees the named parts, and where it sees skin, in both crops of a face.

    In the original and in the restored one alike, so that neither an invented hat nor a hand that
    was restored away lets the mask grow.

    Args:
        before, after: (1, C, s, s) in [0, 1].
        parts: names, see `classes`.
        parser: a parser of the zoo.

    Returns:
        Two masks (1, 1, s, s) of 0 and 1.
    """
    both = torch.cat([before, after]).permute(0, 2, 3, 1).clamp(0, 1)
    seen = parsing.parse(both, model=parser, host=host)
    masks = (seen.mask(*classes(parts)), seen.mask("skin", "nose"))
    face, skin = (mask.amin(0)[None, None].to(before.device) for mask in masks)
    return face, skin


def choose_parser(parser: str, host: Host, commercial_only: bool = False) -> str | None:
    """The parser that a name stands for; "auto" is the first on disk, None if there is none. With
    `commercial_only` one whose licence does not clearly allow such use is refused."""
    if parser != "auto":
        card = parsing.choose(parser)
        zoo.check_allowed(card, commercial_only)
        return card.name
    found = zoo.available("parser", host.library, commercial_only=commercial_only)
    return found[0].name if found else None


def _softened(seen: Tensor, side: int, feather: float) -> Tensor:
    """A ramp that rises inwards from the rim of a mask of 0 and 1."""
    mask = seen.float().cpu()
    if mask.shape[-1] != side:
        mask = F.interpolate(mask, size=(side, side), mode="area")
    sigma = max(_SOFT * feather * side, 0.5)
    reach = 2 * int(3 * sigma) + 1
    return (blur(mask, reach, sigma)[0, 0] * 2 - 1).clamp(0, 1)


def in_picture(mask: Tensor, frames: int, height: int, width: int, name: str = "mask") -> Tensor:
    """A MASK of the user as (frames, height, width) float32 in [0, 1].

    Args:
        mask: (H, W) or (B, H, W), B 1 or `frames`; another size of the same aspect is resized, as
            is one of a single value.

    Raises:
        ValueError: another number of masks or another aspect.
    """
    mask = mask.reshape(-1, *mask.shape[-2:]).float()
    count, rows, columns = mask.shape
    if count not in (1, frames):
        wanted = "one" if frames == 1 else f"one or {frames}"
        raise ValueError(f"{name} has {count} masks for {frames} picture(s); give {wanted}")
    if (rows, columns) != (height, width):
        if mask.numel() and bool((mask == mask[:, :1, :1]).all()):
            # Without a drawn mask hosts send a small one of a single value, of any aspect.
            mask = mask[:, :1, :1].expand(-1, height, width)
        elif abs(rows * width - columns * height) > max(height, width) * 1.5:
            raise ValueError(
                f"{name} is {columns} x {rows}, the picture {width} x {height}; "
                "give one of the picture's size or aspect"
            )
        else:
            mask = F.interpolate(
                mask[:, None], size=(height, width), mode="bilinear", align_corners=False
            )[:, 0]
    if not bool(torch.isfinite(mask).all()):
        raise ValueError(f"{name} has values that are NaN or infinite")
    return mask.clamp(0, 1).expand(frames, -1, -1)
