"""The part of kintsugi-degradation that sees the whole face: a small U-Net that draws.

All work is done on cells of 4 x 4 px and larger ones. What is missing is drawn by a rule in each
cell, since thin scratches are finer than a few channels can draw but stand out by their colour: the
network says how much red, green, blue and the square of a pixel speak for it, as a local linear
model does in a guided filter (He, Sun and Tang 2013), beside a logit for each place in the cell.
The rule that was learned at 256 px therefore draws on the pixels of a larger picture as well.
"""

from __future__ import annotations

import functools
import math

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

#: Logit at 256 px below which everything must lie for a larger picture not to be drawn on anew.
DOUBT = -1.0


class Block(nn.Module):
    """One 3 x 3 convolution around a shortcut; begins as nothing but that."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, h, w, width) to the same."""
        found = F.silu(self.conv(self.norm(x.permute(0, 3, 1, 2))))
        return found.permute(0, 2, 3, 1).add_(x)


def _blocks(width: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(Block(width) for _ in range(count)))


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
        self.near = _blocks(middle, 1)
        self.lower = nn.Conv2d(middle, coarse, 2, 2)
        self.deep = _blocks(coarse, 2)
        self.lowest = nn.Conv2d(coarse, coarse, 2, 2)
        self.whole = _blocks(coarse, 3)
        # Where on the aligned face a place lies: what is white there may be teeth.
        self.place = nn.Parameter(torch.zeros(1, coarse, COARSEST, COARSEST))
        self.widen = nn.Conv2d(coarse, coarse, 1)
        self.deep_again = _blocks(coarse, 2)
        self.join = nn.Conv2d(coarse, middle, 1)
        self.near_again = _blocks(middle, 2)
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

    def forward(self, view: Tensor, image: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Look.

        Args:
            view: (N, 3, 256, 256) RGB in [-1, 1].
            image: (N, 3, S, S) in [0, 1], the same pictures in more pixels: S a multiple of 256.

        Returns:
            Features (N, size), and as logits missing (N, 1, 256, 256), or (N, 1, S, S) with an
            image, and where (N, 1, 32, 32).
        """
        # Channels lie last throughout, as the convolutions want them.
        fine = _linear(_cells(view), self.stem.weight, self.stem.bias)  # (N, 64, 64, fine)
        near = _conv(self.down, fine).add_(_mix(self.loudness, _loud(fine)))
        near = self.near(F.silu(near))  # (N, 32, 32, middle)
        deep = self.deep(F.silu(_conv(self.lower, near)))  # (N, 16, 16, coarse)
        whole = F.silu(_conv(self.lowest, deep)) + self.place.permute(0, 2, 3, 1)
        whole = self.whole(whole)  # (N, 8, 8, coarse)
        flat = near.flatten(1, 2).float()  # a variance asks for it where training is in half
        mean = flat.mean(1)
        features = [mean, flat.square().mean(1) - mean.square(), _highest(near)]
        features += [whole.flatten(1, 2).mean(1), _highest(deep)]
        deep = self.deep_again(F.silu(_above(_mix(self.widen, whole), deep)))
        near = self.near_again(F.silu(_above(_mix(self.join, deep), near)))
        fine = _above(_mix(self.refine, near), fine).relu_()
        fine = _conv(self.around, fine).relu_()
        fine = _conv(self.along, fine).add_(fine).relu_()
        fine = _linear(fine, self.think.weight.flatten(1), self.think.bias).relu_()
        missing = self._draw(fine, view)
        features.append(_ranks(missing.detach()))
        where = _mix(self.where, near).permute(0, 3, 1, 2)
        if image is not None:
            missing = self._draw_finer(fine, missing, image)
        return torch.cat(features, 1), missing[:, None], where

    def _draw(self, fine: Tensor, pixels: Tensor) -> Tensor:
        """Logits of what is missing (N, S, S) on pixels (N, 3, S, S) in [-1, 1], by what `fine`
        says of each cell; S is 256 or a multiple of it.

        What it says is drawn as wide as a cell, so that the rule goes along whole rows of pixels.
        """
        wide = pixels.shape[-1] // fine.shape[1]
        spread = _spread(wide, fine.device)
        weight, bias = self.missing.weight.flatten(1), self.missing.bias
        drawn = _linear(fine, weight[spread], bias[spread])
        rows = _together(drawn.unflatten(3, (-1, wide)).transpose(2, 3)).flatten(3)
        places, *rule = rows[:, :, :, None].split((SHUFFLE, 1, 1, 1, 1), 2)
        shape = (fine.shape[1], SHUFFLE, wide // SHUFFLE)  # of the rows of pixels
        red, green, blue = pixels.unflatten(2, shape).unbind(1)  # (N, 64, 4, rows, S)
        power = (red * red).addcmul_(green, green).addcmul_(blue, blue)
        missing = torch.addcmul(places, rule[0], red)
        for weight, values in zip(rule[1:], (green, blue, power), strict=True):
            missing.addcmul_(weight, values)
        return missing.flatten(1, 3)

    def _draw_finer(self, fine: Tensor, missing: Tensor, image: Tensor) -> Tensor:
        """`missing` (N, 256, 256) drawn on the pixels of `image` (N, 3, S, S) in [0, 1]; merely
        enlarged where nothing may be missing."""
        times = image.shape[-1] // missing.shape[-1]
        finer = missing.repeat_interleave(times, 1).repeat_interleave(times, 2)
        some = (missing.flatten(1).amax(1) > DOUBT).nonzero()[:, 0]
        if len(some):
            finer[some] = self._draw(fine[some], image[some] * 2 - 1)
        return finer


@functools.cache
@torch.inference_mode(False)  # kept for training too
def _spread(wide: int, device: torch.device) -> Tensor:
    """Each place of a cell of `wide` px, row by row, then each coefficient of its rule, as often
    as it takes to fill a row of the cell."""
    places = torch.arange(SHUFFLE**2, device=device).repeat_interleave(wide // SHUFFLE)
    rule = torch.arange(4, device=device).repeat_interleave(wide) + SHUFFLE**2
    return torch.cat([places, rule])


def _conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """(N, h, w, C) to (N, h', w', C')."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _mix(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1 x 1 convolution as a product of matrices: half the time for one small picture."""
    return F.linear(x, conv.weight.flatten(1), conv.bias)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """F.linear of many x, with the few weights turned beforehand: a quarter faster."""
    found = torch.addmm(bias, x.flatten(0, -2), weight.T.contiguous())
    return found.view(*x.shape[:-1], -1)


def _together(runs: Tensor) -> Tensor:
    """A contiguous copy of permuted runs (..., 4): each is moved as one number, not as four, which
    takes a quarter of the time on the CPU."""
    if runs.device.type != "cpu" or runs.dtype != torch.float32 or runs.requires_grad:
        return runs.contiguous()
    return runs.view(torch.complex128).contiguous().view(torch.float32)


def _cells(view: Tensor) -> Tensor:
    """(N, 3, S, S) to (N, S/4, S/4, 48): the pixels of each cell, red first."""
    rows = view.unflatten(3, (-1, SHUFFLE)).unflatten(2, (-1, SHUFFLE))
    return _together(rows.permute(0, 2, 4, 1, 3, 5)).flatten(3)


def _loud(fine: Tensor) -> Tensor:
    """Logarithm of the deviation in squares of 2 x 2 cells: (N, h, w, C) to (N, h/2, w/2, C)."""
    upper, lower = fine.unflatten(1, (-1, 2)).unbind(2)
    left, right = upper.square().addcmul_(lower, lower).unflatten(2, (-1, 2)).unbind(3)
    loud = (left + right).add_(4e-4).log_()  # of four times the mean power
    return loud.mul_(0.5).add_(0.5 - math.log(2))


def _highest(x: Tensor) -> Tensor:
    """(N, h, w, C) to (N, C); whole rows first, which are compared at once."""
    return x.flatten(2).amax(1).unflatten(1, (-1, x.shape[3])).amax(1)


def _above(coarse: Tensor, fine: Tensor) -> Tensor:
    """`coarse` (N, h, w, C), enlarged to the nearest, added to `fine` (N, 2h, 2w, C)."""
    count, height = coarse.shape[:2]
    rows = torch.cat([coarse, coarse], 3).view(count, height, 1, -1)  # each pixel twice
    return (fine.reshape(count, height, 2, -1) + rows).view(fine.shape)


def _ranks(missing: Tensor) -> Tensor:
    """How sure the RANKS cells are that something is missing (N, S, S), and how much of it is."""
    rows = missing.unflatten(1, (-1, SHUFFLE)).amax(2)
    most = F.max_pool1d(rows, SHUFFLE).flatten(1)
    if most.device.type == "cpu":
        most = torch.from_numpy(np.sort(most.numpy(), 1))
    else:
        most = most.sort(1).values
    share = (most.sigmoid().mean(1) + 1e-4).log()
    ranks = most[:, [-1 - rank for rank in RANKS]]
    return torch.cat([ranks.clamp(-12, 12), share[:, None]], 1)
