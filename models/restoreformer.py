"""RestoreFormer and RestoreFormer++: a VQGAN whose decoder asks the encoder's maps for detail.

Papers: Wang, Zhang, Chen, Wang, Luo, "RestoreFormer: High-Quality Blind Face Restoration from
Undegraded Key-Value Pairs", CVPR 2022; the same with Zhang, "RestoreFormer++: Towards Real-World
Blind Face Restoration from Undegraded Key-Value Pairs", TPAMI 2023.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .architecture import Architecture, StateDict, sequence_length
from .vqgan import Attention, Downsample, ResBlock, Upsample, group_norm, norm_silu

#: Attention heads: not readable from shapes. ++ attends at one more scale than the first.
HEADS, HEADS_PLUS = 8, 4


class CrossAttention(Attention):
    """Keys and values from the map itself, queries from a guide of the same shape."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads)
        del self.norm
        self.norm1, self.norm2 = group_norm(channels), group_norm(channels)

    def forward(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        known = self.norm1(x)
        return self.attend(x, known if guide is None else self.norm2(guide), known)


class Middle(nn.Module):
    """The coarsest blocks of encoder and decoder."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.block_1 = block(width, width)
        self.attn_1 = CrossAttention(width, heads)
        self.block_2 = block(width, width)


def block(inner: int, outer: int) -> ResBlock:
    """A residual block under the names of these checkpoints."""
    return ResBlock(inner, outer, shortcut="nin_shortcut")


class Level(nn.Module):
    """The blocks at one size, with attention after each where `attends`, then the resampling."""

    def __init__(
        self, inner: int, outer: int, blocks: int, heads: int, attends: bool, **resample: nn.Module
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(block(inner if i == 0 else outer, outer) for i in range(blocks))
        self.attn = nn.ModuleList(CrossAttention(outer, heads) for _ in self.block if attends)
        for name, module in resample.items():
            self.add_module(name, module)

    def run(self, x: Tensor, guide: Tensor | None = None) -> Tensor:
        """The blocks alone, before the resampling."""
        for i, layer in enumerate(self.block):
            x = layer(x)
            if self.attn:
                x = self.attn[i](x, guide)
        return x


class Encoder(nn.Module):
    """Image to latent; also returns the maps the decoder asks, finest first, the middle last."""

    def __init__(self, widths: list[int], blocks: int, latent: int, heads: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        last = len(widths) - 1
        self.down = nn.ModuleList(
            Level(
                widths[max(i - 1, 0)],
                width,
                blocks,
                heads,
                attends=i == last,
                **({} if i == last else {"downsample": Downsample(width)}),
            )
            for i, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1], heads)
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], latent, 3, padding=1)

    def forward(self, x: Tensor, asked: set[int]) -> tuple[Tensor, dict[int, Tensor], Tensor]:
        x = self.conv_in(x)
        guides = {}
        *finer, coarsest = self.down
        for i, level in enumerate(finer):
            x = level.run(x)
            if i in asked:
                guides[i] = x
            x = level.downsample(x)
        x = self.mid.block_1(coarsest.run(x))
        guides[len(finer)] = x
        middle = self.mid.block_2(self.mid.attn_1(x))
        return self.conv_out(norm_silu(self.norm_out, middle)), guides, middle


class Decoder(nn.Module):
    """Latent and the encoder's maps to image."""

    def __init__(
        self, widths: list[int], blocks: int, latent: int, heads: int, attends: set[int]
    ) -> None:
        super().__init__()
        self.attends = attends
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], heads)
        self.up = nn.ModuleList(
            Level(
                widths[min(i + 1, last)],
                width,
                blocks + 1,
                heads,
                attends=i in attends,
                **({} if i == 0 else {"upsample": Upsample(width)}),
            )
            for i, width in enumerate(widths)
        )
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latent: Tensor, guides: dict[int, Tensor], middle: Tensor) -> Tensor:
        x = self.mid.block_1(self.conv_in(latent))
        x = self.mid.block_2(self.mid.attn_1(x, middle))
        for i in reversed(range(len(self.up))):
            x = self.up[i].run(x, guides.pop(i, None))
            if i:
                x = self.up[i].upsample(x)
        return self.conv_out(norm_silu(self.norm_out, x))


class RestoreFormer(nn.Module):
    """The network.

    Args:
        widths: channels from the finest size to the coarsest.
        blocks: residual blocks a size in the encoder; the decoder has one more.
        latent: channels between encoder and codebook.
        codes, length: entries of the codebook and their length.
        heads: attention heads.
        attends: levels (0 the finest) at which the decoder asks the encoder.
    """

    def __init__(
        self,
        *,
        widths: list[int],
        blocks: int,
        latent: int,
        codes: int,
        length: int,
        heads: int,
        attends: set[int],
    ) -> None:
        super().__init__()
        self.encoder = Encoder(widths, blocks, latent, heads)
        self.decoder = Decoder(widths, blocks, latent, heads, attends)
        self.quantize = nn.ModuleDict({"embedding": nn.Embedding(codes, length)})
        self.quant_conv = nn.Conv2d(latent, length, 1)
        self.post_quant_conv = nn.Conv2d(length, latent, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, S, S), RGB in [-1, 1], S a multiple of 32; trained at 512.

        Returns:
            (N, 3, S, S), RGB in [-1, 1], not clamped.

        Raises:
            ValueError: a side is not a multiple of 32.
        """
        step = 2 ** (len(self.decoder.up) - 1)
        height, width = image.shape[2:]
        if height % step or width % step:
            raise ValueError(f"sides must be multiples of {step}, got {width} x {height}: resize")
        image = image.contiguous(memory_format=torch.channels_last)
        latent, guides, middle = self.encoder(image, self.decoder.attends)
        codes = self.nearest(self.quant_conv(latent))
        return self.decoder(self.post_quant_conv(codes), guides, middle)

    def nearest(self, latent: Tensor) -> Tensor:
        """Each position's nearest codebook entry, by Euclidean distance."""
        book = self.quantize["embedding"].weight
        rows = latent.permute(0, 2, 3, 1)
        distance = book.square().sum(1) - 2 * (rows @ book.t())
        return book[distance.argmin(3)].permute(0, 3, 1, 2)


def construct(state: StateDict) -> RestoreFormer:
    """Sizes off the shapes; the number of heads off the scales with attention."""
    levels = range(sequence_length(state, "encoder.down"))
    attends = {i for i in levels if sequence_length(state, f"decoder.up.{i}.attn")}
    codes, length = state["quantize.embedding.weight"].shape
    return RestoreFormer(
        widths=[state[f"encoder.down.{i}.block.0.conv2.weight"].shape[0] for i in levels],
        blocks=sequence_length(state, "encoder.down.0.block"),
        latent=state["encoder.conv_out.weight"].shape[0],
        codes=codes,
        length=length,
        heads=HEADS if len(attends) == 1 else HEADS_PLUS,
        attends=attends,
    )


ARCHITECTURE = Architecture(
    name="restoreformer",
    keys=("quantize.embedding.weight", "quant_conv.weight", "decoder.conv_out.weight"),
    construct=construct,
)
