"""HDiT: the hourglass diffusion transformer that is PMRF's velocity field.

Paper: Crowson, Baumann, Birch et al., "Scalable High-Resolution Pixel-Space Image Synthesis with
Hourglass Diffusion Transformers", ICML 2024. Maps are (N, H, W, C); no linear layer has a bias.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from . import neighbourhood
from .neighbourhood import Grid

#: Side of the attention window of all levels but the coarsest, which is global.
WINDOW = 7
EPS = 1e-6

Rotation = tuple[Tensor, Tensor]


def linear(inner: int, outer: int) -> nn.Linear:
    """A linear layer without bias."""
    return nn.Linear(inner, outer, bias=False)


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    """`x` to unit mean square over its last axis, times `scale`."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * scale


class RMSNorm(nn.Module):
    """RMS norm of learnt scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.scale)


class AdaRMSNorm(nn.Module):
    """RMS norm whose scale the condition decides."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.linear = linear(condition, width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return rms_norm(x, self.linear(condition) + 1)


class GatedMLP(nn.Module):
    """Residual MLP gated by GELU; `norm` is called with the input and what else is given."""

    def __init__(self, width: int, hidden: int, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.up_proj = linear(width, 2 * hidden)
        self.down_proj = linear(hidden, width)

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        value, gate = self.up_proj(self.norm(x, *condition)).chunk(2, dim=-1)
        return x + self.down_proj(value * F.gelu(gate))


class Rotary(nn.Module):
    """Axial rotary positions: half of each head's first 32 channels turn with y, half with x."""

    def __init__(self, heads: int, frequencies: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(heads, frequencies))

    def angles(self, positions: Tensor) -> Rotation:
        """Cosines and sines (H, W, 1, heads, 2 * frequencies) of positions (H, W, 2), (y, x)."""
        turns = positions[:, :, None, None, :, None] * self.freqs.float()[:, None, :]
        turns = turns.flatten(-2)
        return turns.cos().to(self.freqs.dtype), turns.sin().to(self.freqs.dtype)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the first channels of `x` (..., heads, width) pairwise; the others stay."""
    cos, sin = rotation
    turning = cos.shape[-1]
    a, b, rest = x.split((turning, turning, x.shape[-1] - 2 * turning), dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin, rest), dim=-1)


class SelfAttention(nn.Module):
    """Residual cosine attention with rotary positions, local or global."""

    def __init__(self, width: int, condition: int, heads: int, frequencies: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = AdaRMSNorm(width, condition)
        self.qkv_proj = linear(width, 3 * width)
        self.scale = nn.Parameter(torch.empty(heads))
        self.pos_emb = Rotary(heads, frequencies)
        self.out_proj = linear(width, width)

    def forward(
        self, x: Tensor, condition: Tensor, rotation: Rotation, grid: Grid | None
    ) -> Tensor:
        n, height, width, channels = x.shape
        qkv = self.qkv_proj(self.norm(x, condition))
        qkv = qkv.view(n, height, width, 3, self.heads, channels // self.heads)
        qk, v = qkv[..., :2, :, :], qkv[..., 2, :, :]
        length = torch.rsqrt(qk.square().sum(-1, keepdim=True) + EPS)
        qk = rotate(qk * (length * self.scale.sqrt()[:, None]), rotation)
        q, k = qk.unbind(-3)
        if grid is None:
            q, k, v = (t.flatten(1, 2).transpose(1, 2) for t in (q, k, v))
            mixed = F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2)
        else:
            mixed = neighbourhood.attend(q, k, v, grid)
        return x + self.out_proj(mixed.reshape(x.shape))


class Layer(nn.Module):
    """Attention, then the gated MLP."""

    def __init__(
        self, width: int, hidden: int, condition: int, heads: int, frequencies: int
    ) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, condition, heads, frequencies)
        self.ff = GatedMLP(width, hidden, AdaRMSNorm(width, condition))


class Level(nn.ModuleList):
    """Layers of one size."""

    def run(
        self, x: Tensor, condition: Tensor, rotations: Iterator[Rotation], grid: Grid | None
    ) -> Tensor:
        """`x` through the layers, each with the next of `rotations`."""
        for layer in self:
            x = layer.self_attn(x, condition, next(rotations), grid)
            x = layer.ff(x, condition)
        return x


def fold_patches(x: Tensor, side: int) -> Tensor:
    """(N, H, W, C) to (N, H / side, W / side, side * side * C), row before column."""
    return rearrange(x, "n (h y) (w x) c -> n h w (y x c)", y=side, x=side)


def unfold_patches(x: Tensor, side: int) -> Tensor:
    """The inverse of `fold_patches`."""
    return rearrange(x, "n h w (y x c) -> n (h y) (w x) c", y=side, x=side)


class Projection(nn.Module):
    """A linear layer under its published name; `fac` weighs a split against its skip."""

    def __init__(self, inner: int, outer: int, weighed: bool = False) -> None:
        super().__init__()
        self.proj = linear(inner, outer)
        if weighed:
            self.fac = nn.Parameter(torch.empty(1))


class Frequencies(nn.Module):
    """Random Fourier features, drawn once before training and kept in the file."""

    def __init__(self, count: int, inner: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(count, inner))

    def forward(self, x: Tensor) -> Tensor:
        turns = 2 * math.pi * x @ self.weight.t()
        return torch.cat((turns.cos(), turns.sin()), dim=-1)


class Mapping(nn.Module):
    """Turns the embedded time into the condition."""

    def __init__(self, width: int, hidden: int, depth: int) -> None:
        super().__init__()
        self.in_norm, self.out_norm = RMSNorm(width), RMSNorm(width)
        self.blocks = nn.Sequential(
            *(GatedMLP(width, hidden, RMSNorm(width)) for _ in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.out_norm(self.blocks(self.in_norm(x)))


def centres(height: int, width: int, like: Tensor) -> Tensor:
    """Cell centres (H, W, 2), (y, x): the longer side spans [-1, 1]."""
    longest = max(height, width)

    def axis(count: int) -> Tensor:
        edges = torch.linspace(-1, 1, count + 1, device=like.device) * (count / longest)
        return (edges[:-1] + edges[1:]) / 2

    return torch.stack(torch.meshgrid(axis(height), axis(width), indexing="ij"), dim=-1)


class HDiT(nn.Module):
    """The velocity of an image at a time in [0, 1].

    Args:
        widths: channels of the levels, finest first; the last one is global.
        hidden: channels of their MLPs, over the width.
        heads: attention heads of each level.
        down, up, middle: layers of each local level on the way down, on the way up, and of the
            global one.
        frequencies: rotary frequencies an axis.
        condition, condition_hidden, mapping: width of the condition, of its MLPs, and their number.
        augmentation: length of the training's augmentation vector, zero at inference.
        patch: side of a patch of pixels.
    """

    def __init__(
        self,
        *,
        widths: list[int],
        hidden: list[int],
        heads: list[int],
        down: list[int],
        up: list[int],
        middle: int,
        frequencies: int,
        condition: int,
        condition_hidden: int,
        mapping: int,
        augmentation: int,
        patch: int,
    ) -> None:
        super().__init__()
        self.patch = patch
        pixels = 3 * patch**2
        self.patch_in = Projection(pixels, widths[0])
        self.time_emb = Frequencies(condition // 2, 1)
        self.time_in_proj = linear(condition, condition)
        self.aug_emb = Frequencies(condition // 2, augmentation)
        self.aug_in_proj = linear(condition, condition)
        self.mapping = Mapping(condition, condition_hidden, mapping)

        def level(i: int, layers: int) -> Level:
            return Level(
                Layer(widths[i], hidden[i], condition, heads[i], frequencies)
                for _ in range(layers)
            )

        self.down_levels = nn.ModuleList(level(i, layers) for i, layers in enumerate(down))
        self.up_levels = nn.ModuleList(level(i, layers) for i, layers in enumerate(up))
        self.mid_level = level(len(widths) - 1, middle)
        pairs = list(zip(widths, widths[1:], strict=False))
        self.merges = nn.ModuleList(Projection(4 * fine, coarse) for fine, coarse in pairs)
        self.splits = nn.ModuleList(
            Projection(coarse, 4 * fine, weighed=True) for fine, coarse in pairs
        )
        self.out_norm = RMSNorm(widths[0])
        self.patch_out = Projection(widths[0], pixels)

    @property
    def multiple(self) -> int:
        """What an image's sides must be multiples of."""
        return self.patch * 2 ** len(self.merges)

    def prepare(self, image: Tensor) -> tuple[list[Rotation], list[Grid]]:
        """What depends on the size alone: turns of each layer in order, grids of local levels."""
        height, width = (side // self.patch for side in image.shape[2:])
        positions, grids, places = centres(height, width, image), [], []
        for _ in self.merges:
            places.append(positions)
            grids.append(Grid.of(*positions.shape[:2], WINDOW, image))
            positions = fold_patches(positions[None], 2)[0].unflatten(-1, (4, 2)).mean(-2)
        order = [*zip(self.down_levels, places, strict=True), (self.mid_level, positions)]
        order += reversed(list(zip(self.up_levels, places, strict=True)))
        rotations = [
            layer.self_attn.pos_emb.angles(where) for level, where in order for layer in level
        ]
        return rotations, grids

    def condition(self, time: float, like: Tensor) -> Tensor:
        """The condition (width,) of a time."""
        embedded = self.time_in_proj(self.time_emb(like.new_full((1,), time)))
        no_augmentation = like.new_zeros(self.aug_emb.weight.shape[1])
        return self.mapping(embedded + self.aug_in_proj(self.aug_emb(no_augmentation)))

    def forward(
        self, image: Tensor, time: float, prepared: tuple[list[Rotation], list[Grid]]
    ) -> Tensor:
        """Velocity (N, 3, H, W) of an image (N, 3, H, W); `prepared` comes from `prepare`."""
        rotations, grids = iter(prepared[0]), prepared[1]
        condition = self.condition(time, image)
        x = self.patch_in.proj(fold_patches(image.permute(0, 2, 3, 1), self.patch))
        skips = []
        for level, merge, grid in zip(self.down_levels, self.merges, grids, strict=True):
            x = level.run(x, condition, rotations, grid)
            skips.append(x)
            x = merge.proj(fold_patches(x, 2))
        x = self.mid_level.run(x, condition, rotations, None)
        for i in reversed(range(len(grids))):
            split = self.splits[i]
            x = torch.lerp(skips.pop(), unfold_patches(split.proj(x), 2), split.fac)
            x = self.up_levels[i].run(x, condition, rotations, grids[i])
        x = unfold_patches(self.patch_out.proj(self.out_norm(x)), self.patch)
        return x.permute(0, 3, 1, 2)
