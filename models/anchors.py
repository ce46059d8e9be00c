"""Anchors of single-shot face detectors: where they lie, and how offsets to them become faces.

Convention: pixels, (x, y), boxes (x0, y0, x1, y1). The networks were trained on labels in pixel
indices, so the centre of the top-left pixel is (0, 0) and nothing is shifted by half a pixel.

Source: SSD (Liu et al., https://arxiv.org/abs/1512.02325), section 2.2; the variances 0.1 and 0.2
are those of its Caffe implementation, kept by RetinaFace and YuNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

#: Factors by which offsets of the centre and logarithms of the size are divided in training.
CENTRE_VARIANCE, SIZE_VARIANCE = 0.1, 0.2


class Candidates(NamedTuple):
    """Raw detections before any threshold, one per anchor, in pixels of the network's input.

    boxes: (B, N, 4). scores: (B, N) in [0, 1]. points: (B, N, 5, 2).
    """

    boxes: Tensor
    scores: Tensor
    points: Tensor


def anchors(
    grids: Sequence[tuple[int, int]],
    strides: Sequence[int],
    sizes: Sequence[Sequence[int]],
    device: torch.device | str = "cpu",
) -> Tensor:
    """(N, 3): centre x, centre y and side of every square anchor, in pixels.

    Args:
        grids: rows and columns of each feature map.
        strides: pixels from one cell of a map to the next.
        sizes: anchor sides of each map, in pixels.
        device: where to put the result.

    Returns:
        Anchors in the order of the networks' outputs: map by map, row by row, column by column,
        size by size. Anchor (i, j) sits at ((j + 1/2) stride, (i + 1/2) stride).
    """
    levels = []
    for (rows, columns), stride, sides in zip(grids, strides, sizes, strict=True):
        y = (torch.arange(rows, device=device, dtype=torch.float32) + 0.5) * stride
        x = (torch.arange(columns, device=device, dtype=torch.float32) + 0.5) * stride
        side = torch.tensor(sides, device=device, dtype=torch.float32)
        y, x, side = torch.meshgrid(y, x, side, indexing="ij")
        levels.append(torch.stack((x, y, side), dim=-1).view(-1, 3))
    return torch.cat(levels)


def decode_offsets(anchors: Tensor, boxes: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes and points in pixels from a network's offsets to its anchors.

    Args:
        anchors: (N, 3), see `anchors`.
        boxes: (B, N, 4) offsets of the centre, then logarithms of width and height.
        points: (B, N, 10) offsets of five points as x, y, x, y, ...

    Returns:
        Boxes (B, N, 4) and points (B, N, 5, 2), float32.
    """
    centre, side = anchors[:, :2], anchors[:, 2:]
    middle = centre + boxes[..., :2].float() * CENTRE_VARIANCE * side
    half = torch.exp(boxes[..., 2:].float() * SIZE_VARIANCE) * side / 2
    corners = torch.cat((middle - half, middle + half), dim=-1)
    offsets = points.float().unflatten(-1, (5, 2)) * CENTRE_VARIANCE
    return corners, centre[:, None] + offsets * side[:, None]
