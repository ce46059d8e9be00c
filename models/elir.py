"""ELIR: a small flow in the latent space of a tiny autoencoder.

Paper: Cohen, Achituve, Diamant, Netzer, Habi, "Efficient Image Restoration via Latent Consistency
Flow Matching", 2025; the autoencoder is TAESD's. A first network estimates the mean of the clean
latents, the flow then moves it, in a few Euler steps, to a sharp one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture, StateDict, sequence_length
from .flow import check_flow, noisy_start
from .upsample import UpsampleConv
from .winograd import Conv3x3

#: Euler steps of the flow that the authors take for faces.
STEPS = 5
#: Side of the faces it was trained on.
SIDE = 512
#: Residual scaling of the dense blocks.
RESIDUAL = 0.2


class TinyBlock(nn.Module):
    """Three 3x3 convolutions and the identity, a ReLU after their sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(width, width, 3, padding=1) for _ in range(3)]
        self.conv = nn.Sequential(
            convs[0], nn.ReLU(inplace=True), convs[1], nn.ReLU(inplace=True), convs[2]
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu_(self.conv(x).add_(x))


class TinyEncoder(nn.Module):
    """Image to latent an eighth of its size."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1), TinyBlock(width)]
        for _ in range(3):
            layers.append(nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False))
            layers += [TinyBlock(width) for _ in range(3)]
        layers.append(nn.Conv2d(width, latent, 3, padding=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class TinyDecoder(nn.Module):
    """Latent to image; the latent is softly limited to (-3, 3)."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(latent, width, 3, padding=1), nn.ReLU(inplace=True)]
        for _ in range(3):
            layers += [TinyBlock(width) for _ in range(3)]
            # The published list has the enlargement and its convolution as two entries.
            layers += [nn.Identity(), UpsampleConv(width, width, bias=False)]
        layers += [TinyBlock(width), nn.Conv2d(width, 3, 3, padding=1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(torch.tanh(latent / 3) * 3)


class DenseConv(nn.Module):
    """One convolution under its published name."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(inner, outer, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class DenseBlock(nn.Module):
    """Five convolutions, each fed with all the maps before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        for i in range(1, 5):
            self.add_module(f"conv{i}", DenseConv(width + (i - 1) * growth, growth))
        self.conv5 = DenseConv(width + 4 * growth, width)

    def forward(self, x: Tensor) -> Tensor:
        maps = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            maps = torch.cat((maps, F.silu(conv(maps), inplace=True)), dim=1)
        return torch.add(x, self.conv5(maps), alpha=RESIDUAL)


class ResidualDense(nn.Module):
    """Three dense blocks in a residual."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.RDB1 = DenseBlock(width, growth)
        self.RDB2 = DenseBlock(width, growth)
        self.RDB3 = DenseBlock(width, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(x, self.RDB3(self.RDB2(self.RDB1(x))), alpha=RESIDUAL)


class PosteriorMean(nn.Module):
    """The first network: latent of the damaged image to the mean of the clean ones."""

    def __init__(self, width: int, growth: int, blocks: int) -> None:
        super().__init__()
        self.lrm = nn.Sequential(*(ResidualDense(width, growth) for _ in range(blocks)))

    def forward(self, latent: Tensor) -> Tensor:
        return self.lrm(latent).add_(latent)


class NormConv(nn.Module):
    """GroupNorm of 32 groups, SiLU, 3x3 convolution."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(32, inner), nn.SiLU(inplace=True), Conv3x3(inner, outer)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class TimedBlock(nn.Module):
    """Residual block that the time shifts between its two convolutions."""

    def __init__(self, inner: int, outer: int, time: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, outer))
        self.block1 = NormConv(inner, outer)
        self.block2 = NormConv(outer, outer)
        self.conv2d = nn.Conv2d(inner, outer, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.block1(x).add_(self.mlp(time)[:, :, None, None])
        return self.block2(h).add_(self.conv2d(x))


class Resample(nn.Module):
    """A strided or transposed convolution under its published name."""

    def __init__(self, name: str, conv: nn.Module) -> None:
        super().__init__()
        self.add_module(name, conv)

    def forward(self, x: Tensor) -> Tensor:
        (conv,) = self.children()
        return conv(x)


class Flow(nn.Module):
    """The velocity of a latent at a time: a U-Net that halves only at some levels.

    Args:
        latent: channels in and out.
        widths: channels before each level and after the last; a level that doubles also halves
            the size.
        middle: blocks at the coarsest size.
        frequencies, time: length of the time's sinusoids and of its embedding.
    """

    def __init__(
        self, latent: int, widths: list[int], middle: int, frequencies: int, time: int
    ) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.time_mlp = nn.Module()
        self.time_mlp.linear1 = nn.Linear(frequencies, time)
        self.time_mlp.linear2 = nn.Linear(time, time)
        self.first_proj = nn.Conv2d(latent, widths[0], 1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        steps = list(zip(widths, widths[1:], strict=False))
        for inner, outer in steps:
            down = nn.ModuleList([TimedBlock(inner, inner, time)])
            if inner != outer:
                down.append(Resample("conv", nn.Conv2d(inner, outer, 3, stride=2, padding=1)))
            self.down_blocks.append(down)
        for inner, outer in reversed(steps):
            up = nn.ModuleList([nn.Identity(), TimedBlock(2 * inner, inner, time)])
            if inner != outer:
                up[0] = Resample("convtr", nn.ConvTranspose2d(outer, inner, 4, 2, 1))
            self.up_blocks.append(up)
        self.mid_blocks = nn.ModuleList(
            TimedBlock(widths[-1], widths[-1], time) for _ in range(middle)
        )
        self.final_block = NormConv(widths[0], widths[0])
        self.final_proj = nn.Conv2d(widths[0], latent, 1)

    def embed(self, time: float, like: Tensor) -> Tensor:
        """Embedding (1, time) of a time in [0, 1]: cosines, then sines, of falling frequency."""
        half = self.frequencies // 2
        index = torch.arange(half, device=like.device, dtype=torch.float32)
        angles = 1000 * time * torch.exp(index * (-math.log(10000) / (half - 1)))
        waves = torch.cat((angles.cos(), angles.sin()))[None].to(like.dtype)
        return self.time_mlp.linear2(F.silu(self.time_mlp.linear1(waves)))

    def forward(self, x: Tensor, time: float) -> Tensor:
        embedded = self.embed(time, x)
        x = self.first_proj(x)
        passed = []
        for block, *halve in self.down_blocks:
            x = block(x, embedded)
            passed.append(x)
            for step in halve:
                x = step(x)
        for block in self.mid_blocks:
            x = block(x, embedded)
        for double, block in self.up_blocks:
            x = block(torch.cat((double(x), passed.pop()), dim=1), embedded)
        return self.final_proj(self.final_block(x))


class ELIR(nn.Module):
    """The network.

    Args:
        width, latent: channels of the autoencoder and of its latents.
        growth, blocks: channels a dense layer adds, and blocks of the posterior mean.
        flow: the velocity network.
    """

    def __init__(self, width: int, latent: int, growth: int, blocks: int, flow: Flow) -> None:
        super().__init__()
        self.fmir = flow
        self.mmse = PosteriorMean(latent, growth, blocks)
        self.enc = TinyEncoder(width, latent)
        self.dec = TinyDecoder(width, latent)

    def fresh_noise(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Unit noise for `count` faces of the trained size, drawn on the CPU."""
        like = self.fmir.first_proj.weight
        shape = (count, like.shape[1], SIDE // 8, SIDE // 8)
        return torch.randn(shape, generator=generator).to(like)

    def forward(self, image: Tensor, noise: Tensor | None = None, steps: int = STEPS) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, S, S), RGB in [0, 1], S a multiple of 32; trained at 512.
            noise: unit normal (N, 16, S / 8, S / 8), the start's random part; None is none of it,
                which gives the smoothest result.
            steps: Euler steps of the flow, at least 1.

        Returns:
            (N, 3, S, S), RGB in [0, 1], not clamped.

        Raises:
            ValueError: a side is not a multiple of 32, the noise is of another shape, or there
                are no steps.
        """
        check_flow(image, steps, multiple=32)
        x = self.mmse(self.enc(image.contiguous(memory_format=torch.channels_last)))
        x = noisy_start(x, noise)
        time = 0.0
        for _ in range(steps):
            x = torch.add(x, self.fmir(x, time), alpha=1 / steps)
            time += 1 / steps
        return self.dec(x)


def construct(state: StateDict) -> ELIR:
    """Widths and depths off the shapes."""
    levels = range(sequence_length(state, "fmir.down_blocks"))
    widths = [state[f"fmir.down_blocks.{i}.0.block1.block.2.weight"].shape[0] for i in levels]
    widths.append(state["fmir.mid_blocks.0.block1.block.2.weight"].shape[0])
    time, frequencies = state["fmir.time_mlp.linear1.weight"].shape
    latent = state["fmir.first_proj.weight"].shape[1]
    return ELIR(
        width=state["enc.layers.0.weight"].shape[0],
        latent=latent,
        growth=state["mmse.lrm.0.RDB1.conv1.block.0.weight"].shape[0],
        blocks=sequence_length(state, "mmse.lrm"),
        flow=Flow(latent, widths, sequence_length(state, "fmir.mid_blocks"), frequencies, time),
    )


ARCHITECTURE = Architecture(
    name="elir",
    keys=("fmir.first_proj.weight", "mmse.lrm.0.RDB1.conv1.block.0.weight", "enc.layers.0.weight"),
    construct=construct,
)
