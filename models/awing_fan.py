"""FAN with adaptive wing loss: 98 landmarks of a face as heat maps.

Paper: Adaptive Wing Loss for Robust Face Alignment via Heatmap Regression, Wang, Bo and Fuxin, ICCV
2019, https://arxiv.org/abs/1904.07399; the stacked hourglass is that of How far are we from solving
the 2D & 3D Face Alignment problem?, Bulat and Tzimiropoulos, ICCV 2017,
https://arxiv.org/abs/1703.07332.
Weights: protossw512/AdaptiveWingLoss (Apache-2.0), alignment_WFLW_4HG.pth in xinntao/facexlib;
trained on WFLW (98 points).
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .architecture import Architecture, StateDict
from .batch_norm import fold_batch_norms

#: Pixels of the input per cell of the heat maps.
STRIDE = 4

#: Halvings inside one hourglass.
DEPTH = 4

#: Above this the map of the face's outline counts as outline.
BOUNDARY = 0.05


def coordinates(x: Tensor) -> Tensor:
    """(1, 3, H, W): row and column from -1 to 1, and the distance from the centre from 0 to 1."""
    height, width = x.shape[-2:]
    rows = torch.linspace(-1, 1, height, device=x.device, dtype=torch.float32)
    columns = torch.linspace(-1, 1, width, device=x.device, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    radius = grid.square().sum(dim=0, keepdim=True).sqrt()
    return torch.cat((grid, radius / radius.max()))[None].to(x.dtype)


class CoordinateConv(nn.Module):
    """A convolution that also sees where it is and, given heat maps, where the outline is."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2)

    def forward(self, x: Tensor, heat: Tensor | None = None) -> Tensor:
        where = coordinates(x)
        parts = [x, where.expand(len(x), -1, -1, -1)]
        if heat is not None:
            parts.append(where[:, :2] * (heat[:, -1:] > BOUNDARY))
        return self.conv(torch.cat(parts, dim=1))


class Block(nn.Module):
    """Three convolutions, each activated before; their outputs side by side, beside a shortcut.

    The norms stay: what precedes each of them is also read by the concatenation.
    """

    def __init__(self, wide_in: int, width: int):
        super().__init__()
        half, quarter = width // 2, width // 4
        self.bn1 = nn.BatchNorm2d(wide_in)
        self.conv1 = nn.Conv2d(wide_in, half, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        if wide_in == width:
            self.downsample = nn.Identity()
        else:
            shortcut = nn.Conv2d(wide_in, width, 1, bias=False)
            self.downsample = nn.Sequential(nn.BatchNorm2d(wide_in), nn.ReLU(), shortcut)

    def forward(self, x: Tensor) -> Tensor:
        one = self.conv1(F.relu(self.bn1(x)))
        two = self.conv2(F.relu(self.bn2(one)))
        three = self.conv3(F.relu(self.bn3(two)))
        return torch.cat((one, two, three), dim=1) + self.downsample(x)


class Hourglass(nn.Module):
    """Down to a sixteenth and up again, with a side path at every size."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.coordconv = CoordinateConv(channels, width, 1, 1)
        for level in range(1, DEPTH + 1):
            for part in ("b1", "b2", "b3"):
                self.add_module(f"{part}_{level}", Block(width, width))
        self.b2_plus_1 = Block(width, width)

    def forward(self, x: Tensor, heat: Tensor | None) -> Tensor:
        return self._level(self.coordconv(x, heat), DEPTH)

    def _level(self, x: Tensor, level: int) -> Tensor:
        before, inner, after = (getattr(self, f"{part}_{level}") for part in ("b1", "b2", "b3"))
        low = inner(F.avg_pool2d(x, 2))
        low = self._level(low, level - 1) if level > 1 else self.b2_plus_1(low)
        return before(x) + F.interpolate(after(low), scale_factor=2.0)


class AWingFAN(nn.Module):
    """See the module. `stacks` hourglasses, each refining the maps of the one before."""

    def __init__(self, stacks: int, maps: int, width: int = 256):
        super().__init__()
        self.stacks = stacks
        self.conv1 = CoordinateConv(3 + 3, 64, 7, 2)
        self.conv2 = Block(64, 128)
        self.conv3 = Block(128, 128)
        self.conv4 = Block(128, width)
        for i in range(stacks):
            outline = 2 if i else 0
            self.add_module(f"m{i}", Hourglass(width + 3 + outline, width))
            self.add_module(f"top_m_{i}", Block(width, width))
            self.add_module(f"conv_last{i}", nn.Conv2d(width, width, 1))
            self.add_module(f"l{i}", nn.Conv2d(width, maps, 1))
            if i < stacks - 1:
                self.add_module(f"bl{i}", nn.Conv2d(width, width, 1))
                self.add_module(f"al{i}", nn.Conv2d(maps, width, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Heat maps of the last hourglass.

        Args:
            image: (B, 3, H, W), RGB in [0, 1], sides multiples of 64, trained at 256 px.

        Returns:
            (B, 99, H / 4, W / 4): a peak of about 1 at each of 98 points, then the face's outline.
        """
        x = F.relu(self.conv1(image))
        x = self.conv4(self.conv3(F.avg_pool2d(self.conv2(x), 2)))
        heat = None
        for i in range(self.stacks):
            top = getattr(self, f"top_m_{i}")(getattr(self, f"m{i}")(x, heat))
            top = F.relu(getattr(self, f"conv_last{i}")(top))
            heat = getattr(self, f"l{i}")(top)
            if i < self.stacks - 1:
                x = x + getattr(self, f"bl{i}")(top) + getattr(self, f"al{i}")(heat)
        return heat


def decode(heat: Tensor, *, refine: str = "parabola") -> Tensor:
    """Landmarks in pixels of the network's input.

    Convention: pixels, (x, y), the centre of the top-left pixel is (0, 0); the centre of cell i of
    a heat map lies at 4 i + 1.5.

    Args:
        heat: (B, K, h, w), with or without the outline: drop that one before or after.
        refine: how to go below a cell. "quarter": a quarter cell towards the larger neighbour, as
            the authors evaluate. "parabola": the top of the parabola through the logarithms of the
            peak and its neighbours, exact for a Gaussian peak of any width (Zhang et al., CVPR
            2020, https://arxiv.org/abs/1910.06278, without its blur), at most half a cell.

    Returns:
        (B, K, 2), float32.
    """
    if refine not in ("quarter", "parabola"):
        raise ValueError(f"refine is {refine!r}; choose 'quarter' or 'parabola'")
    heat = heat.float()
    height, width = heat.shape[-2:]
    peak = heat.flatten(2).argmax(dim=-1)
    y, x = peak // width, peak % width
    padded = F.pad(heat, (1, 1, 1, 1), mode="replicate").flatten(2)

    def at(dy: int, dx: int) -> Tensor:
        index = (y + 1 + dy) * (width + 2) + x + 1 + dx
        return padded.gather(2, index[..., None])[..., 0]

    centre = at(0, 0)
    shifts = []
    for low, high in ((at(0, -1), at(0, 1)), (at(-1, 0), at(1, 0))):
        if refine == "quarter":
            shifts.append(0.25 * torch.sign(high - low))
        else:
            # Values of about 0 around a peak carry no shape; a floor keeps the logarithm finite.
            a, b, c = (v.clamp(min=1e-4).log() for v in (low, centre, high))
            bend = (a - 2 * b + c).clamp(max=-1e-6)
            shifts.append((0.5 * (a - c) / bend).clamp(-0.5, 0.5))
    cells = torch.stack((x + shifts[0], y + shifts[1]), dim=-1)
    return (cells + 0.5) * STRIDE - 0.5


def _layer_of(norm: str) -> str | None:
    if norm == "bn1":
        return "conv1.conv"
    return norm.replace("bn_end", "conv_last") if norm.startswith("bn_end") else None


def _construct(state: StateDict) -> AWingFAN:
    stacks = 1 + max(int(m[1]) for m in map(re.compile(r"m(\d+)\.").match, state) if m)
    return AWingFAN(stacks, maps=len(state["l0.weight"]), width=len(state["conv_last0.bias"]))


def _convert(state: StateDict) -> StateDict:
    return fold_batch_norms(state, _layer_of, biased=lambda layer: True)


ARCHITECTURE = Architecture(
    name="awing_fan",
    keys=("m0.coordconv.conv.weight", "l0.weight"),
    construct=_construct,
    convert=_convert,
)
