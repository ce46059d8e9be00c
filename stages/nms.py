"""Non-maximum suppression: of boxes that mean the same face, the surest stays."""

from __future__ import annotations

import torch
from torch import Tensor

#: Boxes compared with each other at once; bounds the memory, not the result.
BLOCK = 512


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """(n, m) intersection over union of boxes (n, 4) and (m, 4), 0 for empty boxes."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    area_a, area_b = ((box[:, 2:] - box[:, :2]).clamp(min=0).prod(dim=1) for box in (a, b))
    return shared / (area_a[:, None] + area_b - shared).clamp(min=1e-9)


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (n, 4) x0, y0, x1, y1 of one picture.
        scores: (n,) the higher, the surer; of equal ones the first counts as surer.
        threshold: overlap (intersection over union) above which the less sure box goes.

    Returns:
        Indices of the boxes that stay, the surest first.
    """
    order = scores.argsort(descending=True, stable=True)
    kept = order[:0]
    for block in order.split(BLOCK):
        free = ~(overlap(boxes[block], boxes[kept]) > threshold).any(dim=1)
        block = block[free]
        # Who would suppress whom inside the block: only an earlier box a later one.
        rivals = (overlap(boxes[block], boxes[block]) > threshold).triu(diagonal=1)
        stays = torch.ones(len(block), dtype=torch.bool, device=boxes.device)
        while True:
            # Settles within as many rounds as the longest chain of boxes freeing each other.
            now = ~(rivals & stays[:, None]).any(dim=0)
            if torch.equal(now, stays):
                break
            stays = now
        kept = torch.cat([kept, block[stays]])
    return kept
