"""Previews: small pictures of what a stage did, for people to look at."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

#: Longest side of a preview in pixels: sharp on a node at twice its usual size, small to send.
SIDE = 1024

#: Colour of invented detail: the gold that shows a mended bowl's seams, RGB 0..255.
GOLD = (255, 190, 40)

#: How much more than the face's box a close-up shows, in box sides.
_AROUND = 2.0


def preview(picture: Tensor, side: int = SIDE) -> Image.Image:
    """A picture as 8-bit RGB, shrunk to at most `side` pixels on its longer side.

    Args:
        picture: (H, W, C) in [0, 1], any float dtype; C is 1, 3 or 4, alpha is not looked at.
        side: in pixels; a smaller picture keeps its size.
    """
    height, width = picture.shape[:2]
    colours = picture[..., :3] if picture.shape[2] >= 3 else picture[..., :1].expand(-1, -1, 3)
    if max(height, width) > side:
        size = tuple(max(1, round(value * side / max(height, width))) for value in (height, width))
        # The mean over each new pixel: no moiré, and quick for pictures of 8000 px.
        colours = F.interpolate(colours.permute(2, 0, 1)[None].float(), size=size, mode="area")
        colours = colours[0].permute(1, 2, 0)
    levels = torch.nan_to_num(colours.float()).clamp(0, 1).mul(255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.cpu().numpy()))


def gilded(mask: Tensor, side: int = SIDE) -> Image.Image:
    """A mask (H, W) in [0, 1] as a veil of gold to lay over a picture, clear where it is 0."""
    grey = preview(mask[..., None], side).getchannel(0)
    veil = Image.new("RGBA", grey.size, (*GOLD, 0))
    veil.putalpha(grey)
    return veil


def around(box: Tensor, height: int, width: int) -> tuple[int, int, int, int]:
    """The part of a picture that shows a face and what is next to it, nowhere empty.

    Args:
        box: (4,) x0, y0, x1, y1 in pixels of the picture.
        height, width: of the picture.

    Returns:
        left, top, right, bottom: whole pixels, right and bottom exclusive.
    """
    x0, y0, x1, y1 = box.tolist()
    half = max(x1 - x0, y1 - y0, 1.0) / 2 * _AROUND
    spans = []
    for low, high, most in ((x0, x1, width), (y0, y1, height)):
        middle = (low + high + 1) / 2
        first = min(max(int(middle - half), 0), most - 1)
        spans.append((first, min(max(int(middle + half + 1), first + 1), most)))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom
