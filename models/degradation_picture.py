"""The part of kintsugi-degradation that sees the whole face: a small U-Net that draws.

All work is done on cells of 4 x 4 px and larger ones. What is missing is drawn by a rule in each
cell, since thin scratches are finer than a few channels can draw but stand out by their colour: the
network says how much red, green, blue and the square of a pixel speak for it, as a local linear
model does in a guided filter (He, Sun and Tang 2013), beside a logit for each place in the cell.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .restorer import SHUFFLE, spectrum

#: Frequencies of the cosine transform that the stem starts from: those of brightness, and the mean
#: and the lowest of either opponent colour.
START = (*range(16), 16, 17, 18, 20, 21, 24, 32, 33, 34, 36, 37, 40, 19, 28, 35, 44)

#: Places from the top of the cells in which most is missing, for the head.
RANKS = (0, 3, 15, 47, 127, 383)

#: Cells along a side of the coarsest grid at 256 px.
COARSEST = 8


class Block(nn.Module):
    """One 3 x 3 convolution around a shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + F.silu(self.conv(self.norm(x)))


class Picture(nn.Module):
    """The face at 256 px: features for the head, and the two maps.

    Args:
        fine, middle, coarse: channels of the grids of 64, of 32, and of 16 and 8 cells.
    """

    def __init__(self, fine: int = 32, middle: int = 48, coarse: int = 64):
        super().__init__()
        self.stem = nn.Linear(3 * SHUFFLE**2, fine)
        self.loudness = nn.Conv2d(fine, middle, 1)
        self.down = nn.Conv2d(fine, middle, 2, 2)
        self.near = Block(middle)
        self.lower = nn.Conv2d(middle, coarse, 2, 2)
        self.deep = Block(coarse)
        self.lowest = nn.Conv2d(coarse, coarse, 2, 2)
        self.whole = Block(coarse)
        # Where on the aligned face a place lies: what is white there may be teeth.
        self.place = nn.Parameter(torch.zeros(1, coarse, COARSEST, COARSEST))
        self.widen = nn.Conv2d(coarse, coarse, 1)
        self.join = nn.Conv2d(coarse, middle, 1)
        self.where = nn.Conv2d(middle, 1, 1)
        self.refine = nn.Conv2d(middle, fine, 1)
        self.around = nn.Conv2d(fine, fine, 3, padding=1)
        # Wider, for a scratch goes on beyond the cells it is seen in; begins as nothing.
        self.along = nn.Conv2d(fine, fine, 3, padding=2, dilation=2)
        nn.init.zeros_(self.along.weight)
        nn.init.zeros_(self.along.bias)
        self.think = nn.Conv2d(fine, fine, 1)
        self.missing = nn.Conv2d(fine, SHUFFLE**2 + 4, 1)
        self.size = 3 * middle + 2 * coarse + len(RANKS) + 1
        start = spectrum()[0][list(START[:fine])].flatten(1)
        with torch.no_grad():
            self.stem.weight[: len(start)] = start

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 256, 256) RGB in [-1, 1] to features (N, size), missing and where as logits."""
        cells = _cells(view)  # (N, 64, 64, 48)
        fine = self.stem(cells).permute(0, 3, 1, 2)
        loud = (F.avg_pool2d(fine.square(), 2) + 1e-4).log() / 2 + 0.5
        near = self.near(F.silu(self.down(fine) + _mix(self.loudness, loud)))  # (N, middle, 32, 32)
        deep = self.deep(F.silu(self.lower(near)))  # (N, coarse, 16, 16)
        whole = self.whole(F.silu(self.lowest(deep)) + self.place)  # (N, coarse, 8, 8)
        mean = near.mean((2, 3))
        features = [mean, near.square().mean((2, 3)) - mean.square(), near.amax((2, 3))]
        features += [whole.mean((2, 3)), deep.amax((2, 3))]
        deep = deep + F.interpolate(_mix(self.widen, whole), scale_factor=2.0)
        near = F.silu(near + F.interpolate(_mix(self.join, F.silu(deep)), scale_factor=2.0))
        fine = (fine + F.interpolate(_mix(self.refine, near), scale_factor=2.0)).relu_()
        fine = self.around(fine).relu_()
        fine = _mix(self.think, (fine + self.along(fine)).relu_()).relu_()
        drawn = _mix(self.missing, fine).permute(0, 2, 3, 1)
        places = _rule(drawn, cells)  # (N, 64, 64, 16)
        missing = places.unflatten(3, (SHUFFLE, SHUFFLE)).transpose(2, 3).flatten(3)
        features.append(_ranks(places.detach()))
        return torch.cat(features, 1), missing.flatten(1, 2)[:, None], _mix(self.where, near)


def _mix(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1 x 1 convolution as a product of matrices: half the time for one small picture."""
    return F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias).permute(0, 3, 1, 2)


def _cells(view: Tensor) -> Tensor:
    """(N, 3, S, S) to (N, S/4, S/4, 48): the pixels of each cell, red first."""
    count, colours, side, _ = view.shape
    rows = view.view(count, colours, side // SHUFFLE, SHUFFLE, -1, SHUFFLE)
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(3)


def _rule(drawn: Tensor, cells: Tensor) -> Tensor:
    """Logits of what is missing (N, h, w, 16), from what is drawn of each cell (N, h, w, 20)."""
    places, *rule = drawn.split((SHUFFLE**2, 1, 1, 1, 1), 3)
    red, green, blue = cells.split(SHUFFLE**2, 3)
    power = (red * red).addcmul_(green, green).addcmul_(blue, blue)
    places = torch.addcmul(places, rule[0], red)
    for weight, values in zip(rule[1:], (green, blue, power), strict=True):
        places.addcmul_(weight, values)
    return places


def _ranks(places: Tensor) -> Tensor:
    """How sure the RANKS cells are that something is missing, and how much of the picture is."""
    most = places.amax(3).flatten(1)
    if most.device.type == "cpu":
        most = torch.from_numpy(np.sort(most.numpy(), 1))
    else:
        most = most.sort(1).values
    share = (most.sigmoid().mean(1) + 1e-4).log()
    last = most.shape[1] - 1
    ranks = [most[:, last - rank] for rank in RANKS]
    return torch.cat([torch.stack(ranks, 1).clamp(-12, 12), share[:, None]], 1)
