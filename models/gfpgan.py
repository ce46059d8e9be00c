"""GFPGAN, the "clean" form of versions 1.2 to 1.4: a U-Net steers a StyleGAN2 face generator.

Paper: Wang, Li, Zhang, Shan, "Towards Real-World Blind Face Restoration with Generative Facial
Prior", CVPR 2021.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture, StateDict, sequence_length
from .stylegan2 import SLOPE, ModulatedBilinearConv, ModulatedConv, ModulatedRGB
from .winograd import Conv3x3

#: Read only while training: the U-Net's own colours, the mapping from a random z to w.
TRAINING_ONLY = ("toRGB.", "stylegan_decoder.style_mlp.")


def enlarge(x: Tensor) -> Tensor:
    """Twice the size, bilinear."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class UNetBlock(nn.Module):
    """Residual block that halves (mean of 2 x 2) or doubles (bilinear) its map."""

    def __init__(self, inner: int, outer: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv1 = Conv3x3(inner, inner)
        self.conv2 = Conv3x3(inner, outer)
        self.skip = nn.Conv2d(inner, outer, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu_(self.conv1(x), SLOPE)
        if self.up:
            # A 1x1 convolution and an interpolation commute: the small map is cheaper to mix.
            h, skip = enlarge(h), enlarge(self.skip(x))
        else:
            h, skip = F.avg_pool2d(h, 2), self.skip(F.avg_pool2d(x, 2))
        return F.leaky_relu_(self.conv2(h), SLOPE).add_(skip)


def condition(channels: int, outer: int) -> nn.Sequential:
    """The branch that turns a U-Net map into a scale or a shift."""
    return nn.Sequential(
        Conv3x3(channels, channels),
        nn.LeakyReLU(SLOPE, inplace=True),
        Conv3x3(channels, outer),
    )


class StyleConv(nn.Module):
    """Modulated convolution, noise of a learnt strength, bias, leaky ReLU."""

    def __init__(self, inner: int, outer: int, style: int, up: bool) -> None:
        super().__init__()
        kind = ModulatedBilinearConv if up else ModulatedConv
        self.modulated_conv = kind(inner, outer, style)
        self.weight = nn.Parameter(torch.empty(1))
        self.bias = nn.Parameter(torch.empty(1, outer, 1, 1))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        y = self.modulated_conv(x, style, self.bias.flatten())
        return F.leaky_relu_(y.add_(noise * self.weight), SLOPE)


class ToRGB(nn.Module):
    """Colours of a map, added to the enlarged colours of the level below."""

    def __init__(self, inner: int, style: int) -> None:
        super().__init__()
        self.modulated_conv = ModulatedRGB(inner, style)
        self.bias = nn.Parameter(torch.empty(1, 3, 1, 1))

    def forward(self, x: Tensor, style: Tensor, below: Tensor | None) -> Tensor:
        colours = self.modulated_conv(x, style) + self.bias
        return colours if below is None else colours.add_(enlarge(below))


class Decoder(nn.Module):
    """StyleGAN2 whose maps the U-Net scales and shifts.

    Args:
        widths: channels from 4 px upwards.
        style: length of a style vector.
    """

    def __init__(self, widths: list[int], style: int) -> None:
        super().__init__()
        self.constant_input = nn.Module()
        self.constant_input.weight = nn.Parameter(torch.empty(1, widths[0], 4, 4))
        self.style_conv1 = StyleConv(widths[0], widths[0], style, up=False)
        self.to_rgb1 = ToRGB(widths[0], style)
        self.style_convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise0", torch.empty(1, 1, 4, 4))
        for level, (inner, outer) in enumerate(zip(widths, widths[1:], strict=False), 1):
            self.style_convs.append(StyleConv(inner, outer, style, up=True))
            self.style_convs.append(StyleConv(outer, outer, style, up=False))
            self.to_rgbs.append(ToRGB(outer, style))
            for number in (2 * level - 1, 2 * level):
                side = 4 * 2**level
                self.noises.register_buffer(f"noise{number}", torch.empty(1, 1, side, side))

    def stored_noise(self) -> list[Tensor]:
        """The checkpoint's noise maps, finest last."""
        return [getattr(self.noises, f"noise{i}") for i in range(len(self.style_convs) + 1)]

    def forward(
        self, styles: Tensor, conditions: list[tuple[Tensor, Tensor]], noise: list[Tensor]
    ) -> Tensor:
        x = self.constant_input.weight.expand(len(styles), -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.style_conv1(x, styles[:, 0], noise[0])
        rgb = self.to_rgb1(x, styles[:, 1], None)
        for level, (scale, shift) in enumerate(conditions):
            i = 2 * level
            x = self.style_convs[i](x, styles[:, i + 1], noise[i + 1])
            steered = x[:, -scale.shape[1] :]
            torch.addcmul(shift, steered, scale, out=steered)
            x = self.style_convs[i + 1](x, styles[:, i + 2], noise[i + 2])
            rgb = self.to_rgbs[level](x, styles[:, i + 3], rgb)
        return rgb


class GFPGAN(nn.Module):
    """The network.

    Args:
        unet: channels of the U-Net from 4 px upwards.
        decoder: channels of the generator from 4 px upwards.
        steered: channels scaled and shifted at each level from 8 px upwards.
        style: length of a style vector.
    """

    def __init__(self, unet: list[int], decoder: list[int], steered: list[int], style: int) -> None:
        super().__init__()
        self.style = style
        pairs = list(zip(unet, unet[1:], strict=False))
        self.conv_body_first = nn.Conv2d(3, unet[-1], 1)
        self.conv_body_down = nn.ModuleList(UNetBlock(b, a, up=False) for a, b in reversed(pairs))
        self.final_conv = nn.Conv2d(unet[0], unet[0], 3, padding=1)
        self.conv_body_up = nn.ModuleList(UNetBlock(a, b, up=True) for a, b in pairs)
        self.final_linear = nn.Linear(unet[0] * 16, (2 * len(unet)) * style)
        self.stylegan_decoder = Decoder(decoder, style)
        branches = list(zip(unet[1:], steered, strict=True))
        self.condition_scale = nn.ModuleList(condition(c, s) for c, s in branches)
        self.condition_shift = nn.ModuleList(condition(c, s) for c, s in branches)

    def fresh_noise(self, count: int, generator: torch.Generator | None = None) -> list[Tensor]:
        """New noise maps for `count` faces, drawn on the CPU: the same for a seed everywhere.

        Args:
            count: faces in the batch.
            generator: a CPU generator; None takes the global one.

        Returns:
            One (count, 1, side, side) map a layer, as `forward` takes them.
        """
        return [
            torch.randn((count, 1, *stored.shape[2:]), generator=generator).to(stored)
            for stored in self.stylegan_decoder.stored_noise()
        ]

    def forward(self, image: Tensor, noise: list[Tensor] | None = None) -> Tensor:
        """Restore aligned faces.

        Args:
            image: (N, 3, 512, 512), RGB in [-1, 1].
            noise: maps as `fresh_noise` makes them; None takes the checkpoint's own.

        Returns:
            (N, 3, 512, 512), RGB in [-1, 1], not clamped.

        Raises:
            ValueError: the image is not of the size of the network.
        """
        side = 4 * 2 ** len(self.conv_body_down)
        if image.shape[2:] != (side, side):
            height, width = image.shape[2:]
            raise ValueError(f"GFPGAN takes {side} x {side} faces, got {width} x {height}: resize")
        x = image.contiguous(memory_format=torch.channels_last)
        x = F.leaky_relu_(self.conv_body_first(x), SLOPE)
        passed = []
        for block in self.conv_body_down:
            x = block(x)
            passed.append(x)
        x = F.leaky_relu_(self.final_conv(x), SLOPE)
        styles = self.final_linear(x.flatten(1)).view(len(x), -1, self.style)
        conditions = []
        for block, scale, shift in zip(
            self.conv_body_up, self.condition_scale, self.condition_shift, strict=True
        ):
            x = block(x.add_(passed.pop()))
            conditions.append((scale(x), shift(x)))
        noise = self.stylegan_decoder.stored_noise() if noise is None else noise
        return self.stylegan_decoder(styles, conditions, noise)


def convert(state: StateDict) -> StateDict:
    """Published names without the training-only heads; kernels without their leading 1."""
    return {
        key: value.squeeze(0) if key.endswith("modulated_conv.weight") else value
        for key, value in state.items()
        if not key.startswith(TRAINING_ONLY)
    }


def construct(state: StateDict) -> GFPGAN:
    """Widths and depth off the shapes."""
    levels = range(sequence_length(state, "conv_body_up"))
    style = state["stylegan_decoder.style_conv1.modulated_conv.modulation.weight"].shape[1]
    convs = [f"stylegan_decoder.style_convs.{2 * i}.bias" for i in levels]
    return GFPGAN(
        unet=[state["final_conv.weight"].shape[0]]
        + [state[f"conv_body_up.{i}.skip.weight"].shape[0] for i in levels],
        decoder=[state["stylegan_decoder.constant_input.weight"].shape[1]]
        + [state[key].shape[1] for key in convs],
        steered=[state[f"condition_scale.{i}.2.bias"].shape[0] for i in levels],
        style=style,
    )


ARCHITECTURE = Architecture(
    name="gfpgan",
    keys=(
        "conv_body_first.weight",
        "final_linear.weight",
        "stylegan_decoder.style_conv1.modulated_conv.weight",
    ),
    construct=construct,
    convert=convert,
)
