"""GPEN: a StyleGAN2 generator whose noise inputs are the encoder's maps of the damaged face.

Paper: Yang, Ren, Xie, Zhang, "GAN Prior Embedded Network for Blind Face Restoration in the Wild",
CVPR 2021. Nothing in it is random.

Published weights are equalised: each is to be multiplied by 1 / sqrt(fan in), and every leaky ReLU
by sqrt(2). Both constants are folded into weights and biases once, after loading.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture, StateDict, sequence_length
from .stylegan2 import EPS, GAIN, SLOPE, ModulatedConv, ModulatedRGB

#: Learning-rate multiplier of the mapping network, part of its function.
MAPPING_RATE = 0.01


def equalise(weight: Tensor, gain: float = 1.0) -> nn.Parameter:
    """An equalised weight as it acts: `gain` over the square root of its fan-in."""
    return nn.Parameter(weight * (gain / math.sqrt(weight[0].numel())))


class Weight(nn.Module):
    """An equalised convolution kernel that precedes a leaky ReLU."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))

    def fold(self) -> None:
        """Apply equalisation and gain."""
        self.weight = equalise(self.weight, GAIN)


class Bias(nn.Module):
    """A bias that precedes a leaky ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))

    def fold(self) -> None:
        """Apply the gain: the activation is positively homogeneous."""
        self.bias = nn.Parameter(self.bias * GAIN)


class MappingLinear(nn.Module):
    """Equalised linear layer with leaky ReLU."""

    def __init__(self, inner: int, outer: int, rate: float = 1.0) -> None:
        super().__init__()
        self.rate = rate
        self.weight = nn.Parameter(torch.empty(outer, inner))
        self.bias = nn.Parameter(torch.empty(outer))

    def fold(self) -> None:
        """Apply equalisation, learning-rate multiplier and gain."""
        self.weight = equalise(self.weight, GAIN * self.rate)
        self.bias = nn.Parameter(self.bias * (GAIN * self.rate))

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu_(F.linear(x, self.weight, self.bias), SLOPE)


class PixelNorm(nn.Module):
    """A vector to unit mean square."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + EPS)


class Blur(nn.Module):
    """Holds a 4x4 low-pass kernel and applies it to every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("kernel", torch.empty(4, 4))

    def forward(self, x: Tensor, padding: int, bias: Tensor | None = None) -> Tensor:
        channels = x.shape[1]
        kernel = self.kernel.flip(0, 1).expand(channels, 1, 4, 4)
        return F.conv2d(x, kernel, bias, padding=padding, groups=channels)

    def enlarge(self, x: Tensor) -> Tensor:
        """Twice the size: zeros between the pixels, then the filter."""
        kernel = self.kernel.expand(x.shape[1], 1, 4, 4)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class EncoderStep(nn.Sequential):
    """Low-pass filter and convolution of stride 2, or a 1x1 convolution as the first step."""

    def __init__(self, inner: int, outer: int, first: bool) -> None:
        parts = [Weight(outer, inner, 1, 1)] if first else [Blur(), Weight(outer, inner, 3, 3)]
        super().__init__(nn.Sequential(*parts, Bias(outer)))

    def forward(self, x: Tensor) -> Tensor:
        *blur, kernel, bias = self[0]
        for filtered in blur:
            x = filtered(x, padding=2)
        x = F.conv2d(x, kernel.weight, bias.bias, stride=2 if blur else 1)
        return F.leaky_relu_(x, SLOPE)


class EqualisedConv(ModulatedConv):
    """Modulated convolution with equalised weights."""

    def fold(self) -> None:
        self.weight = equalise(self.weight)
        self.modulation.weight = equalise(self.modulation.weight)
        super().fold()


class EqualisedUpConv(EqualisedConv):
    """Twice the size: modulated transposed convolution, then the low-pass filter."""

    def __init__(self, inner: int, outer: int, style: int) -> None:
        super().__init__(inner, outer, style)
        self.blur = Blur()

    def convolve(self, x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        return self.blur(F.conv_transpose2d(x, kernel.transpose(0, 1), stride=2), 1, bias)


class EqualisedRGB(ModulatedRGB):
    """Modulated colours with equalised weights."""

    def fold(self) -> None:
        """Apply the equalisation."""
        self.weight = equalise(self.weight)
        self.modulation.weight = equalise(self.modulation.weight)


class StyledConv(nn.Module):
    """Modulated convolution; the encoder's map is set beside it; bias and leaky ReLU."""

    def __init__(self, inner: int, outer: int, guide: int, style: int, up: bool) -> None:
        super().__init__()
        self.conv = (EqualisedUpConv if up else EqualisedConv)(inner, outer, style)
        self.noise = nn.Module()
        self.noise.weight = nn.Parameter(torch.empty(1))
        self.activate = Bias(outer + guide)

    def forward(self, x: Tensor, style: Tensor, guide: Tensor) -> Tensor:
        own, given = self.activate.bias.split((self.conv.weight.shape[0], guide.shape[1]))
        y = self.conv(x, style, own)
        beside = torch.addcmul(given.view(1, -1, 1, 1), guide, self.noise.weight * GAIN)
        return F.leaky_relu_(torch.cat((y, beside), dim=1), SLOPE)


class ToRGB(nn.Module):
    """Colours of a map, added to the enlarged colours of the level below."""

    def __init__(self, inner: int, style: int, first: bool) -> None:
        super().__init__()
        self.conv = EqualisedRGB(inner, style)
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))
        if not first:
            self.upsample = Blur()

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None = None) -> Tensor:
        colours = self.conv(x, style) + self.bias
        return colours if below is None else colours.add_(self.upsample.enlarge(below))


class Generator(nn.Module):
    """StyleGAN2 with the encoder's maps in place of noise.

    Args:
        widths: channels from 4 px upwards; each map doubles when the encoder's is set beside it.
        style: length of the style vector.
        mapping: linear layers before it.
    """

    def __init__(self, widths: list[int], style: int, mapping: int) -> None:
        super().__init__()
        layers = (MappingLinear(style, style, MAPPING_RATE) for _ in range(mapping))
        self.style = nn.Sequential(PixelNorm(), *layers)
        self.input = nn.Module()
        self.input.input = nn.Parameter(torch.empty(1, widths[0], 4, 4))
        self.conv1 = StyledConv(widths[0], widths[0], widths[0], style, up=False)
        self.to_rgb1 = ToRGB(2 * widths[0], style, first=True)
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for inner, outer in zip(widths, widths[1:], strict=False):
            self.convs.append(StyledConv(2 * inner, outer, outer, style, up=True))
            self.convs.append(StyledConv(2 * outer, outer, outer, style, up=False))
            self.to_rgbs.append(ToRGB(2 * outer, style, first=False))

    def forward(self, code: Tensor, guides: list[Tensor]) -> Tensor:
        """Image from a code (N, style) and the encoder's maps, finest first."""
        style = self.style(code)
        x = self.input.input.expand(len(code), -1, -1, -1)
        x = self.conv1(x.contiguous(memory_format=torch.channels_last), style, guides.pop())
        rgb = self.to_rgb1(x, style)
        for up, plain, to_rgb in zip(self.convs[::2], self.convs[1::2], self.to_rgbs, strict=True):
            guide = guides.pop()
            x = plain(up(x, style, guide), style, guide)
            rgb = to_rgb(x, style, rgb)
        return rgb


class GPEN(nn.Module):
    """The network.

    Args:
        widths: channels from 4 px upwards.
        style: length of the style vector.
        mapping: linear layers between code and style.
    """

    def __init__(self, widths: list[int], style: int, mapping: int) -> None:
        super().__init__()
        self.depth = len(widths)
        finest_first = widths[::-1]
        for i, outer in enumerate(finest_first):
            inner = finest_first[i - 1] if i else 3
            self.add_module(f"ecd{i}", EncoderStep(inner, outer, first=i == 0))
        self.final_linear = nn.Sequential(MappingLinear(widths[0] * 16, style))
        self.generator = Generator(widths, style, mapping)

    def forward(self, image: Tensor) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, S, S), RGB in [-1, 1], S the network's size (512 for GPEN-BFR-512).

        Returns:
            (N, 3, S, S), RGB in [-1, 1], not clamped.

        Raises:
            ValueError: the image is not of the network's size.
        """
        side = 2 ** (self.depth + 1)
        if image.shape[2:] != (side, side):
            height, width = image.shape[2:]
            raise ValueError(f"this GPEN takes {side} x {side}, got {width} x {height}: resize")
        x = image.contiguous(memory_format=torch.channels_last)
        guides = []
        for i in range(self.depth):
            x = getattr(self, f"ecd{i}")(x)
            guides.append(x)
        return self.generator(self.final_linear(x.flatten(1)), guides)


def convert(state: StateDict) -> StateDict:
    """Modulated kernels without their leading 1."""
    return {
        key: value.squeeze(0) if key.endswith(".conv.weight") else value
        for key, value in state.items()
    }


def construct(state: StateDict) -> GPEN:
    """Widths and depths off the shapes."""
    depth = 1 + sequence_length(state, "generator.to_rgbs")
    finest_first = [state["ecd0.0.1.bias"].shape[0]]
    finest_first += [state[f"ecd{i}.0.2.bias"].shape[0] for i in range(1, depth)]
    return GPEN(
        widths=finest_first[::-1],
        style=state["generator.conv1.conv.modulation.weight"].shape[1],
        mapping=sequence_length(state, "generator.style") - 1,
    )


ARCHITECTURE = Architecture(
    name="gpen",
    keys=("ecd0.0.0.weight", "generator.input.input", "final_linear.0.weight"),
    construct=construct,
    convert=convert,
)
