"""Nearest-neighbour enlargement and a 3x3 convolution, as one transposed convolution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UpsampleConv(nn.Module):
    """Twice the size: nearest neighbour, then a 3x3 convolution of padding 1.

    Each output pixel sees only 2x2 distinct input pixels, so both steps are one transposed
    convolution of stride 2 with a 4x4 kernel: the same sums with 16 products instead of 36.

    Args:
        inner, outer: channels in and out.
        bias: whether the convolution has one.
    """

    def __init__(self, inner: int, outer: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outer, inner, 3, 3))
        self.bias = nn.Parameter(torch.empty(outer)) if bias else None

    def fold(self) -> None:
        """Replace the loaded 3x3 kernel by the 4x4 one."""
        kernel = self.weight.transpose(0, 1).flip(2, 3)
        spread = sum(F.pad(kernel, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1))
        self.weight = nn.Parameter(spread)

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.shape[-1] == 4:
            return F.conv_transpose2d(x, self.weight, self.bias, stride=2, padding=1)
        return F.conv2d(F.interpolate(x, scale_factor=2.0), self.weight, self.bias, padding=1)
