"""SwinIR as PMRF uses it: the posterior mean of a face, computed at an eighth of its size.

Paper: Liang, Cao, Sun et al., "SwinIR: Image Restoration Using Swin Transformer", 2021.
Maps are (N, H, W, C) between the convolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .upsample import UpsampleConv

#: Mean RGB of DIV2K, a constant of the published class.
MEAN = (0.4488, 0.4371, 0.4040)
#: Side of an attention window.
WINDOW = 8
#: Pixels of the unshuffle before the first convolution, undone by three enlargements.
SHUFFLE = 8


def relative_index() -> Tensor:
    """Row of the bias table for every pair of positions of a window (64, 64)."""
    place = torch.arange(WINDOW**2)
    y, x = place // WINDOW, place % WINDOW
    dy, dx = y[:, None] - y, x[:, None] - x
    return (dy + WINDOW - 1) * (2 * WINDOW - 1) + dx + WINDOW - 1


def to_windows(x: Tensor) -> Tensor:
    """(N, H, W, C) to (N * windows, 64, C)."""
    return rearrange(x, "n (h y) (w x) c -> (n h w) (y x) c", y=WINDOW, x=WINDOW)


def from_windows(x: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `to_windows`."""
    rows, columns = height // WINDOW, width // WINDOW
    return rearrange(x, "(n h w) (y x) c -> n (h y) (w x) c", h=rows, w=columns, y=WINDOW)


def shift_mask(height: int, width: int, like: Tensor) -> Tensor:
    """-100 between positions that only the roll made neighbours: (windows, 1, 64, 64)."""

    def label(length: int) -> Tensor:
        place = torch.arange(length, device=like.device)
        return (place >= length - WINDOW).int() + (place >= length - WINDOW // 2).int()

    labels = (3 * label(height)[:, None] + label(width))[None, :, :, None]
    windows = to_windows(labels)
    return (windows != windows.transpose(1, 2)).to(like.dtype).mul_(-100)[:, None]


class WindowAttention(nn.Module):
    """Attention inside windows with a learnt bias per relative position."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(
            torch.empty((2 * WINDOW - 1) ** 2, heads)
        )
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.register_buffer("bias", None, persistent=False)

    def fold(self) -> None:
        """Spread the table once: bias (1, heads, 64, 64)."""
        index = relative_index().to(self.relative_position_bias_table.device)
        self.bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None].contiguous()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(windows, 64, C) to the same; `mask` (windows of one image, 1, 64, 64)."""
        q, k, v = rearrange(self.qkv(x), "n p (qkv h c) -> qkv n h p c", qkv=3, h=self.heads)
        bias = self.bias
        if mask is not None:
            bias = (bias + mask).repeat(len(x) // len(mask), 1, 1, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(rearrange(mixed, "n h p c -> n p (h c)"))


class MLP(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Window attention and MLP, both residual; every second block shifts its windows by half."""

    def __init__(self, width: int, heads: int, hidden: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads)
        self.mlp = MLP(width, hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        h = self.norm1(x)
        if self.shift:
            h = h.roll((-self.shift, -self.shift), (1, 2))
        h = from_windows(self.attn(to_windows(h), mask if self.shift else None), height, width)
        if self.shift:
            h = h.roll((self.shift, self.shift), (1, 2))
        x = x + h
        return x + self.mlp(self.norm2(x))


class Group(nn.Module):
    """Swin blocks and a 3x3 convolution in a residual."""

    def __init__(self, width: int, heads: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(
            SwinBlock(width, heads, hidden, WINDOW // 2 * (i % 2)) for i in range(blocks)
        )
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        h = x
        for block in self.residual_group.blocks:
            h = block(h, mask)
        return x + self.conv(h.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class SwinIR(nn.Module):
    """The network.

    Args:
        width, heads, hidden: channels of the tokens, attention heads, channels of the MLPs.
        groups: number of blocks of each group.
        features: channels of the enlarging convolutions.
    """

    def __init__(
        self, width: int, heads: int, hidden: int, groups: list[int], features: int
    ) -> None:
        super().__init__()
        self.conv_first = nn.Sequential(
            nn.PixelUnshuffle(SHUFFLE), nn.Conv2d(3 * SHUFFLE**2, width, 3, padding=1)
        )
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(Group(width, heads, hidden, blocks) for blocks in groups)
        self.norm = nn.LayerNorm(width)
        self.conv_after_body = nn.Conv2d(width, width, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(width, features, 3, padding=1))
        self.conv_up1 = UpsampleConv(features, features)
        self.conv_up2 = UpsampleConv(features, features)
        self.conv_up3 = UpsampleConv(features, features)
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """(N, 3, H, W), RGB in [0, 1], sides multiples of 64, to the same, not clamped."""
        mean = image.new_tensor(MEAN).view(1, 3, 1, 1)
        first = self.conv_first(image - mean).contiguous(memory_format=torch.channels_last)
        x = self.patch_embed.norm(first.permute(0, 2, 3, 1))
        mask = shift_mask(*x.shape[1:3], x)
        for group in self.layers:
            x = group(x, mask)
        x = self.conv_after_body(self.norm(x).permute(0, 3, 1, 2)).add_(first)
        # The published slopes differ: torch's default here, 0.2 in the enlargements.
        x = F.leaky_relu_(self.conv_before_upsample(x), 0.01)
        for enlarge in (self.conv_up1, self.conv_up2, self.conv_up3, self.conv_hr):
            x = F.leaky_relu_(enlarge(x), 0.2)
        return self.conv_last(x) + mean
