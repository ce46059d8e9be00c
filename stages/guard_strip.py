"""The guard's strip: before, after, guarded and what was invented, side by side for each face."""

from __future__ import annotations

import torch
from torch import Tensor

from .detail import scale
from .identity_guard import Guarded
from .previews import GOLD

#: Side of a panel, space between two, and faces shown at most.
SIDE, _GAP, MOST = 256, 4, 16


def strips(before: Tensor, after: Tensor, guarded: Guarded) -> Tensor:
    """A strip for each face.

    Args:
        before, after: (N, S, S, C) in [0, 1], as `guard` took them; the sizes may differ.
        guarded: what it made of them.

    Returns:
        (min(N, MOST), 256, 1036, 3): the original, the restored face as it came, as it left, and
        that in grey with gold over the invented detail.
    """
    count = min(len(before), MOST)
    old, came, left = (_panel(crops[:count]) for crops in (before, after, guarded.crops))
    grey = left.mean(-1, keepdim=True).expand_as(left)
    veil = scale(guarded.invented.mask[:count, None].float(), SIDE)[:, 0, ..., None].clamp(0, 1)
    gold = torch.tensor(GOLD) / 255
    gilded = grey + veil * (gold - grey)
    line = torch.ones(count, SIDE, _GAP, 3)
    return torch.cat([old, line, came, line, left, line, gilded], 2)


def _panel(crops: Tensor) -> Tensor:
    crops = crops.float().cpu()
    crops = crops.expand(*crops.shape[:3], 3) if crops.shape[-1] == 1 else crops[..., :3]
    return scale(crops.permute(0, 3, 1, 2), SIDE).permute(0, 2, 3, 1).clamp(0, 1)
