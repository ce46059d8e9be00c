"""Blocks of the VQGAN family: the encoder and decoder CodeFormer and the RestoreFormers share.

Paper: Esser, Rombach, Ommer, "Taming Transformers for High-Resolution Image Synthesis", 2021.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .upsample import UpsampleConv
from .winograd import Conv3x3


def group_norm(channels: int) -> nn.GroupNorm:
    """The family's normalisation: 32 groups, eps 1e-6."""
    return nn.GroupNorm(32, channels, eps=1e-6)


def norm_silu(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """SiLU of the normalised map, without a second buffer of its size."""
    return F.silu(norm(x), inplace=True)


class ResBlock(nn.Module):
    """Two normalised 3x3 convolutions around a shortcut, which is 1x1 where the width changes.

    Args:
        inner, outer: channels in and out.
        shortcut: the published name of the 1x1 convolution.
    """

    def __init__(self, inner: int, outer: int, shortcut: str = "conv_out") -> None:
        super().__init__()
        self.norm1 = group_norm(inner)
        self.conv1 = Conv3x3(inner, outer)
        self.norm2 = group_norm(outer)
        self.conv2 = Conv3x3(outer, outer)
        self.shortcut = shortcut if inner != outer else ""
        if self.shortcut:
            self.add_module(shortcut, nn.Conv2d(inner, outer, 1))

    def forward(self, x: Tensor) -> Tensor:
        # One statement a step: each map is freed before the next is made.
        h = norm_silu(self.norm1, x)
        h = self.conv1(h)
        h = norm_silu(self.norm2, h)
        h = self.conv2(h)
        return h.add_(getattr(self, self.shortcut)(x) if self.shortcut else x)


class Attention(nn.Module):
    """Attention of a map's positions among themselves, with 1x1 convolutions as projections.

    Args:
        channels: width of the map.
        heads: attention heads.
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        return self.attend(x, h, h)

    def attend(self, x: Tensor, asked: Tensor, known: Tensor) -> Tensor:
        """`x` plus what queries from `asked` gather from keys and values of `known`."""
        n, c, height, width = x.shape

        def tokens(projected: Tensor) -> Tensor:  # n, heads, positions, c / heads
            rows = projected.permute(0, 2, 3, 1).reshape(n, -1, self.heads, c // self.heads)
            return rows.transpose(1, 2)

        mixed = F.scaled_dot_product_attention(
            tokens(self.q(asked)), tokens(self.k(known)), tokens(self.v(known))
        )
        mixed = mixed.transpose(1, 2).reshape(n, height, width, c).permute(0, 3, 1, 2)
        return self.proj_out(mixed).add_(x)


class Downsample(nn.Module):
    """Half the size: a 3x3 convolution of stride 2 that looks one pixel right and down."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the size: nearest neighbour and a 3x3 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = UpsampleConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)
