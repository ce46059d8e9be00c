"""Faces placed by hand, for tests that need no detector."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from kintsugi.stages import geometry
from kintsugi.stages.faces import Face, Faces


def place(
    height: int,
    width: int,
    placements,
    frames: int = 1,
) -> Faces:
    """Faces at (x, y, crop side in picture pixels, degrees) or (..., frame)."""
    faces = []
    template = geometry.template("ffhq").points(512)
    for index, (x, y, side, degrees, *frame) in enumerate(placements):
        turn, ratio = math.radians(degrees), side / 512
        linear = ratio * torch.tensor(
            [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
        )
        centre = torch.tensor([x, y], dtype=torch.float32)
        points = (template.float() - 255.5) @ linear.T + centre
        half = torch.full((2,), side * 0.35)
        faces.append(
            Face(
                id=index,
                frame=frame[0] if frame else 0,
                box=torch.cat([centre - half, centre + half]),
                score=0.9,
                points=points,
            )
        )
    return Faces(tuple(faces), frames, height, width)


def smooth_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """(1, H, W, C) smooth random picture in [0.1, 0.9]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = (1, channels, max(height // 32, 2), max(width // 32, 2))
    low = torch.rand(coarse, generator=generator) * 0.8 + 0.1
    picture = F.interpolate(low, size=(height, width), mode="bicubic", align_corners=False)
    return picture.clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def grainy_picture(height: int, width: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """(1, H, W, C) smooth picture with fine grain."""
    generator = torch.Generator().manual_seed(seed + 1)
    grain = torch.randn(1, height, width, channels, generator=generator) * 0.04
    return (smooth_picture(height, width, channels, seed) + grain).clamp(0, 1)
